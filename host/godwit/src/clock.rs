//! The one place where the host reads the time; everything else is given a clock.

use godwit_domain::time::{Clock, Ms};
use std::time::SystemTime;

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Ms {
        #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
        let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A machine that believes it is before 1970 is taken to be at the epoch.
        Ms(since_epoch.map_or(0, |since_epoch| since_epoch.as_millis() as u64))
    }
}
