//! Every limit of the server's own table, met exactly and exceeded by one.
//!
//! The table is what `godwit config --limits` prints. A case sets its limit low, shows that what is at the limit still
//! works, goes beyond it by one, and says what answered, in the words of the table. A limit that cannot be met from
//! outside to the byte or the call has its case in the crate that obeys it: that one is named, and must exist.
//!
//! This file is long because it has a case for every limit.

mod people;

use anyhow::{Context, Result, bail, ensure};
use futures_util::{
    FutureExt, StreamExt,
    future::{LocalBoxFuture, ready},
    stream,
};
use godwit_e2e::{
    PATIENCE,
    admin::Install,
    client::{Client, Failure, text},
    eventually,
    server::{Server, UNLIMITED, run},
};
use godwit_fixtures::FIXTURE;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

/// How many cases run at once; each has a server of its own.
const CASES_AT_ONCE: usize = 4;
const CHEAP: &str = "[auth]\nhash_memory_kib = 64\nhash_passes = 1\n";
const ACTORS: &str = "host/engine/tests/engine/actors.rs";
const ACTOR_LIMITS: &str = "host/engine/tests/engine/actor_limits.rs";
const BAD: &str = "host/engine/tests/engine/bad.rs";
const DELIVERING: &str = "host/engine/tests/engine/delivering.rs";
const LATE: &str = "a_rule_that_is_not_heard_in_time_is_replaced_by_the_built_in_one";
const TOO_MUCH: &str = "what_is_too_much_for_the_stage_is_told_as_heads_and_nothing_else_is_lost";
const HTTP: &str = "host/engine/src/actor/http/tests.rs";
const INSTALLING: &str = "host/engine/tests/engine/installing.rs";
const SERVICES: &str = "host/engine/src/services.rs";

enum Case {
    /// What answered.
    Here(fn() -> LocalBoxFuture<'static, Result<String>>),
    /// The file and the test in which the limit is met and exceeded.
    There(&'static str, &'static str),
}
use Case::{Here, There};

const CASES: &[(&str, Case)] = &[
    (
        "auth.hashes_waiting_max",
        There("host/core/src/accounts/hasher.rs", "who_finds_the_queue_full_is_asked_to_try_again"),
    ),
    ("gateway.body_timeout_ms", Here(|| body_timeout().boxed_local())),
    ("gateway.component_bytes_max", Here(|| component_bytes().boxed_local())),
    ("gateway.connections_max", Here(|| connections().boxed_local())),
    ("gateway.frame_bytes_max", Here(|| frame_bytes().boxed_local())),
    ("gateway.header_bytes_max", Here(|| header_bytes().boxed_local())),
    ("gateway.header_timeout_ms", Here(|| header_timeout().boxed_local())),
    ("gateway.hook_body_bytes_max", Here(|| hook_body_bytes().boxed_local())),
    ("gateway.hooks_per_s", Here(|| hooks().boxed_local())),
    (
        "gateway.outbox_bytes_max",
        There("host/core/src/outbox/tests.rs", "frames_come_out_in_order_and_an_overflow_closes"),
    ),
    (
        "gateway.ping_interval_ms",
        There(
            "tests/e2e/tests/all/sockets.rs",
            "a_silent_socket_is_closed_as_idle_and_one_that_answers_pings_is_not",
        ),
    ),
    (
        "gateway.tls.handshake_timeout_ms",
        There(
            "host/gateway/tests/tls.rs",
            "who_stalls_the_handshake_is_cut_off_and_the_others_come_in_meanwhile",
        ),
    ),
    ("gateway.upload_timeout_ms", Here(|| upload_timeout().boxed_local())),
    ("limits.body_bytes_max", Here(|| body_bytes().boxed_local())),
    ("limits.channel_members_max", Here(|| people::channel_members().boxed_local())),
    ("limits.contact_requests_max", Here(|| people::contact_requests().boxed_local())),
    ("limits.contacts_max", Here(|| people::contacts().boxed_local())),
    ("limits.deliver_ms", There("host/core/tests/deliver/waiting.rs", LATE)),
    ("limits.delivering_max", There("host/core/tests/deliver/waiting.rs", TOO_MUCH)),
    ("limits.follow_above", Here(|| follow_above().boxed_local())),
    ("limits.follows_max", Here(|| follows().boxed_local())),
    (
        "limits.held_max",
        There("tests/e2e/tests/all/held.rs", "holds_have_a_limit_and_nothing_but_a_message_is_held"),
    ),
    ("limits.in_flight_max", Here(|| in_flight().boxed_local())),
    ("limits.logins_per_minute", Here(|| logins().boxed_local())),
    ("limits.lookups_per_minute", Here(|| people::lookups().boxed_local())),
    ("limits.members_max", Here(|| people::members().boxed_local())),
    ("limits.profiles_per_minute", Here(|| people::profiles().boxed_local())),
    ("limits.receipts_above", Here(|| receipts().boxed_local())),
    ("limits.requests_per_s", Here(|| requests().boxed_local())),
    ("limits.sends_burst", Here(|| sends().boxed_local())),
    ("limits.sends_per_s", Here(|| sends().boxed_local())),
    ("limits.typings_per_s", Here(|| people::typings().boxed_local())),
    ("limits.users_per_request_max", Here(|| people::users_per_request().boxed_local())),
    ("plugins.actors.call_cpu_ms", There(ACTOR_LIMITS, COSTLY)),
    (
        "plugins.actors.call_wall_ms",
        There(ACTOR_LIMITS, "a_host_function_that_takes_long_is_cut_at_the_wall"),
    ),
    ("plugins.actors.effects_kib_max", There(ACTOR_LIMITS, EFFECTS)),
    ("plugins.actors.effects_max", There(ACTOR_LIMITS, EFFECTS)),
    ("plugins.actors.http.at_once_max", There(HTTP, "as_many_requests_as_are_allowed_are_under_way_at_once")),
    ("plugins.actors.http.headers_kib_max", There(HTTP, REQUEST)),
    (
        "plugins.actors.http.redirects_max",
        There(HTTP, "redirects_are_followed_up_to_a_limit_and_carry_no_secret_to_another_server"),
    ),
    ("plugins.actors.http.request_kib_max", There(HTTP, REQUEST)),
    (
        "plugins.actors.http.requests_max",
        There(ACTORS, "requests_go_to_granted_origins_and_a_run_after_a_conflict_gets_the_recorded_answers"),
    ),
    ("plugins.actors.http.response_kib_max", There(HTTP, SLOW)),
    ("plugins.actors.http.timeout_ms", There(HTTP, SLOW)),
    ("plugins.actors.kv_key_bytes_max", There(ACTOR_LIMITS, KEYS)),
    ("plugins.actors.kv_value_kib_max", There(ACTOR_LIMITS, KEYS)),
    ("plugins.actors.memory_mib", There(ACTOR_LIMITS, COSTLY)),
    ("plugins.actors.memory_mib_max", There(ACTORS, "a_manifest_of_an_actor_is_held_to_its_word")),
    ("plugins.actors.reads_max", There(ACTOR_LIMITS, "reads_have_a_limit")),
    ("plugins.actors.result_kib_max", There(ACTOR_LIMITS, COSTLY)),
    (
        "plugins.actors.state_mib_max",
        There("host/engine/src/actor/copy.rs", "what_does_not_fit_is_left_out_and_told_once"),
    ),
    (
        "plugins.actors.waiting_max",
        There(ACTOR_LIMITS, "instances_are_bounded_by_number_and_by_the_memory_of_a_plugin"),
    ),
    ("plugins.body_bytes_max", There("host/engine/src/answer.rs", REWRITE)),
    ("plugins.call_cpu_ms", There(BAD, "a_loop_is_cut_at_the_default_budget")),
    (
        "plugins.chain_cpu_ms",
        There(BAD, "the_chain_has_one_budget_and_later_plugins_are_not_asked_beyond_it"),
    ),
    ("plugins.compile.artefact_mib_max", Here(|| artefact().boxed_local())),
    ("plugins.compile.cpu_s", There("host/engine/tests/engine/compiling.rs", BOMB)),
    ("plugins.compile.wall_s", There("host/engine/tests/engine/compiling.rs", BOMB)),
    ("plugins.component_mib_max", Here(|| component_mib().boxed_local())),
    ("plugins.config_kib_max", Here(|| config_kib().boxed_local())),
    ("plugins.core_modules_max", There("host/engine/src/component.rs", "sizes_are_limited")),
    ("plugins.deliver_cpu_ms", There(DELIVERING, "both_hooks_share_one_budget_beyond_which_nobody_is_asked")),
    ("plugins.init_cpu_ms", There(INSTALLING, "an_init_that_fails_is_told_with_the_plugins_own_words")),
    ("plugins.log_line_bytes_max", There(BAD, FLOOD)),
    ("plugins.log_lines_kept", There(SERVICES, "the_ring_keeps_the_newest_lines_and_their_numbers")),
    ("plugins.log_lines_per_s", There(BAD, FLOOD)),
    ("plugins.manifest_kib_max", Here(|| manifest_kib().boxed_local())),
    ("plugins.memory_mib", There(BAD, MISBEHAVING)),
    ("plugins.memory_mib_max", There(INSTALLING, "a_clamp_is_reported")),
    ("plugins.mentions_max", There("host/engine/src/answer.rs", REWRITE)),
    ("plugins.poison.bodies_max", There("host/engine/src/poison.rs", "no_more_is_kept_than_may_be")),
    ("plugins.rate_keys_max", There(SERVICES, "the_least_recently_counted_key_makes_room")),
    ("plugins.result_kib_max", There(BAD, MISBEHAVING)),
    (
        "plugins.shadow_queue_max",
        There("host/engine/tests/engine/trying.rs", "a_shadow_that_hangs_or_traps_is_in_nobodys_way"),
    ),
    ("plugins.stack_kib", There(BAD, MISBEHAVING)),
    (
        "plugins.uploads_max",
        There(
            "host/engine/tests/engine/operating.rs",
            "the_oldest_upload_makes_room_for_the_newest_and_one_in_use_does_not_count",
        ),
    ),
    ("plugins.waiting_max", There(BAD, BUSY)),
    ("plugins.waiting_per_user_max", There(BAD, BUSY)),
];

const BOMB: &str = "a_compile_bomb_is_killed_at_its_limit_which_the_refusal_names";
const BUSY: &str = "when_all_instances_are_busy_calls_wait_their_turn_and_then_are_refused";
const COSTLY: &str = "an_actor_that_misbehaves_costs_its_own_call_and_none_of_its_effects_happen";
const EFFECTS: &str = "effects_have_a_limit_in_number_and_size";
const FLOOD: &str = "a_flood_of_lines_is_cut_to_its_rate_and_does_not_fail_the_call";
const KEYS: &str = "keys_values_and_texts_have_limits";
const MISBEHAVING: &str = "moderation_that_fails_lets_nothing_through_and_serves_the_next_message";
const REQUEST: &str = "what_breaks_a_limit_is_refused_before_a_name_is_resolved";
const REWRITE: &str = "a_rewrite_within_its_limits_is_taken_and_one_that_changes_nothing_is_none";
const SLOW: &str = "slow_endless_and_broken_servers_cost_their_own_request_alone";

/// The table as the binary prints it: each limit, and what answers beyond it.
async fn table() -> Result<BTreeMap<String, String>> {
    let printed = String::from_utf8(run(&["config", "--limits"], &[]).await?.stdout)?;
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| `")?.split(" | ");
        let limit = cells.next()?.strip_suffix('`')?.to_owned();
        Some((limit, cells.nth(1)?.to_owned()))
    };
    let table: BTreeMap<_, _> = printed.lines().filter_map(row).collect();
    ensure!(!table.is_empty(), "no table was printed: {printed:?}");
    Ok(table)
}

#[tokio::test]
async fn each_limit_answers_as_the_table_says_when_it_is_exceeded_by_one() -> Result<()> {
    // Before anything is timed: it may compile for a while, and nothing else runs meanwhile.
    godwit_fixtures::build();
    let table = table().await?;
    let cases: BTreeMap<_, _> = CASES.iter().map(|(limit, case)| (*limit, case)).collect();
    assert_eq!(cases.len(), CASES.len(), "a limit has two cases");
    for limit in table.keys() {
        ensure!(cases.contains_key(limit.as_str()), "`{limit}` has no case: add one that exceeds it by one");
    }
    let run = cases.into_iter().map(|(limit, case)| {
        let expected = table.get(limit).with_context(|| format!("the table has no limit `{limit}`"));
        async move {
            let expected = expected?;
            match case {
                Here(case) => {
                    let answered = case().await.with_context(|| format!("`{limit}`"))?;
                    ensure!(answered == *expected, "`{limit}`: {answered} answered, not {expected}");
                }
                There(file, test) => check_exists(file, test).with_context(|| format!("`{limit}`"))?,
            }
            anyhow::Ok(())
        }
    });
    let failed = stream::iter(run).buffer_unordered(CASES_AT_ONCE).filter_map(|done| ready(done.err()));
    let failed: Vec<_> = failed.map(|error| format!("{error:#}")).collect().await;
    ensure!(failed.is_empty(), "{}", failed.join("\n"));
    Ok(())
}

fn check_exists(file: &str, test: &str) -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("no file {file}"))?;
    ensure!(text.contains(&format!("fn {test}(")), "{file} has no test {test}");
    Ok(())
}

/// A server with this one setting changed, and no limit on speed.
async fn with(limit: &str, value: u32) -> Result<Server> {
    let (section, name) = limit.rsplit_once('.').context("a limit stands in a section")?;
    match section {
        "limits" => {
            let speeds = ["sends_per_s", "requests_per_s", "logins_per_minute"];
            let others = speeds.iter().filter(|speed| **speed != name);
            let off: String = others.map(|speed| format!("{speed} = 0\n")).collect();
            Server::with(&format!("[limits]\n{off}{name} = {value}\n{CHEAP}")).await
        }
        _ => Server::with(&format!("{UNLIMITED}[{section}]\n{name} = {value}\n")).await,
    }
}

/// A code as the table shows it.
fn code(code: &str) -> String {
    format!("`{code}`")
}

fn error_code(answer: &Value) -> Result<String> {
    let said = answer["error"]["code"].as_str().with_context(|| format!("no error: {answer}"))?;
    Ok(code(said))
}

/// Sends these bytes and reads to the end: what came back.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    // A reset is an end as well.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.context("no end")?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The JSON body of an answer.
fn body(answer: &str) -> Result<Value> {
    let (_, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: {answer:?}"))?;
    Ok(serde_json::from_str(body)?)
}

async fn body_timeout() -> Result<String> {
    let server = with("gateway.body_timeout_ms", 2000).await?;
    let head = "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
    let whole = r#"{"name": "ada", "password": "a wrong one"}"#;
    let answer = exchange(server.public, format!("{head} {}\r\n\r\n{whole}", whole.len()).as_bytes()).await?;
    assert_eq!(error_code(&body(&answer)?)?, "`unauthorised`", "a body in time is read");
    let unfinished = format!("{head} {}\r\n\r\n{whole}", whole.len() + 1);
    error_code(&body(&exchange(server.public, unfinished.as_bytes()).await?)?)
}

async fn header_timeout() -> Result<String> {
    let server = with("gateway.header_timeout_ms", 2000).await?;
    let head = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(server.public, head.as_bytes()).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "{answer:.100}");
    let unfinished = exchange(server.public, &head.as_bytes()[..head.len() - 1]).await?;
    ensure!(unfinished.is_empty(), "answered: {unfinished:.100}");
    Ok("closed".to_owned())
}

async fn header_bytes() -> Result<String> {
    const MAX: usize = 8192;
    let server = with("gateway.header_bytes_max", 8192).await?;
    let head = |bytes: usize| {
        let (start, end) = ("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: ", "\r\n\r\n");
        format!("{start}{}{end}", "x".repeat(bytes - start.len() - end.len()))
    };
    let answer = exchange(server.public, head(MAX).as_bytes()).await?;
    ensure!(answer.starts_with("HTTP/1.1 200 "), "at the limit: {answer:.100}");
    // One more would be its last: so much of it is too much already.
    let answer = exchange(server.public, &head(MAX + 1).as_bytes()[..MAX]).await?;
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.split(' ').next());
    Ok(format!("status {}", status.with_context(|| format!("beyond it: {answer:?}"))?))
}

/// A request to a plugin that nobody installed, with a body of so many bytes.
fn hook(bytes: usize) -> Vec<u8> {
    let head = "POST /v1/hooks/nobody/x HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
    format!("{head} {bytes}\r\n\r\n{}", "x".repeat(bytes)).into_bytes()
}

async fn hook_body_bytes() -> Result<String> {
    let server = with("gateway.hook_body_bytes_max", 1000).await?;
    let answer = exchange(server.public, &hook(1000)).await?;
    assert_eq!(error_code(&body(&answer)?)?, "`not_found`", "what is at the limit is read");
    error_code(&body(&exchange(server.public, &hook(1001)).await?)?)
}

async fn hooks() -> Result<String> {
    let server = with("gateway.hooks_per_s", 1).await?;
    let begun = Instant::now();
    // A burst of two seconds' worth, and one more for each second that this takes.
    for count in 0.. {
        let answer = error_code(&body(&exchange(server.public, &hook(1)).await?)?)?;
        if answer != "`not_found`" {
            ensure!(count >= 2, "after {count} requests");
            return Ok(answer);
        }
        ensure!(count <= 3 + begun.elapsed().as_secs(), "{count} requests are answered");
    }
    bail!("there is an end")
}

async fn connections() -> Result<String> {
    const MAX: usize = 3;
    let server = with("gateway.connections_max", 3).await?;
    let mut open = Vec::new();
    for _ in 0..MAX {
        open.push(Client::open(server.public).await?);
    }
    let refused = exchange(server.public, b"").await?;
    ensure!(refused.is_empty(), "{refused}");
    open.pop();
    // Each of those who stay is served, and there is room for one again.
    let ada = server.person("ada").await?;
    for client in &mut open {
        client.authenticate(&ada.token).await?;
    }
    eventually("room for a connection", async || Ok(server.session(&ada).await.ok())).await?;
    Ok("closed as it comes".to_owned())
}

async fn frame_bytes() -> Result<String> {
    const MAX: usize = 2000;
    let server = with("gateway.frame_bytes_max", 2000).await?;
    let (_, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_frame_bytes"], json!(MAX));
    let request = r#"{"id": 100, "conversations": {}}"#;
    let frame = |bytes: usize| Message::text(format!("{request}{}", " ".repeat(bytes - request.len())));
    client.raw(frame(MAX)).await?;
    client.reply(100).await?;
    client.raw(frame(MAX + 1)).await?;
    Ok(client.closed().await?.to_string())
}

async fn body_bytes() -> Result<String> {
    const MAX: usize = 1000;
    let server = with("limits.body_bytes_max", 1000).await?;
    let (ada, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_body_bytes"], json!(MAX));
    let place = client.direct(ada.id).await?;
    // Bytes are counted, not characters.
    client.send(place, &"ä".repeat(MAX / 2)).await?;
    let over = text(place, Uuid::now_v7(), &format!("{}x", "ä".repeat(MAX / 2)));
    let refusal = client.refused("send", over).await?;
    assert_eq!(refusal.field.as_deref(), Some("body"));
    assert_eq!(client.send(place, "next").await?.seq, 2, "what was refused took no number");
    Ok(code(&refusal.code))
}

async fn in_flight() -> Result<String> {
    const MAX: usize = 4;
    let server = with("limits.in_flight_max", 4).await?;
    let (ada, mut client) = server.join("ada").await?;
    assert_eq!(client.hello["max_in_flight"], json!(MAX));
    let place = client.direct(ada.id).await?;
    let sends = |count: usize| {
        (0..count).map(move |n| ("send", text(place, Uuid::now_v7(), &format!("message {n}"))))
    };
    let refused = async {
        // What is answered is no longer in flight: the last of a frame may come when the first is done.
        for _ in 0..1_000 {
            for id in client.post_all(sends(MAX)).await? {
                client.reply(id).await.context("at the limit")?;
            }
            let mut refused = Vec::new();
            for id in client.post_all(sends(MAX + 1)).await? {
                match client.reply(id).await {
                    Ok(_) => {}
                    Err(Failure::Refused(refusal)) => refused.push(refusal),
                    Err(other) => return Err(other.into()),
                }
            }
            if let Some(refusal) = refused.pop() {
                ensure!(refused.is_empty(), "one was too many, and more were refused: {refused:?}");
                return Ok(refusal);
            }
        }
        bail!("one more than may be in flight is never refused")
    };
    let refusal = refused.await?;
    client.post_all(sends(200)).await?;
    Ok(format!("{}, then {}", code(&refusal.code), client.closed().await?))
}

async fn logins() -> Result<String> {
    const MAX: usize = 3;
    let server = with("limits.logins_per_minute", 3).await?;
    let body = json!({"name": "ada", "password": "a wrong one"});
    for _ in 0..MAX {
        assert_eq!(server.post("/v1/auth/login", None, &body).await?.0, 401);
    }
    let (status, error) = server.post("/v1/auth/login", None, &body).await?;
    assert_eq!(status, 429, "{error}");
    error_code(&error)
}

/// People who only have to exist.
async fn some(server: &Server, count: usize) -> Result<Vec<Uuid>> {
    let mut people = Vec::new();
    for n in 0..count {
        people.push(server.admin.create_user(&format!("person-{n}"), None).await?);
    }
    Ok(people)
}

async fn receipts() -> Result<String> {
    let server = with("limits.receipts_above", 3).await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut reader) = server.join("ben").await?;
    let others = some(&server, 2).await?;
    let at = ada.group("At the limit", &[ben.id, others[0]]).await?;
    let over = ada.group("One above", &[ben.id, others[0], others[1]]).await?;
    // What is above comes first, so that its receipt would have come before the other.
    for place in [over, at] {
        ada.send(place, "read this").await?;
        reader.request("read", json!({"conversation": place, "seq": 1})).await?;
    }
    let receipt = ada.push("receipt").await?;
    assert_eq!((&receipt["conversation"], &receipt["user"]), (&json!(at), &json!(ben.id)));
    ensure!(ada.kept("receipt").is_empty(), "{:?}", ada.kept("receipt"));
    Ok("no receipts are pushed".to_owned())
}

async fn follow_above() -> Result<String> {
    let server = with("limits.follow_above", 3).await?;
    let (_, mut ada) = server.join("ada").await?;
    let (ben, mut follower) = server.join("ben").await?;
    let (cleo, mut other) = server.join("cleo").await?;
    let fourth = some(&server, 1).await?[0];
    let at = ada.group("At the limit", &[ben.id, cleo.id]).await?;
    let over = ada.group("One above", &[ben.id, cleo.id, fourth]).await?;
    follower.request("follow", json!({"conversation": over})).await?;
    // What is above comes first, so that it would have come before the other.
    for place in [over, at] {
        ada.send(place, "hello").await?;
    }
    assert_eq!(follower.push("message").await?["conversation"], json!(over));
    assert_eq!(other.push("message").await?["conversation"], json!(at));
    assert_eq!(other.push("heads").await?[0]["conversation"], json!(over));
    Ok("pushed to who follows, `heads` to the others".to_owned())
}

async fn follows() -> Result<String> {
    let server = with("limits.follows_max", 2).await?;
    let (_, mut ada) = server.join("ada").await?;
    for title in ["One", "Two"] {
        let place = ada.group(title, &[]).await?;
        ada.request("follow", json!({"conversation": place})).await?;
    }
    let over = ada.group("Three", &[]).await?;
    Ok(code(&ada.refused("follow", json!({"conversation": over})).await?.code))
}

async fn requests() -> Result<String> {
    // Two seconds' worth may come at once; `connect` is the first.
    let server = with("limits.requests_per_s", 1).await?;
    let began = Instant::now();
    let (_, mut client) = server.join("ada").await?;
    client.request("conversations", json!({})).await?;
    client.request("conversations", json!({})).await?;
    // No bound on how fast the machine is: the server itself has to wait for so long.
    let elapsed = began.elapsed();
    ensure!(elapsed >= Duration::from_millis(900), "the third request was answered after {elapsed:?}");
    Ok("read more slowly".to_owned())
}

async fn sends() -> Result<String> {
    const BURST: usize = 3;
    let settings = "[limits]\nrequests_per_s = 0\nsends_per_s = 1\nsends_burst = 3\n";
    let server = Server::with(settings).await?;
    for n in 0..100 {
        let (person, mut client) = server.join(&format!("person-{n}")).await?;
        let place = client.direct(person.id).await?;
        let mut send = async |count: usize| {
            let sends = (0..count).map(|_| ("send", text(place, Uuid::now_v7(), "hello")));
            let mut refusals = Vec::new();
            for id in client.post_all(sends).await? {
                match client.reply(id).await {
                    Ok(_) => {}
                    Err(Failure::Refused(refusal)) => refusals.push(refusal),
                    Err(other) => return Err(other.into()),
                }
            }
            anyhow::Ok(refusals)
        };
        let began = Instant::now();
        let (at, over) = (send(BURST).await?, send(1).await?);
        ensure!(at.is_empty(), "at the limit: {at:?}");
        let Some(refusal) = over.into_iter().next() else {
            // Only a machine that took a second for that may have earned another one.
            ensure!(began.elapsed() >= Duration::from_secs(1), "one more was let through");
            continue;
        };
        let sends = (0..100).map(|_| ("send", text(place, Uuid::now_v7(), "hello")));
        client.post_all(sends).await?;
        return Ok(format!("{}, then {}", code(&refusal.code), client.closed().await?));
    }
    bail!("the machine is too slow to send four messages in a second")
}

fn fixture() -> Install {
    Install {
        id: "fixture".to_owned(),
        manifest: godwit_fixtures::manifest(FIXTURE),
        component: godwit_fixtures::component(FIXTURE),
        config: None,
        ..Install::default()
    }
}

async fn component_bytes() -> Result<String> {
    const MAX: usize = 1000;
    let server = with("gateway.component_bytes_max", 1000).await?;
    let garbage = |bytes| Install { component: vec![0; bytes], ..fixture() };
    let (status, answer) = server.admin.install(garbage(MAX)).await?;
    assert_eq!(status, 422, "at the limit it is read, and refused for what it is: {answer}");
    let (status, answer) = server.admin.install(garbage(MAX + 1)).await?;
    assert_eq!(status, 413, "{answer}");
    error_code(&answer)
}

async fn upload_timeout() -> Result<String> {
    let server = with("gateway.upload_timeout_ms", 2000).await?;
    let token = std::fs::read_to_string(server.data().join("admin-token"))?;
    let head = format!(
        "PUT /admin/v1/plugins/fixture HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: Bearer {}\r\n\
         content-type: multipart/form-data; boundary=b\r\n",
        token.trim()
    );
    let whole = "--b--\r\n";
    let request = format!("{head}content-length: {}\r\n\r\n{whole}", whole.len());
    let answer = exchange(server.admin.address(), request.as_bytes()).await?;
    assert_eq!(error_code(&body(&answer)?)?, "`invalid`", "a form in time is read: {answer}");
    let unfinished = format!("{head}content-length: {}\r\n\r\n{}", whole.len(), &whole[..2]);
    error_code(&body(&exchange(server.admin.address(), unfinished.as_bytes()).await?)?)
}

/// The first is accepted, the second refused by a problem that names this.
async fn check_installs(server: &Server, at: Install, over: Install, named: &str) -> Result<String> {
    let (status, answer) = server.admin.install(at).await?;
    assert_eq!(status, 200, "at the limit: {answer}");
    let (status, answer) = server.admin.install(over).await?;
    ensure!(answer["problems"].to_string().contains(named), "{answer} does not name {named:?}");
    Ok(format!("refused, status {status}"))
}

async fn component_mib() -> Result<String> {
    let server = with("plugins.component_mib_max", 1).await?;
    // A custom section of that many bytes in all, which means nothing: its length is written in five bytes.
    let padded = |bytes: usize| {
        let mut component = godwit_fixtures::component(FIXTURE);
        let length = u32::try_from(bytes - component.len() - 6).expect("a component is smaller");
        component.push(0);
        component.extend((0..4).map(|n| (length >> (7 * n)) as u8 | 0x80));
        component.push((length >> 28) as u8);
        component.extend(b"\x03pad");
        component.resize(bytes, 0);
        Install { component, ..fixture() }
    };
    check_installs(&server, padded(1 << 20), padded((1 << 20) + 1), "the limit is 1 MiB").await
}

async fn manifest_kib() -> Result<String> {
    const MAX: usize = 4096;
    let server = with("plugins.manifest_kib_max", 4).await?;
    let padded = |bytes: usize| {
        let mut install = fixture();
        ensure!(install.manifest.len() < MAX - 2, "the manifest is too long for this test");
        install.manifest += "\n#";
        install.manifest += &"x".repeat(bytes - install.manifest.len());
        Ok(install)
    };
    check_installs(&server, padded(MAX)?, padded(MAX + 1)?, "the limit is 4 KiB").await
}

async fn config_kib() -> Result<String> {
    const MAX: usize = 1024;
    let server = with("plugins.config_kib_max", 1).await?;
    let padded = |bytes: usize| {
        let config = |on: String| json!({"moderation": {"mode": "reject", "on": on}});
        let on = "x".repeat(bytes - config(String::new()).to_string().len());
        Install { config: Some(config(on)), ..fixture() }
    };
    check_installs(&server, padded(MAX), padded(MAX + 1), "the limit is 1 KiB").await
}

async fn artefact() -> Result<String> {
    let accepting = with("plugins.compile.artefact_mib_max", 64).await?;
    let (status, answer) = accepting.admin.install(fixture()).await?;
    assert_eq!(status, 200, "{answer}");
    // The size that the compiler makes of a component is not ours to choose: of none, everything is too much.
    let refusing = with("plugins.compile.artefact_mib_max", 0).await?;
    let (status, answer) = refusing.admin.install(fixture()).await?;
    ensure!(answer["problems"].to_string().contains("0 MiB"), "{answer}");
    Ok(format!("refused, status {status}"))
}
