//! Names who gets a message live and who is notified: large conversations stay quiet.

use crate::Plugin;
use godwit_plugin::{Audience, Facts, FanOut, Live, Message, Notified, Scene};

/// Members above which a conversation is large.
const LARGE: u32 = 50;

impl FanOut for Plugin {
    fn choose(&self, _scene: &Scene, _message: &Message, facts: &Facts) -> Option<Audience> {
        if facts.member_count <= LARGE {
            return None;
        }
        Some(Audience { live: Live::Followers, notified: Notified::Mentioned })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn a_large_conversation_is_for_those_who_follow() {
        let plugin: Plugin = testing::init("{}").unwrap();
        let choose = |members| {
            let facts = Facts { member_count: members, ..testing::facts(&[]) };
            plugin.choose(&testing::scene(), &testing::stored("hello"), &facts)
        };
        assert_eq!(choose(50), None);
        assert_eq!(choose(51).map(|audience| audience.live), Some(Live::Followers));
    }
}
