//! Settings: one documented `Options` per crate, filled from a file, the environment and flags, weak to strong.
//!
//! It owns the layers and what is said about a wrong one: an unknown key is refused by name with the place that it
//! came from, a wrong type names key, value and what was expected. It refuses to know what a setting does: that is
//! the business, and the documentation, of the crate that obeys it.
//!
//! Start with [`Settings`], then [`load`].

mod example;
mod keys;
mod layer;
mod limits;

pub use example::example;
pub use limits::limits;

use anyhow::Context;
use keys::Keys;
use layer::{Assignment, Origin};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where the host listens and keeps its data.
    pub server: Server,
    /// What the host writes to standard error.
    pub log: Log,
    /// Accounts, logins and tokens.
    pub auth: godwit_core::accounts::Options,
    /// What clients may ask.
    pub limits: godwit_core::limits::Options,
    /// Devices that come back.
    pub resume: godwit_core::session::resume::Options,
    /// When people count as online.
    pub presence: godwit_core::presence::Options,
    /// Listeners and sockets.
    pub gateway: godwit_gateway::Options,
    /// The embedded store.
    pub storage: godwit_storage::redb::Options,
    /// Budgets and limits of plugins.
    pub plugins: godwit_engine::Options,
}

/// The `[server]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// The folder of everything that must outlive the process. It is made where it is missing, for its owner alone;
    /// one host at a time may use it.
    pub data: PathBuf,
    /// The address for clients: WebSocket, HTTP and the web client. Port 0 takes a free one.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
    /// The address for operators: the admin API, health and metrics. Keep it away from the public.
    #[schemars(with = "String")]
    pub admin: SocketAddr,
    /// How long a stopping host gives its clients to move elsewhere, in milliseconds; at most 8,000, so that it has
    /// ended within 10 s.
    #[schemars(range(max = 8000))]
    pub drain_ms: u64,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            data: PathBuf::from("godwit-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7800)),
            admin: SocketAddr::from(([127, 0, 0, 1], 7801)),
            drain_ms: 3000,
        }
    }
}

/// The `[log]` section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// What is worth a line: `error`, `warn`, `info`, `debug` or `trace`, also per part of the host, as in
    /// `info,godwit_core=debug`.
    pub level: String,
    /// The form of a line.
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Text }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Where settings come from, beside the environment.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// Defaults of the command itself, weaker than everything that a person wrote: key and value.
    pub presets: Vec<(&'static str, String)>,
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// Flags: the name of the flag as it was written, the key and the value.
    pub flags: Vec<(&'static str, String, String)>,
}

/// Reads every layer and puts the stronger over the weaker: defaults, file, environment, flags.
///
/// # Errors
/// A file that cannot be read or is no TOML, a key that nothing obeys, a value of the wrong type or out of range.
pub fn load(
    sources: &Sources,
    environment: impl IntoIterator<Item = (String, String)>,
) -> anyhow::Result<Settings> {
    let keys = Keys::of::<Settings>();
    let mut assignments = Vec::new();
    for (key, value) in &sources.presets {
        assignments.push(layer::flag("the command", key, value, &keys)?);
    }
    if let Some(path) = &sources.file {
        assignments.extend(read_file(path, &keys)?);
    }
    assignments.extend(layer::environment(environment, &keys)?);
    for (flag, key, value) in &sources.flags {
        assignments.push(layer::flag(flag, key, value, &keys)?);
    }
    assemble(assignments, &keys)
}

fn read_file(path: &Path, keys: &Keys) -> anyhow::Result<Vec<Assignment>> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration file {}", path.display()))?;
    layer::file(&text, &Origin::File(path.to_owned()), keys)
}

/// Applies assignments one by one, each tried against the types by itself, so that an error names its own.
fn assemble(assignments: Vec<Assignment>, keys: &Keys) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    for assignment in assignments {
        let mut table = toml::Table::try_from(&settings).context("the settings are no table")?;
        assignment.put_into(&mut table);
        settings = match Settings::deserialize(toml::Value::Table(table)) {
            Ok(settings) => settings,
            Err(error) => return Err(assignment.wrong(keys, &error)),
        };
        assignment.check_range(keys)?;
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings, String> {
        let keys = Keys::of::<Settings>();
        let owned = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let run = || {
            let mut all = layer::file(file, &Origin::File(PathBuf::from("godwit.toml")), &keys)?;
            all.extend(layer::environment(owned, &keys)?);
            for (key, value) in flags {
                all.push(layer::flag("--set", key, value, &keys)?);
            }
            assemble(all, &keys)
        };
        run().map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn nothing_set_means_the_defaults() {
        assert_eq!(check("", &[], &[]), Ok(Settings::default()));
    }

    #[test]
    fn the_stronger_layer_wins() {
        let file = "[limits]\nsends_per_s = 1\nsends_burst = 1\nmembers_max = 1";
        let environment = [("GODWIT_LIMITS_SENDS_PER_S", "2"), ("GODWIT_LIMITS_SENDS_BURST", "2")];
        let settings = check(file, &environment, &[("limits.sends_burst", "3")]).unwrap();
        assert_eq!(settings.limits.members_max, 1);
        assert_eq!(settings.limits.sends_per_s, 2);
        assert_eq!(settings.limits.sends_burst, 3);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place_and_the_nearest_known_one() {
        let file = check("[limits]\nsends_per_second = 1", &[], &[]).unwrap_err();
        assert_eq!(
            file,
            "godwit.toml: unknown setting `limits.sends_per_second`; did you mean `limits.sends_per_s`?"
        );
        let variable = check("", &[("GODWIT_LIMITS_MEMBER_MAX", "1")], &[]).unwrap_err();
        assert_eq!(
            variable,
            "unknown setting in the environment: `GODWIT_LIMITS_MEMBER_MAX`; did you mean `GODWIT_LIMITS_MEMBERS_MAX`?"
        );
        let flag = check("", &[], &[("log.levle", "info")]).unwrap_err();
        assert_eq!(flag, "--set: unknown setting `log.levle`; did you mean `log.level`?");
        let section = check("[limit]\nsends_per_s = 1", &[], &[]).unwrap_err();
        assert_eq!(section, "godwit.toml: unknown section `[limit]`; did you mean `[limits]`?");
        let top = check("sends_per_s = 1", &[], &[]).unwrap_err();
        assert_eq!(top, "godwit.toml: unknown setting `sends_per_s`; did you mean `limits.sends_per_s`?");
    }

    #[test]
    fn a_wrong_type_names_key_value_and_expectation() {
        for (file, environment, expected) in [
            (
                "[limits]\nsends_per_s = \"many\"",
                None,
                "godwit.toml: `limits.sends_per_s` is \"many\", but must be an integer from 0",
            ),
            (
                "",
                Some(("GODWIT_LIMITS_MEMBERS_MAX", "-5")),
                "GODWIT_LIMITS_MEMBERS_MAX: `limits.members_max` is -5, but must be an integer from 0",
            ),
            (
                "[log]\nformat = \"xml\"",
                None,
                "godwit.toml: `log.format` is \"xml\", but must be one of \"text\", \"json\"",
            ),
            ("log = 3", None, "godwit.toml: `log` is 3, but must be a section"),
        ] {
            let environment: Vec<_> = environment.into_iter().collect();
            let error = check(file, &environment, &[]).unwrap_err();
            assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_refused() {
        let error = check("[server]\ndrain_ms = 60000", &[], &[]).unwrap_err();
        assert_eq!(error, "godwit.toml: `server.drain_ms` is 60000, but must be at most 8000");
    }

    #[test]
    fn an_address_says_what_was_wrong_with_it() {
        let error = check("", &[], &[("server.listen", "localhost")]).unwrap_err();
        assert!(error.starts_with("--set: `server.listen` is \"localhost\", but must be"), "{error}");
        assert!(error.contains("socket address"), "{error}");
    }

    #[test]
    fn variables_that_are_no_settings_are_left_alone() {
        let environment = [
            ("PATH", "/bin"),
            ("GODWIT_ADMIN_TOKEN", "secret"),
            ("GODWIT_ADMIN", "127.0.0.1:1"),
            ("GODWIT_SERVICE_HOST", "10.0.0.1"),
            ("GODWIT_PORT_7800_TCP", "tcp://10.0.0.1:7800"),
        ];
        assert_eq!(check("", &environment, &[]), Ok(Settings::default()));
    }

    #[test]
    fn the_printed_example_is_valid_and_equals_the_defaults() {
        let text = example();
        assert_eq!(check(&text, &[], &[]), Ok(Settings::default()), "{text}");
        for key in Keys::of::<Settings>().iter() {
            assert!(!key.doc.is_empty(), "`{}` is not documented", key.path);
            let name = key.path.rsplit('.').next().unwrap();
            assert!(text.contains(&format!("{name} =")), "`{}` is missing from:\n{text}", key.path);
        }
    }
}
