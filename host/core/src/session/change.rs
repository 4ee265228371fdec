//! From a request that changes something to an [`Ask`] at its shard: what can be refused at once, and the filters for
//! what other people will read. Handed on in the order in which the requests came.

use super::{Author, send};
use crate::{
    host::Host,
    outbox::Reply,
    review,
    sequencer::{Ask, Deed, Wanted, Wish},
};
use godwit_domain::{
    filter::{Chain, Wording},
    id::{ClientId, ConversationId, Seq},
    message::{Content, Message},
    revision::MetaChange,
};
use godwit_protocol::{
    error::{Code, Error},
    request::{Delete, Edit, Join, Leave, React, Remove, SetRole, Update},
};
use std::sync::Arc;

/// The longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 100;
/// The longest time between two messages of a member, in seconds: a day.
const SLOW_MODE_S_MAX: u32 = 24 * 60 * 60;
/// The longest emoji, in bytes.
const EMOJI_BYTES_MAX: usize = 64;

/// A request that a shard answers with the number of a revision.
pub enum Change {
    Edit(Edit),
    Delete(Delete),
    React(React),
    Remove(Remove),
    Join(Join),
    Leave(Leave),
    SetRole(SetRole),
    Update(Update),
}

type Wanting = (ConversationId, Option<ClientId>, Wanted);

/// Checks, judges and hands on one change. What is refused by a plugin goes through the shard as well, where a repeat of
/// what was done gets its first answer.
pub async fn begin(host: &Arc<Host>, author: Author<'_>, change: Change, reply: Reply) {
    match wanting(host, author, change) {
        Ok((conversation, client_id, mut what)) => {
            let refusal = judge(host, author, conversation, &mut what).await.err();
            let by = author.user.id;
            host.sequencer.change(Ask { conversation, by, client_id, what, refusal, reply }).await;
        }
        Err(error) => {
            host.parts.metrics.refused(error.code);
            reply.error(&error);
        }
    }
}

fn wanting(host: &Host, author: Author<'_>, change: Change) -> Result<Wanting, Error> {
    let (conversation, client_id, what) = match change {
        Change::Edit(edit) => return edited(host, author, edit),
        Change::Delete(Delete { conversation, seq, client_id, .. }) => {
            (conversation, client_id, message(seq, Deed::Delete)?)
        }
        Change::React(React { conversation, seq, emoji, on, client_id }) => {
            check_emoji(&emoji)?;
            (conversation, client_id, message(seq, Deed::React { emoji, on })?)
        }
        Change::Remove(Remove { conversation, user, client_id }) => {
            (conversation, client_id, Wanted::Members(Wish::Remove(user)))
        }
        Change::Join(Join { conversation, code: None, client_id }) => {
            let needed = || Error::invalid("conversation", "one of `conversation` and `code` is needed");
            (conversation.ok_or_else(needed)?, client_id, Wanted::Members(Wish::Join(false)))
        }
        // The session takes these apart: the link is looked up first.
        Change::Join(Join { .. }) => return Err(Error::invalid("code", "`code` cannot be read")),
        Change::Leave(Leave { conversation, client_id }) => {
            (conversation, client_id, Wanted::Members(Wish::Leave))
        }
        Change::SetRole(SetRole { conversation, user, role, client_id }) => {
            (conversation, client_id, Wanted::Members(Wish::SetRole(user, role)))
        }
        Change::Update(update) => updated(update)?,
    };
    check_client_id(host, client_id)?;
    Ok((conversation, client_id, what))
}

fn check_client_id(host: &Host, client_id: Option<ClientId>) -> Result<(), Error> {
    client_id.map_or(Ok(()), |client_id| send::check_client_id(client_id, host.parts.clock.now()))
}

fn message(seq: Seq, deed: Deed) -> Result<Wanted, Error> {
    if seq == Seq::ZERO {
        return Err(Error::invalid("seq", "`seq` is 0, messages count from 1"));
    }
    Ok(Wanted::Message(seq, deed))
}

fn updated(update: Update) -> Result<Wanting, Error> {
    let Update { conversation, title, avatar, open, history, ttl_s, posting, slow_mode_s, client_id } =
        update;
    if ttl_s.is_some() {
        return Err(Error::invalid("ttl_s", "`ttl_s` is not served by this host yet"));
    }
    if let Some(Some(title)) = &title {
        check_title(title)?;
    }
    let slow_mode_s = slow_mode_s.map(Option::unwrap_or_default);
    if let Some(seconds) = slow_mode_s.filter(|seconds| *seconds > SLOW_MODE_S_MAX) {
        let text = format!("`slow_mode_s` is {seconds}, the limit is {SLOW_MODE_S_MAX}");
        return Err(Error::invalid("slow_mode_s", text));
    }
    let change = MetaChange { title, avatar, open, history, posting, slow_mode_s };
    Ok((conversation, client_id, Wanted::Members(Wish::Update(change))))
}

/// Whether an emoji is one.
pub fn check_emoji(emoji: &str) -> Result<(), Error> {
    let bytes = emoji.len();
    if emoji.trim().is_empty() || bytes > EMOJI_BYTES_MAX {
        let text = format!("an emoji of {bytes} bytes, it must have 1 to {EMOJI_BYTES_MAX}");
        return Err(Error::invalid("emoji", text));
    }
    Ok(())
}

/// Whether a title is one.
pub fn check_title(title: &str) -> Result<(), Error> {
    let characters = title.chars().count();
    if title.trim().is_empty() || characters > TITLE_CHARS_MAX {
        let text = format!("a title of {characters} characters, it must have 1 to {TITLE_CHARS_MAX}");
        return Err(Error::invalid("title", text));
    }
    Ok(())
}

/// An edit counts as a message: otherwise anyone could send what passes, and then say what does not.
fn edited(host: &Host, author: Author<'_>, edit: Edit) -> Result<Wanting, Error> {
    let Edit { conversation, seq, body, client_id } = edit;
    check_client_id(host, client_id)?;
    let limits = &host.parts.limits;
    send::check_body(&body, limits.body_bytes_max)?;
    let wanted = message(seq, Deed::Edit(body))?;
    if let Err(ms) = send::take_send(host, author, host.parts.clock.now()) {
        let text = format!("more than {} messages a second", limits.sends_per_s);
        return Err(Error::new(Code::RateLimited, text).retry_after_ms(ms));
    }
    Ok((conversation, client_id, wanted))
}

/// Has the plugins judge what other people will read of a change, and puts in what they make of it.
async fn judge(
    host: &Host,
    author: Author<'_>,
    conversation: ConversationId,
    what: &mut Wanted,
) -> Result<(), Error> {
    let chain = host.parts.filters.pin();
    // Boxed: most changes have nothing to judge, and most hosts nobody who would.
    match what {
        Wanted::Message(seq, Deed::Edit(body)) if !chain.is_empty() => {
            Box::pin(judge_edit(host, author, &*chain, conversation, *seq, body)).await
        }
        Wanted::Message(_, Deed::React { emoji, on: true }) if chain.reviews() => {
            let wording = Wording::Reaction(emoji);
            Box::pin(judge_wording(host, author, &*chain, conversation, wording)).await
        }
        Wanted::Members(Wish::Update(MetaChange { title: Some(Some(title)), .. })) if chain.reviews() => {
            let wording = Wording::Title(title);
            Box::pin(judge_wording(host, author, &*chain, conversation, wording)).await
        }
        _ => Ok(()),
    }
}

async fn judge_wording(
    host: &Host,
    author: Author<'_>,
    chain: &dyn Chain,
    conversation: ConversationId,
    wording: Wording<'_>,
) -> Result<(), Error> {
    let now = host.parts.clock.now();
    let activity = author.person.lately(now, Some(conversation));
    let scene = send::scene(host, author, conversation, None, activity, now).await?;
    review::review(chain, &scene, wording).await
}

/// Plugins are shown what is edited where it is the sender's to edit. Where it is not the shard will say so; its text is
/// judged all the same, so that nothing depends on both having seen the same.
async fn judge_edit(
    host: &Host,
    author: Author<'_>,
    chain: &dyn Chain,
    conversation: ConversationId,
    seq: Seq,
    body: &mut String,
) -> Result<(), Error> {
    let now = host.parts.clock.now();
    let activity = author.person.attempt(now, conversation, None);
    let scene = send::scene(host, author, conversation, None, activity, now).await?;
    let read = host.parts.conversations.messages(conversation, seq..=seq, false, usize::MAX).await?;
    let own = |message: &Message| message.sender == author.user.id && !message.is_deleted();
    let original = read.into_iter().next().filter(own);
    let text = std::mem::take(body);
    let content = match &original {
        Some(original) => Content { body: text, ..original.content.clone() },
        None => Content::text(text),
    };
    let (judgement, _) = chain.judge(&scene, content, original.as_ref()).await;
    *body = send::allowed(judgement)?.body;
    Ok(())
}
