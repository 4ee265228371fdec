//! What a shard asks of storage, as futures that own all they need, so that the shard's loop never waits for one.

use super::{
    Opening, Ports,
    clients::{Filter, LOOK_BACK_MS},
    conversation::{State, TAIL},
    holdings::Holdings,
    relate::blocked,
};
use crate::{actors::Marked, changes::Stamp, facts::Discretion};
use godwit_domain::{
    contact::Relation,
    conversation::{Head, History, Interval, Kind, Member, Meta, Posting, Role, direct_id},
    held::{Rejection, Settled},
    id::{ClientId, ConversationId, Rev, Seq, UserId},
    message::Accepted,
    revision::{Change, Revised, What},
    tables::Loaded,
    time::Ms,
    user::User,
    waist,
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;

/// The most bytes of bodies that loading a conversation reads.
const TAIL_BYTES_MAX: usize = 256 * 1024;

/// The conversation as storage has it, or `None`.
pub async fn load(ports: &Ports, conversation: ConversationId) -> Result<Option<State>, waist::Error> {
    let tables = &ports.conversations;
    let Some(loaded) = tables.load(conversation).await? else { return Ok(None) };
    let marks = tables.marks(conversation).await?;
    let last = loaded.head.last_seq;
    let tail = if last == Seq::ZERO {
        Vec::new()
    } else {
        let first = Seq(last.0.saturating_sub(TAIL - 1).max(1));
        tables.messages(conversation, first..=last, true, TAIL_BYTES_MAX).await?
    };
    let held = held(ports, conversation, loaded.head).await?;
    let relation = relation(ports, &loaded.meta, &loaded.members).await?;
    let mut state = State::new(loaded, marks, tail);
    state.held = held;
    state.relation = relation;
    // Of everyone who connects it is known; these may not be here.
    for user in state.untold() {
        let account = ports.accounts.account(user).await?;
        let silent = account.is_none_or(|account| !account.user.privacy.receipts);
        let circle = ports.relations.circle(user).await?;
        state.discreet(user, Discretion { silent, circle });
    }
    Ok(Some(state))
}

/// How the two of a direct conversation stand to each other.
async fn relation(ports: &Ports, meta: &Meta, members: &[Member]) -> Result<Relation, waist::Error> {
    match (meta.kind, members) {
        (Kind::Direct, [a, b]) => ports.relation_tables.relation(a.user, b.user).await,
        _ => Ok(Relation::default()),
    }
}

/// The drafts on hold there. One that has its number already is what a crash left: it is taken off hold.
async fn held(ports: &Ports, conversation: ConversationId, head: Head) -> Result<Holdings, waist::Error> {
    let (mut held, mut done) = (Vec::new(), Vec::new());
    for one in ports.held.held(conversation).await? {
        let (sender, client_id) = (one.sender, one.client_id);
        match accepted(ports, conversation, head, sender, client_id).await? {
            Some(_) => done.push(Settled { sender, client_id, rejection: None }),
            None => held.push(one),
        }
    }
    if !done.is_empty() {
        ports.held.settle(conversation, &done, ports.clock.now()).await?;
    }
    Ok(Holdings::new(held))
}

/// A conversation that was just made.
pub struct Opened {
    pub state: State,
    /// As in [`Opening::users`].
    pub users: Vec<Arc<User>>,
    /// Held until it has been told.
    pub stamp: Arc<Stamp>,
    /// The same, for actors.
    pub marked: Vec<Marked>,
}

/// A conversation that was not made, or perhaps was.
pub enum Unopened {
    /// Nothing was written.
    Refused(Error),
    /// Storage did not say how far it came.
    Unknown(Unknown),
}

/// A conversation of which it is not known whether it was made.
pub struct Unknown {
    pub cause: waist::Error,
    /// As in [`Opening::users`].
    pub users: Vec<Arc<User>>,
    /// Under which it was made, if it was.
    pub stamp: Stamp,
    /// As in [`Opened::marked`].
    pub marked: Vec<Marked>,
}

impl From<Error> for Unopened {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}

impl From<waist::Error> for Unopened {
    fn from(error: waist::Error) -> Self {
        Self::Refused(error.into())
    }
}

/// Makes the conversation; `None` where it came to be meanwhile.
pub async fn open(ports: &Ports, opening: Opening) -> Result<Option<Opened>, Unopened> {
    let Opening { meta, members, users } = opening;
    let relation = relation(ports, &meta, &members).await?;
    if relation.is_blocked() {
        return Err(blocked().into());
    }
    let stamp = ports.changes.begin();
    stamp.secured().await?;
    let conversation = meta.id;
    let marked = ports.watch.mark([conversation]).await?;
    let join = |member: &Member| Revised {
        by: meta.created_by,
        what: What::Join { user: member.user, role: member.role },
        client_id: None,
    };
    let revisions = match meta.kind {
        Kind::Direct => Vec::new(),
        Kind::Group => members.iter().map(join).collect(),
        // Readers of channels come without.
        Kind::Channel => members.iter().filter(|member| member.role > Role::Reader).map(join).collect(),
    };
    let change = Change { revisions, meta: Some(meta), members };
    let changed = match ports.conversations.change(conversation, None, &change, stamp.at()).await {
        Ok(changed) => changed,
        Err(cause) => return Err(Unopened::Unknown(Unknown { cause, users, stamp, marked })),
    };
    let (Some((head, _)), Change { meta: Some(meta), members, .. }) = (changed, change) else {
        return Ok(None);
    };
    let mut state = State::new(Loaded { meta, head, members }, Vec::new(), Vec::new());
    state.clients = Some(Filter::empty());
    state.relation = relation;
    Ok(Some(Opened { state, users, stamp: Arc::new(stamp), marked }))
}

/// What opens the direct conversation of a sender with a peer who is known by id alone.
pub async fn opening(ports: &Ports, sender: Arc<User>, peer: UserId) -> Result<Opening, Error> {
    let peer = if peer == sender.id {
        sender.clone()
    } else {
        match ports.accounts.account(peer).await? {
            Some(account) => Arc::new(account.user),
            None => return Err(unknown_user(peer)),
        }
    };
    Ok(direct(&sender, &peer, ports.clock.now()))
}

/// The error that names a user whom nobody knows.
pub fn unknown_user(user: UserId) -> Error {
    Error::new(Code::UnknownUser, format!("no user has the id {user}"))
}

/// The opening of a direct conversation.
pub fn direct(user: &Arc<User>, peer: &Arc<User>, now: Ms) -> Opening {
    let mut users = vec![user.clone()];
    if peer.id != user.id {
        users.push(peer.clone());
    }
    let meta = Meta {
        id: direct_id(user.id, peer.id),
        kind: Kind::Direct,
        title: None,
        avatar: None,
        open: false,
        history: History::All,
        posting: Posting::Members,
        slow_mode_s: 0,
        labels: Vec::new(),
        created_by: user.id,
        created_at: now,
    };
    let members =
        users.iter().map(|user| newcomer(user.id, Role::Member, Seq::ZERO, Rev::ZERO, now)).collect();
    Opening { meta, members, users }
}

/// A member who is in from now on.
pub fn newcomer(user: UserId, role: Role, after_seq: Seq, after_rev: Rev, now: Ms) -> Member {
    Member { user, role, joined_at: now, intervals: vec![Interval { after_seq, after_rev, until: None }] }
}

/// The client ids of the conversation's recent buckets.
pub async fn clients(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    now: Ms,
) -> Result<Filter, waist::Error> {
    let recent = ports.conversations.recent_clients(conversation, head, now.minus(LOOK_BACK_MS)).await?;
    let mut filter = Filter::new(&recent, |seq| ports.conversations.bucket_end(seq));
    for (sender, client) in ports.held.rejected(conversation).await? {
        filter.insert_rejected(sender, client);
    }
    Ok(filter)
}

/// The first answer to a client id, where it was definite.
pub enum Known {
    Accepted(Accepted),
    /// It was on hold before.
    Rejected(Rejection),
}

/// What this client id was answered before.
pub async fn known(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    sender: UserId,
    client: ClientId,
) -> Result<Option<Known>, waist::Error> {
    if let Some(accepted) = accepted(ports, conversation, head, sender, client).await? {
        return Ok(Some(Known::Accepted(accepted)));
    }
    Ok(ports.held.rejection(conversation, sender, client).await?.map(Known::Rejected))
}

/// The number that this client id got.
pub async fn accepted(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    sender: UserId,
    client: ClientId,
) -> Result<Option<Accepted>, waist::Error> {
    let opened_before = client.made_at().unwrap_or_default().minus(LOOK_BACK_MS);
    ports.conversations.accepted(conversation, head, sender, client, opened_before).await
}

/// What this client id of a change was answered before.
pub async fn revised(
    ports: &Ports,
    conversation: ConversationId,
    head: Head,
    by: UserId,
    client: ClientId,
) -> Result<Option<Rev>, waist::Error> {
    let opened_before = client.made_at().unwrap_or_default().minus(LOOK_BACK_MS);
    ports.conversations.revised(conversation, head, by, client, opened_before).await
}
