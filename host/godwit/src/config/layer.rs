//! One layer of settings: a file, the environment or a flag, each turned into assignments that remember their origin.

use super::keys::{Key, Keys, Shape};
use anyhow::{anyhow, bail};
use std::{fmt, path::PathBuf};
use toml::{Table, Value};

/// Variables of our own that are no settings: the admin client reads them, and the server its token.
const OTHER_VARIABLES: [&str; 5] =
    ["GODWIT_ADMIN", "GODWIT_ADMIN_TOKEN", "GODWIT_ADMIN_TOKEN_FILE", "GODWIT_CONFIG", "GODWIT_BIN"];
/// Kubernetes sets these by itself in every pod beside a service called `godwit`.
const FOREIGN_PREFIXES: [&str; 2] = ["GODWIT_SERVICE_", "GODWIT_PORT"];

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In this file.
    File(PathBuf),
    /// In this environment variable.
    Variable(String),
    /// In this flag.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A known key, the value that it was given, and where.
#[derive(Debug)]
pub struct Assignment {
    path: String,
    value: Value,
    origin: Origin,
}

impl Assignment {
    /// Puts the value into its place.
    pub fn put_into(&self, mut table: &mut Table) {
        let mut segments: Vec<&str> = self.path.split('.').collect();
        let Some(name) = segments.pop() else { return };
        for section in segments {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            // Paths come from `Keys`, where what holds keys is a section.
            let Some(section) = entry.as_table_mut() else { return };
            table = section;
        }
        table.insert(name.to_owned(), self.value.clone());
    }

    /// What to say where the types refused it.
    pub fn wrong(&self, keys: &Keys, error: &toml::de::Error) -> anyhow::Error {
        let expectation = keys.get(&self.path).map_or_else(String::new, Key::expectation);
        anyhow!(
            "{}: `{}` is {}, but must be {expectation} ({})",
            self.origin,
            self.path,
            self.value,
            error.message()
        )
    }

    /// Refuses a number outside the bounds that the schema names.
    pub fn check_range(&self, keys: &Keys) -> anyhow::Result<()> {
        let (Some(key), Some(value)) = (keys.get(&self.path), self.value.as_integer()) else { return Ok(()) };
        if let Some(maximum) = key.maximum().filter(|maximum| value > *maximum) {
            bail!("{}: `{}` is {value}, but must be at most {maximum}", self.origin, self.path);
        }
        if let Some(minimum) = key.minimum().filter(|minimum| value < *minimum) {
            bail!("{}: `{}` is {value}, but must be at least {minimum}", self.origin, self.path);
        }
        Ok(())
    }
}

/// The assignments of a file.
pub fn file(text: &str, origin: &Origin, keys: &Keys) -> anyhow::Result<Vec<Assignment>> {
    let table: Table = toml::from_str(text).map_err(|error| anyhow!("{origin}: {error}"))?;
    let mut assignments = Vec::new();
    section("", table, origin, keys, &mut assignments)?;
    Ok(assignments)
}

fn section(
    name: &str,
    table: Table,
    origin: &Origin,
    keys: &Keys,
    into: &mut Vec<Assignment>,
) -> anyhow::Result<()> {
    for (key, value) in table {
        let path = if name.is_empty() { key } else { format!("{name}.{key}") };
        match (keys.section(&path), value) {
            (Some(_), Value::Table(table)) => section(&path, table, origin, keys, into)?,
            (Some(_), value) => {
                bail!("{origin}: `{path}` is {value}, but must be a section, as in `[{path}]`")
            }
            (None, Value::Table(_)) if keys.get(&path).is_none() => {
                let hint = did_you_mean(keys.nearest_section(&path).map(|near| format!("[{near}]")));
                bail!("{origin}: unknown section `[{path}]`{hint}");
            }
            (None, value) => {
                known(&path, origin, keys)?;
                into.push(Assignment { path, value, origin: origin.clone() });
            }
        }
    }
    Ok(())
}

/// The assignments of the environment. Every variable that begins with `GODWIT_` must mean something: a mistyped one
/// that is passed over in silence is worse than a host that does not start.
pub fn environment(
    variables: impl IntoIterator<Item = (String, String)>,
    keys: &Keys,
) -> anyhow::Result<Vec<Assignment>> {
    let mut assignments = Vec::new();
    for (name, value) in variables {
        let ours = name.starts_with("GODWIT_")
            && !OTHER_VARIABLES.contains(&name.as_str())
            && !FOREIGN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if !ours {
            continue;
        }
        let Some(key) = keys.iter().find(|key| key.variable() == name) else {
            let lower = name["GODWIT_".len()..].to_lowercase().replacen('_', ".", 1);
            let near = keys.nearest(&lower).and_then(|path| keys.get(path)).map(Key::variable);
            bail!("unknown setting in the environment: `{name}`{}", did_you_mean(near));
        };
        let value = parse(&value, key);
        assignments.push(Assignment { path: key.path.clone(), value, origin: Origin::Variable(name) });
    }
    Ok(assignments)
}

/// The assignment of a flag.
pub fn flag(flag: &str, path: &str, value: &str, keys: &Keys) -> anyhow::Result<Assignment> {
    let origin = Origin::Flag(flag.to_owned());
    known(path, &origin, keys)?;
    // `known` has just found it.
    let value = keys.get(path).map_or_else(|| Value::String(value.to_owned()), |key| parse(value, key));
    Ok(Assignment { path: path.to_owned(), value, origin })
}

fn known(path: &str, origin: &Origin, keys: &Keys) -> anyhow::Result<()> {
    if keys.get(path).is_some() {
        return Ok(());
    }
    let near = keys.nearest(path).map(str::to_owned);
    bail!("{origin}: unknown setting `{path}`{}", did_you_mean(near))
}

fn did_you_mean(near: Option<String>) -> String {
    near.map_or_else(
        || "; `godwit config` prints them all".to_owned(),
        |near| format!("; did you mean `{near}`?"),
    )
}

/// Turns text into a value of the key's shape; what cannot be one stays text, and the types refuse it by name.
fn parse(text: &str, key: &Key) -> Value {
    let as_toml = |text: &str| {
        toml::from_str::<Table>(&format!("value = {text}")).ok().and_then(|mut table| table.remove("value"))
    };
    let parsed = match key.shape() {
        Shape::Text => None,
        Shape::Literal => as_toml(text),
        Shape::List if text.trim_start().starts_with('[') => as_toml(text),
        Shape::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Some(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
    };
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}
