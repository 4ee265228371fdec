//! How an input is made from a valid one: a few small changes, which proptest takes back one by one when it shrinks.

use proptest::{collection::vec, prelude::*, sample::Index};

/// No input is longer.
const BYTES_MAX: usize = 64 << 10;

#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// Writes a number, as lengths and counts are written: big or little, or one byte after the other.
    Number(Index, u64, u8),
    Repeat(Index, usize, usize),
    /// Goes on as another valid input does from there.
    Splice(Index, Index, Index),
    Word(Index, Index),
    Cut(Index),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let edges = prop_oneof![
        Just(0u64),
        Just(1),
        Just(u64::MAX),
        Just(i64::MAX as u64),
        Just(u64::from(u32::MAX)),
        Just(1 << 53),
        any::<u64>()
    ];
    prop_oneof![
        (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..17usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), edges, 0..3u8).prop_map(|(at, number, how)| Change::Number(at, number, how)),
        (at(), 1..9usize, 1..200usize).prop_map(|(at, count, times)| Change::Repeat(at, count, times)),
        (at(), at(), at()).prop_map(|(at, other, from)| Change::Splice(at, other, from)),
        (at(), at()).prop_map(|(at, word)| Change::Word(at, word)),
        at().prop_map(Change::Cut),
    ]
}

/// Inputs made from these.
pub(crate) fn inputs(seeds: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (any::<Index>(), vec(change(), 1..6)).prop_map(move |(seed, changes)| {
        let mut input = seed.get(&seeds).clone();
        for change in changes {
            apply(&mut input, change, &seeds, &words);
            input.truncate(BYTES_MAX);
        }
        input
    })
}

fn apply(input: &mut Vec<u8>, change: Change, seeds: &[Vec<u8>], words: &[Vec<u8>]) {
    // A place between two bytes, or at the end.
    let place = |at: &Index, input: &Vec<u8>| at.index(input.len() + 1);
    match change {
        Change::Flip(..) | Change::Set(..) if input.is_empty() => {}
        Change::Flip(at, bit) => *at.get_mut(input) ^= 1 << bit,
        Change::Set(at, byte) => *at.get_mut(input) = byte,
        Change::Insert(at, bytes) => insert(input, place(&at, input), &bytes),
        Change::Remove(at, count) => {
            let from = place(&at, input);
            input.drain(from..input.len().min(from + count));
        }
        Change::Number(at, number, how) => {
            let from = place(&at, input);
            let bytes = match how {
                0 => number.to_be_bytes().to_vec(),
                1 => number.to_le_bytes().to_vec(),
                _ => number.to_string().into_bytes(),
            };
            let to = input.len().min(from + bytes.len());
            input.splice(from..to, bytes);
        }
        Change::Repeat(at, count, times) => {
            let from = place(&at, input);
            let some = input[from..input.len().min(from + count)].repeat(times);
            insert(input, from, &some);
        }
        Change::Splice(at, other, from) => {
            let other = other.get(seeds);
            input.truncate(place(&at, input));
            input.extend_from_slice(&other[place(&from, other)..]);
        }
        Change::Word(..) if words.is_empty() => {}
        Change::Word(at, word) => insert(input, place(&at, input), word.get::<Vec<u8>>(words)),
        Change::Cut(at) => input.truncate(place(&at, input)),
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}
