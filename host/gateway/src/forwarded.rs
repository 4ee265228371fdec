//! Who asks, where proxies stand between.
//!
//! It owns whom to believe: every proxy adds the address that it was asked from at the end of a header, so the list is
//! read from its end for as long as the one who wrote is trusted. What does not read as an address is believed as
//! little as a stranger: the peer counts then. It refuses to know what an address is good for.

use crate::options::{ForwardedHeader, Options};
use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| format!("`{text}` is no address and no network, as `10.0.0.1` or `10.0.0.0/8`"))
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Client {
    /// From where, in the shorter form where it has two.
    pub address: IpAddr,
    /// The `Host` that was asked, where a trusted proxy says so.
    pub host: Option<HeaderValue>,
}

/// What one proxy wrote: who asked it, and for which host.
#[derive(Debug, PartialEq, Eq)]
struct Hop<'a> {
    address: Option<IpAddr>,
    host: Option<Cow<'a, str>>,
}

/// Who is behind this peer.
pub(crate) fn client(options: &Options, peer: IpAddr, headers: &HeaderMap) -> Client {
    let peer = peer.to_canonical();
    let trusted = |address| options.trusted_proxies.iter().any(|network| network.contains(address));
    if !trusted(peer) {
        return Client { address: peer, host: None };
    }
    let read = match options.forwarded_header {
        ForwardedHeader::XForwardedFor => x_forwarded(headers),
        ForwardedHeader::Forwarded => rfc_7239(headers),
    };
    let hops = read.unwrap_or_default();
    // The first stranger from the end; where nobody is one, whoever stands furthest away.
    let is_stranger = |hop: &&Hop<'_>| hop.address.is_none_or(|address| !trusted(address));
    let hop = hops.iter().rev().find(is_stranger).or(hops.first());
    let known = hop.and_then(|hop| Some((hop.address?, hop.host.as_deref())));
    let (address, host) = known.unwrap_or((peer, None));
    Client { address, host: host.and_then(|host| HeaderValue::from_str(host).ok()) }
}

/// The hops of `X-Forwarded-For`. Who was asked stands in one header for all: what the nearest proxy wrote is last.
fn x_forwarded(headers: &HeaderMap) -> Option<Vec<Hop<'_>>> {
    let host = list(headers, &X_FORWARDED_HOST)?.pop();
    let addresses = list(headers, &X_FORWARDED_FOR)?.into_iter().map(address);
    Some(addresses.map(|address| Hop { address, host: host.map(Cow::from) }).collect())
}

/// The elements of a header that is a list and may come in several parts; `None` where one is no text.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Vec<&'a str>> {
    let parts: Option<Vec<_>> = headers.get_all(name).iter().map(|value| value.to_str().ok()).collect();
    Some(parts?.into_iter().flat_map(|part| part.split(',')).map(str::trim).collect())
}

/// The hops of `Forwarded`; `None` where it is not written as it has to be: somebody may have left a quote open so that
/// it swallows what a proxy adds.
fn rfc_7239(headers: &HeaderMap) -> Option<Vec<Hop<'_>>> {
    let mut hops = Vec::new();
    for value in headers.get_all(header::FORWARDED) {
        for element in split(value.to_str().ok()?, ',')? {
            let mut hop = Hop { address: None, host: None };
            for pair in split(element, ';')? {
                let (name, value) = pair.split_once('=')?;
                let value = unquoted(value);
                if name.eq_ignore_ascii_case("for") {
                    hop.address = address(&value);
                } else if name.eq_ignore_ascii_case("host") {
                    hop.host = Some(value);
                }
            }
            hops.push(hop);
        }
    }
    Some(hops)
}

/// Splits where the separator stands outside of quotes; `None` where a quote stays open.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if character == separator && !quoted => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    (!quoted).then_some(parts)
}

fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.into();
    };
    let mut escaped = false;
    let keep = |character: &char| {
        escaped = *character == '\\' && !escaped;
        !escaped
    };
    inner.chars().filter(keep).collect::<String>().into()
}

/// An address as proxies write it: bare, with a port, and of IPv6 in brackets as well.
fn address(text: &str) -> Option<IpAddr> {
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::from);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse().ok().or_else(with_port).or_else(bracketed)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn options(header: ForwardedHeader) -> Options {
        let trusted_proxies = ["10.0.0.0/8", "2001:db8:ffff::/48", "192.0.2.99"];
        Options {
            trusted_proxies: trusted_proxies.iter().map(|network| network.parse().unwrap()).collect(),
            forwarded_header: header,
            ..Options::default()
        }
    }

    #[track_caller]
    fn check(header: ForwardedHeader, peer: &str, lines: &[(&'static str, &str)], expected: (&str, &str)) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let client = client(&options(header), peer.parse().unwrap(), &headers);
        let host = client.host.as_ref().map_or("", |host| host.to_str().unwrap());
        assert_eq!((client.address.to_string().as_str(), host), expected, "{peer} {lines:?}");
    }

    #[test]
    fn the_rightmost_stranger_of_x_forwarded_for_is_the_client_where_the_peer_is_trusted() {
        for (peer, value, expected) in [
            (PROXY, "203.0.113.7", "203.0.113.7"),
            (PROXY, "203.0.113.7, 10.1.2.3", "203.0.113.7"),
            (PROXY, "1.1.1.1, 203.0.113.7, 10.1.2.3,10.0.0.9", "203.0.113.7"),
            (PROXY, "198.51.100.1,\t203.0.113.7:4711", "203.0.113.7"),
            (PROXY, "2001:db8::7", "2001:db8::7"),
            (PROXY, "[2001:db8::7]", "2001:db8::7"),
            (PROXY, "[2001:db8::7]:4711", "2001:db8::7"),
            (PROXY, "::ffff:203.0.113.7", "203.0.113.7"),
            (PROXY, "10.2.2.2, 10.3.3.3", "10.2.2.2"),
            ("192.0.2.99", "203.0.113.7", "203.0.113.7"),
            ("::ffff:10.0.0.1", "203.0.113.7", "203.0.113.7"),
            ("2001:db8:ffff::1", "203.0.113.7", "203.0.113.7"),
            // Strangers are not believed.
            ("203.0.113.1", "203.0.113.7", "203.0.113.1"),
            ("192.0.2.98", "203.0.113.7", "192.0.2.98"),
            ("2001:db8:fffe::1", "203.0.113.7", "2001:db8:fffe::1"),
            // What cannot be read where it counts is not guessed at.
            (PROXY, "", PROXY),
            (PROXY, ",", PROXY),
            (PROXY, "unknown", PROXY),
            (PROXY, "203.0.113.7, unknown", PROXY),
            (PROXY, "203.0.113.7,", PROXY),
            (PROXY, "203.0.113.7, 10.0.0.256", PROXY),
            (PROXY, "203.0.113.7:99999", PROXY),
            (PROXY, "for=203.0.113.7", PROXY),
            (PROXY, "203.0.113.7\u{e9}", PROXY),
            // Where it does not, it harms nobody.
            (PROXY, "garbage, 203.0.113.7", "203.0.113.7"),
        ] {
            check(ForwardedHeader::XForwardedFor, peer, &[("x-forwarded-for", value)], (expected, ""));
        }
    }

    #[test]
    fn forwarded_is_read_as_its_rfc_says() {
        for (value, expected) in [
            ("for=203.0.113.7", ("203.0.113.7", "")),
            ("For=203.0.113.7;proto=https;by=10.0.0.1", ("203.0.113.7", "")),
            (
                "for=1.1.1.1, for=203.0.113.7;host=chat.example.com, for=10.1.1.1;host=inner",
                ("203.0.113.7", "chat.example.com"),
            ),
            ("for=\"203.0.113.7:4711\"", ("203.0.113.7", "")),
            (
                "for=\"[2001:db8::7]:4711\";host=\"chat.example.com:8443\"",
                ("2001:db8::7", "chat.example.com:8443"),
            ),
            ("for=\"[2001:db8::7]\"", ("2001:db8::7", "")),
            ("for=\"203.0.11\\3.7\"", ("203.0.113.7", "")),
            ("by=\"a, for=1.1.1.1;\\\", for=2.2.2.2\", for=203.0.113.7", ("203.0.113.7", "")),
            ("for=10.2.2.2, for=10.3.3.3", ("10.2.2.2", "")),
            // A client's open quote swallows what the proxy added.
            ("for=\", for=203.0.113.7", (PROXY, "")),
            ("for=1.1.1.1;x=\"\\\", for=203.0.113.7", (PROXY, "")),
            ("for=unknown", (PROXY, "")),
            ("for=_hidden, for=10.1.1.1", (PROXY, "")),
            ("for=203.0.113.7, proto=https", (PROXY, "")),
            ("for=203.0.113.7, for", (PROXY, "")),
            ("203.0.113.7", (PROXY, "")),
            ("", (PROXY, "")),
        ] {
            check(ForwardedHeader::Forwarded, PROXY, &[("forwarded", value)], expected);
        }
    }

    #[test]
    fn a_header_in_several_lines_is_one_list() {
        let x = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "203.0.113.7, 10.1.1.1")];
        check(ForwardedHeader::XForwardedFor, PROXY, &x, ("203.0.113.7", ""));
        let rfc = [("forwarded", "for=\""), ("forwarded", "for=203.0.113.7")];
        check(ForwardedHeader::Forwarded, PROXY, &rfc, (PROXY, ""));
        let rfc = [("forwarded", "for=1.1.1.1"), ("forwarded", "for=203.0.113.7, for=10.1.1.1")];
        check(ForwardedHeader::Forwarded, PROXY, &rfc, ("203.0.113.7", ""));
    }

    #[test]
    fn the_host_counts_as_the_nearest_proxy_tells_it_and_as_a_stranger_does_not() {
        let host = |value| [("x-forwarded-for", "203.0.113.7"), ("x-forwarded-host", value)];
        for (value, expected) in
            [("chat.example.com", "chat.example.com"), ("evil.example, chat.example.com", "chat.example.com")]
        {
            check(ForwardedHeader::XForwardedFor, PROXY, &host(value), ("203.0.113.7", expected));
        }
        check(ForwardedHeader::XForwardedFor, "203.0.113.1", &host("evil.example"), ("203.0.113.1", ""));
    }

    #[test]
    fn the_header_that_is_not_configured_is_not_read() {
        let both = [("x-forwarded-for", "203.0.113.7"), ("forwarded", "for=198.51.100.1")];
        check(ForwardedHeader::XForwardedFor, PROXY, &both, ("203.0.113.7", ""));
        check(ForwardedHeader::Forwarded, PROXY, &both, ("198.51.100.1", ""));
        check(ForwardedHeader::Forwarded, PROXY, &both[..1], (PROXY, ""));
    }

    #[test]
    fn a_network_is_an_address_or_has_a_prefix_and_names_what_it_is_not() {
        for (text, shown) in [("10.0.0.1", "10.0.0.1/32"), ("10.0.0.0/8", "10.0.0.0/8"), ("::1", "::1/128")] {
            assert_eq!(text.parse::<Network>().unwrap().to_string(), shown);
        }
        for text in ["", "10.0.0.0/33", "localhost", "10.0.0.1:80", "10.0.0.0/"] {
            let error = text.parse::<Network>().unwrap_err();
            assert!(error.contains(&format!("`{text}`")), "{error}");
        }
    }
}
