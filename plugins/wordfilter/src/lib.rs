//! The word filter: masks some words and patterns, and rejects others.
//!
//! It owns the configuration and what a match leads to. How texts are compared is in [`fold`], how lists are searched
//! in [`list`]. It keeps nothing between two calls. Start with [`Config`].

mod fold;
mod list;

use fold::Folding;
use godwit_plugin::{Content, Lifecycle, Moderation, Normalise, Reason, Rewrite, Scene, Subject, Verdict};
use list::List;
use serde::Deserialize;
use std::ops::Range;

/// Always masked and always rejected: with these the manifest's tests hold whatever the lists are, and an operator
/// sees without rudeness that the filter works.
const PROBES: [&str; 2] = ["wordfilter-mask-probe", "wordfilter-reject-probe"];
/// What masks where the configured character would make the text longer, which a limit might refuse.
const NARROW_MASK: char = '*';

/// What the operator sets; the manifest's schema describes and bounds each setting.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Words and patterns to cover.
    mask: Vec<String>,
    /// Words and patterns to refuse.
    reject: Vec<String>,
    /// What covers each character.
    mask_character: char,
    /// What the sender of a refused message reads.
    reject_text: String,
    /// Whether upper and lower case are the same.
    ignore_case: bool,
    /// Whether letters are the same with and without accents.
    ignore_accents: bool,
    /// Whether foreign letters among Latin ones count as what they look like.
    ignore_look_alikes: bool,
}

impl Default for Config {
    fn default() -> Self {
        let list = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self {
            mask: list(&["asshole*", "bastard*", "bitch*", "bullshit*", "*fuck*", "shit", "shits", "shitty"]),
            reject: Vec::new(),
            mask_character: '*',
            reject_text: "This contains a word that is not allowed here.".to_owned(),
            ignore_case: true,
            ignore_accents: true,
            ignore_look_alikes: true,
        }
    }
}

/// The plugin.
pub struct WordFilter {
    folding: Folding,
    mask: List,
    reject: List,
    mask_character: char,
    reject_text: String,
}

impl Lifecycle for WordFilter {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        let folding = Folding {
            case: config.ignore_case,
            accents: config.ignore_accents,
            look_alikes: config.ignore_look_alikes,
        };
        let [mask_probe, reject_probe] = PROBES.map(str::to_owned);
        let list = |setting, mut words: Vec<String>, probe| {
            words.push(probe);
            List::new(&words, folding).map_err(|error| format!("{setting}: {error}"))
        };
        Ok(Self {
            folding,
            mask: list("mask", config.mask, mask_probe)?,
            reject: list("reject", config.reject, reject_probe)?,
            mask_character: config.mask_character,
            reject_text: config.reject_text,
        })
    }
}

impl Normalise for WordFilter {
    fn normalise(&self, _scene: &Scene, content: Content) -> Result<Option<Rewrite>, Reason> {
        let view = self.folding.view(&content.body);
        let mut covered: Vec<Range<usize>> =
            self.mask.matches(&view).map(|found| view.written(&found)).collect();
        if covered.is_empty() {
            return Ok(None);
        }
        covered.sort_by_key(|range| range.start);
        let mut body = cover(&content.body, &covered, self.mask_character);
        if body.len() > content.body.len() {
            body = cover(&content.body, &covered, NARROW_MASK);
        }
        Ok(Some(content.rewrite(body)))
    }
}

impl Moderation for WordFilter {
    /// Names, titles and reactions cannot be masked: there the words of both lists are refused.
    fn review(&self, _scene: &Scene, subject: Subject) -> Verdict {
        let view = self.folding.view(subject.text());
        let matches = |list: &List| list.matches(&view).next().is_some();
        if matches(&self.reject) || subject.content().is_none() && matches(&self.mask) {
            return Verdict::reject("language", &self.reject_text);
        }
        Verdict::Allow
    }
}

/// Replaces each character within the sorted ranges, except white space.
fn cover(text: &str, ranges: &[Range<usize>], mask: char) -> String {
    let mut covered = String::with_capacity(text.len());
    let mut end = 0;
    for range in ranges.iter().filter(|range| !range.is_empty()) {
        if range.end <= end {
            continue;
        }
        let start = range.start.max(end);
        covered.push_str(&text[end..start]);
        covered.extend(text[start..range.end].chars().map(|c| if c.is_whitespace() { c } else { mask }));
        end = range.end;
    }
    covered.push_str(&text[end..]);
    covered
}

godwit_plugin::lifecycle!(WordFilter);
godwit_plugin::normalise!(WordFilter);
godwit_plugin::moderation!(WordFilter);

#[cfg(test)]
mod tests;
