//! The routes of the admin listener, for operators' tools and a company's own back end.
//!
//! ```text
//! POST   /admin/v1/users                          {name, password?, display_name?}  201 {user}
//! POST   /admin/v1/users/{id}/tokens              {ttl_s?}                          201 {access_token, expires_at}
//! PUT    /admin/v1/users/{id}/password            {password}                        204
//! PUT    /admin/v1/users/{id}/disabled            {disabled}                        204
//! GET    /admin/v1/plugins                                                          200 {plugins: […]}
//! GET    /admin/v1/plugins/{id}                                                     200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}?dry_run=true      a form, see `plugins`             200 {id, version, …} or 422
//!        …&as=shadow, …&as=canary&percent=N       beside the active version
//! DELETE /admin/v1/plugins/{id}?discard=true                                        200 {generation}
//! POST   /admin/v1/plugins/{id}/rollback                                            200 {id, version, …}
//! POST   /admin/v1/plugins/{id}/grant             {capabilities}                    200 {id, version, …} or 422
//! POST   /admin/v1/plugins/{id}/shadow, …/promote, …/drop                           200 {id, version, …}
//! POST   /admin/v1/plugins/{id}/canary            {percent}                         200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}/disabled          {disabled}                        200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}/pinned            {pinned}                          200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}/priority          {priority?}                       200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}/failure           {moderation?, open?}              200 {id, version, …}
//! PUT    /admin/v1/plugins/{id}/scope             {kinds?, labels?, conversations?} 200 {id, version, …}
//! GET    /admin/v1/plugins/{id}/logs?after=N                                        200 {lines: […]}
//! GET    /admin/v1/plugins/{id}/poison                                              200 {poisoned: […]}
//! DELETE /admin/v1/plugins/{id}/poison                                              200 {forgotten}
//! GET    /admin/v1/components                                                       200 {components: […]}
//! POST   /admin/v1/components                     the component                     201 {digest, size, hooks, imports}
//! DELETE /admin/v1/components/{digest}                                              204
//! GET    /admin/v1/plugins/{id}/secrets                                             200 {secrets: [name, …]}
//! PUT    /admin/v1/plugins/{id}/secrets/{name}    {value}                           204
//! DELETE /admin/v1/plugins/{id}/secrets/{name}                                      204
//! GET    /admin/v1/plugins/{id}/dead?page=P&limit=N                                 200 {letters: […], next?}
//! GET    /admin/v1/plugins/{id}/dead/{n}                                            200 {n, cause, why, …}
//! DELETE /admin/v1/plugins/{id}/dead/{n}                                            204
//! POST   /admin/v1/plugins/{id}/dead/{n}/redrive                                    204
//! GET    /admin/v1/conversations/{id}/messages/{seq}/trace                          200 {generation, plugins: […]}
//! GET    /admin/v1/held?page=P&limit=N                                              200 {held: […], next?}
//! PUT    /admin/v1/conversations/{id}/labels  {labels: [string]}                    200 {labels}
//! GET    /admin/v1/conversations/{id}/held?page=P&limit=N                           200 {held: […], next?}
//! POST   /admin/v1/conversations/{id}/held/{sender}/{client_id}/release             200 {seq, sent_at}
//! POST   /admin/v1/conversations/{id}/held/{sender}/{client_id}/reject  {reason?}   200 {}
//! GET    /health/live, /health/ready              200 {status}, or 503 with the reason
//! GET    /metrics                                 OpenMetrics text
//! ```
//!
//! Everything under `/admin` wants the [`Token`], before anything else is told, and before a body is read.
//! It owns no behaviour: accounts, the host and the plugin manager decide.

mod components;
mod dead;
mod held;
mod labels;
mod operate;
mod plugins;
mod secrets;
mod trace;
mod users;

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::plugin::Advance;
use godwit_protocol::error::{Code, Error};
use hyper::{Method, StatusCode};
use serde::Serialize;
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// What opens the admin API.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token of that text, which has to be random and secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Compares in a time that does not tell how much of it is right.
    fn fits(&self, text: &str) -> bool {
        self.0.as_bytes().ct_eq(text.as_bytes()).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

pub(crate) async fn respond(gateway: &Gateway, request: Request) -> Response {
    route(gateway, request).await.unwrap_or_else(Response::from)
}

async fn route(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    let path = request.uri().path().to_owned();
    if path == "/admin" || path.starts_with("/admin/") {
        let token = answer::bearer(request.headers()).unwrap_or_default();
        if !gateway.admin_token.fits(token) {
            answer::discard(request.into_body()).await;
            return Err(Error::new(
                Code::Unauthorised,
                "there is no `Authorization: Bearer` with the admin token",
            )
            .into());
        }
    }
    let only = |method, allow| answer::only(&request, method, allow);
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match parts[..] {
        ["health", "live"] => {
            only(Method::GET, "GET")?;
            Ok(healthy("live"))
        }
        ["health", "ready"] => {
            only(Method::GET, "GET")?;
            (gateway.ready)().map_err(|reason| Error::new(Code::Unavailable, reason))?;
            Ok(healthy("ready"))
        }
        ["metrics"] => {
            only(Method::GET, "GET")?;
            metrics(gateway)
        }
        ["admin", "v1", "users"] => {
            only(Method::POST, "POST")?;
            users::create(gateway, request).await
        }
        ["admin", "v1", "users", id, "tokens"] => {
            only(Method::POST, "POST")?;
            users::mint(gateway, request, id).await
        }
        ["admin", "v1", "users", id, "password"] => {
            only(Method::PUT, "PUT")?;
            users::set_password(gateway, request, id).await
        }
        ["admin", "v1", "users", id, "disabled"] => {
            only(Method::PUT, "PUT")?;
            users::set_disabled(gateway, request, id).await
        }
        ["admin", "v1", "plugins"] => {
            only(Method::GET, "GET")?;
            Ok(plugins::list(gateway).await)
        }
        ["admin", "v1", "plugins", id] => match *request.method() {
            Method::GET => plugins::show(gateway, id).await,
            Method::PUT => plugins::install(gateway, request, id).await,
            Method::DELETE => plugins::remove(gateway, &request, id).await,
            _ => Err(Failure::method("GET, PUT, DELETE")),
        },
        ["admin", "v1", "plugins", id, "rollback"] => {
            only(Method::POST, "POST")?;
            plugins::rollback(gateway, id).await
        }
        ["admin", "v1", "plugins", id, "logs"] => {
            only(Method::GET, "GET")?;
            plugins::logs(gateway, &request, id).await
        }
        ["admin", "v1", "plugins", id, "grant"] => {
            only(Method::POST, "POST")?;
            operate::grant(gateway, request, id).await
        }
        ["admin", "v1", "plugins", id, "canary"] => {
            only(Method::POST, "POST")?;
            operate::canary(gateway, request, id).await
        }
        ["admin", "v1", "plugins", id, step @ ("shadow" | "promote" | "drop")] => {
            only(Method::POST, "POST")?;
            let advance = match step {
                "shadow" => Advance::Shadow,
                "promote" => Advance::Promote,
                _ => Advance::Drop,
            };
            operate::advance(gateway, id, advance).await
        }
        ["admin", "v1", "plugins", id, name @ ("disabled" | "pinned" | "priority" | "failure" | "scope")] => {
            only(Method::PUT, "PUT")?;
            operate::set(gateway, request, id, name).await
        }
        ["admin", "v1", "plugins", id, "poison"] => match *request.method() {
            Method::GET => operate::poisoned(gateway, id).await,
            Method::DELETE => operate::forgive(gateway, id).await,
            _ => Err(Failure::method("GET, DELETE")),
        },
        ["admin", "v1", "components"] => match *request.method() {
            Method::GET => components::list(gateway).await,
            Method::POST => components::upload(gateway, request).await,
            _ => Err(Failure::method("GET, POST")),
        },
        ["admin", "v1", "components", digest] => {
            only(Method::DELETE, "DELETE")?;
            components::discard(gateway, digest).await
        }
        ["admin", "v1", "plugins", id, "secrets"] => {
            only(Method::GET, "GET")?;
            secrets::list(gateway, id).await
        }
        ["admin", "v1", "plugins", id, "secrets", name] => match *request.method() {
            Method::PUT => secrets::set(gateway, request, id, name).await,
            Method::DELETE => secrets::remove(gateway, id, name).await,
            _ => Err(Failure::method("PUT, DELETE")),
        },
        ["admin", "v1", "plugins", id, "dead"] => {
            only(Method::GET, "GET")?;
            dead::list(gateway, &request, id).await
        }
        ["admin", "v1", "plugins", id, "dead", n] => match *request.method() {
            Method::GET => dead::show(gateway, id, n).await,
            Method::DELETE => dead::drop(gateway, id, n).await,
            _ => Err(Failure::method("GET, DELETE")),
        },
        ["admin", "v1", "plugins", id, "dead", n, "redrive"] => {
            only(Method::POST, "POST")?;
            dead::redrive(gateway, id, n).await
        }
        ["admin", "v1", "conversations", id, "messages", seq, "trace"] => {
            only(Method::GET, "GET")?;
            trace::show(gateway, id, seq).await
        }
        ["admin", "v1", "held"] => {
            only(Method::GET, "GET")?;
            held::everywhere(gateway, &request).await
        }
        ["admin", "v1", "conversations", id, "labels"] => {
            only(Method::PUT, "PUT")?;
            labels::set(gateway, request, id).await
        }
        ["admin", "v1", "conversations", id, "held"] => {
            only(Method::GET, "GET")?;
            held::list(gateway, &request, id).await
        }
        ["admin", "v1", "conversations", id, "held", sender, client, "release"] => {
            only(Method::POST, "POST")?;
            held::release(gateway, [id, sender, client]).await
        }
        ["admin", "v1", "conversations", id, "held", sender, client, "reject"] => {
            only(Method::POST, "POST")?;
            held::reject(gateway, request, [id, sender, client]).await
        }
        _ => Err(Failure::no_route(&path)),
    }
}

fn healthy(status: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        status: &'a str,
    }
    answer::json(StatusCode::OK, &Body { status })
}

fn metrics(gateway: &Gateway) -> Result<Response, Failure> {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &gateway.registry)
        .map_err(|error| Error::new(Code::Internal, format!("the metrics cannot be written: {error}")))?;
    Ok(answer::plain(StatusCode::OK, "application/openmetrics-text; version=1.0.0; charset=utf-8", text))
}

/// The id that stands in a path.
fn id(text: &str) -> Result<Uuid, Error> {
    Uuid::try_parse(text).map_err(|_| Error::invalid("id", "the id in the path is no UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_fits_as_a_whole_or_not_at_all() {
        let token = Token::new("secret");
        assert!(token.fits("secret"));
        for wrong in ["", "secre", "secret ", "Secret", "secrets"] {
            assert!(!token.fits(wrong), "{wrong:?}");
        }
        assert_eq!(format!("{token:?}"), "Token(..)");
    }
}
