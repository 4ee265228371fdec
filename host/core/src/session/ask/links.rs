//! Links by which people come into a conversation that is not open: made, listed and ended by its admins.
//!
//! A code is the conversation and a secret. It is looked up before the shard is asked: one that ends in between may still
//! let somebody in, which is no more than if they had come a moment earlier.

use super::Asker;
use crate::{
    outbox::Reply,
    sequencer::{Ask, Standing, Wanted, Wish},
    session::send::check_client_id,
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use godwit_domain::{
    conversation::{Kind, Link, Role},
    id::ConversationId,
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{self, Conversation, Join, Unlink},
};
use serde::Serialize;
use uuid::Uuid;

/// How many links a conversation may have.
const LINKS_MAX: usize = 50;
/// The longest life of a link that ends, in seconds: ten years.
const EXPIRES_IN_S_MAX: u64 = 10 * 366 * 24 * 60 * 60;

#[derive(Serialize)]
struct OneLink {
    link: object::Link,
}

#[derive(Serialize)]
struct ManyLinks {
    links: Vec<object::Link>,
}

impl Asker {
    pub(super) async fn link(&self, id: u64, asked: request::Link) -> Result<Vec<u8>, Error> {
        let request::Link { conversation, expires_in_s } = asked;
        self.may_invite(conversation).await?;
        if let Some(seconds) = expires_in_s.filter(|seconds| !(1..=EXPIRES_IN_S_MAX).contains(seconds)) {
            let text = format!("`expires_in_s` is {seconds}, it must be 1 to {EXPIRES_IN_S_MAX}");
            return Err(Error::invalid("expires_in_s", text));
        }
        // One after the other, so that what is counted stays so.
        let _lane = self.host.lanes.enter(self.user.id).await;
        let tables = &self.host.parts.conversations;
        if tables.links(conversation).await?.len() >= LINKS_MAX {
            let text = format!("the conversation has {LINKS_MAX} links, the limit; `unlink` one");
            return Err(Error::invalid("conversation", text));
        }
        let now = self.host.parts.clock.now();
        let expires_at = expires_in_s.map(|seconds| now.plus(seconds.saturating_mul(1_000)));
        let link = Link { secret: Uuid::new_v4(), by: self.user.id, created_at: now, expires_at };
        tables.put_link(conversation, &link).await?;
        Ok(encode::ok(id, &OneLink { link: shown(conversation, &link) }))
    }

    pub(super) async fn links(&self, id: u64, asked: Conversation) -> Result<Vec<u8>, Error> {
        let conversation = asked.conversation;
        self.may_invite(conversation).await?;
        let links = self.host.parts.conversations.links(conversation).await?;
        let links = links.iter().map(|link| shown(conversation, link)).collect();
        Ok(encode::ok(id, &ManyLinks { links }))
    }

    pub(super) async fn unlink(&self, id: u64, asked: Unlink) -> Result<Vec<u8>, Error> {
        let Unlink { conversation, code } = asked;
        self.may_invite(conversation).await?;
        match parse(&code) {
            Some((of, secret)) if of == conversation => {
                self.host.parts.conversations.drop_link(conversation, secret).await?;
                Ok(encode::done(id))
            }
            _ => Err(no_link()),
        }
    }

    /// Hands the coming in by a link to its shard.
    pub(super) async fn join_by_link(&self, join: Join, reply: Reply) {
        let Join { conversation, code, client_id } = join;
        let linked = async {
            if let Some(client_id) = client_id {
                check_client_id(client_id, self.host.parts.clock.now())?;
            }
            let (of, secret) = parse(code.as_deref().unwrap_or_default()).ok_or_else(no_link)?;
            if conversation.is_some_and(|conversation| conversation != of) {
                return Err(no_link());
            }
            let now = self.host.parts.clock.now();
            let leads = |link: &Link| link.secret == secret && link.expires_at.is_none_or(|at| at > now);
            let links = self.host.parts.conversations.links(of).await?;
            links.iter().any(leads).then_some(of).ok_or_else(no_link)
        };
        match linked.await {
            Ok(conversation) => {
                let what = Wanted::Members(Wish::Join(true));
                let ask = Ask { conversation, by: self.user.id, client_id, what, refusal: None, reply };
                self.host.sequencer.change(ask).await;
            }
            Err(error) => {
                self.host.parts.metrics.refused(error.code);
                reply.error(&error);
            }
        }
    }

    /// Whether the asker may bring people into that conversation.
    async fn may_invite(&self, conversation: ConversationId) -> Result<(), Error> {
        let view = self.host.sequencer.view(conversation, self.user.id).await?;
        if view.standing != Standing::In {
            return Err(Error::new(Code::NotMember, "you are not in this conversation"));
        }
        if view.meta.kind == Kind::Direct {
            let text = "the members of a direct conversation are those whom it is between";
            return Err(Error::invalid("conversation", text));
        }
        if view.role < Role::Admin {
            return Err(Error::new(Code::Forbidden, "admins and owners make links, you are neither"));
        }
        Ok(())
    }
}

fn no_link() -> Error {
    Error::new(Code::NotFound, "no such link, or it has ended").field("code")
}

fn shown(conversation: ConversationId, link: &Link) -> object::Link {
    let bytes = [&conversation.as_bytes()[..], &link.secret.as_bytes()[..]].concat();
    let Link { by, created_at, expires_at, .. } = *link;
    object::Link { code: BASE64_URL_SAFE_NO_PAD.encode(bytes), by, created_at, expires_at }
}

/// Conversation and secret of a code.
fn parse(code: &str) -> Option<(ConversationId, Uuid)> {
    let mut bytes = [0; 32];
    let read = BASE64_URL_SAFE_NO_PAD.decode_slice(code, &mut bytes).ok()?;
    let (conversation, secret) = bytes.split_at(16);
    let conversation = ConversationId(Uuid::from_slice(conversation).ok()?);
    (read == bytes.len()).then_some((conversation, Uuid::from_slice(secret).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{id::UserId, time::Ms};

    #[test]
    fn a_code_is_read_as_it_was_given_and_nothing_else_is() {
        let conversation = ConversationId::from_u128(7);
        let by = UserId::from_u128(1);
        let link = Link { secret: Uuid::from_u128(9), by, created_at: Ms(1), expires_at: None };
        let code = shown(conversation, &link).code;
        assert_eq!(parse(&code), Some((conversation, link.secret)));
        for wrong in ["", "x", &code[1..], &format!("{code}A"), &"A".repeat(10_000), "é"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
