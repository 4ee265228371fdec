//! After the number: who is told of a message, and with what attention.
//!
//! It owns how the answers of several plugins become one, and the budget that they share. Nothing here is about who
//! may read a message, so whatever fails leaves the host's own rule in place.

use super::{Pass, Seat, Snapshot, Version};
use crate::{
    answer::Answer,
    faults::{self, Fault},
    grants::MEMBER_LIST,
    hooks::Question,
};
use godwit_domain::{
    filter::{Attention, Audience, Facts, Place, RECIPIENTS_MAX, Recipient, Scene, Spent},
    message::Message,
};

/// Whether the version of a plugin that is asked there was granted the list of members.
pub(super) fn may_see_members(seat: &Seat, place: Option<&Place>) -> bool {
    let granted = |version: &Version| version.release.grants.iter().any(|grant| grant == MEMBER_LIST);
    seat.route(place).is_some_and(|(version, _)| granted(version) || faults::on(Fault::MembersShown))
}

/// The audience that the first plugin names. One that fails ends the search: who comes after it was not meant to decide
/// in its place.
pub(super) async fn choose(
    snapshot: &Snapshot,
    scene: &Scene,
    message: &Message,
    facts: &Facts,
    spent: &mut Spent,
) -> Option<Audience> {
    let mut pass = pass(snapshot, scene, message, *spent);
    let mut named = None;
    for place in &snapshot.fan_out {
        let members = may_see_members(snapshot.seat(*place), scene.conversation.as_ref());
        match snapshot.ask(*place, Question::Choose { message, facts, members }, &mut pass).await {
            Ok(Answer::Audience(audience)) => {
                named = Some(audience);
                if !faults::on(Fault::RuleLastCounts) {
                    break;
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    spent.cpu_ms = snapshot.deliver_cpu_ms.saturating_sub(pass.cpu_ms);
    named
}

/// The quietest attention that any plugin has for each recipient.
pub(super) async fn decide(
    snapshot: &Snapshot,
    scene: &Scene,
    message: &Message,
    recipients: &[Recipient],
    spent: &mut Spent,
) -> Vec<Attention> {
    let mut pass = pass(snapshot, scene, message, *spent);
    let mut quietest = vec![Attention::Normal; recipients.len()];
    for place in &snapshot.delivery {
        for (recipients, quietest) in
            recipients.chunks(RECIPIENTS_MAX).zip(quietest.chunks_mut(RECIPIENTS_MAX))
        {
            let question = Question::Decide { message, recipients, now: scene.now };
            if let Ok(Answer::Attention(answers)) = snapshot.ask(*place, question, &mut pass).await {
                for (quietest, answer) in quietest.iter_mut().zip(answers) {
                    let before = if faults::on(Fault::QuietestIgnored) { answer } else { *quietest };
                    *quietest = before.max(answer);
                }
            }
        }
    }
    spent.cpu_ms = snapshot.deliver_cpu_ms.saturating_sub(pass.cpu_ms);
    quietest
}

/// A pass after the number. Its calls take the turn of their conversation: whoever sends there, its messages are
/// delivered one by one, and a user who writes in many places waits for none of them.
fn pass<'a>(snapshot: &Snapshot, scene: &'a Scene, message: &Message, spent: Spent) -> Pass<'a> {
    let cpu_ms = snapshot.deliver_cpu_ms.saturating_sub(spent.cpu_ms);
    Pass::new(scene, message.conversation.0, cpu_ms, 0)
}
