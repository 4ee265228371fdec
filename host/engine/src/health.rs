//! How one version does: which calls it may be asked, and what its failures lead to.
//!
//! It owns the breaker of each hook, counts what follows a swap, and raises an [`Alarm`] where the roster has to
//! change: a version taken back, a canary ended, a quarantine, poison to be stored. It refuses to change anything
//! itself, for it stands in the path of messages. Start with [`Health::admit`].

use crate::{
    breaker::{Admission, Breaker, Trip},
    faults::{self, Fault},
    instance::Failure,
    metrics::{HOOKS, Meter},
    options::Options,
    poison::{Poison, Print},
    services::Private,
};
use godwit_domain::{
    filter::{Decision, Hook},
    id::UserId,
    plugin::{Circuit, HookStatus, Poisoned, Release},
    time::Ms,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
};
use tokio::sync::mpsc;

/// Something that has to be stored, because of how a plugin does.
#[derive(Debug)]
pub(crate) struct Alarm {
    pub(crate) plugin: Arc<str>,
    /// Of which version; the alarm means nothing for another.
    pub(crate) release: Arc<Release>,
    pub(crate) what: What,
}

/// What an alarm asks for.
#[derive(Debug)]
pub(crate) enum What {
    /// The active version failed too often after a swap: the one before it is to serve again.
    Revert(String),
    /// The canary failed too often: it is to end.
    EndCanary(String),
    /// The active version is to be asked no more.
    Quarantine(String),
    /// Content that is not shown any more.
    Poison(Poisoned),
}

/// What failures of a version can lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Quarantine; before that moment, the version before it serves again.
    Active {
        /// None where there is nothing to go back to.
        revert_until: Option<Ms>,
    },
    /// Its end.
    Canary,
    /// Nothing: it is in quarantine already.
    Quarantined,
}

/// How one version of one plugin does.
pub(crate) struct Health {
    plugin: Arc<str>,
    release: Arc<Release>,
    role: Role,
    breakers: [Breaker; HOOKS.len()],
    inits_failed: AtomicU32,
    /// It is not asked any more, whether or not that is stored yet.
    stopped: AtomicBool,
    poison: Arc<Poison>,
    private: Arc<Private>,
    meter: Arc<Meter>,
    options: Arc<Options>,
    alarms: mpsc::Sender<Alarm>,
}

impl Health {
    pub(crate) fn new(
        plugin: Arc<str>,
        release: Arc<Release>,
        role: Role,
        parts: (Arc<Poison>, Arc<Private>, Arc<Meter>),
        options: Arc<Options>,
        alarms: mpsc::Sender<Alarm>,
    ) -> Arc<Self> {
        let (poison, private, meter) = parts;
        Arc::new(Self {
            plugin,
            release,
            role,
            breakers: HOOKS.map(|_| Breaker::new(options.breaker.clone())),
            inits_failed: AtomicU32::new(0),
            stopped: AtomicBool::new(role == Role::Quarantined),
            poison,
            private,
            meter,
            options,
            alarms,
        })
    }

    /// Whether it may be asked this; `print` tells the content from others.
    pub(crate) fn admit<'a, P: Fn() -> Option<Print>>(
        &'a self,
        hook: Hook,
        sender: UserId,
        print: P,
    ) -> Result<Call<'a, P>, Failure> {
        let breaker = &self.breakers[hook as usize];
        let mut admission = Admission::Free;
        if !breaker.is_calm() || !self.poison.is_empty() || self.stopped.load(Relaxed) {
            let now = self.private.now();
            if self.stopped.load(Relaxed) {
                return Err(Failure::not_asked(Decision::Open, "the version is in quarantine"));
            }
            let shown = faults::on(Fault::PoisonShown);
            if !shown
                && !self.poison.is_empty()
                && print().is_some_and(|print| self.poison.refuses(print, now))
            {
                let why = "a plugin is not shown again what killed it twice";
                return Err(Failure::not_asked(Decision::Poison, why));
            }
            if !breaker.is_calm() {
                admission = breaker.admit(sender, now);
                self.show(hook, now);
            }
            if admission == Admission::Refused {
                return Err(Failure::not_asked(Decision::Open, "its breaker is open"));
            }
        }
        Ok(Call { health: self, hook, sender, print, admission, told: false })
    }

    /// An instance could not be made.
    pub(crate) fn init_failed(&self, why: &str) {
        let failed = self.inits_failed.fetch_add(1, Relaxed) + 1;
        if failed >= self.options.breaker.inits.max(1) {
            self.stop(format!("{failed} instances in a row could not be made, the last because {why}"));
        }
    }

    /// An instance was made.
    pub(crate) fn init_succeeded(&self) {
        if self.inits_failed.load(Relaxed) > 0 {
            self.inits_failed.store(0, Relaxed);
        }
    }

    /// Whether it is asked no more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// How the hooks of this version do.
    pub(crate) fn calls(&self) -> Vec<HookStatus> {
        let status = |hook: &Hook| {
            let (breaker, trips) = self.breaker(*hook);
            HookStatus { breaker, trips, ..self.meter.status(*hook) }
        };
        self.release.hooks.iter().map(status).collect()
    }

    /// Tells metrics where the breakers stand, which time alone may have moved.
    pub(crate) fn show_all(&self) {
        let now = self.private.now();
        self.release.hooks.iter().for_each(|hook| self.show(*hook, now));
    }

    fn breaker(&self, hook: Hook) -> (Circuit, u32) {
        let (circuit, trips) = self.breakers[hook as usize].state(self.private.now());
        (if self.stopped.load(Relaxed) { Circuit::Open } else { circuit }, trips)
    }

    fn show(&self, hook: Hook, now: Ms) {
        let (circuit, _) = self.breakers[hook as usize].state(now);
        self.meter.breaker(hook, if self.stopped.load(Relaxed) { Circuit::Open } else { circuit });
    }

    fn failed(&self, hook: Hook, trip: &Trip, how: Decision) {
        let text = match trip {
            Trip::None => None,
            Trip::Opened => Some("too many senders failed: the breaker is open"),
            Trip::Repeated => Some("the breaker opened once more"),
        };
        if let Some(text) = text {
            tracing::warn!(plugin = %self.plugin, version = self.release.version, hook = hook.name(), "{text}");
            let line = format!("host: `{}`: {text}", hook.name());
            self.private.log("error", &self.release.version, &line);
        }
        let rollback = &self.options.rollback;
        let watched = match self.role {
            Role::Active { revert_until } => revert_until.is_some_and(|until| self.private.now() < until),
            Role::Canary => true,
            Role::Quarantined => false,
        };
        if watched {
            let (mut calls, mut failures) = self.meter.failures();
            // This one is counted after it.
            (calls, failures) = (calls + 1, failures + 1);
            if failures >= u64::from(rollback.failures.max(1))
                && failures * 100 >= calls * u64::from(rollback.percent)
            {
                let last = how.name();
                self.stop(format!("{failures} of {calls} calls trapped or were cut, the last by {last}"));
            }
        }
        if *trip == Trip::Repeated {
            let times = self.breakers[hook as usize].state(self.private.now()).1;
            self.stop(format!("its breaker for `{}` opened {times} times", hook.name()));
        }
    }

    /// Raises the alarm that ends this version, once.
    fn stop(&self, why: String) {
        let what = match self.role {
            Role::Active { revert_until: Some(until) } if self.private.now() < until => What::Revert(why),
            Role::Active { .. } => What::Quarantine(why),
            Role::Canary => What::EndCanary(why),
            Role::Quarantined => return,
        };
        if faults::on(Fault::QuarantineNever) || self.stopped.swap(true, Relaxed) {
            return;
        }
        if !self.raise(what) {
            // Nobody took it: the next failure tries again.
            self.stopped.store(false, Relaxed);
        }
    }

    fn raise(&self, what: What) -> bool {
        let alarm = Alarm { plugin: self.plugin.clone(), release: self.release.clone(), what };
        self.alarms.try_send(alarm).is_ok()
    }
}

/// A call that was admitted; what becomes of it is told, or it counts as given up.
pub(crate) struct Call<'a, P> {
    health: &'a Health,
    hook: Hook,
    sender: UserId,
    print: P,
    admission: Admission,
    told: bool,
}

impl<P: Fn() -> Option<Print>> Call<'_, P> {
    /// It was answered.
    pub(crate) fn answered(mut self) {
        self.told = true;
        let Health { breakers, poison, private, .. } = self.health;
        let breaker = &breakers[self.hook as usize];
        if !breaker.is_calm() {
            breaker.succeeded(self.admission, self.sender, private.now());
            self.health.show(self.hook, private.now());
        }
        if !poison.is_empty()
            && let Some(print) = (self.print)()
        {
            poison.harmless(print);
        }
    }

    /// It broke or was cut.
    pub(crate) fn broke(mut self, how: Decision) {
        self.told = true;
        let Health { breakers, poison, private, release, .. } = self.health;
        let now = private.now();
        let trip = breakers[self.hook as usize].failed(self.admission, self.sender, now);
        self.health.show(self.hook, now);
        let killed = |print| poison.killed(print, self.hook, &release.version, how, now).map(What::Poison);
        if let Some(what) = (self.print)().and_then(killed) {
            let text = format!("host: `{}` is not shown again what killed it twice", self.hook.name());
            private.log("error", &release.version, &text);
            // Where nobody takes it, it is poison until the host ends.
            self.health.raise(what);
        }
        self.health.failed(self.hook, &trip, how);
    }
}

impl<P> Drop for Call<'_, P> {
    fn drop(&mut self) {
        if !self.told && self.admission == Admission::Probe {
            self.health.breakers[self.hook as usize].abandoned(self.admission);
        }
    }
}
