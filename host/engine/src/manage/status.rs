//! What operators see of the plugins; read from what serves, without waiting for a change that is under way.

use super::{Live, install};
use crate::seat::{Seat, Trial};
use godwit_domain::{
    filter::Chain,
    plugin::{self, CandidateStatus, Health, Installation, State, Status},
};

impl Live {
    pub(crate) fn list(&self) -> Vec<Status> {
        let snapshot = self.snapshot.load();
        let generation = snapshot.generation();
        snapshot.ordered().into_iter().map(|seat| self.of(seat, generation)).collect()
    }

    pub(super) fn status(&self, id: &str) -> Option<Status> {
        let generation = self.snapshot.load().generation();
        self.find(id).map(|seat| self.of(&seat, generation))
    }

    fn of(&self, seat: &Seat, generation: godwit_domain::id::Generation) -> Status {
        let Installation { id, active, previous, policy, quarantine, reverted, .. } = &*seat.installation;
        let why = seat.active.pool.as_ref().err().map(|why| why.to_string());
        let health = match (&why, quarantine) {
            _ if policy.disabled => Health::Disabled,
            (_, Some(_)) => Health::Quarantined,
            (Some(_), None) => Health::Broken,
            (None, None) if seat.active.health.is_stopped() => Health::Quarantined,
            (None, None) => Health::Serving,
        };
        let meter = &seat.active.meter;
        let count =
            |gauge: &prometheus_client::metrics::gauge::Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        Status {
            id: id.clone(),
            version: active.version.clone(),
            digest: active.digest.to_string(),
            health,
            why,
            hooks: active.hook_names(),
            priority: seat.priority(),
            on_failure: policy.on_failure.unwrap_or(active.on_failure),
            on_open: policy.on_open.unwrap_or(active.on_open),
            scope: policy.scope.clone(),
            pinned: policy.pinned,
            asks: active.asks.clone(),
            grants: active.grants.clone(),
            previous: previous.as_ref().map(|release| release.version.clone()),
            candidate: candidate(seat),
            quarantine: quarantine.clone(),
            reverted: reverted.clone(),
            // The engine runs what acts; how far it is, `core` knows.
            at_work: None,
            poisoned: seat.poison.list(self.clock.now()).len(),
            calls: seat.active.health.calls(),
            instances: count(&meter.live),
            memory_kib: count(&meter.memory_bytes) / 1_024,
            waiting: count(&meter.waiting),
            installed_at: active.installed_at,
            generation,
        }
    }
}

fn candidate(seat: &Seat) -> Option<CandidateStatus> {
    let plugin::Candidate { release, trial } = seat.installation.candidate.as_ref()?;
    let (state, percent, missing) = match trial {
        plugin::Trial::Pending { missing } => (State::Pending, None, missing.clone()),
        plugin::Trial::Shadow => (State::Shadow, None, Vec::new()),
        plugin::Trial::Canary { percent } => (State::Canary, Some(*percent), Vec::new()),
    };
    let (comparison, calls) = match &seat.trial {
        Some(Trial::Shadow(shadow)) => (Some(shadow.comparison()), Vec::new()),
        Some(Trial::Canary(version, _)) => (None, version.health.calls()),
        None => (None, Vec::new()),
    };
    Some(CandidateStatus {
        version: release.version.clone(),
        digest: release.digest.to_string(),
        state,
        percent,
        missing,
        diff: install::diff(Some(&seat.installation.active), release),
        comparison,
        calls,
        installed_at: release.installed_at,
    })
}
