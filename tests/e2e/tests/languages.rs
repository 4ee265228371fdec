//! Plugins in JavaScript and Python: from a template to a message that is judged, with a decision, a refusal and a
//! trap each.
//!
//! It is not part of `cargo test --workspace`, because the tools of both come over the network; `tests/run` runs it.
//! Without Node.js or Python it fails, and says so.

use anyhow::{Result, ensure};
use godwit_e2e::{author::Author, client::text, server::Server};
use std::path::Path;
use tokio::process::Command;
use uuid::Uuid;

/// What differs between languages.
struct Language {
    name: &'static str,
    /// Where its moderation stands, what stands there, and what is put before it.
    trap: [&'static str; 3],
    /// What the author reads of it.
    told: &'static [&'static str],
    /// Its own unit tests.
    unit: &'static [&'static str],
}

const JS: Language = Language {
    name: "js",
    trap: [
        "src/moderation.js",
        "    if (!text(subject)",
        "    if (text(subject).includes(\"boom\")) throw new TypeError(\"the fuse was too short\");\n",
    ],
    told: &["TypeError: the fuse was too short", "src/moderation.js:8"],
    unit: &["npm", "test"],
};

const PYTHON: Language = Language {
    name: "python",
    trap: [
        "moderation_hook.py",
        "        if config.word not in",
        "        if \"boom\" in _text(subject):\n            raise ValueError(\"the fuse was too short\")\n",
    ],
    told: &["ValueError: the fuse was too short", "moderation_hook.py\", line 11"],
    unit: &[".venv/bin/python", "-m", "unittest", "discover", "test"],
};

#[tokio::test]
async fn a_plugin_in_javascript_judges_messages() -> Result<()> {
    judges(&JS).await.map(drop)
}

#[tokio::test]
async fn a_plugin_in_python_judges_messages() -> Result<()> {
    let author = judges(&PYTHON).await?;
    types_are_present(&author.project).await
}

/// The types that the kit carries for editors and unit tests are those that componentize-py makes of the interface.
async fn types_are_present(project: &Path) -> Result<()> {
    let wit = project.join(".godwit/all");
    std::fs::create_dir_all(&wit)?;
    for entry in std::fs::read_dir(project.join("godwit/wit/0.1"))? {
        let path = entry?.path();
        std::fs::copy(&path, wit.join(path.file_name().unwrap_or_default()))?;
    }
    let imports = ["log", "rate", "state", "zone", "kv", "chat", "timer", "http", "secret"];
    let exports = [
        "lifecycle",
        "normalise",
        "moderation",
        "fan-out",
        "delivery",
        "bot",
        "command",
        "notifier",
        "inbound",
    ];
    let imports: String = imports.iter().map(|name| format!("import {name};\n")).collect();
    let exports: String = exports.iter().map(|name| format!("export {name};\n")).collect();
    let world = format!("package godwit:plugin@0.1.0;\nworld everything {{\n{imports}{exports}}}\n");
    std::fs::write(wit.join("everything.wit"), world)?;
    let tool: &[&str] =
        &[".venv/bin/componentize-py", "-d", ".godwit/all", "-w", "everything", "bindings", ".godwit/types"];
    unit(project, tool).await?;
    let (made, carried) =
        (project.join(".godwit/types/wit_world"), project.join("godwit/sdk/python/wit_world"));
    for folder in ["", "imports", "exports"] {
        for entry in std::fs::read_dir(made.join(folder))? {
            let path = entry?.path();
            let Some(name) = path.file_name().filter(|_| path.is_file()) else { continue };
            let (made, carried) = (std::fs::read(&path)?, std::fs::read(carried.join(folder).join(name))?);
            ensure!(made == carried, "{} of the kit is not what componentize-py makes", path.display());
        }
    }
    Ok(())
}

async fn judges(language: &Language) -> Result<Author> {
    let hooks = ["normalise", "moderation", "fan-out", "delivery", "bot", "command", "notifier", "inbound"];
    let author = Author::new("polyglot", language.name, &hooks).await?;
    let [file, text_before, trap] = language.trap;
    author.replace(file, text_before, &format!("{trap}{text_before}"))?;
    let said = language.told.last().copied().unwrap_or_default().replace('"', "\\\"");
    author.write(
        "scenarios/boom.toml",
        &format!("[[step]]\nhook = \"moderation\"\ninput = {{ body = \"boom\" }}\nexpect = {{ trap = \"{said}\" }}\n"),
    )?;
    let tested = author.well(&["test"]).await?;
    ensure!(tested.contains("9 passed, 0 failed"), "{tested}");
    unit(&author.project, language.unit).await?;

    let server = Server::start().await?;
    author.well(&["pack", "--output", "packed.wasm"]).await?;
    let asked = ["install", "packed.wasm", "--grant", "kv,send,http"];
    author.on(&server, &asked).await?;
    let (ada, mut client) = server.join("ada").await?;
    let place = client.direct(ada.id).await?;
    client.send(place, "one -- two").await?;
    ensure!(client.history(place, 0).await?[0]["body"] == "one – two", "it was not rewritten");
    let refused = client.refused("send", text(place, Uuid::now_v7(), "a Spoiler")).await?;
    assert_eq!((refused.code.as_str(), refused.field.as_deref()), ("moderated", Some("not-here")));
    let refused = client.refused("send", text(place, Uuid::now_v7(), "boom")).await?;
    ensure!(refused.temporary, "{refused:?}");
    let log = author.on(&server, &["logs", "polyglot"]).await?;
    for part in language.told {
        ensure!(log.contains(part), "{part} is not in {log}");
    }
    Ok(author)
}

/// Runs the project's unit tests as its README says.
async fn unit(project: &Path, command: &[&str]) -> Result<()> {
    let path = format!("{}:.", project.join("godwit/sdk/python").display());
    let output = Command::new(command[0])
        .args(&command[1..])
        .current_dir(project)
        .env("PYTHONPATH", path)
        .output()
        .await?;
    ensure!(output.status.success(), "{command:?}: {}", godwit_e2e::author::said(&output));
    Ok(())
}
