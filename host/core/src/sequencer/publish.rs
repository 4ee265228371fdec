//! What leaves a shard after something became durable: the built-in rules of who is told what.
//!
//! Every member's every session gets every message, but where many are in: there those that follow do, and the others
//! are told from time to time where the conversation stands. The session that asked has its reply instead.
//! Where plugins have a say, the deliver stage asks them; everything leaves by its [`Way`].

use super::{
    Ports, Typing,
    change::Own,
    conversation::{State, View},
};
use crate::{
    changes::Stamp,
    deliver::{self, Posted, Way},
    facts::Discretion,
    registry::{At, Push, Reach},
    view,
};
use bytes::Bytes;
use godwit_domain::{
    contact::Side,
    conversation::{Head, History, Kind, Marks, Member, Settings},
    filter::Activity,
    id::{Seq, SessionId, UserId},
    message::Message,
    revision::Revision,
    user::User,
};
use godwit_protocol::{encode, object};
use serde::Serialize;
use std::{borrow::Cow, sync::Arc};

/// Where a message came from.
pub struct From {
    pub sender: Arc<User>,
    /// What they did before.
    pub activity: Activity,
    /// The session that has its reply.
    pub session: Option<SessionId>,
}

/// A message that got its number.
pub fn message(state: &State, message: &Arc<Message>, from: From, stamp: Option<&Arc<Stamp>>, ports: &Ports) {
    let way = ports.stage.way(state.meta.id, stamp);
    let chain = ports.filters.pin();
    if !chain.is_empty()
        && let Some(card) = ports.cards.get(state.meta.id)
        && deliver::is_asked(&*chain, &card.place)
    {
        let From { sender, activity, session } = from;
        let (message, audience) = (message.clone(), state.audience().clone());
        let head = head(state);
        return way.ask(Posted { message, sender, activity, from: session, head, audience, card, chain });
    }
    let frame = |own| Bytes::from(encode::push("message", &object::Message::new(message, own)));
    let own_devices = ports.router.reaches(message.sender, from.session);
    way.route_fetchable(Push {
        audience: state.audience(),
        reach: deliver::built_in(&ports.limits, state.member_count()),
        frame: frame(false),
        own: own_devices.then(|| (message.sender, frame(true))),
        except: from.session,
        at: Some(At { head: head(state), seq: Some(message.seq) }),
    });
}

/// What became of a draft on hold: told to its sender's devices.
pub fn verdict(sender: UserId, verdict: &object::Verdict<'_>, stamp: Option<&Arc<Stamp>>, ports: &Ports) {
    ports.stage.way(verdict.conversation, stamp).route(Push {
        audience: &[sender],
        reach: Reach::Sessions,
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

/// A mark that rose: told to own devices, and in conversations that are not too large to everyone who may hear of it.
pub fn receipt(
    state: &State,
    user: UserId,
    to: Marks,
    from: Option<SessionId>,
    discretion: &Discretion,
    stamp: &Arc<Stamp>,
    ports: &Ports,
) {
    let receipt = object::Receipt {
        conversation: state.meta.id,
        user,
        received_seq: to.received,
        read_seq: to.read,
        at: ports.clock.now(),
    };
    let own = [user];
    let is_in = state.member(user).is_ok();
    let few = state.member_count() <= ports.limits.receipts_above && state.meta.kind != Kind::Channel;
    let told = is_in && few && !discretion.silent && !state.relation.is_blocked();
    let hearers = match told {
        true => discretion.hearers(state.audience()),
        false => Cow::Borrowed(&own[..]),
    };
    ports.stage.way(state.meta.id, Some(stamp)).route(Push {
        audience: &hearers,
        reach: Reach::Sessions,
        frame: encode::push("receipt", &receipt).into(),
        own: None,
        except: from,
        at: None,
    });
}

/// Someone is writing: told to all others, or where many are in to the sessions that follow, and forgotten. It goes past
/// what waits for plugins: by then it would be worth nothing.
pub fn typing(state: &State, typing: &Typing, ports: &Ports) {
    let Typing { conversation, user, discretion } = typing;
    if !state.may_type(*user) {
        return;
    }
    ports.metrics.typings.inc();
    let mut hearers = discretion.hearers(state.audience()).into_owned();
    hearers.retain(|other| other != user);
    let said = object::Typing { conversation: *conversation, user: *user };
    let frame = Bytes::from(encode::push("typing", &said));
    if deliver::is_large(&ports.limits, state.member_count()) {
        return ports.router.tell_followers(&hearers, *conversation, frame);
    }
    ports.router.route(Push {
        audience: &hearers,
        reach: Reach::Sessions,
        frame,
        own: None,
        except: None,
        at: None,
    });
}

/// How another user stands to a user from now on. `blocked` is whether either blocks the other.
pub fn contact(
    user: UserId,
    other: &User,
    side: Side,
    blocked: bool,
    except: Option<SessionId>,
    ports: &Ports,
) {
    if !ports.router.reaches(user, except) {
        return;
    }
    ports.router.route(Push {
        audience: &[user],
        reach: Reach::Sessions,
        frame: encode::push("contact", &object::Contact::new(other, side, blocked)).into(),
        own: None,
        except,
        at: None,
    });
}

/// A conversation that was made: each member is shown it as it looks from there. The session that asked as well: what
/// others send there may overtake its reply.
///
/// `users` are the two (or one) of a direct conversation.
pub fn opened(state: &State, users: &[Arc<User>], stamp: Option<&Arc<Stamp>>, ports: &Ports) {
    let way = ports.stage.way(state.meta.id, stamp);
    if !deliver::is_large(&ports.limits, state.member_count()) {
        state.audience().iter().for_each(|user| ports.presence.doubt(*user));
    }
    for user in state.audience().iter() {
        let peer = users.iter().find(|other| other.id != *user).or(users.first());
        show(state, *user, Default::default(), peer.map(|peer| &**peer), &way, ports);
    }
}

/// A change that happened: whom it lets in or out is shown the conversation, then all who may are told what happened,
/// and the others where the conversation stands. Whoever goes hears of that last. Where many are in, those who follow
/// are told, and whom it concerns.
///
/// `own` is what stands in the rows of the former.
pub fn changed(
    state: &State,
    before: &[UserId],
    revisions: &[Revision],
    own: &Own,
    stamp: &Arc<Stamp>,
    ports: &Ports,
) {
    let way = ports.stage.way(state.meta.id, Some(stamp));
    doubt(state, before, revisions, ports);
    for user in revisions.iter().filter_map(|revision| revision.what.concerns()) {
        show(state, user, own.get(&user).cloned().unwrap_or_default(), None, &way, ports);
    }
    // Both are in order of ids: a search for each is what a group of ten thousand can bear.
    let gone: Vec<_> =
        before.iter().copied().filter(|user| state.audience().binary_search(user).is_err()).collect();
    // The last that they hear is their own leave.
    for user in &gone {
        way.unspare(*user);
    }
    let at = At { head: head(state), seq: None };
    let concerned = [&**state.audience(), &gone[..]].concat();
    let reach = deliver::built_in(&ports.limits, state.member_count());
    for revision in revisions {
        let everyone = revision.what.message().is_none() || state.meta.history == History::All;
        let (told, spared): (Cow<'_, [UserId]>, Vec<_>) = if everyone {
            (Cow::Borrowed(&concerned), Vec::new())
        } else {
            let (told, spared) = concerned.iter().partition(|user| may_see(state, **user, revision));
            (Cow::Owned(told), spared)
        };
        let object = object::Revision::new(state.meta.id, revision, None);
        let frame = Bytes::from(encode::push("revision", &object));
        let push = |audience, reach| Push {
            audience,
            reach,
            frame: frame.clone(),
            own: None,
            except: None,
            at: Some(at),
        };
        match (revision.what.concerns(), reach) {
            (None, reach) => way.route_fetchable(push(&told, reach)),
            (Some(_), Reach::Sessions) => way.route(push(&told, reach)),
            // Whom it concerns is told in any case.
            (Some(user), Reach::Followers(_)) => {
                let (own, others): (Vec<_>, Vec<_>) = told.iter().partition(|other| **other == user);
                way.route_fetchable(push(&others, reach));
                way.route(push(&own, Reach::Sessions));
            }
        }
        way.spare(&spared, at.head, deliver::pace(&ports.limits, state.member_count()));
    }
    if reach != Reach::Sessions {
        // They were spared what else went with it.
        gone.iter().for_each(|user| way.unspare(*user));
    }
}

/// Readers of a channel who came or went: each is shown it as it looks from there, which is the last that who went hears.
pub fn admitted(state: &State, readers: &[Member], own: &Own, stamp: &Arc<Stamp>, ports: &Ports) {
    let way = ports.stage.way(state.meta.id, Some(stamp));
    for reader in readers {
        if !reader.present() {
            way.unspare(reader.user);
        }
        show(state, reader.user, own.get(&reader.user).cloned().unwrap_or_default(), None, &way, ports);
    }
}

/// Where a conversation stands that went on without anyone being told.
pub fn heads(state: &State, stamp: Option<&Arc<Stamp>>, ports: &Ports) {
    let pace = deliver::pace(&ports.limits, state.member_count());
    ports.stage.way(state.meta.id, stamp).spare(state.audience(), head(state), pace);
}

/// Whoever came or went may see others from now on, or no longer; where that made a conversation large or small,
/// everyone may.
fn doubt(state: &State, before: &[UserId], revisions: &[Revision], ports: &Ports) {
    let is_large = |members: &[UserId]| deliver::is_large(&ports.limits, members.len());
    match (is_large(before), is_large(state.audience())) {
        (true, true) => {}
        (false, false) => {
            let concerned = revisions.iter().filter_map(|revision| revision.what.concerns());
            concerned.for_each(|user| ports.presence.doubt(user));
        }
        // The fewer of both: to doubt one of two who might see one another is enough.
        (false, true) => before.iter().for_each(|user| ports.presence.doubt(*user)),
        (true, false) => state.audience().iter().for_each(|user| ports.presence.doubt(*user)),
    }
}

fn may_see(state: &State, user: UserId, revision: &Revision) -> bool {
    state.known(user).is_some_and(|member| state.visible(member).revision(revision))
}

/// Where the conversation stands, as everyone is told.
fn head(state: &State) -> object::Head {
    let Head { last_seq, last_rev, changed_at, .. } = state.head;
    object::Head { conversation: state.meta.id, last_seq, last_rev, updated_at: changed_at }
}

fn show(
    state: &State,
    user: UserId,
    (hidden, settings): (u64, Settings),
    peer: Option<&User>,
    way: &Way<'_>,
    ports: &Ports,
) {
    if !ports.router.reaches(user, None) {
        return;
    }
    let Ok(view) = state.view(user) else { return };
    let view = View { hidden, settings, ..view };
    way.route(Push {
        audience: &[user],
        reach: Reach::Sessions,
        frame: encode::push("conversation", &view::object(&view, user, peer)).into(),
        own: None,
        except: None,
        at: None,
    });
}
