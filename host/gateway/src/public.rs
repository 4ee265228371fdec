//! The routes of the public listener.
//!
//! ```text
//! POST /v1/auth/{register,login,refresh,logout}   accounts, see `auth`
//! GET  /v1/ws                                     the socket, see `socket`
//! POST /v1/rpc   GET /v1/events                   the same without sockets, see `rpc`
//! ANY  /v1/hooks/{plugin}/{path}                   what plugins answer, see `hooks`
//! GET  /  /web/…  /sdk/…                          pages and modules, see `assets`
//! ```
//!
//! Errors are `{"error": {…}}`, as in frames. No route answers to pages of other origins: there is no CORS.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
    assets, auth, hooks, rpc, socket,
};
use hyper::Method;
use std::{net::IpAddr, sync::Arc};

pub(crate) async fn respond(gateway: &Arc<Gateway>, request: Request, address: IpAddr) -> Response {
    route(gateway, request, address).await.unwrap_or_else(Response::from)
}

async fn route(gateway: &Arc<Gateway>, request: Request, address: IpAddr) -> Result<Response, Failure> {
    if let Some((plugin, path)) = hooks::split(request.uri().path()) {
        let (plugin, path) = (plugin.to_owned(), path.to_owned());
        return hooks::respond(gateway, request, &plugin, &path, address).await;
    }
    let post = || answer::only(&request, Method::POST, "POST");
    match request.uri().path() {
        "/v1/auth/register" => {
            post()?;
            auth::register(gateway, request, address).await
        }
        "/v1/auth/login" => {
            post()?;
            auth::login(gateway, request, address).await
        }
        "/v1/auth/refresh" => {
            post()?;
            auth::refresh(gateway, request).await
        }
        "/v1/auth/logout" => {
            post()?;
            auth::logout(gateway, request).await
        }
        "/v1/ws" => {
            answer::only(&request, Method::GET, "GET")?;
            socket::upgrade(gateway, request)
        }
        "/v1/rpc" => {
            post()?;
            rpc::request(gateway, request).await
        }
        "/v1/events" => {
            answer::only(&request, Method::GET, "GET")?;
            rpc::events(gateway, request).await
        }
        _ => {
            let found = assets::respond(&request, gateway.options.assets_dir.as_deref()).await?;
            match *request.method() {
                Method::GET | Method::HEAD => Ok(found),
                _ => Err(Failure::method("GET, HEAD")),
            }
        }
    }
}
