//! Origins: scheme, host and port, in one spelling each.
//!
//! The parser of URLs is that of the web: it reads a host in decimal, octal or hexadecimal as the address that it is,
//! and a name in its ASCII form, so that there is one spelling to compare and to check.

use std::fmt;
use url::{Host, Url};

/// A scheme, a host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) secure: bool,
    pub(crate) host: Host<String>,
    pub(crate) port: u16,
}

impl Origin {
    /// Reads an origin as manifests name it: nothing but a scheme, a host and perhaps a port.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("`{text}` is no origin: {why}, as in `https://api.example.com`");
        let url = Url::parse(text).map_err(|error| refused(&error.to_string()))?;
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() || text.ends_with('/') {
            return Err(refused("it must be a scheme, a host and perhaps a port alone"));
        }
        Self::of(&url).map_err(|why| refused(&why))
    }

    /// The origin of a URL.
    pub(crate) fn of(url: &Url) -> Result<Self, String> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("the scheme is `{other}` and must be https or http")),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("it names a user or a password".to_owned());
        }
        let host = url.host().ok_or("it names no host")?;
        let host = match host {
            // A final dot names the same host, and must not name another origin.
            Host::Domain(name) => Host::Domain(name.trim_end_matches('.').to_owned()),
            Host::Ipv4(address) => Host::Ipv4(address),
            Host::Ipv6(address) => Host::Ipv6(address),
        };
        if matches!(&host, Host::Domain(name) if name.is_empty()) {
            return Err("it names no host".to_owned());
        }
        let port = url.port_or_known_default().ok_or("it names no port")?;
        Ok(Self { secure, host, port })
    }

    /// Host and port as requests name them.
    pub(crate) fn authority(&self) -> String {
        match (self.secure, self.port) {
            (true, 443) | (false, 80) => self.host.to_string(),
            (_, port) => format!("{}:{port}", self.host),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.secure { "https" } else { "http" }, self.authority())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_one_spelling() {
        for (text, expected) in [
            ("https://api.example.com", "https://api.example.com"),
            ("HTTPS://API.Example.COM:443", "https://api.example.com"),
            ("https://api.example.com.", "https://api.example.com"),
            ("http://api.example.com:8080", "http://api.example.com:8080"),
            ("https://b\u{fc}cher.example", "https://xn--bcher-kva.example"),
            ("http://0x7f.1", "http://127.0.0.1"),
            ("http://[::1]:81", "http://[::1]:81"),
        ] {
            assert_eq!(Origin::parse(text).unwrap().to_string(), expected);
        }
    }

    #[test]
    fn what_is_more_or_less_than_an_origin_is_refused() {
        for text in [
            "api.example.com",
            "https://",
            "https://.",
            "https://a.example/",
            "https://a.example/path",
            "https://a.example?q",
            "https://u@a.example",
            "ftp://a.example",
            "file:///etc/passwd",
        ] {
            assert!(Origin::parse(text).is_err(), "{text}");
        }
    }
}
