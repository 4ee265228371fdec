//! Who is here and who watches whom: one stripe of the users, in memory.
//!
//! Pure: times come in, and what is to be told goes straight to the outboxes of those who watch. A user has a row
//! while they have a session, count as online, or are watched, so that it is bounded by the sessions there are and by
//! what each may watch.

use crate::outbox::Outbox;
use bytes::Bytes;
use godwit_domain::{
    id::{SessionId, UserId},
    time::Ms,
};
use godwit_protocol::{encode, object};
use std::{collections::HashMap, time::Duration};
use tokio::time::Instant;

/// How long things last before they count.
#[derive(Debug, Clone, Copy)]
pub struct Settling {
    /// A session, before its user is online.
    pub online_after: Duration,
    /// The absence of any, before its user is offline.
    pub offline_after: Duration,
}

/// The users of one stripe.
#[derive(Default)]
pub struct Table(HashMap<UserId, Status>);

/// One user.
#[derive(Default)]
struct Status {
    sessions: Vec<Here>,
    /// As it was told last.
    online: bool,
    /// When the last session went.
    gone: Option<Gone>,
    /// Those who watch, in order of sessions.
    watches: Vec<Watch>,
    /// When it is to be looked at again.
    due: Option<Instant>,
}

struct Here {
    id: SessionId,
    since: Instant,
    /// Whom it watches.
    watched: Vec<UserId>,
}

#[derive(Clone, Copy)]
struct Gone {
    since: Instant,
    at: Ms,
}

/// A session that watches somebody.
pub struct Watch {
    /// Which session.
    pub session: SessionId,
    /// Whose.
    pub viewer: UserId,
    /// Where its pushes go.
    pub outbox: Outbox,
    /// Whether it is shown what it watches.
    pub visible: bool,
    /// What it was told last.
    pub told: bool,
}

impl Watch {
    fn tell(&mut self, online: bool, frame: &mut Option<Bytes>, presence: object::Presence) -> bool {
        let shown = self.visible && online;
        if self.told == shown {
            return false;
        }
        self.told = shown;
        let frame = frame.get_or_insert_with(|| encode::push("presence", &presence).into());
        self.outbox.push(frame.clone(), None);
        true
    }
}

/// What became of a user whose time had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Whether they are online from now on.
    pub online: bool,
    /// When they were here last, where they no longer are.
    pub seen: Option<Ms>,
    /// How many sessions were told.
    pub told: usize,
}

/// The times before and after at which a user is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// No longer.
    pub before: Option<Instant>,
    /// From now on.
    pub after: Option<Instant>,
}

impl Status {
    fn next(&self, settling: Settling) -> Option<Instant> {
        match (self.online, self.sessions.iter().map(|here| here.since).min()) {
            (false, Some(first)) => Some(first + settling.online_after),
            (true, None) => self.gone.map(|gone| gone.since + settling.offline_after),
            _ => None,
        }
    }

    fn is_empty(&self) -> bool {
        self.sessions.is_empty() && !self.online && self.watches.is_empty()
    }
}

impl Table {
    fn change(&mut self, user: UserId, settling: Settling, change: impl FnOnce(&mut Status)) -> Due {
        let status = self.0.entry(user).or_default();
        change(status);
        let due = Due { before: status.due, after: status.next(settling) };
        status.due = due.after;
        if status.is_empty() {
            self.0.remove(&user);
        }
        due
    }

    /// A session began.
    pub fn came(&mut self, user: UserId, id: SessionId, now: Instant, settling: Settling) -> Due {
        self.change(user, settling, |status| {
            status.gone = None;
            status.sessions.push(Here { id, since: now, watched: Vec::new() });
        })
    }

    /// A session ended; whom it watched.
    pub fn went(
        &mut self,
        user: UserId,
        id: SessionId,
        (now, at): (Instant, Ms),
        settling: Settling,
    ) -> (Due, Vec<UserId>) {
        let mut watched = Vec::new();
        let due = self.change(user, settling, |status| {
            if let Some(index) = status.sessions.iter().position(|here| here.id == id) {
                watched = status.sessions.swap_remove(index).watched;
            }
            if status.sessions.is_empty() {
                status.gone = Some(Gone { since: now, at });
            }
        });
        (due, watched)
    }

    /// A user's time has come: what they are from now on, if that is something else, told to those who watch.
    pub fn advance(&mut self, user: UserId, now: Instant, settling: Settling) -> (Due, Option<Moved>) {
        let mut moved = None;
        let due = self.change(user, settling, |status| {
            if status.next(settling).is_none_or(|at| at > now) {
                return;
            }
            status.online = !status.online;
            let seen = status.gone.filter(|_| !status.online).map(|gone| gone.at);
            let presence = object::Presence { user, online: status.online, last_seen: seen };
            let (online, mut frame, mut told) = (status.online, None, 0);
            for watch in &mut status.watches {
                told += usize::from(watch.tell(online, &mut frame, presence));
            }
            moved = Some(Moved { online, seen, told });
        });
        (due, moved)
    }

    /// Whether a user counts as online.
    pub fn is_online(&self, user: UserId) -> bool {
        self.0.get(&user).is_some_and(|status| status.online)
    }

    /// Everyone who counts as online.
    pub fn online(&self) -> impl Iterator<Item = UserId> {
        self.0.iter().filter(|(_, status)| status.online).map(|(user, _)| *user)
    }

    /// Notes whom a session watches from now on; whom it did before. `None` where it has ended.
    pub fn rewatch(&mut self, user: UserId, id: SessionId, watched: Vec<UserId>) -> Option<Vec<UserId>> {
        let here = self.0.get_mut(&user)?.sessions.iter_mut().find(|here| here.id == id)?;
        Some(std::mem::replace(&mut here.watched, watched))
    }

    /// Someone watches a user, and is told what changed since [`Watch::told`]; whether they did not watch before.
    pub fn watch(&mut self, user: UserId, mut watch: Watch, settling: Settling) -> bool {
        let mut is_new = false;
        self.change(user, settling, |status| {
            // Who counted as online and no longer does has been seen: it was no mere blink.
            let last_seen = status.gone.filter(|_| !status.online).map(|gone| gone.at);
            let presence = object::Presence { user, online: status.online, last_seen };
            watch.tell(status.online, &mut None, presence);
            match status.watches.binary_search_by_key(&watch.session, |other| other.session) {
                Ok(index) => status.watches[index] = watch,
                Err(index) => {
                    status.watches.insert(index, watch);
                    is_new = true;
                }
            }
        });
        is_new
    }

    /// A session no longer watches a user; whether it did.
    pub fn unwatch(&mut self, user: UserId, session: SessionId, settling: Settling) -> bool {
        let mut did = false;
        self.change(user, settling, |status| {
            if let Ok(index) = status.watches.binary_search_by_key(&session, |other| other.session) {
                status.watches.remove(index);
                did = true;
            }
        });
        did
    }

    /// Those who watch a user, each once.
    pub fn viewers(&self, user: UserId) -> Vec<UserId> {
        let watches = self.0.get(&user).map_or(&[][..], |status| &status.watches);
        let mut viewers: Vec<_> = watches.iter().map(|watch| watch.viewer).collect();
        viewers.sort_unstable();
        viewers.dedup();
        viewers
    }

    /// Those whom a user watches, each once.
    pub fn watched(&self, user: UserId) -> Vec<UserId> {
        let sessions = self.0.get(&user).map_or(&[][..], |status| &status.sessions);
        let mut watched: Vec<_> = sessions.iter().flat_map(|here| here.watched.iter().copied()).collect();
        watched.sort_unstable();
        watched.dedup();
        watched
    }

    /// Shows a user to those of who watch for whom `visible` says so, and no longer to those for whom it says no; what
    /// it says nothing of stays. Who is told nothing any more is told that the user is offline, and not since when.
    pub fn show(&mut self, user: UserId, visible: impl Fn(UserId) -> Option<bool>) {
        let Some(status) = self.0.get_mut(&user) else { return };
        let presence = object::Presence { user, online: false, last_seen: None };
        let (online, mut shown, mut hidden) = (status.online, None, None);
        for watch in &mut status.watches {
            let Some(visible) = visible(watch.viewer) else { continue };
            watch.visible = visible;
            let is_shown = visible && online;
            let frame = if is_shown { &mut shown } else { &mut hidden };
            watch.tell(online, frame, object::Presence { online: is_shown, ..presence });
        }
    }

    /// How many there are something about.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::{self, Drain, Frame};
    use std::task::{Context, Waker};

    const SETTLING: Settling =
        Settling { online_after: Duration::from_secs(3), offline_after: Duration::from_secs(5) };
    const ADA: UserId = UserId::from_u128(1);
    const BEN: UserId = UserId::from_u128(2);

    fn session(number: u128) -> SessionId {
        SessionId(uuid::Uuid::from_u128(number))
    }

    /// One who watches Ada.
    fn watching(table: &mut Table, number: u128) -> Drain {
        let (outbox, drain) = outbox::channel(1 << 20);
        let watch = Watch { session: session(number), viewer: BEN, outbox, visible: true, told: false };
        assert!(table.watch(ADA, watch, SETTLING));
        drain
    }

    fn heard(drain: &mut Drain) -> Vec<String> {
        let mut frames = Vec::new();
        let _ = drain.poll_next(&mut Context::from_waker(Waker::noop()), &mut frames);
        let text = |frame: Frame| String::from_utf8(frame.into_bytes().to_vec()).unwrap();
        frames.into_iter().map(text).collect()
    }

    /// Plays what happens at which second; what a watcher was told, as (second, online).
    fn play(events: &[(u64, char)], until: u64) -> Vec<(u64, bool)> {
        let (mut table, began) = (Table::default(), Instant::now());
        let mut drain = watching(&mut table, 100);
        let (mut told, mut next) = (Vec::new(), 0);
        for second in 0..=until {
            let now = began + Duration::from_secs(second);
            for (_, event) in events.iter().filter(|(at, _)| *at == second) {
                match event {
                    '+' => {
                        next += 1;
                        table.came(ADA, session(next), now, SETTLING);
                    }
                    _ => {
                        table.went(ADA, session(next), (now, Ms(second)), SETTLING);
                        next -= 1;
                    }
                }
            }
            table.advance(ADA, now, SETTLING);
            for frame in heard(&mut drain) {
                told.push((second, frame.contains(r#""online":true"#)));
                if !frame.contains(r#""online":true"#) {
                    assert!(frame.contains("last_seen"), "{frame}");
                }
            }
        }
        told
    }

    #[test]
    fn online_is_told_after_three_seconds_and_offline_five_after_the_last_went() {
        assert_eq!(play(&[(0, '+'), (10, '-')], 30), [(3, true), (15, false)]);
        // Two devices, one after the other, and both at once.
        assert_eq!(play(&[(0, '+'), (5, '+'), (6, '-'), (9, '-')], 30), [(3, true), (14, false)]);
        // Back in time.
        assert_eq!(play(&[(0, '+'), (10, '-'), (14, '+'), (20, '-')], 40), [(3, true), (25, false)]);
    }

    #[test]
    fn flapping_tells_nothing() {
        let flaps: Vec<_> = (0..20).map(|n| (n * 2, if n % 2 == 0 { '+' } else { '-' })).collect();
        assert_eq!(play(&flaps, 60), [], "two seconds on, two seconds off");
        let mut flaps: Vec<_> = (0..20).map(|n| (10 + n * 2, if n % 2 == 0 { '-' } else { '+' })).collect();
        flaps.insert(0, (0, '+'));
        flaps.pop();
        assert_eq!(play(&flaps, 60), [(3, true), (51, false)], "nor of who was here before");
    }

    #[test]
    fn who_is_hidden_later_is_offline_and_nothing_more_and_shown_again_when_that_ends() {
        let (mut table, began) = (Table::default(), Instant::now());
        let mut drain = watching(&mut table, 100);
        let _ = table.came(ADA, session(1), began, SETTLING);
        let (_, moved) = table.advance(ADA, began + SETTLING.online_after, SETTLING);
        assert_eq!(moved, Some(Moved { online: true, seen: None, told: 1 }));
        heard(&mut drain);
        table.show(ADA, |viewer| (viewer != BEN).then_some(false));
        assert_eq!(heard(&mut drain).len(), 0, "of whom nothing is said");
        table.show(ADA, |viewer| Some(viewer != BEN));
        let hidden = heard(&mut drain);
        assert!(
            hidden.len() == 1 && hidden[0].contains("false") && !hidden[0].contains("last_seen"),
            "{hidden:?}"
        );
        let _ = table.went(ADA, session(1), (began, Ms(1)), SETTLING);
        let (_, moved) = table.advance(ADA, began + 3 * SETTLING.offline_after, SETTLING);
        assert_eq!(moved, Some(Moved { online: false, seen: Some(Ms(1)), told: 0 }));
        assert!(heard(&mut drain).is_empty(), "was told so before");
        let later = began + 10 * SETTLING.offline_after;
        let _ = table.came(ADA, session(2), later, SETTLING);
        let _ = table.advance(ADA, later + SETTLING.online_after, SETTLING);
        table.show(ADA, |_| Some(true));
        assert_eq!(heard(&mut drain).len(), 1);
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone_and_watched_by_nobody() {
        let (mut table, began) = (Table::default(), Instant::now());
        let _drain = watching(&mut table, 100);
        let _ = table.came(BEN, session(9), began, SETTLING);
        assert_eq!(table.rewatch(BEN, session(9), vec![ADA]), Some(vec![]));
        assert_eq!((table.viewers(ADA), table.watched(BEN)), (vec![BEN], vec![ADA]));
        assert_eq!(table.went(BEN, session(9), (began, Ms(1)), SETTLING).1, [ADA]);
        assert!(table.unwatch(ADA, session(100), SETTLING) && !table.unwatch(ADA, session(100), SETTLING));
        assert_eq!(table.len(), 0);
        assert_eq!(table.rewatch(BEN, session(9), vec![]), None, "a session that has ended watches nobody");
    }
}
