//! Puts notifications off until morning: people are not rung at night, and miss nothing.
//!
//! It owns hours and what passes; that later messages join a notification that waits, and that reading cancels it, is
//! the host's. Hours that people set stand in `kv`, under `hours/` and the user's id; the filter reads them by `state`.

mod hours;

use godwit_plugin::{
    Attention, Command, Delivery, Id, Lifecycle, Message, Recipient, Role, Scene,
    command::{ArgumentKind, CommandSpec, Invocation, Reply},
    kv, log, state,
};
use hours::Hours;
use serde::Deserialize;

/// What stands in place of hours where somebody wants none.
const OFF: &str = "off";

/// What an operator sets.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    hours: Option<String>,
    time_zone: String,
    admin_mentions_pass: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self { hours: None, time_zone: "UTC".to_owned(), admin_mentions_pass: false }
    }
}

/// The plugin.
pub struct QuietHours {
    usual: Option<Hours>,
    time_zone: String,
    admin_mentions_pass: bool,
}

impl Lifecycle for QuietHours {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        let read = |text: String| {
            Hours::parse(&text).ok_or_else(|| format!("`hours` is `{text}`; write it as in 22:00-07:00"))
        };
        Ok(Self {
            usual: config.hours.map(read).transpose()?,
            time_zone: config.time_zone,
            admin_mentions_pass: config.admin_mentions_pass,
        })
    }
}

impl QuietHours {
    /// The hours of somebody of whom this is stored.
    fn hours(&self, stored: Option<&[u8]>) -> Option<Hours> {
        match stored.map(String::from_utf8_lossy).as_deref() {
            Some(OFF) => None,
            Some(own) => Hours::parse(own).or(self.usual),
            None => self.usual,
        }
    }

    fn attention_of(&self, scene: &Scene, recipient: &Recipient, stored: Option<&[u8]>) -> Attention {
        let Some(hours) = self.hours(stored) else { return Attention::Normal };
        let leads = matches!(scene.sender_role, Some(Role::Owner | Role::Admin));
        if self.admin_mentions_pass && leads && recipient.mentioned {
            return Attention::Normal;
        }
        let zone = recipient.user.time_zone.as_deref().unwrap_or(&self.time_zone);
        match hours.end(zone, scene.now) {
            Some(end) => Attention::NotifyLater(end),
            None => Attention::Normal,
        }
    }
}

impl Delivery for QuietHours {
    fn attention(&self, scene: &Scene, _message: &Message, recipient: &Recipient) -> Attention {
        let stored = state::get(&key(recipient.user.id));
        self.attention_of(scene, recipient, stored.as_deref())
    }

    /// Asks for what everyone set at once.
    fn decide(&self, scene: &Scene, _message: &Message, recipients: &[Recipient]) -> Vec<Attention> {
        let keys: Vec<_> = recipients.iter().map(|recipient| key(recipient.user.id)).collect();
        let stored = state::get_many(&keys);
        let both = recipients.iter().zip(stored);
        both.map(|(recipient, stored)| self.attention_of(scene, recipient, stored.as_deref())).collect()
    }
}

impl Command for QuietHours {
    fn commands(&self) -> Vec<CommandSpec> {
        let help = "As in 22:00-07:00, or `off`; without it you are told what is set.";
        let spec = CommandSpec::new("quiet", "Sets hours in which nothing rings for you.");
        vec![spec.optional("hours", ArgumentKind::Text, help)]
    }

    fn run(&self, invocation: &Invocation) -> Result<Reply, String> {
        let caller = &invocation.caller;
        let key = key(caller.id);
        let unavailable = |error| {
            log::error(format!("the hours of {} cannot be reached: {error:?}", caller.name));
            "Your quiet hours cannot be reached now; try again in a moment.".to_owned()
        };
        let zone = caller.time_zone.as_deref().unwrap_or(&self.time_zone);
        let told = |hours: Option<Hours>| match hours {
            Some(hours) => format!("Nothing rings for you {hours} ({zone})."),
            None => "You have no quiet hours.".to_owned(),
        };
        let Some(text) = invocation.text("hours") else {
            let stored = kv::get(&key).map_err(unavailable)?;
            return Ok(Reply::to_caller(told(self.hours(stored.as_deref()))));
        };
        if text.trim().eq_ignore_ascii_case(OFF) {
            kv::set(&key, OFF).map_err(unavailable)?;
            return Ok(Reply::to_caller(told(None)));
        }
        let hours = Hours::parse(text).ok_or_else(|| {
            format!("`{text}` is no time span; write it as in /quiet 22:00-07:00, or /quiet off")
        })?;
        kv::set(&key, hours.to_string()).map_err(unavailable)?;
        Ok(Reply::to_caller(told(Some(hours))))
    }
}

/// Where somebody's hours stand.
fn key(user: Id) -> String {
    format!("hours/{user}")
}

godwit_plugin::lifecycle!(QuietHours);
godwit_plugin::delivery!(QuietHours);
godwit_plugin::command!(QuietHours);

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    /// 15 June 2025, 23:00 in UTC.
    const NIGHT: u64 = 1_749_945_600_000 + 23 * 3_600_000;
    const MORNING: u64 = NIGHT + 8 * 3_600_000;
    const BEN: Id = Id::from_u128(8);

    fn decide(config: &str, role: Role, recipient: Recipient) -> Attention {
        let plugin: QuietHours = testing::init(config).unwrap();
        let scene = Scene { now: NIGHT, sender_role: Some(role), ..testing::scene() };
        plugin.decide(&scene, &testing::stored("hello"), &[recipient])[0]
    }

    #[test]
    fn at_night_a_notification_waits_for_the_morning() {
        let ben = || testing::recipient(BEN, "ben");
        let usual = r#"{ "hours": "22:00-07:00" }"#;
        assert_eq!(decide(usual, Role::Member, ben()), Attention::NotifyLater(MORNING));
        assert_eq!(decide("{}", Role::Member, ben()), Attention::Normal);
        testing::set_row(&format!("hours/{BEN}"), "off");
        assert_eq!(decide(usual, Role::Member, ben()), Attention::Normal);
        testing::set_row(&format!("hours/{BEN}"), "21:00-06:00");
        assert_eq!(decide("{}", Role::Member, ben()), Attention::NotifyLater(MORNING - 3_600_000));
    }

    #[test]
    fn the_mention_by_an_admin_passes_where_that_is_set() {
        let named = || Recipient { mentioned: true, ..testing::recipient(BEN, "ben") };
        let pass = r#"{ "hours": "22:00-07:00", "admin_mentions_pass": true }"#;
        assert_eq!(decide(pass, Role::Admin, named()), Attention::Normal);
        assert_eq!(decide(pass, Role::Member, named()), Attention::NotifyLater(MORNING));
        assert_eq!(
            decide(pass, Role::Admin, testing::recipient(BEN, "ben")),
            Attention::NotifyLater(MORNING)
        );
        let waits = r#"{ "hours": "22:00-07:00" }"#;
        assert_eq!(decide(waits, Role::Admin, named()), Attention::NotifyLater(MORNING));
    }

    #[test]
    fn hours_that_are_none_are_refused() {
        let error = testing::init::<QuietHours>(r#"{ "hours": "night" }"#).err().unwrap();
        assert!(error.contains("22:00-07:00"), "{error}");
    }
}
