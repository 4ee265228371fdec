//! Limits on what clients may ask, each a documented setting.

use godwit_domain::conversation::Kind;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The `[limits]` section of the configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// The largest body of a message, in bytes of UTF-8.
    #[schemars(extend("exceeded" = "`too_large`"))]
    pub body_bytes_max: usize,
    /// How many messages a user may send per second in the long run; 0 turns the limit off.
    #[schemars(extend("exceeded" = "`rate_limited`, then 3503"))]
    pub sends_per_s: u32,
    /// How many messages a user may send at once before `sends_per_s` counts.
    #[schemars(extend("exceeded" = "`rate_limited`, then 3503"))]
    pub sends_burst: u32,
    /// How many requests a connection may make per second in the long run, before they are decoded: who makes more is
    /// read more slowly; 0 turns the limit off.
    #[schemars(extend("exceeded" = "read more slowly"))]
    pub requests_per_s: u32,
    /// How many requests of a connection may be in flight.
    #[schemars(extend("exceeded" = "`rate_limited`, then 3503"))]
    pub in_flight_max: usize,
    /// How many users one request may name.
    #[schemars(extend("exceeded" = "`invalid`"))]
    pub users_per_request_max: usize,
    /// How many members a group may have.
    #[schemars(extend("exceeded" = "`invalid`"))]
    pub members_max: usize,
    /// How many contacts a user may have, made requests and blocked people included.
    #[schemars(extend("exceeded" = "`invalid`"))]
    pub contacts_max: usize,
    /// How many requests to become a contact a user may have made that were not answered, and how many may wait for one.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub contact_requests_max: usize,
    /// How many members a channel may have, its readers included.
    #[schemars(extend("exceeded" = "`invalid`"))]
    pub channel_members_max: usize,
    /// How many messages a user may have on hold in one conversation.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub held_max: usize,
    /// How long a message may be on hold before it is rejected, in seconds: from 1 to a week less an hour, into
    /// which it is cut.
    pub hold_max_s: u64,
    /// How many logins and registrations a minute, counted per name and per address; 0 turns the limit off.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub logins_per_minute: u32,
    /// How many people a user may look up by name in a minute; 0 turns the limit off.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub lookups_per_minute: u32,
    /// How often a user may change their profile in a minute; 0 turns the limit off.
    #[schemars(extend("exceeded" = "`rate_limited`"))]
    pub profiles_per_minute: u32,
    /// How often a connection may say in a second that someone is writing; 0 turns the limit off.
    #[schemars(extend("exceeded" = "not told"))]
    pub typings_per_s: u32,
    /// Receipts are pushed, and marks of others kept, in groups of up to so many members.
    #[schemars(extend("exceeded" = "no receipts are pushed"))]
    pub receipts_above: usize,
    /// Messages are pushed to every member in conversations of up to so many; above it to the sessions that follow.
    #[schemars(extend("exceeded" = "pushed to who follows, `heads` to the others"))]
    pub follow_above: u32,
    /// How many conversations a session may follow.
    #[schemars(extend("exceeded" = "`invalid`"))]
    pub follows_max: usize,
    /// How long fan-out rules and delivery policies may take about one message, in milliseconds.
    #[schemars(extend("exceeded" = "the built-in rule is used"))]
    pub deliver_ms: u64,
    /// How many pushes of one conversation may wait behind a message that such a rule is asked about.
    #[schemars(extend("exceeded" = "told as `heads`"))]
    pub delivering_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            body_bytes_max: 16 * 1024,
            sends_per_s: 20,
            sends_burst: 100,
            requests_per_s: 500,
            in_flight_max: 256,
            users_per_request_max: 500,
            members_max: 10_000,
            channel_members_max: 200_000,
            contacts_max: 2_000,
            contact_requests_max: 200,
            held_max: 20,
            hold_max_s: 3 * 24 * 60 * 60,
            logins_per_minute: 20,
            lookups_per_minute: 60,
            profiles_per_minute: 10,
            typings_per_s: 2,
            receipts_above: 100,
            follow_above: 100,
            follows_max: 500,
            deliver_ms: 500,
            delivering_max: 1_000,
        }
    }
}

impl Options {
    /// How many members a conversation of that kind may have.
    pub fn members(&self, kind: Kind) -> usize {
        match kind {
            Kind::Direct | Kind::Group => self.members_max,
            Kind::Channel => self.channel_members_max,
        }
    }
}
