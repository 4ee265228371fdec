//! The plugin interface as Rust types, generated from `wit/0.1`, and what the domain's types become in it.
//!
//! Start with [`Told`] and [`Shown`]: they borrow, so that a call copies each string once, into the guest.

use crate::faults::{self, Fault};
use godwit_domain::{conversation, filter, id::UserId, message, user::User};

wasmtime::component::bindgen!({
    path: "../../wit/0.1",
    inline: "
        package godwit:host;
        world filters {
            import godwit:plugin/log@0.1.0;
            import godwit:plugin/rate@0.1.0;
            export godwit:plugin/lifecycle@0.1.0;
            export godwit:plugin/normalise@0.1.0;
            export godwit:plugin/moderation@0.1.0;
            export godwit:plugin/fan-out@0.1.0;
            export godwit:plugin/delivery@0.1.0;
        }
    ",
    world: "godwit:host/filters",
    ownership: Borrowing { duplicate_if_necessary: true },
    exports: { default: async },
});

pub(crate) use exports::godwit::plugin::{delivery, fan_out, lifecycle, moderation, normalise};
pub(crate) use godwit::plugin::{log, rate, types};

/// A scene in the interface's terms, borrowed; kept for a whole pass through the filters.
pub(crate) struct Told<'a> {
    scene: &'a filter::Scene,
    labels: Vec<&'a str>,
}

impl<'a> Told<'a> {
    pub(crate) fn new(scene: &'a filter::Scene) -> Self {
        let labels = scene.conversation.iter().flat_map(|place| &place.labels).map(String::as_str).collect();
        Self { scene, labels }
    }

    /// The scene that it is told of.
    pub(crate) fn told(&self) -> &'a filter::Scene {
        self.scene
    }

    pub(crate) fn scene(&self) -> types::Scene<'_> {
        let filter::Scene { now, conversation, sender, sender_role, activity, via } = self.scene;
        types::Scene {
            now: now.0,
            conversation: conversation.as_ref().map(|place| types::Conversation {
                id: id(place.id.0),
                kind: match place.kind {
                    conversation::Kind::Direct => types::ConversationKind::Direct,
                    conversation::Kind::Group => types::ConversationKind::Group,
                    conversation::Kind::Channel => types::ConversationKind::Channel,
                },
                title: place.title.as_deref(),
                member_count: place.member_count,
                encrypted: place.encrypted,
                labels: &self.labels,
            }),
            sender: user(sender),
            sender_role: sender_role.map(role),
            activity: types::SenderActivity {
                here: activity.here.map(counts),
                overall: counts(activity.overall),
                same_body_60s: activity.same_body_60s,
                member_since: activity.member_since.map(|at| at.0),
            },
            via: via.as_deref(),
        }
    }
}

fn counts(counts: filter::Counts) -> types::Counts {
    types::Counts {
        messages_10s: counts.messages_10s,
        messages_60s: counts.messages_60s,
        messages_1h: counts.messages_1h,
    }
}

fn id(id: uuid::Uuid) -> types::Id {
    let (hi, lo) = id.as_u64_pair();
    types::Id { hi, lo }
}

/// Users by their ids alone.
pub(crate) fn ids(users: &[UserId]) -> Vec<types::Id> {
    users.iter().map(|user| id(user.0)).collect()
}

fn user(user: &User) -> types::User<'_> {
    types::User {
        id: id(user.id.0),
        name: &user.name,
        display_name: user.display_name.as_deref(),
        bot: user.bot,
        joined_at: user.joined_at.0,
        time_zone: user.time_zone.as_deref(),
    }
}

fn role(role: conversation::Role) -> types::Role {
    match role {
        conversation::Role::Reader => types::Role::Reader,
        conversation::Role::Member => types::Role::Member,
        conversation::Role::Admin => types::Role::Admin,
        conversation::Role::Owner => types::Role::Owner,
    }
}

/// A message in the interface's terms. `content` is what it shows of it.
pub(crate) fn message<'a>(message: &'a message::Message, content: &'a Shown<'_>) -> types::Message<'a> {
    types::Message {
        conversation: id(message.conversation.0),
        seq: message.seq.0,
        sender: id(message.sender.0),
        sent_at: message.sent_at.0,
        content: content.content(),
        edited: message.revised.as_ref().is_some_and(|revised| revised.edited.is_some()),
        via: message.via.as_deref(),
    }
}

/// A recipient in the interface's terms, borrowed.
pub(crate) fn recipient(recipient: &filter::Recipient) -> delivery::Recipient<'_> {
    let filter::Recipient { user: who, role: what, online, active, mentioned, muted_until } = recipient;
    delivery::Recipient {
        user: user(who),
        role: role(*what),
        online: *online,
        active: *active,
        mentioned: *mentioned,
        muted_until: muted_until.map(|at| at.0),
    }
}

/// Content in the interface's terms, borrowed. Of an encrypted message plugins see size, kind and scene only.
pub(crate) struct Shown<'a> {
    content: &'a message::Content,
    attachments: Vec<types::Attachment<'a>>,
    mentions: Vec<types::Id>,
}

impl<'a> Shown<'a> {
    pub(crate) fn new(content: &'a message::Content) -> Self {
        let open = content.kind != message::Kind::Encrypted;
        let attachments = content.attachments.iter().filter(|_| open).map(|attachment| types::Attachment {
            media: id(attachment.media),
            name: &attachment.name,
            media_type: &attachment.media_type,
            size: attachment.size,
            width: attachment.width,
            height: attachment.height,
        });
        Self { content, attachments: attachments.collect(), mentions: ids(&content.mentions) }
    }

    pub(crate) fn content(&self) -> types::Content<'_> {
        let kind = match self.content.kind {
            message::Kind::Text => types::ContentKind::Text,
            message::Kind::Image => types::ContentKind::Image,
            message::Kind::File => types::ContentKind::File,
            message::Kind::Video => types::ContentKind::Video,
            message::Kind::Audio => types::ContentKind::Audio,
            message::Kind::System => types::ContentKind::System,
            message::Kind::Encrypted => types::ContentKind::Encrypted,
        };
        types::Content {
            kind,
            body: if kind == types::ContentKind::Encrypted && !faults::on(Fault::EncryptedShown) {
                ""
            } else {
                &self.content.body
            },
            attachments: &self.attachments,
            reply_to: self.content.reply_to.map(|seq| seq.0),
            thread: self.content.thread.map(|seq| seq.0),
            mentions: &self.mentions,
            expires_in_s: self.content.expires_in_s,
        }
    }
}
