//! A client of the admin API, as small as what the command line needs of it.
//!
//! hyper's own client connection serves: it is compiled already for the server, one request per connection needs no
//! pool, and the admin listener speaks plain HTTP on a private address, so a client library with TLS would bring
//! twenty crates for nothing.

use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::time::Duration;
use tokio::{net::TcpStream, time::timeout};

/// An install waits for compilation, which has a limit of its own on the host's side.
const REPLY_WITHIN: Duration = Duration::from_secs(300);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// More than any reply of the API; who answers more is not Godwit.
const REPLY_BYTES_MAX: usize = 16 << 20;

/// Where the host is, and what opens it.
#[derive(Debug, Clone)]
pub struct Client {
    /// `host:port` of the admin listener.
    pub address: String,
    /// The admin token; the client listener's routes get it too, and do not look.
    pub token: String,
}

/// What to send.
#[derive(Debug)]
pub enum Body {
    /// Nothing.
    Empty,
    /// A JSON value.
    Json(Value),
    /// A component.
    Bytes(Bytes),
    /// The parts of a form: name, content type, bytes.
    Form(Vec<(&'static str, &'static str, Bytes)>),
}

impl Client {
    /// Sends a request and reads the reply's JSON; `null` where there is none.
    ///
    /// # Errors
    /// Nobody answers, or the host refuses; the text says what to do.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<T> {
        let (status, reply) = self.exchange(method, path, body).await?;
        if !status.is_success() {
            bail!("{}", self.refusal(status, &reply));
        }
        let reply: &[u8] = if reply.is_empty() { b"null" } else { &reply };
        serde_json::from_slice(reply)
            .with_context(|| format!("cannot understand the reply of {}", self.address))
    }

    /// Sends a request and reads the reply, whatever its status.
    ///
    /// # Errors
    /// Nobody answers, or not in time.
    pub async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Body,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let stream = timeout(CONNECT_WITHIN, TcpStream::connect(&self.address))
            .await
            .map_err(|_| anyhow!("no answer within {} s", CONNECT_WITHIN.as_secs()))
            .and_then(|stream| stream.map_err(anyhow::Error::from))
            .with_context(|| {
                format!(
                    "no host answers at {}; start one with `godwit serve`, or name its admin address with --admin",
                    self.address
                )
            })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the reply, when the sender is dropped.
        let driver = tokio::spawn(connection);
        let reply = timeout(REPLY_WITHIN, async {
            let reply = sender.send_request(self.request(method, path, body)?).await?;
            let status = reply.status();
            let body = Limited::new(reply.into_body(), REPLY_BYTES_MAX).collect().await;
            Ok((status, body.map_err(|error| anyhow!(error))?.to_bytes()))
        })
        .await
        .map_err(|_| anyhow!("{} did not reply within {} s", self.address, REPLY_WITHIN.as_secs()))?;
        driver.abort();
        reply
    }

    fn request(&self, method: Method, path: &str, body: Body) -> anyhow::Result<Request<Full<Bytes>>> {
        let builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, &self.address)
            .header(header::AUTHORIZATION, format!("Bearer {}", self.token));
        let (content_type, bytes) = match body {
            Body::Empty => return Ok(builder.body(Full::default())?),
            Body::Json(value) => ("application/json".to_owned(), Bytes::from(value.to_string())),
            Body::Bytes(bytes) => ("application/wasm".to_owned(), bytes),
            Body::Form(parts) => form(&parts),
        };
        Ok(builder.header(header::CONTENT_TYPE, content_type).body(Full::new(bytes))?)
    }

    /// What a refusal means to the person at the terminal.
    fn refusal(&self, status: StatusCode, reply: &[u8]) -> String {
        let said: Value = serde_json::from_slice(reply).unwrap_or_default();
        let message = said["error"]["message"].as_str().unwrap_or_default();
        match status {
            StatusCode::UNAUTHORIZED => format!(
                "{} refused the admin token; it stands in the file `admin-token` of the host's data folder: \
                 name it with --token-file, or set GODWIT_ADMIN_TOKEN",
                self.address
            ),
            _ if message.is_empty() => format!("{} answered {status}", self.address),
            _ => {
                let problems = said["problems"].as_array().into_iter().flatten().filter_map(Value::as_str);
                let problems: Vec<_> = problems.map(|problem| format!("\n  - {problem}")).collect();
                if problems.is_empty() {
                    message.to_owned()
                } else {
                    format!("refused:{}", problems.concat())
                }
            }
        }
    }
}

/// A `multipart/form-data` body. The boundary is random, so that no component can contain it but by guessing.
fn form(parts: &[(&'static str, &'static str, Bytes)]) -> (String, Bytes) {
    let boundary = format!("godwit-{}", uuid::Uuid::new_v4().simple());
    let mut bytes = Vec::new();
    for (name, content_type, content) in parts {
        bytes.extend_from_slice(
            format!(
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\ncontent-type: {content_type}\r\n\r\n"
            )
            .as_bytes(),
        );
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/form-data; boundary={boundary}"), Bytes::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// A host that answers one request with status and body, and gives back what it was sent.
    async fn answer(status: &str, body: &str) -> (Client, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
            // Enough for these requests: they end with a blank line or with the closing boundary of a form.
            while !request.ends_with(b"\r\n\r\n") && !request.ends_with(b"--\r\n") {
                let read = stream.read(&mut buffer).await.unwrap();
                assert_ne!(read, 0, "the request ended early");
                request.extend_from_slice(&buffer[..read]);
            }
            stream.write_all(reply.as_bytes()).await.unwrap();
            String::from_utf8(request).unwrap()
        });
        (Client { address, token: "secret".to_owned() }, served)
    }

    #[tokio::test]
    async fn a_request_carries_the_token_and_the_reply_is_read() {
        let (client, served) = answer("200 OK", "{\"plugins\":[]}").await;
        let reply: Value = client.call(Method::GET, "/admin/v1/plugins", Body::Empty).await.unwrap();
        assert_eq!(reply, serde_json::json!({ "plugins": [] }));
        let request = served.await.unwrap();
        assert!(request.starts_with("GET /admin/v1/plugins HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("authorization: Bearer secret\r\n"), "{request}");
    }

    #[tokio::test]
    async fn a_refusal_is_told_in_the_words_of_the_host() {
        let refusal = r#"{"error":{"code":"invalid","message":"refused"},"problems":["no hook","no id"]}"#;
        let (client, served) = answer("422 Unprocessable Entity", refusal).await;
        let form = Body::Form(vec![("manifest", "application/toml", Bytes::from("id = 1"))]);
        let error = client.call::<Value>(Method::PUT, "/admin/v1/plugins/x", form).await.unwrap_err();
        assert_eq!(error.to_string(), "refused:\n  - no hook\n  - no id");
        let request = served.await.unwrap();
        let part = "name=\"manifest\"\r\ncontent-type: application/toml\r\n\r\nid = 1\r\n--godwit-";
        assert!(request.contains(part), "{request}");
    }

    #[tokio::test]
    async fn a_wrong_token_says_where_the_right_one_is() {
        let (client, _) = answer("401 Unauthorized", "").await;
        let error = client.call::<Value>(Method::GET, "/", Body::Empty).await.unwrap_err();
        assert!(error.to_string().contains("--token-file"), "{error}");
    }

    #[tokio::test]
    async fn nobody_there_says_how_to_start_one() {
        // Bound and dropped, so that the port is known to be free.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let client = Client { address, token: String::new() };
        let error = client.call::<Value>(Method::GET, "/", Body::Empty).await.unwrap_err();
        assert!(error.to_string().contains("godwit serve"), "{error}");
    }
}
