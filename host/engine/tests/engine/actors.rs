//! Actors with real guests: every hook, every service, and every grant.

use crate::{
    bed::{Bed, allowed, scene},
    desk::{ADA, ALL, GROUP, actor, actor_without, call},
};
use godwit_domain::{
    actor::{self, Act, Actors, EventKind, Hook, KvWrite, Media, Notified, Outcome, Reply, Target},
    filter::{Decision, Filters},
    message::Content,
    plugin::{Advance, Begin, Delta, Error, Install, Manager, Setting, State},
    time::Ms,
};
use godwit_engine::Options;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// Enough CPU time for filters that take steps, however slow the machine.
fn patient() -> Options {
    Options { call_cpu_ms: 200, chain_cpu_ms: 400, call_wall_ms: 10_000, ..Options::default() }
}

pub async fn bed() -> Bed {
    let bed = Bed::new(patient()).await;
    bed.install_actor("{}").await.unwrap();
    bed
}

/// How a call failed, and why.
pub fn failed<T: std::fmt::Debug>(outcome: Outcome<T>) -> (Decision, String) {
    match outcome {
        Outcome::Failed { how, why } => (how, why),
        other => panic!("should fail: {other:?}"),
    }
}

#[tokio::test]
async fn a_component_of_both_kinds_serves_as_a_filter_and_as_an_actor_and_tells_what_it_serves() {
    let bed = bed().await;
    let actor = bed.actor();
    assert_eq!(actor.hooks(), [Hook::Bot, Hook::Command, Hook::Notifier, Hook::Inbound]);
    assert_eq!(actor.events().len(), 9);
    assert!(actor.events().contains(&EventKind::Sent) && actor.suspended().is_none());
    assert_eq!((actor.commands()[0].name.as_str(), actor.kinds()), ("do", &["fixture".to_owned()][..]));
    assert!(actor.may("kv") && actor.may("http") && !actor.may("all-conversations"));
    assert_eq!(allowed(&bed.judge("x").await.0), Some("x"));
    assert_eq!(bed.artefacts().len(), 1, "compiled once for both engines");
    // What it told is stored: a restart does not ask again.
    let bed = bed.restarted().await;
    assert_eq!(bed.actor().commands()[0].arguments.len(), 2);
    let (told, effects) = bed.did(r#"[{"send": "hello"}]"#).await;
    assert_eq!(told, json!(["event#0"]));
    assert_eq!(effects.acts, [Act::Send(Target::Conversation(GROUP), Content::text("hello"))]);
}

#[tokio::test]
async fn each_hook_has_each_of_its_outcomes() {
    let bed = bed().await;
    assert!(matches!(bed.hear("[]").await, Outcome::Done((), effects) if effects.acts.is_empty()));
    for (steps, again) in [(r#"[{"retry": "later"}]"#, true), (r#"[{"drop": "no"}]"#, false)] {
        let steps = steps.replace('[', r#"[{"send": "x"}, "#);
        for outcome in
            [bed.hear(&steps).await, done(bed.handle(&steps).await), done(bed.notify(&steps).await)]
        {
            assert!(matches!(outcome, Outcome::Refused { retry, .. } if retry == again), "{outcome:?}");
        }
    }
    assert!(
        matches!(bed.run(r#"[{"drop": "not so"}]"#).await, Outcome::Refused { text, .. } if text == "not so")
    );
    let reply = |steps: &'static str| async {
        match bed.run(steps).await {
            Outcome::Done(reply, _) => reply,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reply(r#"[{"reply": "all"}]"#).await, Reply::ToAll(Content::text(r#"["ok"]"#)));
    assert_eq!(reply(r#"[{"reply": "none"}]"#).await, Reply::None);
    assert_eq!(
        reply(r#"[{"set": ["a", "b"]}, {"get": "a"}]"#).await,
        Reply::ToCaller(Content::text(r#"["ok","b"]"#))
    );
    match bed.handle(r#"[{"status": 404}]"#).await {
        Outcome::Done(response, _) => assert_eq!((response.status, response.media), (404, Media::Json)),
        other => panic!("{other:?}"),
    }
    for (outcome, expected) in
        [("sent", Notified::Sent), ("gone", Notified::Gone), ("later", Notified::Later(Ms(1)))]
    {
        let told = bed.notify(&format!(r#"[{{"outcome": "{outcome}"}}]"#)).await;
        assert!(matches!(told, Outcome::Done(notified, _) if notified == expected), "{told:?}");
    }
    for outcome in [
        bed.hear(r#"["trap"]"#).await,
        done(bed.run(r#"["trap"]"#).await),
        done(bed.handle(r#"["trap"]"#).await),
        done(bed.notify(r#"["trap"]"#).await),
    ] {
        assert_eq!(failed(outcome).0, Decision::Trap);
    }
    let metrics = bed.metrics();
    for (hook, outcome, count) in
        [("bot", "done", 1), ("bot", "refused", 2), ("command", "trap", 1), ("notifier", "done", 3)]
    {
        let line = format!(
            r#"godwit_plugin_actor_calls_total{{plugin="fixture-actor",version="0.1.0",hook="{hook}",outcome="{outcome}"}} {count}"#
        );
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
}

fn done<T>(outcome: Outcome<T>) -> Outcome<()> {
    match outcome {
        Outcome::Done(_, effects) => Outcome::Done((), effects),
        Outcome::Refused { retry, text } => Outcome::Refused { retry, text },
        Outcome::Failed { how, why } => Outcome::Failed { how, why },
    }
}

#[tokio::test]
async fn answers_that_break_a_limit_count_as_traps() {
    let bed = bed().await;
    for (outcome, expected) in [
        (done(bed.run(r#"[{"answer": 20000}]"#).await), "20000 bytes, the limit is 16384"),
        (done(bed.handle(r#"[{"status": 99}]"#).await), "the status is 99"),
        (done(bed.handle(r#"[{"answer": 2000000}]"#).await), "fuel"),
        (done(bed.run(&format!(r#"[{{"drop": "{}"}}]"#, "x".repeat(501))).await), "501 characters"),
    ] {
        let (how, why) = failed(outcome);
        assert!(how == Decision::Trap && why.contains(expected), "{expected}: {why}");
    }
}

#[tokio::test]
async fn kv_sees_its_own_writes_and_hands_over_what_it_read() {
    let bed = bed().await;
    bed.commit(&["a/1", "a/2", "a/3", "b/1"].map(|key| KvWrite {
        key: key.into(),
        value: Some(b"old".to_vec()),
        ttl_s: None,
    }));
    let (told, effects) = bed
        .did(
            r#"[{"get": "a/1"}, {"set": ["a/1", "new"]}, {"get": "a/1"}, {"delete": "a/2"}, {"set_for": ["a/4", "x", 60]},
                {"scan": ["a", null, 10]}, {"scan": ["a", "a/1", 1]}, {"get": "none"}, {"set": ["a/1", "newer"]}]"#,
        )
        .await;
    let rows = json!([["a/1", "new"], ["a/3", "old"], ["a/4", "x"]]);
    assert_eq!(told, json!(["old", "ok", "new", "ok", "ok", rows, [["a/3", "old"]], null, "ok"]));
    let reads: Vec<_> = effects.reads.iter().map(|(key, value)| (&**key, value.is_some())).collect();
    assert_eq!(reads, [("a/1", true), ("none", false)], "each once, and what stood there before any write");
    assert_eq!(effects.scans, [("a".to_owned(), 5)]);
    let writes: Vec<_> =
        effects.writes.iter().map(|write| (&*write.key, write.value.as_deref(), write.ttl_s)).collect();
    assert_eq!(
        writes,
        [("a/1", Some(&b"newer"[..]), None), ("a/2", None, None), ("a/4", Some(b"x"), Some(60))]
    );
}

#[tokio::test]
async fn filters_read_what_actors_commit_and_what_was_stored_before() {
    let bed = Bed::new(patient()).await;
    bed.store.rows.lock().unwrap().insert("before".into(), (*b"stored").into());
    bed.install_actor("{}").await.unwrap();
    bed.did(r#"[{"set": ["after", "committed"]}]"#).await;
    let (judgement, _) = bed.judge(r#"[{"state": "before"}, {"state": "after"}, {"state": "none"}]"#).await;
    assert!(allowed(&judgement).is_some(), "{judgement:?}");
    assert_eq!(bed.told().await, json!(["stored", "committed", null]));
    // What is not committed is seen by nobody.
    assert!(matches!(bed.hear(r#"[{"set": ["lost", "x"]}, {"drop": "no"}]"#).await, Outcome::Refused { .. }));
    bed.judge(r#"[{"state": "lost"}]"#).await;
    assert_eq!(bed.told().await, json!([null]));
    // A new version finds the copy as it is.
    let mut install = actor("{}", &ALL, &[]);
    install.manifest = install.manifest.replace("0.1.0", "0.2.0");
    bed.engine.install(install).await.unwrap();
    bed.judge(r#"[{"state": "after"}]"#).await;
    assert_eq!(bed.told().await, json!(["committed"]));
}

#[tokio::test]
async fn filters_and_actors_count_apart() {
    let bed = bed().await;
    for expected in 1..=2 {
        assert_eq!(bed.did(r#"[{"hit": "k"}]"#).await.0, json!([expected]));
    }
    bed.judge(r#"[{"hit": "k"}]"#).await;
    assert_eq!(bed.told().await, json!([1]));
}

#[tokio::test]
async fn chat_buffers_what_it_does_and_reads_what_is_committed() {
    let bed = bed().await;
    let (told, effects) = bed
        .did(
            r#"[{"send": "one"}, {"edit_sent": "two"}, {"delete_number": 3}, {"react": "+1"}, "typing",
                {"history": [null, 2]}, {"history": [2, 10]}, {"members": 10}, {"find": "ada"}, {"find": "nobody"}]"#,
        )
        .await;
    let ada = ADA.to_string();
    assert_eq!(
        told,
        json!([
            "event#0",
            "ok",
            "ok",
            "ok",
            "ok",
            [[3, "text 3"], [2, "text 2"]],
            [[1, "text 1"]],
            1,
            ada,
            null
        ])
    );
    let number = |seq| actor::Named::Number(GROUP, godwit_domain::id::Seq(seq));
    assert_eq!(
        effects.acts,
        [
            Act::Send(Target::Conversation(GROUP), Content::text("one")),
            Act::Edit(actor::Named::Sent(actor::reference("event", 0)), "two".into()),
            Act::Delete(number(3)),
            Act::React { message: number(1), emoji: "+1".into(), on: true },
            Act::Typing(GROUP),
        ]
    );
}

#[tokio::test]
async fn timers_are_buffered_and_secrets_are_the_plugins_own() {
    let bed = bed().await;
    bed.engine.set_secret("fixture-actor", "token", Some("very secret".into())).await.unwrap();
    assert_eq!(bed.engine.secrets("fixture-actor").await.unwrap(), ["token"]);
    let (told, effects) = bed
        .did(r#"[{"timer": ["t", 5, "p"]}, {"cancel": "u"}, {"secret": "none"}, {"secret": "Bad Name"}]"#)
        .await;
    assert_eq!((&told[0], &told[2], &told[3]["err"]), (&json!("ok"), &Value::Null, &json!("invalid")));
    let set = Act::SetTimer { name: "t".into(), at: Ms(5), payload: b"p".to_vec() };
    assert_eq!(effects.acts, [set, Act::CancelTimer("u".into())]);
    match bed.run(r#"[{"secret": "token"}, {"reply": "caller"}]"#).await {
        Outcome::Done(Reply::ToCaller(content), _) => assert_eq!(content.body, r#"["very secret","ok"]"#),
        other => panic!("{other:?}"),
    }
    for (name, value, expected) in [
        ("Bad", Some("x".to_owned()), "a secret's name"),
        ("long", Some("x".repeat((16 << 10) + 1)), "16385 bytes, the limit is 16384"),
        ("none", None, "no secret `none`"),
    ] {
        let error = bed.engine.set_secret("fixture-actor", name, value).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(matches!(bed.engine.set_secret("other", "a", None).await, Err(Error::NotFound(_))));
    bed.engine.set_secret("fixture-actor", "token", None).await.unwrap();
    assert_eq!(bed.did(r#"[{"secret": "token"}]"#).await.0, json!([null]));
}

#[tokio::test]
async fn zones_are_there_for_filters_and_actors() {
    let bed = bed().await;
    let steps = r#"[{"local": ["Europe/Berlin", 1752580800000]}, {"local": ["Atlantis/Capital", 0]}]"#;
    let expected = json!([[15, 14, 7200, true], null]);
    assert_eq!(bed.did(steps).await.0, expected);
    bed.judge(steps).await;
    assert_eq!(bed.told().await, expected);
}

#[tokio::test]
async fn each_capability_that_is_imported_and_not_granted_is_refused_by_name() {
    let bed = Bed::new(Options::default()).await;
    for (kept_back, import) in [
        (&["kv"][..], "kv"),
        (&["send", "history", "members"], "chat"),
        (&["timer"], "timer"),
        (&["http"], "http"),
        (&["secret"], "secret"),
    ] {
        let grants: Vec<_> = ALL.into_iter().filter(|grant| !kept_back.contains(grant)).collect();
        let found = bed.refusal(actor("{}", &grants, &[])).await;
        assert!(
            found.contains(&format!("import `godwit:plugin/{import}@0.1.0` needs the capability")),
            "{found}"
        );
        assert!(found.contains(&format!("`{}`", kept_back[0])) && found.contains("not granted"), "{found}");
        assert_eq!(found.lines().count(), kept_back.len(), "{found}");
        // Granting what the manifest does not ask helps as little.
        let grants = actor("{}", &ALL, &[]).grants;
        let install = Install { grants, ..actor_without(kept_back) };
        let found = bed.refusal(install).await;
        assert!(found.contains(&format!("`{}`", kept_back[0])), "{found}");
    }
    assert!(bed.engine.all().is_empty());
}

#[tokio::test]
async fn what_of_a_service_is_not_granted_denies() {
    let bed = Bed::new(Options::default()).await;
    bed.engine.install(actor_without(&["history", "members"])).await.unwrap();
    let steps = r#"[{"history": [null, 1]}, {"members": 1}, {"find": "ada"}, {"send": "x"}]"#;
    let (told, _) = bed.did(steps).await;
    assert_eq!((&told[0]["err"], &told[1]["err"]), (&json!("denied"), &json!("denied")));
    assert_eq!((&told[2], &told[3]), (&json!(ADA.to_string()), &json!("event#0")));
    bed.engine.install(actor_without(&["send", "members"])).await.unwrap();
    let (told, effects) = bed.did(steps).await;
    let denied = told.as_array().unwrap().iter().filter(|told| told["err"] == "denied").count();
    assert_eq!(denied, 3, "members, find and send: {told}");
    assert!(effects.acts.is_empty());
}

#[tokio::test]
async fn granted_services_deny_in_filters_init_commands_and_kinds() {
    let bed = Bed::new(patient()).await;
    bed.engine.set_secret("fixture-actor", "a", Some("x".into())).await.unwrap_err();
    let installed =
        bed.install_actor(r#"{"probe": true, "trap_in_commands": true}"#).await.unwrap_err().to_string();
    for stage in ["init", "commands"] {
        assert!(installed.contains(&format!("it logged: {stage}: 12 of 12 denied")), "{stage}: {installed}");
    }
    bed.install_actor(r#"{"probe": true}"#).await.unwrap();
    bed.judge("probe").await;
    let log = bed.log("fixture-actor").await;
    assert!(log.contains("moderation: 12 of 12 denied") && log.contains("init: 12 of 12 denied"), "{log}");
    assert_eq!(bed.store.reads.load(Ordering::SeqCst), 0, "nobody was asked");
}

#[tokio::test]
async fn what_a_version_says_of_itself_is_checked_before_it_serves() {
    let bed = Bed::new(Options::default()).await;
    for (config, expected) in [
        (r#"{"commands": ["Bad"]}"#, "command `Bad`"),
        (r#"{"commands": ["a", "a"]}"#, "listed twice"),
        (r#"{"kinds": ["webpush"]}"#, "served by the host itself"),
        (r#"{"trap_in_commands": true}"#, "the fixture traps in commands as configured"),
    ] {
        let error = bed.install_actor(config).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{config}: {error}");
    }
    bed.install_actor(r#"{"commands": ["one", "two"]}"#).await.unwrap();
    let names: Vec<_> = bed.actor().commands().iter().map(|spec| spec.name.clone()).collect();
    assert_eq!(names, ["one", "two"]);
}

#[tokio::test]
async fn the_manifests_tests_of_actors_run_before_the_version_goes_live() {
    let bed = Bed::new(Options::default()).await;
    let with = |tests: &str| {
        let mut install = actor("{}", &ALL, &[]);
        install.manifest += tests;
        install
    };
    let wrong = r#"
        [[test]]
        hook = "bot"
        input = { body = '[{"send": "a"}]' }
        expect = { send = ["b"] }
        [[test]]
        hook = "command"
        input = { command = "do", arguments = { steps = '[{"reply": "none"}]' } }
        expect = { to_all = "x" }
        [[test]]
        hook = "inbound"
        input = { body = '[{"status": 201}]' }
        expect = { status = 200 }
        [[test]]
        hook = "notifier"
        input = { kind = "fixture", body = '[{"outcome": "gone"}]' }
        expect = { outcome = "sent" }
        [[test]]
        hook = "bot"
        input = { body = '[{"fetch": "http://127.0.0.1:1/"}, {"drop": "no"}]' }
        expect = { effects = 0 }
    "#;
    let found = bed.refusal(with(wrong)).await;
    for (n, expected) in [
        (1, "what it sends should be [\"b\"] and is [\"a\"]"),
        (2, "its answer should be to-all \"x\" and is none"),
        (3, "its status should be 200 and is 201"),
        (4, "its outcome should be sent and is gone"),
        (5, "its answer should be no error and is an error: no"),
    ] {
        assert!(
            found.contains(&format!("test {n} of actors failed")) && found.contains(expected),
            "{expected}: {found}"
        );
    }
    let right = r#"
        [[test]]
        hook = "bot"
        input = { event = "mentioned", body = '[{"get": "a/b"}, {"set": ["a/b", "new"]}, {"delete": "c"}, {"timer": ["t", 1, ""]}]', kv = { "a/b" = "old" } }
        expect = { send = [], kv = { "a/b" = "new", c = false }, timers = ["t"], effects = 3 }
        [[test]]
        hook = "bot"
        input = { event = "timer", name = "t", body = '[{"retry": "not now"}]' }
        expect = { refused = "not now" }
        [[test]]
        hook = "command"
        input = { command = "do", arguments = { steps = '[]', count = 3 } }
        expect = { to_caller = "[]" }
        [[test]]
        hook = "inbound"
        input = { method = "GET", path = "a", body = "[]" }
        expect = { status = 200, body = "[]" }
        [[test]]
        hook = "moderation"
        input = { body = "x" }
        expect = { allow = true }
    "#;
    bed.engine.install(with(right)).await.unwrap();
    let unserved = with("[[test]]\nhook = \"bot\"\nexpect = { sned = [] }\n");
    let found = bed.refusal(unserved).await;
    assert!(found.contains("sned"), "{found}");
}

#[tokio::test]
async fn a_manifest_of_an_actor_is_held_to_its_word() {
    let bed = Bed::new(Options::default()).await;
    let change = |from: &str, to: &str| -> Install {
        let mut install = actor("{}", &ALL, &[]);
        assert!(install.manifest.contains(from), "{from}");
        install.manifest = install.manifest.replace(from, to);
        install
    };
    for (from, to, expected) in [
        ("\"message\", ", "\"massage\", ", "no event `massage`"),
        ("\"message\", ", "\"message\", \"message\", ", "event `message` is named twice"),
        ("\"bot\", ", "", "`events` are for the hook `bot`"),
        ("\"bot\", ", "", "capability `timer` is for the hook `bot`"),
        ("\"bot\", ", "\"bot\", \"bot\", ", "hook `bot` is named twice"),
        ("kv = true", "kv = 1", "capability `kv` must be true or false"),
        ("http://127.0.0.1:1", "http://127.0.0.1:1/path", "is no origin"),
    ] {
        let found = bed.refusal(change(from, to)).await;
        assert!(found.contains(expected), "{to}: {found}");
    }
    let mut install = actor("{}", &ALL, &[]);
    install.manifest += "[limits]\nmemory_mib = 4000\n";
    let installed = bed.engine.install(install).await.unwrap();
    assert!(installed.warnings.join("\n").contains("clamped to 256 for actors"), "{:?}", installed.warnings);
}

#[tokio::test]
async fn requests_go_to_granted_origins_and_a_run_after_a_conflict_gets_the_recorded_answers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<std::sync::Mutex<Vec<String>>>::default();
    let heard = seen.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let n = stream.read(&mut request).await.unwrap_or_default();
            let count = {
                let mut heard = heard.lock().unwrap();
                heard.push(String::from_utf8_lossy(&request[..n]).into_owned());
                heard.len()
            };
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nanswer {count}");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    let bed = Bed::new(Options::default()).await;
    bed.engine.install(actor("{}", &ALL, std::slice::from_ref(&origin))).await.unwrap();
    let steps = format!(
        r#"[{{"fetch": "{origin}/a"}}, {{"fetch": "{origin}/a"}}, {{"post": ["{origin}/a", "body"]}}, {{"fetch": "http://127.0.0.1:9/"}}]"#
    );
    let call = call("conflict");
    let mut told = Vec::new();
    for _ in 0..2 {
        assert!(matches!(bed.hear_as(&call, &steps).await, Outcome::Done(..)));
        told.push(bed.told().await);
    }
    assert_eq!(told[0], told[1]);
    let bodies: Vec<_> = (0..3).map(|n| told[0][n]["body"].as_str().unwrap().to_owned()).collect();
    assert_eq!(bodies, ["answer 1", "answer 2", "answer 3"], "equal requests of one run are two");
    assert_eq!(told[0][3]["err"], "denied");
    let keys = |requests: &[String]| -> Vec<String> {
        let key = |request: &String| {
            request.lines().find_map(|line| Some(line.strip_prefix("idempotency-key: ")?.to_owned()))
        };
        requests.iter().filter_map(key).collect()
    };
    let first = keys(&seen.lock().unwrap());
    assert_eq!(first.len(), 3, "the second run asked nobody");
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 3);
    // After a crash the event comes again without them: the same keys, so that the server can tell.
    bed.hear_as(&crate::desk::call("conflict"), &steps).await;
    assert_eq!(keys(&seen.lock().unwrap())[3..], first);
    // A flood is bounded.
    let (told, _) = bed.did(&format!(r#"[{{"repeat": [100, {{"fetch": "{origin}/flood"}}]}}]"#)).await;
    assert_eq!((&told[0]["good"], &told[0]["last"]["err"]), (&json!(16), &json!("busy")));
}

#[tokio::test]
async fn actors_are_told_of_as_they_come_and_go() {
    let bed = Bed::new(Options::default()).await;
    let changes = Arc::new(AtomicUsize::new(0));
    let counted = changes.clone();
    bed.engine.on_change(Box::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    }));
    assert!(bed.engine.all().is_empty());
    bed.install("filter", "1", "{}").await.unwrap();
    assert!(bed.engine.all().is_empty(), "a filter is no actor");
    bed.install_actor("{}").await.unwrap();
    assert_eq!(bed.engine.all().len(), 1);
    let held = bed.actor();
    bed.engine.remove("fixture-actor").await.unwrap();
    assert!(bed.engine.all().is_empty());
    assert_eq!(changes.load(Ordering::SeqCst), 3);
    assert_eq!(held.version(), "0.1.0", "who holds it may end what it began");
    assert!(bed.engine.pin().judge(&scene(1), Content::text("x"), None).await.1.steps.len() == 2);
}

#[tokio::test]
async fn an_actor_that_does_not_load_keeps_its_place_and_says_why() {
    let bed = bed().await;
    bed.tables.lose_components();
    let bed = bed.restarted().await;
    let actor = bed.actor();
    assert!(actor.suspended().unwrap().contains("is not stored"));
    assert_eq!((actor.hooks().len(), actor.commands().len()), (4, 1));
    assert_eq!(failed(bed.hear("[]").await).0, Decision::Trap);
    bed.install_actor("{}").await.unwrap();
    assert!(bed.actor().suspended().is_none());
    bed.did("[]").await;
}

#[tokio::test]
async fn a_grant_in_general_is_stored_written_out_so_that_an_upgrade_cannot_stretch_it() {
    let bed = bed().await;
    let grants = bed.engine.list().await[0].grants.clone();
    assert!(
        grants.contains(&"http=http://127.0.0.1:1".to_owned()) && !grants.contains(&"http".to_owned()),
        "{grants:?}"
    );
    let mut upgrade = actor("{}", &[], &["http://127.0.0.1:1".into(), "http://127.0.0.1:9".into()]);
    upgrade.grants = None;
    upgrade.manifest = upgrade.manifest.replace("0.1.0", "0.2.0");
    let waits = bed.engine.install(upgrade).await.unwrap();
    assert_eq!((waits.state, waits.diff.hooks), (State::Pending, Delta::default()));
    assert_eq!(waits.missing[0].capability, "http=http://127.0.0.1:9");
    assert_eq!(waits.missing[0].import.as_deref(), Some("godwit:plugin/http@0.1.0"));
    let steps = r#"[{"fetch": "http://127.0.0.1:9/"}, {"fetch": "http://127.0.0.1:1/"}]"#;
    let (told, _) = bed.did(steps).await;
    assert_eq!((&told[0]["err"], &told[1]["err"]), (&json!("denied"), &json!("connection")));
    bed.engine.advance("fixture-actor", Advance::Grant(vec!["http".to_owned()])).await.unwrap();
    assert_eq!((bed.actor().version(), bed.actor().commands().len()), ("0.2.0", 1));
    let (told, _) = bed.did(steps).await;
    assert_eq!((&told[0]["err"], &told[1]["err"]), (&json!("connection"), &json!("connection")));
}

#[tokio::test]
async fn an_actor_that_is_disabled_does_not_act_until_it_is_enabled() {
    let bed = bed().await;
    bed.engine.set("fixture-actor", Setting::Disabled(true)).await.unwrap();
    let actor = bed.actor();
    assert!(actor.suspended().unwrap().contains("disabled"));
    assert_eq!(failed(bed.hear("[]").await).0, Decision::Trap);
    let bed = bed.restarted().await;
    assert!(bed.actor().suspended().is_some());
    bed.engine.set("fixture-actor", Setting::Disabled(false)).await.unwrap();
    assert!(bed.actor().suspended().is_none());
    bed.did("[]").await;
}

#[tokio::test]
async fn a_version_beside_the_active_one_acts_once_it_is_active() {
    let bed = bed().await;
    let mut beside = actor("{}", &ALL, &[]);
    beside.manifest = beside.manifest.replace("0.1.0", "0.2.0");
    let installed = bed.engine.install(Install { to: Begin::Shadow, ..beside }).await.unwrap();
    assert!(installed.warnings.join("\n").contains("before it is active"), "{installed:?}");
    assert_eq!(bed.actor().version(), "0.1.0");
    bed.did("[]").await;
    bed.engine.advance("fixture-actor", Advance::Promote).await.unwrap();
    assert_eq!((bed.actor().version(), bed.actor().commands().len()), ("0.2.0", 1));
    bed.did("[]").await;
}

#[tokio::test]
async fn secrets_are_forgotten_with_their_plugin() {
    let bed = bed().await;
    bed.engine.set_secret("fixture-actor", "token", Some("x".into())).await.unwrap();
    bed.engine.remove("fixture-actor").await.unwrap();
    bed.install_actor("{}").await.unwrap();
    assert!(bed.engine.secrets("fixture-actor").await.unwrap().is_empty());
}
