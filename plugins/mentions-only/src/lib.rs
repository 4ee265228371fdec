//! Keeps large conversations quiet: a message goes live to those who follow, who are mentioned, and to admins.
//!
//! It owns that one rule; who may read is not its matter, and is not changed by it: everyone else hears that there is
//! something new. It keeps nothing and counts nothing.

use godwit_plugin::{Audience, Facts, FanOut, Id, Lifecycle, Live, Message, Notified, Role, Scene};
use serde::Deserialize;

/// What an operator sets.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    above: u32,
    admins: bool,
    announcements: bool,
    notify: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Notify {
    Mentioned,
    MentionedAndAdmins,
    Everyone,
}

impl Default for Config {
    fn default() -> Self {
        Self { above: 50, admins: true, announcements: false, notify: Notify::Mentioned }
    }
}

/// The rule.
pub struct MentionsOnly(Config);

impl Lifecycle for MentionsOnly {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        Ok(Self(config))
    }
}

impl FanOut for MentionsOnly {
    fn choose(&self, scene: &Scene, _message: &Message, facts: &Facts) -> Option<Audience> {
        let config = &self.0;
        if facts.member_count <= config.above {
            return None;
        }
        let announces = matches!(scene.sender_role, Some(Role::Owner | Role::Admin));
        if config.announcements && announces {
            return Some(Audience { live: Live::Everyone, notified: Notified::Everyone });
        }
        let admins: &[Id] = if config.admins { &facts.admins } else { &[] };
        let live = match together(&facts.mentioned, admins) {
            none if none.is_empty() => Live::Followers,
            some => Live::FollowersAnd(some),
        };
        let notified = match config.notify {
            Notify::Mentioned => Notified::Mentioned,
            Notify::MentionedAndAdmins => Notified::Only(together(&facts.mentioned, &facts.admins)),
            Notify::Everyone => Notified::Everyone,
        };
        Some(Audience { live, notified })
    }
}

/// Both lists, each of their people once.
fn together(one: &[Id], other: &[Id]) -> Vec<Id> {
    let mut all = [one, other].concat();
    all.sort();
    all.dedup();
    all
}

godwit_plugin::lifecycle!(MentionsOnly);
godwit_plugin::fan_out!(MentionsOnly);

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    const ADMIN: Id = Id::from_u128(7);
    const BEN: Id = Id::from_u128(8);

    fn choose(config: &str, role: Role, mentioned: &[Id], members: u32) -> Option<Audience> {
        let rule: MentionsOnly = testing::init(config).unwrap();
        let facts = Facts {
            member_count: members,
            admins: vec![ADMIN],
            mentioned: mentioned.to_vec(),
            ..testing::facts(&[])
        };
        let scene = Scene { sender_role: Some(role), ..testing::scene() };
        rule.choose(&scene, &testing::stored("hello"), &facts)
    }

    #[test]
    fn a_small_conversation_is_left_to_the_host() {
        assert_eq!(choose("{}", Role::Member, &[BEN], 50), None);
        assert!(choose("{}", Role::Member, &[BEN], 51).is_some());
        assert_eq!(choose(r#"{"above": 51}"#, Role::Member, &[BEN], 51), None);
    }

    #[test]
    fn followers_and_who_is_named_or_leads_get_it_live() {
        let audience = choose("{}", Role::Member, &[BEN, ADMIN], 900).unwrap();
        assert_eq!(audience.live, Live::FollowersAnd(vec![ADMIN, BEN]));
        assert_eq!(audience.notified, Notified::Mentioned);
        let audience = choose(r#"{"admins": false}"#, Role::Member, &[], 900).unwrap();
        assert_eq!(audience.live, Live::Followers);
    }

    #[test]
    fn who_is_notified_is_the_operators_choice() {
        let notified = |config| choose(config, Role::Member, &[BEN], 900).unwrap().notified;
        assert_eq!(notified(r#"{"notify": "mentioned-and-admins"}"#), Notified::Only(vec![ADMIN, BEN]));
        assert_eq!(notified(r#"{"notify": "everyone"}"#), Notified::Everyone);
    }

    #[test]
    fn an_announcement_reaches_everyone_where_that_is_set() {
        let all = Audience { live: Live::Everyone, notified: Notified::Everyone };
        assert_eq!(choose(r#"{"announcements": true}"#, Role::Admin, &[], 900), Some(all.clone()));
        assert_ne!(choose(r#"{"announcements": true}"#, Role::Member, &[], 900), Some(all.clone()));
        assert_ne!(choose("{}", Role::Owner, &[], 900), Some(all));
    }
}
