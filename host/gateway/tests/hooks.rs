//! Requests to plugins at a real socket, and what becomes of those that a plugin does not answer.

mod common;

use async_trait::async_trait;
use common::{Answer, House, PATIENCE, ask};
use godwit_core::{
    accounts,
    domain::{
        actor::{
            Actor, Actors, Call, CommandSpec, Desk, Effects, Event, EventKind, Hook, Invocation, KvWrite,
            Media, Notification, Notified, Outcome, Reply, Request, Response,
        },
        filter::Decision,
    },
};
use godwit_gateway::Options;
use serde_json::{Value, json};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Answers what it is asked with what it was told, and breaks on `broken`.
#[derive(Default)]
struct Mirror {
    calls: AtomicU32,
}

fn broken<T>() -> Outcome<T> {
    Outcome::Failed { how: Decision::Trap, why: "unreachable".into() }
}

#[async_trait]
impl Actor for Mirror {
    fn id(&self) -> &str {
        "mirror"
    }

    fn version(&self) -> &str {
        "1.0.0"
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Inbound]
    }

    fn events(&self) -> &[EventKind] {
        &[]
    }

    fn may(&self, _: &str) -> bool {
        false
    }

    fn suspended(&self) -> Option<String> {
        None
    }

    fn commands(&self) -> &[CommandSpec] {
        &[]
    }

    fn kinds(&self) -> &[String] {
        &[]
    }

    async fn on_event(&self, _: &Call, _: &Event, _: Arc<dyn Desk>) -> Outcome<()> {
        broken()
    }

    async fn run(&self, _: &Call, _: &Invocation, _: Arc<dyn Desk>) -> Outcome<Reply> {
        broken()
    }

    async fn handle(&self, _: &Call, request: &Request, _: Arc<dyn Desk>) -> Outcome<Response> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if request.path == "broken" {
            return broken();
        }
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name).collect();
        let told = json!({
            "calls": calls,
            "method": request.method,
            "path": request.path,
            "query": request.query,
            "address": request.address,
            "body": String::from_utf8_lossy(&request.body),
            "headers": names,
        });
        let response = Response { status: 201, media: Media::Json, body: told.to_string().into_bytes() };
        Outcome::Done(response, Effects::default())
    }

    async fn notify(&self, _: &Call, _: &Notification, _: Arc<dyn Desk>) -> Outcome<Notified> {
        broken()
    }

    fn committed(&self, _: &[KvWrite]) {}
}

struct Cast(Arc<Mirror>);

impl Actors for Cast {
    fn all(&self) -> Vec<Arc<dyn Actor>> {
        vec![self.0.clone()]
    }

    fn on_change(&self, _: Box<dyn Fn() + Send + Sync>) {}
}

/// A house in which the mirror is at work.
async fn house(options: Options) -> (House, Arc<Mirror>) {
    let mirror = Arc::<Mirror>::default();
    let house = House::acting(options, accounts::Options::default(), 0, Arc::new(Cast(mirror.clone()))).await;
    let begun = Instant::now();
    while house.administer("GET", "/admin/v1/plugins/mirror/dead", "").await.status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the plugin is not at work");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (house, mirror)
}

async fn post(house: &House, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
    ask(house.public, "POST", path, headers, body).await
}

#[tokio::test]
async fn a_plugin_is_told_the_request_without_credentials_and_its_answer_can_do_nothing_here() {
    let (house, _) = house(Options::default()).await;
    let headers = [("cookie", "a=b"), ("authorization", "Bearer x"), ("x-event", "push")];
    let answer = post(&house, "/v1/hooks/mirror/a/b?c=d", &headers, b"hello").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let told = answer.json();
    let expected =
        [("method", "POST"), ("path", "a/b"), ("query", "c=d"), ("body", "hello"), ("address", "127.0.0.1")];
    for (name, value) in expected {
        assert_eq!(told[name], value, "{told}");
    }
    let names: Vec<_> = told["headers"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(names.contains(&"x-event") && !names.contains(&"cookie") && !names.contains(&"authorization"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("content-security-policy").is_some_and(|policy| policy.contains("sandbox")));
    assert_eq!(answer.header("set-cookie"), None);
}

#[tokio::test]
async fn a_repeat_with_the_same_key_gets_the_first_answer() {
    let (house, mirror) = house(Options::default()).await;
    let key = [("idempotency-key", "one")];
    let first = post(&house, "/v1/hooks/mirror/x", &key, b"1").await;
    let again = post(&house, "/v1/hooks/mirror/x", &key, b"1").await;
    assert_eq!((again.status, &again.body), (first.status, &first.body));
    assert_eq!(mirror.calls.load(Ordering::SeqCst), 1);
    post(&house, "/v1/hooks/mirror/x", &key, b"2").await.check_error(
        409,
        "conflict",
        Some("idempotency-key"),
    );
    let other = post(&house, "/v1/hooks/mirror/x", &[("idempotency-key", "two")], b"1").await;
    assert_eq!(other.json()["calls"], 2);
}

#[tokio::test]
async fn what_no_plugin_answers_is_told_apart() {
    let options = Options { hook_body_bytes_max: 100, hooks_per_s: 3, ..Options::default() };
    let (house, _) = house(options).await;
    post(&house, "/v1/hooks/none/x", &[], b"").await.check_error(404, "not_found", None);
    post(&house, "/v1/hooks/mirror/broken", &[], b"").await.check_error(504, "timeout", None);
    assert_eq!(ask(house.public, "TRACE", "/v1/hooks/mirror/x", &[], b"").await.status, 405);
    assert_eq!(post(&house, "/v1/hooks/mirror/x", &[], &[b'x'; 100]).await.status, 201);
    let large = post(&house, "/v1/hooks/mirror/x", &[], &[b'x'; 101]).await;
    large.check_error(413, "too_large", Some("body"));
    for _ in 0..2 {
        assert_eq!(post(&house, "/v1/hooks/mirror/x", &[], b"").await.status, 201);
    }
    let limited = post(&house, "/v1/hooks/mirror/x", &[], b"").await;
    limited.check_error(429, "rate_limited", None);
    assert!(limited.header("retry-after").is_some());
    house.clock.pass(1);
    assert_eq!(post(&house, "/v1/hooks/mirror/x", &[], b"").await.status, 201);
}

#[tokio::test]
async fn dead_letters_are_an_operators_to_ask_for() {
    let (house, _) = house(Options::default()).await;
    let dead = "/admin/v1/plugins/mirror/dead";
    assert_eq!(house.administer("GET", dead, "").await.json(), json!({ "letters": [] }));
    house.administer("GET", &format!("{dead}?limit=0"), "").await.check_error(400, "invalid", Some("limit"));
    house.administer("GET", &format!("{dead}?page=x"), "").await.check_error(400, "invalid", Some("page"));
    for (method, path) in [("GET", "/7"), ("DELETE", "/7"), ("POST", "/7/redrive")] {
        house.administer(method, &format!("{dead}{path}"), "").await.check_error(404, "not_found", None);
    }
    house.administer("GET", &format!("{dead}/x"), "").await.check_error(400, "invalid", Some("n"));
    house.administer("GET", "/admin/v1/plugins/none/dead", "").await.check_error(404, "not_found", None);
    let discard = house.administer("DELETE", "/admin/v1/plugins/good?discard=maybe", "").await;
    discard.check_error(400, "invalid", Some("discard"));
}
