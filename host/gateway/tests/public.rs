//! The public listener at a real socket: accounts, pages, and everything that is refused.

mod common;

use common::{House, ask};
use godwit_core::accounts;
use godwit_gateway::Options;
use serde_json::json;

const LOGIN: &str = r#"{"name": "ada", "password": "correct horse"}"#;

#[tokio::test]
async fn people_register_log_in_refresh_and_log_out() {
    let house = House::new().await;
    let body = r#"{"name": "ada", "password": "correct horse", "display_name": "Ada", "of the future": [1]}"#;
    let registered = house.ask("POST", "/v1/auth/register", body).await;
    assert_eq!(registered.status, 201);
    let registered = registered.json();
    assert_eq!(registered["user"]["name"], "ada");
    assert_eq!(registered["user"]["display_name"], "Ada");
    assert_eq!(registered["user"]["joined_at"], common::START);

    let login = house.ask("POST", "/v1/auth/login", LOGIN).await;
    assert_eq!((login.status, login.header("cache-control")), (200, Some("no-store")));
    let login = login.json();
    assert_eq!(login["user"], registered["user"]);
    assert_eq!(login["expires_at"], common::START + 900_000);

    let refresh = json!({ "refresh_token": login["refresh_token"] }).to_string();
    let refreshed = house.ask("POST", "/v1/auth/refresh", &refresh).await;
    assert_eq!(refreshed.status, 200);
    let refreshed = refreshed.json();
    assert_eq!(refreshed["user"], registered["user"]);

    let token = format!("bearer {}", refreshed["access_token"].as_str().unwrap());
    let logout =
        async || ask(house.public, "POST", "/v1/auth/logout", &[("Authorization", &token)], b"").await;
    let left = logout().await;
    assert_eq!((left.status, &*left.body), (204, &b""[..]));
    logout().await.check_error(401, "unauthorised", None);
    let refresh = json!({ "refresh_token": refreshed["refresh_token"] }).to_string();
    house.ask("POST", "/v1/auth/refresh", &refresh).await.check_error(401, "unauthorised", None);
}

#[tokio::test]
async fn what_is_wrong_with_a_body_is_told_with_its_field() {
    let house = House::new().await;
    house.register("ada").await;
    let (register, login, refresh) = ("/v1/auth/register", "/v1/auth/login", "/v1/auth/refresh");
    let long = format!(r#"{{"name": "ben", "password": "{}"}}"#, "x".repeat(129));
    let nested = format!(r#"{{"name": {}"#, "[".repeat(5000));
    let cases = [
        (register, "", 400, "invalid", Some("name")),
        (register, "{}", 400, "invalid", Some("name")),
        (register, "null", 400, "invalid", Some("body")),
        (register, "[]", 400, "invalid", Some("body")),
        (register, r#"["ben", "correct horse"]"#, 400, "invalid", Some("body")),
        (register, "\"name\"", 400, "invalid", Some("body")),
        (register, "{", 400, "invalid", Some("body")),
        (register, "{]", 400, "invalid", Some("body")),
        (register, "garbage", 400, "invalid", Some("body")),
        (register, "name=ben&password=correct+horse", 400, "invalid", Some("body")),
        (register, "{\"name\": \"ben\\ud800\"}", 400, "invalid", Some("name")),
        (register, r#"{"name": "ben", "password": "correct horse"} {}"#, 400, "invalid", Some("body")),
        (register, &nested, 400, "invalid", Some("name")),
        (register, r#"{"name": "ben"}"#, 400, "invalid", Some("password")),
        (register, r#"{"name": 1, "password": "correct horse"}"#, 400, "invalid", Some("name")),
        (register, r#"{"name": null, "password": "correct horse"}"#, 400, "invalid", Some("name")),
        (register, r#"{"name": "ben", "password": ["correct horse"]}"#, 400, "invalid", Some("password")),
        (
            register,
            r#"{"name": "ben", "password": "correct horse", "display_name": 5}"#,
            400,
            "invalid",
            Some("display_name"),
        ),
        (register, r#"{"name": "Ben", "password": "correct horse"}"#, 400, "invalid", Some("name")),
        (register, r#"{"name": "ben", "password": "short"}"#, 400, "invalid", Some("password")),
        (register, &long, 400, "invalid", Some("password")),
        (register, LOGIN, 409, "conflict", Some("name")),
        (login, "{}", 400, "invalid", Some("name")),
        (login, r#"{"name": "ada", "password": true}"#, 400, "invalid", Some("password")),
        (login, r#"{"name": "ada", "password": "wrong horse"}"#, 401, "unauthorised", None),
        (login, r#"{"name": "nobody", "password": "correct horse"}"#, 401, "unauthorised", None),
        (login, r#"{"name": "", "password": ""}"#, 401, "unauthorised", None),
        (refresh, "{}", 400, "invalid", Some("refresh_token")),
        (refresh, r#"{"refresh_token": 7}"#, 400, "invalid", Some("refresh_token")),
        (refresh, r#"{"refresh_token": "garbage"}"#, 401, "unauthorised", None),
    ];
    for (path, body, status, code, field) in cases {
        println!("{path} {}", &body[..body.len().min(80)]);
        house.ask("POST", path, body).await.check_error(status, code, field);
    }
    let answer = ask(house.public, "POST", register, &[], b"{\"name\": \"\xff\"}").await;
    answer.check_error(400, "invalid", Some("body"));
}

#[tokio::test]
async fn tokens_that_are_forged_expired_or_of_another_kind_log_nobody_out() {
    let house =
        House::with(Options::default(), accounts::Options { access_ttl_s: 60, ..Default::default() }, 0)
            .await;
    let tokens = house.register("ada").await;
    let access = tokens["access_token"].as_str().unwrap();
    let mut forged = access.to_owned();
    forged.replace_range(5..6, if &access[5..6] == "A" { "B" } else { "A" });
    let cases = [
        None,
        Some(String::new()),
        Some("Bearer".into()),
        Some("Bearer ".into()),
        Some("Bearer garbage".into()),
        Some(format!("Basic {access}")),
        Some(access.to_owned()),
        Some(format!("Bearer {forged}")),
        Some(format!("Bearer {}", tokens["refresh_token"].as_str().unwrap())),
        Some(format!("Bearer {}", "A".repeat(8000))),
    ];
    for case in cases {
        println!("{case:?}");
        let headers: Vec<_> = case.iter().map(|value| ("authorization", &**value)).collect();
        let answer = ask(house.public, "POST", "/v1/auth/logout", &headers, b"").await;
        answer.check_error(401, "unauthorised", None);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    house.clock.pass(60);
    let expired = format!("Bearer {access}");
    let answer = ask(house.public, "POST", "/v1/auth/logout", &[("authorization", &expired)], b"").await;
    answer.check_error(401, "unauthorised", None);
    let refresh = json!({ "refresh_token": tokens["refresh_token"] }).to_string();
    assert_eq!(house.ask("POST", "/v1/auth/refresh", &refresh).await.status, 200, "the login is untouched");
}

#[tokio::test]
async fn closed_registration_says_so() {
    let house =
        House::with(Options::default(), accounts::Options { registration: false, ..Default::default() }, 0)
            .await;
    house.ask("POST", "/v1/auth/register", LOGIN).await.check_error(403, "forbidden", None);
}

#[tokio::test]
async fn who_tries_too_often_is_told_when_to_come_back() {
    let house = House::with(Options::default(), accounts::Options::default(), 2).await;
    house.register("ada").await;
    assert_eq!(house.ask("POST", "/v1/auth/login", LOGIN).await.status, 200);
    house.clock.pass(30);
    let refused = house.ask("POST", "/v1/auth/login", LOGIN).await;
    refused.check_error(429, "rate_limited", None);
    assert_eq!(refused.header("retry-after"), Some("30"));
    assert_eq!(refused.json()["error"]["retry_after_ms"], 30_000);
    house.clock.pass(30);
    assert_eq!(house.ask("POST", "/v1/auth/login", LOGIN).await.status, 200);
}

#[tokio::test]
async fn what_is_not_served_is_told_from_what_is_served_otherwise() {
    let house = House::new().await;
    let cases = [
        ("GET", "/v1/auth/login", 405, Some("POST")),
        ("PUT", "/v1/auth/register", 405, Some("POST")),
        ("DELETE", "/v1/auth/refresh", 405, Some("POST")),
        ("GET", "/v1/auth/logout", 405, Some("POST")),
        ("POST", "/v1/ws", 405, Some("GET")),
        ("POST", "/", 405, Some("GET, HEAD")),
        ("OPTIONS", "/web/app.js", 405, Some("GET, HEAD")),
        ("GET", "/v1", 404, None),
        ("GET", "/v1/auth/", 404, None),
        ("POST", "/v1/auth/login/", 404, None),
        ("POST", "/v2/auth/login", 404, None),
        ("GET", "/web/nothing.js", 404, None),
        ("GET", "/web/../../Cargo.toml", 404, None),
        ("GET", "/web/%2e%2e/%2e%2e/Cargo.toml", 404, None),
        ("GET", "/sdk/package.json", 404, None),
        ("GET", "/sdk/test/host.js", 404, None),
        ("GET", "/metrics", 404, None),
        ("GET", "/health/live", 404, None),
        ("GET", "/admin/v1/plugins", 404, None),
    ];
    for (method, path, status, allow) in cases {
        println!("{method} {path}");
        let answer = house.ask(method, path, "").await;
        let code = if status == 405 { "unknown_request" } else { "not_found" };
        answer.check_error(status, code, None);
        assert_eq!(answer.header("allow"), allow);
    }
}

#[tokio::test]
async fn pages_and_modules_come_from_the_binary_with_a_policy_and_a_tag() {
    let house = House::new().await;
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/web/index.html", "text/html; charset=utf-8"),
        ("/web/app.js", "text/javascript; charset=utf-8"),
        ("/web/style.css", "text/css; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
        ("/sdk/index.js", "text/javascript; charset=utf-8"),
        ("/sdk/index.d.ts", "text/plain; charset=utf-8"),
    ] {
        println!("{path}");
        let page = house.ask("GET", path, "").await;
        assert_eq!((page.status, page.header("content-type")), (200, Some(content_type)));
        assert!(!page.body.is_empty());
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
        assert_eq!(page.header("access-control-allow-origin"), None);

        let tag = page.header("etag").unwrap();
        let again = ask(house.public, "GET", path, &[("if-none-match", tag)], b"").await;
        assert_eq!((again.status, again.header("etag"), &*again.body), (304, Some(tag), &b""[..]));
        let head = house.ask("HEAD", path, "").await;
        assert_eq!((head.status, &*head.body), (200, &b""[..]));
        assert_eq!(head.header("content-length"), Some(&*page.body.len().to_string()));
    }
}

#[tokio::test]
async fn a_checkout_shows_its_files_as_they_are_now() {
    let checkout = tempfile::tempdir().unwrap();
    let web = checkout.path().join("host/web");
    std::fs::create_dir_all(&web).unwrap();
    let options = Options { assets_dir: Some(checkout.path().into()), ..Options::default() };
    let house = House::with(options, accounts::Options::default(), 0).await;
    house.ask("GET", "/", "").await.check_error(404, "not_found", None);
    for text in ["first", "second"] {
        std::fs::write(web.join("index.html"), text).unwrap();
        let page = house.ask("GET", "/", "").await;
        assert_eq!((page.status, &*page.body), (200, text.as_bytes()));
        assert_eq!(page.header("cache-control"), Some("no-store"));
    }
}
