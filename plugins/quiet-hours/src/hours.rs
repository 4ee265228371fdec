//! Quiet hours: a time span of every day, on the clocks of a place.

use godwit_plugin::{Ms, zone, zone::LocalTime};

const DAY_MIN: u16 = 24 * 60;

/// From one minute of the day to another, over midnight where the second is not later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    from: u16,
    to: u16,
}

impl Hours {
    /// Reads `22:00-07:00`.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, to) = text.trim().split_once('-')?;
        let hours = Self { from: minute(from)?, to: minute(to)? };
        (hours.from != hours.to).then_some(hours)
    }

    /// When they end, if they are on at that time in that zone.
    pub fn end(self, zone: &str, at: Ms) -> Option<Ms> {
        let now = zone::local(zone, at)?;
        let minute = u16::from(now.hour) * 60 + u16::from(now.minute);
        let overnight = self.from > self.to;
        let evening = minute >= self.from;
        let on = if overnight { evening || minute < self.to } else { evening && minute < self.to };
        if !on {
            return None;
        }
        let mut end = LocalTime { hour: (self.to / 60) as u8, minute: (self.to % 60) as u8, ..now };
        (end.second, end.millisecond) = (0, 0);
        if overnight && evening {
            (end.year, end.month, end.day) = next_day(now.year, now.month, now.day);
        }
        // Where clocks show the end twice, it is the first time that is later than now.
        zone::instant(zone, end).filter(|end| *end > at)
    }
}

impl std::fmt::Display for Hours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, to } = self;
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// The minute of the day that `07:00` or `7:00` is.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.trim().split_once(':')?;
    let digits = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hour) || minute.len() != 2 || !digits(minute) {
        return None;
    }
    let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
    Some(hour * 60 + minute).filter(|all| *all < DAY_MIN && minute < 60)
}

fn next_day(year: i16, month: u8, day: u8) -> (i16, u8, u8) {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    match (month, day) {
        (12, 31) => (year + 1, 1, 1),
        _ if day >= days => (year, month + 1, 1),
        _ => (year, month, day + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use godwit_plugin::testing;

    #[test]
    fn hours_are_read_as_people_write_them() {
        for (text, expected) in [
            ("22:00-07:00", Some("22:00-07:00")),
            (" 9:30 - 17:05 ", Some("09:30-17:05")),
            ("00:00-23:59", Some("00:00-23:59")),
            ("24:00-07:00", None),
            ("22:60-07:00", None),
            ("22:00-22:00", None),
            ("22-7", None),
            ("22:00", None),
            ("+2:00-07:00", None),
            ("", None),
        ] {
            let found = Hours::parse(text).map(|hours| hours.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn months_and_years_end() {
        for (date, next) in [
            ((2026, 2, 28), (2026, 3, 1)),
            ((2028, 2, 28), (2028, 2, 29)),
            ((2100, 2, 28), (2100, 3, 1)),
            ((2026, 4, 30), (2026, 5, 1)),
            ((2026, 12, 31), (2027, 1, 1)),
            ((2026, 7, 30), (2026, 7, 31)),
        ] {
            assert_eq!(next_day(date.0, date.1, date.2), next);
        }
    }

    /// 15 June 2025, at that time in UTC.
    fn at(hour: u64, minute: u64) -> Ms {
        1_749_945_600_000 + (hour * 60 + minute) * 60_000
    }

    #[test]
    fn they_are_on_from_their_first_minute_to_their_last() {
        let night = Hours::parse("22:00-07:00").unwrap();
        assert_eq!(night.end("UTC", at(21, 59)), None);
        assert_eq!(night.end("UTC", at(22, 0)), Some(at(31, 0)));
        assert_eq!(night.end("UTC", at(6, 59)), Some(at(7, 0)));
        assert_eq!(night.end("UTC", at(7, 0)), None);
        let noon = Hours::parse("12:00-13:00").unwrap();
        assert_eq!(noon.end("UTC", at(12, 30)), Some(at(13, 0)));
        assert_eq!(noon.end("UTC", at(13, 0)), None);
    }

    #[test]
    fn clocks_are_those_of_the_place() {
        testing::set_zone("Europe/Berlin", 7_200);
        let night = Hours::parse("22:00-07:00").unwrap();
        assert_eq!(night.end("Europe/Berlin", at(20, 30)), Some(at(29, 0)));
        assert_eq!(night.end("UTC", at(20, 30)), None);
        assert_eq!(night.end("Nowhere/Land", at(23, 0)), None);
    }
}
