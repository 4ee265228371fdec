//! Certificates of a test's own, and clients that trust nothing else.
//!
//! It owns the pair of files that a server is given, and the TLS side of a client; what is said inside is for
//! [`crate::client`]. Start with [`Certificate::new`].

use crate::PATIENCE;
use anyhow::{Context, Result};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName},
    },
};

/// A self-signed certificate for `localhost`, with its key.
pub struct Certificate {
    /// The certificate in PEM.
    pub chain: String,
    /// Its key in PEM.
    pub key: String,
    der: CertificateDer<'static>,
}

impl Certificate {
    /// A new one, with a key that no other has.
    ///
    /// # Errors
    /// There is no randomness.
    pub fn new() -> Result<Self> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()])?;
        Ok(Self { chain: cert.pem(), key: signing_key.serialize_pem(), der: cert.der().clone() })
    }

    /// Writes `chain.pem` and `key.pem` into this folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::write(folder.join("chain.pem"), &self.chain)?;
        Ok(std::fs::write(folder.join("key.pem"), &self.key)?)
    }

    /// A connection with a server that shows this certificate.
    ///
    /// # Errors
    /// It shows another, or does not speak TLS.
    pub async fn connect(&self, address: SocketAddr) -> Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let connecting =
            TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream);
        Ok(tokio::time::timeout(PATIENCE, connecting).await.context("no TLS handshake")??)
    }
}

/// The settings of a server whose files are in this folder, as [`Certificate::write`] leaves them.
pub fn settings(folder: &Path) -> String {
    let path = |name| folder.join(name).display().to_string();
    format!("[gateway.tls]\ncertificate = {:?}\nkey = {:?}\n", path("chain.pem"), path("key.pem"))
}
