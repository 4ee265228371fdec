//! A conversation as its shard holds it: where it stands, who is in, how far each has come.
//!
//! Pure: it decides and changes memory; what is durable is the shard's to arrange.

use super::{Draft, card::Card, clients::Filter, holdings::Holdings, relate::blocked, visible::Visible};
use crate::facts::Discretion;
use godwit_domain::{
    contact::Relation,
    conversation::{Head, Kind, Marks, Member, Meta, Rise, Role, Settings},
    id::{ClientId, Seq, UserId},
    message::{Content, Message},
    revision::{Change, Revision},
    tables::Loaded,
    time::Ms,
};
use godwit_protocol::{
    error::{Code, Error},
    object::MEMBERS_SHOWN_MAX,
};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, OnceLock},
};

/// How many of the newest messages are read when a conversation is loaded, to find marks that had not been stored yet.
pub const TAIL: u64 = 32;

/// A loaded conversation.
pub struct State {
    pub meta: Arc<Meta>,
    pub head: Head,
    members: BTreeMap<UserId, Member>,
    /// Who is in now, in order: made when it is asked for, so that those who come to a channel do not cost a list each.
    audience: OnceLock<Arc<[UserId]>>,
    /// How many are in.
    present: usize,
    marks: HashMap<UserId, Marks>,
    /// Marks that rose by sending and are not stored yet. A crash loses nothing: loading finds them again.
    pub unstored: HashSet<UserId>,
    /// Those of them that rose by loading: whether anybody was told of them, nobody knows. With who may not be.
    untold: HashMap<UserId, Discretion>,
    /// Marks that somebody asked for and that storage is making durable.
    pub rising: HashMap<UserId, Marks>,
    pub last: Option<Arc<Message>>,
    /// Client ids that may have been used; read on the first send.
    pub clients: Option<Filter>,
    /// Drafts on hold.
    pub held: Holdings,
    /// How the two of a direct conversation stand to each other; the default of every other.
    pub relation: Relation,
    /// What each sender's newest accepted message is called, which is what `after` names, mostly; and when it was sent.
    newest: HashMap<UserId, (ClientId, Ms)>,
}

/// How somebody stands to a conversation that they may see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They are in.
    In,
    /// They were, and read what they could read then.
    Left,
    /// They never were; it is open.
    Outside,
}

/// A conversation as the host sees it, and somebody's place in it.
#[derive(Debug, Clone)]
pub struct Stand {
    /// What it is.
    pub meta: Arc<Meta>,
    /// Where it stands.
    pub head: Head,
    /// How many are in.
    pub member_count: u32,
    /// The member, whether in or not any more; `None` for who never was.
    pub member: Option<Member>,
    /// What they may read.
    pub visible: Visible,
}

/// A conversation as somebody sees it.
#[derive(Debug, Clone)]
pub struct View {
    /// What it is.
    pub meta: Arc<Meta>,
    /// Where it stands, or stood when they left.
    pub head: Head,
    /// How they stand to it.
    pub standing: Standing,
    /// What they may do.
    pub role: Role,
    /// What they may read.
    pub visible: Visible,
    /// How many are in.
    pub member_count: u32,
    /// Who, unless they are many.
    pub members: Option<Vec<UserId>>,
    /// How far they have come.
    pub marks: Marks,
    /// How many messages they deleted for themselves: the reader of their rows fills it in.
    pub hidden: u64,
    /// What they set for themselves: the reader of their rows fills it in.
    pub settings: Settings,
    /// Whether one of the two of a direct conversation blocks the other: neither sees how far the other has come.
    pub blocked: bool,
    /// The other one of a direct conversation (oneself, of notes), and how far they have come.
    pub peer: Option<(UserId, Marks)>,
    /// The newest message, where they may read it.
    pub last: Option<Arc<Message>>,
}

impl View {
    /// The same, for whoever may read.
    ///
    /// # Errors
    /// `not_member` to those who stand outside.
    pub fn readable(self) -> Result<Self, Error> {
        match self.standing {
            Standing::In | Standing::Left => Ok(self),
            Standing::Outside => Err(outside()),
        }
    }
}

/// How far the members of a conversation have come with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipts {
    /// How many have received it.
    pub received: usize,
    /// How many have read it.
    pub read: usize,
    /// The first [`RECEIPTS_SHOWN_MAX`] members, and how far each has come.
    pub members: Vec<(UserId, Marks)>,
}

/// How many members [`Receipts`] lists.
const RECEIPTS_SHOWN_MAX: usize = 100;

fn outside() -> Error {
    Error::new(Code::NotMember, "you are not in this conversation: `join` lets you in")
}

/// Whether a message refers to what is there.
///
/// # Errors
/// `invalid`, with the field.
pub fn refers(
    content: &Content,
    is_seen: impl Fn(Seq) -> bool,
    is_in: impl Fn(UserId) -> bool,
) -> Result<(), Error> {
    let Content { reply_to, thread, mentions, .. } = content;
    for (field, seq) in [("reply_to", reply_to), ("thread", thread)] {
        if let Some(seq) = seq.filter(|seq| !is_seen(*seq)) {
            return Err(Error::invalid(field, format!("no message {seq} is to be seen here")));
        }
    }
    match mentions.iter().find(|user| !is_in(**user)) {
        Some(user) => Err(Error::invalid("mentions", format!("{user} is not in this conversation"))),
        None => Ok(()),
    }
}

impl State {
    /// What storage has. `tail` are the newest messages, ascending.
    pub fn new(loaded: Loaded, marks: Vec<(UserId, Marks)>, tail: Vec<Message>) -> Self {
        let members: BTreeMap<_, _> =
            loaded.members.into_iter().map(|member| (member.user, member)).collect();
        let mut state = Self {
            meta: Arc::new(loaded.meta),
            head: loaded.head,
            members,
            audience: OnceLock::new(),
            present: 0,
            marks: marks.into_iter().collect(),
            unstored: HashSet::new(),
            untold: HashMap::new(),
            rising: HashMap::new(),
            last: None,
            clients: None,
            held: Holdings::default(),
            relation: Relation::default(),
            newest: HashMap::new(),
        };
        for message in &tail {
            state.raise_by_sending(message.sender, message.seq);
            state.newest.insert(message.sender, (message.client_id, message.sent_at));
        }
        state.untold = state.unstored.iter().map(|user| (*user, Discretion::default())).collect();
        state.last = tail.into_iter().next_back().map(Arc::new);
        state.present = state.members.values().filter(|member| member.present()).count();
        state
    }

    /// Who is in now, in order: to whom pushes go.
    pub fn audience(&self) -> &Arc<[UserId]> {
        self.audience.get_or_init(|| self.members_after(None).map(|member| member.user).collect())
    }

    /// How many are in.
    pub fn member_count(&self) -> usize {
        self.present
    }

    /// The member, if present.
    ///
    /// # Errors
    /// `not_member` to those who were in once, and to all where the conversation is open; else `not_found`, as if it
    /// did not exist.
    pub fn member(&self, user: UserId) -> Result<&Member, Error> {
        match self.members.get(&user) {
            Some(member) if member.present() => Ok(member),
            Some(_) => Err(Error::new(Code::NotMember, "you are no longer in this conversation")),
            None if self.meta.open => Err(outside()),
            None => Err(Error::not_found()),
        }
    }

    /// The member, present or not, and where the conversation stands for them.
    ///
    /// # Errors
    /// See [`State::member`].
    pub fn reader(&self, user: UserId) -> Result<(&Member, Head), Error> {
        let Some(member) = self.members.get(&user) else {
            return Err(if self.meta.open { outside() } else { Error::not_found() });
        };
        let head = member.left().map_or(self.head, |left| Head {
            last_seq: left.seq,
            last_rev: left.rev,
            changed_at: left.at,
            revised_at: left.at,
        });
        Ok((member, head))
    }

    /// What that member may read.
    pub fn visible(&self, member: &Member) -> Visible {
        Visible::of(member, self.meta.history, self.head)
    }

    /// Whether that is what the sender's newest message is called.
    pub fn is_newest(&self, sender: UserId, client: ClientId) -> bool {
        self.newest.get(&sender).is_some_and(|(newest, _)| *newest == client)
    }

    /// Takes over a message that is durable.
    pub fn sent(&mut self, message: Arc<Message>, changed_at: Ms) {
        let changed_at = self.head.changed_at.max(changed_at);
        self.head = Head { last_seq: message.seq, changed_at, revised_at: changed_at, ..self.head };
        self.raise_by_sending(message.sender, message.seq);
        self.newest.insert(message.sender, (message.client_id, message.sent_at));
        self.last = Some(message);
    }

    /// Whether that may be sent here.
    ///
    /// # Errors
    /// See [`State::member`]; `blocked`; `read_only` to readers; `invalid` where it refers to what is not there.
    pub fn may_send(&self, draft: &Draft) -> Result<(), Error> {
        let member = self.member(draft.sender.id)?;
        if self.relation.is_blocked() {
            return Err(blocked());
        }
        if !self.meta.may_post(member.role) {
            let text = if self.meta.may_post(Role::Member) { "readers" } else { "those below admin" };
            return Err(Error::new(Code::ReadOnly, format!("{text} cannot send here")));
        }
        let Content { reply_to, thread, mentions, .. } = &draft.content;
        if reply_to.is_none() && thread.is_none() && mentions.is_empty() {
            return Ok(());
        }
        let visible = self.visible(member);
        refers(&draft.content, |seq| visible.message(seq), |user| self.member(user).is_ok())
    }

    /// Whether that user could be writing here.
    pub fn may_type(&self, user: UserId) -> bool {
        self.member(user).is_ok_and(|member| self.meta.may_post(member.role)) && !self.relation.is_blocked()
    }

    /// Whether the sender waited long enough since the message before.
    ///
    /// # Errors
    /// `rate_limited` in slow mode, with when it is over.
    pub fn may_send_now(&self, sender: UserId, before: Option<Ms>, now: Ms) -> Result<(), Error> {
        let slow_ms = u64::from(self.meta.slow_mode_s) * 1_000;
        let exempt = slow_ms == 0 || self.known(sender).is_some_and(|member| member.role >= Role::Admin);
        let last = before.or_else(|| self.newest.get(&sender).map(|(_, at)| *at)).filter(|_| !exempt);
        match last.map_or(0, |last| last.plus(slow_ms).since(now)) {
            0 => Ok(()),
            wait => {
                let text =
                    format!("a message every {} s, the limit of this slow mode", self.meta.slow_mode_s);
                Err(Error::new(Code::RateLimited, text).retry_after_ms(wait))
            }
        }
    }

    /// How far that user has come.
    pub fn marks(&self, user: UserId) -> Marks {
        self.marks.get(&user).copied().unwrap_or_default()
    }

    /// Marks that were made durable.
    pub fn raise(&mut self, user: UserId, to: Marks) {
        let marks = self.marks.entry(user).or_default();
        *marks = marks.raised(to);
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
    pub fn unstored_marks(&self, at: Ms) -> Vec<Rise> {
        self.unstored.iter().map(|user| self.rise(*user, self.marks(*user), at)).collect()
    }

    /// A mark of that user, as it is to be stored.
    pub fn rise(&self, user: UserId, to: Marks, at: Ms) -> Rise {
        // Who is blocked is not told how far the other has come.
        let direct = self.meta.kind == Kind::Direct && !self.relation.is_blocked();
        let peer = direct.then(|| self.audience().iter().copied().find(|other| *other != user)).flatten();
        Rise { conversation: self.meta.id, user, peer, to, at }
    }

    /// Those whose marks rose by loading.
    pub fn untold(&self) -> Vec<UserId> {
        self.untold.keys().copied().collect()
    }

    /// Who may not hear of a mark that rose by loading.
    pub fn discreet(&mut self, user: UserId, discretion: Discretion) {
        self.untold.insert(user, discretion);
    }

    /// These marks are durable; where they rose meanwhile, what they rose to is not. Where they are to be told, for they
    /// rose by loading: who may not hear of it.
    pub fn stored(&mut self, user: UserId, marks: Marks) -> Option<Discretion> {
        let is_all = self.marks(user) == marks && self.unstored.remove(&user);
        is_all.then(|| self.untold.remove(&user)).flatten()
    }

    /// Takes over a change that is durable, with the revisions that it made.
    pub fn apply(&mut self, change: Change, head: Head, revisions: &[Revision]) {
        self.head = head;
        if let Some(meta) = change.meta {
            self.meta = Arc::new(meta);
        }
        if !change.members.is_empty() {
            self.audience = OnceLock::new();
        }
        for member in change.members {
            if let Some(interval) = member.intervals.last().filter(|_| member.present()) {
                self.raise(member.user, Marks { received: interval.after_seq, read: interval.after_seq });
            }
            let is_in = usize::from(member.present());
            let before = self.members.insert(member.user, member);
            self.present = self.present + is_in - usize::from(before.is_some_and(|before| before.present()));
        }
        if let Some(last) = &mut self.last {
            let about = |revision: &&Revision| revision.what.message() == Some(last.seq);
            if revisions.iter().any(|revision| about(&revision)) {
                let last = Arc::make_mut(last);
                revisions.iter().for_each(|revision| last.revise(revision));
            }
        }
    }

    /// What filters are told. Of the readers of a channel, who are many, nothing is laid out.
    pub fn card(&self) -> Card {
        let is_channel = self.meta.kind == Kind::Channel;
        let members = self.members_after(None).filter(|member| !is_channel || member.role > Role::Reader);
        let members = members.map(|member| (member.user, (member.role, member.joined_at)));
        Card { place: super::place(&self.meta, self.present as u32), members: members.collect() }
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

    /// How far the members who are in have come with a message, those of `left_out` left out, which are in order.
    pub fn receipts(&self, seq: Seq, left_out: &[UserId]) -> Receipts {
        let others = || self.audience().iter().copied().filter(|user| left_out.binary_search(user).is_err());
        // Of a channel it is told how many, never who.
        let shown = if self.meta.kind == Kind::Channel { 0 } else { RECEIPTS_SHOWN_MAX };
        let count =
            |reached: fn(Marks) -> Seq| others().filter(|user| reached(self.marks(*user)) >= seq).count();
        Receipts {
            received: count(|marks| marks.received),
            read: count(|marks| marks.read),
            members: others().take(shown).map(|user| (user, self.marks(user))).collect(),
        }
    }

    /// The conversation as that user sees it.
    ///
    /// # Errors
    /// `not_found` to strangers, unless it is open.
    pub fn view(&self, user: UserId) -> Result<View, Error> {
        let known = self.members.get(&user);
        let (standing, head, role) = match known {
            Some(member) if member.present() => (Standing::In, self.head, member.role),
            Some(member) => (Standing::Left, self.reader(user)?.1, member.role),
            // What joining would make of them.
            None if self.meta.open => (Standing::Outside, self.head, self.meta.newcomer()),
            None => return Err(Error::not_found()),
        };
        let visible = known.map(|member| self.visible(member)).unwrap_or_default();
        let is_in = standing == Standing::In;
        let shows_members = is_in && self.present <= MEMBERS_SHOWN_MAX && self.meta.kind != Kind::Channel;
        let peer = (self.meta.kind == Kind::Direct).then(|| {
            let peer = self.audience().iter().copied().find(|other| *other != user).unwrap_or(user);
            (peer, self.marks(peer))
        });
        // Whoever stands outside has nothing unread.
        let none = Marks { received: head.last_seq, read: head.last_seq };
        Ok(View {
            meta: self.meta.clone(),
            head,
            standing,
            role,
            member_count: self.present as u32,
            members: shows_members.then(|| self.audience().to_vec()),
            marks: if standing == Standing::Outside { none } else { self.marks(user) },
            hidden: 0,
            settings: Settings::default(),
            blocked: self.relation.is_blocked(),
            peer,
            last: self.last.clone().filter(|message| is_in && visible.message(message.seq)),
            visible,
        })
    }

    /// Where the conversation stands, and that user in it.
    pub fn stand(&self, user: UserId) -> Stand {
        let member = self.members.get(&user);
        Stand {
            meta: self.meta.clone(),
            head: self.head,
            member_count: self.present as u32,
            member: member.cloned(),
            visible: member.map(|member| self.visible(member)).unwrap_or_default(),
        }
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
        conversation::{History, Interval, Posting, Until},
        filter::Verdict,
        id::{ConversationId, Rev},
    };

    fn member(user: u128, after: u64, until: Option<u64>) -> Member {
        Member {
            user: UserId::from_u128(user),
            role: Role::Member,
            joined_at: Ms(1),
            intervals: vec![Interval {
                after_seq: Seq(after),
                after_rev: Rev(0),
                until: until.map(|seq| Until { seq: Seq(seq), rev: Rev(0), at: Ms(2) }),
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
            revised: None,
        }
    }

    fn state(history: History) -> State {
        let meta = Meta {
            id: ConversationId::from_u128(7),
            kind: Kind::Group,
            title: Some("team".into()),
            avatar: None,
            open: false,
            history,
            posting: Posting::Members,
            slow_mode_s: 0,
            labels: Vec::new(),
            created_by: UserId::from_u128(1),
            created_at: Ms(1),
        };
        let head = Head { last_seq: Seq(4), last_rev: Rev(3), changed_at: Ms(4), revised_at: Ms(4) };
        let members = vec![member(1, 0, None), member(2, 4, None), member(3, 0, Some(2))];
        let marks = vec![(UserId::from_u128(1), Marks { received: Seq(3), read: Seq(2) })];
        State::new(Loaded { meta, head, members }, marks, vec![message(3, 1), message(4, 1)])
    }

    #[test]
    fn marks_that_rose_by_sending_are_found_again_in_the_newest_messages() {
        let mut state = state(History::All);
        assert_eq!(state.marks(UserId::from_u128(1)), Marks { received: Seq(4), read: Seq(4) });
        assert_eq!(state.unstored_marks(Ms(9)).len(), 1);
        state.raise(UserId::from_u128(1), Marks { received: Seq(1), read: Seq(1) });
        assert_eq!(state.marks(UserId::from_u128(1)).read, Seq(4), "marks never fall");
    }

    /// A mark was forgotten as unstored when it was handed to storage, so that a `read` in between was answered
    /// before anything was durable.
    #[test]
    fn a_mark_counts_as_unstored_until_just_that_mark_is_durable() {
        let mut state = state(History::All);
        let user = UserId::from_u128(1);
        let on_its_way = state.unstored_marks(Ms(9));
        assert!(state.unstored.contains(&user));
        state.raise_by_sending(user, Seq(5));
        assert!(state.stored(user, on_its_way[0].to).is_none());
        assert!(state.unstored.contains(&user), "it rose meanwhile");
        assert!(
            state.stored(user, state.marks(user)).is_some(),
            "it rose by loading: who is here must hear of it"
        );
        assert!(state.unstored.is_empty());
        state.raise_by_sending(user, Seq(6));
        assert!(state.stored(user, state.marks(user)).is_none(), "it rose by a message, which says so");
    }

    #[test]
    fn strangers_find_nothing_and_those_who_left_are_told_so() {
        let state = state(History::All);
        assert_eq!(state.member(UserId::from_u128(9)).unwrap_err().code, Code::NotFound);
        assert_eq!(state.member(UserId::from_u128(3)).unwrap_err().code, Code::NotMember);
        assert_eq!(state.view(UserId::from_u128(1)).unwrap().member_count, 2);
    }

    #[test]
    fn slow_mode_counts_from_the_message_before_be_that_durable_or_not() {
        let mut state = state(History::All);
        let user = UserId::from_u128(1);
        assert_eq!(state.may_send_now(user, Some(Ms(9)), Ms(9)), Ok(()));
        state.meta = Arc::new(Meta { slow_mode_s: 10, ..(*state.meta).clone() });
        let error = state.may_send_now(user, None, Ms(1_000)).unwrap_err();
        // The newest message of theirs is of 4.
        assert_eq!((error.code, error.retry_after_ms), (Code::RateLimited, Some(9_004)));
        assert_eq!(state.may_send_now(user, None, Ms(10_004)), Ok(()));
        assert!(state.may_send_now(user, Some(Ms(10_003)), Ms(10_004)).is_err(), "one of the same batch");
        assert_eq!(state.may_send_now(UserId::from_u128(2), None, Ms(5)), Ok(()), "each by themselves");
    }

    #[test]
    fn who_is_blocked_sends_nothing_and_sees_no_marks() {
        use godwit_domain::contact::{Side, State as Stands};
        let mut state = state(History::All);
        let (ada, ben) = (UserId::from_u128(1), UserId::from_u128(2));
        let side = |state| Side { state, since: Ms(1) };
        state.meta = Arc::new(Meta { kind: Kind::Direct, ..(*state.meta).clone() });
        assert_eq!(state.rise(ada, Marks::default(), Ms(1)).peer, Some(ben));
        state.relation = Relation::of(ben, ada, (side(Stands::Blocked), side(Stands::None)), Ms(1));
        assert!(state.view(ada).unwrap().blocked && state.view(ben).unwrap().blocked);
        assert_eq!(state.rise(ada, Marks::default(), Ms(1)).peer, None);
    }

    #[test]
    fn a_newcomer_sees_the_past_only_where_history_is_for_all() {
        let newcomer = UserId::from_u128(2);
        let view = state(History::All).view(newcomer).unwrap();
        assert_eq!((view.visible.message(Seq(1)), view.last.is_some()), (true, true));
        let view = state(History::SinceJoin).view(newcomer).unwrap();
        assert_eq!((view.visible.message(Seq(4)), view.last.is_some()), (false, false));
    }
}
