//! The admin listener at a real socket: who may, users, plugins, health and metrics.

mod common;

use common::{ADMIN_TOKEN, Answer, House, ask};
use godwit_core::domain::plugin::{Begin, Component, Digest};
use godwit_gateway::Options;
use serde_json::json;
use std::sync::atomic::Ordering;

const NOBODY: &str = "0192f0c8-7e5a-7000-8000-000000000001";

#[tokio::test]
async fn nothing_under_admin_is_told_without_the_token() {
    let house = House::new().await;
    let wrong = [
        None,
        Some(String::new()),
        Some("Bearer".to_owned()),
        Some("Bearer ".into()),
        Some(format!("Bearer {ADMIN_TOKEN}x")),
        Some(format!("Bearer {}", &ADMIN_TOKEN[1..])),
        Some(format!("Basic {ADMIN_TOKEN}")),
        Some(ADMIN_TOKEN.to_owned()),
    ];
    for header in &wrong {
        let headers: Vec<_> = header.iter().map(|value| ("authorization", &**value)).collect();
        for (method, path) in [
            ("GET", "/admin/v1/plugins"),
            ("POST", "/admin/v1/users"),
            ("GET", "/admin"),
            ("BREW", "/admin/nothing"),
        ] {
            println!("{header:?} {method} {path}");
            let answer = ask(house.admin, method, path, &headers, b"").await;
            answer.check_error(401, "unauthorised", None);
        }
    }
    let large = vec![b'x'; 3 << 20];
    let answer = ask(house.admin, "PUT", "/admin/v1/plugins/good", &[], &large).await;
    answer.check_error(401, "unauthorised", None);
}

#[tokio::test]
async fn users_are_made_let_in_and_shut_out() {
    let house = House::new().await;
    let made = house.administer("POST", "/admin/v1/users", r#"{"name": "ada", "display_name": "Ada"}"#).await;
    assert_eq!(made.status, 201, "{made:?}");
    let made = made.json();
    assert_eq!((&made["user"]["name"], &made["user"]["display_name"]), (&json!("ada"), &json!("Ada")));
    let user = format!("/admin/v1/users/{}", made["user"]["id"].as_str().unwrap());

    for (body, ttl_s) in [("", 3_600), ("{}", 3_600), (r#"{"ttl_s": null}"#, 3_600), (r#"{"ttl_s": 60}"#, 60)]
    {
        let minted = house.administer("POST", &format!("{user}/tokens"), body).await;
        assert_eq!(minted.status, 201, "{minted:?}");
        let minted = minted.json();
        assert_eq!(minted["expires_at"], common::START + ttl_s * 1000);
        assert_eq!(minted["access_token"].as_str().unwrap().len(), 110);
    }

    let log_in = async || {
        house.ask("POST", "/v1/auth/login", r#"{"name": "ada", "password": "battery staple"}"#).await
    };
    log_in().await.check_error(401, "unauthorised", None);
    let set = house.administer("PUT", &format!("{user}/password"), r#"{"password": "battery staple"}"#).await;
    assert_eq!((set.status, &*set.body), (204, &b""[..]));
    assert_eq!(log_in().await.status, 200);

    let disabled = format!("{user}/disabled");
    assert_eq!(house.administer("PUT", &disabled, r#"{"disabled": true}"#).await.status, 204);
    log_in().await.check_error(403, "forbidden", None);
    house.administer("POST", &format!("{user}/tokens"), "").await.check_error(403, "forbidden", None);
    assert_eq!(house.administer("PUT", &disabled, r#"{"disabled": false}"#).await.status, 204);
    assert_eq!(log_in().await.status, 200);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_with_its_field() {
    let house = House::new().await;
    house.register("ada").await;
    let nobody = |rest: &str| format!("/admin/v1/users/{NOBODY}/{rest}");
    let users = || "/admin/v1/users".to_owned();
    let trace = |id: &str, seq: &str| format!("/admin/v1/conversations/{id}/messages/{seq}/trace");
    let cases = [
        ("POST", users(), "{}", 400, "invalid", Some("name")),
        ("POST", users(), r#"{"name": []}"#, 400, "invalid", Some("name")),
        ("POST", users(), r#"{"name": "x"}"#, 400, "invalid", Some("name")),
        ("POST", users(), r#"{"name": "ben", "password": 1}"#, 400, "invalid", Some("password")),
        ("POST", users(), r#"{"name": "ben", "password": "short"}"#, 400, "invalid", Some("password")),
        ("POST", users(), r#"{"name": "ada"}"#, 409, "conflict", Some("name")),
        ("POST", nobody("tokens"), "{}", 404, "not_found", None),
        ("POST", nobody("tokens"), r#"{"ttl_s": 59}"#, 400, "invalid", Some("ttl_s")),
        ("POST", nobody("tokens"), r#"{"ttl_s": 86401}"#, 400, "invalid", Some("ttl_s")),
        ("POST", nobody("tokens"), r#"{"ttl_s": -1}"#, 400, "invalid", Some("ttl_s")),
        ("POST", nobody("tokens"), r#"{"ttl_s": 1.5}"#, 400, "invalid", Some("ttl_s")),
        ("POST", nobody("tokens"), r#"{"ttl_s": "60"}"#, 400, "invalid", Some("ttl_s")),
        ("PUT", nobody("password"), r#"{"password": "battery staple"}"#, 404, "not_found", None),
        ("PUT", nobody("password"), "{}", 400, "invalid", Some("password")),
        ("PUT", nobody("disabled"), r#"{"disabled": true}"#, 404, "not_found", None),
        ("PUT", nobody("disabled"), r#"{"disabled": 1}"#, 400, "invalid", Some("disabled")),
        ("POST", "/admin/v1/users/ada/tokens".into(), "{}", 400, "invalid", Some("id")),
        ("GET", "/admin/v1/plugins/unknown".into(), "", 404, "not_found", None),
        ("DELETE", "/admin/v1/plugins/unknown".into(), "", 404, "not_found", None),
        ("POST", "/admin/v1/plugins/unknown/rollback".into(), "", 404, "not_found", None),
        ("POST", "/admin/v1/plugins/good/rollback".into(), "", 409, "conflict", None),
        ("GET", "/admin/v1/plugins/unknown/logs".into(), "", 404, "not_found", None),
        ("GET", "/admin/v1/plugins/unknown/secrets".into(), "", 404, "not_found", None),
        ("PUT", "/admin/v1/plugins/unknown/secrets/a".into(), "{\"value\": \"b\"}", 404, "not_found", None),
        ("DELETE", "/admin/v1/plugins/unknown/secrets/a".into(), "", 404, "not_found", None),
        ("GET", "/admin/v1/plugins/good/logs?after=x".into(), "", 400, "invalid", Some("after")),
        ("GET", "/admin/v1/plugins/good/logs?after=-1".into(), "", 400, "invalid", Some("after")),
        ("PUT", "/admin/v1/plugins/good?dry_run=maybe".into(), "", 400, "invalid", Some("dry_run")),
        ("PUT", "/admin/v1/plugins/good?as=ghost".into(), "", 400, "invalid", Some("as")),
        ("PUT", "/admin/v1/plugins/good?as=canary".into(), "", 400, "invalid", Some("percent")),
        ("PUT", "/admin/v1/plugins/good?as=canary&percent=all".into(), "", 400, "invalid", Some("percent")),
        ("PUT", "/admin/v1/plugins/good?percent=5".into(), "", 400, "invalid", Some("percent")),
        ("POST", "/admin/v1/plugins/unknown/grant".into(), r#"{"capabilities": []}"#, 404, "not_found", None),
        ("POST", "/admin/v1/plugins/good/grant".into(), "{}", 400, "invalid", Some("capabilities")),
        (
            "POST",
            "/admin/v1/plugins/good/canary".into(),
            r#"{"percent": 300}"#,
            400,
            "invalid",
            Some("percent"),
        ),
        ("POST", "/admin/v1/plugins/unknown/promote".into(), "", 404, "not_found", None),
        ("PUT", "/admin/v1/plugins/unknown/pinned".into(), r#"{"pinned": true}"#, 404, "not_found", None),
        ("PUT", "/admin/v1/plugins/good/disabled".into(), "{}", 400, "invalid", Some("disabled")),
        (
            "PUT",
            "/admin/v1/plugins/good/priority".into(),
            r#"{"priority": 0.5}"#,
            400,
            "invalid",
            Some("priority"),
        ),
        (
            "PUT",
            "/admin/v1/plugins/good/failure".into(),
            r#"{"moderation": "allow"}"#,
            400,
            "invalid",
            Some("moderation"),
        ),
        (
            "PUT",
            "/admin/v1/plugins/good/scope".into(),
            r#"{"kinds": ["room"]}"#,
            400,
            "invalid",
            Some("kinds[0]"),
        ),
        ("GET", "/admin/v1/plugins/unknown/poison".into(), "", 404, "not_found", None),
        ("DELETE", "/admin/v1/components/77".into(), "", 400, "invalid", Some("digest")),
        ("DELETE", format!("/admin/v1/components/{}", "77".repeat(32)), "", 404, "not_found", None),
        ("GET", trace("ada", "1"), "", 400, "invalid", Some("id")),
        ("GET", trace(NOBODY, "one"), "", 400, "invalid", Some("seq")),
        ("GET", trace(NOBODY, "1"), "", 404, "not_found", None),
        ("GET", trace(NOBODY, "0"), "", 404, "not_found", None),
    ];
    for (method, path, body, status, code, field) in cases {
        println!("{method} {path} {body}");
        house.administer(method, &path, body).await.check_error(status, code, field);
    }
}

#[tokio::test]
async fn what_is_not_served_is_told_from_what_is_served_otherwise() {
    let house = House::new().await;
    let cases = [
        ("GET", "/admin/v1/users", 405, Some("POST")),
        ("GET", "/admin/v1/users/1/tokens", 405, Some("POST")),
        ("POST", "/admin/v1/users/1/password", 405, Some("PUT")),
        ("POST", "/admin/v1/users/1/disabled", 405, Some("PUT")),
        ("POST", "/admin/v1/plugins", 405, Some("GET")),
        ("POST", "/admin/v1/plugins/good", 405, Some("GET, PUT, DELETE")),
        ("GET", "/admin/v1/plugins/good/rollback", 405, Some("POST")),
        ("PUT", "/admin/v1/plugins/good/logs", 405, Some("GET")),
        ("GET", "/admin/v1/plugins/good/promote", 405, Some("POST")),
        ("POST", "/admin/v1/plugins/good/pinned", 405, Some("PUT")),
        ("PUT", "/admin/v1/plugins/good/poison", 405, Some("GET, DELETE")),
        ("PUT", "/admin/v1/components", 405, Some("GET, POST")),
        ("GET", "/admin/v1/components/77", 405, Some("DELETE")),
        ("POST", "/admin/v1/plugins/good/vanish", 404, None),
        ("PUT", "/admin/v1/plugins/good/secrets", 405, Some("GET")),
        ("GET", "/admin/v1/plugins/good/secrets/a", 405, Some("PUT, DELETE")),
        ("PUT", "/admin/v1/conversations/1/messages/1/trace", 405, Some("GET")),
        ("POST", "/health/live", 405, Some("GET")),
        ("DELETE", "/health/ready", 405, Some("GET")),
        ("POST", "/metrics", 405, Some("GET")),
        ("GET", "/", 404, None),
        ("GET", "/admin", 404, None),
        ("GET", "/admin/v1/plugins/", 404, None),
        ("GET", "/admin/v2/plugins", 404, None),
        ("POST", "/v1/auth/login", 404, None),
    ];
    for (method, path, status, allow) in cases {
        println!("{method} {path}");
        let answer = house.administer(method, path, "").await;
        if path != "/admin/v1/plugins/" {
            let code = if status == 405 { "unknown_request" } else { "not_found" };
            answer.check_error(status, code, None);
        }
        assert_eq!((answer.status, answer.header("allow")), (status, allow));
    }
}

#[tokio::test]
async fn plugins_are_listed_shown_and_removed_and_their_logs_read() {
    let house = House::new().await;
    let list = house.administer("GET", "/admin/v1/plugins", "").await.json();
    assert_eq!(list["plugins"][0]["id"], "good");
    assert_eq!(house.administer("GET", "/admin/v1/plugins/good", "").await.json(), list["plugins"][0]);
    assert_eq!(
        house.administer("DELETE", "/admin/v1/plugins/good", "").await.json(),
        json!({ "generation": 4 })
    );
    for (query, lines) in [("", 3), ("?after=0", 3), ("?after=2", 1), ("?after=3", 0)] {
        let logs = house.administer("GET", &format!("/admin/v1/plugins/good/logs{query}"), "").await.json();
        assert_eq!(logs["lines"].as_array().unwrap().len(), lines, "{query}");
    }
}

#[tokio::test]
async fn a_secret_goes_in_and_only_its_name_comes_out() {
    let house = House::new().await;
    let path = "/admin/v1/plugins/good/secrets";
    let set = house.administer("PUT", &format!("{path}/token"), "{\"value\": \"very secret\"}").await;
    assert_eq!((set.status, set.body.len()), (204, 0));
    assert_eq!(house.administer("DELETE", &format!("{path}/old"), "").await.status, 204);
    assert_eq!(house.administer("GET", path, "").await.json(), json!({ "secrets": ["token"] }));
    let asked = house.plugins.secrets.lock().unwrap().clone();
    assert_eq!(asked, [("token".to_owned(), Some("very secret".to_owned())), ("old".to_owned(), None)]);
}

/// A form of these parts.
fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (name, content) in parts {
        body.extend_from_slice(
            format!("--boundary\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n").as_bytes(),
        );
        body.extend_from_slice(content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--boundary--\r\n");
    body
}

async fn install(house: &House, path: &str, content_type: &str, body: &[u8]) -> Answer {
    let token = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", &*token), ("content-type", content_type)];
    ask(house.admin, "PUT", &format!("/admin/v1/plugins/{path}"), &headers, body).await
}

const FORM: &str = "multipart/form-data; boundary=boundary";

#[tokio::test]
async fn a_plugin_is_installed_from_a_form_byte_for_byte() {
    let house = House::new().await;
    let component: Vec<u8> = (0..300_000u32).map(|n| (n % 251) as u8).collect();
    let body = form(&[
        ("manifest", b"id = \"good\"\n"),
        ("component", &component),
        ("grant", br#"{"capabilities": ["kv", "send"]}"#),
        ("config", br#"{"words": ["bad"]}"#),
    ]);
    let installed = install(&house, "good", FORM, &body).await;
    assert_eq!(installed.status, 200, "{installed:?}");
    assert_eq!(installed.json()["warnings"], json!(["memory_mib is clamped to 16"]));
    let bare = form(&[("component", &component), ("manifest", b"id = \"good\"\n")]);
    assert_eq!(install(&house, "good?dry_run=true", FORM, &bare).await.status, 200);

    let asked = house.plugins.asked.lock().unwrap();
    let [full, dry] = &asked[..] else { panic!("{} installs", asked.len()) };
    assert_eq!((&*full.id, &*full.manifest, full.dry_run), ("good", "id = \"good\"\n", false));
    let component = Component::Bytes(component);
    assert!(full.component == component && dry.component == component);
    assert_eq!(full.grants, Some(vec!["kv".to_owned(), "send".to_owned()]));
    assert_eq!(full.config.as_deref(), Some(r#"{"words": ["bad"]}"#));
    assert_eq!((&dry.grants, dry.config.as_deref(), dry.dry_run), (&None, None, true));
    assert_eq!((full.to, dry.to), (Begin::Active, Begin::Active));
}

#[tokio::test]
async fn a_component_is_uploaded_and_installed_by_its_digest_beside_the_active_version() {
    let house = House::new().await;
    let token = format!("Bearer {ADMIN_TOKEN}");
    let headers = [("authorization", &*token), ("content-type", "application/wasm")];
    let uploaded = ask(house.admin, "POST", "/admin/v1/components", &headers, &[7; 1_000]).await;
    assert_eq!((uploaded.status, uploaded.json()["size"].as_u64()), (201, Some(1_000)));
    let digest = "0a".repeat(32);
    let body = form(&[("manifest", b"id = \"good\"\n"), ("digest", digest.as_bytes())]);
    assert_eq!(install(&house, "good?as=canary&percent=5", FORM, &body).await.status, 200);
    assert_eq!(install(&house, "good?as=shadow", FORM, &body).await.status, 200);
    {
        let asked = house.plugins.asked.lock().unwrap();
        let by_digest = Component::Digest(Digest([10; 32]));
        assert!(asked.iter().all(|install| install.component == by_digest));
        let begun: Vec<_> = asked.iter().map(|install| install.to).collect();
        assert_eq!(begun, [Begin::Canary(5), Begin::Shadow]);
    }
    let both = form(&[("manifest", b"x"), ("digest", digest.as_bytes()), ("component", b"x")]);
    install(&house, "good", FORM, &both).await.check_error(400, "invalid", Some("digest"));
    let short = form(&[("manifest", b"x"), ("digest", b"0a")]);
    install(&house, "good", FORM, &short).await.check_error(400, "invalid", Some("digest"));
    let discarded =
        house.administer("DELETE", &format!("/admin/v1/components/{}", "00".repeat(32)), "").await;
    assert_eq!(discarded.status, 204);
    assert_eq!(house.administer("GET", "/admin/v1/components", "").await.json(), json!({ "components": [] }));
}

#[tokio::test]
async fn what_an_operator_decides_reaches_the_manager_as_it_was_said() {
    let house = House::new().await;
    let place = "01890a5d-ac96-774b-bcce-b302099a8057";
    let scope = format!(r#"{{"kinds": ["direct"], "labels": ["press"], "conversations": ["{place}"]}}"#);
    let cases = [
        ("POST", "grant", r#"{"capabilities": ["kv"]}"#, r#"Grant(["kv"])"#.to_owned()),
        ("POST", "shadow", "", "Shadow".to_owned()),
        ("POST", "canary", r#"{"percent": 20}"#, "Canary(20)".to_owned()),
        ("POST", "promote", "", "Promote".to_owned()),
        ("POST", "drop", "", "Drop".to_owned()),
        ("PUT", "disabled", r#"{"disabled": true}"#, "Disabled(true)".to_owned()),
        ("PUT", "pinned", r#"{"pinned": false}"#, "Pinned(false)".to_owned()),
        ("PUT", "priority", r#"{"priority": -7}"#, "Priority(Some(-7))".to_owned()),
        ("PUT", "priority", r#"{"priority": null}"#, "Priority(None)".to_owned()),
        (
            "PUT",
            "failure",
            r#"{"moderation": "hold", "open": "allow"}"#,
            "Failure(Some(Hold), Some(Allow))".to_owned(),
        ),
        ("PUT", "failure", "{}", "Failure(None, None)".to_owned()),
        (
            "PUT",
            "scope",
            &*scope,
            format!(
                r#"Scope(Scope {{ kinds: [Direct], labels: ["press"], conversations: [ConversationId({place})] }})"#
            ),
        ),
    ];
    for (method, name, body, expected) in cases {
        let answer = house.administer(method, &format!("/admin/v1/plugins/good/{name}"), body).await;
        assert_eq!((answer.status, answer.json()["id"].as_str()), (200, Some("good")), "{name} {body}");
        assert_eq!(house.plugins.decided.lock().unwrap().pop(), Some(expected), "{name} {body}");
    }
    // A list by a wrong name must not become a scope of everything.
    let wrong = house.administer("PUT", "/admin/v1/plugins/good/scope", r#"{"kind": ["group"]}"#).await;
    assert_eq!((wrong.status, house.plugins.decided.lock().unwrap().len()), (400, 0));
    let poison = "/admin/v1/plugins/good/poison";
    assert_eq!(house.administer("GET", poison, "").await.json(), json!({ "poisoned": [] }));
    assert_eq!(house.administer("DELETE", poison, "").await.json(), json!({ "forgotten": 3 }));
}

#[tokio::test]
async fn a_plugin_that_is_refused_is_told_everything_that_is_wrong() {
    let house = House::new().await;
    let refused = install(&house, "bad", FORM, &form(&[("manifest", b""), ("component", b"garbage")])).await;
    refused.check_error(422, "invalid", None);
    assert_eq!(refused.json()["problems"], json!(["no hook is exported", "`kv` is not granted"]));
}

#[tokio::test]
async fn a_form_that_cannot_be_read_reaches_no_plugin() {
    let options = Options { component_bytes_max: 100_000, ..Options::default() };
    let house = House::with(options, Default::default(), 0).await;
    let (manifest, component) = (("manifest", &b"id"[..]), ("component", &b"wasm"[..]));
    let good = form(&[manifest, component]);
    let (large, endless) = (vec![b'x'; 100_001], vec![b'x'; 3 << 20]);
    let cut = &good[..good.len() - 20];
    let cases: Vec<(&str, Vec<u8>, u16, &str, &str)> = vec![
        ("", good.clone(), 400, "invalid", "body"),
        ("application/json", b"{}".to_vec(), 400, "invalid", "body"),
        ("multipart/form-data", good.clone(), 400, "invalid", "body"),
        ("multipart/form-data; boundary=other", good.clone(), 400, "invalid", "body"),
        (FORM, Vec::new(), 400, "invalid", "body"),
        (FORM, b"garbage".to_vec(), 400, "invalid", "body"),
        (FORM, cut.to_vec(), 400, "invalid", "body"),
        (FORM, b"--boundary\r\n\xff\xfe: \0\r\n\r\n\r\n--boundary--".to_vec(), 400, "invalid", "body"),
        (FORM, b"--boundary--\r\n".to_vec(), 400, "invalid", "manifest"),
        (FORM, form(&[manifest]), 400, "invalid", "component"),
        (FORM, form(&[component]), 400, "invalid", "manifest"),
        (FORM, form(&[manifest, component, manifest]), 400, "invalid", "manifest"),
        (FORM, form(&[manifest, component, ("other", b"")]), 400, "invalid", "body"),
        (FORM, form(&[("manifest", b"\xff"), component]), 400, "invalid", "manifest"),
        (FORM, form(&[manifest, component, ("config", b"\xff")]), 400, "invalid", "config"),
        (FORM, form(&[manifest, component, ("grant", b"kv")]), 400, "invalid", "grant"),
        (FORM, form(&[manifest, component, ("grant", b"{}")]), 400, "invalid", "capabilities"),
        (
            FORM,
            form(&[manifest, component, ("grant", br#"{"capabilities": [1]}"#)]),
            400,
            "invalid",
            "capabilities[0]",
        ),
        (FORM, form(&[manifest, ("component", &large)]), 413, "too_large", "component"),
        (FORM, form(&[("manifest", &endless), component]), 413, "too_large", "manifest"),
        (FORM, form(&[("component", &endless), manifest]), 413, "too_large", "component"),
    ];
    for (content_type, body, status, code, field) in cases {
        println!("{content_type} {:?}", String::from_utf8_lossy(&body[..body.len().min(200)]));
        install(&house, "good", content_type, &body).await.check_error(status, code, Some(field));
    }
    assert!(house.plugins.asked.lock().unwrap().is_empty());
    assert_eq!(install(&house, "good", FORM, &good).await.status, 200);
}

#[tokio::test]
async fn health_and_metrics_are_told_to_anyone() {
    let house = House::new().await;
    let get = async |path| ask(house.admin, "GET", path, &[], b"").await;
    assert_eq!(get("/health/live").await.json(), json!({ "status": "live" }));
    assert_eq!(get("/health/ready").await.json(), json!({ "status": "ready" }));
    house.ready.store(false, Ordering::Relaxed);
    let unready = get("/health/ready").await;
    unready.check_error(503, "unavailable", None);
    assert_eq!(unready.json()["error"]["message"], "the store is read-only");
    assert_eq!(get("/health/live").await.status, 200);

    let metrics = get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = String::from_utf8(metrics.body).unwrap();
    assert!(text.contains("godwit_gateway_requests_total{listener=\"admin\",status=\"503\"} 1"), "{text}");
    assert!(text.ends_with("# EOF\n"));
}
