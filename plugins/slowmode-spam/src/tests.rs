//! The filter as the host calls it.

use super::*;
use godwit_plugin::{Counts, Role, SenderActivity, testing};

fn review(config: &str, activity: SenderActivity, role: Role, subject: Subject) -> Option<(bool, String)> {
    let filter: Slowmode = testing::init(config).unwrap();
    let scene = Scene { activity, sender_role: Some(role), ..testing::scene() };
    match filter.review(&scene, subject) {
        Verdict::Allow => None,
        Verdict::Reject(reason) => Some((false, reason.code)),
        Verdict::Hold(reason) => Some((true, reason.code)),
    }
}

fn sent(in_10s: u32, same: u32) -> SenderActivity {
    let counts = Counts { messages_10s: in_10s, messages_60s: in_10s, messages_1h: in_10s };
    SenderActivity { here: Some(counts), overall: counts, same_body_60s: same, member_since: Some(0) }
}

#[test]
fn the_message_that_reaches_a_limit_is_refused() {
    let refused = |count| review("{}", sent(count, 0), Role::Member, testing::message("x"));
    assert_eq!(refused(9), None);
    assert_eq!(refused(10), Some((false, "too-fast".to_owned())));
    let hold = r#"{ "flood": "hold" }"#;
    let held = review(hold, sent(10, 0), Role::Member, testing::message("x"));
    assert_eq!(held, Some((true, "too-fast".to_owned())));
}

#[test]
fn each_limit_counts_its_own() {
    for (limits, activity, expected) in [
        (r#"{ "in_60s": 5 }"#, sent(5, 0), "too-fast"),
        (r#"{ "everywhere_in_60s": 5 }"#, sent(5, 0), "too-fast"),
        (r#"{ "in_1h": 5 }"#, sent(5, 0), "too-much"),
        (r#"{ "same_in_60s": 2 }"#, sent(0, 2), "repeated"),
    ] {
        let config = format!(r#"{{ "limits": {limits} }}"#);
        let found = review(&config, activity, Role::Member, testing::message("x"));
        assert_eq!(found, Some((false, expected.to_owned())), "{limits}");
        let fewer = SenderActivity { same_body_60s: 1, ..sent(4, 0) };
        assert_eq!(review(&config, fewer, Role::Member, testing::message("x")), None, "{limits}");
    }
}

#[test]
fn roles_have_limits_of_their_own() {
    assert_eq!(review("{}", sent(500, 9), Role::Admin, testing::message("x")), None);
    let config = r#"{ "roles": { "reader": { "in_10s": 1 } } }"#;
    assert!(review(config, sent(1, 0), Role::Reader, testing::message("x")).is_some());
    assert_eq!(review(config, sent(1, 0), Role::Member, testing::message("x")), None);
}

#[test]
fn names_and_edits_are_no_messages_more() {
    assert_eq!(review("{}", sent(500, 9), Role::Member, Subject::Title("x".into())), None);
    assert_eq!(review("{}", sent(500, 9), Role::Member, testing::edit("x", "y")), None);
}

#[test]
fn links_of_newcomers_wait() {
    let now = testing::START;
    let came = |hours: u64| SenderActivity { member_since: Some(now - hours * HOUR_MS), ..sent(0, 0) };
    let link = "look: https://example.com/x";
    let held = Some((true, "newcomer-link".to_owned()));
    assert_eq!(review("{}", came(1), Role::Member, testing::message(link)), held);
    assert_eq!(review("{}", came(1), Role::Member, testing::edit("hello", link)), held);
    assert_eq!(review("{}", came(25), Role::Member, testing::message(link)), None);
    let reject = r#"{ "newcomer_links": "reject" }"#;
    let refused = review(reject, came(1), Role::Member, testing::message(link));
    assert_eq!(refused, Some((false, "newcomer-link".to_owned())));
    let allowed = r#"{ "newcomer_hours": 0 }"#;
    assert_eq!(review(allowed, came(0), Role::Member, testing::message(link)), None);
}

#[test]
fn what_is_a_link() {
    let hosts = ["example.com".to_owned()];
    for (text, link) in [
        ("https://evil.test/x", true),
        ("HTTP://EVIL.TEST", true),
        ("see evil.com", true),
        ("see evil.com!", true),
        ("(www.evil.org)", true),
        ("https://example.com@evil.test", true),
        ("https://notexample.com", true),
        ("https://[2001:db8::1]/", true),
        ("https://example.com/x", false),
        ("www.example.com", false),
        ("ada@evil.com", false),
        ("file.txt, e.g. 3.14", false),
        ("end.Next", false),
        ("", false),
    ] {
        assert_eq!(links::any(text, &hosts), link, "{text}");
    }
}

#[test]
fn an_entry_of_hosts_must_have_a_name() {
    assert!(testing::init::<Slowmode>(r#"{ "hosts": ["."] }"#).is_err());
}
