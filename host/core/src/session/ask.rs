//! Requests that read, or change membership: each runs in a task of its own and answers by itself.

use super::send::check_client_id;
use crate::{
    host::Host,
    outbox::Reply,
    sequencer::{self, Opening, View, newcomer, unknown_user},
    view::{self, Place},
};
use futures_util::future::join_all;
use godwit_domain::{
    conversation::{History, Kind, Meta, Role, created_id},
    id::{Rev, Seq, SessionId, UserId},
    message::Message,
    user::User,
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{
        self, Conversation, Conversations, Create, Direct, HistoryRequest, Invite, Members, Request, Users,
    },
};
use serde::Serialize;
use std::{
    collections::{HashMap, HashSet},
    ops::RangeInclusive,
    sync::Arc,
};

/// The most bytes of bodies in one page of history.
const PAGE_BYTES_MAX: usize = 128 * 1024;
/// The longest title, in characters.
const TITLE_CHARS_MAX: usize = 100;

/// Who asks.
pub struct Asker {
    pub host: Arc<Host>,
    pub user: Arc<User>,
    pub session: SessionId,
}

#[derive(Serialize)]
struct One<'a> {
    conversation: object::Conversation<'a>,
}

#[derive(Serialize)]
struct ManyConversations<'a> {
    conversations: Vec<object::Conversation<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ManyMembers {
    members: Vec<object::Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<UserId>,
}

#[derive(Serialize)]
struct ManyUsers<'a> {
    users: Vec<object::User<'a>>,
}

#[derive(Serialize)]
struct Revised {
    rev: Rev,
}

#[derive(Serialize)]
struct PageOfHistory<'a> {
    messages: Vec<object::Message<'a>>,
    gone: Vec<object::Gone>,
    as_of_rev: Rev,
    more: bool,
}

impl Asker {
    /// Answers one request.
    pub async fn answer(self, request: Request, reply: Reply) {
        let id = reply.id();
        let answer = match request {
            Request::Direct(direct) => self.direct(id, direct).await,
            Request::Create(create) => self.create(id, create).await,
            Request::Invite(invite) => self.invite(id, invite).await,
            Request::Members(members) => self.members(id, members).await,
            Request::Conversation(asked) => self.conversation(id, asked).await,
            Request::Conversations(asked) => self.conversations(id, asked).await,
            Request::History(asked) => self.history(id, asked).await,
            Request::Users(asked) => self.users(id, asked).await,
            Request::Connect(_)
            | Request::Renew(_)
            | Request::Send(_)
            | Request::Received(_)
            | Request::Read(_) => Err(Error::new(Code::Internal, "the session answers this by itself")),
        };
        match answer {
            Ok(frame) => reply.frame(frame),
            Err(error) => {
                self.host.parts.metrics.refused(error.code);
                reply.error(&error);
            }
        }
    }

    async fn direct(&self, id: u64, direct: Direct) -> Result<Vec<u8>, Error> {
        let peer = if direct.user == self.user.id {
            self.user.clone()
        } else {
            let found = self.host.parts.accounts.users(&[direct.user]).await?.into_iter().next();
            Arc::new(found.ok_or_else(|| unknown_user(direct.user).field("user"))?)
        };
        let opening = sequencer::direct(&self.user, &peer, self.session, self.host.parts.clock.now());
        let view = self.host.sequencer.open(opening).await?;
        let conversation = view::object(&view, self.user.id, Some(&peer));
        Ok(encode::ok(id, &One { conversation }))
    }

    async fn create(&self, id: u64, create: Create) -> Result<Vec<u8>, Error> {
        check_create(&create)?;
        check_client_id(create.client_id, self.host.parts.clock.now())?;
        let mut others = self.known(&create.members, "members").await?;
        others.retain(|user| *user != self.user.id);
        let limits = &self.host.parts.limits;
        if others.len() + 1 > limits.members_max {
            let text = format!("{} members, the limit is {}", others.len() + 1, limits.members_max);
            return Err(Error::invalid("members", text));
        }
        let now = self.host.parts.clock.now();
        let member = |user, role| newcomer(user, role, Seq::ZERO, Rev::ZERO, now);
        let mut members = vec![member(self.user.id, Role::Owner)];
        members.extend(others.into_iter().map(|user| member(user, Role::Member)));
        let meta = Meta {
            id: created_id(self.user.id, create.client_id),
            kind: Kind::Group,
            title: Some(create.title),
            history: create.history.unwrap_or(History::All),
            created_by: self.user.id,
            created_at: now,
        };
        let opening = Opening { meta, members, users: Vec::new(), session: self.session };
        let view = self.host.sequencer.open(opening).await?;
        Ok(encode::ok(id, &One { conversation: view::object(&view, self.user.id, None) }))
    }

    async fn invite(&self, id: u64, invite: Invite) -> Result<Vec<u8>, Error> {
        // Whoever may not see the conversation learns nothing, not even which users exist.
        self.host.sequencer.view(invite.conversation, self.user.id).await?;
        let users = self.known(&invite.users, "users").await?;
        let rev = self.host.sequencer.invite(invite.conversation, self.user.id, users).await?;
        Ok(encode::ok(id, &Revised { rev }))
    }

    /// The users of a request, each once.
    async fn known(&self, users: &[UserId], field: &str) -> Result<Vec<UserId>, Error> {
        let max = self.host.parts.limits.users_per_request_max;
        if users.len() > max {
            return Err(Error::invalid(field, format!("{} users, the limit is {max}", users.len())));
        }
        let mut seen = HashSet::new();
        let unique: Vec<_> = users.iter().copied().filter(|user| seen.insert(*user)).collect();
        let known: HashSet<_> =
            self.host.parts.accounts.users(&unique).await?.into_iter().map(|user| user.id).collect();
        match unique.iter().find(|user| !known.contains(user)) {
            Some(unknown) => Err(unknown_user(*unknown).field(field)),
            None => Ok(unique),
        }
    }

    async fn members(&self, id: u64, members: Members) -> Result<Vec<u8>, Error> {
        let limit = request::limit(members.limit)?;
        let unreadable = |_| Error::invalid("page", "`page` is not one that this list gave");
        let after = members.page.map(|page| page.parse().map(UserId)).transpose().map_err(unreadable)?;
        let (conversation, user) = (members.conversation, self.user.id);
        let mut page = self.host.sequencer.members(conversation, user, after, limit + 1).await?;
        let more = page.len() > limit;
        page.truncate(limit);
        let next = page.last().filter(|_| more).map(|last| last.user);
        let members = page
            .iter()
            .map(|member| object::Member {
                user: member.user,
                role: member.role,
                joined_at: member.joined_at,
            })
            .collect();
        Ok(encode::ok(id, &ManyMembers { members, next }))
    }

    async fn conversation(&self, id: u64, asked: Conversation) -> Result<Vec<u8>, Error> {
        let view = self.host.sequencer.view(asked.conversation, self.user.id).await?;
        let listed = with_peers(&self.host, vec![view]).await?;
        let shown = listed.first().map(|(view, peer)| view::object(view, self.user.id, peer.as_deref()));
        let conversation = shown.ok_or_else(Error::not_found)?;
        Ok(encode::ok(id, &One { conversation }))
    }

    async fn conversations(&self, id: u64, asked: Conversations) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let after = asked.page.map(|page| page.parse::<Place>()).transpose()?;
        // Nothing can be archived yet.
        let limit = if asked.archived == Some(true) { 0 } else { limit };
        let (listed, next) = list(&self.host, self.user.id, after, limit).await?;
        let conversations =
            listed.iter().map(|(view, peer)| view::object(view, self.user.id, peer.as_deref())).collect();
        let next = next.filter(|_| limit > 0).map(|place| place.to_string());
        Ok(encode::ok(id, &ManyConversations { conversations, next }))
    }

    async fn history(&self, id: u64, asked: HistoryRequest) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)? as u64;
        if asked.thread.is_some() {
            return Err(Error::invalid("thread", "`thread` is not served by this host yet"));
        }
        let conversation = asked.conversation;
        let view = self.host.sequencer.view(conversation, self.user.id).await?;
        let tables = &self.host.parts.conversations;
        let last = view.head.last_seq.0;
        let range = match (asked.before_seq, asked.after_seq, asked.before_ms) {
            (None, Some(after), None) => Wanted::ascending(after.0, last, view.visible_from.0, limit),
            (before, None, None) => {
                let before = before.map_or(last + 1, |before| before.0.min(last + 1));
                Wanted::descending(before, view.visible_from.0, limit)
            }
            (None, None, Some(before)) => {
                let before = tables.first_sent_since(conversation, view.head.last_seq, before).await?;
                Wanted::descending(before.0, view.visible_from.0, limit)
            }
            _ => {
                let text = "only one of `before_seq`, `after_seq` and `before_ms` can be asked";
                return Err(Error::invalid("after_seq", text));
            }
        };
        let messages = match &range.visible {
            Some(visible) => {
                let newest_first = !range.ascending;
                tables.messages(conversation, visible.clone(), newest_first, PAGE_BYTES_MAX).await?
            }
            None => Vec::new(),
        };
        let page = PageOfHistory {
            gone: range.gone(&messages),
            more: range.more(&messages, last),
            messages: messages
                .iter()
                .map(|message| object::Message::new(message, message.sender == self.user.id))
                .collect(),
            as_of_rev: view.head.last_rev,
        };
        Ok(encode::ok(id, &page))
    }

    async fn users(&self, id: u64, asked: Users) -> Result<Vec<u8>, Error> {
        let users = match (asked.query, asked.ids) {
            // Whole names alone: a look-up by parts would let anyone list everyone.
            (Some(name), None) => self.host.parts.accounts.find(&name).await?.into_iter().collect(),
            (None, Some(ids)) => {
                let max = self.host.parts.limits.users_per_request_max;
                if ids.len() > max {
                    return Err(Error::invalid("ids", format!("{} users, the limit is {max}", ids.len())));
                }
                self.host.parts.accounts.users(&ids).await?
            }
            _ => return Err(Error::invalid("query", "one of `query` and `ids` is needed")),
        };
        Ok(encode::ok(id, &ManyUsers { users: users.iter().map(object::User::from).collect() }))
    }
}

fn check_create(create: &Create) -> Result<(), Error> {
    let unserved = [
        ("kind", create.kind == Kind::Channel),
        ("open", create.open == Some(true)),
        ("encrypted", create.encrypted == Some(true)),
        ("ttl_s", create.ttl_s.is_some()),
        ("expires_in_s", create.expires_in_s.is_some()),
    ];
    if create.kind == Kind::Direct {
        return Err(Error::invalid("kind", "`kind` must be `group`; `direct` makes direct conversations"));
    }
    if let Some((field, _)) = unserved.into_iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(field, format!("this `{field}` is not served by this host yet")));
    }
    let characters = create.title.chars().count();
    if create.title.trim().is_empty() || characters > TITLE_CHARS_MAX {
        let text = format!("a title of {characters} characters, it must have 1 to {TITLE_CHARS_MAX}");
        return Err(Error::invalid("title", text));
    }
    Ok(())
}

/// The user's conversations, newest first, after a place: up to `limit` of them, and where to go on.
pub async fn list(
    host: &Host,
    user: UserId,
    after: Option<Place>,
    limit: usize,
) -> Result<(Vec<(View, Option<Arc<User>>)>, Option<Place>), Error> {
    let tables = &host.parts.conversations;
    let ids: Vec<_> = tables.listed(user).await?.into_iter().map(|listed| listed.conversation).collect();
    let heads = tables.heads(&ids).await?;
    let place = |(id, head): (&_, &Option<_>)| {
        let head: &godwit_domain::conversation::Head = head.as_ref()?;
        Some(Place { changed_at: head.changed_at, conversation: *id })
    };
    let mut places: Vec<_> = ids.iter().zip(&heads).filter_map(place).collect();
    places.sort_unstable_by(|a, b| b.cmp(a));
    let from = after.map_or(0, |after| places.partition_point(|place| *place >= after));
    let page = &places[from..places.len().min(from.saturating_add(limit))];
    let next = page.last().copied().filter(|_| from + page.len() < places.len());
    let views = join_all(page.iter().map(|place| host.sequencer.view(place.conversation, user))).await;
    let mut seen = Vec::with_capacity(views.len());
    for view in views {
        match view {
            Ok(view) => seen.push(view),
            // Left meanwhile.
            Err(error) if matches!(error.code, Code::NotFound | Code::NotMember) => {}
            Err(error) => return Err(error),
        }
    }
    Ok((with_peers(host, seen).await?, next))
}

/// Adds the other one of direct conversations.
async fn with_peers(host: &Host, views: Vec<View>) -> Result<Vec<(View, Option<Arc<User>>)>, Error> {
    let ids: Vec<_> = views.iter().filter_map(|view| view.peer.map(|(peer, _)| peer)).collect();
    if ids.is_empty() {
        return Ok(views.into_iter().map(|view| (view, None)).collect());
    }
    let users = host.parts.accounts.users(&ids).await?;
    let users: HashMap<_, _> = users.into_iter().map(|user| (user.id, Arc::new(user))).collect();
    let with_peer = |view: View| {
        let peer = view.peer.and_then(|(peer, _)| users.get(&peer).cloned());
        (view, peer)
    };
    Ok(views.into_iter().map(with_peer).collect())
}

/// The numbers that a page of history is about: a visible stretch, and an invisible one before it.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    ascending: bool,
    invisible: Option<RangeInclusive<Seq>>,
    visible: Option<RangeInclusive<Seq>>,
}

fn stretch(from: u64, to: u64) -> Option<RangeInclusive<Seq>> {
    (from <= to).then_some(Seq(from)..=Seq(to))
}

impl Wanted {
    /// Upwards from `after`.
    fn ascending(after: u64, last: u64, visible_from: u64, limit: u64) -> Self {
        let after = after.min(last);
        let first = visible_from.max(after + 1);
        Self {
            ascending: true,
            invisible: stretch(after + 1, last.min(visible_from - 1)),
            visible: stretch(first, last.min(first.saturating_add(limit - 1))),
        }
    }

    /// Downwards from `before`. What lies before the visible stretch is told with the page that reaches it.
    fn descending(before: u64, visible_from: u64, limit: u64) -> Self {
        let end = before.saturating_sub(1);
        let first = visible_from.max(end.saturating_sub(limit - 1)).max(1);
        let reached = first <= visible_from;
        Self {
            ascending: false,
            invisible: reached.then(|| stretch(1, end.min(visible_from - 1))).flatten(),
            visible: stretch(first, end),
        }
    }

    fn gone(&self, messages: &[Message]) -> Vec<object::Gone> {
        // A page that ends early for its size has not come to what lies before.
        let cut_short = !self.ascending
            && messages
                .first()
                .zip(self.visible.as_ref())
                .is_some_and(|(first, all)| first.seq > *all.start());
        let gone = |range: &RangeInclusive<Seq>| object::Gone {
            from: *range.start(),
            to: *range.end(),
            why: object::Why::NotVisible,
        };
        self.invisible.iter().filter(|_| !cut_short).map(gone).collect()
    }

    /// Whether there are numbers further on in the direction asked.
    fn more(&self, messages: &[Message], last: u64) -> bool {
        match (self.ascending, messages.first(), messages.last()) {
            (true, _, Some(newest)) => newest.seq.0 < last,
            (false, Some(oldest), _) if self.gone(messages).is_empty() => oldest.seq.0 > 1,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pair = Option<(u64, u64)>;

    fn ranges(wanted: &Wanted) -> (Pair, Pair) {
        let pair = |range: &Option<RangeInclusive<Seq>>| range.as_ref().map(|r| (r.start().0, r.end().0));
        (pair(&wanted.invisible), pair(&wanted.visible))
    }

    #[test]
    fn a_page_upwards_begins_after_the_number_and_tells_what_is_not_visible() {
        let up = |after, visible_from| ranges(&Wanted::ascending(after, 10, visible_from, 3));
        assert_eq!(up(0, 1), (None, Some((1, 3))));
        assert_eq!(up(8, 1), (None, Some((9, 10))));
        assert_eq!(up(10, 1), (None, None));
        assert_eq!(up(99, 1), (None, None));
        assert_eq!(up(0, 6), (Some((1, 5)), Some((6, 8))));
        assert_eq!(up(2, 6), (Some((3, 5)), Some((6, 8))));
        assert_eq!(up(0, 11), (Some((1, 10)), None));
    }

    #[test]
    fn a_page_downwards_ends_before_the_number_and_tells_what_is_not_visible() {
        let down = |before, visible_from| ranges(&Wanted::descending(before, visible_from, 3));
        assert_eq!(down(11, 1), (None, Some((8, 10))));
        assert_eq!(down(3, 1), (None, Some((1, 2))));
        assert_eq!(down(1, 1), (None, None));
        assert_eq!(down(0, 1), (None, None));
        assert_eq!(down(11, 9), (Some((1, 8)), Some((9, 10))));
        assert_eq!(down(11, 7), (None, Some((8, 10))));
        assert_eq!(down(5, 7), (Some((1, 4)), None));
    }
}
