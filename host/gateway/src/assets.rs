//! The web pages and the client library, as files in the binary.
//!
//! `/` is `index.html` and `/web/…` the other files of `host/web`; `/sdk/…` are the modules of `sdk/client-js`.
//! A browser may keep them, and asks each time whether they are still the same. Served from a folder
//! ([`Options::assets_dir`](crate::Options)) they are never kept.

use crate::answer::{self, Failure, Request, Response};
use bytes::Bytes;
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use rust_embed::{Embed, EmbeddedFile};
use std::{borrow::Cow, fmt::Write, path::Path};

#[derive(Embed)]
#[folder = "../web"]
struct Web;

#[derive(Embed)]
#[folder = "../../sdk/client-js"]
#[include = "*.js"]
#[include = "*.d.ts"]
#[exclude = "test/*"]
#[exclude = "node_modules/*"]
struct Sdk;

/// Pages may load what this host serves and talk to this host, and nothing else; nobody may frame them.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
    connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whose file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Root {
    Web,
    Sdk,
}

impl Root {
    fn embedded(self, name: &str) -> Option<EmbeddedFile> {
        match self {
            Self::Web => Web::get(name),
            Self::Sdk => Sdk::get(name),
        }
    }

    const fn folder(self) -> &'static str {
        match self {
            Self::Web => "host/web",
            Self::Sdk => "sdk/client-js",
        }
    }
}

/// The file at the request's path, or that there is none.
pub(crate) async fn respond(request: &Request, checkout: Option<&Path>) -> Result<Response, Failure> {
    let path = request.uri().path();
    let missing = || Failure::no_route(path);
    let (root, name) = find(path).ok_or_else(missing)?;
    match checkout {
        None => Ok(embedded(request.headers(), name, root.embedded(name).ok_or_else(missing)?)),
        Some(checkout) => {
            let file = checkout.join(root.folder()).join(name);
            let bytes = tokio::fs::read(file).await.map_err(|_| missing())?;
            Ok(guarded(answer::plain(StatusCode::OK, content_type(name), bytes)))
        }
    }
}

/// Names are of plain characters, and no part of one begins with a dot: none leads out of its folder.
fn find(path: &str) -> Option<(Root, &str)> {
    let (root, name) = match path {
        "/" => (Root::Web, "index.html"),
        _ => match path.strip_prefix("/web/") {
            Some(name) => (Root::Web, name),
            None => (Root::Sdk, path.strip_prefix("/sdk/")?),
        },
    };
    let plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
    };
    name.split('/').all(plain).then_some((root, name))
}

fn embedded(headers: &HeaderMap, name: &str, file: EmbeddedFile) -> Response {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    let mut response = if known(headers, &tag) {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => bytes.into(),
        };
        answer::plain(StatusCode::OK, content_type(name), bytes)
    };
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    guarded(response)
}

/// Whether the client has the file of that tag already.
fn known(headers: &HeaderMap, tag: &str) -> bool {
    let tags = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(','))
        .map(str::trim)
        .any(|known| known == "*" || known.trim_start_matches("W/") == tag)
}

fn guarded(mut response: Response) -> Response {
    let headers: [(HeaderName, &str); 3] = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ];
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" | "map" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        "ts" | "txt" | "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_files_of_the_two_folders_and_nowhere_else() {
        let cases = [
            ("/", Some((Root::Web, "index.html"))),
            ("/web/app.js", Some((Root::Web, "app.js"))),
            ("/web/icons/a-b_c.svg", Some((Root::Web, "icons/a-b_c.svg"))),
            ("/sdk/index.js", Some((Root::Sdk, "index.js"))),
            ("/app.js", None),
            ("/web", None),
            ("/web/", None),
            ("/web/..", None),
            ("/web/../secret", None),
            ("/web/a/../../secret", None),
            ("/web/%2e%2e/secret", None),
            ("/web//etc/passwd", None),
            ("/web/.git", None),
            ("/web/a\\b", None),
            ("/sdk/", None),
        ];
        for (path, expected) in cases {
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn every_embedded_file_has_a_path_and_a_type_of_its_own() {
        for name in Web::iter() {
            assert_eq!(find(&format!("/web/{name}")), Some((Root::Web, &*name)));
            assert_ne!(content_type(&name), "application/octet-stream", "{name}");
        }
        for name in Sdk::iter() {
            assert_eq!(find(&format!("/sdk/{name}")), Some((Root::Sdk, &*name)));
            assert_ne!(content_type(&name), "application/octet-stream", "{name}");
        }
    }

    #[test]
    fn a_tag_is_known_in_every_form_in_which_it_may_be_sent() {
        let cases = [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(value));
            assert_eq!(known(&headers, "\"a\""), expected, "{value}");
        }
        assert!(!known(&HeaderMap::new(), "\"a\""));
    }
}
