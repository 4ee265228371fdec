//! The operator's way in: the admin listener's routes.
//!
//! It owns the address and the token; it refuses to interpret more of an answer than its caller needs.
//! Start with [`Admin::create_user`] and [`Admin::install`]; [`Admin::call`] is for everything else.

use crate::PATIENCE;
use anyhow::{Context, Result, bail};
use reqwest::{
    Method,
    multipart::{Form, Part},
};
use serde_json::{Value, json};
use std::{net::SocketAddr, path::Path};
use uuid::Uuid;

/// A way to the admin listener.
#[derive(Debug, Clone)]
pub struct Admin {
    address: SocketAddr,
    token: String,
    http: reqwest::Client,
}

/// What is to be installed.
#[derive(Debug, Clone, Default)]
pub struct Install {
    /// The id in the address.
    pub id: String,
    /// The manifest (TOML).
    pub manifest: String,
    /// The component.
    pub component: Vec<u8>,
    /// Capabilities granted.
    pub grants: Vec<String>,
    /// The configuration; absent where `None`.
    pub config: Option<Value>,
    /// Check only.
    pub dry_run: bool,
}

/// A status and the JSON that came with it, `null` where none did.
pub type Answer = (u16, Value);

impl Admin {
    /// The admin listener at that address, with the token that stands in the data folder.
    ///
    /// # Errors
    /// The token cannot be read.
    pub fn of_folder(address: SocketAddr, data: &Path) -> Result<Self> {
        let file = data.join("admin-token");
        let token = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
        Ok(Self::new(address, token.trim()))
    }

    /// The admin listener at that address, with this token.
    pub fn new(address: SocketAddr, token: &str) -> Self {
        Self { address, token: token.to_owned(), http: reqwest::Client::new() }
    }

    /// The same address with another token.
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Where it is, for those who speak to it by hand.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let url = format!("http://{}{path}", self.address);
        self.http.request(method, url).bearer_auth(&self.token).timeout(PATIENCE)
    }

    /// Any request with a JSON body or none.
    ///
    /// # Errors
    /// No answer came.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer> {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.json(body);
        }
        answer(request).await
    }

    /// A new user.
    ///
    /// # Errors
    /// Any answer but `201`.
    pub async fn create_user(&self, name: &str, password: Option<&str>) -> Result<Uuid> {
        let body = json!({"name": name, "password": password});
        let answer = self.call(Method::POST, "/admin/v1/users", Some(&body)).await?;
        let user = expect(answer, 201)?;
        id(&user["user"]["id"])
    }

    /// An access token of that user, for so many seconds.
    ///
    /// # Errors
    /// Any answer but `201`.
    pub async fn mint(&self, user: Uuid, ttl_s: Option<u64>) -> Result<String> {
        let body = json!({"ttl_s": ttl_s});
        let path = format!("/admin/v1/users/{user}/tokens");
        let minted = expect(self.call(Method::POST, &path, Some(&body)).await?, 201)?;
        Ok(minted["access_token"].as_str().context("a token is a string")?.to_owned())
    }

    /// Installs a plugin, or checks it.
    ///
    /// # Errors
    /// No answer came.
    pub async fn install(&self, install: Install) -> Result<Answer> {
        let dry_run = if install.dry_run { "?dry_run=true" } else { "" };
        let json = |text: String| Part::text(text).mime_str("application/json");
        let mut form = Form::new()
            .text("manifest", install.manifest)
            .part("component", Part::bytes(install.component).mime_str("application/wasm")?)
            .part("grant", json(json!({"capabilities": install.grants}).to_string())?);
        if let Some(config) = install.config {
            form = form.part("config", json(config.to_string())?);
        }
        let path = format!("/admin/v1/plugins/{}{dry_run}", install.id);
        answer(self.request(Method::PUT, &path).multipart(form)).await
    }

    /// Installs a plugin that must be accepted; the generation that serves it.
    ///
    /// # Errors
    /// Any answer but `200`.
    pub async fn installed(&self, install: Install) -> Result<u64> {
        let installed = expect(self.install(install).await?, 200)?;
        installed["generation"].as_u64().context("a generation is an integer")
    }

    /// What decided about a message.
    ///
    /// # Errors
    /// Any answer but `200`.
    pub async fn trace(&self, conversation: Uuid, seq: u64) -> Result<Value> {
        let path = format!("/admin/v1/conversations/{conversation}/messages/{seq}/trace");
        expect(self.call(Method::GET, &path, None).await?, 200)
    }

    /// All metrics in the text format.
    ///
    /// # Errors
    /// No answer came.
    pub async fn metrics(&self) -> Result<String> {
        Ok(self.request(Method::GET, "/metrics").send().await?.error_for_status()?.text().await?)
    }
}

async fn answer(request: reqwest::RequestBuilder) -> Result<Answer> {
    let response = request.send().await?;
    let status = response.status().as_u16();
    Ok((status, serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null)))
}

/// The body of an answer that must have this status.
///
/// # Errors
/// It has another.
pub fn expect((status, body): Answer, expected: u16) -> Result<Value> {
    if status != expected {
        bail!("expected {expected}, got {status}: {body}");
    }
    Ok(body)
}

/// An id within an answer.
///
/// # Errors
/// It is none.
pub fn id(value: &Value) -> Result<Uuid> {
    let text = value.as_str().with_context(|| format!("an id is a string, not {value}"))?;
    text.parse().with_context(|| format!("{text} is no id"))
}
