//! `godwit plugin dead`: what a plugin never heard, and what it wanted and was refused.

use super::{
    print, segment,
    show::{lay_out, time},
};
use crate::admin::{Body, Client};
use clap::Subcommand;
use godwit_domain::time::Ms;
use hyper::Method;
use serde::{Deserialize, Serialize};
use serde_json::Value;

#[derive(Debug, Subcommand)]
pub enum Action {
    /// List the dead letters of a plugin, oldest first.
    List {
        /// Which plugin.
        id: String,
        /// Go on where another list ended.
        #[arg(long)]
        page: Option<String>,
    },
    /// Show one dead letter.
    Show {
        /// Which plugin.
        id: String,
        /// The number of the letter.
        number: u64,
    },
    /// Have the plugin hear again what it never heard.
    Redrive {
        /// Which plugin.
        id: String,
        /// The number of the letter.
        number: u64,
    },
    /// Forget a dead letter.
    Drop {
        /// Which plugin.
        id: String,
        /// The number of the letter.
        number: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Letters {
    letters: Vec<Letter>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Letter {
    n: u64,
    conversation: Option<String>,
    cause: Value,
    at: Ms,
    hops: u8,
    dead_at: Ms,
    attempts: u32,
    version: String,
    why: String,
}

/// Carries out the command.
///
/// # Errors
/// Nobody answers, or the host refuses.
pub async fn act(client: &Client, action: Action, json: bool) -> anyhow::Result<()> {
    let path = |id: &str, rest: &str| anyhow::Ok(format!("/admin/v1/plugins/{}/dead{rest}", segment(id)?));
    match action {
        Action::List { id, page } => {
            let query = page.map(|page| format!("?page={page}")).unwrap_or_default();
            let reply = client.call(Method::GET, &path(&id, &query)?, Body::Empty).await?;
            print(&reply, json, |letters| list(&id, letters))
        }
        Action::Show { id, number } => {
            let path = path(&id, &format!("/{number}"))?;
            let reply = client.call(Method::GET, &path, Body::Empty).await?;
            print(&reply, json, describe)
        }
        Action::Redrive { id, number } => {
            let path = path(&id, &format!("/{number}/redrive"))?;
            let reply: Value = client.call(Method::POST, &path, Body::Empty).await?;
            print(&reply, json, |_| format!("{id} hears of {number} again.\n"))
        }
        Action::Drop { id, number } => {
            let path = path(&id, &format!("/{number}"))?;
            let reply: Value = client.call(Method::DELETE, &path, Body::Empty).await?;
            print(&reply, json, |_| format!("the dead letter {number} of {id} is dropped.\n"))
        }
    }
}

/// What a letter is about, in a few words.
fn about(cause: &Value) -> String {
    let Some((kind, what)) = cause.as_object().and_then(|cause| cause.iter().next()) else {
        return "-".to_owned();
    };
    let word = |name: &str| match &what[name] {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    };
    let which = ["seq", "rev", "name", "reference"].into_iter().find_map(word).unwrap_or_default();
    match word("act") {
        Some(act) => format!("{act} {which}"),
        None => format!("{kind} {which}"),
    }
}

fn list(id: &str, letters: &Letters) -> String {
    if letters.letters.is_empty() {
        return format!("{id} has no dead letters.\n");
    }
    let row = |letter: &Letter| {
        [
            letter.n.to_string(),
            about(&letter.cause),
            letter.conversation.clone().unwrap_or_else(|| "-".to_owned()),
            time(letter.dead_at),
            letter.attempts.to_string(),
            letter.version.clone(),
            letter.why.clone(),
        ]
    };
    let head = ["NUMBER", "ABOUT", "CONVERSATION", "DIED", "ATTEMPTS", "VERSION", "WHY"];
    let mut text = lay_out(head, letters.letters.iter().map(row));
    if let Some(next) = &letters.next {
        text += &format!("there are more: go on with --page {next}\n");
    }
    text
}

fn describe(letter: &Letter) -> String {
    let Letter { n, conversation, cause, at, hops, dead_at, attempts, version, why } = letter;
    let conversation = conversation.as_deref().unwrap_or("-");
    let (about, at, dead_at) = (about(cause), time(*at), time(*dead_at));
    format!(
        "number        {n}\nabout         {about}\nconversation  {conversation}\nhappened      {at}\ncauses away   \
         {hops}\ndied          {dead_at}\nattempts      {attempts}\nversion       {version}\nwhy           {why}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn letter(cause: Value) -> Letter {
        Letter {
            n: 7,
            conversation: None,
            cause,
            at: Ms(1_700_000_000_000),
            hops: 1,
            dead_at: Ms(1_700_000_060_000),
            attempts: 3,
            version: "1.0.0".to_owned(),
            why: "trap: unreachable".to_owned(),
        }
    }

    #[test]
    fn a_letter_says_what_it_is_about_and_why_it_died() {
        for (cause, words) in [
            (json!({"message": {"seq": 5}}), "message 5"),
            (json!({"timer": {"name": "tea", "at": 1}}), "timer tea"),
            (json!({"errand": {"reference": "m.1#0", "act": "send"}}), "send m.1#0"),
        ] {
            let letters = Letters { letters: vec![letter(cause)], next: Some("7".to_owned()) };
            let text = list("echo", &letters);
            assert!(text.contains(words) && text.contains("trap: unreachable"), "{text}");
            assert!(text.contains("2023-11-14T22:14:20Z") && text.ends_with("--page 7\n"), "{text}");
            assert!(describe(&letters.letters[0]).contains(words));
        }
    }

    #[test]
    fn no_letters_are_told_as_such() {
        assert_eq!(list("echo", &Letters { letters: Vec::new(), next: None }), "echo has no dead letters.\n");
    }
}
