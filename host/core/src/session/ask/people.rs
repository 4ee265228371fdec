//! Requests about people: who someone is, who is here, what others are shown of oneself.

use super::Asker;
use godwit_domain::{id::UserId, user::ProfileChange};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{Privacy, Profile, Users, WATCHED_MAX, Watch},
};
use serde::Serialize;
use std::collections::HashSet;

#[derive(Serialize)]
struct ManyUsers<'a> {
    users: Vec<object::User<'a>>,
}

#[derive(Serialize)]
struct OneUser<'a> {
    user: object::User<'a>,
}

/// The answer to `watch` and `presence`.
#[derive(Serialize)]
pub struct AllPresence<'a> {
    pub presence: &'a [object::Presence],
}

/// The users of a `watch` or `presence`, each once.
pub fn each_once(mut users: Vec<UserId>) -> Result<Vec<UserId>, Error> {
    if users.len() > WATCHED_MAX {
        return Err(Error::invalid("users", format!("{} users, the limit is {WATCHED_MAX}", users.len())));
    }
    let mut seen = HashSet::new();
    users.retain(|user| seen.insert(*user));
    Ok(users)
}

impl Asker {
    pub(super) async fn users(&self, id: u64, asked: Users) -> Result<Vec<u8>, Error> {
        let users = match (asked.query, asked.ids) {
            // Whole names alone, and so many: a look-up by parts, or of very many, would let anyone list everyone.
            (Some(name), None) => {
                self.take_lookup()?;
                self.host.parts.accounts.find(&name).await?.into_iter().collect()
            }
            (None, Some(ids)) => {
                let max = self.host.parts.limits.users_per_request_max;
                if ids.len() > max {
                    return Err(Error::invalid("ids", format!("{} users, the limit is {max}", ids.len())));
                }
                self.host.parts.accounts.users(&ids).await?
            }
            _ => return Err(Error::invalid("query", "one of `query` and `ids` is needed")),
        };
        let circle = self.host.relations.circle(self.user.id).await?;
        let users = users.iter();
        let users = users.map(|user| object::User::from(user).guarded(circle.blocks(user.id)));
        Ok(encode::ok(id, &ManyUsers { users: users.collect() }))
    }

    fn take_lookup(&self) -> Result<(), Error> {
        let (now, max) = (self.host.parts.clock.now(), self.host.parts.limits.lookups_per_minute);
        self.host.people.get(self.user.id).take_lookup(now, max).map_err(|retry_after_ms| {
            let text = format!("more than {max} names looked up in a minute");
            Error::new(Code::RateLimited, text).retry_after_ms(retry_after_ms)
        })
    }

    pub(super) async fn profile(&self, id: u64, asked: Profile) -> Result<Vec<u8>, Error> {
        let Profile { display_name, avatar, time_zone, privacy: Privacy { presence, receipts } } = asked;
        let change = ProfileChange { display_name, avatar, time_zone, presence, receipts };
        let user = self.host.change_profile(self.user.id, self.session, &change).await?;
        Ok(encode::ok(id, &OneUser { user: object::User::own(&user) }))
    }

    pub(super) async fn presence(&self, id: u64, asked: Watch) -> Result<Vec<u8>, Error> {
        let users = each_once(asked.users)?;
        let presence = self.host.presence.of(self.user.id, &users).await?;
        Ok(encode::ok(id, &AllPresence { presence: &presence }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_watched_each_once_in_the_order_asked() {
        let users = |numbers: &[u128]| numbers.iter().copied().map(UserId::from_u128).collect::<Vec<_>>();
        assert_eq!(each_once(users(&[3, 1, 3, 2, 1])), Ok(users(&[3, 1, 2])));
        let many: Vec<_> = (0..=WATCHED_MAX as u128).collect();
        assert_eq!(each_once(users(&many)).unwrap_err().field.as_deref(), Some("users"));
        assert_eq!(each_once(users(&many[1..])).map(|users| users.len()), Ok(WATCHED_MAX));
    }
}
