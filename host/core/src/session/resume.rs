//! What a connection begins with: everything that changed since the device's cursor, or a cold start.

use super::{
    contacts::{self, Known},
    cursor::Cursor,
    listing,
};
use crate::host::Host;
use godwit_domain::{
    held::Held,
    id::{ConversationId, UserId},
    time::Ms,
};
use godwit_protocol::{
    error::Error,
    request::{self, LIMIT_DEFAULT, Resume},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The `[resume]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// For how long a device that was away may resume, in seconds; after that it starts cold.
    pub retention_s: u64,
    /// How often a connected device is told a new cursor while anything changes, in milliseconds. Clients count on a
    /// minute.
    pub cursor_interval_ms: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { retention_s: 7 * 24 * 60 * 60, cursor_interval_ms: 20_000 }
    }
}

/// How many contacts are told at once: a frame of the server has up to 1 MiB.
const CONTACTS_PAGE: usize = 400;

/// What a connection begins with.
pub struct Beginning {
    /// Up to when what is told is complete.
    pub cursor: Cursor,
    /// Whether it is what changed, or a cold start.
    pub recovered: bool,
    /// What there is, or what changed.
    pub changed: Changed,
    /// The drafts of the user that are on hold.
    pub held: Vec<Held>,
}

/// What there is, or what changed.
#[derive(Default)]
pub struct Changed {
    /// The conversations.
    pub shown: Vec<listing::Shown>,
    /// The contacts.
    pub contacts: Vec<Known>,
    /// Where `sync` goes on.
    pub next: Option<Page>,
}

/// Where [`Changed`] goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From when on what changed is told; `None` at a cold start, where the contacts alone go on.
    since: Option<Ms>,
    /// The conversation after which the next is told; `None` where all were.
    conversation: Option<ConversationId>,
    /// The same of contacts.
    contact: Option<UserId>,
}

impl std::fmt::Display for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let or_none = |part: Option<String>| part.unwrap_or_else(|| "-".into());
        let since = or_none(self.since.map(|since| format!("{:x}", since.0)));
        let conversation = or_none(self.conversation.map(|id| id.0.simple().to_string()));
        let contact = or_none(self.contact.map(|id| id.0.simple().to_string()));
        write!(f, "{since}.{conversation}.{contact}")
    }
}

impl std::str::FromStr for Page {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.split('.').map(|part| (part != "-").then_some(part));
        let id = |part: Option<&str>| part.map(str::parse::<Uuid>).transpose().ok();
        let mut parse = || {
            let since = parts.next()?.map(|since| u64::from_str_radix(since, 16)).transpose().ok()?;
            let (conversation, contact) = (id(parts.next()?)?, id(parts.next()?)?);
            let page = Self {
                since: since.map(Ms),
                conversation: conversation.map(ConversationId),
                contact: contact.map(UserId),
            };
            let goes_on = contact.is_some() || (page.since.is_some() && conversation.is_some());
            (goes_on && parts.next().is_none()).then_some(page)
        };
        parse().ok_or_else(|| Error::invalid("page", "`page` is not one that this list gave"))
    }
}

/// Reads what the device lacks. The session hears of what changes from before this on.
///
/// # Errors
/// That of the store.
pub async fn begin(
    host: &Host,
    user: UserId,
    resume: Option<&Resume>,
    window: usize,
) -> Result<Beginning, Error> {
    // Before anything is read: what changes while it is read lies above the cursor.
    let cursor = Cursor { user, at: host.parts.changes.cursor() };
    let held = host.held_by(user).await?;
    let since = resume.and_then(|resume| since(host, resume, cursor));
    let (shown, conversation) = match since {
        Some(since) => listing::changed(host, user, since, None, LIMIT_DEFAULT as usize).await?,
        None => (listing::newest(host, user, None, window, None).await?.0, None),
    };
    let (contacts, contact) = contacts::page(host, user, since, None, CONTACTS_PAGE).await?;
    let next = Page { since, conversation, contact }.if_any();
    Ok(Beginning { cursor, recovered: since.is_some(), changed: Changed { shown, contacts, next }, held })
}

/// The time from which a device can be told what changed; `None` where it cannot.
fn since(host: &Host, resume: &Resume, now: Cursor) -> Option<Ms> {
    let known = Cursor::parse(&resume.cursor)?;
    let retention_ms = host.parts.resume.retention_s.saturating_mul(1000);
    let is_ours = resume.epoch == host.parts.epoch && known.user == now.user;
    (is_ours && known.at <= now.at && now.at.since(known.at) <= retention_ms).then_some(known.at)
}

impl Page {
    fn if_any(self) -> Option<Self> {
        (self.conversation.is_some() || self.contact.is_some()).then_some(self)
    }
}

/// The next page of what [`begin`] told the first of.
///
/// # Errors
/// `invalid` for a page that was never given, or that of the store.
pub async fn go_on(host: &Host, user: UserId, page: &str) -> Result<Changed, Error> {
    let mut next: Page = page.parse()?;
    let mut changed = Changed::default();
    if let (Some(since), after @ Some(_)) = (next.since, next.conversation) {
        (changed.shown, next.conversation) =
            listing::changed(host, user, since, after, request::limit(None)?).await?;
    }
    if let after @ Some(_) = next.contact {
        (changed.contacts, next.contact) =
            contacts::page(host, user, next.since, after, CONTACTS_PAGE).await?;
    }
    Ok(Changed { next: next.if_any(), ..changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_given_and_nothing_else_is() {
        let (conversation, contact) = (ConversationId::from_u128(7), UserId::from_u128(9));
        for page in [
            Page { since: Some(Ms(1_700_000_000_000)), conversation: Some(conversation), contact: None },
            Page { since: Some(Ms(0)), conversation: Some(conversation), contact: Some(contact) },
            Page { since: None, conversation: None, contact: Some(contact) },
        ] {
            assert_eq!(page.to_string().parse(), Ok(page));
        }
        let id = conversation.0.simple();
        for wrong in ["", "none", "-.-.-", "1.-.-", &format!("-.{id}.-"), &format!("1.{id}.-.-"), "1.x.-"] {
            assert_eq!(wrong.parse::<Page>().unwrap_err().field.as_deref(), Some("page"), "{wrong}");
        }
    }
}
