//! The part of the interface that actors serve and call, as Rust types, and the way between them and the domain's.
//!
//! Everything is owned here: an actor is off the path of messages, and what it is told outlives the caller's borrow.

use godwit_domain::{
    actor, conversation, filter,
    id::{ConversationId, Seq, UserId},
    message,
    time::Ms,
    user,
};
use uuid::Uuid;

wasmtime::component::bindgen!({
    path: "../../wit/0.1",
    inline: "
        package godwit:host;
        world actors {
            import godwit:plugin/kv@0.1.0;
            import godwit:plugin/chat@0.1.0;
            import godwit:plugin/timer@0.1.0;
            import godwit:plugin/http@0.1.0;
            import godwit:plugin/secret@0.1.0;
            export godwit:plugin/lifecycle@0.1.0;
            export godwit:plugin/bot@0.1.0;
            export godwit:plugin/command@0.1.0;
            export godwit:plugin/notifier@0.1.0;
            export godwit:plugin/inbound@0.1.0;
        }
    ",
    world: "godwit:host/actors",
    imports: { default: async },
    exports: { default: async },
});

/// What filters and actors may both call: answered from memory, so never awaited.
pub(crate) mod memory {
    wasmtime::component::bindgen!({
        path: "../../wit/0.1",
        inline: "
            package godwit:host;
            world memory {
                import godwit:plugin/state@0.1.0;
                import godwit:plugin/zone@0.1.0;
            }
        ",
        world: "godwit:host/memory",
    });

    pub(crate) use godwit::plugin::{state, zone};
}

pub(crate) use exports::godwit::plugin::{bot, command, inbound, lifecycle, notifier};
pub(crate) use godwit::plugin::{chat, errors, http, kv, secret, timer, types};

pub(crate) fn id(id: Uuid) -> types::Id {
    let (hi, lo) = id.as_u64_pair();
    types::Id { hi, lo }
}

pub(crate) fn uuid(id: types::Id) -> Uuid {
    Uuid::from_u64_pair(id.hi, id.lo)
}

pub(crate) fn user(user: &user::User) -> types::User {
    types::User {
        id: id(user.id.0),
        name: user.name.clone(),
        display_name: user.display_name.clone(),
        bot: user.bot,
        joined_at: user.joined_at.0,
        time_zone: user.time_zone.clone(),
    }
}

pub(crate) fn role(role: conversation::Role) -> types::Role {
    match role {
        conversation::Role::Reader => types::Role::Reader,
        conversation::Role::Member => types::Role::Member,
        conversation::Role::Admin => types::Role::Admin,
        conversation::Role::Owner => types::Role::Owner,
    }
}

fn place(place: &filter::Place) -> types::Conversation {
    types::Conversation {
        id: id(place.id.0),
        kind: match place.kind {
            conversation::Kind::Direct => types::ConversationKind::Direct,
            conversation::Kind::Group => types::ConversationKind::Group,
            conversation::Kind::Channel => types::ConversationKind::Channel,
        },
        title: place.title.clone(),
        member_count: place.member_count,
        encrypted: place.encrypted,
        labels: place.labels.clone(),
    }
}

/// Content as plugins see it: of an encrypted message neither body nor attachments.
fn content(content: &message::Content) -> types::Content {
    let kind = match content.kind {
        message::Kind::Text => types::ContentKind::Text,
        message::Kind::Image => types::ContentKind::Image,
        message::Kind::File => types::ContentKind::File,
        message::Kind::Video => types::ContentKind::Video,
        message::Kind::Audio => types::ContentKind::Audio,
        message::Kind::System => types::ContentKind::System,
        message::Kind::Encrypted => types::ContentKind::Encrypted,
    };
    let open = content.kind != message::Kind::Encrypted;
    let attachments = content.attachments.iter().filter(|_| open).map(|attachment| types::Attachment {
        media: id(attachment.media),
        name: attachment.name.clone(),
        media_type: attachment.media_type.clone(),
        size: attachment.size,
        width: attachment.width,
        height: attachment.height,
    });
    types::Content {
        kind,
        body: if open { content.body.clone() } else { String::new() },
        attachments: attachments.collect(),
        reply_to: content.reply_to.map(|seq| seq.0),
        thread: content.thread.map(|seq| seq.0),
        mentions: content.mentions.iter().map(|user| id(user.0)).collect(),
        expires_in_s: content.expires_in_s,
    }
}

pub(crate) fn message(message: &message::Message) -> types::Message {
    types::Message {
        conversation: id(message.conversation.0),
        seq: message.seq.0,
        sender: id(message.sender.0),
        sent_at: message.sent_at.0,
        content: content(&message.content),
        edited: message.revised.as_ref().is_some_and(|revised| revised.edited.is_some()),
        via: message.via.clone(),
    }
}

/// What a guest wants to be said; sizes are still to be checked.
pub(crate) fn said(content: types::Content) -> message::Content {
    let types::Content { kind, body, attachments, reply_to, thread, mentions, expires_in_s } = content;
    let attachments = attachments.into_iter().map(|attachment| message::Attachment {
        media: uuid(attachment.media),
        name: attachment.name,
        media_type: attachment.media_type,
        size: attachment.size,
        width: attachment.width,
        height: attachment.height,
    });
    message::Content {
        kind: match kind {
            types::ContentKind::Text => message::Kind::Text,
            types::ContentKind::Image => message::Kind::Image,
            types::ContentKind::File => message::Kind::File,
            types::ContentKind::Video => message::Kind::Video,
            types::ContentKind::Audio => message::Kind::Audio,
            types::ContentKind::System => message::Kind::System,
            types::ContentKind::Encrypted => message::Kind::Encrypted,
        },
        body,
        attachments: attachments.collect(),
        reply_to: reply_to.map(Seq),
        thread: thread.map(Seq),
        mentions: mentions.into_iter().map(|user| UserId(uuid(user))).collect(),
        expires_in_s,
    }
}

pub(crate) fn event(event: &actor::Event) -> bot::Event {
    use actor::What;
    let what = match &event.what {
        What::Message { message: told, sender, mentioned } => {
            let said = bot::Said { message: message(told), sender: user(sender) };
            if *mentioned { bot::What::Mentioned(said) } else { bot::What::Message(said) }
        }
        What::Edited { message: told, by } => {
            bot::What::Edited(bot::Edited { message: message(told), by: id(by.0) })
        }
        What::Deleted { seq, by } => bot::What::Deleted(bot::Deleted { seq: seq.0, by: id(by.0) }),
        What::Reaction { seq, emoji, on, by } => {
            bot::What::Reaction(bot::Reaction { seq: seq.0, emoji: emoji.clone(), on: *on, by: id(by.0) })
        }
        What::Joined { user, by } => bot::What::Joined(bot::Moved { user: id(user.0), by: id(by.0) }),
        What::Left { user, by } => bot::What::Left(bot::Moved { user: id(user.0), by: id(by.0) }),
        What::Timer { name, at, payload } => {
            bot::What::Timer(bot::Alarm { name: name.clone(), at: at.0, payload: payload.clone() })
        }
        What::Sent { reference, fate } => {
            bot::What::Sent(bot::Sent { ref_: reference.clone(), fate: told_fate(fate) })
        }
    };
    bot::Event { id: event.id.clone(), at: event.at.0, conversation: event.place.as_ref().map(place), what }
}

fn told_fate(fate: &actor::Fate) -> bot::Fate {
    match fate {
        actor::Fate::Accepted(conversation, seq) => {
            bot::Fate::Accepted(bot::Accepted { conversation: id(conversation.0), seq: seq.0 })
        }
        actor::Fate::Held => bot::Fate::Held,
        actor::Fate::Refused { code, text } => {
            bot::Fate::Refused(bot::Refused { code: code.clone(), text: text.clone() })
        }
    }
}

pub(crate) fn invocation(invocation: &actor::Invocation) -> command::Invocation {
    use actor::Value;
    let given = |(name, value): &(String, Value)| command::Given {
        name: name.clone(),
        value: match value {
            Value::Text(text) => command::Value::Text(text.clone()),
            Value::Integer(number) => command::Value::Integer(*number),
            Value::Number(number) => command::Value::Number(*number),
            Value::User(user) => command::Value::User(id(user.0)),
            Value::Duration(ms) => command::Value::Duration(*ms),
            Value::Choice(choice) => command::Value::Choice(choice.clone()),
        },
    };
    command::Invocation {
        name: invocation.name.clone(),
        arguments: invocation.arguments.iter().map(given).collect(),
        conversation: place(&invocation.place),
        caller: user(&invocation.caller),
        role: role(invocation.role),
    }
}

pub(crate) fn request(request: &actor::Request) -> inbound::Request {
    let header =
        |(name, value): &(String, String)| inbound::Header { name: name.clone(), value: value.clone() };
    inbound::Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.iter().map(header).collect(),
        body: request.body.clone(),
        address: request.address.clone(),
    }
}

pub(crate) fn notification(told: &actor::Notification) -> notifier::Notification {
    notifier::Notification {
        kind: told.kind.clone(),
        endpoint: told.endpoint.clone(),
        keys: told.keys.clone(),
        user: id(told.user.0),
        device: told.device.clone(),
        conversation: id(told.conversation.0),
        seq: told.seq.0,
        sender: id(told.sender.0),
        preview: told.preview.clone(),
    }
}

pub(crate) fn target(target: chat::Target) -> actor::Target {
    match target {
        chat::Target::Conversation(place) => actor::Target::Conversation(ConversationId(uuid(place))),
        chat::Target::User(user) => actor::Target::User(UserId(uuid(user))),
    }
}

pub(crate) fn named(named: chat::Named) -> actor::Named {
    match named {
        chat::Named::Number(number) => {
            actor::Named::Number(ConversationId(uuid(number.conversation)), Seq(number.seq))
        }
        chat::Named::Ref(reference) => actor::Named::Sent(reference),
    }
}

pub(crate) fn member(member: &conversation::Member) -> chat::Member {
    chat::Member { user: id(member.user.0), role: role(member.role), joined_at: member.joined_at.0 }
}

pub(crate) fn outcome(outcome: notifier::Outcome) -> actor::Notified {
    match outcome {
        notifier::Outcome::Sent => actor::Notified::Sent,
        notifier::Outcome::Gone => actor::Notified::Gone,
        notifier::Outcome::Later(at) => actor::Notified::Later(Ms(at)),
    }
}

impl From<actor::Denied> for errors::ServiceError {
    fn from(denied: actor::Denied) -> Self {
        match denied {
            actor::Denied::Denied(why) => Self::Denied(why),
            actor::Denied::NotFound => Self::NotFound,
            actor::Denied::Invalid(why) => Self::Invalid(why),
            actor::Denied::Encrypted => Self::Encrypted,
            actor::Denied::Unavailable(why) => Self::Unavailable(why),
        }
    }
}
