//! Links into conversations: a row each, which ends by itself.

use super::{Tables, layout, record};
use godwit_domain::{
    conversation::Link,
    id::{ConversationId, UserId},
    time::Ms,
    waist::{Batch, Error, Put, Row},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const WHAT: &str = "a link";

/// What a row says; conversation and secret stand in partition and key.
#[derive(Serialize, Deserialize)]
struct Stored {
    by: UserId,
    created_at: Ms,
    expires_at: Option<Ms>,
}

impl Tables {
    pub(super) async fn write_link(&self, conversation: ConversationId, link: &Link) -> Result<(), Error> {
        let partition = layout::conversation(conversation);
        let Link { secret, by, created_at, expires_at } = *link;
        let row = record::row(&partition, &layout::link(secret), &Stored { by, created_at, expires_at })?;
        self.store.put_all(vec![(partition, Put { row, expires_at })]).await
    }

    pub(super) async fn read_links(&self, conversation: ConversationId) -> Result<Vec<Link>, Error> {
        let partition = layout::conversation(conversation);
        let read = |row: &Row| {
            let wrong = || record::corrupt(WHAT, &partition, &row.key, "the key names no link");
            let secret = layout::split_link(&row.key).ok_or_else(wrong)?;
            let stored = record::read(WHAT, &partition, &row.key, &row.value)?;
            let Stored { by, created_at, expires_at } = stored;
            Ok(Link { secret, by, created_at, expires_at })
        };
        self.scan_all(&partition, layout::LINKS).await?.iter().map(read).collect()
    }

    pub(super) async fn remove_link(&self, conversation: ConversationId, secret: Uuid) -> Result<(), Error> {
        let (partition, deletes) = (layout::conversation(conversation), vec![layout::link(secret)]);
        self.write(Batch { partition, checks: vec![], puts: vec![], deletes }).await.map(drop)
    }
}
