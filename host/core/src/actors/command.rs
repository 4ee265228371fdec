//! Slash commands: which there are, what is given with them, and what they answer.
//!
//! The answer is stored with what the command caused, so that a repeat with the same client id gets the first one.

use super::{Crew, client_id, desk::AtDesk, hear, lane::Lane};
use crate::{
    host::Host,
    person::Person,
    sequencer::{Standing, place},
    session::send,
};
use godwit_domain::{
    actor::{
        Act, Actor, Argument, ArgumentKind, Call, CommandSpec, Effects, Hook, Invocation, Outcome, Reply,
        Target, Value, reference,
    },
    conversation::Role,
    filter::Place,
    id::{ConversationId, UserId},
    message::{self, Content},
    tables::{Answered, End, Errand, RequestKey, Settlement, Settling},
    user::User,
};
use godwit_protocol::{
    error::{Code, Error},
    request::Command,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// For how long an answer is remembered, in milliseconds: a day longer than a client id is good for.
const ANSWERS_MS: u64 = 8 * 24 * 60 * 60 * 1_000;
/// How often a command may meet what another wrote.
const CONFLICTS_MAX: u32 = 16;

/// What is given with a command, by name.
type Arguments = serde_json::Map<String, serde_json::Value>;

/// A command as clients see it.
#[derive(Debug, Serialize)]
pub(crate) struct Listed {
    plugin: String,
    /// What is typed after the slash.
    name: String,
    help: String,
    arguments: Vec<Wanted>,
}

/// An argument as clients see it.
#[derive(Debug, Serialize)]
struct Wanted {
    name: String,
    #[serde(rename = "type")]
    kind: ArgumentKind,
    required: bool,
    help: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<String>,
}

impl From<Argument> for Wanted {
    fn from(argument: Argument) -> Self {
        let Argument { name, kind, required, help, choices } = argument;
        Self { name, kind, required, help, choices }
    }
}

/// A command that there is.
struct Found {
    actor: Arc<dyn Actor>,
    /// What is typed.
    name: String,
    spec: CommandSpec,
}

/// What a command is answered: the plugin's words for the caller alone, where it has any.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Answer {
    #[serde(skip_serializing_if = "Option::is_none", default)]
    reply: Option<Words>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Words {
    kind: message::Kind,
    body: String,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    mentions: Vec<UserId>,
}

impl Crew {
    /// The commands that there are in a place, in the order of their plugins.
    fn commands(&self, place: &Place) -> Vec<Found> {
        let mut found: Vec<Found> = Vec::new();
        for actor in self.actors.all() {
            if !actor.hooks().contains(&Hook::Command) || !actor.serves(place) || actor.suspended().is_some()
            {
                continue;
            }
            for spec in actor.commands() {
                let taken = found.iter().any(|other| other.name == spec.name);
                let name = if taken { format!("{}:{}", actor.id(), spec.name) } else { spec.name.clone() };
                found.push(Found { actor: actor.clone(), name, spec: spec.clone() });
            }
        }
        found
    }
}

impl Host {
    /// The slash commands in a conversation.
    ///
    /// # Errors
    /// `not_found`, `not_member`, or that of the store.
    pub(crate) async fn commands(
        &self,
        conversation: ConversationId,
        user: UserId,
    ) -> Result<Vec<Listed>, Error> {
        let (place, _) = self.place_of(conversation, user).await?;
        let listed = |Found { actor, name, spec }: Found| Listed {
            plugin: actor.id().to_owned(),
            name,
            help: spec.help,
            arguments: spec.arguments.into_iter().map(Wanted::from).collect(),
        };
        Ok(self.crew.commands(&place).into_iter().map(listed).collect())
    }

    /// The conversation as plugins are told of it, and what that user, who must be in, may do there.
    async fn place_of(&self, conversation: ConversationId, user: UserId) -> Result<(Place, Role), Error> {
        let view = self.sequencer.view(conversation, user).await?;
        match view.standing {
            Standing::In => Ok((place(&view.meta, view.member_count), view.role)),
            _ => Err(Error::new(Code::NotMember, "commands are given by those who are in")),
        }
    }

    /// Runs a slash command.
    ///
    /// # Errors
    /// `not_found` where there is none of that name, `invalid` for an argument, `client_id_reused`, `rate_limited`,
    /// `timeout` where the plugin failed, the plugin's own words as `invalid`, or that of the store.
    pub(crate) async fn command(
        self: &Arc<Self>,
        user: &Arc<User>,
        person: &Arc<Person>,
        command: Command,
    ) -> Result<Answer, Error> {
        let Command { conversation, client_id, name, arguments } = command;
        let now = self.parts.clock.now();
        send::check_client_id(client_id, now)?;
        let (place, role) = self.place_of(conversation, user.id).await?;
        // The same command twice at once is run once.
        let _running = person.enter(conversation, client_id).await;
        let key = RequestKey::Command(conversation, user.id, client_id);
        let hash = hash(&name, &arguments);
        let missing =
            || Error::new(Code::NotFound, format!("there is no command `/{name}` here")).field("name");
        let found = self.crew.commands(&place).into_iter().find(|found| {
            found.name == name || name.split_once(':') == Some((found.actor.id(), &found.spec.name))
        });
        let Found { actor, spec, .. } = found.ok_or_else(missing)?;
        let lane = self.crew.lane_soon(actor.id()).await?;
        if let Some(first) = lane.work.answered(&lane.id, &key).await? {
            return repeated(&first, hash);
        }
        let limits = &self.parts.limits;
        if let Err(ms) = person.take_send(now, limits.sends_per_s, limits.sends_burst) {
            let text = format!("more than {} messages and commands a second", limits.sends_per_s);
            return Err(Error::new(Code::RateLimited, text).retry_after_ms(ms));
        }
        let arguments = self.typed(&spec, arguments).await?;
        let invocation =
            Invocation { name: spec.name.clone(), arguments, place, caller: user.clone(), role, client_id };
        let call = Call {
            user: lane.user.clone(),
            event: format!("c.{conversation}.{}.{client_id}", user.id),
            at: now,
            hops: 0,
            answers: Arc::default(),
        };
        for _ in 0..CONFLICTS_MAX {
            let desk = AtDesk::with(self, &lane);
            let (reply, effects) = match actor.run(&call, &invocation, desk).await {
                Outcome::Done(reply, effects) => (reply, effects),
                Outcome::Refused { text, .. } => return Err(Error::new(Code::Invalid, text)),
                Outcome::Failed { how, why } => return Err(failed(&lane, &spec, how.name(), &why)),
            };
            let broke = |why: String| failed(&lane, &spec, "trap", &why);
            let (answer, settlement) =
                self.settled(&lane, &call, conversation, reply, effects, &key, hash).await?;
            let settlement = settlement.map_err(broke)?;
            match lane.commit(settlement, Some(actor.clone())).await? {
                Settling::Done(_) => return Ok(answer),
                Settling::Over => break,
                Settling::Conflict => lane.metrics().count(|metrics| &metrics.conflicts, &lane.id),
                Settling::Full(bytes) => return Err(broke(hear::full(bytes))),
            }
        }
        // It was answered elsewhere meanwhile, or others are always faster.
        match lane.work.answered(&lane.id, &key).await? {
            Some(first) => repeated(&first, hash),
            None => Err(failed(&lane, &spec, "busy", "what it read was changed by others all the time")),
        }
    }

    /// What a reply comes to, with all that the command caused; the inner error is the plugin's fault.
    #[expect(clippy::too_many_arguments, reason = "each of them is of another kind")]
    async fn settled(
        &self,
        lane: &Arc<Lane>,
        call: &Call,
        conversation: ConversationId,
        reply: Reply,
        effects: Effects,
        key: &RequestKey,
        hash: [u8; 32],
    ) -> Result<(Answer, Result<Settlement, String>), Error> {
        let ordinal = effects.acts.len();
        let (words, to_all) = match reply {
            Reply::None => (None, None),
            Reply::ToCaller(content) => (Some(content), None),
            Reply::ToAll(content) => (None, Some(content)),
        };
        let max = self.parts.limits.body_bytes_max;
        for Content { body, .. } in words.iter().chain(&to_all) {
            if body.len() > max {
                let why = format!("a reply of {} bytes, the limit is {max}", body.len());
                return Ok((Answer::default(), Err(why)));
            }
        }
        if to_all.is_some() {
            self.may_answer_all(lane, conversation).await?;
        }
        let reply = words.map(|Content { kind, body, mentions, .. }| Words { kind, body, mentions });
        let answer = Answer { reply };
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        let until = call.at.plus(ANSWERS_MS);
        let end = End::Answer(key.clone(), Answered { hash, answer: bytes }, until);
        let settlement = lane.settlement(call, end, effects).map(|mut settlement| {
            let at = lane.clock.now();
            settlement.errands.extend(to_all.map(|content| Errand {
                n: 0,
                client_id: client_id(&lane.id, &call.event, ordinal, at, call.hops + 1),
                reference: reference(&call.event, ordinal),
                at,
                hops: call.hops + 1,
                act: Act::Send(Target::Conversation(conversation), content),
            }));
            settlement
        });
        Ok((answer, settlement))
    }

    /// Whether the plugin's user may say something to the conversation: the caller is told before anything happens.
    async fn may_answer_all(&self, lane: &Lane, conversation: ConversationId) -> Result<(), Error> {
        let stand = self.sequencer.stand(conversation, lane.user.id).await?;
        match stand.member.filter(|member| member.present()) {
            Some(member) if member.role > Role::Reader => Ok(()),
            _ => {
                let text = format!("{} may not write here: somebody must invite it", lane.user.name);
                Err(Error::new(Code::Forbidden, text))
            }
        }
    }

    /// The arguments as the command takes them.
    async fn typed(&self, spec: &CommandSpec, mut given: Arguments) -> Result<Vec<(String, Value)>, Error> {
        let mut typed = Vec::new();
        for argument in &spec.arguments {
            let field = format!("arguments.{}", argument.name);
            match given.remove(&argument.name).filter(|value| !value.is_null()) {
                Some(value) => {
                    let value = read(argument, value).map_err(|text| Error::invalid(&*field, text))?;
                    if let Value::User(user) = value
                        && self.parts.accounts.users(&[user]).await?.is_empty()
                    {
                        let text = format!("no user has the id {user}");
                        return Err(Error::new(Code::UnknownUser, text).field(field));
                    }
                    typed.push((argument.name.clone(), value));
                }
                None if argument.required => {
                    return Err(Error::invalid(field, format!("`{}` is needed", argument.name)));
                }
                None => {}
            }
        }
        match given.keys().next() {
            Some(other) => {
                let other: String = other.chars().take(64).collect();
                let text = format!("`/{}` takes no `{other}`", spec.name);
                Err(Error::invalid(format!("arguments.{other}"), text))
            }
            None => Ok(typed),
        }
    }
}

/// A value of the argument's type, or what it has to be.
fn read(argument: &Argument, value: serde_json::Value) -> Result<Value, String> {
    use serde_json::Value as Json;
    let Argument { name, kind, choices, .. } = argument;
    let read = match (kind, &value) {
        (ArgumentKind::Text, Json::String(text)) => Some(Value::Text(text.clone())),
        (ArgumentKind::Integer, Json::Number(number)) => number.as_i64().map(Value::Integer),
        (ArgumentKind::Number, Json::Number(number)) => number.as_f64().map(Value::Number),
        (ArgumentKind::User, Json::String(id)) => id.parse().ok().map(|id| Value::User(UserId(id))),
        (ArgumentKind::Duration, Json::Number(number)) => number.as_u64().map(Value::Duration),
        (ArgumentKind::Choice, Json::String(choice)) => {
            choices.contains(choice).then(|| Value::Choice(choice.clone()))
        }
        _ => None,
    };
    let wanted = || match kind {
        ArgumentKind::Text => "a text".to_owned(),
        ArgumentKind::Integer => "a whole number".to_owned(),
        ArgumentKind::Number => "a number".to_owned(),
        ArgumentKind::User => "the id of a user".to_owned(),
        ArgumentKind::Duration => "a time span in milliseconds, a whole number".to_owned(),
        ArgumentKind::Choice => format!("one of {}", choices.join(", ")),
    };
    read.ok_or_else(|| format!("`{name}` must be {}", wanted()))
}

/// What tells other commands under the same client id apart.
fn hash(name: &str, arguments: &Arguments) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0]);
    hash.update(serde_json::to_vec(arguments).unwrap_or_default());
    hash.finalize().into()
}

fn repeated(first: &Answered, hash: [u8; 32]) -> Result<Answer, Error> {
    if first.hash != hash {
        let text = "this client_id was used for another command";
        return Err(Error::new(Code::ClientIdReused, text).field("client_id"));
    }
    serde_json::from_slice(&first.answer)
        .map_err(|error| Error::new(Code::Internal, format!("an answer cannot be read: {error}")))
}

fn failed(lane: &Lane, spec: &CommandSpec, how: &str, why: &str) -> Error {
    tracing::warn!(plugin = lane.id, command = spec.name, how, why, "a command failed");
    let text = format!("`/{}` of the plugin `{}` gave no answer ({how}); try again", spec.name, lane.id);
    Error::new(Code::Timeout, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_argument_is_of_its_type_or_names_what_it_must_be() {
        let user = UserId::from_u128(7);
        let argument = |kind| Argument {
            name: "a".into(),
            kind,
            required: true,
            help: String::new(),
            choices: vec!["red".into(), "green".into()],
        };
        use ArgumentKind::{Choice, Duration, Integer, Number, Text, User};
        for (kind, given, expected) in [
            (Text, json!("x"), Value::Text("x".into())),
            (Integer, json!(-3), Value::Integer(-3)),
            (Number, json!(1.5), Value::Number(1.5)),
            (Number, json!(2), Value::Number(2.0)),
            (User, json!(user), Value::User(user)),
            (Duration, json!(60_000), Value::Duration(60_000)),
            (Choice, json!("red"), Value::Choice("red".into())),
        ] {
            assert_eq!(read(&argument(kind), given), Ok(expected));
        }
        for (kind, given, text) in [
            (Text, json!(1), "`a` must be a text"),
            (Integer, json!(1.5), "`a` must be a whole number"),
            (Number, json!("1"), "`a` must be a number"),
            (User, json!("ada"), "`a` must be the id of a user"),
            (Duration, json!(-1), "`a` must be a time span in milliseconds, a whole number"),
            (Choice, json!("blue"), "`a` must be one of red, green"),
        ] {
            assert_eq!(read(&argument(kind), given), Err(text.into()));
        }
    }
}
