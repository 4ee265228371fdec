//! The tests of a manifest, run in a throw-away instance before its version goes live.
//!
//! It owns where they take place and what counts as met; it refuses to know what follows from a test that fails.

use crate::{
    answer::Answer,
    bindings::Told,
    instance::{Failure, Instance},
    manifest::{Asked, Expect, Test},
};
use godwit_domain::{
    conversation::{Kind, Role},
    filter::{Activity, Decision, Place, Scene, Wording},
    id::{ConversationId, UserId},
    time::Ms,
    user::{Privacy, User},
};
use std::{sync::Arc, time::Instant};

/// Runs one test within `cpu_ms`.
///
/// # Errors
/// What came instead of what it wants to see.
pub(crate) async fn run(
    instance: &mut Instance,
    test: &Test,
    now: Ms,
    mut cpu_ms: u32,
) -> Result<(), String> {
    let mut scene = scene(test.now().unwrap_or(now));
    scene.activity = test.activity().unwrap_or(scene.activity);
    ask(instance, test, &mut scene, &mut cpu_ms).await.0
}

/// Asks what a test asks in that scene: what came of it, and what it answered or why it did not.
pub(crate) async fn ask(
    instance: &mut Instance,
    test: &Test,
    scene: &mut Scene,
    cpu_ms: &mut u32,
) -> (Result<(), String>, Result<Answer, Failure>) {
    let asked = test.asked(scene);
    if let Asked::Wording(Wording::UserName(_) | Wording::DisplayName(_) | Wording::FileName(_)) = asked {
        (scene.conversation, scene.sender_role) = (None, None);
        scene.activity.member_since = None;
    }
    let answer = instance.ask(&Told::new(scene), asked.question(), Instant::now(), cpu_ms).await;
    let answer = match (answer, &test.expect) {
        (Err(failure), Expect::Trap(_)) if failure.how == Decision::Trap => return (Ok(()), Err(failure)),
        (Err(failure), Expect::Deadline) if failure.how == Decision::Deadline => {
            return (Ok(()), Err(failure));
        }
        (Err(failure), _) => {
            return (Err(format!("{}: {}", failure.how.name(), failure.why)), Err(failure));
        }
        (Ok(answer), _) => answer,
    };
    let met = match (&test.expect, &answer) {
        (Expect::Allow, Answer::Allow) => true,
        (Expect::Reject(expected), Answer::Reject(reason))
        | (Expect::Hold(expected), Answer::Hold(reason)) => expected.code == reason.code,
        (Expect::Rewrite(expected), Answer::Rewrite { body, .. }) => expected.body == *body,
        (Expect::Audience(expected), Answer::Audience(found)) => expected == found,
        (Expect::Attention(expected), Answer::Attention(found)) => expected == found,
        _ => false,
    };
    let came = match met {
        true => Ok(()),
        false => Err(format!("{test} should {:?} and did {}", test.expect, told(&answer))),
    };
    (came, Ok(answer))
}

/// What was answered, in the words of manifests.
fn told(answer: &Answer) -> String {
    match answer {
        Answer::Allow => "allow = true".to_owned(),
        Answer::Reject(reason) => {
            format!("reject = {{ code = {:?}, text = {:?} }}", reason.code, reason.text)
        }
        Answer::Hold(reason) => format!("hold = {{ code = {:?}, text = {:?} }}", reason.code, reason.text),
        Answer::Rewrite { body, .. } => format!("rewrite = {{ body = {body:?} }}"),
        Answer::Audience(audience) => format!("audience = {audience:?}"),
        Answer::Attention(list) => format!("attention = {list:?}"),
    }
}

/// Where the tests take place: somebody in some group.
pub(crate) fn scene(now: Ms) -> Scene {
    let sender = User {
        id: UserId::from_u128(1),
        name: "tester".to_owned(),
        display_name: None,
        bot: false,
        time_zone: None,
        joined_at: now,
        avatar: None,
        privacy: Privacy::default(),
    };
    Scene {
        now,
        conversation: Some(Place {
            id: ConversationId::from_u128(1),
            kind: Kind::Group,
            title: None,
            member_count: 2,
            encrypted: false,
            labels: Vec::new(),
        }),
        sender: Arc::new(sender),
        sender_role: Some(Role::Member),
        activity: Activity { member_since: Some(now), ..Activity::default() },
        via: None,
    }
}
