//! A conversation as its shard holds it: where it stands, who is in, how far each has come.
//!
//! Pure: it decides and changes memory; what is durable is the shard's to arrange.

use super::{card::Card, clients::Filter};
use godwit_domain::{
    conversation::{Change, Head, History, Kind, Marks, Member, Meta, Role},
    id::{Seq, UserId},
    message::Message,
    tables::Loaded,
    time::Ms,
};
use godwit_protocol::{
    error::{Code, Error},
    object::MEMBERS_SHOWN_MAX,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

/// How many of the newest messages are read when a conversation is loaded, to find marks that had not been stored yet.
pub const TAIL: u64 = 32;

/// A loaded conversation.
pub struct State {
    pub meta: Arc<Meta>,
    pub head: Head,
    members: BTreeMap<UserId, Member>,
    /// Who is in now: to whom pushes go.
    pub audience: Arc<[UserId]>,
    marks: HashMap<UserId, Marks>,
    /// Marks that rose by sending and are not stored yet. A crash loses nothing: loading finds them again.
    pub unstored: HashSet<UserId>,
    pub last: Option<Arc<Message>>,
    /// Client ids that may have been used; read on the first send.
    pub clients: Option<Filter>,
}

/// A conversation as one member sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// What it is.
    pub meta: Arc<Meta>,
    /// Where it stands.
    pub head: Head,
    /// What the member may do.
    pub role: Role,
    /// The first message that the member may read.
    pub visible_from: Seq,
    /// How many are in.
    pub member_count: u32,
    /// Who, unless they are many.
    pub members: Option<Vec<UserId>>,
    /// How far the member has come.
    pub marks: Marks,
    /// The other one of a direct conversation (oneself, of notes), and how far they have come.
    pub peer: Option<(UserId, Marks)>,
    /// The newest message, where the member may read it.
    pub last: Option<Arc<Message>>,
}

impl State {
    /// What storage has. `tail` are the newest messages, ascending.
    pub fn new(loaded: Loaded, marks: Vec<(UserId, Marks)>, tail: Vec<Message>) -> Self {
        let members = loaded.members.into_iter().map(|member| (member.user, member)).collect();
        let mut state = Self {
            meta: Arc::new(loaded.meta),
            head: loaded.head,
            members,
            audience: Arc::default(),
            marks: marks.into_iter().collect(),
            unstored: HashSet::new(),
            last: None,
            clients: None,
        };
        for message in &tail {
            state.raise_by_sending(message.sender, message.seq);
        }
        state.last = tail.into_iter().next_back().map(Arc::new);
        state.count_audience();
        state
    }

    fn count_audience(&mut self) {
        self.audience =
            self.members.values().filter(|member| member.present()).map(|member| member.user).collect();
    }

    /// The member, if present.
    ///
    /// # Errors
    /// `not_found` to strangers, as if the conversation did not exist; `not_member` to those who were in once.
    pub fn member(&self, user: UserId) -> Result<&Member, Error> {
        match self.members.get(&user) {
            Some(member) if member.present() => Ok(member),
            Some(_) => Err(Error::new(Code::NotMember, "you are no longer in this conversation")),
            None => Err(Error::not_found()),
        }
    }

    /// Whether that user may send here.
    ///
    /// # Errors
    /// See [`State::member`]; `read_only` to readers.
    pub fn may_send(&self, user: UserId) -> Result<(), Error> {
        match self.member(user)?.role {
            Role::Reader => Err(Error::new(Code::ReadOnly, "readers cannot send here")),
            _ => Ok(()),
        }
    }

    /// How far that user has come.
    pub fn marks(&self, user: UserId) -> Marks {
        self.marks.get(&user).copied().unwrap_or_default()
    }

    /// Marks that were made durable.
    pub fn raise(&mut self, user: UserId, to: Marks) {
        let marks = self.marks.entry(user).or_default();
        marks.received = marks.received.max(to.received);
        marks.read = marks.read.max(to.read);
    }

    /// Sending raises the sender's own marks where they stood at the number before.
    pub fn raise_by_sending(&mut self, sender: UserId, seq: Seq) {
        let marks = self.marks.entry(sender).or_default();
        let before = Seq(seq.0 - 1);
        if marks.received == before {
            marks.received = seq;
            self.unstored.insert(sender);
        }
        if marks.read == before {
            marks.read = seq;
            self.unstored.insert(sender);
        }
    }

    /// The marks that rose by sending; the caller stores them. They count as unstored until [`State::stored`].
    pub fn unstored_marks(&self) -> Vec<(UserId, Marks)> {
        self.unstored.iter().map(|user| (*user, self.marks(*user))).collect()
    }

    /// These marks are durable; where they rose meanwhile, what they rose to is not.
    pub fn stored(&mut self, user: UserId, marks: Marks) {
        if self.marks(user) == marks {
            self.unstored.remove(&user);
        }
    }

    /// Takes over a change that is durable.
    pub fn apply(&mut self, change: Change, head: Head) {
        self.head = head;
        match change {
            Change::Create { .. } => {}
            Change::Invite { members, at_seq, .. } => {
                for member in members {
                    self.raise(member.user, Marks { received: at_seq, read: at_seq });
                    self.members.insert(member.user, member);
                }
            }
        }
        self.count_audience();
    }

    /// What filters are told.
    pub fn card(&self) -> Card {
        let members = self.members_after(None).map(|member| (member.user, (member.role, member.joined_at)));
        Card { kind: self.meta.kind, title: self.meta.title.clone(), members: members.collect() }
    }

    /// Everyone who is in, after `after` in order of ids.
    pub fn members_after(&self, after: Option<UserId>) -> impl Iterator<Item = &Member> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.members.range((from, Unbounded)).map(|(_, member)| member).filter(|member| member.present())
    }

    /// Whoever was in once.
    pub fn known(&self, user: UserId) -> Option<&Member> {
        self.members.get(&user)
    }

    /// The conversation as that user sees it.
    ///
    /// # Errors
    /// See [`State::member`].
    pub fn view(&self, user: UserId) -> Result<View, Error> {
        let member = self.member(user)?;
        let visible_from = match (self.meta.history, member.intervals.last()) {
            (History::SinceJoin, Some(interval)) => interval.after_seq.next(),
            _ => Seq(1),
        };
        let peer = (self.meta.kind == Kind::Direct).then(|| {
            let peer = self.audience.iter().copied().find(|other| *other != user).unwrap_or(user);
            (peer, self.marks(peer))
        });
        Ok(View {
            meta: self.meta.clone(),
            head: self.head,
            role: member.role,
            visible_from,
            member_count: self.audience.len() as u32,
            members: (self.audience.len() <= MEMBERS_SHOWN_MAX).then(|| self.audience.to_vec()),
            marks: self.marks(user),
            peer,
            last: self.last.clone().filter(|message| message.seq >= visible_from),
        })
    }

    /// The time of the next message: never before that of the last.
    pub fn next_sent_at(&self, now: Ms) -> Ms {
        self.last.as_ref().map_or(now, |last| now.max(last.sent_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{
        conversation::Interval,
        filter::Verdict,
        id::{ClientId, ConversationId, Rev},
        message::Content,
    };

    fn member(user: u128, after: u64, until: Option<u64>) -> Member {
        Member {
            user: UserId::from_u128(user),
            role: Role::Member,
            joined_at: Ms(1),
            intervals: vec![Interval {
                after_seq: Seq(after),
                after_rev: Rev(0),
                until: until.map(|seq| (Seq(seq), Rev(0))),
            }],
        }
    }

    fn message(seq: u64, sender: u128) -> Message {
        Message {
            conversation: ConversationId::from_u128(7),
            seq: Seq(seq),
            sender: UserId::from_u128(sender),
            client_id: ClientId::from_u128(u128::from(seq)),
            sent_at: Ms(seq),
            content: Content::text("hello"),
            via: None,
            verdict: Verdict::default(),
        }
    }

    fn state(history: History) -> State {
        let meta = Meta {
            id: ConversationId::from_u128(7),
            kind: Kind::Group,
            title: Some("team".into()),
            history,
            created_by: UserId::from_u128(1),
            created_at: Ms(1),
        };
        let head = Head { last_seq: Seq(4), last_rev: Rev(3), changed_at: Ms(4) };
        let members = vec![member(1, 0, None), member(2, 4, None), member(3, 0, Some(2))];
        let marks = vec![(UserId::from_u128(1), Marks { received: Seq(3), read: Seq(2) })];
        State::new(Loaded { meta, head, members }, marks, vec![message(3, 1), message(4, 1)])
    }

    #[test]
    fn marks_that_rose_by_sending_are_found_again_in_the_newest_messages() {
        let mut state = state(History::All);
        assert_eq!(state.marks(UserId::from_u128(1)), Marks { received: Seq(4), read: Seq(4) });
        assert_eq!(state.unstored_marks().len(), 1);
        state.raise(UserId::from_u128(1), Marks { received: Seq(1), read: Seq(1) });
        assert_eq!(state.marks(UserId::from_u128(1)).read, Seq(4), "marks never fall");
    }

    /// A mark was forgotten as unstored when it was handed to storage, so that a `read` in between was answered
    /// before anything was durable.
    #[test]
    fn a_mark_counts_as_unstored_until_just_that_mark_is_durable() {
        let mut state = state(History::All);
        let user = UserId::from_u128(1);
        let on_its_way = state.unstored_marks();
        assert!(state.unstored.contains(&user));
        state.raise_by_sending(user, Seq(5));
        state.stored(user, on_its_way[0].1);
        assert!(state.unstored.contains(&user), "it rose meanwhile");
        state.stored(user, state.marks(user));
        assert!(state.unstored.is_empty());
    }

    #[test]
    fn strangers_find_nothing_and_those_who_left_are_told_so() {
        let state = state(History::All);
        assert_eq!(state.member(UserId::from_u128(9)).unwrap_err().code, Code::NotFound);
        assert_eq!(state.member(UserId::from_u128(3)).unwrap_err().code, Code::NotMember);
        assert_eq!(state.view(UserId::from_u128(1)).unwrap().member_count, 2);
    }

    #[test]
    fn a_newcomer_sees_the_past_only_where_history_is_for_all() {
        let newcomer = UserId::from_u128(2);
        let view = state(History::All).view(newcomer).unwrap();
        assert_eq!((view.visible_from, view.last.is_some()), (Seq(1), true));
        let view = state(History::SinceJoin).view(newcomer).unwrap();
        assert_eq!((view.visible_from, view.last.is_some()), (Seq(5), false));
    }
}
