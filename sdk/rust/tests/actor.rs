//! An actor as an author writes it, run natively.

use godwit_plugin::{
    Bot, Command, Content, Fault, Id, Inbound, Instance, Notifier, Role, ServiceError, bot, chat, command,
    http::{self, HttpError, Incoming, Outgoing},
    inbound, kv, notifier, secret, state, testing, timer, zone,
};
use std::time::Duration;

/// Serves every hook of actors.
struct Clerk;

impl Instance for Clerk {
    fn instance() -> &'static Self {
        &Clerk
    }
}

impl Bot for Clerk {
    fn on_event(&self, event: &bot::Event) -> Result<(), Fault> {
        match &event.what {
            bot::What::Message(said) => {
                let body = &said.message.content.body;
                kv::set("last", body)?;
                chat::say(said.message.conversation, format!("noted: {body}"))?;
                timer::set("remind", event.at + 1_000, body)?;
                match body.as_str() {
                    "fail" => Err(Fault::drop("as told")),
                    _ => Ok(()),
                }
            }
            bot::What::Sent(sent) => Ok(kv::set("sent", &sent.ref_)?),
            _ => Ok(()),
        }
    }
}

impl Command for Clerk {
    fn commands(&self) -> Vec<command::CommandSpec> {
        let spec = command::CommandSpec::new("note", "Keeps a note.");
        vec![
            spec.choice("how", "How.", &["loud", "quiet"])
                .required("text", command::ArgumentKind::Text, "What.")
                .optional("count", command::ArgumentKind::Integer, "How often."),
        ]
    }

    fn run(&self, invocation: &command::Invocation) -> Result<command::Reply, String> {
        let text = invocation.text("text").ok_or("no text")?;
        match invocation.text("how") {
            Some("loud") => Ok(command::Reply::to_all(text)),
            _ => Ok(command::Reply::to_caller(text)),
        }
    }
}

impl Notifier for Clerk {
    fn kinds(&self) -> Vec<String> {
        vec!["pager".to_owned()]
    }

    fn notify(&self, notification: &notifier::Notification) -> Result<notifier::Outcome, Fault> {
        let token = secret::get("token")?.ok_or_else(|| Fault::retry("no token"))?;
        let request =
            Outgoing::post(&notification.endpoint, "text/plain", "ring").header("authorization", &token);
        match http::fetch(&request)?.status {
            410 => Ok(notifier::Outcome::Gone),
            _ => Ok(notifier::Outcome::Sent),
        }
    }
}

impl Inbound for Clerk {
    fn handle(&self, request: &inbound::Request) -> Result<inbound::Response, Fault> {
        Ok(match request.header("x-known") {
            Some(_) => inbound::Response::json(200, "{}"),
            None => inbound::Response::text(403, "who are you?"),
        })
    }
}

godwit_plugin::bot!(Clerk);
godwit_plugin::command!(Clerk);
godwit_plugin::notifier!(Clerk);
godwit_plugin::inbound!(Clerk);

#[test]
fn what_a_bot_did_stays_if_it_ended_well_and_is_forgotten_if_not() {
    testing::transaction(|| Clerk.on_event(&testing::said("one"))).unwrap();
    assert_eq!(testing::row("last"), Some(b"one".to_vec()));
    let effects = testing::take_effects();
    let place = chat::Target::Conversation(Id::from_u128(1));
    assert_eq!(effects[0], testing::Effect::Send(place, Content::text("noted: one"), "test#0".into()));
    assert_eq!(
        effects[1],
        testing::Effect::SetTimer("remind".into(), testing::START + 1_000, b"one".to_vec())
    );

    let failed = testing::transaction(|| Clerk.on_event(&testing::said("fail")));
    assert_eq!(failed, Err(Fault::drop("as told")));
    assert_eq!(testing::row("last"), Some(b"one".to_vec()));
    assert!(testing::take_effects().is_empty());

    let sent = bot::Sent { ref_: "test#0".into(), fate: bot::Fate::Held };
    Clerk.on_event(&testing::event(bot::What::Sent(sent))).unwrap();
    assert_eq!(state::get("sent"), Some(b"test#0".to_vec()), "filters see the same rows");
}

#[test]
fn a_command_finds_its_arguments_by_name() {
    let specs = Clerk.commands();
    let names: Vec<_> =
        specs[0].arguments.iter().map(|argument| (&*argument.name, argument.required)).collect();
    assert_eq!(names, [("how", true), ("text", true), ("count", false)]);
    assert_eq!(specs[0].arguments[0].choices, ["loud", "quiet"]);
    let scene = testing::scene();
    let given = |name: &str, value| command::Given { name: name.to_owned(), value };
    let invocation = |arguments| command::Invocation {
        name: "note".into(),
        arguments,
        conversation: scene.conversation.clone().unwrap(),
        caller: scene.sender.clone(),
        role: Role::Member,
    };
    let loud = vec![
        given("how", command::Value::Choice("loud".into())),
        given("text", command::Value::Text("hello".into())),
    ];
    assert_eq!(Clerk.run(&invocation(loud)), Ok(command::Reply::to_all("hello")));
    assert_eq!(Clerk.run(&invocation(Vec::new())), Err("no text".to_owned()));
}

#[test]
fn other_servers_and_secrets_are_stood_in_for() {
    let notification = notifier::Notification {
        kind: "pager".into(),
        endpoint: "https://pager.example/1".into(),
        keys: None,
        user: Id::from_u128(2),
        device: "device".into(),
        conversation: Id::from_u128(1),
        seq: 1,
        sender: Id::from_u128(3),
        preview: None,
    };
    assert_eq!(Clerk.notify(&notification), Err(Fault::retry("no token")));
    testing::set_secret("token", "t");
    assert!(matches!(Clerk.notify(&notification), Err(Fault::Retry(_))), "nobody answers");
    testing::answer_http(|request| {
        assert_eq!(
            (request.url.as_str(), request.headers[1].value.as_str()),
            ("https://pager.example/1", "t")
        );
        Ok(Incoming { status: 410, headers: Vec::new(), body: Vec::new() })
    });
    assert_eq!(Clerk.notify(&notification), Ok(notifier::Outcome::Gone));
    testing::answer_http(|_| Err(HttpError::Denied("no".into())));
    assert_eq!(Clerk.notify(&notification), Err(Fault::drop("no")));
}

#[test]
fn a_request_is_answered_with_what_a_browser_may_see() {
    let request = |headers| inbound::Request {
        method: "POST".into(),
        path: "x".into(),
        query: None,
        headers,
        body: Vec::new(),
        address: "192.0.2.1".into(),
    };
    let known = vec![inbound::Header { name: "x-known".into(), value: "1".into() }];
    assert_eq!(Clerk.handle(&request(known)).unwrap().status, 200);
    assert_eq!(Clerk.handle(&request(Vec::new())).unwrap().body, b"who are you?");
}

#[test]
fn rows_are_scanned_by_bucket_and_end_in_time() {
    for (key, value) in [("a/1", "x"), ("a/2", "y"), ("b/1", "z"), ("plain", "p")] {
        kv::set(key, value).unwrap();
    }
    kv::set_for("a/3", "w", Duration::from_secs(5)).unwrap();
    let keys = |bucket, after| -> Vec<String> {
        kv::scan(bucket, after, 10).unwrap().into_iter().map(|entry| entry.key).collect()
    };
    assert_eq!(keys("a", None), ["a/1", "a/2", "a/3"]);
    assert_eq!(keys("a", Some("a/1")), ["a/2", "a/3"]);
    assert_eq!(keys("", None), ["plain"]);
    testing::advance(Duration::from_secs(5));
    kv::delete("a/1").unwrap();
    assert_eq!(keys("a", None), ["a/2"]);
}

#[test]
fn members_messages_and_users_are_those_that_the_test_put_there() {
    let place = Id::from_u128(1);
    for n in [3, 2] {
        testing::add_member(place, chat::Member { user: Id::from_u128(n), role: Role::Member, joined_at: 0 });
        let bot::What::Message(mut said) = testing::said(format!("text {n}")).what else { panic!() };
        said.message.seq = n as u64;
        testing::add_message(said.message);
    }
    testing::add_user(testing::scene().sender);
    let members = chat::members(place, Some(Id::from_u128(2)), 10).unwrap();
    assert_eq!(members.iter().map(|member| member.user).collect::<Vec<_>>(), [Id::from_u128(3)]);
    let newest = chat::history(place, None, 1).unwrap();
    assert_eq!(newest[0].content.body, "text 3");
    assert_eq!(chat::history(place, Some(3), 10).unwrap().len(), 1);
    assert!(chat::find_user(&chat::Person::Name("ada".into())).unwrap().is_some());
    assert!(chat::find_user(&chat::Person::Id(Id::from_u128(77))).unwrap().is_none());
}

#[test]
fn a_zone_has_the_offset_that_the_test_gave_it() {
    testing::set_zone("Europe/Berlin", 7_200);
    // 2025-06-15, 15:06:40 in Greenwich, a Sunday.
    let local = zone::local("Europe/Berlin", testing::START).unwrap();
    assert_eq!(
        (local.year, local.month, local.day, local.hour, local.minute, local.weekday),
        (2025, 6, 15, 17, 6, 7)
    );
    assert_eq!(zone::instant("Europe/Berlin", local), Some(testing::START));
    assert!(zone::local("Atlantis/Capital", 0).is_none());
    let leap = zone::local("UTC", 1_709_164_800_000).unwrap();
    assert_eq!((leap.month, leap.day), (2, 29));
    assert_eq!(zone::instant("UTC", leap), Some(1_709_164_800_000));
    assert_eq!(zone::instant("UTC", zone::LocalTime { year: 2025, ..leap }), None);
}

#[test]
fn errors_of_services_become_faults() {
    for (error, again) in [
        (ServiceError::Unavailable("x".into()), true),
        (ServiceError::Denied("x".into()), false),
        (ServiceError::Invalid("x".into()), false),
        (ServiceError::NotFound, false),
        (ServiceError::Encrypted, false),
    ] {
        assert_eq!(matches!(Fault::from(error), Fault::Retry(_)), again);
    }
}
