//! `/admin/v1/users…`: accounts made, let in and shut out by an administrator.

use crate::{
    Gateway,
    answer::{self, Failure, Request, Response},
};
use godwit_core::domain::{id::UserId, time::Ms};
use godwit_protocol::object;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// How long a minted token is good for where it is not said.
const TTL_S: u64 = 3_600;

#[derive(Deserialize)]
struct Create {
    name: String,
    password: Option<String>,
    display_name: Option<String>,
}

#[derive(Deserialize)]
struct Mint {
    ttl_s: Option<u64>,
}

#[derive(Deserialize)]
struct Password {
    password: String,
}

#[derive(Deserialize)]
struct Disabled {
    disabled: bool,
}

pub(super) async fn create(gateway: &Gateway, request: Request) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body<'a> {
        user: object::User<'a>,
    }
    let Create { name, password, display_name } = gateway.read_json(request).await?;
    let user = gateway.accounts.create(&name, password.as_deref(), display_name.as_deref()).await?;
    Ok(answer::json(StatusCode::CREATED, &Body { user: (&user).into() }))
}

pub(super) async fn mint(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    #[derive(Serialize)]
    struct Body {
        access_token: String,
        expires_at: Ms,
    }
    let user = UserId(super::id(id)?);
    let Mint { ttl_s } = gateway.read_json(request).await?;
    let minted = gateway.accounts.mint(user, ttl_s.unwrap_or(TTL_S)).await?;
    let body = Body { access_token: minted.access_token, expires_at: minted.expires_at };
    Ok(answer::json(StatusCode::CREATED, &body))
}

pub(super) async fn set_password(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let user = UserId(super::id(id)?);
    let Password { password } = gateway.read_json(request).await?;
    gateway.accounts.set_password(user, &password).await?;
    Ok(answer::nothing())
}

pub(super) async fn set_disabled(gateway: &Gateway, request: Request, id: &str) -> Result<Response, Failure> {
    let user = UserId(super::id(id)?);
    let Disabled { disabled } = gateway.read_json(request).await?;
    gateway.accounts.set_disabled(user, disabled).await?;
    Ok(answer::nothing())
}
