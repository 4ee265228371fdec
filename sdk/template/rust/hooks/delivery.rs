//! Says with what attention a message reaches people: bots do not ring.

use crate::Plugin;
use godwit_plugin::{Attention, Delivery, Message, Recipient, Scene};

impl Delivery for Plugin {
    fn attention(&self, scene: &Scene, _message: &Message, recipient: &Recipient) -> Attention {
        match scene.sender.bot && !recipient.mentioned {
            true => Attention::Quiet,
            false => Attention::Normal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::{Id, testing};

    #[test]
    fn a_bot_is_quiet_unless_it_mentions() {
        let plugin: Plugin = testing::init("{}").unwrap();
        let mut scene = testing::scene();
        scene.sender.bot = true;
        let ben = testing::recipient(Id::from_u128(7), "ben");
        let named = Recipient { mentioned: true, ..ben.clone() };
        let message = testing::stored("hello");
        assert_eq!(plugin.decide(&scene, &message, &[ben, named]), [Attention::Quiet, Attention::Normal]);
    }
}
