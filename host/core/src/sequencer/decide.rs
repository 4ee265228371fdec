//! Who may change what: a request about members or about the conversation itself becomes a change, or is refused.
//!
//! Pure: it reads the state and decides; what is durable is the slot's to arrange.

use super::{conversation::State, storage::newcomer};
use godwit_domain::{
    conversation::{Head, Kind, Member, Role, Until},
    id::{ClientId, Rev, UserId},
    revision::{Change, MetaChange, Revised, What},
    time::Ms,
};
use godwit_protocol::error::{Code, Error};
use std::collections::HashSet;

/// A change of membership, of roles, or of the conversation itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// These (known to exist) are to come in.
    Invite(Vec<UserId>),
    /// The asker comes in; `true` where somebody who may let them in has invited them by a link.
    Join(bool),
    /// The asker goes.
    Leave,
    /// Another is to go.
    Remove(UserId),
    /// A member is to be something else.
    SetRole(UserId, Role),
    /// The conversation is to be something else.
    Update(MetaChange),
}

/// What is decided with.
pub struct Scene<'a> {
    pub state: &'a State,
    pub by: UserId,
    pub client_id: Option<ClientId>,
    /// The time of change.
    pub at: Ms,
    /// How many members a group may have.
    pub members_max: usize,
}

/// The change that a wish comes to; `None` where there is nothing to change.
///
/// # Errors
/// Why it may not be.
pub fn decide(scene: &Scene<'_>, wish: &Wish) -> Result<Option<Change>, Error> {
    if scene.state.meta.kind == Kind::Direct && !matches!(wish, Wish::Update(_) | Wish::Join(_)) {
        scene.state.member(scene.by)?;
        let text = "the members of a direct conversation are those whom it is between";
        return Err(Error::invalid("conversation", text));
    }
    match wish {
        Wish::Invite(users) => scene.invite(users),
        Wish::Join(invited) => scene.join(*invited),
        Wish::Leave => scene.leave(),
        Wish::Remove(user) => scene.remove(*user),
        Wish::SetRole(user, role) => scene.set_role(*user, *role),
        Wish::Update(change) => scene.update(change),
    }
}

fn forbidden(text: &str) -> Error {
    Error::new(Code::Forbidden, text)
}

impl Scene<'_> {
    /// The asker, who must be in and at least `role`.
    fn at_least(&self, role: Role, else_text: &str) -> Result<&Member, Error> {
        let member = self.state.member(self.by)?;
        if member.role < role { Err(forbidden(else_text)) } else { Ok(member) }
    }

    /// The revisions that something makes, and the members whom it changes. The client id goes with the last.
    fn change(&self, revisions: Vec<What>, members: Vec<Member>) -> Option<Change> {
        let mut revisions: Vec<_> =
            revisions.into_iter().map(|what| Revised { by: self.by, what, client_id: None }).collect();
        if let Some(last) = revisions.last_mut() {
            last.client_id = self.client_id;
        }
        let is_one = !(revisions.is_empty() && members.is_empty());
        is_one.then_some(Change { revisions, meta: None, members })
    }

    /// Whether who comes or goes in that role makes a revision: readers of channels do not.
    fn is_told(&self, role: Role) -> bool {
        self.state.meta.kind != Kind::Channel || role > Role::Reader
    }

    /// The member as it is when it comes in with the revision that many places after the head.
    fn entering(&self, user: UserId, role: Role, nth: usize) -> Member {
        let Head { last_seq, last_rev, .. } = self.state.head;
        let mut member = newcomer(user, role, last_seq, Rev(last_rev.0 + nth as u64), self.at);
        if let Some(known) = self.state.known(user) {
            member.intervals.splice(0..0, known.intervals.iter().copied());
        }
        member
    }

    /// The member as it is when it goes with the revision that many places after the head.
    fn leaving(&self, member: &Member, nth: u64) -> Member {
        let Head { last_seq: seq, last_rev, .. } = self.state.head;
        let mut member = member.clone();
        if let Some(interval) = member.intervals.last_mut() {
            interval.until = Some(Until { seq, rev: Rev(last_rev.0 + nth), at: self.at });
        }
        member
    }

    fn room_for(&self, more: usize, field: &str) -> Result<(), Error> {
        let count = self.state.member_count() + more;
        if count > self.members_max {
            let text = format!("{count} members would be in, the limit is {}", self.members_max);
            return Err(Error::invalid(field, text));
        }
        Ok(())
    }

    fn invite(&self, users: &[UserId]) -> Result<Option<Change>, Error> {
        self.at_least(Role::Admin, "admins and owners invite, you are neither")?;
        let mut seen = HashSet::new();
        let outside =
            |user: &&UserId| seen.insert(**user) && !self.state.known(**user).is_some_and(Member::present);
        let role = self.state.meta.newcomer();
        let is_told = self.is_told(role);
        let members: Vec<_> = users
            .iter()
            .filter(outside)
            .enumerate()
            .map(|(nth, user)| self.entering(*user, role, if is_told { nth } else { 0 }))
            .collect();
        self.room_for(members.len(), "users")?;
        let join = |member: &Member| What::Join { user: member.user, role: member.role };
        Ok(self.change(members.iter().filter(|_| is_told).map(join).collect(), members))
    }

    fn join(&self, invited: bool) -> Result<Option<Change>, Error> {
        match self.state.member(self.by) {
            Ok(_) => return Ok(None),
            Err(_) if self.state.meta.open || invited => {}
            Err(error) if error.code == Code::NotMember => {
                return Err(forbidden("the conversation is not open: somebody must invite you"));
            }
            Err(error) => return Err(error),
        }
        self.room_for(1, "conversation")?;
        let role = self.state.meta.newcomer();
        let member = self.entering(self.by, role, 0);
        let join = self.is_told(role).then_some(What::Join { user: member.user, role });
        Ok(self.change(join.into_iter().collect(), vec![member]))
    }

    fn leave(&self) -> Result<Option<Change>, Error> {
        let member = match self.state.member(self.by) {
            Ok(member) => member,
            Err(_) if self.state.known(self.by).is_some() => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut revisions = Vec::with_capacity(2);
        let mut members = Vec::with_capacity(2);
        let others = || self.state.members_after(None).filter(|other| other.user != self.by);
        if member.role == Role::Owner && !others().any(|other| other.role == Role::Owner) {
            // The highest role first, then whoever is in for the longest time; within a millisecond revisions tell.
            let since = |other: &Member| (other.joined_at, other.intervals.last().map(|last| last.after_rev));
            let heir = others().min_by_key(|other| (std::cmp::Reverse(other.role), since(other), other.user));
            if let Some(heir) = heir {
                revisions.push(What::Role { user: heir.user, role: Role::Owner });
                members.push(Member { role: Role::Owner, ..heir.clone() });
            }
        }
        if self.is_told(member.role) {
            revisions.push(What::Leave { user: self.by, reason: None });
        }
        members.push(self.leaving(member, revisions.len() as u64));
        Ok(self.change(revisions, members))
    }

    fn remove(&self, user: UserId) -> Result<Option<Change>, Error> {
        let by = self.at_least(Role::Admin, "admins and owners remove people, you are neither")?;
        if user == self.by {
            return Err(Error::invalid("user", "nobody removes themselves: `leave` does that"));
        }
        let Some(member) = self.state.known(user).filter(|member| member.present()) else { return Ok(None) };
        if by.role != Role::Owner && member.role >= by.role {
            return Err(forbidden("an admin removes those below admin"));
        }
        let leave = self.is_told(member.role).then_some(What::Leave { user, reason: None });
        let left = self.leaving(member, u64::from(leave.is_some()));
        Ok(self.change(leave.into_iter().collect(), vec![left]))
    }

    fn set_role(&self, user: UserId, role: Role) -> Result<Option<Change>, Error> {
        self.at_least(Role::Owner, "owners say what others may do, you are none")?;
        let Some(member) = self.state.known(user).filter(|member| member.present()) else {
            return Err(Error::invalid("user", format!("{user} is not in this conversation")));
        };
        if member.role == role {
            return Ok(None);
        }
        let owners = self.state.members_after(None).filter(|member| member.role == Role::Owner).count();
        if member.role == Role::Owner && owners == 1 {
            return Err(Error::invalid("role", "the last owner stays one: name another first"));
        }
        let member = Member { role, ..member.clone() };
        Ok(self.change(vec![What::Role { user, role }], vec![member]))
    }

    fn update(&self, change: &MetaChange) -> Result<Option<Change>, Error> {
        self.at_least(Role::Admin, "admins and owners change the conversation, you are neither")?;
        let meta = &self.state.meta;
        let change = change.clone().against(meta);
        if change == MetaChange::default() {
            return Ok(None);
        }
        let meta = change.applied(meta);
        Ok(self.change(vec![What::Meta(change)], Vec::new()).map(|made| Change { meta: Some(meta), ..made }))
    }
}
