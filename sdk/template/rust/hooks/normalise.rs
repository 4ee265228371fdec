//! Changes what is about to be sent: two hyphens become a dash.

use crate::Plugin;
use godwit_plugin::{Content, Normalise, Reason, Rewrite, Scene};

impl Normalise for Plugin {
    fn normalise(&self, _scene: &Scene, content: Content) -> Result<Option<Rewrite>, Reason> {
        if !content.body.contains(" -- ") {
            return Ok(None);
        }
        let body = content.body.replace(" -- ", " – ");
        Ok(Some(content.rewrite(body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn two_hyphens_become_a_dash() {
        let plugin: Plugin = testing::init("{}").unwrap();
        let normalise = |body| plugin.normalise(&testing::scene(), Content::text(body)).unwrap();
        assert_eq!(normalise("a -- b").map(|rewrite| rewrite.body).as_deref(), Some("a – b"));
        assert_eq!(normalise("a-b"), None);
    }
}
