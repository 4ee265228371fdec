//! How a slot changes the relation of the two users of a direct conversation, be there that conversation or not.
//!
//! It goes through the shard of the conversation because direct messages are checked there: what is sent after a block
//! was answered finds it. While a change is under way the conversation is busy, so that memory and store never differ.

use super::{
    Answer, Ports, publish,
    shard::{Done, Turn},
    slot::Slot,
};
use crate::changes::Stamp;
use futures_util::{FutureExt, future::BoxFuture};
use godwit_domain::{
    contact::{Action, Relation, Side, State},
    conversation::direct_id,
    id::{ConversationId, SessionId, UserId},
    tables::Written,
    time::Ms,
    user::User,
    waist,
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// What somebody does about another.
pub struct Relate {
    /// The two: who does it first.
    pub pair: Pair,
    /// What.
    pub action: Action,
    /// From which session, which has its answer.
    pub session: SessionId,
    /// Who waits for what they see afterwards.
    pub answer: Answer<Side>,
}

/// Two users who are not the same.
#[derive(Clone)]
pub struct Pair(pub Arc<User>, pub Arc<User>);

impl Pair {
    /// The id of their direct conversation.
    pub fn conversation(&self) -> ConversationId {
        direct_id(self.0.id, self.1.id)
    }
}

/// A change of a relation that was tried.
pub struct Related {
    pub relate: Relate,
    /// What it was and what it is; the same where nothing changed.
    outcome: Result<(Relation, Relation), Unrelated>,
    stamp: Arc<Stamp>,
}

enum Unrelated {
    /// Nothing was written.
    Refused(Error),
    /// Storage did not say how far it came.
    Unknown(waist::Error),
}

/// A relation of which it is not known whether it changed: both users are told what it is when storage says so.
pub struct Retell {
    pair: Pair,
    stamp: Arc<Stamp>,
}

/// The error of what a block forbids; it does not say whose.
pub fn blocked() -> Error {
    Error::new(Code::Blocked, "one of you blocks the other")
}

/// What an action makes of a relation; `None` where it changes nothing.
fn decide(
    relation: &Relation,
    (by, other): (UserId, UserId),
    action: Action,
    at: Ms,
) -> Result<Option<Relation>, Error> {
    use State::{Asked, Blocked, Friend, None as Nothing, Requested};
    let (mine, theirs) = (relation.side(by, other), relation.side(other, by));
    let to = match (action, mine.state) {
        (Action::Request, _) if relation.is_blocked() => return Err(blocked()),
        (Action::Request, Nothing | Blocked) => (Requested, Asked),
        (Action::Request | Action::Accept, Asked) => (Friend, Friend),
        (Action::Request, Requested | Friend) | (Action::Accept, Friend) => return Ok(None),
        (Action::Decline, Asked) => (Nothing, Nothing),
        (Action::Accept | Action::Decline, _) => {
            return Err(Error::new(Code::Conflict, "there is no request of theirs").field("action"));
        }
        (Action::Remove, Requested | Asked | Friend) => (Nothing, Nothing),
        (Action::Block, Nothing | Requested | Asked | Friend) => {
            (Blocked, if theirs.state == Blocked { Blocked } else { Nothing })
        }
        (Action::Unblock, Blocked) => (Nothing, theirs.state),
        (Action::Remove | Action::Block | Action::Unblock, _) => return Ok(None),
    };
    let changed_at = at.max(relation.changed_at.plus(1));
    let side = |before: Side, state| if before.state == state { before } else { Side { state, since: at } };
    Ok(Some(Relation::of(by, other, (side(mine, to.0), side(theirs, to.1)), changed_at)))
}

/// Changes a relation, as a future that needs nothing of the slot.
pub fn work(ports: Ports, relate: Relate) -> BoxFuture<'static, Done> {
    let stamp = Arc::new(ports.changes.begin());
    async move {
        let outcome = carry_out(&ports, &relate, &stamp).await;
        Done::Related(Box::new(Related { relate, outcome, stamp }))
    }
    .boxed()
}

async fn carry_out(
    ports: &Ports,
    Relate { pair: Pair(by, other), action, .. }: &Relate,
    stamp: &Stamp,
) -> Result<(Relation, Relation), Unrelated> {
    let refused = |error: waist::Error| Unrelated::Refused(error.into());
    let before = ports.relation_tables.relation(by.id, other.id).await.map_err(refused)?;
    let decided = decide(&before, (by.id, other.id), *action, stamp.at()).map_err(Unrelated::Refused)?;
    let Some(after) = decided else { return Ok((before, before)) };
    stamp.secured().await.map_err(refused)?;
    match ports.relation_tables.relate(by.id, other.id, &before, &after).await {
        Ok(Written::Yes) => Ok((before, after)),
        Ok(Written::No) => {
            let text = "the contact changed meanwhile; try again";
            Err(Unrelated::Refused(Error::new(Code::Unavailable, text)))
        }
        Err(error) => Err(Unrelated::Unknown(error)),
    }
}

impl Slot {
    /// A change of the relation is durable, or not.
    pub fn related(&mut self, related: Related, ports: &Ports) {
        let Related { relate: Relate { pair, session, answer, .. }, outcome, stamp } = related;
        let Pair(by, other) = &pair;
        match outcome {
            Ok((before, after)) => {
                if before != after {
                    self.take_relation(&pair, after, ports);
                }
                for (user, peer, except) in [(by, other, Some(session)), (other, by, None)] {
                    let side = after.side(user.id, peer.id);
                    if side != before.side(user.id, peer.id) {
                        publish::contact(user.id, peer, side, after.is_blocked(), except, ports);
                    }
                }
                // Who asked may have given up.
                let _ = answer.send(Ok(after.side(by.id, other.id)));
            }
            Err(Unrelated::Refused(error)) => drop(answer.send(Err(error))),
            Err(Unrelated::Unknown(error)) => {
                tracing::error!(%error, user = %by.id, "whether a contact changed is not known");
                ports.metrics.store_failures.inc();
                ports.relations.changed(by.id, other.id);
                self.retell = Some(Retell { pair, stamp });
                let text = "whether this took effect is not known; asking the same again settles it";
                drop(answer.send(Err(Error::new(Code::UnknownOutcome, text))));
                return;
            }
        }
        drop(stamp);
    }

    fn take_relation(&mut self, pair: &Pair, relation: Relation, ports: &Ports) {
        if let Some(state) = &mut self.state {
            state.relation = relation;
        }
        ports.relations.changed(pair.0.id, pair.1.id);
        ports.presence.doubt(pair.0.id);
    }

    /// Asks storage what became of a change of which it did not say so.
    pub fn settle_relation(&mut self, conversation: ConversationId, turn: &Turn<'_>) {
        let Some(Retell { pair: Pair(a, b), .. }) = &self.retell else { return };
        let (tables, a, b) = (turn.ports.relation_tables.clone(), a.id, b.id);
        self.busy = true;
        turn.work.push(async move { Done::Retold(conversation, tables.relation(a, b).await) }.boxed());
    }

    /// Storage has said what the relation is.
    pub fn retold(&mut self, result: Result<Relation, waist::Error>, ports: &Ports) {
        match (result, self.retell.take()) {
            (Ok(relation), Some(Retell { pair, stamp })) => {
                self.take_relation(&pair, relation, ports);
                let Pair(a, b) = &pair;
                for (user, peer) in [(a, b), (b, a)] {
                    let side = relation.side(user.id, peer.id);
                    publish::contact(user.id, peer, side, relation.is_blocked(), None, ports);
                }
                drop(stamp);
            }
            (Err(error), retell) => {
                self.retell = retell;
                self.failed(&error, ports);
            }
            (Ok(_), None) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_action_makes_of_each_relation_what_the_contract_says() {
        use Action::{Accept, Block, Decline, Remove, Request, Unblock};
        let (ada, ben) = (UserId::from_u128(1), UserId::from_u128(2));
        // What I see, what they see, what I do, and what both see then, or the code.
        let cases = [
            ("none none", Request, "requested asked"),
            ("requested asked", Request, "requested asked"),
            ("asked requested", Request, "friend friend"),
            ("friend friend", Request, "friend friend"),
            ("blocked none", Request, "blocked"),
            ("none blocked", Request, "blocked"),
            ("asked requested", Accept, "friend friend"),
            ("friend friend", Accept, "friend friend"),
            ("none none", Accept, "conflict"),
            ("requested asked", Accept, "conflict"),
            ("none blocked", Accept, "conflict"),
            ("asked requested", Decline, "none none"),
            ("none none", Decline, "conflict"),
            ("friend friend", Decline, "conflict"),
            ("requested asked", Remove, "none none"),
            ("asked requested", Remove, "none none"),
            ("friend friend", Remove, "none none"),
            ("none none", Remove, "none none"),
            ("blocked none", Remove, "blocked none"),
            ("none blocked", Remove, "none blocked"),
            ("friend friend", Block, "blocked none"),
            ("none none", Block, "blocked none"),
            ("none blocked", Block, "blocked blocked"),
            ("blocked none", Block, "blocked none"),
            ("blocked none", Unblock, "none none"),
            ("blocked blocked", Unblock, "none blocked"),
            ("friend friend", Unblock, "friend friend"),
            ("none blocked", Unblock, "none blocked"),
        ];
        let state = |text: &str| match text {
            "requested" => State::Requested,
            "asked" => State::Asked,
            "friend" => State::Friend,
            "blocked" => State::Blocked,
            _ => State::None,
        };
        let read = |text: &str| text.split_once(' ').map(|(mine, theirs)| (state(mine), state(theirs)));
        for (before, action, expected) in cases {
            // Either may have the lower id.
            for (by, other) in [(ada, ben), (ben, ada)] {
                let (mine, theirs) = read(before).unwrap();
                let side = |state| Side { state, since: Ms(5) };
                let relation = Relation::of(by, other, (side(mine), side(theirs)), Ms(9));
                let decided = decide(&relation, (by, other), action, Ms(7));
                let says = format!("{before} {action:?}");
                let Some(expected) = read(expected) else {
                    assert_eq!(decided.unwrap_err().code.as_str(), expected, "{says}");
                    continue;
                };
                let after = decided.unwrap();
                assert_eq!(after.is_none(), expected == (mine, theirs), "{says}");
                let after = after.unwrap_or(Relation { changed_at: Ms(10), ..relation });
                let (to_me, to_them) = (after.side(by, other), after.side(other, by));
                assert_eq!((to_me.state, to_them.state), expected, "{says}");
                assert_eq!(after.changed_at, Ms(10), "later than before: {says}");
                let since = |before, side: Side| if before == side.state { Ms(5) } else { Ms(7) };
                assert_eq!(
                    (to_me.since, to_them.since),
                    (since(mine, to_me), since(theirs, to_them)),
                    "{says}"
                );
            }
        }
    }
}
