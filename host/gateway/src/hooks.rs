//! `/v1/hooks/{plugin}/{path}`: HTTP requests of other systems, answered by plugins.
//!
//! It owns what goes in and out: bounds, what of the head a plugin may see, and a response that can do nothing in the
//! origin of the web client. What is asked of which plugin is `core`'s to say.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::{
    actors::Unanswered,
    domain::actor::{self, Media},
};
use godwit_protocol::error::{Code, Error};
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderValue},
};
use std::{net::IpAddr, sync::Arc};

/// What a page that a plugin answers may do: nothing, and not even as this origin.
const POLICY: &str = "default-src 'none'; sandbox; frame-ancestors 'none'";
/// What plugins are not told: what opens something here, and what only says how the request came.
const HIDDEN: &[&str] = &["authorization", "cookie", "proxy-authorization", "connection", "godwit-session"];
/// How many headers a plugin is told, and how many bytes of them.
const HEADERS_MAX: usize = 64;
const HEADER_BYTES_MAX: usize = 8 << 10;

/// The plugin and the rest of a path under `/v1/hooks/`.
pub(crate) fn split(path: &str) -> Option<(&str, &str)> {
    let rest = path.strip_prefix("/v1/hooks/")?;
    Some(rest.split_once('/').unwrap_or((rest, "")))
}

pub(crate) async fn respond(
    gateway: &Arc<Gateway>,
    request: Request,
    plugin: &str,
    path: &str,
    address: IpAddr,
) -> Result<Response, Failure> {
    let address = address.to_canonical().to_string();
    let options = &gateway.options;
    let admitted = gateway.host.admit_hook(plugin, &address, options.hooks_per_s);
    let methods = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
    let refusal = match admitted {
        Err(error) => Some(error.into()),
        Ok(()) if !methods.contains(request.method()) => {
            Some(Failure::method("GET, POST, PUT, PATCH, DELETE"))
        }
        Ok(()) => None,
    };
    if let Some(refusal) = refusal {
        answer::discard(request.into_body()).await;
        return Err(refusal);
    }
    let key = match request.headers().get("idempotency-key").map(HeaderValue::to_str) {
        None => None,
        Some(Ok(key)) => Some(key.to_owned()),
        Some(Err(_)) => {
            return Err(Error::invalid("idempotency-key", "the Idempotency-Key must be of ASCII").into());
        }
    };
    let mut told = actor::Request {
        method: request.method().as_str().to_owned(),
        path: path.to_owned(),
        query: request.uri().query().map(str::to_owned),
        headers: headers(request.headers())?,
        body: Vec::new(),
        address,
    };
    told.body = answer::read(request, options.hook_body_bytes_max, options.body_timeout_ms).await?;
    match gateway.host.hook(plugin, told, key.as_deref()).await {
        Ok(response) => Ok(answered(response)),
        Err(Unanswered::Nobody) => Err(nobody(plugin)),
        // What went wrong is for the operator, in the plugin's log.
        Err(Unanswered::Failed(_)) => {
            let text = format!("the plugin `{}` gave no answer", cut(plugin));
            Err(Error::new(Code::Timeout, text).into())
        }
        Err(Unanswered::Refused(error)) => Err(error.into()),
    }
}

fn cut(plugin: &str) -> String {
    plugin.chars().take(64).collect()
}

fn nobody(plugin: &str) -> Failure {
    Error::new(Code::NotFound, format!("no plugin `{}` answers requests here", cut(plugin))).into()
}

fn headers(headers: &HeaderMap) -> Result<Vec<(String, String)>, Error> {
    let shown = headers.iter().filter(|(name, _)| !HIDDEN.contains(&name.as_str()));
    // What is no text says nothing to a plugin.
    let shown = shown.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let shown: Vec<_> = shown.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let bytes: usize = shown.iter().map(|(name, value)| name.len() + value.len()).sum();
    if shown.len() > HEADERS_MAX || bytes > HEADER_BYTES_MAX {
        let text = format!(
            "{} headers of {bytes} bytes, the limits are {HEADERS_MAX} and {HEADER_BYTES_MAX}",
            shown.len()
        );
        return Err(Error::new(Code::TooLarge, text).field("headers"));
    }
    Ok(shown)
}

fn answered(response: actor::Response) -> Response {
    let media = match response.media {
        Media::Json => "application/json",
        Media::Text => "text/plain; charset=utf-8",
        Media::Bytes => "application/octet-stream",
    };
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut answer = answer::plain(status, media, response.body);
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_a_plugin_and_the_rest() {
        for (path, parts) in [
            ("/v1/hooks/git/push/1", Some(("git", "push/1"))),
            ("/v1/hooks/git/", Some(("git", ""))),
            ("/v1/hooks/git", Some(("git", ""))),
            ("/v1/hooks", None),
            ("/v1/hook/git", None),
        ] {
            assert_eq!(split(path), parts, "{path}");
        }
    }

    #[test]
    fn a_response_can_do_nothing_in_this_origin_and_has_no_header_of_its_own() {
        for (media, kind) in [
            (Media::Json, "application/json"),
            (Media::Text, "text/plain; charset=utf-8"),
            (Media::Bytes, "application/octet-stream"),
        ] {
            let answer = answered(actor::Response { status: 201, media, body: b"<script>".to_vec() });
            let headers = answer.headers();
            assert_eq!(answer.status(), StatusCode::CREATED);
            assert_eq!(headers[header::CONTENT_TYPE], kind);
            assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert_eq!(headers[header::CONTENT_SECURITY_POLICY], POLICY);
            assert_eq!(headers.len(), 4, "{headers:?}");
        }
    }

    #[test]
    fn credentials_are_not_told_to_plugins() {
        let mut given = HeaderMap::new();
        for name in ["authorization", "cookie", "x-signature"] {
            given.insert(name, HeaderValue::from_static("secret"));
        }
        assert_eq!(headers(&given), Ok(vec![("x-signature".to_owned(), "secret".to_owned())]));
        for index in 0..HEADERS_MAX {
            let name = header::HeaderName::try_from(format!("x-{index}")).unwrap();
            given.insert(name, HeaderValue::from_static("y"));
        }
        assert_eq!(headers(&given).unwrap_err().code, Code::TooLarge);
    }
}
