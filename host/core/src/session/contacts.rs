//! Lists of a user's contacts: all of them, and those that changed since a cursor.

use crate::host::Host;
use godwit_domain::{
    contact::{Contact, State},
    id::UserId,
    time::Ms,
    user::User,
};
use godwit_protocol::{error::Error, object};
use std::collections::HashMap;

/// A contact, with who that is.
pub struct Known {
    contact: Contact,
    user: User,
}

impl<'a> From<&'a Known> for object::Contact<'a> {
    fn from(Known { contact, user }: &'a Known) -> Self {
        Self::new(user, contact.side, contact.blocked)
    }
}

/// The user's contacts in order of ids after `after`: up to `limit` of them, and where to go on. With `since` those
/// alone that changed after it, and among them those that are none any more.
///
/// # Errors
/// That of the store.
pub async fn page(
    host: &Host,
    user: UserId,
    since: Option<Ms>,
    after: Option<UserId>,
    limit: usize,
) -> Result<(Vec<Known>, Option<UserId>), Error> {
    let mut contacts = host.parts.relation_tables.contacts(user).await?;
    contacts.retain(|contact| {
        let is_told = match since {
            Some(since) => contact.changed_at > since,
            None => contact.side.state != State::None,
        };
        is_told && after.is_none_or(|after| contact.user > after)
    });
    let more = contacts.len() > limit;
    contacts.truncate(limit);
    let next = contacts.last().filter(|_| more).map(|last| last.user);
    let ids: Vec<_> = contacts.iter().map(|contact| contact.user).collect();
    let users = host.parts.accounts.users(&ids).await?;
    let mut users: HashMap<_, _> = users.into_iter().map(|user| (user.id, user)).collect();
    let known = |contact: Contact| Some(Known { user: users.remove(&contact.user)?, contact });
    Ok((contacts.into_iter().filter_map(known).collect(), next))
}
