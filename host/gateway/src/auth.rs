//! `/v1/auth/…`: how people come in over HTTP.
//!
//! ```text
//! POST /v1/auth/register {name, password, display_name?}  201 {user, access_token, refresh_token, expires_at}
//! POST /v1/auth/login    {name, password}                 200 the same
//! POST /v1/auth/refresh  {refresh_token}                  200 the same
//! POST /v1/auth/logout   Authorization: Bearer            204
//! ```

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::{accounts::Tokens, domain::time::Ms};
use godwit_protocol::{
    error::{Code, Error},
    object,
};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

#[derive(Deserialize)]
struct Register {
    name: String,
    password: String,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct LogIn {
    name: String,
    password: String,
}

#[derive(Deserialize)]
struct Refresh {
    refresh_token: String,
}

pub(crate) async fn register(
    gateway: &Gateway,
    request: Request,
    address: IpAddr,
) -> Result<Response, Failure> {
    let Register { name, password, display_name } = gateway.read_json(request).await?;
    let tokens = gateway.accounts.register(&name, &password, display_name.as_deref(), address).await?;
    Ok(show(StatusCode::CREATED, &tokens))
}

pub(crate) async fn login(gateway: &Gateway, request: Request, address: IpAddr) -> Result<Response, Failure> {
    let LogIn { name, password } = gateway.read_json(request).await?;
    Ok(show(StatusCode::OK, &gateway.accounts.login(&name, &password, address).await?))
}

pub(crate) async fn refresh(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    let Refresh { refresh_token } = gateway.read_json(request).await?;
    Ok(show(StatusCode::OK, &gateway.accounts.refresh(&refresh_token).await?))
}

pub(crate) async fn logout(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    let token = answer::bearer(request.headers()).ok_or_else(|| {
        Error::new(Code::Unauthorised, "there is no `Authorization: Bearer` with an access token")
    })?;
    gateway.accounts.logout(token).await?;
    Ok(answer::nothing())
}

fn show(status: StatusCode, tokens: &Tokens) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        user: object::User<'a>,
        access_token: &'a str,
        refresh_token: &'a str,
        expires_at: Ms,
    }
    let body = Body {
        user: (&*tokens.user).into(),
        access_token: &tokens.access_token,
        refresh_token: &tokens.refresh_token,
        expires_at: tokens.expires_at,
    };
    answer::json(status, &body)
}
