//! Judges what other people will read: one word is not for here.

use crate::Plugin;
use godwit_plugin::{Moderation, Scene, Subject, Verdict, log};

impl Moderation for Plugin {
    fn review(&self, scene: &Scene, subject: Subject) -> Verdict {
        if !subject.text().to_lowercase().contains(&self.word) {
            return Verdict::Allow;
        }
        log::info(format!("refused something of {}", scene.sender.name));
        Verdict::reject("not-here", format!("Please write about \"{}\" elsewhere.", self.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn the_word_is_refused_in_any_case() {
        let plugin: Plugin = testing::init(r#"{ "word": "End" }"#).unwrap();
        let review = |body| plugin.review(&testing::scene(), testing::message(body));
        assert_eq!(review("The END"), Verdict::reject("not-here", "Please write about \"end\" elsewhere."));
        assert_eq!(review("The beginning"), Verdict::Allow);
    }
}
