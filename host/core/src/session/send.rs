//! From a `send` to a draft at its shard: what can be refused at once, then the filters.
//!
//! The filters run here, in the sender's own task: a slow plugin delays that sender alone. What is refused goes
//! through the shard as well, where a repeat of an accepted message finds its first answer and replies keep their
//! order (`host/decisions/0005-the-way-of-a-message.md`).

use super::Author;
use crate::{
    host::Host,
    outbox::Reply,
    review,
    sequencer::{CLIENT_ID_AGE_MS_MAX, Doubt, Draft, Standing, UNHEARD, Waiter, unheard},
};
use godwit_domain::{
    conversation::{Kind, Role, direct_id},
    filter::{Activity, Chain, Judgement, Place, Scene, Verdict},
    held::Why,
    id::{ClientId, ConversationId, UserId},
    message::{self, Content},
    time::Ms,
};
use godwit_protocol::{
    error::{Code, Error},
    request::{Send, Target},
};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// How far ahead of the host's clock a client id may be, in milliseconds.
const CLIENT_ID_AHEAD_MS_MAX: u64 = 10 * 60 * 1000;
/// How many people a message may mention.
const MENTIONS_MAX: usize = 100;

/// Checks, judges and hands on one send; whether the sender went beyond its rate.
pub async fn begin(host: &Arc<Host>, author: Author<'_>, send: Send, reply: Reply) -> bool {
    let now = host.parts.clock.now();
    let (conversation, to) = match send.target() {
        Ok(Target::Conversation(conversation)) => (conversation, None),
        Ok(Target::User(user)) => (direct_id(author.user.id, user), Some(user)),
        Err(error) => {
            reply.error(&error);
            return false;
        }
    };
    let limits = &host.parts.limits;
    let limited = take_send(host, author, now).err();
    let unknowable = check_client_id(send.client_id, now).err();
    let is_unknowable = unknowable.is_some();
    let refusal = match limited {
        _ if is_unknowable => unknowable,
        Some(retry_after_ms) => {
            let text = format!("more than {} messages a second", limits.sends_per_s);
            Some(Error::new(Code::RateLimited, text).retry_after_ms(retry_after_ms))
        }
        None => check_content(&send, author, limits.body_bytes_max).err(),
    };
    let mut draft = Draft {
        conversation,
        to,
        sender: author.user.clone(),
        session: author.session,
        client_id: send.client_id,
        content_hash: content_hash(&send),
        after: send.after,
        content: Content {
            reply_to: send.reply_to,
            thread: send.thread,
            mentions: send.mentions,
            kind: send.kind.unwrap_or(message::Kind::Text),
            ..Content::text(send.body)
        },
        sent: None,
        verdict: Verdict::default(),
        activity: Activity::default(),
        refusal,
        doubt: None,
        waiter: Waiter::Sender(reply),
        judging: None,
    };
    let chain = host.parts.filters.pin();
    draft.verdict.generation = chain.generation();
    if draft.refusal.is_none() && !chain.is_empty() {
        draft.judging = Some(author.person.enter(conversation, draft.client_id).await);
        judge(host, author, &*chain, &mut draft, now).await;
    }
    if let Some(error) = &draft.refusal {
        host.parts.metrics.refused(error.code);
    }
    if is_unknowable {
        // Its client id tells nothing, and is not looked up; but its answer has its place behind earlier ones.
        host.sequencer.send_fresh(draft).await;
    } else {
        host.sequencer.send(draft).await;
    }
    limited.is_some()
}

/// Takes one message from what a user may send.
///
/// # Errors
/// In how many milliseconds there will be one again.
pub fn take_send(host: &Host, author: Author<'_>, now: Ms) -> Result<(), u64> {
    let limits = &host.parts.limits;
    match author.session {
        Some(_) => author.person.take_send(now, limits.sends_per_s, limits.sends_burst),
        None => Ok(()),
    }
}

/// Whether a client id is of version 7 and within its time.
pub fn check_client_id(client_id: ClientId, now: Ms) -> Result<(), Error> {
    let Some(made_at) = client_id.made_at() else {
        return Err(Error::invalid("client_id", "`client_id` must be a UUID of version 7"));
    };
    if made_at > now.plus(CLIENT_ID_AHEAD_MS_MAX) {
        let ahead = made_at.since(now);
        let text =
            format!("`client_id` is {ahead} ms ahead of the host, the limit is {CLIENT_ID_AHEAD_MS_MAX}");
        return Err(Error::invalid("client_id", text));
    }
    if made_at < now.minus(CLIENT_ID_AGE_MS_MAX) {
        let text = "`client_id` is more than 7 days old: whether it was used is no longer known";
        return Err(Error::new(Code::ClientIdExpired, text).field("client_id"));
    }
    Ok(())
}

fn check_content(send: &Send, author: Author<'_>, body_bytes_max: usize) -> Result<(), Error> {
    if let Some(field) = send.unserved() {
        return Err(Error::invalid(field, format!("`{field}` is not served by this host yet")));
    }
    let is_plugin = author.session.is_none();
    let may_be = |kind| kind == message::Kind::Text || (is_plugin && kind == message::Kind::System);
    if send.kind.is_some_and(|kind| !may_be(kind)) {
        return Err(Error::invalid("kind", "`kind` must be `text`"));
    }
    if send.mentions.len() > MENTIONS_MAX {
        let text = format!("{} mentions, the limit is {MENTIONS_MAX}", send.mentions.len());
        return Err(Error::invalid("mentions", text));
    }
    check_body(&send.body, body_bytes_max)
}

/// Whether a text is one.
pub fn check_body(body: &str, bytes_max: usize) -> Result<(), Error> {
    if body.is_empty() {
        return Err(Error::invalid("body", "`body` is empty"));
    }
    let bytes = body.len();
    if bytes > bytes_max {
        let text = format!("`body` has {bytes} bytes, the limit is {bytes_max}");
        return Err(Error::new(Code::TooLarge, text).field("body"));
    }
    Ok(())
}

/// Tells contents apart as they were sent, for as long as a client id is remembered: stored, so it must stay the same
/// in every version of the host. What later kinds of content add is hashed after what there is.
fn content_hash(send: &Send) -> u64 {
    let hash = xxh3_64_with_seed(send.body.as_bytes(), send.kind.unwrap_or(message::Kind::Text) as u64);
    if send.reply_to.is_none() && send.thread.is_none() && send.mentions.is_empty() {
        return hash;
    }
    let mut refers = Vec::with_capacity(16 + 16 * send.mentions.len());
    for seq in [send.reply_to, send.thread] {
        refers.extend(seq.unwrap_or_default().0.to_be_bytes());
    }
    refers.extend(send.mentions.iter().flat_map(|user| *user.as_bytes()));
    xxh3_64_with_seed(&refers, hash)
}

async fn judge(host: &Host, author: Author<'_>, chain: &dyn Chain, draft: &mut Draft, now: Ms) {
    let body_hash = (draft.content.kind != message::Kind::Encrypted).then_some(draft.content_hash);
    let activity = author.person.attempt(now, draft.conversation, body_hash);
    let scene = match scene(host, author, draft.conversation, draft.to, activity, now).await {
        Ok(scene) => scene,
        Err(error) => {
            draft.refusal = Some(error);
            return;
        }
    };
    let content = std::mem::replace(&mut draft.content, Content::text(String::new()));
    draft.activity = scene.activity;
    draft.sent = chain.rewrites().then(|| Box::new(content.clone()));
    let (judgement, verdict) = chain.judge(&scene, content, None).await;
    draft.verdict = verdict;
    let doubt = |why, reason: &str| Some(Doubt { why, reason: reason.to_owned() });
    (draft.content, draft.doubt) = match judgement {
        Judgement::Hold { reason, content, .. } => (content, doubt(Why::Decided, reason.shown())),
        Judgement::Failed { held: Some(content), .. } => (content, doubt(Why::Failed, UNHEARD)),
        judgement => match allowed(judgement) {
            Ok(content) => (content, None),
            Err(error) => {
                draft.refusal = Some(error);
                return;
            }
        },
    };
}

/// What filters are told beside the content.
///
/// # Errors
/// Why the sender has nothing to say there, in the words of the shard.
pub async fn scene(
    host: &Host,
    author: Author<'_>,
    conversation: ConversationId,
    to: Option<UserId>,
    activity: Activity,
    now: Ms,
) -> Result<Scene, Error> {
    let (place, role, member_since) = standing(host, conversation, author.user.id, to).await?;
    Ok(Scene {
        now,
        conversation: Some(place),
        sender: author.user.clone(),
        sender_role: Some(role),
        activity: Activity { member_since, ..activity },
        via: author.user.bot.then(|| author.user.name.clone()),
    })
}

/// The content that people may read, of what cannot be on hold.
///
/// # Errors
/// Why there is none.
pub fn allowed(judgement: Judgement) -> Result<Content, Error> {
    match judgement {
        Judgement::Allow(content) => Ok(content),
        Judgement::Reject { reason, .. } => Err(review::refused(reason)),
        Judgement::Hold { plugin, reason, .. } => Err(review::doubted(plugin, &reason)),
        Judgement::Failed { plugin, hook, how, .. } => Err(unheard(plugin, hook, how)),
    }
}

type Stands = (Place, Role, Option<Ms>);

/// What filters are told of the conversation and of the sender's place in it.
async fn standing(
    host: &Host,
    conversation: ConversationId,
    user: UserId,
    to: Option<UserId>,
) -> Result<Stands, Error> {
    let mut card = host.cards.get(conversation);
    if card.is_none() {
        match Box::pin(host.sequencer.view(conversation, user)).await {
            Ok(_) => card = host.cards.get(conversation),
            // The first message to someone: the conversation is made when it is accepted.
            Err(error) if error.code == Code::NotFound && to.is_some() => {
                let member_count = if to == Some(user) { 1 } else { 2 };
                let (kind, title, labels) = (Kind::Direct, None, Vec::new());
                let place = Place { id: conversation, kind, title, member_count, encrypted: false, labels };
                return Ok((place, Role::Member, None));
            }
            Err(error) => return Err(error),
        }
    }
    let Some(card) = card else {
        return Err(Error::new(Code::Unavailable, "the conversation cannot be read now; try again"));
    };
    let Some((role, joined_at)) = card.members.get(&user).copied() else {
        // The shard knows the right words for who is not in, and the readers of a channel.
        let view = Box::pin(host.sequencer.view(conversation, user)).await?;
        return match view.standing {
            Standing::In => Ok((card.place.clone(), view.role, None)),
            Standing::Left | Standing::Outside => Err(Error::not_found()),
        };
    };
    Ok((card.place.clone(), role, Some(joined_at)))
}
