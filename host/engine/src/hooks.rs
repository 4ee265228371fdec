//! The hooks of filters: what each is asked, and the one way to ask it.
//!
//! It owns the step from the host's question to a typed call of a guest's export; it refuses to know budgets, and what
//! an answer leads to. Start with [`Question`].

use crate::{
    answer::{self, Answer},
    bindings::{self, Shown, Told, delivery, fan_out, moderation, normalise},
    options::Options,
    state::State,
};
use godwit_domain::{
    filter::{Facts, Hook, Recipient, Wording},
    message::{Content, Message},
    time::Ms,
};
use wasmtime::{
    Store,
    component::{self, InstancePre},
};

/// What a filter is asked beside the scene.
#[derive(Clone, Copy)]
pub(crate) enum Question<'a> {
    /// Whether the content is to be something else.
    Normalise(&'a Content),
    /// Whether people may read it.
    Review(Subject<'a>),
    /// Who is told. `members` says whether it may see who is in.
    Choose { message: &'a Message, facts: &'a Facts, members: bool },
    /// With what attention; at the present time.
    Decide { message: &'a Message, recipients: &'a [Recipient], now: Ms },
}

/// What is judged.
#[derive(Clone, Copy)]
pub(crate) enum Subject<'a> {
    Message(&'a Content),
    Edit { original: &'a Message, content: &'a Content },
    Wording(Wording<'a>),
}

impl Question<'_> {
    pub(crate) fn hook(&self) -> Hook {
        match self {
            Self::Normalise(_) => Hook::Normalise,
            Self::Review(_) => Hook::Moderation,
            Self::Choose { .. } => Hook::FanOut,
            Self::Decide { .. } => Hook::Delivery,
        }
    }
}

/// The exports of one instance.
#[derive(Default)]
pub(crate) struct Guests {
    normalise: Option<normalise::Guest>,
    moderation: Option<moderation::Guest>,
    fan_out: Option<fan_out::Guest>,
    delivery: Option<delivery::Guest>,
}

impl Guests {
    /// Looks up what an instance exports for these hooks.
    pub(crate) fn load(
        hooks: &[Hook],
        pre: &InstancePre<State>,
        store: &mut Store<State>,
        instance: &component::Instance,
    ) -> wasmtime::Result<Self> {
        let mut guests = Self::default();
        for hook in hooks {
            let loaded = match hook {
                Hook::Normalise => normalise::GuestIndices::new(pre)
                    .and_then(|guest| guest.load(&mut *store, instance))
                    .map(|guest| guests.normalise = Some(guest)),
                Hook::Moderation => moderation::GuestIndices::new(pre)
                    .and_then(|guest| guest.load(&mut *store, instance))
                    .map(|guest| guests.moderation = Some(guest)),
                Hook::FanOut => fan_out::GuestIndices::new(pre)
                    .and_then(|guest| guest.load(&mut *store, instance))
                    .map(|guest| guests.fan_out = Some(guest)),
                Hook::Delivery => delivery::GuestIndices::new(pre)
                    .and_then(|guest| guest.load(&mut *store, instance))
                    .map(|guest| guests.delivery = Some(guest)),
            };
            loaded.map_err(|error| typed(hook.name(), error))?;
        }
        Ok(guests)
    }

    /// Asks, and checks the answer: within the `Result` of the call, whether the answer is one.
    pub(crate) async fn ask(
        &self,
        store: &mut Store<State>,
        told: &Told<'_>,
        question: Question<'_>,
        options: &Options,
    ) -> wasmtime::Result<Result<Answer, String>> {
        let scene = told.scene();
        match question {
            Question::Normalise(content) => {
                let Some(guest) = &self.normalise else { return Ok(unserved(question)) };
                let shown = Shown::new(content);
                let answer = guest.call_normalise(store, scene, shown.content()).await?;
                Ok(answer::normalised(answer, content, options))
            }
            Question::Review(subject) => {
                let Some(guest) = &self.moderation else { return Ok(unserved(question)) };
                Ok(answer::reviewed(review(guest, store, scene, subject).await?))
            }
            Question::Choose { message, facts, members } => {
                let Some(guest) = &self.fan_out else { return Ok(unserved(question)) };
                let shown = Shown::new(&message.content);
                let members = facts.members.as_ref().filter(|_| members);
                let (admins, mentioned) = (bindings::ids(&facts.admins), bindings::ids(&facts.mentioned));
                let member_ids = members.map(|members| bindings::ids(members));
                let told = fan_out::Facts {
                    follow_above: facts.follow_above,
                    member_count: facts.member_count,
                    follower_count: facts.follower_count,
                    online_count: facts.online_count,
                    admins: &admins,
                    mentioned: &mentioned,
                    members: member_ids.as_deref(),
                };
                let answer =
                    guest.call_choose(store, scene, bindings::message(message, &shown), told).await?;
                Ok(answer::chosen(answer, facts.member_count, members.map(Vec::as_slice)))
            }
            Question::Decide { message, recipients, now } => {
                let Some(guest) = &self.delivery else { return Ok(unserved(question)) };
                let shown = Shown::new(&message.content);
                let told: Vec<_> = recipients.iter().map(bindings::recipient).collect();
                let answer =
                    guest.call_decide(store, scene, bindings::message(message, &shown), &told).await?;
                Ok(answer::decided(&answer, recipients.len(), now))
            }
        }
    }
}

async fn review(
    guest: &moderation::Guest,
    store: &mut Store<State>,
    scene: bindings::types::Scene<'_>,
    subject: Subject<'_>,
) -> wasmtime::Result<moderation::Verdict> {
    let (content, original) = match subject {
        Subject::Wording(wording) => {
            let subject = match wording {
                Wording::Title(text) => moderation::Subject::Title(text),
                Wording::UserName(text) => moderation::Subject::UserName(text),
                Wording::DisplayName(text) => moderation::Subject::DisplayName(text),
                Wording::FileName(text) => moderation::Subject::FileName(text),
                Wording::Reaction(text) => moderation::Subject::Reaction(text),
            };
            return guest.call_review(store, scene, subject).await;
        }
        Subject::Message(content) => (Shown::new(content), None),
        Subject::Edit { original, content } => (Shown::new(content), Some(original)),
    };
    let Some(original) = original else {
        return guest.call_review(store, scene, moderation::Subject::Message(content.content())).await;
    };
    let before = Shown::new(&original.content);
    let edit =
        moderation::Edit { original: bindings::message(original, &before), content: content.content() };
    guest.call_review(store, scene, moderation::Subject::Edit(edit)).await
}

fn unserved(question: Question<'_>) -> Result<Answer, String> {
    Err(format!("hook `{}` is not served", question.hook().name()))
}

/// Says which export it was whose types are not those of the interface.
pub(crate) fn typed(export: &str, error: wasmtime::Error) -> wasmtime::Error {
    error.context(format!("export `godwit:plugin/{export}@0.1.0` has other types than the interface"))
}
