//! {{name}}: a plugin for the Godwit chat server.
//!
//! Each hook has a module of its own; all of them share the one value that `init` builds.

{{of_hooks}}

use godwit_plugin::Lifecycle;

/// What an operator sets, as `[config.schema]` in plugin.toml describes it.
#[derive(serde::Deserialize)]
pub struct Config {
    #[serde(default = "word")]
    word: String,
}

fn word() -> String {
    "spoiler".to_owned()
}

/// The plugin, built once in each instance.
pub struct Plugin {
    /// What the examples are about, in small letters.
    #[allow(dead_code)]
    word: String,
}

impl Lifecycle for Plugin {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        Ok(Self { word: config.word.to_lowercase() })
    }
}

godwit_plugin::lifecycle!(Plugin);
{{exports}}
