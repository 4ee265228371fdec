//! What leaves a shard after something became durable: the built-in rules of who is told what.
//!
//! Every member's every session gets every message; the session that asked has its reply instead.

use super::{
    Ports,
    conversation::{State, View},
};
use crate::{
    registry::{At, Push},
    view,
};
use bytes::Bytes;
use godwit_domain::{
    conversation::{Head, History, Marks},
    id::{Seq, SessionId, UserId},
    message::Message,
    revision::Revision,
    user::User,
};
use godwit_protocol::{encode, object};
use serde::Serialize;
use std::{borrow::Cow, collections::HashMap, sync::Arc};

/// A message that got its number.
pub fn message(state: &State, message: &Message, from: Option<SessionId>, ports: &Ports) {
    let frame = |own| Bytes::from(encode::push("message", &object::Message::new(message, own)));
    let own_devices = ports.router.reaches(message.sender, from);
    ports.router.route(Push {
        audience: &state.audience,
        frame: frame(false),
        own: own_devices.then(|| (message.sender, frame(true))),
        except: from,
        at: Some(At { head: head(state), seq: Some(message.seq) }),
    });
}

/// What became of a draft on hold: told to its sender's devices.
pub fn verdict(sender: UserId, verdict: &object::Verdict<'_>, ports: &Ports) {
    ports.router.route(Push {
        audience: &[sender],
        frame: encode::push("verdict", verdict).into(),
        own: None,
        except: None,
        at: None,
    });
}

/// The answer to a mark.
#[derive(Serialize)]
pub struct Marked {
    received_seq: Seq,
    read_seq: Seq,
}

/// What a mark is answered.
pub fn marked(to: Marks) -> Marked {
    Marked { received_seq: to.received, read_seq: to.read }
}

/// A mark that rose: told to own devices, and in conversations that are not too large to everyone.
pub fn receipt(state: &State, user: UserId, to: Marks, from: Option<SessionId>, ports: &Ports) {
    let receipt = object::Receipt {
        conversation: state.meta.id,
        user,
        received_seq: to.received,
        read_seq: to.read,
        at: ports.clock.now(),
    };
    let own = [user];
    let is_in = state.member(user).is_ok();
    let small = is_in && state.audience.len() <= ports.limits.receipts_above;
    ports.router.route(Push {
        audience: if small { &state.audience } else { &own },
        frame: encode::push("receipt", &receipt).into(),
        own: None,
        except: from,
        at: None,
    });
}

/// A conversation that was made: each member is shown it as it looks from there. The session that asked as well: what
/// others send there may overtake its reply.
///
/// `users` are the two (or one) of a direct conversation.
pub fn opened(state: &State, users: &[Arc<User>], ports: &Ports) {
    for user in state.audience.iter() {
        let peer = users.iter().find(|other| other.id != *user).or(users.first());
        show(state, *user, 0, peer.map(|peer| &**peer), ports);
    }
}

/// A change that happened: whom it lets in or out is shown the conversation, then all who may are told what happened,
/// and the others where the conversation stands. Whoever goes hears of that last.
///
/// `hidden` is how many messages each of the former had hidden.
pub fn changed(
    state: &State,
    before: &[UserId],
    revisions: &[Revision],
    hidden: &HashMap<UserId, u64>,
    ports: &Ports,
) {
    for user in revisions.iter().filter_map(|revision| revision.what.concerns()) {
        let hidden = hidden.get(&user).copied().unwrap_or_default();
        show(state, user, hidden, None, ports);
    }
    // Both are in order of ids: a search for each is what a group of ten thousand can bear.
    let gone: Vec<_> =
        before.iter().copied().filter(|user| state.audience.binary_search(user).is_err()).collect();
    // The last that they hear is their own leave.
    for user in &gone {
        ports.router.unspare(*user, state.meta.id);
    }
    let at = At { head: head(state), seq: None };
    let concerned = [&*state.audience, &gone].concat();
    for revision in revisions {
        let everyone = revision.what.message().is_none() || state.meta.history == History::All;
        let (told, spared): (Cow<'_, [UserId]>, Vec<_>) = if everyone {
            (Cow::Borrowed(&concerned), Vec::new())
        } else {
            let (told, spared) = concerned.iter().partition(|user| may_see(state, **user, revision));
            (Cow::Owned(told), spared)
        };
        let object = object::Revision::new(state.meta.id, revision, None);
        ports.router.route(Push {
            audience: &told,
            frame: encode::push("revision", &object).into(),
            own: None,
            except: None,
            at: Some(at),
        });
        ports.router.spare(&spared, at.head);
    }
}

/// Where a conversation stands that went on without anyone being told.
pub fn heads(state: &State, ports: &Ports) {
    ports.router.spare(&state.audience, head(state));
}

fn may_see(state: &State, user: UserId, revision: &Revision) -> bool {
    state.known(user).is_some_and(|member| state.visible(member).revision(revision))
}

/// Where the conversation stands, as everyone is told.
fn head(state: &State) -> object::Head {
    let Head { last_seq, last_rev, changed_at, .. } = state.head;
    object::Head { conversation: state.meta.id, last_seq, last_rev, updated_at: changed_at }
}

fn show(state: &State, user: UserId, hidden: u64, peer: Option<&User>, ports: &Ports) {
    if !ports.router.reaches(user, None) {
        return;
    }
    let Ok(view) = state.view(user) else { return };
    let view = View { hidden, ..view };
    ports.router.route(Push {
        audience: &[user],
        frame: encode::push("conversation", &view::object(&view, user, peer)).into(),
        own: None,
        except: None,
        at: None,
    });
}
