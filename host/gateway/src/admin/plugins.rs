//! `/admin/v1/plugins…`: plugins installed, looked at, rolled back and removed while messages flow.
//!
//! An install is a form with the parts `manifest` (TOML), `component` (wasm) or `digest` (of one that was uploaded), and,
//! as JSON, `grant {capabilities}` and `config`. Each part has its limit, which acts while it is read; what is wrong with
//! them all is the manager's to say. What an operator does with an installed plugin is in `operate`.

use crate::{
    Gateway, Options,
    answer::{self, Failure, Request, Response},
};
use futures_util::TryStreamExt;
use godwit_core::domain::{
    id::Generation,
    plugin::{Begin, Component, Error as Refusal, Install, LogLine, Status},
};
use godwit_protocol::{
    error::{Code, Error},
    request,
};
use http_body_util::BodyStream;
use hyper::{StatusCode, header};
use multer::{Constraints, Multipart, SizeLimit};
use serde::{Deserialize, Serialize};
use tokio::sync::SemaphorePermit;

const MANIFEST_BYTES_MAX: u64 = 256 << 10;
const DIGEST_BYTES_MAX: u64 = 64;
const GRANT_BYTES_MAX: u64 = 16 << 10;
const CONFIG_BYTES_MAX: u64 = 1 << 20;
/// Boundaries and headers of the parts.
const FRAMING_BYTES_MAX: u64 = 16 << 10;

#[derive(Deserialize)]
struct Grant {
    capabilities: Vec<String>,
}

pub(super) async fn list(gateway: &Gateway) -> Response {
    #[derive(Serialize)]
    struct Body {
        plugins: Vec<Status>,
    }
    answer::json(StatusCode::OK, &Body { plugins: all(gateway).await })
}

/// All plugins, with what `core` knows of those that act.
async fn all(gateway: &Gateway) -> Vec<Status> {
    let mut plugins = gateway.plugins.list().await;
    for plugin in &mut plugins {
        plugin.at_work = gateway.host.at_work(&plugin.id);
    }
    plugins
}

pub(super) async fn show(gateway: &Gateway, id: &str) -> Result<Response, Failure> {
    let status = all(gateway).await.into_iter().find(|plugin| plugin.id == id);
    let status = status.ok_or_else(|| failure(Refusal::NotFound(id.to_owned())))?;
    Ok(answer::json(StatusCode::OK, &status))
}

pub(super) async fn install(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let dry_run = match answer::parameter(&request, "dry_run") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::invalid("dry_run", "`dry_run` must be true or false").into()),
    };
    let to = begin(&request)?;
    let _upload = may_upload(gateway)?;
    let timeout_ms = gateway.options.upload_timeout_ms;
    let mut form = answer::within(timeout_ms, read(request, &gateway.options)).await??;
    form.id = id.to_owned();
    form.dry_run = dry_run;
    form.to = to;
    let installed = gateway.plugins.install(form).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &installed))
}

/// A component is large: more uploads than this at once would take the memory that messages need.
pub(super) fn may_upload(gateway: &Gateway) -> Result<SemaphorePermit<'_>, Error> {
    gateway.uploads.try_acquire().map_err(|_| {
        Error::new(Code::Unavailable, "other plugins are being installed; try again").retry_after_ms(2_000)
    })
}

/// How the version is to begin, as the parameters say.
fn begin(request: &Request) -> Result<Begin, Error> {
    let percent = answer::parameter(request, "percent");
    match (answer::parameter(request, "as"), percent) {
        (None | Some("active"), None) => Ok(Begin::Active),
        (Some("shadow"), None) => Ok(Begin::Shadow),
        (Some("canary"), Some(percent)) => percent
            .parse()
            .map(Begin::Canary)
            .map_err(|_| Error::invalid("percent", "`percent` must be a number from 1 to 99")),
        (Some("canary"), None) => Err(Error::invalid("percent", "a canary needs `percent`, from 1 to 99")),
        (Some("shadow" | "active") | None, Some(_)) => {
            Err(Error::invalid("percent", "`percent` is for `as=canary`"))
        }
        (Some(_), _) => Err(Error::invalid("as", "`as` must be active, shadow or canary")),
    }
}

pub(super) async fn rollback(gateway: &Gateway, id: &str) -> Result<Response, Failure> {
    let installed = gateway.plugins.rollback(id).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &installed))
}

pub(super) async fn remove(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        generation: Generation,
    }
    let discard = match answer::parameter(request, "discard") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Error::invalid("discard", "`discard` must be true or false").into()),
    };
    let generation = gateway.plugins.remove(id).await.map_err(failure)?;
    if discard {
        gateway.host.discard_errands(id);
    }
    Ok(answer::json(StatusCode::OK, &Body { generation }))
}

pub(super) async fn logs(gateway: &Gateway, request: &Request, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        lines: Vec<LogLine>,
    }
    let after = answer::parameter(request, "after").unwrap_or("0");
    let after =
        after.parse().map_err(|_| Error::invalid("after", "`after` must be the number of a line, or 0"))?;
    let lines = gateway.plugins.logs(id, after).await.map_err(failure)?;
    Ok(answer::json(StatusCode::OK, &Body { lines }))
}

pub(super) fn failure(refusal: Refusal) -> Failure {
    match refusal {
        Refusal::Refused(problems) => {
            Failure::problems("the plugin is refused; `problems` says why", problems)
        }
        Refusal::NotFound(_) | Refusal::NoComponent(_) => {
            Error::new(Code::NotFound, refusal.to_string()).into()
        }
        Refusal::Conflict(message) => Error::new(Code::Conflict, message).into(),
        Refusal::Store(error) => Error::from(error).into(),
    }
}

/// Reads the form.
async fn read(request: Request, options: &Options) -> Result<Install, Failure> {
    let limit = |part: &str| match part {
        "manifest" => MANIFEST_BYTES_MAX,
        "component" => options.component_bytes_max,
        "digest" => DIGEST_BYTES_MAX,
        "grant" => GRANT_BYTES_MAX,
        _ => CONFIG_BYTES_MAX,
    };
    let whole = options
        .component_bytes_max
        .saturating_add(MANIFEST_BYTES_MAX + GRANT_BYTES_MAX + CONFIG_BYTES_MAX + FRAMING_BYTES_MAX);
    let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let Ok(boundary) = multer::parse_boundary(content_type.unwrap_or_default()) else {
        answer::discard(request.into_body()).await;
        return Err(Error::invalid("body", "the body must be multipart/form-data with a boundary").into());
    };
    let mut body = request.into_body();
    let stream =
        BodyStream::new(&mut body).try_filter_map(|frame| std::future::ready(Ok(frame.into_data().ok())));
    let parts = ["manifest", "component", "digest", "grant", "config"];
    let mut sizes = SizeLimit::new().whole_stream(whole);
    for part in parts {
        sizes = sizes.for_field(part, limit(part));
    }
    let constraints = Constraints::new().allowed_fields(parts.to_vec()).size_limit(sizes);
    let mut multipart = Multipart::with_constraints(stream, boundary, constraints);
    let form = collect(&mut multipart).await;
    drop(multipart);
    if form.is_err() {
        answer::discard(body).await;
    }
    form
}

async fn collect(multipart: &mut Multipart<'_>) -> Result<Install, Failure> {
    let (mut manifest, mut component, mut digest, mut grant, mut config) = (None, None, None, None, None);
    while let Some(mut field) = multipart.next_field().await.map_err(broken)? {
        let name = field.name().unwrap_or_default().to_owned();
        let part = match &*name {
            "manifest" => &mut manifest,
            "component" => &mut component,
            "digest" => &mut digest,
            "grant" => &mut grant,
            _ => &mut config,
        };
        if part.is_some() {
            return Err(Error::invalid(&name, format!("the part `{name}` comes twice")).into());
        }
        let bytes = part.insert(Vec::new());
        while let Some(chunk) = field.chunk().await.map_err(broken)? {
            bytes.extend_from_slice(&chunk);
        }
    }
    let missing = |part: &str| Error::invalid(part, format!("the part `{part}` is missing"));
    let text = |part: &str, bytes| {
        String::from_utf8(bytes).map_err(|_| Error::invalid(part, format!("the part `{part}` must be UTF-8")))
    };
    let manifest = text("manifest", manifest.ok_or_else(|| missing("manifest"))?)?;
    let read_grant = |grant| request::read::<Grant>("grant", &text("grant", grant)?);
    let component = match (component, digest) {
        (Some(component), None) => Component::Bytes(component),
        (None, Some(digest)) => {
            let digest = text("digest", digest)?.parse();
            Component::Digest(digest.map_err(|problem: String| Error::invalid("digest", problem))?)
        }
        (None, None) => return Err(missing("component").into()),
        (Some(_), Some(_)) => {
            let problem = "the parts `component` and `digest` are two ways to name one component";
            return Err(Error::invalid("digest", problem).into());
        }
    };
    Ok(Install {
        id: String::new(),
        manifest,
        component,
        grants: grant.map(read_grant).transpose()?.map(|grant| grant.capabilities),
        config: config.map(|config| text("config", config)).transpose()?,
        to: Begin::default(),
        dry_run: false,
    })
}

fn broken(error: multer::Error) -> Failure {
    match error {
        multer::Error::FieldSizeExceeded { limit, field_name } => {
            answer::too_large(field_name.as_deref().unwrap_or("body"), limit)
        }
        multer::Error::StreamSizeExceeded { limit } => answer::too_large("body", limit),
        error => Error::invalid("body", format!("the form cannot be read: {error}")).into(),
    }
}
