//! Requests that read, or change membership: each runs in a task of its own and answers by itself.

mod commands;
mod contacts;
mod discover;
mod held;
mod history;
mod links;
mod people;
mod revisions;
mod settings;

pub use people::{AllPresence, each_once};

use super::{
    change::check_title,
    listing,
    resume::{self, Changed},
    send::check_client_id,
};
use crate::{
    host::Host,
    outbox::Reply,
    review,
    sequencer::{self, Ask, Opening, Wanted, Wish, blocked, newcomer, unknown_user},
    view::{self, Place},
};
use godwit_domain::{
    conversation::{History, Kind, Meta, Posting, Role, created_id},
    filter::Wording,
    id::{ConversationId, Rev, Seq, SessionId, UserId},
    user::User,
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
    request::{self, Conversation, Conversations, Create, Direct, Invite, Members, Request, Sync},
};
use serde::Serialize;
use std::{collections::HashSet, sync::Arc};

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
struct Synced<'a> {
    conversations: Vec<object::Conversation<'a>>,
    contacts: Vec<object::Contact<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct ManyMembers {
    members: Vec<object::Member>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<UserId>,
}

impl Asker {
    /// Answers one request.
    pub async fn answer(self, request: Request, reply: Reply) {
        let id = reply.id();
        let answer = match request {
            Request::Invite(invite) => return self.invite(invite, reply).await,
            Request::Join(join) => return self.join_by_link(join, reply).await,
            Request::Link(asked) => self.link(id, asked).await,
            Request::Links(asked) => self.links(id, asked).await,
            Request::Unlink(asked) => self.unlink(id, asked).await,
            Request::Sync(sync) => self.sync(id, &sync).await,
            Request::Delete(delete) => self.hide(id, delete).await,
            Request::Revisions(asked) => self.revisions(id, asked).await,
            Request::Reactions(asked) => self.reactions(id, asked).await,
            Request::Receipts(asked) => self.receipts(id, asked).await,
            Request::Hidden(asked) => self.hidden(id, asked).await,
            Request::Direct(direct) => self.direct(id, direct).await,
            Request::Create(create) => self.create(id, create).await,
            Request::Discover(asked) => self.discover(id, asked).await,
            Request::Members(members) => self.members(id, members).await,
            Request::Conversation(asked) => self.conversation(id, asked).await,
            Request::Conversations(asked) => self.conversations(id, asked).await,
            Request::History(asked) => self.history(id, asked).await,
            Request::Held(asked) => self.held(id, asked).await,
            Request::Release(asked) => self.release(id, asked).await,
            Request::Reject(asked) => self.reject(id, asked).await,
            Request::Users(asked) => self.users(id, asked).await,
            Request::Commands(asked) => self.commands(id, asked).await,
            Request::Command(asked) => self.command(id, asked).await,
            Request::Profile(asked) => self.profile(id, asked).await,
            Request::Presence(asked) => self.presence(id, asked).await,
            Request::Contacts(asked) => self.contacts(id, asked).await,
            Request::Contact(asked) => self.contact(id, asked).await,
            Request::Settings(asked) => self.settings(id, asked).await,
            Request::Connect(_)
            | Request::Renew(_)
            | Request::Send(_)
            | Request::Received(_)
            | Request::Read(_)
            | Request::Follow(_)
            | Request::Unfollow(_)
            | Request::Active(_)
            | Request::Watch(_)
            | Request::Typing(_)
            | Request::Edit(_)
            | Request::React(_)
            | Request::Remove(_)
            | Request::Leave(_)
            | Request::SetRole(_)
            | Request::Update(_) => Err(Error::new(Code::Internal, "the session answers this by itself")),
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
        let opening = sequencer::direct(&self.user, &peer, self.host.parts.clock.now());
        self.open(id, opening).await
    }

    async fn create(&self, id: u64, create: Create) -> Result<Vec<u8>, Error> {
        check_create(&create)?;
        check_client_id(create.client_id, self.host.parts.clock.now())?;
        let mut others = self.known(&create.members, "members").await?;
        self.unblocked(&others, "members").await?;
        others.retain(|user| *user != self.user.id);
        let max = self.host.parts.limits.members(create.kind);
        if others.len() + 1 > max {
            let text = format!("{} members, the limit is {max}", others.len() + 1);
            return Err(Error::invalid("members", text));
        }
        let conversation = created_id(self.user.id, create.client_id);
        self.review_title(conversation, &create.title).await?;
        let now = self.host.parts.clock.now();
        let member = |user, role| newcomer(user, role, Seq::ZERO, Rev::ZERO, now);
        let mut members = vec![member(self.user.id, Role::Owner)];
        let meta = Meta {
            id: conversation,
            kind: create.kind,
            title: Some(create.title),
            avatar: None,
            open: create.open.unwrap_or(false),
            history: create.history.unwrap_or(History::All),
            posting: Posting::Members,
            slow_mode_s: 0,
            labels: Vec::new(),
            created_by: self.user.id,
            created_at: now,
        };
        members.extend(others.into_iter().map(|user| member(user, meta.newcomer())));
        let opening = Opening { meta, members, users: Vec::new() };
        self.open(id, opening).await
    }

    /// Has the title of a conversation judged that is to be made, unless it was made before: a repeat gets what there is.
    async fn review_title(&self, conversation: ConversationId, title: &str) -> Result<(), Error> {
        let chain = self.host.parts.filters.pin();
        if !chain.reviews() {
            return Ok(());
        }
        match self.host.sequencer.view(conversation, self.user.id).await {
            Err(error) if error.code == Code::NotFound => {}
            made => return made.map(drop),
        }
        let now = self.host.parts.clock.now();
        let activity = self.host.people.get(self.user.id).lately(now, None);
        let scene = review::nowhere(self.user.clone(), activity, now);
        review::review(&*chain, &scene, Wording::Title(title)).await
    }

    async fn open(&self, id: u64, opening: Opening) -> Result<Vec<u8>, Error> {
        let view = self.host.sequencer.open(opening).await?;
        let (view, peer) = listing::shown(&self.host, self.user.id, view).await?;
        Ok(encode::ok(id, &One { conversation: view::object(&view, self.user.id, peer.as_deref()) }))
    }

    /// Hands an invitation to its shard once the users are known.
    async fn invite(&self, invite: Invite, reply: Reply) {
        let Invite { conversation, users, client_id } = invite;
        let known = async {
            if let Some(client_id) = client_id {
                check_client_id(client_id, self.host.parts.clock.now())?;
            }
            // Whoever may not see the conversation learns nothing, not even which users exist.
            self.host.sequencer.view(conversation, self.user.id).await?;
            let users = self.known(&users, "users").await?;
            self.unblocked(&users, "users").await?;
            Ok::<_, Error>(users)
        };
        match known.await {
            Ok(users) => {
                let what = Wanted::Members(Wish::Invite(users));
                let ask = Ask { conversation, by: self.user.id, client_id, what, refusal: None, reply };
                self.host.sequencer.change(ask).await;
            }
            Err(error) => {
                self.host.parts.metrics.refused(error.code);
                reply.error(&error);
            }
        }
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

    /// Whether nobody of them and the asker block each other.
    async fn unblocked(&self, users: &[UserId], field: &str) -> Result<(), Error> {
        let circle = self.host.relations.circle(self.user.id).await?;
        match users.iter().any(|user| circle.between(*user).blocked) {
            true => Err(blocked().field(field)),
            false => Ok(()),
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
        let (view, peer) = listing::one(&self.host, self.user.id, asked.conversation).await?;
        Ok(encode::ok(id, &One { conversation: view::object(&view, self.user.id, peer.as_deref()) }))
    }

    async fn sync(&self, id: u64, asked: &Sync) -> Result<Vec<u8>, Error> {
        let Changed { shown, contacts, next } = resume::go_on(&self.host, self.user.id, &asked.page).await?;
        let answer = Synced {
            conversations: self.objects(&shown),
            contacts: contacts.iter().map(object::Contact::from).collect(),
            next: next.map(|page| page.to_string()),
        };
        Ok(encode::ok(id, &answer))
    }

    fn objects<'a>(&self, shown: &'a [listing::Shown]) -> Vec<object::Conversation<'a>> {
        shown.iter().map(|(view, peer)| view::object(view, self.user.id, peer.as_deref())).collect()
    }

    async fn conversations(&self, id: u64, asked: Conversations) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let after = asked.page.map(|page| page.parse::<Place>()).transpose()?;
        let archived = asked.archived.unwrap_or(false);
        let (shown, next) = listing::newest(&self.host, self.user.id, after, limit, Some(archived)).await?;
        let next = next.map(|place| place.to_string());
        Ok(encode::ok(id, &ManyConversations { conversations: self.objects(&shown), next }))
    }
}

fn check_create(create: &Create) -> Result<(), Error> {
    let unserved = [
        ("encrypted", create.encrypted == Some(true)),
        ("ttl_s", create.ttl_s.is_some()),
        ("expires_in_s", create.expires_in_s.is_some()),
    ];
    if create.kind == Kind::Direct {
        return Err(Error::invalid(
            "kind",
            "`kind` must be `group` or `channel`; `direct` makes direct conversations",
        ));
    }
    if let Some((field, _)) = unserved.into_iter().find(|(_, asked)| *asked) {
        return Err(Error::invalid(field, format!("this `{field}` is not served by this host yet")));
    }
    check_title(&create.title)
}
