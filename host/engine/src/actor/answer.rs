//! What actors answer, checked value by value before the host believes it.
//!
//! An actor that breaks a limit with its answer has broken down like one that traps; its words are not passed on.

use super::{
    bindings::{self as wit, command, errors, inbound, notifier},
    running::check_content,
};
use crate::options::{Options, kib};
use godwit_domain::actor::{Argument, ArgumentKind, CommandSpec, Media, Notified, Reply, Response};
use std::collections::HashSet;

const NAME_BYTES_MAX: usize = 32;
const HELP_CHARS_MAX: usize = 200;
const COMMANDS_MAX: usize = 64;
const ARGUMENTS_MAX: usize = 16;
const CHOICES_MAX: usize = 64;
const CHOICE_CHARS_MAX: usize = 64;
const KINDS_MAX: usize = 16;
/// Of what a caller is told.
const TEXT_CHARS_MAX: usize = 500;
/// Of what an operator is told.
const FAULT_BYTES_MAX: usize = 1_000;

/// What a hook came to.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    /// A bot heard its event.
    Heard,
    Reply(Reply),
    Response(Response),
    Notified(Notified),
    /// It answered `err`.
    Refused {
        retry: bool,
        text: String,
    },
}

fn name(what: &str, name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    let good = !name.is_empty()
        && name.len() <= NAME_BYTES_MAX
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(plain);
    let shown = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
    match good {
        true => Ok(()),
        false => Err(format!(
            "{what} `{shown}` must be 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _, and begin with a letter"
        )),
    }
}

fn line(what: &str, text: &str, chars_max: usize) -> Result<(), String> {
    let chars = text.chars().count();
    if chars > chars_max {
        return Err(format!("{what} has {chars} characters, the limit is {chars_max}"));
    }
    match text.chars().any(char::is_control) {
        true => Err(format!("{what} must be a single line")),
        false => Ok(()),
    }
}

fn at_most(what: &str, count: usize, max: usize) -> Result<(), String> {
    match count > max {
        true => Err(format!("{count} {what}, the limit is {max}")),
        false => Ok(()),
    }
}

/// Checks what `commands` returned.
pub(crate) fn commands(specs: Vec<command::CommandSpec>) -> Result<Vec<CommandSpec>, String> {
    at_most("commands", specs.len(), COMMANDS_MAX)?;
    let mut seen = HashSet::new();
    specs
        .into_iter()
        .map(|spec| {
            name("command", &spec.name)?;
            if !seen.insert(spec.name.clone()) {
                return Err(format!("command `{}` is listed twice", spec.name));
            }
            let of = |problem: String| format!("command `{}`: {problem}", spec.name);
            line("its help", &spec.help, HELP_CHARS_MAX).map_err(of)?;
            at_most("arguments", spec.arguments.len(), ARGUMENTS_MAX).map_err(of)?;
            let mut known = HashSet::new();
            let mut optional = false;
            let mut arguments = Vec::new();
            for given in spec.arguments {
                if !known.insert(given.name.clone()) {
                    return Err(of(format!("argument `{}` is listed twice", given.name)));
                }
                if given.required && optional {
                    let problem =
                        format!("argument `{}` is required and comes after one that is not", given.name);
                    return Err(of(problem));
                }
                optional |= !given.required;
                arguments.push(argument(given).map_err(of)?);
            }
            Ok(CommandSpec { name: spec.name, help: spec.help, arguments })
        })
        .collect()
}

fn argument(given: command::Argument) -> Result<Argument, String> {
    let command::Argument { name: own, kind, required, help, choices } = given;
    name("argument", &own)?;
    let of = |problem: String| format!("argument `{own}`: {problem}");
    line("its help", &help, HELP_CHARS_MAX).map_err(of)?;
    let kind = match kind {
        command::ArgumentKind::Text => ArgumentKind::Text,
        command::ArgumentKind::Integer => ArgumentKind::Integer,
        command::ArgumentKind::Number => ArgumentKind::Number,
        command::ArgumentKind::User => ArgumentKind::User,
        command::ArgumentKind::Duration => ArgumentKind::Duration,
        command::ArgumentKind::Choice => ArgumentKind::Choice,
    };
    at_most("choices", choices.len(), CHOICES_MAX).map_err(of)?;
    if choices.is_empty() == (kind == ArgumentKind::Choice) {
        return Err(of("a choice names its choices, and nothing else does".to_owned()));
    }
    let mut seen = HashSet::new();
    for choice in &choices {
        line("a choice", choice, CHOICE_CHARS_MAX).map_err(of)?;
        if choice.is_empty() || !seen.insert(choice) {
            return Err(of(format!("choice `{choice}` is empty, or listed twice")));
        }
    }
    Ok(Argument { name: own, kind, required, help, choices })
}

/// Checks what `kinds` returned.
pub(crate) fn kinds(kinds: Vec<String>) -> Result<Vec<String>, String> {
    at_most("kinds of devices", kinds.len(), KINDS_MAX)?;
    let mut seen = HashSet::new();
    for kind in &kinds {
        name("kind", kind)?;
        if matches!(kind.as_str(), "webpush" | "webhook") {
            return Err(format!("kind `{kind}` is served by the host itself"));
        }
        if !seen.insert(kind) {
            return Err(format!("kind `{kind}` is listed twice"));
        }
    }
    Ok(kinds)
}

pub(crate) fn heard(answer: Result<(), errors::Fault>) -> Result<Answer, String> {
    Ok(answer.map_or_else(refused, |()| Answer::Heard))
}

fn refused(fault: errors::Fault) -> Answer {
    let (retry, text) = match fault {
        errors::Fault::Retry(text) => (true, text),
        errors::Fault::Drop(text) => (false, text),
    };
    Answer::Refused { retry, text: text[..text.floor_char_boundary(FAULT_BYTES_MAX)].to_owned() }
}

pub(crate) fn replied(answer: Result<command::Reply, String>, options: &Options) -> Result<Answer, String> {
    let content = |content| {
        let content = wit::said(content);
        check_content(&content, options).map(|_| content)
    };
    match answer {
        Ok(command::Reply::ToCaller(said)) => Ok(Answer::Reply(Reply::ToCaller(content(said)?))),
        Ok(command::Reply::ToAll(said)) => Ok(Answer::Reply(Reply::ToAll(content(said)?))),
        Ok(command::Reply::None) => Ok(Answer::Reply(Reply::None)),
        Err(text) => {
            let chars = text.chars().count();
            match chars > TEXT_CHARS_MAX {
                true => Err(format!("the error has {chars} characters, the limit is {TEXT_CHARS_MAX}")),
                false => Ok(Answer::Refused { retry: false, text }),
            }
        }
    }
}

pub(crate) fn responded(
    answer: Result<inbound::Response, errors::Fault>,
    options: &Options,
) -> Result<Answer, String> {
    let inbound::Response { status, media, body } = match answer {
        Ok(response) => response,
        Err(fault) => return Ok(refused(fault)),
    };
    if !(200..=599).contains(&status) {
        return Err(format!("the status is {status}; 200 to 599 are possible"));
    }
    let (bytes, limit) = (body.len(), options.actors.effects_kib_max);
    if bytes > kib(limit) {
        return Err(format!("the body has {bytes} bytes, the limit is {limit} KiB"));
    }
    if matches!(status, 204 | 205 | 304) && bytes > 0 {
        return Err(format!("an answer of status {status} has no body, and this one has {bytes} bytes"));
    }
    let media = match media {
        inbound::Media::Json => Media::Json,
        inbound::Media::Text => Media::Text,
        inbound::Media::Bytes => Media::Bytes,
    };
    if media != Media::Bytes && std::str::from_utf8(&body).is_err() {
        return Err("the body is said to be text, and is not UTF-8".to_owned());
    }
    Ok(Answer::Response(Response { status, media, body }))
}

pub(crate) fn notified(answer: Result<notifier::Outcome, errors::Fault>) -> Result<Answer, String> {
    Ok(answer.map_or_else(refused, |outcome| Answer::Notified(wit::outcome(outcome))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wit::types;

    fn spec(name: &str, arguments: Vec<command::Argument>) -> command::CommandSpec {
        command::CommandSpec { name: name.into(), help: "Does it.".into(), arguments }
    }

    fn given(name: &str, kind: command::ArgumentKind, required: bool, choices: &[&str]) -> command::Argument {
        let choices = choices.iter().map(|choice| (*choice).to_owned()).collect();
        command::Argument { name: name.into(), kind, required, help: "What.".into(), choices }
    }

    #[test]
    fn commands_within_their_limits_are_taken() {
        use command::ArgumentKind::{Choice, Text};
        let poll = spec(
            "poll",
            vec![given("how", Choice, true, &["open", "secret"]), given("what", Text, false, &[])],
        );
        let taken = commands(vec![poll]).unwrap();
        assert_eq!(taken[0].arguments[0].choices, ["open", "secret"]);
        assert_eq!(taken[0].arguments[1].kind, ArgumentKind::Text);
        assert_eq!(commands((0..64).map(|n| spec(&format!("c{n}"), vec![])).collect()).unwrap().len(), 64);
    }

    #[test]
    fn commands_that_break_a_limit_are_refused_by_name() {
        use command::ArgumentKind::{Choice, Text};
        let long = "x".repeat(33);
        let help = command::CommandSpec { help: "x".repeat(201), ..spec("a", vec![]) };
        let lines = command::CommandSpec { help: "a\nb".into(), ..spec("a", vec![]) };
        for (specs, expected) in [
            ((0..65).map(|n| spec(&format!("c{n}"), vec![])).collect(), "65 commands"),
            (vec![spec("", vec![])], "command ``"),
            (vec![spec("/a", vec![])], "command `/a`"),
            (vec![spec("A", vec![])], "command `A`"),
            (vec![spec(&long, vec![])], "must be 1 to 32"),
            (vec![spec("a", vec![]), spec("a", vec![])], "`a` is listed twice"),
            (vec![help], "201 characters"),
            (vec![lines], "a single line"),
            (
                vec![spec("a", (0..17).map(|n| given(&format!("a{n}"), Text, true, &[])).collect())],
                "17 arguments",
            ),
            (
                vec![spec("a", vec![given("b", Text, true, &[]), given("b", Text, true, &[])])],
                "`b` is listed twice",
            ),
            (
                vec![spec("a", vec![given("b", Text, false, &[]), given("c", Text, true, &[])])],
                "`c` is required",
            ),
            (vec![spec("a", vec![given("b", Choice, true, &[])])], "names its choices"),
            (vec![spec("a", vec![given("b", Text, true, &["c"])])], "names its choices"),
            (vec![spec("a", vec![given("b", Choice, true, &["c", "c"])])], "listed twice"),
            (vec![spec("a", vec![given("b", Choice, true, &["x"; 65])])], "65 choices"),
        ] {
            let problem = commands(specs).unwrap_err();
            assert!(problem.contains(expected), "{expected}: {problem}");
        }
    }

    #[test]
    fn kinds_are_names_that_the_host_does_not_serve() {
        assert_eq!(kinds(vec!["apns".into()]), Ok(vec!["apns".into()]));
        for (bad, expected) in [
            (vec!["webpush".to_owned()], "by the host itself"),
            (vec!["a".into(), "a".into()], "twice"),
            (vec!["A".into()], "kind `A`"),
            (vec!["a".into(); 17], "17 kinds"),
        ] {
            assert!(kinds(bad).unwrap_err().contains(expected), "{expected}");
        }
    }

    #[test]
    fn a_response_has_a_status_and_a_body_that_is_what_it_says() {
        let options = Options::default();
        let respond = |status, media, body: &[u8]| {
            responded(Ok(inbound::Response { status, media, body: body.to_vec() }), &options)
        };
        assert!(respond(200, inbound::Media::Json, b"{}").is_ok());
        assert!(respond(599, inbound::Media::Bytes, b"\xff").is_ok());
        for (status, media, body, expected) in [
            (199, inbound::Media::Text, &b""[..], "199"),
            (600, inbound::Media::Text, b"", "600"),
            (204, inbound::Media::Text, b"x", "no body"),
            (200, inbound::Media::Text, b"\xff", "not UTF-8"),
            (200, inbound::Media::Bytes, &[0; (1 << 20) + 1], "1024 KiB"),
        ] {
            assert!(respond(status, media, body).unwrap_err().contains(expected), "{expected}");
        }
    }

    #[test]
    fn a_reply_is_checked_like_a_message() {
        let options = Options { body_bytes_max: 4, ..Options::default() };
        let content = |body: &str| types::Content {
            kind: types::ContentKind::Text,
            body: body.into(),
            attachments: vec![],
            reply_to: None,
            thread: None,
            mentions: vec![],
            expires_in_s: None,
        };
        assert!(matches!(
            replied(Ok(command::Reply::ToAll(content("abcd"))), &options),
            Ok(Answer::Reply(_))
        ));
        assert!(replied(Ok(command::Reply::ToCaller(content("abcde"))), &options).is_err());
        let sealed = types::Content { kind: types::ContentKind::Encrypted, ..content("a") };
        assert!(replied(Ok(command::Reply::ToAll(sealed)), &options).is_err());
        assert!(replied(Err("x".repeat(501)), &options).is_err());
        let refused = Answer::Refused { retry: false, text: "no".into() };
        assert_eq!(replied(Err("no".into()), &options), Ok(refused));
    }

    #[test]
    fn a_fault_tells_whether_to_ask_again_in_few_words() {
        let Ok(Answer::Refused { retry, text }) = heard(Err(errors::Fault::Retry("é".repeat(2_000)))) else {
            panic!()
        };
        assert!(retry && text.len() <= 1_000);
        assert!(matches!(
            heard(Err(errors::Fault::Drop("x".into()))),
            Ok(Answer::Refused { retry: false, .. })
        ));
    }
}
