//! Conversations as their members see them, and pages of them.

use crate::sequencer::{Standing, View};
use godwit_domain::{
    conversation::{Kind, Posting, Role},
    id::{ConversationId, UserId},
    time::Ms,
    user::User,
};
use godwit_protocol::{error::Error, object};

/// The object of a conversation for `user`. `peer` is the other one of a direct conversation.
pub fn object<'a>(view: &'a View, user: UserId, peer: Option<&'a User>) -> object::Conversation<'a> {
    let direct = view.meta.kind == Kind::Direct;
    // One's own are no secret, of notes.
    let shown = |marked| marked == user || (peer.is_none_or(|peer| peer.privacy.receipts) && !view.blocked);
    let peer_marks = view.peer.filter(|(marked, _)| shown(*marked)).map(|(_, marks)| marks);
    let settings = &view.settings;
    object::Conversation {
        id: view.meta.id,
        kind: view.meta.kind,
        title: view.meta.title.as_deref(),
        avatar: view.meta.avatar,
        peer: peer.filter(|_| direct).map(|peer| object::User::from(peer).guarded(view.blocked)),
        members: view.members.clone(),
        member_count: view.member_count,
        role: view.role,
        open: view.meta.open,
        encrypted: false,
        history: view.meta.history,
        posting: (!view.meta.may_post(Role::Member)).then_some(Posting::Admins),
        slow_mode_s: Some(view.meta.slow_mode_s).filter(|seconds| *seconds > 0),
        last_seq: view.head.last_seq,
        last_rev: view.head.last_rev,
        last_message: view
            .last
            .as_deref()
            .map(|message| object::Message::new(message, message.sender == user)),
        read_seq: view.marks.read,
        received_seq: view.marks.received,
        unread: view.head.last_seq.0.saturating_sub(view.marks.read.0),
        hidden: view.hidden,
        peer_read_seq: peer_marks.map(|marks| marks.read),
        peer_received_seq: peer_marks.map(|marks| marks.received),
        muted_until: settings.muted_until,
        label: settings.label.as_deref(),
        pinned: settings.pinned,
        archived: settings.archived,
        left: view.standing == Standing::Left,
        updated_at: view.head.changed_at,
    }
}

/// Where a list of conversations, newest first, goes on: after the one that changed at that time and has that id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// When it changed.
    pub changed_at: Ms,
    /// Which.
    pub conversation: ConversationId,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}.{}", self.changed_at.0, self.conversation.0.simple())
    }
}

impl std::str::FromStr for Place {
    type Err = Error;

    fn from_str(page: &str) -> Result<Self, Error> {
        let parse = || {
            let (changed_at, conversation) = page.split_once('.')?;
            Some(Self {
                changed_at: Ms(u64::from_str_radix(changed_at, 16).ok()?),
                conversation: ConversationId(conversation.parse().ok()?),
            })
        };
        parse().ok_or_else(|| Error::invalid("page", "`page` is not one that this list gave"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back_as_the_place_it_was_made_of() {
        let place = Place { changed_at: Ms(1_700_000_000_000), conversation: ConversationId::from_u128(7) };
        assert_eq!(place.to_string().parse(), Ok(place));
        for page in ["", ".", "x.y", "1", "1.zz", &"9".repeat(300)] {
            assert_eq!(page.parse::<Place>().unwrap_err().field.as_deref(), Some("page"));
        }
    }
}
