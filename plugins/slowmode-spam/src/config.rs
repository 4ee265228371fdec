//! What an operator sets.

use godwit_plugin::Role;
use serde::Deserialize;

/// All settings, as the manifest's schema describes them.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub limits: Limits,
    pub roles: Roles,
    pub flood: Flood,
    pub newcomer_hours: u32,
    pub newcomer_links: Links,
    pub hosts: Vec<String>,
}

/// How much may be sent; what is left out is not limited.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub in_10s: Option<u32>,
    pub in_60s: Option<u32>,
    pub in_1h: Option<u32>,
    pub same_in_60s: Option<u32>,
    pub everywhere_in_60s: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Roles {
    owner: Option<Limits>,
    admin: Option<Limits>,
    member: Option<Limits>,
    reader: Option<Limits>,
}

/// What becomes of what is beyond a limit.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flood {
    Reject,
    Hold,
}

/// What becomes of a newcomer's links.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Links {
    Allow,
    Hold,
    Reject,
}

impl Default for Config {
    fn default() -> Self {
        let limits = Limits { in_10s: Some(10), in_60s: Some(30), same_in_60s: Some(3), ..Limits::default() };
        let unlimited = || Some(Limits::default());
        Self {
            limits,
            roles: Roles { owner: unlimited(), admin: unlimited(), ..Roles::default() },
            flood: Flood::Reject,
            newcomer_hours: 24,
            newcomer_links: Links::Hold,
            hosts: Vec::new(),
        }
    }
}

impl Config {
    /// The limits of somebody in that role.
    pub fn limits_of(&self, role: Option<Role>) -> Limits {
        let own = match role {
            Some(Role::Owner) => self.roles.owner,
            Some(Role::Admin) => self.roles.admin,
            Some(Role::Member) => self.roles.member,
            Some(Role::Reader) => self.roles.reader,
            None => None,
        };
        own.unwrap_or(self.limits)
    }
}
