//! Requests against real sockets of this machine, with names that lie.

mod targets;

use super::*;
use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Answers with the next of a name's lists of addresses, and counts how often it was asked.
#[derive(Default)]
struct Lying {
    names: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: AtomicUsize,
}

#[async_trait]
impl Resolve for Lying {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(name).ok_or_else(|| io::Error::other("no such name"))?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

fn lying(names: &[(&str, &[&[&str]])]) -> Arc<Lying> {
    let list = |addresses: &&[&str]| addresses.iter().map(|address| address.parse().unwrap()).collect();
    let names = names.iter().map(|(name, answers)| ((*name).to_owned(), answers.iter().map(list).collect()));
    Arc::new(Lying { names: Mutex::new(names.collect()), ..Lying::default() })
}

fn client(options: &Options, resolver: Arc<Lying>) -> Client {
    Client::with(options, resolver, Arc::new(System), address::public).unwrap()
}

/// A client for which 127.0.0.2 is out in the world, and 127.0.0.1 inside as ever.
fn worldly(options: &Options, resolver: Arc<Lying>) -> Client {
    Client::with(options, resolver, Arc::new(System), |address| address == WORLD).unwrap()
}

fn granted(origins: &[String]) -> Vec<Origin> {
    origins.iter().map(|origin| Origin::parse(origin).unwrap()).collect()
}

fn get(url: &str) -> Request {
    Request {
        method: "GET".into(),
        url: url.into(),
        headers: Vec::new(),
        body: Vec::new(),
        timeout_ms: Some(5_000),
    }
}

/// A server that answers each connection with these bytes, and keeps what it was asked.
async fn server(
    address: IpAddr,
    answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static,
) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let heard = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = Vec::new();
            let mut piece = [0; 1024];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") {
                match stream.read(&mut piece).await {
                    Ok(0) | Err(_) => break,
                    Ok(n) => request.extend_from_slice(&piece[..n]),
                }
            }
            let text = String::from_utf8_lossy(&request).into_owned();
            let count = {
                let mut heard = heard.lock().unwrap();
                heard.push(text.clone());
                heard.len()
            };
            let bytes = answer(&text, count);
            let _ = stream.write_all(&bytes).await;
            if bytes.ends_with(b"...") {
                // Says no more, and stays.
                tokio::spawn(async move { drop(stream.read(&mut [0; 1]).await) });
            }
        }
    });
    (port, seen)
}

fn ok(body: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nset-cookie: a=b\r\nx-own: yes\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn to(location: &str) -> Vec<u8> {
    format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n").into_bytes()
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WORLD: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

#[tokio::test]
async fn an_answer_comes_from_an_address_that_was_granted_without_cookies() {
    let (port, seen) = server(HERE, |_, _| ok("hello")).await;
    let origin = format!("http://127.0.0.1:{port}");
    let client = client(&Options::default(), lying(&[]));
    let request = Request {
        method: "POST".into(),
        headers: vec![("X-Own".into(), "1".into())],
        body: b"body".to_vec(),
        ..get(&format!("{origin}/a/b?c=d#e"))
    };
    let answer = client.fetch(&granted(&[origin]), "key-1", request).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
    assert!(answer.headers.contains(&("x-own".into(), "yes".into())));
    assert!(!answer.headers.iter().any(|(name, _)| name == "set-cookie"), "{:?}", answer.headers);
    let asked = seen.lock().unwrap()[0].to_lowercase();
    assert!(asked.starts_with("post /a/b?c=d http/1.1\r\n"), "{asked}");
    for header in [
        "idempotency-key: key-1\r\n",
        "x-own: 1\r\n",
        "content-length: 4\r\n",
        &format!("host: 127.0.0.1:{port}\r\n"),
    ] {
        assert!(asked.contains(header), "{header} in {asked}");
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_its_checked_address_is_the_one_connected_to() {
    let (inside, inner) = server(HERE, |_, _| ok("inside")).await;
    let Ok(listener) = TcpListener::bind((WORLD, inside)).await else { return };
    drop(listener);
    let (port, _) = server(WORLD, |_, _| ok("outside")).await;
    // The second answer would be inside.
    let resolver = lying(&[("rebinding.example", &[&["127.0.0.2"], &["127.0.0.1"]])]);
    let client = worldly(&Options::default(), resolver.clone());
    let origins = granted(&[format!("http://rebinding.example:{port}")]);
    let url = format!("http://rebinding.example:{port}/");
    let answer = client.fetch(&origins, "k", get(&url)).await.unwrap();
    assert_eq!((&*answer.body, resolver.asked.load(Ordering::SeqCst)), (&b"outside"[..], 1));
    let refused = client.fetch(&origins, "k", get(&url)).await.unwrap_err();
    assert!(matches!(refused, Error::Address(_)), "{refused:?}");
    assert!(inner.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_redirect_is_checked_as_the_request_was() {
    let (inside, inner) = server(HERE, |_, _| ok("inside")).await;
    let targets = [
        format!("http://127.0.0.1:{inside}/"),
        format!("http://inner.example:{inside}/"),
        format!("http://other.example:{inside}/"),
        format!("//0x7f.1:{inside}/"),
        "file:///etc/passwd".to_owned(),
        "http://[".to_owned(),
    ];
    let locations = targets.clone();
    let (port, _) = server(WORLD, move |request, _| {
        let n: usize = request.split(['/', ' ']).find_map(|part| part.parse().ok()).unwrap();
        to(&locations[n])
    })
    .await;
    let names: &[(&str, &[&[&str]])] =
        &[("outer.example", &[&["127.0.0.2"]]), ("inner.example", &[&["127.0.0.1"]])];
    let client = worldly(&Options::default(), lying(names));
    let origins =
        granted(&[format!("http://outer.example:{port}"), format!("http://inner.example:{inside}")]);
    for (n, target) in targets.iter().enumerate() {
        let refused =
            client.fetch(&origins, "k", get(&format!("http://outer.example:{port}/{n}"))).await.unwrap_err();
        let expected = match n {
            1 => matches!(refused, Error::Address(_)),
            4 => matches!(refused, Error::Invalid(_)),
            5 => matches!(refused, Error::Connection(_)),
            _ => matches!(refused, Error::Denied(_)),
        };
        assert!(expected, "{target}: {refused:?}");
    }
    assert!(inner.lock().unwrap().is_empty());
}

#[tokio::test]
async fn redirects_are_followed_up_to_a_limit_and_carry_no_secret_to_another_server() {
    let (other, heard) = server(HERE, |_, _| ok("there")).await;
    let (port, seen) = server(HERE, move |request, _| {
        if request.contains("/loop") { to("/loop") } else { to(&format!("http://127.0.0.1:{other}/")) }
    })
    .await;
    let client = client(&Options { redirects_max: 3, ..Options::default() }, lying(&[]));
    let origins = granted(&[format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{other}")]);
    let refused =
        client.fetch(&origins, "k", get(&format!("http://127.0.0.1:{port}/loop"))).await.unwrap_err();
    assert_eq!(refused, Error::TooLarge("more than 3 redirects".into()));
    assert_eq!(seen.lock().unwrap().len(), 4);
    let request = Request {
        method: "POST".into(),
        headers: vec![("authorization".into(), "Bearer x".into()), ("x-own".into(), "1".into())],
        body: b"secret".to_vec(),
        ..get(&format!("http://127.0.0.1:{port}/on"))
    };
    assert_eq!(client.fetch(&origins, "k", request).await.unwrap().body, b"there");
    let there = heard.lock().unwrap()[0].to_lowercase();
    assert!(there.starts_with("get / ") && there.contains("x-own: 1"), "{there}");
    assert!(!there.contains("bearer") && !there.contains("secret"), "{there}");
}

#[tokio::test]
async fn slow_endless_and_broken_servers_cost_their_own_request_alone() {
    let endless = |_: &str, _| {
        let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
        (0..64).for_each(|_| bytes.extend(format!("400\r\n{}\r\n", "x".repeat(1024)).bytes()));
        bytes
    };
    let heads = |_: &str, _| format!("HTTP/1.1 200 OK\r\n{}", "x-a: b\r\n".repeat(10_000)).into_bytes();
    let announced = |_: &str, _| b"HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n...".to_vec();
    let slow = |_: &str, _| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n...".to_vec();
    let silent = |_: &str, _| b"...".to_vec();
    let garbage = |_: &str, _| b"220 smtp.example ESMTP\r\n".to_vec();
    let options = Options { response_kib_max: 32, ..Options::default() };
    let client = client(&options, lying(&[]));
    type Expected = fn(&Error) -> bool;
    let cases: [(&str, u16, Expected); 6] = [
        ("endless", server(HERE, endless).await.0, |error| matches!(error, Error::TooLarge(_))),
        ("announced", server(HERE, announced).await.0, |error| matches!(error, Error::TooLarge(_))),
        ("heads", server(HERE, heads).await.0, |error| matches!(error, Error::Connection(_))),
        ("slow", server(HERE, slow).await.0, |error| matches!(error, Error::Timeout)),
        ("silent", server(HERE, silent).await.0, |error| {
            matches!(error, Error::Timeout | Error::Connection(_))
        }),
        ("garbage", server(HERE, garbage).await.0, |error| matches!(error, Error::Connection(_))),
    ];
    for (name, port, expected) in cases {
        let origin = format!("http://127.0.0.1:{port}");
        let request = Request { timeout_ms: Some(500), ..get(&origin) };
        let error = client.fetch(&granted(&[origin]), "k", request).await.unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn as_many_requests_as_are_allowed_are_under_way_at_once() {
    let (port, _) = server(HERE, |_, _| b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n...".to_vec()).await;
    let client = client(&Options { at_once_max: 1, ..Options::default() }, lying(&[]));
    let origin = format!("http://127.0.0.1:{port}");
    let grants = granted(std::slice::from_ref(&origin));
    let request = || Request { timeout_ms: Some(300), ..get(&origin) };
    let (first, second) =
        tokio::join!(biased; client.fetch(&grants, "k", request()), client.fetch(&grants, "k", request()));
    assert_eq!(first, Err(Error::Timeout));
    assert!(matches!(second, Err(Error::Busy(_))), "{second:?}");
    assert_eq!(client.fetch(&grants, "k", request()).await, Err(Error::Timeout), "there is room again");
}

#[tokio::test]
async fn what_breaks_a_limit_is_refused_before_a_name_is_resolved() {
    let resolver = lying(&[("a.example", &[&["8.8.8.8"]])]);
    let options = Options { request_kib_max: 1, headers_kib_max: 1, ..Options::default() };
    let client = client(&options, resolver.clone());
    let url = "https://a.example/";
    let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
    let mut requests = vec![
        Request { method: "CONNECT".into(), ..get(url) },
        Request { method: "get".into(), ..get(url) },
        Request { body: vec![0; 1025], ..get(url) },
        Request { headers: header("x", &"v".repeat(1024)), ..get(url) },
        Request { headers: vec![("x".into(), String::new()); 65], ..get(url) },
        Request { headers: header("a b", "c"), ..get(url) },
        Request { headers: header("x", "a\r\nb: c"), ..get(url) },
        get(&format!("https://a.example/{}", "x".repeat(8192))),
        get("not a url"),
        get("gopher://a.example/"),
        get("https://user:password@a.example/"),
    ];
    for name in [
        "Host",
        "cookie",
        "Connection",
        "transfer-encoding",
        "content-length",
        "proxy-authorization",
        "X-Forwarded-For",
        "idempotency-key",
    ] {
        requests.push(Request { headers: header(name, "x"), ..get(url) });
    }
    let grants = granted(&["https://a.example".to_owned()]);
    for request in requests {
        let shown = format!(
            "{} {} {:?}",
            request.method,
            &request.url[..request.url.len().min(40)],
            request.headers.first()
        );
        let error = client.fetch(&grants, "k", request).await.unwrap_err();
        assert!(matches!(error, Error::Invalid(_)), "{shown}: {error:?}");
    }
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 0);
}

/// A server of one certificate that speaks what the client prefers of these.
async fn secure(protocols: &[&str], folder: &std::path::Path) -> (u16, std::path::PathBuf) {
    use hyper_util::rt::TokioIo;
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let ca_file = folder.join("ca.pem");
    std::fs::write(&ca_file, made.cert.pem()).unwrap();
    let key =
        tokio_rustls::rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config =
        tokio_rustls::rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((WORLD, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let serve =
                hyper::service::service_fn(|request: hyper::Request<hyper::body::Incoming>| async move {
                    let body = format!("{:?} {}", request.version(), request.uri().path());
                    Ok::<_, std::convert::Infallible>(hyper::Response::new(body))
                });
            tokio::spawn(async move {
                let stream = TokioIo::new(stream);
                drop(hyper::server::conn::http1::Builder::new().serve_connection(stream, serve).await)
            });
        }
    });
    (port, ca_file)
}

#[tokio::test]
async fn tls_is_checked_by_name_and_authority() {
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let folder = tempfile::tempdir().unwrap();
        let (port, ca_file) = secure(protocols, folder.path()).await;
        let names: &[(&str, &[&[&str]])] =
            &[("a.example", &[&["127.0.0.2"]]), ("b.example", &[&["127.0.0.2"]])];
        let trusting = worldly(&Options { ca_file: Some(ca_file), ..Options::default() }, lying(names));
        let grants = granted(&[format!("https://a.example:{port}"), format!("https://b.example:{port}")]);
        let url = format!("https://a.example:{port}/x");
        let answer = trusting.fetch(&grants, "k", get(&url)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&answer.body), "HTTP/1.1 /x");
        let other = trusting.fetch(&grants, "k", get(&format!("https://b.example:{port}/x"))).await;
        assert!(matches!(other, Err(Error::Connection(_))), "the certificate is another's: {other:?}");
        let strange = worldly(&Options::default(), lying(names)).fetch(&grants, "k", get(&url)).await;
        assert!(matches!(strange, Err(Error::Connection(_))), "nobody vouches for it: {strange:?}");
    }
}

#[test]
fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    for (text, expected) in [
        (None, "No such file"),
        (Some(""), "no certificate"),
        (Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "ca.pem"),
    ] {
        text.into_iter().for_each(|text| std::fs::write(&path, text).unwrap());
        let options = Options { ca_file: Some(path.clone()), ..Options::default() };
        let error = Client::new(&options).err().unwrap().to_string();
        assert!(error.contains("ca_file") && error.contains(expected), "{error}");
    }
}
