//! What of a conversation a plugin hears: the stretches in which its user was there.

use crate::sequencer::Visible;
use godwit_domain::id::{Rev, Seq};

/// Where a stretch of messages and revisions begins, and where it ended.
pub type Stretch = (Seq, Rev, Option<(Seq, Rev)>);

/// What the plugin may hear of a conversation.
pub struct Range {
    /// The stretches of messages and revisions in which its user was there; `None` stands for everything.
    pub stretches: Option<Vec<Stretch>>,
    /// What its user may read; everything, where it hears conversations of which it is no member.
    pub visible: Option<Visible>,
}

impl Range {
    /// The first message from that one on that it hears.
    pub fn first_seq(&self, from: Seq) -> Option<Seq> {
        let Some(stretches) = &self.stretches else { return Some(from) };
        let open = stretches.iter().filter(|(_, _, until)| until.is_none_or(|(seq, _)| seq >= from));
        open.map(|(after, ..)| from.max(after.next())).min()
    }

    /// The first revision from that one on that it hears.
    pub fn first_rev(&self, from: Rev) -> Option<Rev> {
        let Some(stretches) = &self.stretches else { return Some(from) };
        let open = stretches.iter().filter(|(_, _, until)| until.is_none_or(|(_, rev)| rev >= from));
        open.map(|(_, after, _)| from.max(after.next())).min()
    }

    /// Whether it hears that message.
    pub fn hears_seq(&self, seq: Seq) -> bool {
        self.first_seq(seq) == Some(seq)
    }

    /// Whether it hears that revision.
    pub fn hears_rev(&self, rev: Rev) -> bool {
        self.first_rev(rev) == Some(rev)
    }

    /// Whether its user may read that message.
    pub fn may_read(&self, seq: Seq) -> bool {
        self.visible.as_ref().is_none_or(|visible| visible.message(seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_hears_the_stretches_in_which_its_user_was_there() {
        let stretches = vec![(Seq(2), Rev(1), Some((Seq(5), Rev(4)))), (Seq(8), Rev(6), None)];
        let range = Range { stretches: Some(stretches), visible: None };
        let seqs: Vec<_> = (1..=10).filter(|seq| range.hears_seq(Seq(*seq))).collect();
        assert_eq!(seqs, [3, 4, 5, 9, 10]);
        assert_eq!((range.first_rev(Rev(1)), range.first_rev(Rev(5))), (Some(Rev(2)), Some(Rev(7))));
        let gone = Range { stretches: Some(vec![(Seq(2), Rev(1), Some((Seq(5), Rev(4))))]), visible: None };
        assert_eq!((gone.first_seq(Seq(6)), gone.hears_rev(Rev(5))), (None, false));
    }
}
