//! Slash commands: listed, typed, answered once.

use crate::{
    house::{House, quiet, until},
    script::{Cast, Script},
};
use godwit_core::domain::{
    actor::{Argument, ArgumentKind, CommandSpec, Effects, Hook, KvWrite, Outcome, Reply, Value as Given},
    filter::Decision,
    message::Content,
};
use serde_json::{Value, json};
use std::sync::Arc;

fn argument(name: &str, kind: ArgumentKind, required: bool) -> Argument {
    let choices = if kind == ArgumentKind::Choice { vec!["tea".into(), "egg".into()] } else { Vec::new() };
    Argument { name: name.into(), kind, required, help: format!("the {name}"), choices }
}

fn spec(name: &str, arguments: Vec<Argument>) -> CommandSpec {
    CommandSpec { name: name.into(), help: format!("does {name}"), arguments }
}

fn kitchen(id: &str) -> Arc<Script> {
    let mut script = Script::new(id).hook(Hook::Command);
    script.commands = vec![
        spec(
            "brew",
            vec![
                argument("what", ArgumentKind::Choice, true),
                argument("cups", ArgumentKind::Integer, false),
            ],
        ),
        spec("shout", vec![argument("text", ArgumentKind::Text, true)]),
        spec("refuse", Vec::new()),
        spec("hang", Vec::new()),
    ];
    script.run = Some(Box::new(|invocation| {
        let given: Vec<_> =
            invocation.arguments.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        let reply = match (&*invocation.name, invocation.arguments.first()) {
            ("shout", Some((_, Given::Text(text)))) => Reply::ToAll(Content::text(text.to_uppercase())),
            ("refuse", _) => return Outcome::Refused { retry: false, text: "the kitchen is closed".into() },
            ("hang", _) => return Outcome::Failed { how: Decision::Deadline, why: "cut".into() },
            _ => Reply::ToCaller(Content::text(given.join(" "))),
        };
        let write = KvWrite { key: "last".into(), value: Some(b"1".to_vec()), ttl_s: None };
        Outcome::Done(reply, Effects { writes: vec![write], ..Effects::default() })
    }));
    Arc::new(script)
}

fn command(room: &str, client_id: impl serde::Serialize, name: &str, arguments: Value) -> Value {
    json!({ "conversation": room, "client_id": client_id, "name": name, "arguments": arguments })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_listed_with_what_they_take_and_the_later_of_equal_names_with_its_plugin() {
    let house = House::new(Cast::of([kitchen("kitchen"), kitchen("pantry")])).await;
    let mut ada = house.join("ada").await;
    house.bot("kitchen").await;
    let room = ada.group(&[]).await;
    let listed = ada.ask("commands", json!({ "conversation": room })).await.unwrap();
    let listed = listed["commands"].as_array().unwrap();
    let names: Vec<_> = listed.iter().map(|command| command["name"].as_str().unwrap()).collect();
    let later = ["pantry:brew", "pantry:shout", "pantry:refuse", "pantry:hang"];
    assert_eq!(names, [&["brew", "shout", "refuse", "hang"][..], &later].concat());
    let first = json!({
        "plugin": "kitchen",
        "name": "brew",
        "help": "does brew",
        "arguments": [
            { "name": "what", "type": "choice", "required": true, "help": "the what", "choices": ["tea", "egg"] },
            { "name": "cups", "type": "integer", "required": false, "help": "the cups" },
        ],
    });
    assert_eq!(listed[0], first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_is_answered_once_and_what_is_wrong_with_it_is_named() {
    let script = kitchen("kitchen");
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("kitchen").await);
    let room = ada.group(&[&bot]).await;
    let id = ada.client_id();
    let brew = command(&room, id, "brew", json!({ "what": "tea", "cups": 2 }));
    let first = ada.ask("command", brew.clone()).await.unwrap();
    assert_eq!(first["reply"]["body"], r#"what=Choice("tea") cups=Integer(2)"#);
    assert_eq!(ada.ask("command", brew.clone()).await.unwrap(), first);
    assert_eq!((script.calls(), house.kept("kitchen", "last").await), (1, 1));
    for (name, arguments, code, field) in [
        ("brew", json!({}), "invalid", "arguments.what"),
        ("brew", json!({ "what": "soup" }), "invalid", "arguments.what"),
        ("brew", json!({ "what": "tea", "cups": "two" }), "invalid", "arguments.cups"),
        ("brew", json!({ "what": "tea", "milk": true }), "invalid", "arguments.milk"),
        ("fry", json!({}), "not_found", "name"),
    ] {
        let id = ada.client_id();
        let error = ada.ask("command", command(&room, id, name, arguments)).await.unwrap_err();
        assert_eq!((error["code"].as_str(), error["field"].as_str()), (Some(code), Some(field)), "{error}");
    }
    assert_eq!(script.calls(), 1, "none of them came to the plugin");
    let reused = ada.ask("command", command(&room, id, "brew", json!({ "what": "egg" }))).await.unwrap_err();
    assert_eq!(reused["code"], "client_id_reused");
    let id = ada.client_id();
    let refused = ada.ask("command", command(&room, id, "refuse", json!({}))).await.unwrap_err();
    assert_eq!((&refused["code"], &refused["message"]), (&json!("invalid"), &json!("the kitchen is closed")));
    let cut = ada.ask("command", command(&room, id, "hang", json!({}))).await.unwrap_err();
    assert_eq!((&cut["code"], &cut["temporary"]), (&json!("timeout"), &json!(true)));
    // The first answer stands over a restart.
    drop(ada);
    let house = house.restart().await;
    let mut ada = house.join("ada").await;
    // Once the plugin is at work again.
    let again = until(async || ada.ask("command", brew.clone()).await.ok()).await;
    assert_eq!((again, script.calls()), (first, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_to_all_is_a_message_of_the_plugins_user_who_has_to_be_there() {
    let house = House::new(Cast::of([kitchen("kitchen")])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("kitchen").await);
    let (with, without) = (ada.group(&[&bot]).await, ada.group(&[]).await);
    let id = ada.client_id();
    let shout = command(&with, id, "shout", json!({ "text": "dinner" }));
    assert_eq!(ada.ask("command", shout.clone()).await.unwrap(), json!({}));
    assert_eq!(ada.said(&with, &bot, 1).await, ["DINNER"]);
    assert_eq!(ada.ask("command", shout).await.unwrap(), json!({}));
    quiet().await;
    assert_eq!(ada.said(&with, &bot, 1).await, ["DINNER"]);
    let id = ada.client_id();
    let error = ada.ask("command", command(&without, id, "shout", json!({ "text": "x" }))).await.unwrap_err();
    assert_eq!(error["code"], "forbidden");
    let mut ben = house.join("ben").await;
    let error = ben.ask("commands", json!({ "conversation": with })).await.unwrap_err();
    assert_eq!(error["code"], "not_found");
}
