//! The targets, one file each; see the crate for how they are run.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod cursors;
mod frames;
mod records;
mod tokens;

#[global_allocator]
static COUNTING: godwit_fuzz::memory::Counting = godwit_fuzz::memory::Counting;

#[test]
fn cursors_are_read_as_given_or_not_at_all() {
    godwit_fuzz::run(&cursors::Cursors);
}

#[test]
fn frames_are_decoded_or_refused_by_name() {
    godwit_fuzz::run(&frames::Frames);
}

#[test]
fn records_are_read_as_written_or_corrupt() {
    godwit_fuzz::run(&records::Records::new());
}

#[test]
fn tokens_let_in_whom_they_were_made_for() {
    godwit_fuzz::run(&tokens::Tokens::new());
}

/// The driver itself: a promise that is broken is found.
mod planted {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    struct Greedy;

    impl godwit_fuzz::Target for Greedy {
        const NAME: &'static str = "planted";

        fn valid(&self) -> Vec<Vec<u8>> {
            vec![vec![0, 1, 2]]
        }

        fn check(&self, input: &[u8]) {
            drop(vec![0u8; usize::from(input[0]) + (1 << 20)]);
        }
    }

    #[test]
    fn a_reader_that_allocates_more_than_its_input_accounts_for_is_found() {
        assert!(catch_unwind(AssertUnwindSafe(|| godwit_fuzz::run(&Greedy))).is_err());
    }
}
