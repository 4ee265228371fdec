//! What the asker sets for themselves in one conversation: told to their other devices, and to nobody else.

use super::{Asker, One};
use crate::{
    registry::{Push, Reach, Router},
    session::{change::TITLE_CHARS_MAX, listing},
    view,
};
use godwit_domain::conversation::SettingsChange;
use godwit_protocol::{encode, error::Error, request::Settings};

impl Asker {
    pub(super) async fn settings(&self, id: u64, asked: Settings) -> Result<Vec<u8>, Error> {
        let Settings { conversation, muted_until, label, pinned, archived } = asked;
        check_label(label.as_ref().and_then(Option::as_deref))?;
        let (host, user) = (&self.host, self.user.id);
        host.sequencer.view(conversation, user).await?.readable()?;
        let change = SettingsChange { muted_until, label, pinned, archived };
        let _lane = host.lanes.enter(user).await;
        // Held until the other devices are told.
        let stamp = host.parts.changes.begin();
        stamp.secured().await?;
        let changed = host.parts.conversations.set(user, conversation, &change, stamp.at()).await?;
        if let Some(settings) = &changed {
            host.stage.muted(user, conversation, settings.muted_until);
        }
        let (view, peer) = listing::one(host, user, conversation).await?;
        let object = view::object(&view, user, peer.as_deref());
        if changed.is_some() {
            host.parts.registry.route(Push {
                audience: &[user],
                reach: Reach::Sessions,
                frame: encode::push("conversation", &object).into(),
                own: None,
                except: Some(self.session),
                at: None,
            });
        }
        Ok(encode::ok(id, &One { conversation: object }))
    }
}

/// Whether a label is one; `None` is none.
fn check_label(label: Option<&str>) -> Result<(), Error> {
    let Some(label) = label else { return Ok(()) };
    let characters = label.chars().count();
    if label.trim().is_empty() || characters > TITLE_CHARS_MAX {
        let text = format!("a label of {characters} characters, it must have 1 to {TITLE_CHARS_MAX}");
        return Err(Error::invalid("label", text));
    }
    Ok(())
}
