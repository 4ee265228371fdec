//! How tests name people and times: as a person would write them.

use godwit_domain::{id::UserId, time::Ms};
use serde::{Deserialize, Deserializer, de::Error as _};
use uuid::Uuid;

/// Someone: an id, or a name that stands for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Who(UserId);

impl Who {
    /// Whom a name stands for: the same id in every test.
    pub(crate) fn named(name: &str) -> Self {
        Self(UserId(Uuid::new_v5(&Uuid::NAMESPACE_OID, name.as_bytes())))
    }
}

impl From<Who> for UserId {
    fn from(who: Who) -> Self {
        who.0
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Ok(Uuid::try_parse(&text).map_or_else(|_| Self::named(&text), |id| Self(UserId(id))))
    }
}

/// A time: milliseconds since the Unix epoch, or a date with its time and offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct When(Ms);

impl From<When> for Ms {
    fn from(when: When) -> Self {
        when.0
    }
}

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let told = |text: &str| match text.parse::<jiff::Timestamp>() {
            Ok(time) => u64::try_from(time.as_millisecond()).map_err(D::Error::custom),
            Err(_) => Err(D::Error::custom(format!(
                "`{text}` is no time; write milliseconds since the Unix epoch, or as in 2026-03-29T07:00:00+02:00"
            ))),
        };
        let ms = match toml::Value::deserialize(from)? {
            toml::Value::Integer(ms) => u64::try_from(ms).map_err(D::Error::custom),
            toml::Value::Datetime(time) => told(&time.to_string()),
            toml::Value::String(text) => told(&text),
            other => told(&other.to_string()),
        };
        ms.map(|ms| Self(Ms(ms)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Written {
        who: Vec<Who>,
        when: Vec<When>,
    }

    #[test]
    fn people_go_by_name_or_id_and_times_by_date_or_number() {
        let text = r#"
            who = ["ben", "ben", "00000000-0000-0000-0000-000000000007"]
            when = [1774760400000, 2026-03-29T07:00:00+02:00, "2026-03-29T05:00:00Z"]
        "#;
        let Written { who, when } = toml::from_str(text).unwrap();
        assert_eq!(who[0], who[1]);
        assert_eq!(who[2], Who(UserId::from_u128(7)));
        assert!(when.iter().all(|when| *when == When(Ms(1_774_760_400_000))), "{when:?}");
        let error = toml::from_str::<Written>("who = []\nwhen = [2026-03-29T07:00:00]").unwrap_err();
        assert!(error.to_string().contains("is no time"), "{error}");
        assert!(toml::from_str::<Written>("who = []\nwhen = [-1]").is_err());
    }
}
