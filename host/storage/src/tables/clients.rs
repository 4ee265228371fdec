//! Client ids: what they were answered, kept beside the entries that they made for as long as they may come again.

use super::{Tables, layout, record};
use godwit_domain::{
    conversation::Head,
    id::{ConversationId, Seq},
    message::Accepted,
    tables::Clients,
    time::Ms,
    waist::{Error, Partition, Row},
};

/// For how long a client id is remembered: a day longer than clients may use one.
pub(super) const CLIENT_IDS_MS: u64 = 8 * 24 * 60 * 60 * 1_000;

impl Tables {
    /// The client ids of buckets, newest first, back through the first that was opened no later than `opened_before`.
    pub(super) async fn clients(
        &self,
        conversation: ConversationId,
        head: Head,
        opened_before: Ms,
    ) -> Result<Vec<Clients>, Error> {
        let mut all = Vec::new();
        for bucket in (0..=layout::bucket(head.last_seq.0)).rev() {
            let partition = layout::messages(conversation, bucket);
            let (opened_at, rows) =
                tokio::try_join!(self.opened_at(&partition), self.scan_all(&partition, layout::SENT))?;
            let client = |row: &Row| {
                let accepted = record::read("a client id", &partition, &row.key, &row.value)?;
                let wrong =
                    || record::corrupt("a client id", &partition, &row.key, "the key is none of a client id");
                let (sender, client) = layout::split_sent(&row.key).ok_or_else(wrong)?;
                Ok((sender, client, accepted))
            };
            let clients = rows.iter().map(client).collect::<Result<_, Error>>()?;
            all.push(Clients { first_seq: Seq(layout::first(bucket)), opened_at, clients });
            if opened_at <= opened_before {
                break;
            }
        }
        Ok(all)
    }

    /// What a client id was answered, looked for in the same buckets.
    pub(super) async fn answer(
        &self,
        conversation: ConversationId,
        head: Head,
        key: [u8; 33],
        opened_before: Ms,
    ) -> Result<Option<Accepted>, Error> {
        for bucket in (0..=layout::bucket(head.last_seq.0)).rev() {
            let partition = layout::messages(conversation, bucket);
            let found = self.find_settled("a client id", &partition, &key);
            let (opened_at, found) = tokio::try_join!(self.opened_at(&partition), found)?;
            if let Some((_, accepted)) = found {
                return Ok(Some(accepted));
            }
            if opened_at <= opened_before {
                break;
            }
        }
        Ok(None)
    }

    /// When a bucket of messages was opened.
    async fn opened_at(&self, partition: &Partition) -> Result<Ms, Error> {
        let what = "the opening of a bucket";
        match self.find(what, partition, layout::OPENED).await? {
            Some((_, opened_at)) => Ok(opened_at),
            None => Err(record::corrupt(what, partition, layout::OPENED, "there is no row")),
        }
    }
}
