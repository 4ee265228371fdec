//! Which web pages may come in: those of the host itself, and those of origins that an operator named.

use crate::answer::Failure;
use godwit_protocol::error::{Code, Error};
use hyper::{HeaderMap, header};

/// An `Origin` must be absent, the host's own, or one of those configured: pages of others must not speak for a person
/// with what a browser knows of them.
pub(crate) fn check(headers: &HeaderMap, origins: &[String]) -> Result<(), Failure> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"))
        .is_some_and(|authority| host.is_some_and(|host| authority.eq_ignore_ascii_case(host)));
    if own || origins.iter().any(|allowed| allowed == origin) {
        return Ok(());
    }
    let shown: String = origin.chars().take(100).collect();
    Err(Error::new(Code::Forbidden, format!("the origin `{shown}` is not allowed")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_must_be_absent_the_hosts_own_or_configured() {
        let allowed = ["https://chat.example.com".to_owned()];
        let allows = |origin: Option<&str>| {
            let mut headers = HeaderMap::from_iter([(header::HOST, "localhost:8080".parse().unwrap())]);
            headers.extend(origin.map(|origin| (header::ORIGIN, origin.parse().unwrap())));
            check(&headers, &allowed).is_ok()
        };
        assert!(allows(None));
        assert!(allows(Some("http://localhost:8080")));
        assert!(allows(Some("https://chat.example.com")));
        for bad in
            ["http://localhost", "https://evil.example", "null", "", "https://chat.example.com.evil.example"]
        {
            assert!(!allows(Some(bad)), "{bad}");
        }
    }
}
