//! How texts look to the matcher: without the differences that the operator wants ignored.
//!
//! It owns case, accents, compatibility forms, invisible characters and look-alikes, and the way back from a folded
//! position to the written one. It knows no word list. Start with [`Folding::view`].
//!
//! A text of plain ASCII needs none of this and is looked at where it lies; the automaton and the matcher ignore its
//! case by themselves.

use std::{borrow::Cow, ops::Range};
use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Which differences do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folding {
    /// Upper and lower case.
    pub case: bool,
    /// Accents on Latin, Greek and Cyrillic letters.
    pub accents: bool,
    /// Cyrillic and Greek letters that look like Latin ones, in words that have Latin letters too.
    pub look_alikes: bool,
}

/// A text as the matcher sees it.
pub struct View<'a> {
    /// The folded text.
    pub text: Cow<'a, str>,
    /// For each byte of a folded text where its character begins as written; empty where nothing was folded.
    origins: Vec<u32>,
    written: &'a str,
}

impl Folding {
    /// The text with everything folded away.
    pub fn view(self, written: &str) -> View<'_> {
        if written.is_ascii() {
            return View { text: Cow::Borrowed(written), origins: Vec::new(), written };
        }
        let mut folded: Vec<(char, u32)> = Vec::with_capacity(written.len());
        let mut word_start = 0;
        for (at, character) in written.char_indices() {
            let push = |part| self.fold_into(&mut folded, part, at as u32);
            decompose_compatible(character, push);
            if !folded.last().is_some_and(|&(last, _)| is_word(last)) {
                self.unmask_look_alikes(&mut folded[word_start..]);
                word_start = folded.len();
            }
        }
        self.unmask_look_alikes(&mut folded[word_start..]);

        let mut text = String::with_capacity(written.len());
        let mut origins = Vec::with_capacity(written.len());
        for (character, at) in folded {
            text.push(character);
            origins.resize(text.len(), at);
        }
        View { text: Cow::Owned(text), origins, written }
    }

    /// The form in which an entry of a list is compared.
    pub fn fold(self, written: &str) -> String {
        let text = self.view(written).text;
        if self.case { text.to_ascii_lowercase() } else { text.into_owned() }
    }

    /// Whether a written or folded character equals one of a folded entry.
    pub fn equal(self, character: char, entry: char) -> bool {
        character == entry || self.case && character.to_ascii_lowercase() == entry
    }

    fn fold_into(self, folded: &mut Vec<(char, u32)>, part: char, at: u32) {
        if part.is_ascii() {
            return folded.push((if self.case { part.to_ascii_lowercase() } else { part }, at));
        }
        if is_invisible(part) || self.accents && is_accent(part) {
            return;
        }
        if !self.case {
            return folded.push((part, at));
        }
        for lower in part.to_lowercase() {
            match lower {
                // A dot above, which the Turkish capital leaves behind.
                '\u{307}' if self.accents => {}
                // A sigma at the end of a word is the same letter.
                'ς' => folded.push(('σ', at)),
                _ => folded.push((lower, at)),
            }
        }
    }

    /// Words that are all Cyrillic or all Greek are what they seem to be.
    fn unmask_look_alikes(self, word: &mut [(char, u32)]) {
        if self.look_alikes && word.iter().any(|(character, _)| character.is_ascii_alphabetic()) {
            word.iter_mut().for_each(|(character, _)| *character = latin(*character));
        }
    }
}

impl View<'_> {
    /// The bytes of the written text that a range of the folded one stands for, with the accents and invisible
    /// characters that follow.
    pub fn written(&self, folded: &Range<usize>) -> Range<usize> {
        if self.origins.is_empty() {
            return folded.clone();
        }
        let origin = |at: usize| self.origins.get(at).map_or(self.written.len(), |&at| at as usize);
        let last = origin(folded.end - 1);
        let last_len = self.written[last..].chars().next().map_or(0, char::len_utf8);
        // An end within a ligature covers all of it.
        origin(folded.start)..origin(folded.end).max(last + last_len)
    }
}

/// Whether there is a word boundary between two neighbours; `None` is the end of the text.
///
/// Scripts that are written without spaces have one at every character. An underscore separates: people use it to
/// write words together.
pub fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    match (before, after) {
        (Some(before), Some(after)) => {
            !(is_word(before) && is_word(after)) || is_spaceless(before) || is_spaceless(after)
        }
        _ => true,
    }
}

/// Whether a character is part of words.
pub fn is_word(character: char) -> bool {
    character.is_alphanumeric() || !character.is_ascii() && is_combining_mark(character)
}

/// Thai, Lao, Myanmar, Khmer, kana and ideographs.
fn is_spaceless(character: char) -> bool {
    matches!(character,
        '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}' | '\u{3040}'..='\u{30ff}'
        | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

/// Marks that letters of Latin, Greek and Cyrillic carry; those of other scripts are vowels and tell words apart.
fn is_accent(character: char) -> bool {
    matches!(character,
        '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}'
        | '\u{fe20}'..='\u{fe2f}')
}

/// Characters that show nothing and split a word for programs alone.
fn is_invisible(character: char) -> bool {
    matches!(character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{e0000}'..='\u{e0fff}')
}

/// The Latin letter that a Cyrillic, Greek or rarer Latin one looks like; others as they are.
fn latin(character: char) -> char {
    match character {
        'а' | 'α' | 'ɑ' => 'a',
        'А' | 'Α' => 'A',
        'В' | 'Β' => 'B',
        'с' | 'ϲ' => 'c',
        'С' => 'C',
        'ԁ' => 'd',
        'е' | 'ҽ' => 'e',
        'Е' | 'Ε' => 'E',
        'ɡ' => 'g',
        'һ' => 'h',
        'Н' | 'Η' => 'H',
        'і' | 'ι' | 'ı' => 'i',
        'І' | 'Ι' => 'I',
        'ј' => 'j',
        'к' | 'κ' => 'k',
        'К' | 'Κ' => 'K',
        'ӏ' => 'l',
        'м' => 'm',
        'М' | 'Μ' => 'M',
        'ո' => 'n',
        'Ν' => 'N',
        'о' | 'ο' | 'օ' => 'o',
        'О' | 'Ο' => 'O',
        'р' | 'ρ' => 'p',
        'Р' | 'Ρ' => 'P',
        'ԛ' => 'q',
        'ѕ' => 's',
        'Ѕ' => 'S',
        'т' | 'τ' => 't',
        'Т' | 'Τ' => 'T',
        'υ' | 'ս' => 'u',
        'ν' | 'ѵ' => 'v',
        'ԝ' => 'w',
        'х' | 'χ' => 'x',
        'Х' | 'Χ' => 'X',
        'у' | 'ү' => 'y',
        'У' | 'Υ' => 'Y',
        'Ζ' => 'Z',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Folding = Folding { case: true, accents: true, look_alikes: true };

    #[test]
    fn ascii_is_looked_at_where_it_lies() {
        assert!(matches!(ALL.view("Plain").text, Cow::Borrowed("Plain")));
    }

    #[test]
    fn what_looks_the_same_folds_to_the_same() {
        for (written, folded) in [
            ("ÀÉÎ", "aei"),
            ("e\u{301}te\u{301}", "ete"),
            ("ＢＡＤ", "bad"),
            ("𝖇𝖆𝖉", "bad"),
            ("ⓑⓐⓓ", "bad"),
            ("b\u{200b}a\u{ad}d", "bad"),
            ("bаd", "bad"),
            ("ΣΟΦΟΣ", "σοφοσ"),
            ("σοφος", "σοφοσ"),
            ("İ", "i"),
            ("oﬃce", "office"),
        ] {
            assert_eq!(ALL.view(written).text, folded, "{written}");
        }
    }

    #[test]
    fn a_word_of_one_script_is_what_it_seems_to_be() {
        assert_eq!(ALL.view("сор").text, "сор", "rubbish in Russian, no policeman");
        assert_eq!(ALL.view("сop").text, "cop");
    }

    #[test]
    fn vowel_signs_of_other_scripts_stay() {
        assert_ne!(ALL.view("की").text, ALL.view("का").text);
        assert_ne!(ALL.view("が").text, ALL.view("か").text);
    }

    #[test]
    fn what_is_not_to_be_ignored_stays() {
        let strict = Folding { case: false, accents: false, look_alikes: false };
        assert_ne!(strict.view("año").text, strict.view("ano").text);
        assert_eq!(strict.view("año").text, strict.view("an\u{303}o").text, "two spellings of one letter");
        assert_eq!(strict.view("Éa").text, "E\u{301}a");
        assert_eq!(strict.view("bаd").text, "bаd");
    }

    #[test]
    fn folded_places_lead_back_to_written_ones() {
        let written = "x é\u{200b}t\u{301} ﬃ";
        let view = ALL.view(written);
        assert_eq!(view.text, "x et ffi");
        assert_eq!(&written[view.written(&(2..4))], "é\u{200b}t\u{301}");
        assert_eq!(&written[view.written(&(5..6))], "ﬃ");
    }
}
