//! The page on errors, held against the list that it describes.

use godwit_protocol::error::{Close, Code};

const PAGE: &str = include_str!("../ERRORS.md");

#[test]
fn every_error_has_its_row_on_the_page() {
    for code in Code::ALL {
        let temporary = if code.temporary() { "yes" } else { "no" };
        let row = format!("| `{}` | {temporary} | {} |", code.as_str(), code.status());
        assert!(PAGE.contains(&row), "the page lacks a row that begins with {row}");
    }
}

#[test]
fn every_close_code_of_ours_has_its_row_on_the_page() {
    use Close::{
        Draining, Idle, Internal, Malformed, NoConnect, Revoked, SlowConsumer, TooLarge, TooManyRequests,
        Unauthorised,
    };
    let ours = [
        Draining,
        SlowConsumer,
        Idle,
        Internal,
        Unauthorised,
        Malformed,
        TooLarge,
        TooManyRequests,
        Revoked,
        NoConnect,
    ];
    for close in ours {
        assert!(PAGE.contains(&format!("| {} |", close.code())), "the page lacks a row for {}", close.code());
    }
}
