//! The example file: every setting with its documentation and default, as TOML that can be used as it stands.

use super::{Settings, keys::Keys};
use std::fmt::Write as _;

/// Comments are broken at this many characters.
const WIDTH: usize = 110;

/// Prints the defaults, each under its documentation.
pub fn example() -> String {
    let keys = Keys::of::<Settings>();
    let mut text = String::from(
        "# Every setting of Godwit with its default.\n\
         # A setting may also come from the environment (GODWIT_SECTION_KEY) or from a flag (--set section.key=value);\n\
         # flags are stronger than the environment, and that is stronger than this file.\n",
    );
    // The serialiser keeps the order of the fields, which their authors chose; the schema sorts them by name.
    let defaults = toml::to_string(&Settings::default()).expect("settings are tables of plain values");
    let mut section = "";
    let mut absent = Vec::new();
    for line in defaults.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            write_absent(&mut text, &absent, &keys);
            section = name;
            let doc = keys.section(name).map_or("", |section| section.doc.as_str());
            text.push('\n');
            comment(&mut text, doc);
            let _ = writeln!(text, "[{name}]");
            absent = keys.iter().filter(|key| key.section() == name).map(|key| key.path.as_str()).collect();
        } else if let Some((name, value)) = line.split_once(" = ") {
            let path = format!("{section}.{name}");
            absent.retain(|absent| *absent != path);
            text.push('\n');
            comment(&mut text, keys.get(&path).map_or("", |key| key.doc.as_str()));
            let _ = writeln!(text, "{name} = {value}");
        }
    }
    write_absent(&mut text, &absent, &keys);
    text
}

/// Settings without a default stand as comments.
fn write_absent(text: &mut String, absent: &[&str], keys: &Keys) {
    for key in absent.iter().filter_map(|path| keys.get(path)) {
        text.push('\n');
        comment(text, &key.doc);
        let _ = writeln!(text, "# {} = ", key.name());
    }
}

/// Writes a paragraph per paragraph of the documentation, filled to the width.
fn comment(text: &mut String, doc: &str) {
    for paragraph in doc.split("\n\n") {
        let mut line = String::from("#");
        for word in paragraph.split_whitespace() {
            if line.len() + 1 + word.len() > WIDTH {
                let _ = writeln!(text, "{line}");
                line.truncate(1);
            }
            line.push(' ');
            line.push_str(word);
        }
        let _ = writeln!(text, "{line}");
    }
}
