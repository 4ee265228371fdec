//! Registering, logging in, and every way in which a login ends.

use anyhow::{Context, Result, ensure};
use godwit_e2e::{
    admin::expect,
    client::Client,
    server::{Server, UNLIMITED},
};
use reqwest::Method;
use serde_json::{Value, json};
use std::time::Duration;

/// Registration is open, and hashing is cheap: that it is strong is not what is tested here.
const OPEN: &str = "\n[auth]\nregistration = true\nhash_memory_kib = 64\nhash_passes = 1\n";
const PASSWORD: &str = "long enough";

async fn open() -> Result<Server> {
    Server::with(&[UNLIMITED, OPEN].concat()).await
}

async fn log_in(server: &Server, name: &str, password: &str) -> Result<(u16, Value)> {
    server.post("/v1/auth/login", None, &json!({"name": name, "password": password})).await
}

async fn register(server: &Server, name: &str) -> Result<Value> {
    expect(server.post("/v1/auth/register", None, &json!({"name": name, "password": PASSWORD})).await?, 201)
}

fn token<'a>(answer: &'a Value, kind: &str) -> Result<&'a str> {
    answer[kind].as_str().with_context(|| format!("`{kind}` is a string in {answer}"))
}

/// The token is refused by a frame and by the socket's end.
async fn check_refused(server: &Server, token: &str) -> Result<()> {
    let mut client = Client::open(server.public).await?;
    let refusal = client.refused("connect", json!({"token": token, "device": {"id": "d"}})).await?;
    assert_eq!(refusal.code, "unauthorised");
    assert_eq!(client.closed().await?, 3500);
    Ok(())
}

#[tokio::test]
async fn registering_logging_in_and_refreshing_each_give_a_token_that_connects() -> Result<()> {
    let server = open().await?;
    register(&server, "ada").await?;
    let logged_in = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    ensure!(logged_in["expires_at"].as_u64().is_some(), "{logged_in}");
    let client = Client::connect(server.public, token(&logged_in, "access_token")?).await?;
    assert_eq!(json!(client.user), logged_in["user"]["id"]);
    let refresh = json!({"refresh_token": token(&logged_in, "refresh_token")?});
    let refreshed = expect(server.post("/v1/auth/refresh", None, &refresh).await?, 200)?;
    let client = Client::connect(server.public, token(&refreshed, "access_token")?).await?;
    assert_eq!(json!(client.user), logged_in["user"]["id"]);
    Ok(())
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_answered_alike() -> Result<()> {
    let server = open().await?;
    register(&server, "ada").await?;
    let wrong_password = log_in(&server, "ada", "not the password").await?;
    let wrong_name = log_in(&server, "nobody", PASSWORD).await?;
    assert_eq!(wrong_password, wrong_name);
    assert_eq!((wrong_name.0, &wrong_name.1["error"]["code"]), (401, &json!("unauthorised")));
    Ok(())
}

#[tokio::test]
async fn a_taken_name_is_a_conflict_and_a_bad_field_is_named() -> Result<()> {
    let server = open().await?;
    register(&server, "ada").await?;
    let long = "x".repeat(129);
    for (body, status, code) in [
        (json!({"name": "ada", "password": PASSWORD}), 409, "conflict"),
        (json!({"name": "ab", "password": PASSWORD}), 400, "invalid"),
        (json!({"name": "x".repeat(33), "password": PASSWORD}), 400, "invalid"),
        (json!({"name": "Ada", "password": PASSWORD}), 400, "invalid"),
        (json!({"name": "ben b", "password": PASSWORD}), 400, "invalid"),
        (json!({"name": "ben", "password": "short"}), 400, "invalid"),
        (json!({"name": "ben", "password": long}), 400, "invalid"),
        (json!({"name": "ben"}), 400, "invalid"),
        (json!({"name": 7, "password": PASSWORD}), 400, "invalid"),
        (json!([]), 400, "invalid"),
    ] {
        let (answered, error) = server.post("/v1/auth/register", None, &body).await?;
        assert_eq!((answered, &error["error"]["code"]), (status, &json!(code)), "{body}");
    }
    register(&server, "ben").await?;
    Ok(())
}

#[tokio::test]
async fn a_refresh_token_used_again_ends_its_login_with_its_sockets_and_no_other() -> Result<()> {
    let server = open().await?;
    let user = register(&server, "ada").await?;
    ensure!(user.is_object(), "{user}");
    let stolen = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    let other = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    let refresh = json!({"refresh_token": token(&stolen, "refresh_token")?});
    let refreshed = expect(server.post("/v1/auth/refresh", None, &refresh).await?, 200)?;
    let mut victim = Client::connect(server.public, token(&refreshed, "access_token")?).await?;
    let mut bystander = Client::connect(server.public, token(&other, "access_token")?).await?;

    let (status, error) = server.post("/v1/auth/refresh", None, &refresh).await?;
    assert_eq!((status, &error["error"]["code"]), (401, &json!("unauthorised")));
    assert_eq!(victim.closed().await?, 3504);
    check_refused(&server, token(&refreshed, "access_token")?).await?;
    let next = json!({"refresh_token": token(&refreshed, "refresh_token")?});
    assert_eq!(server.post("/v1/auth/refresh", None, &next).await?.0, 401, "the whole family has ended");
    bystander.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn logging_out_ends_the_login_and_its_sockets_alone() -> Result<()> {
    let server = open().await?;
    register(&server, "ada").await?;
    let first = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    let second = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    let mut leaving = Client::connect(server.public, token(&first, "access_token")?).await?;
    let mut staying = Client::connect(server.public, token(&second, "access_token")?).await?;
    let (status, _) =
        server.post("/v1/auth/logout", Some(token(&first, "access_token")?), &json!({})).await?;
    assert_eq!(status, 204);
    assert_eq!(leaving.closed().await?, 3504);
    check_refused(&server, token(&first, "access_token")?).await?;
    let refresh = json!({"refresh_token": token(&first, "refresh_token")?});
    assert_eq!(server.post("/v1/auth/refresh", None, &refresh).await?.0, 401);
    staying.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn closed_registration_is_forbidden_to_people_but_not_to_administrators() -> Result<()> {
    let server = Server::with(&OPEN.replace("registration = true", "registration = false")).await?;
    let body = json!({"name": "ada", "password": PASSWORD});
    let (status, error) = server.post("/v1/auth/register", None, &body).await?;
    assert_eq!((status, &error["error"]["code"]), (403, &json!("forbidden")));
    server.admin.create_user("ada", Some(PASSWORD)).await?;
    expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    Ok(())
}

#[tokio::test]
async fn a_new_password_and_disabling_end_all_tokens_and_sockets_of_the_user() -> Result<()> {
    const OTHER: &str = "another password";
    let server = open().await?;
    let ada = server.admin.create_user("ada", Some(PASSWORD)).await?;
    let path = format!("/admin/v1/users/{ada}");
    for (what, body) in [("password", json!({"password": OTHER})), ("disabled", json!({"disabled": true}))] {
        let password = if what == "password" { PASSWORD } else { OTHER };
        let logged_in = expect(log_in(&server, "ada", password).await?, 200)?;
        let minted = server.admin.mint(ada, None).await?;
        let mut first = Client::connect(server.public, token(&logged_in, "access_token")?).await?;
        let mut second = Client::connect(server.public, &minted).await?;
        let (status, answer) = server.admin.call(Method::PUT, &format!("{path}/{what}"), Some(&body)).await?;
        ensure!((200..300).contains(&status), "{what}: {status} {answer}");
        assert_eq!((first.closed().await?, second.closed().await?), (3504, 3504), "{what}");
        check_refused(&server, token(&logged_in, "access_token")?).await?;
        check_refused(&server, &minted).await?;
        let refresh = json!({"refresh_token": token(&logged_in, "refresh_token")?});
        let refused = if what == "disabled" { 403 } else { 401 };
        assert_eq!(server.post("/v1/auth/refresh", None, &refresh).await?.0, refused, "{what}");
    }
    let (status, error) = log_in(&server, "ada", OTHER).await?;
    assert_eq!((status, &error["error"]["code"]), (403, &json!("forbidden")));
    assert_eq!(log_in(&server, "ada", PASSWORD).await?.0, 401);
    server.admin.call(Method::PUT, &format!("{path}/disabled"), Some(&json!({"disabled": false}))).await?;
    expect(log_in(&server, "ada", OTHER).await?, 200)?;
    Ok(())
}

#[tokio::test]
async fn a_socket_lives_as_long_as_its_login_whatever_happens_to_its_access_token() -> Result<()> {
    let short = OPEN.replace("registration", "access_ttl_s = 1\nregistration");
    let server = Server::with(&[UNLIMITED, &short].concat()).await?;
    register(&server, "ada").await?;
    let logged_in = expect(log_in(&server, "ada", PASSWORD).await?, 200)?;
    let access = token(&logged_in, "access_token")?;
    let mut client = Client::connect(server.public, access).await?;
    godwit_e2e::eventually("the access token's end", || async {
        let mut other = Client::open(server.public).await?;
        Ok(other.authenticate(access).await.is_err().then_some(()))
    })
    .await?;
    client.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn a_minted_token_ends_its_socket_unless_it_is_renewed_in_time() -> Result<()> {
    // The shortest life of a minted token is a minute, so this test takes one.
    const LIFE: Duration = Duration::from_secs(60);
    // One of the two is not read meanwhile, so it answers no pings.
    let server = Server::with(&[UNLIMITED, "[gateway]\nping_interval_ms = 600000\n"].concat()).await?;
    let (ada, ben) = (server.person("ada").await?, server.person("ben").await?);
    for ttl_s in [59, 86_401] {
        let body = json!({"ttl_s": ttl_s});
        let path = format!("/admin/v1/users/{}/tokens", ada.id);
        let (status, error) = server.admin.call(Method::POST, &path, Some(&body)).await?;
        assert_eq!((status, &error["error"]["code"]), (400, &json!("invalid")), "{ttl_s}");
    }
    let short = server.admin.mint(ada.id, Some(LIFE.as_secs())).await?;
    let mut ending = Client::connect(server.public, &short).await?;
    let mut renewed = Client::connect(server.public, &short).await?;
    assert_eq!(renewed.refused("renew", json!({"token": ben.token})).await?.code, "forbidden");
    assert_eq!(renewed.refused("renew", json!({"token": "forged"})).await?.code, "unauthorised");
    renewed.request("renew", json!({"token": ada.token})).await?;
    assert_eq!(ending.closed_within(LIFE + Duration::from_secs(30)).await?, 3504);
    check_refused(&server, &short).await?;
    renewed.request("conversations", json!({})).await?;
    Ok(())
}

#[tokio::test]
async fn the_admin_api_is_closed_to_everyone_without_its_token() -> Result<()> {
    let server = Server::start().await?;
    let ada = server.person("ada").await?;
    for token in ["", "wrong", &ada.token] {
        let stranger = server.admin.with_token(token);
        for (method, path) in [
            (Method::POST, "/admin/v1/users".to_owned()),
            (Method::POST, format!("/admin/v1/users/{}/tokens", ada.id)),
            (Method::GET, "/admin/v1/plugins".to_owned()),
            (Method::DELETE, "/admin/v1/plugins/x".to_owned()),
        ] {
            let body = (method == Method::POST).then(|| json!({"name": "eve"}));
            let (status, error) = stranger.call(method, &path, body.as_ref()).await?;
            assert_eq!((status, &error["error"]["code"]), (401, &json!("unauthorised")), "{path}");
        }
    }
    for path in ["/health/live", "/health/ready", "/metrics"] {
        let (status, _) = server.admin.with_token("").call(Method::GET, path, None).await?;
        assert_eq!(status, 200, "{path} is open");
    }
    let file = server.data().join("admin-token");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file)?.permissions());
    assert_eq!(mode & 0o777, 0o600, "only the owner reads the token");
    Ok(())
}
