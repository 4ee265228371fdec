//! TLS by the host itself: a certificate and its key from files, read again when they change, and the handshake.
//!
//! It owns the two files and what is made of them, and the time and the turns within which a handshake goes on. It
//! refuses to know what is said inside. Start with [`Tls::accept`]; [`Tls::keep_fresh`] looks after the files.

use crate::{options, stream::Stream};
use arc_swap::ArcSwap;
use std::{
    convert::Infallible,
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    task::spawn_blocking,
    time::{sleep, timeout},
};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::Acceptor,
    },
};

/// How often the files are looked at. They are small, and reading them finds every way of replacing a file; watches
/// miss some, such as links that are turned elsewhere.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// HTTP/2 has sockets of another kind, which is not served.
const ALPN: &[u8] = b"http/1.1";
/// What TLS begins with; no request of HTTP does.
const HANDSHAKE_RECORD: u8 = 0x16;

/// Why there can be no TLS as it is set.
#[derive(Debug, thiserror::Error)]
pub enum Misconfigured {
    /// Half of a pair.
    #[error("gateway.tls.{set} is set, but gateway.tls.{missing} is not: set both for TLS, or neither")]
    Half {
        /// What is there.
        set: &'static str,
        /// What is not.
        missing: &'static str,
    },
    /// A file that cannot be read.
    #[error("cannot read the file of gateway.tls.{setting}, {}: {source}", path.display())]
    Unreadable {
        /// Which of the two.
        setting: &'static str,
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file in which there is nothing to use.
    #[error("the file of gateway.tls.{setting}, {}, holds no {wanted}: {source}", path.display())]
    Malformed {
        /// Which of the two.
        setting: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is looked for in it.
        wanted: &'static str,
        /// What was found instead.
        source: pem::Error,
    },
    /// A certificate and a key that do not serve together.
    #[error(
        "the certificate in {} cannot be served with the key in {}: {source}; \
         the file of gateway.tls.certificate begins with the server's own certificate, to which the key belongs",
        certificate.display(),
        key.display()
    )]
    Refused {
        /// The path of the certificates.
        certificate: PathBuf,
        /// The path of the key.
        key: PathBuf,
        /// What is wrong with them.
        source: rustls::Error,
    },
    /// There is no randomness to be had.
    #[error("the keys for resuming TLS sessions cannot be made: {0}")]
    Tickets(rustls::Error),
}

/// What a listener needs for TLS.
pub(crate) struct Tls {
    paths: Paths,
    /// What the files held at the start.
    first: Arc<Files>,
    config: ArcSwap<ServerConfig>,
    handshake_timeout: Duration,
    /// Whose signatures are computed now: one per core. When thousands come at once, they wait here and not in front
    /// of the sockets that are open. Nobody holds a turn while waiting for a peer.
    turns: Semaphore,
}

#[derive(Debug, Clone)]
struct Paths {
    certificate: PathBuf,
    key: PathBuf,
}

#[derive(PartialEq, Eq)]
struct Files {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Tls {
    /// TLS as it is set, if it is.
    pub fn open(options: &options::Tls) -> Result<Option<Self>, Misconfigured> {
        let paths = match (options.certificate.clone(), options.key.clone()) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => Paths { certificate, key },
            (Some(_), None) => return Err(Misconfigured::Half { set: "certificate", missing: "key" }),
            (None, Some(_)) => return Err(Misconfigured::Half { set: "key", missing: "certificate" }),
        };
        let first = Arc::new(paths.read()?);
        let config = ArcSwap::new(paths.config(&first)?);
        let turns = Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from));
        let handshake_timeout = Duration::from_millis(options.handshake_timeout_ms);
        Ok(Some(Self { paths, first, config, handshake_timeout, turns }))
    }

    /// Does the handshake. Who begins with something else than TLS gets the bare stream back: what to say to somebody
    /// at the wrong door is for the caller.
    ///
    /// # Errors
    /// The peer breaks the rules, goes away, or takes too long.
    pub async fn accept(&self, stream: TcpStream) -> io::Result<Stream> {
        timeout(self.handshake_timeout, self.handshake(stream)).await?
    }

    async fn handshake(&self, stream: TcpStream) -> io::Result<Stream> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first[0] != HANDSHAKE_RECORD {
            return Ok(Stream::Plain(stream));
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let handshake = {
            let _turn = self.turns.acquire().await;
            start.into_stream(self.config.load_full())
        };
        Ok(Stream::Tls(Box::new(handshake.await?)))
    }

    /// Takes up new files as they come. Those that cannot be used are told, once, and the ones before go on.
    pub async fn keep_fresh(&self) -> Infallible {
        let mut tried = Ok(self.first.clone());
        let mut seen = None;
        loop {
            sleep(LOOK_EVERY).await;
            let paths = self.paths.clone();
            let found = match spawn_blocking(move || paths.read()).await {
                Ok(found) => found.map(Arc::new).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if found == tried {
                seen = None;
            } else if seen.as_ref() == Some(&found) {
                self.take_up(&found);
                tried = found;
                seen = None;
            } else {
                // What was the same twice is not half written, nor one new file of two.
                seen = Some(found);
            }
        }
    }

    fn take_up(&self, found: &Result<Arc<Files>, String>) {
        let config = match found {
            Ok(files) => self.paths.config(files).map_err(|error| error.to_string()),
            Err(error) => Err(error.clone()),
        };
        match config {
            Ok(config) => {
                self.config.store(config);
                let path = self.paths.certificate.display();
                tracing::info!(%path, "new connections get the new TLS certificate");
            }
            Err(error) => tracing::error!(
                %error,
                "the TLS files have changed and cannot be used, so the certificate before goes on; \
                 put a certificate and its key in place, they are taken up without a restart"
            ),
        }
    }
}

impl Paths {
    fn read(&self) -> Result<Files, Misconfigured> {
        let read = |setting, path: &Path| {
            std::fs::read(path).map_err(|source| Misconfigured::Unreadable {
                setting,
                path: path.to_owned(),
                source,
            })
        };
        Ok(Files { certificate: read("certificate", &self.certificate)?, key: read("key", &self.key)? })
    }

    /// What serves these files. Tickets of earlier ones are worth nothing with it, so that whoever comes back sees the
    /// certificate of now.
    fn config(&self, files: &Files) -> Result<Arc<ServerConfig>, Misconfigured> {
        let malformed = |setting, path: &Path, wanted| {
            let path = path.to_owned();
            move |source| Misconfigured::Malformed { setting, path, wanted, source }
        };
        let chain: Vec<_> = CertificateDer::pem_slice_iter(&files.certificate)
            .collect::<Result<_, _>>()
            .and_then(
                |chain: Vec<_>| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) },
            )
            .map_err(malformed("certificate", &self.certificate, "chain of certificates in PEM"))?;
        let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(malformed(
            "key",
            &self.key,
            "private key in PEM without a passphrase",
        ))?;
        let refused = |source| Misconfigured::Refused {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(refused)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(refused)?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        // Kept by the clients: thousands who come back cost no memory here, and no signature.
        config.ticketer = ring::Ticketer::new().map_err(Misconfigured::Tickets)?;
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    /// A certificate and its key, in PEM.
    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    fn open(certificate: Option<&str>, key: Option<&str>) -> Result<Option<Tls>, String> {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            // A file without text stands for one that is missing.
            if !text.is_empty() {
                std::fs::write(&path, text).unwrap();
            }
            path
        };
        let options = options::Tls {
            certificate: certificate.map(|text| write("chain.pem", text)),
            key: key.map(|text| write("key.pem", text)),
            ..options::Tls::default()
        };
        Tls::open(&options).map_err(|error| error.to_string())
    }

    #[test]
    fn a_pair_turns_tls_on_and_nothing_leaves_it_off() {
        let (certificate, key) = pair();
        let tls = open(Some(&certificate), Some(&key)).unwrap().unwrap();
        assert_eq!(tls.config.load().alpn_protocols, [ALPN]);
        let both = [certificate, key].concat();
        assert!(open(Some(&both), Some(&both)).unwrap().is_some(), "one file may hold both");
        assert!(open(None, None).unwrap().is_none());
    }

    #[test]
    fn files_that_cannot_serve_are_refused_by_setting_path_and_reason() {
        let (certificate, key) = pair();
        let (_, other) = pair();
        let garbled = certificate.replacen("MI", "!!", 1);
        let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
        for (chain, secret, expected) in [
            (Some(&*certificate), None, &["gateway.tls.certificate is set", "gateway.tls.key is not"][..]),
            (None, Some(&*key), &["gateway.tls.key is set", "gateway.tls.certificate is not"]),
            (Some(""), Some(&*key), &["gateway.tls.certificate", "chain.pem", "No such file"]),
            (Some(&*certificate), Some(""), &["gateway.tls.key", "key.pem", "No such file"]),
            (Some("hello\n"), Some(&*key), &["gateway.tls.certificate", "chain.pem", "no chain of"]),
            (Some(&*key), Some(&*key), &["gateway.tls.certificate", "chain.pem", "no chain of"]),
            (Some(&*garbled), Some(&*key), &["gateway.tls.certificate", "chain.pem", "no chain of"]),
            (Some(&*certificate), Some(&*certificate), &["gateway.tls.key", "key.pem", "no private key"]),
            (Some(&*certificate), Some(&*locked), &["gateway.tls.key", "key.pem", "without a passphrase"]),
            (Some(&*certificate), Some(&*other), &["chain.pem", "key.pem", "cannot be served with"]),
        ] {
            let error = open(chain, secret).err().unwrap();
            for part in expected {
                assert!(error.contains(part), "{error:?} does not say {part:?}");
            }
        }
    }
}
