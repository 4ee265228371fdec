//! Contacts: the asker's own, and what is done about other users.

use super::Asker;
use crate::{
    sequencer::{Pair, unknown_user},
    session::contacts,
};
use godwit_domain::{
    contact::{Action, Side, State},
    id::UserId,
    user::User,
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{self, Contact, Contacts},
};
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct ManyContacts<'a> {
    contacts: Vec<object::Contact<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<UserId>,
}

#[derive(Serialize)]
struct OneContact<'a> {
    contact: object::Contact<'a>,
}

impl Asker {
    pub(super) async fn contacts(&self, id: u64, asked: Contacts) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let unreadable = |_| Error::invalid("page", "`page` is not one that this list gave");
        let after = asked.page.map(|page| page.parse().map(UserId)).transpose().map_err(unreadable)?;
        let (known, next) = contacts::page(&self.host, self.user.id, None, after, limit).await?;
        let contacts = known.iter().map(object::Contact::from).collect();
        Ok(encode::ok(id, &ManyContacts { contacts, next }))
    }

    pub(super) async fn contact(&self, id: u64, asked: Contact) -> Result<Vec<u8>, Error> {
        let Contact { user, action } = asked;
        if user == self.user.id {
            return Err(Error::invalid("user", "nobody is a contact of themselves"));
        }
        let found = self.host.parts.accounts.users(&[user]).await?.into_iter().next();
        let other: Arc<User> = Arc::new(found.ok_or_else(|| unknown_user(user).field("user"))?);
        // One after the other, so that what is counted stays so until the next is counted.
        let lane = self.host.lanes.enter(self.user.id).await;
        self.check_room(user, action).await?;
        let pair = Pair(self.user.clone(), other.clone());
        let side: Side = self.host.sequencer.relate(pair, action, self.session).await?;
        drop(lane);
        // From the answer on neither is shown what they may no longer see, and what they may from now on.
        self.host.presence.look_again(self.user.id).await;
        let blocked = self.host.relations.circle(self.user.id).await?.between(user).blocked;
        Ok(encode::ok(id, &OneContact { contact: object::Contact::new(&other, side, blocked) }))
    }

    /// Whether there is room for one more contact, and for one more request of the asker and to the other.
    async fn check_room(&self, other: UserId, action: Action) -> Result<(), Error> {
        if !matches!(action, Action::Request | Action::Accept | Action::Block) {
            return Ok(());
        }
        let limits = &self.host.parts.limits;
        let circle = self.host.relations.circle(self.user.id).await?;
        let state = circle.state(other);
        if !matches!(state, State::None | State::Asked) {
            // They are counted already.
            return Ok(());
        }
        let max = limits.contacts_max;
        if circle.contacts >= max {
            return Err(Error::invalid("user", format!("you have {max} contacts, the limit; `remove` one")));
        }
        if action != Action::Request || state == State::Asked {
            return Ok(());
        }
        let max = limits.contact_requests_max;
        let theirs = self.host.relations.circle(other).await?;
        let text = match (circle.requested >= max, theirs.asked >= max) {
            (true, _) => format!("{max} requests of yours are not answered yet, the limit"),
            (_, true) => format!("{max} requests wait for an answer of theirs, the limit"),
            (false, false) => {
                // Others hear of it, and of what takes it back: it counts as a message.
                let person = self.host.people.get(self.user.id);
                let now = self.host.parts.clock.now();
                let taken = person.take_send(now, limits.sends_per_s, limits.sends_burst);
                return taken.map_err(|ms| {
                    let text = format!("more than {} messages a second", limits.sends_per_s);
                    Error::new(Code::RateLimited, text).retry_after_ms(ms)
                });
            }
        };
        Err(Error::new(Code::RateLimited, text))
    }
}
