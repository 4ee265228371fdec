//! Clocks and calendars of places, from a time zone database that comes with the host.
//!
//! Not the system's: two hosts of one version agree, and a container without one serves as well.

use super::bindings::memory::zone::LocalTime;
use jiff::{
    Timestamp, civil,
    tz::{AmbiguousOffset, TimeZone},
};

/// The longest name that is looked up.
const NAME_BYTES_MAX: usize = 64;

fn find(zone: &str) -> Option<TimeZone> {
    (zone.len() <= NAME_BYTES_MAX).then(|| TimeZone::get(zone).ok()).flatten()
}

/// What clocks show there.
pub(crate) fn local(zone: &str, at: u64) -> Option<LocalTime> {
    let zone = find(zone)?;
    let at = Timestamp::from_millisecond(i64::try_from(at).ok()?).ok()?;
    let offset = zone.to_offset(at);
    let shown = offset.to_datetime(at);
    Some(LocalTime {
        year: shown.year(),
        month: shown.month() as u8,
        day: shown.day() as u8,
        hour: shown.hour() as u8,
        minute: shown.minute() as u8,
        second: shown.second() as u8,
        millisecond: shown.millisecond() as u16,
        weekday: shown.weekday().to_monday_one_offset() as u8,
        offset_s: offset.seconds(),
    })
}

/// When clocks show that.
pub(crate) fn instant(zone: &str, local: &LocalTime) -> Option<u64> {
    let zone = find(zone)?;
    let small = |part: u8| i8::try_from(part).ok();
    let shown = civil::DateTime::new(
        local.year,
        small(local.month)?,
        small(local.day)?,
        small(local.hour)?,
        small(local.minute)?,
        small(local.second)?,
        i32::from(local.millisecond).checked_mul(1_000_000)?,
    );
    let ambiguous = zone.to_ambiguous_timestamp(shown.ok()?);
    let at = match ambiguous.offset() {
        // Shown twice: which of the two was meant.
        AmbiguousOffset::Fold { after, .. } if after.seconds() == local.offset_s => ambiguous.later(),
        _ => ambiguous.compatible(),
    };
    u64::try_from(at.ok()?.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(zone: &str, at: u64) -> (i16, u8, u8, u8, u8, i32) {
        let local = local(zone, at).unwrap();
        (local.year, local.month, local.day, local.hour, local.minute, local.offset_s)
    }

    #[test]
    fn clocks_show_what_the_place_says_over_the_year() {
        // 2025-01-15 and 2025-07-15, noon in Greenwich.
        assert_eq!(shown("Europe/Berlin", 1_736_942_400_000), (2025, 1, 15, 13, 0, 3_600));
        assert_eq!(shown("Europe/Berlin", 1_752_580_800_000), (2025, 7, 15, 14, 0, 7_200));
        assert_eq!(shown("America/New_York", 1_752_580_800_000), (2025, 7, 15, 8, 0, -14_400));
        assert_eq!(
            local("UTC", 1_752_580_800_123).map(|local| (local.millisecond, local.weekday)),
            Some((123, 2))
        );
    }

    #[test]
    fn a_time_that_is_shown_twice_is_told_by_its_offset_and_a_skipped_one_is_later() {
        let at = |month, day, hour, minute, offset_s| {
            let local = LocalTime {
                year: 2025,
                month,
                day,
                hour,
                minute,
                second: 0,
                millisecond: 0,
                weekday: 0,
                offset_s,
            };
            instant("Europe/Berlin", &local)
        };
        let early = at(10, 26, 2, 30, 7_200).unwrap();
        assert_eq!(at(10, 26, 2, 30, 3_600), Some(early + 3_600_000));
        assert_eq!(at(10, 26, 2, 30, 0), Some(early));
        assert_eq!(at(3, 30, 2, 30, 0), at(3, 30, 3, 30, 0));
        assert_eq!(at(2, 30, 2, 30, 0), None, "there is no such day");
        assert_eq!(at(200, 30, 2, 30, 0), None);
    }

    #[test]
    fn what_does_not_exist_is_none() {
        for zone in ["", "Atlantis/Capital", "../../etc/passwd", &"x".repeat(1_000)] {
            assert_eq!(local(zone, 0).map(|local| local.year), None, "{zone}");
        }
        assert_eq!(local("UTC", u64::MAX).map(|local| local.year), None);
    }
}
