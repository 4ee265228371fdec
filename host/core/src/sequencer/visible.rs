//! What of a conversation one of its members may read.

use godwit_domain::{
    conversation::{Head, History, Member, Until},
    id::{Rev, Seq},
    message::Message,
    revision::Revision,
};
use std::ops::RangeInclusive;

/// The stretches that a member may read, in order and apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Visible {
    messages: Vec<RangeInclusive<u64>>,
    revisions: Vec<RangeInclusive<u64>>,
    left: Option<Until>,
}

impl Visible {
    /// What `member` may read of a conversation that stands at `head`.
    pub fn of(member: &Member, history: History, head: Head) -> Self {
        let left = member.left();
        let (last_seq, last_rev) = left.map_or((head.last_seq, head.last_rev), |left| (left.seq, left.rev));
        let (mut messages, mut revisions) = (Vec::new(), Vec::new());
        match history {
            History::All => {
                push(&mut messages, 1, last_seq.0);
                push(&mut revisions, 1, last_rev.0);
            }
            History::SinceJoin => {
                for interval in &member.intervals {
                    let (seq, rev) =
                        interval.until.map_or((last_seq, last_rev), |until| (until.seq, until.rev));
                    push(&mut messages, interval.after_seq.0 + 1, seq.0);
                    push(&mut revisions, interval.after_rev.0 + 1, rev.0);
                }
            }
        }
        Self { messages, revisions, left }
    }

    /// Whether that number is within a stretch.
    pub fn message(&self, seq: Seq) -> bool {
        self.messages.iter().any(|stretch| stretch.contains(&seq.0))
    }

    /// The newest number that may be read, 0 where there is none.
    pub fn last_seq(&self) -> Seq {
        Seq(self.messages.last().map_or(0, |stretch| *stretch.end()))
    }

    /// The parts of `range` that may be read, in order.
    pub fn messages_within(
        &self,
        range: &RangeInclusive<u64>,
    ) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> {
        within(&self.messages, range)
    }

    /// The parts of `range` whose revisions may be read, but for those of messages that may not.
    pub fn revisions_within(
        &self,
        range: &RangeInclusive<u64>,
    ) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> {
        within(&self.revisions, range)
    }

    /// Whether that revision may be read.
    pub fn revision(&self, revision: &Revision) -> bool {
        self.revisions.iter().any(|stretch| stretch.contains(&revision.rev.0))
            && revision.what.message().is_none_or(|seq| self.message(seq))
    }

    /// The message as it may be shown; one that was edited since the member left may not.
    pub fn shown(&self, mut message: Message) -> Option<Message> {
        let Some(Until { rev: until, .. }) = self.left else { return Some(message) };
        if let Some(revised) = message.revised.as_mut().filter(|revised| revised.rev > until) {
            if !revised.deleted && revised.edited.is_some_and(|(rev, _)| rev > until) {
                return None;
            }
            // The counts are those of later.
            revised.reactions.clear();
            revised.rev = Rev(revised.edited.map_or(0, |(rev, _)| rev.0)).min(until);
        }
        Some(message)
    }
}

fn push(stretches: &mut Vec<RangeInclusive<u64>>, from: u64, to: u64) {
    if from > to {
        return;
    }
    match stretches.last_mut() {
        Some(last) if *last.end() + 1 >= from => *last = *last.start()..=to.max(*last.end()),
        _ => stretches.push(from..=to),
    }
}

fn within(
    stretches: &[RangeInclusive<u64>],
    range: &RangeInclusive<u64>,
) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> {
    let (from, to) = (*range.start(), *range.end());
    stretches.iter().filter_map(move |stretch| {
        let part = from.max(*stretch.start())..=to.min(*stretch.end());
        (!part.is_empty()).then_some(part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{
        conversation::{Interval, Role},
        id::UserId,
        time::Ms,
    };

    fn member(intervals: &[(u64, Option<u64>)]) -> Member {
        let interval = |&(after, until): &(u64, Option<u64>)| Interval {
            after_seq: Seq(after),
            after_rev: Rev(after),
            until: until.map(|until| Until { seq: Seq(until), rev: Rev(until), at: Ms(1) }),
        };
        let intervals = intervals.iter().map(interval).collect();
        Member { user: UserId::from_u128(1), role: Role::Member, joined_at: Ms(1), intervals }
    }

    const HEAD: Head = Head { last_seq: Seq(20), last_rev: Rev(20), changed_at: Ms(1), revised_at: Ms(1) };

    fn parts(visible: &Visible) -> Vec<(u64, u64)> {
        visible.messages_within(&(1..=100)).map(|part| (*part.start(), *part.end())).collect()
    }

    #[test]
    fn who_came_back_reads_the_stretches_in_which_they_were_there() {
        let came_back = member(&[(2, Some(5)), (9, None)]);
        assert_eq!(parts(&Visible::of(&came_back, History::SinceJoin, HEAD)), [(3, 5), (10, 20)]);
        assert_eq!(parts(&Visible::of(&came_back, History::All, HEAD)), [(1, 20)]);
    }

    #[test]
    fn who_left_reads_nothing_that_came_after() {
        let left = member(&[(2, Some(5)), (5, Some(8))]);
        assert_eq!(parts(&Visible::of(&left, History::SinceJoin, HEAD)), [(3, 8)], "what touches is one");
        let visible = Visible::of(&left, History::All, HEAD);
        assert_eq!(parts(&visible), [(1, 8)]);
        assert_eq!((visible.last_seq(), visible.message(Seq(9))), (Seq(8), false));
        assert!(parts(&Visible::of(&member(&[(20, None)]), History::SinceJoin, HEAD)).is_empty());
    }
}
