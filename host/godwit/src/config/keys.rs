//! What can be set: every key with its documentation and type, read from the JSON Schema of the settings.
//!
//! It owns no list of its own, so that a field that is added to an `Options` is known here by itself.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;

/// All keys, and the sections that hold them.
pub struct Keys {
    sections: Vec<Section>,
    keys: Vec<Key>,
}

/// A section.
pub struct Section {
    /// Its name, as in `gateway` or `plugins.compile`.
    pub name: String,
    /// What it is about.
    pub doc: String,
}

/// A key.
pub struct Key {
    /// Section and name, as in `gateway.ping_interval_ms`.
    pub path: String,
    /// What it does.
    pub doc: String,
    schema: Value,
}

/// What a text must be turned into before a value can be made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// It is the value.
    Text,
    /// Several, between commas.
    List,
    /// A boolean or a number.
    Literal,
}

impl Keys {
    /// The keys of this type: a struct of sections, which may hold sections themselves.
    pub fn of<T: JsonSchema>() -> Self {
        let mut generator =
            SchemaSettings::draft2020_12().with(|s| s.inline_subschemas = true).into_generator();
        let root = generator.root_schema_for::<T>().to_value();
        let mut all = Self { sections: Vec::new(), keys: Vec::new() };
        all.walk("", &root);
        all
    }

    fn walk(&mut self, section: &str, schema: &Value) {
        for (name, schema) in properties(schema) {
            let path = if section.is_empty() { name.clone() } else { format!("{section}.{name}") };
            if schema["properties"].is_object() {
                self.sections.push(Section { name: path.clone(), doc: doc(schema) });
                self.walk(&path, schema);
            } else {
                self.keys.push(Key { path, doc: doc(schema), schema: schema.clone() });
            }
        }
    }

    /// Every key.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    /// The key of this path.
    pub fn get(&self, path: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.path == path)
    }

    /// The section of this name.
    pub fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// The known path that looks most like `path`, if any looks like it at all; a bare key is looked for everywhere.
    pub fn nearest(&self, path: &str) -> Option<&str> {
        let candidates = self.keys.iter().map(|key| {
            let known = if path.contains('.') { key.path.as_str() } else { key.name() };
            (known, key.path.as_str())
        });
        nearest(path, candidates)
    }

    /// The known section that looks most like `name`.
    pub fn nearest_section(&self, name: &str) -> Option<&str> {
        nearest(name, self.sections.iter().map(|section| (section.name.as_str(), section.name.as_str())))
    }
}

impl Key {
    /// The name within its section.
    pub fn name(&self) -> &str {
        self.path.rsplit_once('.').map_or(self.path.as_str(), |(_, name)| name)
    }

    /// The section that it stands in.
    pub fn section(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("GODWIT_{}", self.path.replace('.', "_").to_uppercase())
    }

    /// How a text becomes its value.
    pub fn shape(&self) -> Shape {
        match self.kinds().first() {
            Some(&"array") => Shape::List,
            Some(&("integer" | "number" | "boolean")) => Shape::Literal,
            _ => Shape::Text,
        }
    }

    /// The largest value allowed, where the schema names one.
    pub fn maximum(&self) -> Option<i64> {
        self.schema["maximum"].as_i64()
    }

    /// The smallest value allowed, where the schema names one.
    pub fn minimum(&self) -> Option<i64> {
        self.schema["minimum"].as_i64()
    }

    /// What answers whoever goes beyond it, where it is a limit on what others may do.
    pub fn exceeded(&self) -> Option<&str> {
        self.schema["exceeded"].as_str()
    }

    /// What a value must be, in words.
    pub fn expectation(&self) -> String {
        let choices = self.choices();
        if !choices.is_empty() {
            return format!("one of {}", choices.join(", "));
        }
        match self.kinds().first() {
            Some(&"integer") => match self.minimum() {
                Some(minimum) => format!("an integer from {minimum}"),
                None => "an integer".to_owned(),
            },
            Some(&"number") => "a number".to_owned(),
            Some(&"boolean") => "`true` or `false`".to_owned(),
            Some(&"array") => "a list".to_owned(),
            Some(&"object") => "a table".to_owned(),
            _ => "a text".to_owned(),
        }
    }

    /// The values of an enumeration, quoted.
    fn choices(&self) -> Vec<String> {
        let listed = self.schema["enum"].as_array().into_iter().flatten();
        let named = self.schema["oneOf"].as_array().into_iter().flatten().filter_map(|one| one.get("const"));
        listed.chain(named).map(Value::to_string).collect()
    }

    /// The JSON types, `null` left out: optional ones are simply absent from a file.
    fn kinds(&self) -> Vec<&str> {
        let kinds = match &self.schema["type"] {
            Value::String(kind) => vec![kind.as_str()],
            Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        kinds.into_iter().filter(|kind| *kind != "null").collect()
    }
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["properties"].as_object().into_iter().flatten()
}

fn doc(schema: &Value) -> String {
    schema["description"].as_str().unwrap_or_default().to_owned()
}

/// The name of the candidate most like `wanted`. Below 0.8 a suggestion misleads more often than it helps.
fn nearest<'a>(wanted: &str, candidates: impl Iterator<Item = (&'a str, &'a str)>) -> Option<&'a str> {
    candidates
        .map(|(known, name)| (strsim::jaro_winkler(wanted, known), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}
