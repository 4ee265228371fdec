//! The filter as the host calls it.

use super::*;
use godwit_plugin::testing;

fn filter(config: &str) -> WordFilter {
    testing::init(config).unwrap()
}

/// The masked body, or `None` where nothing changes.
fn masked(config: &str, body: &str) -> Option<String> {
    let rewrite = filter(config).normalise(&testing::scene(), Content::text(body)).unwrap();
    rewrite.map(|rewrite| rewrite.body)
}

fn is_rejected(config: &str, subject: Subject) -> bool {
    match filter(config).review(&testing::scene(), subject) {
        Verdict::Allow => false,
        Verdict::Reject(reason) => reason.code == "language",
        Verdict::Hold(_) => panic!("the filter never holds"),
    }
}

#[test]
fn masks_keep_the_length_in_characters() {
    let config = r#"{"mask": ["darn", "buy now", "cafés"]}"#;
    for (body, expected) in [
        ("darn it", Some("**** it")),
        ("buy now, darn", Some("*** ***, ****")),
        ("le Cafes, les CAFÉS", Some("le *****, les *****")),
        ("d\u{200b}arn", Some("*****")),
        ("darning", None),
        ("", None),
    ] {
        assert_eq!(masked(config, body).as_deref(), expected, "{body:?}");
    }
}

#[test]
fn overlapping_matches_are_covered_once() {
    let config = r#"{"mask": ["big fish", "fish tank", "fish"]}"#;
    assert_eq!(masked(config, "a big fish tank").as_deref(), Some("a *** **** ****"));
}

#[test]
fn a_wide_mask_never_makes_a_text_longer() {
    let config = r#"{"mask": ["darn", "чёрт"], "mask_character": "█"}"#;
    assert_eq!(masked(config, "darn").as_deref(), Some("****"));
    let config = r#"{"mask": ["ダメ"], "mask_character": "█"}"#;
    assert_eq!(masked(config, "ダメ").as_deref(), Some("██"));
}

#[test]
fn a_rewrite_keeps_the_mentions() {
    let mentions = vec![godwit_plugin::Id::from_u128(7)];
    let content = Content { mentions: mentions.clone(), ..Content::text("darn") };
    let rewrite = filter(r#"{"mask": ["darn"]}"#).normalise(&testing::scene(), content).unwrap().unwrap();
    assert_eq!(rewrite.mentions, mentions);
}

#[test]
fn messages_are_rejected_with_the_text_that_is_set() {
    let config = r#"{"reject": ["casino*"], "reject_text": "No adverts."}"#;
    let verdict = filter(config).review(&testing::scene(), testing::message("CASINOS here"));
    assert_eq!(verdict, Verdict::reject("language", "No adverts."));
    assert!(!is_rejected(config, testing::message("a cassino")));
}

#[test]
fn names_and_titles_may_have_words_of_neither_list() {
    let config = r#"{"mask": ["darn"], "reject": ["casino"]}"#;
    assert!(!is_rejected(config, testing::message("darn")), "masked before");
    for subject in
        [Subject::Title, Subject::UserName, Subject::DisplayName, Subject::FileName, Subject::Reaction]
    {
        assert!(is_rejected(config, subject("darn".into())));
        assert!(is_rejected(config, subject("casino".into())));
        assert!(!is_rejected(config, subject("fine".into())));
    }
}

#[test]
fn a_wrong_configuration_names_the_setting() {
    for (config, expected) in [
        (r#"{"mask": ["?x"]}"#, "mask: `?x`"),
        (r#"{"reject": ["*"]}"#, "reject: `*`"),
        (r#"{"mask_character": "**"}"#, "mask_character"),
        (r#"{"masks": []}"#, "unknown field `masks`"),
    ] {
        let error = testing::init::<WordFilter>(config).err().unwrap();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn the_manifest_tests_hold_with_any_lists() {
    let manifest: toml::Table = include_str!("../plugin.toml").parse().unwrap();
    for test in manifest["test"].as_array().unwrap() {
        let body = test["input"]["body"].as_str().unwrap();
        for config in ["{}", r#"{"mask": [], "reject": [], "ignore_case": false}"#] {
            let expect = &test["expect"];
            match test["hook"].as_str().unwrap() {
                "moderation" => {
                    assert_eq!(
                        is_rejected(config, testing::message(body)),
                        expect.get("reject").is_some(),
                        "{body}"
                    );
                }
                _ => {
                    let rewrite =
                        expect.get("rewrite").map(|rewrite| rewrite["body"].as_str().unwrap().to_owned());
                    assert_eq!(masked(config, body), rewrite, "{body}");
                }
            }
        }
    }
}

#[test]
fn the_schema_names_the_settings_and_their_defaults() {
    let manifest: toml::Table = include_str!("../plugin.toml").parse().unwrap();
    let properties = manifest["config"]["schema"]["properties"].as_table().unwrap();
    let built_in = Config::default();
    for (setting, expected) in [
        ("mask", toml::Value::from(built_in.mask)),
        ("reject", toml::Value::from(built_in.reject)),
        ("mask_character", toml::Value::from(built_in.mask_character.to_string())),
        ("reject_text", toml::Value::from(built_in.reject_text)),
        ("ignore_case", toml::Value::from(built_in.ignore_case)),
        ("ignore_accents", toml::Value::from(built_in.ignore_accents)),
        ("ignore_look_alikes", toml::Value::from(built_in.ignore_look_alikes)),
    ] {
        assert_eq!(properties[setting]["default"], expected, "{setting}");
    }
    assert_eq!(properties.len(), 7);
}
