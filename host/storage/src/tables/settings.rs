//! What users set for themselves in their conversations: a row each, beside the rows of their lists.
//!
//! Apart from those, because these are written by the conversation's shard without a look at what stands there.

use super::{Tables, absent, layout, put_one, record, stays};
use bytes::Bytes;
use godwit_domain::{
    conversation::{Settings, SettingsChange},
    id::{ConversationId, UserId},
    tables::Written,
    time::Ms,
    waist::{Check, Error},
};
use serde::{Deserialize, Serialize};

pub(super) const WHAT: &str = "a user's settings";

/// A row.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Stored {
    pub(super) settings: Settings,
    /// When they changed last.
    pub(super) at: Ms,
}

impl Tables {
    /// The settings of users in conversations, in the order asked.
    pub(super) async fn read_settings(
        &self,
        asked: &[(UserId, ConversationId)],
    ) -> Result<Vec<Settings>, Error> {
        let place = |(user, conversation): &(UserId, ConversationId)| {
            (layout::user(*user), layout::settings(*conversation))
        };
        let found = self.store.get_many(asked.iter().map(place).collect()).await?;
        let read = |(asked, value): (&(UserId, ConversationId), Option<Bytes>)| {
            let Some(value) = value else { return Ok(Settings::default()) };
            let (partition, key) = place(asked);
            record::read(WHAT, &partition, &key, &value).map(|stored: Stored| stored.settings)
        };
        asked.iter().zip(found).map(read).collect()
    }

    /// Changes settings; `None` where that changes nothing.
    pub(super) async fn write_settings(
        &self,
        user: UserId,
        conversation: ConversationId,
        change: &SettingsChange,
        at: Ms,
    ) -> Result<Option<Settings>, Error> {
        let (partition, key) = (layout::user(user), layout::settings(conversation));
        loop {
            let (check, before) = match self.find_settled::<Stored>(WHAT, &partition, &key).await? {
                Some((row, stored)) => (Check::Equals(row), stored),
                None => (absent(&key), Stored::default()),
            };
            let settings = change.applied(&before.settings);
            if settings == before.settings {
                return Ok(None);
            }
            let stored = Stored { settings, at: at.max(before.at) };
            let put = stays(&partition, &key, &stored)?;
            if self.write(put_one(partition.clone(), check, put)).await? == Written::Yes {
                return Ok(Some(stored.settings));
            }
        }
    }
}
