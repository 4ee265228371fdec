//! How a few words are judged that other people will read and that are no message: titles, names, reactions.
//!
//! It owns what their senders hear. They cannot be on hold: whatever is not allowed is refused, for good or for now.
//! Whoever asks looks first whether any plugin moderates, so that a host without plugins builds nothing for it.

use crate::sequencer::unheard;
use godwit_domain::{
    filter::{Activity, Chain, Hook, Reason, Review, Scene, Wording},
    time::Ms,
    user::User,
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// Asks who moderates.
///
/// # Errors
/// Why people may not read it: `moderated`, or `unavailable` where it may be tried again.
pub async fn review(chain: &dyn Chain, scene: &Scene, wording: Wording<'_>) -> Result<(), Error> {
    match chain.review(scene, wording).await {
        Review::Allow => Ok(()),
        Review::Reject { reason, .. } => Err(refused(reason)),
        Review::Hold { plugin, reason } => Err(doubted(plugin, &reason)),
        Review::Failed { plugin, how } => Err(unheard(plugin, Hook::Moderation, how)),
    }
}

/// The error of what a plugin refused.
pub fn refused(reason: Reason) -> Error {
    Error::new(Code::Moderated, reason.text).field(reason.code)
}

/// The error of what a plugin wants a person to look at first, where nothing can wait for that.
pub fn doubted(plugin: String, reason: &Reason) -> Error {
    Error::new(Code::Unavailable, reason.shown()).field(plugin)
}

/// What filters are told of what belongs to no conversation.
pub fn nowhere(sender: Arc<User>, activity: Activity, now: Ms) -> Scene {
    let activity = Activity { here: None, member_since: None, ..activity };
    Scene { now, conversation: None, sender, sender_role: None, activity, via: None }
}
