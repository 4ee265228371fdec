//! Which client ids may have been used in a conversation, so that a fresh send reads nothing.
//!
//! A filter of hashes, one set per bucket of the stream. A client id of time `t` was used no earlier than `t` less
//! ten minutes (the host refuses those further ahead), so the buckets back to the first one that was opened
//! [`LOOK_BACK_MS`] before `t` decide it; what the filter does not cover is looked up in storage.

use godwit_domain::{
    id::{ClientId, Seq, UserId},
    tables,
    time::Ms,
};
use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
};

/// How old a client id may be, in milliseconds. An older one is not looked for: that would read every bucket there is.
pub const AGE_MS_MAX: u64 = 7 * 24 * 60 * 60 * 1000;
/// How far before a client id's own time it is looked for: twice what clients may be ahead.
pub const LOOK_BACK_MS: u64 = 20 * 60 * 1000;

/// The client ids of recent buckets.
pub struct Filter {
    /// Oldest first.
    buckets: VecDeque<Bucket>,
    /// Of drafts that were on hold and rejected.
    rejected: HashSet<u32>,
    hasher: RandomState,
}

struct Bucket {
    /// The last number that it will hold: what it is known by.
    end: Seq,
    /// Nothing is older.
    is_first: bool,
    opened_at: Ms,
    hashes: HashSet<u32>,
}

impl Filter {
    /// The filter of a conversation in which nothing was sent.
    pub fn empty() -> Self {
        Self { buckets: VecDeque::new(), rejected: HashSet::new(), hasher: RandomState::new() }
    }

    /// The filter of what storage found, newest bucket first; `end` tells the last number of a number's bucket.
    pub fn new(recent: &[tables::Clients], end: impl Fn(Seq) -> Seq) -> Self {
        let mut filter = Self::empty();
        for clients in recent {
            let hashes =
                clients.clients.iter().map(|(user, client, _)| filter.hash(*user, *client)).collect();
            filter.buckets.push_front(Bucket {
                end: end(clients.first_seq),
                is_first: clients.first_seq <= Seq(1),
                opened_at: clients.opened_at,
                hashes,
            });
        }
        filter
    }

    /// Whether the id may have been used; `false` is certain.
    pub fn may_contain(&self, user: UserId, client: ClientId, made_at: Ms) -> bool {
        let hash = self.hash(user, client);
        if self.rejected.contains(&hash) {
            return true;
        }
        let Some(oldest) = self.buckets.front() else { return false };
        let covered = oldest.is_first || oldest.opened_at <= made_at.minus(LOOK_BACK_MS);
        !covered || self.buckets.iter().any(|bucket| bucket.hashes.contains(&hash))
    }

    /// Notes an id that is used from now on, by the message `seq` of the bucket that ends with `end`.
    pub fn insert(&mut self, user: UserId, client: ClientId, seq: Seq, end: Seq, now: Ms) {
        let hash = self.hash(user, client);
        if self.buckets.back().is_none_or(|newest| newest.end < end) {
            let is_first = seq == Seq(1);
            self.buckets.push_back(Bucket { end, is_first, opened_at: now, hashes: HashSet::new() });
            // The oldest goes when the one after it reaches back far enough for every id that is not late by itself.
            while self.buckets.get(1).is_some_and(|second| second.opened_at <= now.minus(2 * LOOK_BACK_MS)) {
                self.buckets.pop_front();
            }
        }
        if let Some(newest) = self.buckets.back_mut() {
            newest.hashes.insert(hash);
        }
    }

    /// Notes an id whose draft was rejected after it was on hold.
    pub fn insert_rejected(&mut self, user: UserId, client: ClientId) {
        let hash = self.hash(user, client);
        self.rejected.insert(hash);
    }

    fn hash(&self, user: UserId, client: ClientId) -> u32 {
        self.hasher.hash_one((user, client)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fresh_ids_are_known_to_be_fresh_and_used_ones_are_not() {
        let (user, client) = (UserId::from_u128(1), ClientId::from_u128(2));
        let now = Ms(10 * LOOK_BACK_MS);
        let mut filter = Filter::empty();
        assert!(!filter.may_contain(user, client, now));
        filter.insert(user, client, Seq(1), Seq(4096), now);
        assert!(filter.may_contain(user, client, now));
        assert!(!filter.may_contain(user, ClientId::from_u128(3), now));
        assert!(!filter.may_contain(UserId::from_u128(9), client, now));
        filter.insert_rejected(user, ClientId::from_u128(3));
        assert!(filter.may_contain(user, ClientId::from_u128(3), now));
    }

    #[test]
    fn what_the_filter_does_not_cover_may_have_been_used() {
        let (user, client) = (UserId::from_u128(1), ClientId::from_u128(2));
        let opened_at = Ms(10 * LOOK_BACK_MS);
        let recent = tables::Clients { first_seq: Seq(4097), opened_at, clients: Vec::new() };
        let filter = Filter::new(&[recent], |seq| Seq(seq.0 + 4095));
        assert!(!filter.may_contain(user, client, opened_at.plus(LOOK_BACK_MS)));
        assert!(filter.may_contain(user, client, opened_at.plus(LOOK_BACK_MS - 1)));
    }

    #[test]
    fn old_buckets_are_forgotten_once_no_fresh_id_can_be_in_them() {
        let user = UserId::from_u128(1);
        let start = Ms(10 * LOOK_BACK_MS);
        let mut filter = Filter::empty();
        for bucket in 0..10u64 {
            let client = ClientId::from_u128(u128::from(bucket));
            let (seq, end) = (Seq(1 + bucket * 4096), Seq((bucket + 1) * 4096));
            filter.insert(user, client, seq, end, start.plus(bucket * LOOK_BACK_MS));
        }
        assert_eq!(filter.buckets.len(), 3);
        assert!(filter.may_contain(user, ClientId::from_u128(9), start.plus(9 * LOOK_BACK_MS)));
    }
}
