//! What a running call may read: committed state, as the plugin's own user may see it.

use super::lane::Lane;
use crate::{
    host::Host,
    sequencer::{Standing, View, blocked},
};
use async_trait::async_trait;
use godwit_domain::{
    actor::{Denied, Desk, Target},
    conversation::Member,
    id::{ConversationId, Seq, UserId},
    message::Message,
    tables::KV_KEY_BYTES_MAX,
    time::Ms,
    user::User,
    waist,
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// How much one question may be answered with.
const LIMIT_MAX: usize = 200;
/// The most bytes of bodies in one page of history.
const HISTORY_BYTES_MAX: usize = 256 * 1024;

/// See the module.
pub struct AtDesk {
    host: Arc<Host>,
    lane: Arc<Lane>,
}

impl AtDesk {
    pub fn with(host: &Arc<Host>, lane: &Arc<Lane>) -> Arc<dyn Desk> {
        Arc::new(Self { host: host.clone(), lane: lane.clone() })
    }

    async fn view(&self, conversation: ConversationId) -> Result<View, Denied> {
        self.host.sequencer.view(conversation, self.lane.user.id).await.map_err(denied)
    }
}

/// An error as a plugin is told it.
fn denied(error: Error) -> Denied {
    match error.code {
        Code::NotFound | Code::UnknownUser => Denied::NotFound,
        Code::Invalid | Code::TooLarge => Denied::Invalid(error.message),
        code if code.temporary() => Denied::Unavailable(error.message),
        _ => Denied::Denied(error.message),
    }
}

fn unavailable(error: waist::Error) -> Denied {
    denied(Error::from(error))
}

fn check_key(key: &str) -> Result<(), Denied> {
    match key.len() {
        bytes if bytes > KV_KEY_BYTES_MAX => {
            Err(Denied::Invalid(format!("a key of {bytes} bytes, the limit is {KV_KEY_BYTES_MAX}")))
        }
        _ => Ok(()),
    }
}

#[async_trait]
impl Desk for AtDesk {
    fn now(&self) -> Ms {
        self.lane.clock.now()
    }

    async fn kv_get(&self, key: &str) -> Result<Option<Arc<[u8]>>, Denied> {
        check_key(key)?;
        self.lane.work.kv_get(&self.lane.id, key).await.map_err(unavailable)
    }

    async fn kv_scan(
        &self,
        bucket: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<(String, Arc<[u8]>)>, u64), Denied> {
        check_key(bucket)?;
        check_key(after.unwrap_or_default())?;
        let limit = limit.min(LIMIT_MAX);
        self.lane.work.kv_scan(&self.lane.id, bucket, after, limit).await.map_err(unavailable)
    }

    async fn history(
        &self,
        conversation: ConversationId,
        before: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Message>, Denied> {
        let view = self.view(conversation).await?.readable().map_err(denied)?;
        let end = before.map_or(view.head.last_seq.0, |before| before.0.saturating_sub(1));
        let (mut left, mut bytes, mut found) = (limit.min(LIMIT_MAX) as u64, HISTORY_BYTES_MAX, Vec::new());
        let tables = &self.host.parts.conversations;
        for part in view.visible.messages_within(&(1..=end)).rev() {
            let mut to = *part.end();
            // A page may end early for its size, and where messages are gone.
            while left > 0 && bytes > 0 && to >= *part.start() {
                let from = (*part.start()).max((to + 1).saturating_sub(left));
                let read = tables.messages(conversation, Seq(from)..=Seq(to), true, bytes).await;
                let read = read.map_err(unavailable)?;
                let lowest = read.first().map_or(from, |first| first.seq.0);
                let whole = read.len() as u64 == to - from + 1;
                for message in read.into_iter().rev().filter_map(|message| view.visible.shown(message)) {
                    bytes = bytes.saturating_sub(message.content.body.len());
                    left = left.saturating_sub(1);
                    found.push(message);
                }
                to = if whole { from } else { lowest.min(to) }.saturating_sub(1);
                if to == 0 {
                    break;
                }
            }
        }
        Ok(found)
    }

    async fn members(
        &self,
        conversation: ConversationId,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Member>, Denied> {
        let limit = limit.min(LIMIT_MAX);
        let members = self.host.sequencer.members(conversation, self.lane.user.id, after, limit);
        members.await.map_err(denied)
    }

    async fn sendable(&self, to: Target) -> Result<(), Denied> {
        match to {
            Target::Conversation(conversation) => match self.view(conversation).await? {
                View { standing: Standing::In, blocked: true, .. } => Err(denied(blocked())),
                View { standing: Standing::In, role, meta, .. } if meta.may_post(role) => Ok(()),
                View { standing: Standing::In, .. } => {
                    Err(Denied::Denied("its user may only read there".into()))
                }
                _ => Err(Denied::Denied("its user is not a member there".into())),
            },
            Target::User(user) => match self.user(user).await? {
                Some(_) => {
                    let circle = self.host.relations.circle(self.lane.user.id).await.map_err(unavailable)?;
                    if circle.blocks(user) { Err(denied(blocked())) } else { Ok(()) }
                }
                None => Err(Denied::NotFound),
            },
        }
    }

    async fn user(&self, id: UserId) -> Result<Option<User>, Denied> {
        Ok(self.host.parts.accounts.users(&[id]).await.map_err(denied)?.into_iter().next())
    }

    async fn user_by_name(&self, name: &str) -> Result<Option<User>, Denied> {
        self.host.parts.accounts.find(name).await.map_err(denied)
    }
}
