//! Targets inside, in every spelling and by every way: none is ever connected to.
//!
//! The connector of these tests counts, and lets nobody through but to the world: that something inside would not have
//! answered anyway proves nothing.

use super::*;
use tokio::net::TcpStream;

/// Writes down whither connections were wanted; makes those to the world.
#[derive(Default)]
struct Counting(Mutex<Vec<SocketAddr>>);

#[async_trait]
impl Connect for Counting {
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.0.lock().unwrap().push(address);
        match address.ip() == WORLD {
            true => TcpStream::connect(address).await,
            false => Err(io::Error::other("this must not be tried")),
        }
    }
}

impl Counting {
    /// Connections to anywhere but the world.
    fn inside(&self) -> Vec<SocketAddr> {
        self.0.lock().unwrap().iter().copied().filter(|address| address.ip() != WORLD).collect()
    }

    fn outside(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|address| address.ip() == WORLD).count()
    }
}

/// As the host has it, but that 127.0.0.2 is out in the world.
fn guarded(resolver: Arc<Lying>) -> (Client, Arc<Counting>) {
    let connector = Arc::<Counting>::default();
    let open = |address: IpAddr| address == WORLD || address::public(address);
    (Client::with(&Options::default(), resolver, connector.clone(), open).unwrap(), connector)
}

/// Spellings of addresses inside, as URLs may carry them. The port is put in.
const SPELLINGS: [&str; 58] = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0x7f.0.0.1",
    "0x7f.1",
    "017700000001",
    "0177.0.0.1",
    "0177.1",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "0x0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "\u{ff11}\u{ff12}\u{ff17}.0.0.1",
    "127\u{3002}0\u{3002}0\u{3002}1",
    "\u{2460}27.0.0.1",
    "127.0.0.1%2e",
    "%31%32%37.0.0.1",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "[::ffff:169.254.169.254]",
    "10.0.0.1",
    "192.168.0.1",
    "172.16.0.1",
    "100.64.0.1",
    "[fd00::1]",
    "[fe80::1]",
    "224.0.0.1",
    // With somebody's name before it, or one that looks like the server's.
    "outer.example@127.0.0.1",
    "outer.example:80@127.0.0.1",
    "outer.example%2f@127.0.0.1",
    "127.0.0.1#@outer.example",
    "127.0.0.1?@outer.example",
    "127.0.0.1\\@outer.example",
    "127.0.0.1%23.outer.example@127.0.0.1",
    // In parts that overflow or are mixed.
    "0x7f.0.1",
    "127.0x0.0.01",
    "0300.0250.0.1",
    "0xc0a80001",
    "3232235521",
    "0251.0376.0251.0376",
    "169.254.43518",
    "[::ffff:a9fe:a9fe]",
    "[0000:0000:0000:0000:0000:ffff:7f00:0001]",
    "[fe80::1%25eth0]",
    "\t127.0.0.1",
];

/// Addresses inside, as a name may have them.
const RESOLVED: [&str; 40] = [
    "127.0.0.1",
    "127.0.0.53",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "169.254.169.254",
    "169.254.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "192.168.255.255",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "168.63.129.16",
    "::1",
    "::",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "2002:7f00:1::1",
    "2001:db8::1",
    "2001::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "ff02::1",
    "2a00::5efe:7f00:1",
];

/// A name for each of [`RESOLVED`], for one good address among bad ones, and those that systems know by themselves.
fn names(resolver: &Lying) -> Vec<String> {
    let mut names = resolver.names.lock().unwrap();
    for (n, address) in RESOLVED.iter().enumerate() {
        names.insert(format!("name-{n}.example"), vec![vec![address.parse().unwrap()]]);
    }
    for (name, addresses) in [
        ("mixed.example", vec!["8.8.8.8", "127.0.0.1"]),
        ("mixed-last.example", vec!["127.0.0.2", "::1"]),
        ("localhost", vec!["127.0.0.1"]),
        ("metadata.google.internal", vec!["169.254.169.254"]),
    ] {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        names.insert(name.to_owned(), vec![addresses]);
    }
    let mut all: Vec<String> = names.keys().cloned().collect();
    all.sort();
    all
}

#[tokio::test]
async fn no_spelling_of_an_inner_address_and_no_name_of_one_is_ever_connected_to() {
    let resolver = lying(&[]);
    let names = names(&resolver);
    let (client, connector) = guarded(resolver.clone());
    let mut origins: Vec<String> = names.iter().map(|name| format!("http://{name}:8080")).collect();
    origins.push("http://outer.example:8080".to_owned());
    let grants = granted(&origins);
    let mut tried = 0;
    for name in &names {
        for spelling in [name.clone(), format!("{name}."), name.to_uppercase()] {
            let refused =
                client.fetch(&grants, "k", get(&format!("http://{spelling}:8080/"))).await.unwrap_err();
            assert!(matches!(refused, Error::Address(_)), "{spelling}: {refused:?}");
            tried += 1;
        }
    }
    for spelling in SPELLINGS {
        for url in [
            format!("http://{spelling}:8080/"),
            format!("https://{spelling}/"),
            format!("HTTP:\\\\{spelling}:8080/"),
        ] {
            let refused = client.fetch(&grants, "k", get(&url)).await.unwrap_err();
            assert!(matches!(refused, Error::Denied(_) | Error::Invalid(_)), "{url}: {refused:?}");
            tried += 1;
        }
    }
    for scheme in ["file", "ftp", "gopher", "data", "ws", "unix", "javascript"] {
        let refused =
            client.fetch(&grants, "k", get(&format!("{scheme}://127.0.0.1:8080/"))).await.unwrap_err();
        assert!(matches!(refused, Error::Invalid(_)), "{scheme}: {refused:?}");
        tried += 1;
    }
    assert!(tried >= 60, "{tried}");
    assert!(connector.inside().is_empty(), "{:?}", connector.inside());
    assert_eq!(connector.outside(), 0);
}

#[tokio::test]
async fn no_redirect_to_one_is_followed() {
    let resolver = lying(&[("outer.example", &[&["127.0.0.2"]])]);
    let names = names(&resolver);
    let mut targets: Vec<String> = names
        .iter()
        .filter(|name| *name != "outer.example")
        .flat_map(|name| [format!("http://{name}:8080/"), format!("//{name}.:8080/")])
        .collect();
    targets.extend(SPELLINGS.iter().map(|spelling| format!("http://{}:8080/", spelling.trim())));
    let locations = targets.clone();
    let (port, _) = server(WORLD, move |request, _| {
        let n: usize = request.split(['/', ' ']).find_map(|part| part.parse().ok()).unwrap();
        // Headers are Latin-1: what is beyond comes as its bytes.
        to(&locations[n])
    })
    .await;
    let (client, connector) = guarded(resolver);
    let mut origins: Vec<String> = names.iter().map(|name| format!("http://{name}:8080")).collect();
    origins.push(format!("http://outer.example:{port}"));
    let grants = granted(&origins);
    for (n, target) in targets.iter().enumerate() {
        let outcome = client.fetch(&grants, "k", get(&format!("http://outer.example:{port}/{n}"))).await;
        match outcome {
            Err(Error::Address(_) | Error::Denied(_) | Error::Invalid(_) | Error::Connection(_)) => {}
            // A location that is no text is none.
            Ok(answer) => assert!(answer.status == 302 && !target.is_ascii(), "{target}: {answer:?}"),
            other => panic!("{target}: {other:?}"),
        }
    }
    assert!(targets.len() >= 60, "{}", targets.len());
    assert!(connector.inside().is_empty(), "{:?}", connector.inside());
    assert_eq!(connector.outside(), targets.len(), "each was asked for once");
}

#[tokio::test]
async fn no_name_that_changes_its_address_leads_inside() {
    let resolver = lying(&[]);
    let (port, _) = server(WORLD, |_, _| ok("outside")).await;
    let (client, connector) = guarded(resolver.clone());
    for address in RESOLVED {
        // Good when it is looked at, and inside when it is asked for again.
        let answers = vec![vec![WORLD], vec![address.parse().unwrap()]];
        resolver.names.lock().unwrap().insert("rebinding.example".to_owned(), answers);
        let grants = granted(&[format!("http://rebinding.example:{port}")]);
        let url = format!("http://rebinding.example:{port}/");
        assert_eq!(&*client.fetch(&grants, "k", get(&url)).await.unwrap().body, b"outside", "{address}");
        let refused = client.fetch(&grants, "k", get(&url)).await.unwrap_err();
        assert!(matches!(refused, Error::Address(_)), "{address}: {refused:?}");
    }
    assert!(connector.inside().is_empty(), "{:?}", connector.inside());
    assert_eq!(connector.outside(), RESOLVED.len());
    assert_eq!(resolver.asked.load(Ordering::SeqCst), 2 * RESOLVED.len(), "resolved once for each request");
}
