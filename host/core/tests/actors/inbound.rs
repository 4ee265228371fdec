//! HTTP requests to plugins, as the gateway hands them in.

use crate::{
    house::House,
    script::{Cast, Script, say},
};
use godwit_core::{
    actors::Unanswered,
    domain::{
        actor::{Effects, Hook, Media, Outcome, Request, Response},
        filter::Decision,
        id::ConversationId,
    },
};
use std::sync::Arc;

fn request(path: &str, body: &str) -> Request {
    Request {
        method: "POST".into(),
        path: path.into(),
        query: None,
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
        address: "192.0.2.1".into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_with_its_effects_and_a_repeat_gets_the_first_response() {
    let mut script = Script::new("git").hook(Hook::Inbound);
    script.handle = Some(Box::new(|request| {
        let response = |status, body: &str| {
            let body = body.as_bytes().to_vec();
            Response { status, media: Media::Text, body }
        };
        let body = String::from_utf8(request.body.clone()).unwrap();
        match &*request.path {
            "push" => {
                let room = ConversationId(body.parse().unwrap());
                let effects = Effects { acts: vec![say(room, "pushed")], ..Effects::default() };
                Outcome::Done(response(202, "thanks"), effects)
            }
            "broken" => Outcome::Failed { how: Decision::Trap, why: "unreachable".into() },
            "odd" => Outcome::Done(response(999, ""), Effects::default()),
            _ => Outcome::Done(response(200, &body), Effects::default()),
        }
    }));
    let script = Arc::new(script);
    let house = House::new(Cast::of([script.clone()])).await;
    let (mut ada, bot) = (house.join("ada").await, house.bot("git").await);
    let room = ada.group(&[&bot]).await;
    for _ in 0..2 {
        let response = house.host.hook("git", request("push", &room), Some("delivery-1")).await.unwrap();
        assert_eq!((response.status, &*response.body), (202, &b"thanks"[..]));
    }
    assert_eq!(script.calls(), 1);
    assert_eq!(ada.said(&room, &bot, 1).await, ["pushed"]);
    let other = house.host.hook("git", request("push", "else"), Some("delivery-1")).await.unwrap_err();
    assert!(matches!(other, Unanswered::Refused(error) if error.code.as_str() == "conflict"));
    for (path, words) in [("broken", "trap: unreachable"), ("odd", "status 999")] {
        let failed = house.host.hook("git", request(path, ""), None).await.unwrap_err();
        assert!(matches!(&failed, Unanswered::Failed(why) if why.contains(words)), "{failed:?}");
    }
    let nobody = house.host.hook("svn", request("push", ""), None).await.unwrap_err();
    assert_eq!(nobody, Unanswered::Nobody);
    let long = "k".repeat(256);
    let refused = house.host.hook("git", request("push", ""), Some(&long)).await.unwrap_err();
    assert!(matches!(refused, Unanswered::Refused(error) if error.code.as_str() == "invalid"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_asks_too_fast_is_told_when_it_may_again() {
    let house = House::new(Cast::of([])).await;
    let ask = |plugin: &str, address: &str| house.host.admit_hook(plugin, address, 2);
    for _ in 0..4 {
        ask("git", "192.0.2.1").unwrap();
    }
    let refused = ask("git", "192.0.2.1").unwrap_err();
    assert!(refused.code.as_str() == "rate_limited" && refused.retry_after_ms.is_some());
    ask("git", "192.0.2.2").unwrap();
    ask("svn", "192.0.2.1").unwrap();
}
