//! Hears events: whoever mentions the plugin's user is answered.

use crate::Plugin;
use godwit_plugin::{Bot, Fault, bot, chat};

impl Bot for Plugin {
    fn on_event(&self, event: &bot::Event) -> Result<(), Fault> {
        if let bot::What::Mentioned(said) = &event.what {
            let body = &said.message.content.body;
            chat::say(said.message.conversation, format!("You said: {body}"))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn a_mention_is_answered_and_a_message_is_not() {
        let plugin: Plugin = testing::init("{}").unwrap();
        let mut event = testing::said("hello");
        testing::transaction(|| plugin.on_event(&event)).unwrap();
        assert!(testing::sent().is_empty());
        if let bot::What::Message(said) = event.what {
            event.what = bot::What::Mentioned(said);
        }
        testing::transaction(|| plugin.on_event(&event)).unwrap();
        assert_eq!(testing::sent(), ["You said: hello"]);
    }
}
