//! How often people may try to log in or register.
//!
//! It owns two bounded tables of counts, by name and by address, and refuses to know whether an attempt succeeded.
//! A minute is counted from the first attempt in it. When a table is full, whoever was quiet longest is forgotten.

use godwit_domain::time::Ms;
use lru::LruCache;
use parking_lot::Mutex;
use std::{
    hash::Hash,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroUsize,
};

const MINUTE_MS: u64 = 60_000;
/// How many names, and how many addresses, are remembered: some megabytes.
const REMEMBERED_MAX: NonZeroUsize = NonZeroUsize::new(32_768).unwrap();

pub(super) struct Attempts {
    /// 0 turns the limit off.
    per_minute: u32,
    names: Mutex<LruCache<String, Window>>,
    addresses: Mutex<LruCache<IpAddr, Window>>,
}

/// The attempts within a minute.
struct Window {
    since: Ms,
    count: u32,
}

impl Attempts {
    pub fn new(per_minute: u32) -> Self {
        Self {
            per_minute,
            names: Mutex::new(LruCache::sparse(REMEMBERED_MAX)),
            addresses: Mutex::new(LruCache::sparse(REMEMBERED_MAX)),
        }
    }

    /// Counts an attempt; past the limit it says in how many milliseconds there is a next one.
    ///
    /// The address comes first: one that is over its limit no longer counts against the names that it tries.
    pub fn count(&self, name: &str, address: IpAddr, now: Ms) -> Result<(), u64> {
        if self.per_minute == 0 {
            return Ok(());
        }
        count(&mut self.addresses.lock(), network(address), self.per_minute, now)?;
        count(&mut self.names.lock(), name.to_owned(), self.per_minute, now)
    }
}

fn count<K: Hash + Eq>(table: &mut LruCache<K, Window>, who: K, max: u32, now: Ms) -> Result<(), u64> {
    let window = table.get_or_insert_mut(who, || Window { since: now, count: 0 });
    if now.since(window.since) >= MINUTE_MS {
        *window = Window { since: now, count: 0 };
    }
    if window.count >= max {
        return Err(window.since.plus(MINUTE_MS).since(now));
    }
    window.count += 1;
    Ok(())
}

/// Whom an address stands for: of IPv6 the first 64 bits, since whoever has one of them has them all.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (!0 << 64)).into(),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "192.0.2.1";

    #[track_caller]
    fn check(per_minute: u32, tries: &[(&str, &str, u64, Result<(), u64>)]) {
        let attempts = Attempts::new(per_minute);
        for (name, address, at, expected) in tries {
            let address = address.parse().unwrap();
            assert_eq!(attempts.count(name, address, Ms(*at)), *expected, "{name} from {address} at {at}");
        }
    }

    #[test]
    fn an_address_is_refused_past_its_limit_until_its_minute_is_over() {
        check(
            2,
            &[
                ("ada", HERE, 1_000, Ok(())),
                ("ben", HERE, 2_000, Ok(())),
                ("cleo", HERE, 3_000, Err(58_000)),
                ("cleo", "192.0.2.2", 3_000, Ok(())),
                ("cleo", HERE, 61_000, Ok(())),
            ],
        );
    }

    #[test]
    fn a_name_is_refused_past_its_limit_wherever_it_is_tried_from() {
        check(
            2,
            &[
                ("ada", "192.0.2.1", 0, Ok(())),
                ("ada", "192.0.2.2", 0, Ok(())),
                ("ada", "192.0.2.3", 20_000, Err(40_000)),
                ("ben", "192.0.2.3", 20_000, Ok(())),
            ],
        );
    }

    #[test]
    fn an_address_over_its_limit_does_not_use_up_a_name() {
        check(1, &[("ada", HERE, 0, Ok(())), ("ben", HERE, 0, Err(60_000)), ("ben", "192.0.2.2", 0, Ok(()))]);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        check(
            1,
            &[
                ("ada", "2001:db8::1", 0, Ok(())),
                ("ben", "2001:db8::ffff:2", 0, Err(60_000)),
                ("ben", "2001:db8:0:1::2", 0, Ok(())),
            ],
        );
    }

    #[test]
    fn an_ipv4_address_is_the_same_however_it_is_written() {
        check(1, &[("ada", "192.0.2.1", 0, Ok(())), ("ben", "::ffff:192.0.2.1", 0, Err(60_000))]);
    }

    #[test]
    fn zero_turns_the_limit_off() {
        check(0, &[("ada", HERE, 0, Ok(())); 50]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let attempts = Attempts::new(1);
        for n in 0..REMEMBERED_MAX.get() as u32 + 10 {
            attempts.count(&n.to_string(), IpAddr::V4(n.into()), Ms(0)).unwrap();
        }
        assert_eq!(attempts.names.lock().len(), REMEMBERED_MAX.get());
        assert_eq!(attempts.addresses.lock().len(), REMEMBERED_MAX.get());
    }
}
