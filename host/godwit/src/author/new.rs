//! `godwit plugin new`: a project that builds, passes its tests, and is meant to be changed.
//!
//! It owns how the pieces under `sdk/template` become a project: one source file, one unit test and one scenario for
//! each hook, and one manifest over all.

use super::{Language, kit};
use crate::cli;
use anyhow::{Context, bail};
use rust_embed::Embed;
use serde_json::json;
use std::path::{Path, PathBuf};

/// All hooks, as the interface names them.
pub const HOOKS: [&str; 8] =
    ["normalise", "moderation", "fan-out", "delivery", "bot", "command", "notifier", "inbound"];

#[derive(Embed)]
#[folder = "../../sdk/template"]
#[exclude = "*/target/*"]
struct Templates;

/// What the example of a hook asks, and what it wants to hear.
const CAPABILITIES: [(&str, &str); 3] =
    [("bot", "send = true"), ("notifier", "http = [\"https://push.example.com\"]"), ("inbound", "kv = true")];

/// Makes the project.
///
/// # Errors
/// The name could not be a plugin's, the folder is in use, or a file cannot be written.
pub fn run(
    name: &str,
    language: Language,
    hooks: &[String],
    folder: &Path,
    json: bool,
) -> anyhow::Result<()> {
    check_name(name)?;
    let mut hooks: Vec<&str> =
        HOOKS.into_iter().filter(|hook| hooks.iter().any(|named| named == hook)).collect();
    hooks.dedup();
    if folder.exists() && std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_some()) {
        bail!("{} is there already, and not an empty folder; name another with --dir", folder.display());
    }
    let mut made = Made { folder: folder.to_owned(), files: Vec::new() };
    let project = Values { name, hooks: &hooks };
    common(&project, language, &mut made)?;
    match language {
        Language::Rust => rust(&project, &mut made)?,
        Language::Js => js(&project, &mut made)?,
        Language::Python => python(&project, &mut made)?,
    }
    kit::write(language, folder)?;
    if json {
        return cli::print(&format!("{}\n", json!({ "folder": folder, "files": made.files })));
    }
    cli::print(&format!(
        "{} is a plugin for {}, with an example of each hook and its tests.\n\n  cd {}\n  godwit plugin test      \
         builds it, and runs it in the real engine\n  godwit plugin dev       swaps it into a running server as you \
         change it\n\nREADME.md says what is where.\n",
        folder.display(),
        hooks.join(", "),
        folder.display()
    ))
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.len() <= 64
        && !name.ends_with('-')
        && name.chars().all(plain);
    match good {
        true => Ok(()),
        false => {
            bail!("`{name}` cannot be a plugin's id: 1 to 64 of a-z, 0-9 and -, beginning with a letter")
        }
    }
}

/// What stands in place of `{{…}}` in a template.
struct Values<'a> {
    name: &'a str,
    hooks: &'a [&'a str],
}

/// A project in the making.
struct Made {
    folder: PathBuf,
    files: Vec<String>,
}

impl Made {
    fn write(&mut self, file: &str, text: &str) -> anyhow::Result<()> {
        let path = self.folder.join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        self.files.push(file.to_owned());
        Ok(())
    }
}

/// A template's text.
fn template(file: &str) -> anyhow::Result<String> {
    let found = Templates::get(file).with_context(|| format!("the template {file} is not in this binary"))?;
    Ok(String::from_utf8(found.data.into_owned())?)
}

impl Values<'_> {
    fn fill(&self, template: &str, of_hooks: &str) -> String {
        let hooks = self.hooks.iter().map(|hook| format!("{hook:?}")).collect::<Vec<_>>().join(", ");
        template
            .replace("{{name}}", self.name)
            .replace("{{hooks}}", &hooks)
            .replace("{{of_hooks}}\n", of_hooks)
    }

    /// One line for each hook.
    fn each(&self, line: impl Fn(&str) -> String) -> String {
        self.hooks.iter().map(|hook| line(hook)).collect()
    }
}

/// `fan_out` for `fan-out`.
fn snake(hook: &str) -> String {
    hook.replace('-', "_")
}

/// What is the same in every language.
fn common(project: &Values<'_>, language: Language, made: &mut Made) -> anyhow::Result<()> {
    let asked = CAPABILITIES.iter().filter(|(hook, _)| project.hooks.contains(hook));
    let asked: String = asked.map(|(_, line)| format!("{line}\n")).collect();
    let mut more = String::new();
    if project.hooks.contains(&"bot") {
        more.push_str("events = [\"mentioned\"]\n");
    }
    if !asked.is_empty() {
        more.push_str(&format!("\n# What it asks; an operator grants it.\n[capabilities]\n{asked}"));
    }
    if language == Language::Python {
        more.push_str(
            "\n# An instance of CPython has about 20 MiB before it did anything.\n[limits]\nmemory_mib = 64\n",
        );
    }
    made.write("plugin.toml", &project.fill(&template("common/plugin.toml")?, &more))?;
    made.write("dev-config.json", &template("common/dev-config.json")?)?;
    for hook in project.hooks {
        made.write(&format!("scenarios/{hook}.toml"), &template(&format!("common/scenarios/{hook}.toml"))?)?;
    }
    let files = template(match language {
        Language::Rust => "rust/files.md",
        Language::Js => "js/files.md",
        Language::Python => "python/files.md",
    })?;
    made.write("README.md", &project.fill(&template("common/README.md")?, &files))
}

fn rust(project: &Values<'_>, made: &mut Made) -> anyhow::Result<()> {
    made.write("Cargo.toml", &project.fill(&template("rust/Cargo.toml.in")?, ""))?;
    made.write(".gitignore", "/target\n/*.wasm\n")?;
    let modules = project.each(|hook| format!("mod {};\n", snake(hook)));
    let exports = project.each(|hook| format!("godwit_plugin::{}!(Plugin);\n", snake(hook)));
    let lib = project.fill(&template("rust/lib.rs")?, &modules).replace("{{exports}}\n", &exports);
    made.write("src/lib.rs", &lib)?;
    for hook in project.hooks {
        let name = snake(hook);
        made.write(&format!("src/{name}.rs"), &template(&format!("rust/hooks/{name}.rs"))?)?;
    }
    Ok(())
}

fn js(project: &Values<'_>, made: &mut Made) -> anyhow::Result<()> {
    made.write("package.json", &project.fill(&template("js/package.json")?, ""))?;
    made.write("jsconfig.json", &template("js/jsconfig.json")?)?;
    made.write(".gitignore", "/node_modules\n/.godwit\n/*.wasm\n")?;
    made.write("src/config.js", &template("js/config.js")?)?;
    let exports = project.each(|hook| {
        let name = if hook == "fan-out" { "fanOut" } else { hook };
        format!("export {{ {name} }} from \"./{hook}.js\";\n")
    });
    made.write("src/plugin.js", &project.fill(&template("js/plugin.js")?, &exports))?;
    for hook in project.hooks {
        made.write(&format!("src/{hook}.js"), &template(&format!("js/hooks/{hook}.js"))?)?;
        made.write(&format!("test/{hook}.test.js"), &template(&format!("js/hooks/{hook}.test.js"))?)?;
    }
    Ok(())
}

fn python(project: &Values<'_>, made: &mut Made) -> anyhow::Result<()> {
    made.write("requirements.txt", &template("python/requirements.txt")?)?;
    made.write(".gitignore", "/.venv\n/.godwit\n__pycache__\n/*.wasm\n")?;
    made.write("config.py", &template("python/config.py")?)?;
    let exports = project.each(|hook| {
        let name: String = hook.split('-').map(|word| word[..1].to_uppercase() + &word[1..]).collect();
        format!("from {} import {name}\n", module(hook))
    });
    made.write("plugin.py", &project.fill(&template("python/plugin.py")?, &exports))?;
    for hook in project.hooks {
        let name = module(hook);
        made.write(&format!("{name}.py"), &template(&format!("python/hooks/{name}.py"))?)?;
        made.write(&format!("test/test_{name}.py"), &template(&format!("python/hooks/test_{name}.py"))?)?;
    }
    Ok(())
}

/// The Python module of a hook.
fn module(hook: &str) -> String {
    format!("{}_hook", snake(hook))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_has_its_templates_in_every_language() {
        let hooks: Vec<String> = HOOKS.iter().map(|hook| (*hook).to_owned()).collect();
        for language in [Language::Rust, Language::Js, Language::Python] {
            let root = tempfile::tempdir().unwrap();
            let folder = root.path().join("all");
            run("all", language, &hooks, &folder, true).unwrap();
            let manifest = std::fs::read_to_string(folder.join("plugin.toml")).unwrap();
            assert!(!manifest.contains("{{"), "{manifest}");
            let manifest: toml::Table = toml::from_str(&manifest).unwrap();
            assert_eq!(manifest["hooks"].as_array().unwrap().len(), HOOKS.len());
            assert!(manifest["capabilities"]["kv"].as_bool().unwrap());
            for file in ["README.md", "scenarios/bot.toml", "godwit/wit/0.1/types.wit"] {
                let text = std::fs::read_to_string(folder.join(file)).unwrap();
                assert!(!text.contains("{{"), "{language:?}: {file}: {text}");
            }
        }
    }

    #[test]
    fn what_is_there_is_not_written_over_and_names_are_checked() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("precious"), "").unwrap();
        let hooks = ["moderation".to_owned()];
        let error = run("x", Language::Rust, &hooks, root.path(), true).unwrap_err().to_string();
        assert!(error.contains("--dir"), "{error}");
        for name in ["", "A", "../x", "9x", "a b", "x-"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn what_the_pages_show_stands_in_the_templates_which_tests_run() {
        let js: Vec<_> =
            ["moderation.js", "moderation.test.js"].map(|file| template(&format!("js/hooks/{file}"))).into();
        let python: Vec<_> = ["moderation_hook.py", "test_moderation_hook.py"]
            .map(|file| template(&format!("python/hooks/{file}")))
            .into();
        for (page, fence, templates) in [
            (include_str!("../../../../sdk/js/README.md"), "```js\n", js),
            (include_str!("../../../../sdk/python/README.md"), "```python\n", python),
        ] {
            let blocks: Vec<_> =
                page.split(fence).skip(1).filter_map(|rest| rest.split("```").next()).collect();
            assert_eq!(blocks.len(), templates.len());
            for (block, template) in blocks.into_iter().zip(templates) {
                assert!(template.unwrap().contains(block), "the template has not: {block}");
            }
        }
    }
}
