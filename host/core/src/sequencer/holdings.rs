//! The drafts on hold in a conversation as its shard holds them: what waits for what, and whose turn it is.
//!
//! Pure: it decides and changes memory; what is durable is the slot's to arrange ([`super::hold`]).

use godwit_domain::{
    held::{Held, Settled, Why},
    id::{ClientId, UserId},
    time::Ms,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How long after a failure a draft is judged again at first; it doubles with each.
pub const RETRY_MS: u64 = 1_000;
/// How long after a failure it is judged again at the latest.
const RETRY_MS_MAX: u64 = 60_000;

/// A draft on hold.
pub struct Holding {
    pub held: Held,
    /// It is being judged, or on its way to its number.
    pub asking: bool,
    /// How often it was judged again in vain.
    attempts: u32,
}

/// See the module.
#[derive(Default)]
pub struct Holdings {
    by_place: BTreeMap<u64, Holding>,
    /// What each sender has on hold, in order.
    senders: HashMap<UserId, Vec<(ClientId, u64)>>,
    last_place: u64,
    /// Senders whose turn may have come.
    stirred: HashSet<UserId>,
    /// What was accepted, and still stands in storage as on hold.
    accepted: Vec<Settled>,
}

impl Holdings {
    /// What storage has, in order of `place`.
    pub fn new(held: Vec<Held>) -> Self {
        let mut holdings = Self::default();
        for held in held {
            holdings.stirred.insert(held.sender);
            holdings.insert(held);
        }
        holdings
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    /// How many the sender has.
    pub fn len_of(&self, sender: UserId) -> usize {
        self.senders.get(&sender).map_or(0, Vec::len)
    }

    /// The place of the next one.
    pub fn next_place(&self) -> u64 {
        self.last_place + 1
    }

    /// Adds one; its place is [`Holdings::next_place`], or as it was stored.
    pub fn insert(&mut self, held: Held) {
        self.last_place = self.last_place.max(held.place);
        self.senders.entry(held.sender).or_default().push((held.client_id, held.place));
        self.by_place.insert(held.place, Holding { held, asking: false, attempts: 0 });
    }

    fn place(&self, sender: UserId, client: ClientId) -> Option<u64> {
        let (_, place) = self.senders.get(&sender)?.iter().find(|(other, _)| *other == client)?;
        Some(*place)
    }

    /// The draft of that client id.
    pub fn get(&self, sender: UserId, client: ClientId) -> Option<&Holding> {
        self.by_place.get(&self.place(sender, client)?)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, sender: UserId, client: ClientId) -> Option<&mut Holding> {
        self.by_place.get_mut(&self.place(sender, client)?)
    }

    /// Takes one off hold: others of the sender may have their turn now.
    pub fn remove(&mut self, sender: UserId, client: ClientId) -> Option<Held> {
        let place = self.place(sender, client)?;
        if let Some(own) = self.senders.get_mut(&sender) {
            own.retain(|(_, other)| *other != place);
            if own.is_empty() {
                self.senders.remove(&sender);
            }
        }
        self.stirred.insert(sender);
        self.by_place.remove(&place).map(|holding| holding.held)
    }

    /// Takes off hold what was accepted; its row goes later.
    pub fn accept(&mut self, sender: UserId, client_id: ClientId) {
        if self.remove(sender, client_id).is_some() {
            self.accepted.push(Settled { sender, client_id, rejection: None });
        }
    }

    /// What was accepted since the last time this was asked.
    pub fn take_accepted(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.accepted)
    }

    /// Those of one sender, in order.
    pub fn of(&self, sender: UserId) -> impl Iterator<Item = &Holding> {
        let own = self.senders.get(&sender).into_iter().flatten();
        own.filter_map(|(_, place)| self.by_place.get(place))
    }

    /// All after a place, in order.
    pub fn after(&self, place: u64) -> impl Iterator<Item = &Held> {
        self.by_place.range(place.saturating_add(1)..).map(|(_, holding)| &holding.held)
    }

    /// The sender's draft whose turn it is to be judged again by itself. Until it is settled, everything that the
    /// sender sends waits behind it: what could not be judged must not be overtaken.
    pub fn next(&self, sender: UserId) -> Option<&Holding> {
        let waits = |held: &Held| held.after.is_some_and(|after| self.place(sender, after).is_some());
        self.of(sender).find(|Holding { held, .. }| held.why != Why::Decided && !waits(held))
    }

    /// Whether nothing has to come before that draft.
    pub fn is_first(&self, held: &Held) -> bool {
        let earlier = self.next(held.sender).is_some_and(|next| next.held.place < held.place);
        let waits = held.after.is_some_and(|after| self.place(held.sender, after).is_some());
        !earlier && !waits
    }

    /// The drafts that come after that one, and after those, as their `after` says.
    pub fn followers(&self, sender: UserId, client: ClientId) -> Vec<ClientId> {
        let mut before = HashSet::from([client]);
        let follow = |Holding { held, .. }: &Holding| {
            let follows = held.after.is_some_and(|after| before.contains(&after));
            (follows && before.insert(held.client_id)).then_some(held.client_id)
        };
        self.of(sender).filter_map(follow).collect()
    }

    /// Those whose time is over.
    pub fn expired(&self, now: Ms) -> Vec<(UserId, ClientId)> {
        let over = self.by_place.values().filter(|holding| holding.held.until <= now && !holding.asking);
        over.map(|holding| (holding.held.sender, holding.held.client_id)).collect()
    }

    /// When the first of them needs something without anybody asking.
    pub fn due_at(&self) -> Option<Ms> {
        self.by_place.values().map(|holding| holding.held.due_at()).min()
    }

    /// Whether it may be some sender's turn.
    pub fn is_stirred(&self) -> bool {
        !self.stirred.is_empty() || !self.accepted.is_empty()
    }

    /// It may be that sender's turn.
    pub fn stir(&mut self, sender: UserId) {
        self.stirred.insert(sender);
    }

    /// It may be anybody's turn.
    pub fn stir_all(&mut self) {
        self.stirred.extend(self.senders.keys());
    }

    /// The drafts whose turn it is now. They count as being judged from here on.
    pub fn take_turns(&mut self, now: Ms) -> Vec<Held> {
        let mut turns = Vec::new();
        for sender in std::mem::take(&mut self.stirred) {
            let Some(Holding { held, asking: false, .. }) = self.next(sender) else { continue };
            if held.why == Why::Failed && held.retry_at > now {
                continue;
            }
            let place = held.place;
            if let Some(holding) = self.by_place.get_mut(&place) {
                holding.asking = true;
                let wait_ms = RETRY_MS_MAX.min(RETRY_MS << holding.attempts.min(6));
                holding.held.retry_at = now.plus(wait_ms);
                holding.attempts += 1;
                turns.push(holding.held.clone());
            }
        }
        turns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{id::ConversationId, message::Content};

    const SENDER: UserId = UserId::from_u128(1);
    const NOW: Ms = Ms(1_000_000);

    fn client(number: u128) -> ClientId {
        ClientId::from_u128(number)
    }

    fn held(place: u64, why: Why, after: Option<u128>) -> Held {
        Held {
            conversation: ConversationId::from_u128(7),
            sender: SENDER,
            client_id: client(place.into()),
            content: Content::text("hello"),
            content_hash: 0,
            why,
            reason: "wait".into(),
            after: after.map(client),
            place,
            since: NOW,
            until: NOW.plus(100_000),
            retry_at: NOW,
        }
    }

    fn turns(holdings: &mut Holdings, now: Ms) -> Vec<u64> {
        holdings.take_turns(now).iter().map(|held| held.place).collect()
    }

    #[test]
    fn what_could_not_be_judged_goes_first_and_the_rest_follow_one_by_one() {
        use Why::{Behind, Failed};
        let rows = vec![held(1, Failed, None), held(2, Behind, None), held(3, Behind, None)];
        let mut holdings = Holdings::new(rows);
        assert_eq!(turns(&mut holdings, NOW), [1]);
        holdings.stir_all();
        assert_eq!(turns(&mut holdings, NOW), [0; 0], "it is being judged");
        assert!(!holdings.is_first(&held(2, Behind, None)));
        holdings.accept(SENDER, client(1));
        assert_eq!(turns(&mut holdings, NOW), [2]);
        holdings.accept(SENDER, client(2));
        assert_eq!(turns(&mut holdings, NOW), [3]);
        assert_eq!(holdings.take_accepted().len(), 2);
        assert_eq!(holdings.next_place(), 4);
    }

    #[test]
    fn what_waits_for_a_person_delays_only_what_names_it() {
        use Why::{Behind, Decided, Failed};
        let rows = vec![held(1, Decided, None), held(2, Behind, Some(1)), held(3, Behind, Some(2))];
        let mut holdings = Holdings::new(rows);
        assert!(holdings.next(SENDER).is_none(), "whatever else the sender says is not delayed");
        assert!(holdings.is_first(&held(1, Decided, None)) && !holdings.is_first(&held(2, Behind, Some(1))));
        assert_eq!(holdings.followers(SENDER, client(1)), [client(2), client(3)]);
        holdings.insert(held(4, Failed, None));
        holdings.insert(held(5, Decided, None));
        assert!(!holdings.is_first(&held(5, Decided, None)), "it would overtake what could not be judged");
        holdings.remove(SENDER, client(1));
        assert_eq!(turns(&mut holdings, NOW), [2]);
    }

    #[test]
    fn a_failure_is_tried_again_more_and_more_slowly() {
        let mut holdings = Holdings::new(vec![held(1, Why::Failed, None)]);
        let mut now = NOW;
        let mut waits = Vec::new();
        for _ in 0..9 {
            assert_eq!(turns(&mut holdings, now), [1]);
            let due = holdings.due_at().unwrap();
            waits.push(due.since(now) / 1000);
            holdings.get_mut(SENDER, client(1)).unwrap().asking = false;
            holdings.stir_all();
            assert_eq!(turns(&mut holdings, due.minus(1)), [0; 0]);
            holdings.stir_all();
            now = due;
            // Its time is over long after this.
            holdings.get_mut(SENDER, client(1)).unwrap().held.until = now.plus(1_000_000);
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_hold_that_lasts_too_long_is_found() {
        let holdings = Holdings::new(vec![held(1, Why::Decided, None), held(2, Why::Failed, None)]);
        assert_eq!(holdings.due_at(), Some(NOW));
        assert!(holdings.expired(NOW.plus(99_999)).is_empty());
        assert_eq!(holdings.expired(NOW.plus(100_000)).len(), 2);
        assert_eq!(holdings.after(1).map(|held| held.place).collect::<Vec<_>>(), [2]);
        assert_eq!(
            (holdings.len(), holdings.len_of(SENDER), holdings.len_of(UserId::from_u128(2))),
            (2, 2, 0)
        );
    }
}
