//! The workbench of authors: the fixtures in scenarios.

use godwit_engine::{
    Options, Program,
    workbench::{Played, Plugin, Scenario, Usage, Workbench},
};
use godwit_fixtures::{ACTOR, FIXTURE};

/// Plays a scenario of a fixture.
async fn play(fixture: &str, seed: u64, scenario: &str) -> (Played, Vec<Usage>) {
    let folder = tempfile::tempdir().unwrap();
    let compiler = Program { path: env!("CARGO_BIN_EXE_compile-component").into(), args: Vec::new() };
    let mut bench =
        Workbench::open(Options::default(), &folder.path().join("cache"), compiler, seed).unwrap();
    let (manifest, component) = (godwit_fixtures::manifest(fixture), godwit_fixtures::component(fixture));
    let plugin = Plugin { manifest: &manifest, component: &component, config: "{}" };
    let scenario = Scenario::parse(scenario, "scenario", None).unwrap();
    let played = bench.play(&plugin, &scenario).await.unwrap();
    (played, bench.usage())
}

/// What is wrong with each step; empty where nothing is.
fn problems(played: &Played) -> Vec<&str> {
    played.steps.iter().map(|step| step.problem.as_deref().unwrap_or_default()).collect()
}

#[tokio::test]
async fn what_an_actor_did_is_there_for_the_next_step() {
    let scenario = r#"
        people.ada = {}
        kv = { a = "1" }
        secrets = { token = "s" }
        [[http]]
        url = "http://127.0.0.1:1/x"
        status = 201
        body = "made"
        [[step]]
        hook = "bot"
        input = { body = '[{"get": "a"}, {"set": ["a", "2"]}, {"timer": ["tea", 1767614700000, "[{\"send\": \"Tea!\"}]"]}]' }
        expect = { kv = { a = "2" }, timers = ["tea"], effects = 2 }
        log = '"1"'
        [[step]]
        hook = "bot"
        input = { body = '[{"get": "a"}, {"state": "a"}, {"secret": "token"}]' }
        expect = { effects = 0 }
        log = '["2","2","s"]'
        [[step]]
        title = "a refusal leaves nothing behind"
        hook = "bot"
        input = { body = '[{"set": ["a", "3"]}, {"retry": "later"}]' }
        expect = { refused = "later" }
        [[step]]
        hook = "bot"
        input = { body = '[{"get": "a"}]' }
        expect = {}
        log = '["2"]'
        [[step]]
        hook = "bot"
        input = { body = '[{"fetch": "http://127.0.0.1:1/x"}]' }
        expect = { http = ["GET http://127.0.0.1:1/x"] }
        log = "made"
        [[step]]
        title = "too early"
        hook = "bot"
        input = { event = "timer", name = "tea" }
        expect = {}
        [[step]]
        after = "5m"
        hook = "bot"
        input = { event = "timer", name = "tea" }
        expect = { send = ["Tea!"] }
        [[step]]
        hook = "bot"
        input = { body = '["trap"]' }
        expect = { trap = "tests/fixtures/actor/src/lib.rs:" }
    "#;
    let (played, usage) = play(ACTOR, 7, scenario).await;
    let mut found = problems(&played);
    assert!(found[5].contains("is due in 300 s"), "{found:?}");
    found[5] = "";
    assert!(found.iter().all(|problem| problem.is_empty()), "{found:?}");
    let bot = usage.iter().find(|used| used.hook == "bot").unwrap();
    assert_eq!((bot.failures, bot.effects), (1, Some((2, 64))));
    assert!(bot.memory_bytes > 0 && bot.memory_bytes <= bot.memory_bytes_max, "{bot:?}");
}

#[tokio::test]
async fn instances_are_thrown_away_as_the_seed_says() {
    let scenario = r#"
        [[step]]
        hook = "bot"
        input = { body = '[{"keep": "memory"}]' }
        expect = {}
        [[step]]
        hook = "bot"
        repeat = 30
        input = { body = '["recall"]' }
        expect = {}
        log = "memory"
    "#;
    let (played, usage) = play(ACTOR, 7, scenario).await;
    let forgotten = problems(&played).iter().filter(|problem| !problem.is_empty()).count();
    assert!(forgotten > 0, "it kept in memory what it should not, and was not found out");
    let (again, _) = play(ACTOR, 7, scenario).await;
    assert_eq!(problems(&played), problems(&again));
    let init = usage.iter().find(|used| used.hook == "init").unwrap();
    assert!(init.calls > 1 && init.calls < 32, "{init:?}");
}

#[tokio::test]
async fn a_filter_is_cut_at_its_budget_and_asked_nothing_that_it_does_not_serve() {
    let scenario = r#"
        config = { moderation = { mode = "loop", on = "spin" } }
        people.ada = {}
        [[step]]
        hook = "moderation"
        repeat = 3
        input = { body = "x" }
        expect = { allow = true }
        [[step]]
        hook = "moderation"
        input = { body = "spin" }
        expect = { deadline = true }
        [[step]]
        hook = "moderation"
        input = { body = "spin" }
        expect = { allow = true }
        [[step]]
        hook = "fan-out"
        input = { body = "x" }
        expect = { allow = true }
    "#;
    let (played, usage) = play(FIXTURE, 1, scenario).await;
    let found = problems(&played);
    assert_eq!(&found[..4], ["", "", "", ""], "{found:?}");
    assert!(found[4].starts_with("deadline: more than 5 ms of CPU time used"), "{found:?}");
    assert!(found[5].contains("does not serve the hook `fan-out`"), "{found:?}");
    let moderation = usage.iter().find(|used| used.hook == "moderation").unwrap();
    assert_eq!((moderation.calls, moderation.failures), (5, 2));
}
