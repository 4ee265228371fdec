//! A list of words and patterns, and where a text matches it.
//!
//! It owns the entries' syntax, the automaton and what a whole word is. It does not know what a match leads to.
//! Start with [`List::new`] and [`List::matches`].
//!
//! One pass of an Aho-Corasick automaton finds the places where the literal beginning of an entry stands; only there
//! the rest of the entry and the word boundaries are looked at. A text without such a place costs one table look-up
//! per byte and allocates nothing.

use crate::fold::{Folding, View, is_boundary, is_word};
use aho_corasick::{
    Anchored, Input, Match,
    automaton::Automaton,
    dfa::DFA,
    nfa::{contiguous, noncontiguous},
};
use std::ops::Range;

/// Entries up to which the automaton is a table of all transitions: the fastest, at about 1 KiB an entry.
const TABLE_ENTRIES_MAX: usize = 2_000;
/// Wildcards that one entry may have, so that a text cannot make one entry costly.
const WILDCARDS_MAX: usize = 8;
/// Characters that one `*` covers, for the same reason. A longer word is matched, and masked, in part.
const STAR_CHARACTERS_MAX: usize = 100;

/// A list that is ready to be searched for.
pub struct List {
    searched: Searched,
    /// In the automaton's order.
    entries: Vec<Entry>,
    folding: Folding,
}

/// What finds the literal beginnings.
enum Searched {
    /// A table of all transitions.
    Table(DFA),
    /// Less than that, for long lists.
    Compact(contiguous::NFA),
}

/// A word, a phrase or a pattern.
struct Entry {
    /// The rest of the word in front belongs to the match (`*word`).
    open_start: bool,
    /// What follows the literal beginning.
    rest: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Part {
    Letter(char),
    /// `?`: one character of a word.
    One,
    /// `*`: any number of them.
    Any,
    /// White space, however much.
    Space,
}

impl List {
    /// Prepares a list.
    ///
    /// # Errors
    /// The entry that cannot be searched for, and why.
    pub fn new(entries: &[String], folding: Folding) -> Result<Self, String> {
        let parsed: Vec<(String, Entry)> =
            entries.iter().map(|entry| parse(entry, folding)).collect::<Result<_, _>>()?;
        let (beginnings, entries): (Vec<String>, Vec<Entry>) = parsed.into_iter().unzip();
        let refused = |error| format!("the list is too large: {error}");
        let nfa = noncontiguous::Builder::new()
            .ascii_case_insensitive(folding.case)
            .prefilter(false)
            .build(beginnings)
            .map_err(refused)?;
        let searched = match entries.len() {
            0..=TABLE_ENTRIES_MAX => {
                Searched::Table(DFA::builder().build_from_noncontiguous(&nfa).map_err(refused)?)
            }
            _ => {
                Searched::Compact(contiguous::Builder::new().build_from_noncontiguous(&nfa).map_err(refused)?)
            }
        };
        Ok(Self { searched, entries, folding })
    }

    /// Where entries match, as ranges of the view's text, in the order in which their beginnings end.
    pub fn matches<'v>(&'v self, view: &'v View<'_>) -> impl Iterator<Item = Range<usize>> + 'v {
        let text: &str = &view.text;
        self.searched.beginnings(text).into_iter().flatten().filter_map(move |found| {
            let entry = &self.entries[found.pattern().as_usize()];
            let start = match entry.open_start {
                true => found.start() - word_len(text[..found.start()].chars().rev()),
                false => found.start(),
            };
            let starts = entry.open_start
                || is_boundary(text[..start].chars().next_back(), text[start..].chars().next());
            let len = if starts { self.rest_len(&entry.rest, text, found.end())? } else { return None };
            Some(start..found.end() + len)
        })
    }

    /// How many bytes the rest of an entry covers from `from` on, if it ends there with a word.
    ///
    /// Of several stars only the last is ever tried longer: an earlier one that takes less leaves more to the later.
    /// So the cost is at most the entry's length times what a star covers.
    fn rest_len(&self, rest: &[Part], text: &str, from: usize) -> Option<usize> {
        let (mut at, mut part) = (from, 0);
        let mut last_star: Option<Star> = None;
        loop {
            let next = text[at..].chars().next();
            let step = match rest.get(part) {
                None if is_boundary(text[..at].chars().next_back(), next) => return Some(at - from),
                None => None,
                Some(Part::Any) if part + 1 == rest.len() => {
                    return Some(at - from + word_len(text[at..].chars()));
                }
                Some(Part::Any) => {
                    part += 1;
                    last_star = Some(Star { next_part: part, end: at, left: STAR_CHARACTERS_MAX });
                    continue;
                }
                Some(Part::Space) => match text[at..].len() - text[at..].trim_start().len() {
                    0 => None,
                    spaces => Some(spaces),
                },
                Some(Part::One) => next.filter(|&next| is_word(next)).map(char::len_utf8),
                Some(&Part::Letter(letter)) => {
                    next.filter(|&next| self.folding.equal(next, letter)).map(char::len_utf8)
                }
            };
            match (step, &mut last_star) {
                (Some(len), _) => {
                    at += len;
                    part += 1;
                }
                (None, Some(star)) => {
                    star.left = star.left.checked_sub(1)?;
                    star.end += text[star.end..].chars().next().filter(|&next| is_word(next))?.len_utf8();
                    (at, part) = (star.end, star.next_part);
                }
                (None, None) => return None,
            }
        }
    }
}

impl Searched {
    /// Where literal beginnings stand, if there are any.
    fn beginnings<'v>(&'v self, text: &'v str) -> Option<Box<dyn Iterator<Item = Match> + 'v>> {
        match self {
            Self::Table(dfa) => found(dfa, text),
            Self::Compact(nfa) => found(nfa, text),
        }
    }
}

/// Overlapping matches, if there are any: most texts have none, and to see that takes less than to list them.
fn found<'v>(automaton: &'v impl Automaton, text: &'v str) -> Option<Box<dyn Iterator<Item = Match> + 'v>> {
    const UNANCHORED: &str = "automatons are built for unanchored searches";
    let mut state = automaton.start_state(Anchored::No).expect(UNANCHORED);
    let mut is_hit = |bytes: &[u8]| {
        bytes.iter().fold(false, |hit, &byte| {
            state = automaton.next_state(Anchored::No, state, byte);
            hit | automaton.is_special(state)
        })
    };
    // Some bytes at a time without a branch: a match ends nothing here.
    let (blocks, rest) = text.as_bytes().as_chunks::<8>();
    let any = blocks.iter().any(|block| is_hit(block)) || is_hit(rest);
    any.then(|| Box::new(automaton.try_find_overlapping_iter(Input::new(text)).expect(UNANCHORED)) as _)
}

/// A `*` that may cover one more character.
struct Star {
    next_part: usize,
    end: usize,
    left: usize,
}

/// How many bytes of these characters belong to a word that a `*` covers.
fn word_len(characters: impl Iterator<Item = char>) -> usize {
    characters.take(STAR_CHARACTERS_MAX).take_while(|&next| is_word(next)).map(char::len_utf8).sum()
}

/// Splits an entry into the literal that the automaton finds and the rest.
fn parse(written: &str, folding: Folding) -> Result<(String, Entry), String> {
    let folded = folding.fold(written.trim());
    let open = folded.trim_start_matches('*');
    let literal_len = open.find(|c: char| c == '*' || c == '?' || c.is_whitespace()).unwrap_or(open.len());
    let (beginning, rest) = open.split_at(literal_len);
    if beginning.is_empty() {
        return Err(format!(
            "`{written}` cannot be searched for: it must begin with a character other than `?`"
        ));
    }
    let mut parts: Vec<Part> = rest
        .chars()
        .map(|character| match character {
            '*' => Part::Any,
            '?' => Part::One,
            space if space.is_whitespace() => Part::Space,
            letter => Part::Letter(letter),
        })
        .collect();
    parts.dedup_by(|next, before| next == before && matches!(next, Part::Any | Part::Space));
    let wildcards = parts.iter().filter(|part| matches!(part, Part::Any | Part::One)).count();
    if wildcards > WILDCARDS_MAX {
        return Err(format!("`{written}` has {wildcards} wildcards, the most are {WILDCARDS_MAX}"));
    }
    Ok((beginning.to_owned(), Entry { open_start: open.len() < folded.len(), rest: parts }))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Folding = Folding { case: true, accents: true, look_alikes: true };

    fn check(entry: &str, text: &str, expected: &[&str]) {
        let list = List::new(&[entry.to_owned()], ALL).unwrap();
        let view = ALL.view(text);
        let found: Vec<&str> = list.matches(&view).map(|range| &text[view.written(&range)]).collect();
        assert_eq!(found, expected, "`{entry}` in `{text}`");
    }

    #[test]
    fn words_match_as_a_whole() {
        check("ass", "Ass, pass, ASS assess", &["Ass", "ASS"]);
        check("ass", "you_ass", &["ass"]);
        check("año", "AÑO", &["AÑO"]);
        check("c++", "c++ or c+", &["c++"]);
        check("дурак", "Дурак и дураки", &["Дурак"]);
        check("马鹿", "他是马鹿吗", &["马鹿"]);
    }

    #[test]
    fn phrases_match_over_any_white_space() {
        check("buy now", "Buy  now! buy\nNOW buynow", &["Buy  now", "buy\nNOW"]);
    }

    #[test]
    fn a_star_stands_for_the_rest_of_a_word() {
        check("foo*", "foo food fool's afoot", &["foo", "food", "fool"]);
        check("*foo", "foo tofoo food", &["foo", "tofoo"]);
        check("*foo*", "tofooed foo", &["tofooed", "foo"]);
        check("b*d", "bd bad bed-bound b d blended", &["bd", "bad", "bed", "bound", "blended"]);
        check("b*d*d", "bdd badder bided", &["bdd", "bided"]);
        check("a*-b", "abc-b a-b a-c", &["abc-b", "a-b"]);
    }

    #[test]
    fn a_star_covers_a_long_word_in_part() {
        let long = format!("{0}foo{0}", "é".repeat(150));
        check("*foo*", &long, &[&format!("{0}foo{0}", "é".repeat(100))]);
        check("e*foo", &long, &[]);
    }

    #[test]
    fn a_question_mark_stands_for_one_character() {
        check("f?o", "fxo fo fxxo féo", &["fxo", "féo"]);
        check("f?* you", "fxyz you f you", &["fxyz you"]);
    }

    #[test]
    fn entries_that_overlap_are_all_found() {
        let list = List::new(&["big fish".to_owned(), "fish".to_owned()], ALL).unwrap();
        let view = ALL.view("a big fish");
        assert_eq!(list.matches(&view).collect::<Vec<_>>(), [2..10, 6..10]);
    }

    #[test]
    fn case_counts_where_it_is_told_to() {
        let strict = Folding { case: false, ..ALL };
        let list = List::new(&["Bad*".to_owned()], strict).unwrap();
        let view = strict.view("bad Badly BAD");
        let found: Vec<&str> = list.matches(&view).map(|range| &view.text[range]).collect();
        assert_eq!(found, ["Badly"]);
    }

    #[test]
    fn an_entry_that_cannot_be_searched_for_is_named() {
        for entry in ["", "*", "?a", "a?????????"] {
            let error = List::new(&[entry.to_owned()], ALL).err().unwrap();
            assert!(error.contains(&format!("`{entry}`")), "{error}");
        }
    }

    #[test]
    fn a_large_list_finds_the_same_as_a_small_one() {
        let words: Vec<String> = (0..=TABLE_ENTRIES_MAX).map(|n| format!("word{n}x")).collect();
        let list = List::new(&words, ALL).unwrap();
        let view = ALL.view("a Word1999x here word1999");
        let found: Vec<&str> = list.matches(&view).map(|range| &view.text[range]).collect();
        assert_eq!(found, ["Word1999x"]);
    }
}
