//! The bytes of every kind of row (but for the hint of the last bucket, which may be lost), so that the format does not change by accident.
//!
//! A payload is written as its type stands in the domain: a new or moved field there is a new format. When this test
//! fails for such a reason, give records a new version, read the old one too, and say so in `FORMAT.md`.

use crate::common::{
    House, Lying, NOW, after, client, creation, delete, edit, following, invitation, react, revising, user,
};
use crate::deferrals::deferred;
use crate::held::{held, rejection};
use godwit_domain::{
    actor::{self, Argument, ArgumentKind, CommandSpec, Served},
    contact::{Relation, Side, State},
    conversation::{Kind, Link, Marks, Meta, Rise, Role, SettingsChange},
    filter::{Decision, Hook, Step, Verdict},
    held::{Settled, Why},
    id::{ConversationId, Generation, LoginId, Seq},
    kept::Secrets,
    message::{Attachment, Content, Message, Reaction},
    plugin::{
        Candidate, Digest, Installation, OnFailure, OnOpen, Poisoned, Policy, Quarantine, Release, Reverted,
        Roster, Scope, Trial,
    },
    revision::{MetaChange, Reacted, What},
    tables::{
        Accounts, Append, Appended, Conversations, Deferrals, HeldDrafts, LastSeen, Plugins, Relations,
        Written,
    },
    user::{Account, Login, Privacy, Shown, User},
    waist::{Partition, Put, Row},
};
use std::{fmt::Write, sync::Arc};

const GOLDEN: &str = include_str!("golden.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn line(partition: &Partition, row: &Row, rest: &str) -> String {
    format!("{:?} {} {} {}{rest}\n", partition.space, hex(&partition.name), hex(&row.key), hex(&row.value))
}

fn put_line(partition: &Partition, put: &Put) -> String {
    let ends = put.expires_at.map(|at| format!(" until {at}")).unwrap_or_default();
    line(partition, &put.row, &ends)
}

/// Writes at least one row of every kind, all with fixed contents.
async fn write_all(house: &House, store: Arc<Lying>) {
    let tables = house.by_way_of(store);
    let ada = User {
        id: user(1),
        name: "ada".into(),
        display_name: Some("Ada".into()),
        bot: false,
        time_zone: None,
        joined_at: NOW,
        avatar: Some(uuid::Uuid::from_u128(0xface)),
        privacy: Privacy { presence: Shown::Contacts, receipts: false },
    };
    let account =
        Account { user: ada, password_hash: Some("hash".into()), disabled: false, token_version: 3 };
    assert_eq!(tables.create_account(&account).await, Ok(Written::Yes));
    let login =
        Login { id: LoginId::from_u128(5), user: user(1), refreshes: 2, since: NOW, expires_at: NOW.plus(9) };
    tables.create_login(&login).await.unwrap();

    let id = ConversationId::from_u128(0xc0ffee);
    let (head, _) = tables.change(id, None, &creation(id, Kind::Group, 1), NOW).await.unwrap().unwrap();
    let message = Message {
        content: Content {
            attachments: vec![Attachment {
                media: id.0,
                name: "sea.png".into(),
                media_type: "image/png".into(),
                size: 300,
                width: Some(640),
                height: None,
            }],
            reply_to: Some(Seq(1)),
            thread: None,
            mentions: vec![user(2)],
            expires_in_s: Some(60),
            ..Content::text("hello")
        },
        via: Some("helpbot".into()),
        verdict: Verdict {
            generation: Generation(4),
            steps: vec![Step { plugin: 1, hook: Hook::Moderation, decision: Decision::Allow, micros: 300 }],
        },
        ..crate::common::message(id, 1, "")
    };
    let messages = vec![(Arc::new(message), 77)];
    let append = Append { conversation: id, head, changed_at: NOW.plus(1), messages };
    let head = after(&append);
    assert_eq!(tables.append(vec![append]).await, [Appended::Yes]);
    let mut append = following(id, head, 1);
    for (message, _) in &mut append.messages {
        Arc::make_mut(message).content.thread = Some(Seq(1));
    }
    let head = after(&append);
    assert_eq!(tables.append(vec![append]).await, [Appended::Yes]);
    let mut changed = invitation([2], Seq(1));
    let title = Some("Sailors".to_owned());
    changed.meta = creation(id, Kind::Group, 1).meta.map(|meta| Meta { title: title.clone(), ..meta });
    let meta = What::Meta(MetaChange { title: Some(title), ..MetaChange::default() });
    let left = What::Leave { user: user(3), reason: Some("noise".into()) };
    let role = What::Role { user: user(1), role: Role::Owner };
    let reacts = What::Reacts {
        seq: Seq(1),
        counts: vec![Reaction { emoji: "!".into(), count: 2 }, Reaction { emoji: "+".into(), count: 0 }],
        reacted: [(2, "!", true), (3, "!", true), (1, "+", false)]
            .map(|(number, emoji, on)| Reacted { user: user(number), emoji: emoji.into(), on })
            .into(),
    };
    let messages = [edit(1, "other"), react(1, "+", true, 1), reacts, delete(2)];
    let rest = revising([meta, left, role].into_iter().chain(messages).map(|what| (1, what)));
    changed.revisions.extend(rest.revisions);
    changed.revisions[1].client_id = Some(client(9));
    assert!(tables.change(id, Some(head), &changed, NOW.plus(3)).await.unwrap().is_some());
    let to = Marks { received: Seq(1), read: Seq(1) };
    let rise = Rise { conversation: id, user: user(1), peer: Some(user(2)), to, at: NOW.plus(4) };
    tables.raise_marks(&[rise]).await.unwrap();
    assert_eq!(tables.hide(user(1), id, Seq(2), NOW.plus(5)).await, Ok(1));
    tables.raise_change_bound(NOW.plus(6)).await.unwrap();
    tables.note_peer_changed(&[(user(1), id)], NOW.plus(7)).await.unwrap();
    tables.raise_last_seen(&[(user(1), NOW.plus(8))]).await.unwrap();

    let expires_at = Some(NOW.plus(60_000));
    let link = Link { secret: id.0, by: user(1), created_at: NOW, expires_at };
    tables.put_link(id, &link).await.unwrap();
    let settings = SettingsChange {
        muted_until: Some(Some(NOW.plus(60_000))),
        label: Some(Some("work".into())),
        pinned: Some(true),
        archived: Some(true),
    };
    assert!(tables.set(user(1), id, &settings, NOW.plus(7)).await.unwrap().is_some());
    let side = |state| Side { state, since: NOW.plus(8) };
    let blocked = Relation::of(user(1), user(2), (side(State::Blocked), side(State::None)), NOW.plus(8));
    let nothing = Relation::default();
    assert_eq!(tables.relate(user(1), user(2), &nothing, &blocked).await, Ok(Written::Yes));

    let drafts = [held(1, 1, Why::Decided), held(2, 1, Why::Failed), held(3, 1, Why::Behind)];
    assert_eq!(tables.hold(&drafts).await, Ok(Written::Yes));
    let rejected = Settled { sender: user(1), client_id: client(1), rejection: Some(rejection()) };
    tables.settle(drafts[0].conversation, &[rejected], NOW).await.unwrap();

    tables.defer(&[deferred(1, id, 7)]).await.unwrap();

    let release = Release {
        version: "1.2.0".into(),
        digest: Digest([7; 32]),
        manifest: "id".into(),
        config: "{}".into(),
        grants: vec!["kv".into()],
        hooks: vec![Hook::Normalise, Hook::Moderation],
        actor: Some(served()),
        priority: -3,
        on_failure: OnFailure::Hold,
        on_open: OnOpen::Allow,
        asks: vec!["kv".into(), "send".into()],
        imports: vec!["godwit:plugin/kv@0.1.0".into()],
        installed_at: NOW,
    };
    let trial = Trial::Canary { percent: 10 };
    let candidate = Candidate { release: Release { version: "1.3.0".into(), ..release.clone() }, trial };
    let scope = Scope { kinds: vec![Kind::Group], labels: vec!["press".into()], conversations: vec![id] };
    let policy = Policy {
        disabled: true,
        pinned: true,
        priority: Some(-1),
        on_failure: Some(OnFailure::Hold),
        on_open: Some(OnOpen::Allow),
        scope,
    };
    let (from, to, why) = ("1.4.0".into(), "1.2.0".into(), "traps".to_owned());
    let installation = Installation {
        candidate: Some(candidate),
        policy,
        quarantine: Some(Quarantine { why: why.clone(), at: NOW }),
        reverted: Some(Reverted { from, to, why, at: NOW }),
        ..Installation::new("wordfilter".into(), release)
    };
    let roster = Roster { generation: Generation(1), plugins: vec![installation] };
    assert_eq!(tables.replace_roster(Generation::ZERO, &roster).await, Ok(Written::Yes));
    tables.put_component(Digest([7; 32]), b"component").await.unwrap();
    tables.put_upload(Digest([7; 32]), 9, NOW).await.unwrap();
    let poisoned = Poisoned {
        hash: "07".repeat(32),
        hook: "moderation".into(),
        version: "1.2.0".into(),
        how: "trap".into(),
        at: NOW,
        until: NOW.plus(60_000),
    };
    tables.put_poisoned("wordfilter", &poisoned).await.unwrap();
    tables.put_secret("wordfilter", "token", "secret").await.unwrap();
}

/// What a version says of itself, with and without what may be empty.
pub fn served() -> Served {
    let argument = |choices: &[&str]| Argument {
        name: "what".into(),
        kind: ArgumentKind::Choice,
        required: true,
        help: "Which.".into(),
        choices: choices.iter().map(|choice| (*choice).into()).collect(),
    };
    let arguments = vec![argument(&["tea"]), argument(&[])];
    Served {
        hooks: vec![actor::Hook::Bot, actor::Hook::Command],
        events: vec![actor::EventKind::Mentioned],
        commands: vec![CommandSpec { name: "brew".into(), help: "Brews.".into(), arguments }],
        kinds: vec!["fcm".into()],
    }
}

#[tokio::test]
async fn every_kind_of_row_has_the_bytes_that_the_format_says() {
    let house = House::new();
    let store = Lying::over(house.store.clone(), false);
    write_all(&house, store.clone()).await;
    let written = written(&store);
    assert!(written == GOLDEN, "the format has changed; it is now:\n{written}");
}

/// Everything that the store was asked to write, a line for each row.
pub fn written(store: &Lying) -> String {
    let mut lines: Vec<String> = Vec::new();
    for batch in store.commits.lock().unwrap().iter().flatten() {
        lines.extend(batch.puts.iter().map(|put| put_line(&batch.partition, put)));
    }
    lines.extend(store.puts.lock().unwrap().iter().map(|(partition, put)| put_line(partition, put)));
    for raise in store.raises.lock().unwrap().iter() {
        let row = Row { key: raise.key.clone(), value: raise.value.clone() };
        lines.push(line(&raise.partition, &row, &format!(" version {}", raise.version)));
    }
    // Steps that run side by side have no order.
    lines.sort();
    // Whoever comes in is listed twice, with the same bytes.
    lines.dedup();
    let mut written = String::new();
    lines.iter().for_each(|line| write!(written, "{line}").unwrap());
    written
}
