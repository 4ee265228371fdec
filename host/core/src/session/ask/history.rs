//! `history`: pages of messages, with every number of a page accounted for.

use super::Asker;
use crate::sequencer::Visible;
use godwit_domain::{
    conversation::Head,
    id::{ConversationId, Rev, Seq},
    message::Message,
    waist,
};
use godwit_protocol::{
    encode,
    error::Error,
    object::{self, Why},
    request::{self, HistoryRequest},
};
use serde::Serialize;
use std::{collections::HashSet, ops::RangeInclusive};

/// The most bytes of bodies in one page.
const PAGE_BYTES_MAX: usize = 128 * 1024;

#[derive(Serialize)]
struct Page<'a> {
    messages: Vec<object::Message<'a>>,
    gone: Vec<object::Gone>,
    as_of_rev: Rev,
    more: bool,
}

/// From where a page is read, and which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// Downwards from this number.
    Below(u64),
    /// Upwards from this number.
    Above(u64),
}

/// The numbers that a page is about.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// All of them.
    range: RangeInclusive<u64>,
    /// Those that are read, in order and apart.
    parts: Vec<RangeInclusive<u64>>,
    more: bool,
}

impl Asker {
    pub(super) async fn history(&self, id: u64, asked: HistoryRequest) -> Result<Vec<u8>, Error> {
        let limit = request::limit(asked.limit)?;
        let conversation = asked.conversation;
        let view = self.host.sequencer.view(conversation, self.user.id).await?.readable()?;
        let from = self.from(&asked, view.head).await?;
        let (messages, gone, more) = match asked.thread {
            Some(root) => {
                let (messages, more) = self.thread(conversation, root, from, limit, &view.visible).await?;
                (messages, Vec::new(), more)
            }
            None => self.stretch(conversation, from, limit, &view.visible, view.head.last_seq).await?,
        };
        let mine = self.my_reactions(conversation, &messages).await?;
        let shown = messages.iter().zip(mine).map(|(message, mine)| {
            object::Message::new(message, message.sender == self.user.id).reacted(mine)
        });
        let page = Page { messages: shown.collect(), gone, as_of_rev: view.head.last_rev, more };
        Ok(encode::ok(id, &page))
    }

    async fn from(&self, asked: &HistoryRequest, head: Head) -> Result<From, Error> {
        let last = head.last_seq;
        match (asked.before_seq, asked.after_seq, asked.before_ms) {
            (None, Some(after), None) => Ok(From::Above(after.0.min(last.0))),
            (before, None, None) => {
                Ok(From::Below(before.map_or(last.0 + 1, |before| before.0.min(last.0 + 1))))
            }
            (None, None, Some(before)) => {
                let tables = &self.host.parts.conversations;
                Ok(From::Below(tables.first_sent_since(asked.conversation, last, before).await?.0))
            }
            _ => {
                let text = "only one of `before_seq`, `after_seq` and `before_ms` can be asked";
                Err(Error::invalid("after_seq", text))
            }
        }
    }

    async fn stretch(
        &self,
        conversation: ConversationId,
        from: From,
        limit: usize,
        visible: &Visible,
        last: Seq,
    ) -> Result<(Vec<Message>, Vec<object::Gone>, bool), Error> {
        let tables = &self.host.parts.conversations;
        let Wanted { mut range, parts, mut more } = Wanted::new(from, limit as u64, visible, last.0);
        let newest_first = matches!(from, From::Below(_));
        let mut read: Vec<Message> = Vec::new();
        let mut bytes = 0;
        let mut ordered = parts;
        if newest_first {
            ordered.reverse();
        }
        for part in ordered {
            let room = PAGE_BYTES_MAX.saturating_sub(bytes);
            if room == 0 {
                break;
            }
            let asked = Seq(*part.start())..=Seq(*part.end());
            let found = tables.messages(conversation, asked, newest_first, room).await?;
            let cut = match (newest_first, found.first(), found.last()) {
                (true, Some(oldest), _) if oldest.seq.0 > *part.start() => Some(oldest.seq.0),
                (false, _, Some(newest)) if newest.seq.0 < *part.end() => Some(newest.seq.0),
                _ => None,
            };
            bytes += found.iter().map(|message| message.content.body.len()).sum::<usize>();
            read.extend(found);
            if let Some(cut) = cut {
                // A page that ends early for its size has not come to what lies further on.
                range = if newest_first { cut..=*range.end() } else { *range.start()..=cut };
                more = true;
                break;
            }
        }
        read.sort_unstable_by_key(|message| message.seq);
        let hidden = self.hidden_within(conversation, &range).await?;
        let messages: Vec<_> = read
            .into_iter()
            .filter(|message| !hidden.contains(&message.seq))
            .filter_map(|message| visible.shown(message))
            .collect();
        let gone = gone(&range, &messages, &hidden);
        Ok((messages, gone, more))
    }

    /// The replies of a thread: without the root, and nothing is said of other numbers.
    async fn thread(
        &self,
        conversation: ConversationId,
        root: Seq,
        from: From,
        limit: usize,
        visible: &Visible,
    ) -> Result<(Vec<Message>, bool), Error> {
        if !visible.message(root) {
            return Err(Error::invalid("thread", format!("no message {root} is to be seen here")));
        }
        let tables = &self.host.parts.conversations;
        let (range, newest_first) = match from {
            From::Below(before) => (root.next()..=Seq(before.saturating_sub(1)), true),
            From::Above(after) => (Seq(after.max(root.0) + 1)..=visible.last_seq(), false),
        };
        let mut numbers = tables.thread(conversation, root, range, newest_first, limit + 1).await?;
        let more = numbers.len() > limit;
        if more {
            numbers.remove(if newest_first { 0 } else { limit });
        }
        let mut messages = Vec::with_capacity(numbers.len());
        for seq in numbers.into_iter().filter(|seq| visible.message(*seq)) {
            if self.hidden_within(conversation, &(seq.0..=seq.0)).await?.is_empty() {
                let found = tables.messages(conversation, seq..=seq, false, usize::MAX).await?;
                messages.extend(found.into_iter().filter_map(|message| visible.shown(message)));
            }
        }
        Ok((messages, more))
    }

    async fn hidden_within(
        &self,
        conversation: ConversationId,
        range: &RangeInclusive<u64>,
    ) -> Result<HashSet<Seq>, Error> {
        if range.is_empty() {
            return Ok(HashSet::new());
        }
        let range = Seq(*range.start())..=Seq(*range.end());
        let tables = &self.host.parts.conversations;
        Ok(tables.hidden_within(self.user.id, conversation, range).await?.into_iter().collect())
    }

    /// With what the asker reacts to each of the messages.
    async fn my_reactions<'a>(
        &self,
        conversation: ConversationId,
        messages: &'a [Message],
    ) -> Result<Vec<Vec<&'a str>>, waist::Error> {
        let asked: Vec<_> = messages
            .iter()
            .flat_map(|message| {
                let reactions = message.revised.as_ref().map_or(&[][..], |revised| &revised.reactions);
                reactions.iter().map(|reaction| (message.seq, reaction.emoji.as_str()))
            })
            .collect();
        if asked.is_empty() {
            return Ok(vec![Vec::new(); messages.len()]);
        }
        let tables = &self.host.parts.conversations;
        let found = tables.reacts(conversation, self.user.id, &asked).await?;
        let mine: HashSet<_> =
            asked.into_iter().zip(found).filter_map(|(what, on)| on.then_some(what)).collect();
        let of = |message: &'a Message| {
            let reactions = message.revised.as_ref().map_or(&[][..], |revised| &revised.reactions);
            let emojis = reactions.iter().map(|reaction| reaction.emoji.as_str());
            emojis.filter(|emoji| mine.contains(&(message.seq, *emoji))).collect()
        };
        Ok(messages.iter().map(of).collect())
    }
}

impl Wanted {
    fn new(from: From, limit: u64, visible: &Visible, last: u64) -> Self {
        let (mut parts, mut left) = (Vec::new(), limit);
        match from {
            From::Below(before) => {
                let end = before.saturating_sub(1).min(last);
                for part in visible.messages_within(&(1..=end)).rev() {
                    if left == 0 {
                        break;
                    }
                    let taken = (*part.start()).max((*part.end() + 1).saturating_sub(left))..=*part.end();
                    left -= count(&taken);
                    parts.insert(0, taken);
                }
                let lowest = parts.first().map_or(1, |part| *part.start());
                let more = visible.messages_within(&(1..=lowest.saturating_sub(1))).next().is_some();
                Self { range: if more { lowest } else { 1 }..=end, parts, more }
            }
            From::Above(after) => {
                let start = after + 1;
                for part in visible.messages_within(&(start..=last)) {
                    if left == 0 {
                        break;
                    }
                    let taken = *part.start()..=(*part.end()).min(*part.start() + left - 1);
                    left -= count(&taken);
                    parts.push(taken);
                }
                let highest = parts.last().map_or(last, |part| *part.end());
                let more = visible.messages_within(&(highest + 1..=last)).next().is_some();
                Self { range: start..=if more { highest } else { last }, parts, more }
            }
        }
    }
}

fn count(range: &RangeInclusive<u64>) -> u64 {
    range.end() - range.start() + 1
}

/// The numbers of a range that come without a message, neighbours of one reason together.
fn gone(range: &RangeInclusive<u64>, messages: &[Message], hidden: &HashSet<Seq>) -> Vec<object::Gone> {
    let mut all: Vec<object::Gone> = Vec::new();
    let mut add = |from: u64, to: u64, why: Why| match all.last_mut() {
        Some(last) if last.why == why && last.to.0 + 1 == from => last.to = Seq(to),
        _ => all.push(object::Gone { from: Seq(from), to: Seq(to), why }),
    };
    let mut between = |from: u64, to: u64| {
        let mut from = from;
        let mut own: Vec<_> =
            hidden.iter().map(|seq| seq.0).filter(|seq| (from..=to).contains(seq)).collect();
        own.sort_unstable();
        for seq in own {
            if from < seq {
                add(from, seq - 1, Why::NotVisible);
            }
            add(seq, seq, Why::Hidden);
            from = seq + 1;
        }
        if from <= to {
            add(from, to, Why::NotVisible);
        }
    };
    let mut next = *range.start();
    for message in messages {
        if next < message.seq.0 {
            between(next, message.seq.0 - 1);
        }
        next = message.seq.0 + 1;
    }
    if next <= *range.end() {
        between(next, *range.end());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_domain::{
        conversation::{History, Interval, Member, Role, Until},
        id::UserId,
        time::Ms,
    };

    /// Those of a member who was in for these stretches, in a conversation of ten messages.
    fn visible(stretches: &[(u64, Option<u64>)]) -> Visible {
        let interval = |&(after, until): &(u64, Option<u64>)| Interval {
            after_seq: Seq(after),
            after_rev: Rev(0),
            until: until.map(|seq| Until { seq: Seq(seq), rev: Rev(0), at: Ms(1) }),
        };
        let intervals = stretches.iter().map(interval).collect();
        let member = Member { user: UserId::from_u128(1), role: Role::Member, joined_at: Ms(1), intervals };
        let head = Head { last_seq: Seq(10), ..Head::default() };
        Visible::of(&member, History::SinceJoin, head)
    }

    fn wanted(from: From, stretches: &[(u64, Option<u64>)]) -> (u64, u64, Vec<(u64, u64)>, bool) {
        let Wanted { range, parts, more } = Wanted::new(from, 3, &visible(stretches), 10);
        let parts = parts.iter().map(|part| (*part.start(), *part.end())).collect();
        (*range.start(), *range.end(), parts, more)
    }

    #[test]
    fn a_page_upwards_begins_after_the_number_and_skips_what_is_not_visible() {
        let up = |after, from| wanted(From::Above(after), &[(from, None)]);
        assert_eq!(up(0, 0), (1, 3, vec![(1, 3)], true));
        assert_eq!(up(8, 0), (9, 10, vec![(9, 10)], false));
        assert_eq!(up(10, 0), (11, 10, vec![], false));
        assert_eq!(up(0, 5), (1, 8, vec![(6, 8)], true));
        assert_eq!(up(0, 10), (1, 10, vec![], false));
        let twice = wanted(From::Above(0), &[(1, Some(3)), (6, None)]);
        assert_eq!(twice, (1, 7, vec![(2, 3), (7, 7)], true));
    }

    #[test]
    fn a_page_downwards_ends_before_the_number_and_skips_what_is_not_visible() {
        let down = |before, from| wanted(From::Below(before), &[(from, None)]);
        assert_eq!(down(11, 0), (8, 10, vec![(8, 10)], true));
        assert_eq!(down(3, 0), (1, 2, vec![(1, 2)], false));
        assert_eq!(down(1, 0), (1, 0, vec![], false));
        assert_eq!(down(11, 8), (1, 10, vec![(9, 10)], false));
        assert_eq!(down(5, 6), (1, 4, vec![], false));
        let twice = wanted(From::Below(11), &[(1, Some(3)), (8, None)]);
        assert_eq!(twice, (3, 10, vec![(3, 3), (9, 10)], true));
    }

    #[test]
    fn every_number_without_a_message_is_accounted_for() {
        let message = |seq| Message {
            conversation: ConversationId::from_u128(1),
            seq: Seq(seq),
            sender: UserId::from_u128(1),
            client_id: godwit_domain::id::ClientId::from_u128(1),
            sent_at: Ms(1),
            content: godwit_domain::message::Content::text("x"),
            via: None,
            verdict: Default::default(),
            revised: None,
        };
        let hidden = HashSet::from([Seq(4), Seq(5), Seq(9)]);
        let gone = gone(&(1..=9), &[message(3), message(7)], &hidden);
        let told: Vec<_> = gone.iter().map(|gone| (gone.from.0, gone.to.0, gone.why)).collect();
        use Why::{Hidden, NotVisible};
        let expected =
            [(1, 2, NotVisible), (4, 5, Hidden), (6, 6, NotVisible), (8, 8, NotVisible), (9, 9, Hidden)];
        assert_eq!(told, expected);
    }
}
