//! The plugin interface as Rust types, generated from `wit/0.1`, and what the domain's types become in it.
//!
//! Start with [`Told`]: it borrows from a scene, so that a call copies each string once, into the guest.

use godwit_domain::{conversation, filter, message};

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
        }
    ",
    world: "godwit:host/filters",
    ownership: Borrowing { duplicate_if_necessary: true },
    exports: { default: async },
});

pub(crate) use exports::godwit::plugin::{lifecycle, moderation, normalise};
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
            sender: types::User {
                id: id(sender.id.0),
                name: &sender.name,
                display_name: sender.display_name.as_deref(),
                bot: sender.bot,
                joined_at: sender.joined_at.0,
                time_zone: sender.time_zone.as_deref(),
            },
            sender_role: sender_role.map(|role| match role {
                conversation::Role::Reader => types::Role::Reader,
                conversation::Role::Member => types::Role::Member,
                conversation::Role::Admin => types::Role::Admin,
                conversation::Role::Owner => types::Role::Owner,
            }),
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
        let mentions = content.mentions.iter().map(|user| id(user.0)).collect();
        Self { content, attachments: attachments.collect(), mentions }
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
            body: if kind == types::ContentKind::Encrypted { "" } else { &self.content.body },
            attachments: &self.attachments,
            reply_to: self.content.reply_to.map(|seq| seq.0),
            thread: self.content.thread.map(|seq| seq.0),
            mentions: &self.mentions,
            expires_in_s: self.content.expires_in_s,
        }
    }
}
