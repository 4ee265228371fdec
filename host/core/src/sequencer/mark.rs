//! How a mark begins to rise: cut to what there is, and behind whatever is under way for the same user.

use super::{
    Mark,
    conversation::State,
    publish,
    shard::{Raising, Turn},
};
use godwit_domain::conversation::Marks;

/// Begins to raise a mark, or answers that there is nothing to raise.
pub fn begin(state: &mut State, mark: Mark, turn: &mut Turn<'_>) {
    let head = match state.reader(mark.user) {
        Ok((_, head)) => head,
        Err(error) => return mark.reply.error(&error),
    };
    let rising = state.rising.get(&mark.user).copied();
    // What is under way will be answered before this, or with it.
    let before = state.marks(mark.user).raised(rising.unwrap_or_default());
    let seq = mark.seq.min(head.last_seq);
    let to = Marks {
        received: before.received.max(seq),
        read: if mark.read { before.read.max(seq) } else { before.read },
    };
    // A mark that rose by sending counts as told only when it is durable.
    if to == before && rising.is_none() && !state.unstored.contains(&mark.user) {
        return mark.reply.ok(&publish::marked(to));
    }
    let stamp = turn.stamp();
    let rise = state.rise(mark.user, to, stamp.at());
    state.rising.insert(mark.user, to);
    turn.raising.push(Raising { mark, rise, stamp });
}
