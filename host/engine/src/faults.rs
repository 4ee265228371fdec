//! Promises that tests can have broken on purpose, to see that a test notices: `CONTRACT.md` names each with its test.
//!
//! Without the feature `faults` nothing of this is compiled: [`on`] is `false`, and what would ask it is gone. With it
//! the environment variable `GODWIT_FAULT` names the one promise that is broken; `tests/faults` goes through all.

macro_rules! switches {
    ($($(#[$meaning:meta])* $name:ident = $text:literal,)*) => {
        /// A promise that can be broken.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Fault {
            $($(#[$meaning])* $name,)*
        }

        impl Fault {
            #[cfg(feature = "faults")]
            fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

switches! {
    /// The answer's reason is not looked at.
    AnswerUnchecked = "answer-unchecked",
    /// A policy may answer for more or fewer than it was asked about.
    AttentionUnchecked = "attention-unchecked",
    /// A rule may name anybody.
    AudienceUnchecked = "audience-unchecked",
    /// A breaker counts calls instead of senders.
    BreakerCountsCalls = "breaker-counts-calls",
    /// A breaker never opens.
    BreakerNever = "breaker-never",
    /// An artefact is taken as it lies on disk.
    CacheUnverified = "cache-unverified",
    /// The chain's common budget is not counted.
    ChainUnbounded = "chain-unbounded",
    /// A clamp is not told.
    ClampUntold = "clamp-untold",
    /// The compiling process keeps the host's rights.
    CompilerOpen = "compiler-open",
    /// A configuration is not held against the manifest's schema.
    ConfigUnchecked = "config-unchecked",
    /// CPU time is counted and nothing is cut.
    CpuUnbounded = "cpu-unbounded",
    /// Effects of a call are as many as it likes.
    EffectsUnbounded = "effects-unbounded",
    /// A plugin is shown what was encrypted.
    EncryptedShown = "encrypted-shown",
    /// Of a failed moderation the message is let through.
    FailureAllows = "failure-allows",
    /// `err` of an actor counts as `ok`.
    ErrCounts = "err-counts",
    /// A reject does not end the chain.
    FirstRejectGoesOn = "first-reject-goes-on",
    /// The verdict carries another generation than the one that judged.
    GenerationOff = "generation-off",
    /// Whatever is asked for is granted.
    GrantsIgnored = "grants-ignored",
    /// An instance has as many handles as it likes.
    HandlesUnbounded = "handles-unbounded",
    /// A hold is let through.
    HoldAllows = "hold-allows",
    /// Manifest and component need not name the same hooks.
    HooksUnmatched = "hooks-unmatched",
    /// A plugin's requests may go to any origin.
    HttpAnyOrigin = "http-any-origin",
    /// A name may have any address.
    HttpAnyAddress = "http-any-address",
    /// `init` is not called.
    InitSkipped = "init-skipped",
    /// Limits of keys and values are not looked at.
    KvUnbounded = "kv-unbounded",
    /// The rate of log lines is not limited.
    LogUnbounded = "log-unbounded",
    /// Rules see the member list without its capability.
    MembersShown = "members-shown",
    /// Memory grows as far as the machine lets it.
    MemoryUnbounded = "memory-unbounded",
    /// A plugin is asked for one message at a time by whoever comes first, as often as one likes.
    OneTurnForAll = "one-turn-for-all",
    /// `kv` does not show a call its own writes.
    OwnWritesUnseen = "own-writes-unseen",
    /// What killed a plugin twice is shown to it again.
    PoisonShown = "poison-shown",
    /// Guests may wait in filters.
    PollablesWait = "pollables-wait",
    /// Plugins run by their ids, whatever their priority.
    PriorityIgnored = "priority-ignored",
    /// A version is never put into quarantine, nor taken back.
    QuarantineNever = "quarantine-never",
    /// Of several policies the last counts.
    QuietestIgnored = "quietest-ignored",
    /// Filters and actors count in one place.
    RateShared = "rate-shared",
    /// A call reads as often as it likes.
    ReadsUnbounded = "reads-unbounded",
    /// What a plugin hands over may have any size.
    ResultUnbounded = "result-unbounded",
    /// A rewrite may have any size.
    RewriteUnbounded = "rewrite-unbounded",
    /// Of several rules the last counts.
    RuleLastCounts = "rule-last-counts",
    /// A plugin is asked wherever it is not installed.
    ScopeIgnored = "scope-ignored",
    /// A canary has all conversations.
    CanaryEverywhere = "canary-everywhere",
    /// A shadow is shown nothing.
    ShadowBlind = "shadow-blind",
    /// `state` does not follow what is committed.
    StateStale = "state-stale",
    /// An instance is used again after whatever happened to it.
    StoreUsedAgain = "store-used-again",
    /// A table grows as far as the pool lets it.
    TableUnbounded = "table-unbounded",
    /// The manifest's tests are not run.
    TestsSkipped = "tests-skipped",
    /// A call may last as long as it likes, if it only waits.
    WallUnbounded = "wall-unbounded",
    /// Guests find arguments and an environment.
    WasiOpen = "wasi-open",
}

/// Whether that promise is broken.
#[cfg(feature = "faults")]
pub(crate) fn on(fault: Fault) -> bool {
    static BROKEN: std::sync::LazyLock<Option<String>> =
        std::sync::LazyLock::new(|| std::env::var("GODWIT_FAULT").ok());
    BROKEN.as_deref() == Some(fault.name())
}

/// Whether that promise is broken: never.
#[cfg(not(feature = "faults"))]
pub(crate) const fn on(_: Fault) -> bool {
    false
}
