//! A plugin as an author writes it, run natively.

use godwit_plugin::{
    Content, Id, Instance, Level, Lifecycle, Moderation, NoConfig, Normalise, Reason, Rewrite, Scene,
    Subject, Verdict, log, rate, testing,
};
use serde::Deserialize;
use std::time::Duration;

/// Serves every hook from one value.
struct Polite {
    please: String,
}

#[derive(Deserialize)]
struct Config {
    please: String,
    friends: Vec<Id>,
}

impl Lifecycle for Polite {
    type Config = Config;

    fn init(config: Config) -> Result<Self, String> {
        if config.friends.is_empty() {
            return Err("nobody is a friend".to_owned());
        }
        Ok(Self { please: config.please })
    }
}

impl Normalise for Polite {
    fn normalise(&self, _scene: &Scene, content: Content) -> Result<Option<Rewrite>, Reason> {
        let body = format!("{} {}", self.please, content.body);
        Ok(Some(content.rewrite(body)))
    }
}

impl Moderation for Polite {
    fn review(&self, _scene: &Scene, subject: Subject) -> Verdict {
        match subject.text().starts_with(&self.please) {
            true => Verdict::Allow,
            false => Verdict::hold("rude", "Say please."),
        }
    }
}

godwit_plugin::lifecycle!(Polite);
godwit_plugin::normalise!(Polite);
godwit_plugin::moderation!(Polite);

const CONFIG: &str = r#"{"please": "Please:", "friends": ["00000000-0000-0000-0000-000000000007"]}"#;

#[test]
fn one_value_serves_several_hooks() {
    let polite: Polite = testing::init(CONFIG).unwrap();
    let scene = testing::scene();
    let rewrite = polite.normalise(&scene, Content::text("come")).unwrap().unwrap();
    assert_eq!(polite.review(&scene, testing::message(rewrite.body)), Verdict::Allow);
    assert_eq!(polite.review(&scene, testing::message("come")), Verdict::hold("rude", "Say please."));
}

#[test]
fn a_configuration_that_does_not_fit_is_refused_by_the_field() {
    for (config, expected) in [
        (r#"{"please": 5, "friends": []}"#, "please"),
        (r#"{"please": "", "friends": ["ada"]}"#, "friends[0]"),
        (r#"{"please": ""}"#, "missing field `friends`"),
        (r#"{"please": "", "friends": []}"#, "nobody is a friend"),
        (r#"{} {}"#, "missing field"),
        ("", "missing field"),
    ] {
        let error = testing::init::<Polite>(config).err().unwrap();
        assert!(error.contains(expected), "{config}: {error}");
    }
}

#[test]
fn a_plugin_without_configuration_refuses_one() {
    struct Plain;
    impl Lifecycle for Plain {
        type Config = NoConfig;
        fn init(_config: NoConfig) -> Result<Self, String> {
            Ok(Plain)
        }
    }
    assert!(testing::init::<Plain>("").is_ok());
    assert!(testing::init::<Plain>("{}").is_ok());
    assert!(testing::init::<Plain>(r#"{"surprise": 1}"#).is_err());
    assert!(testing::init::<Plain>("{} x").is_err());
}

#[test]
#[should_panic(expected = "init before any hook")]
fn a_hook_before_init_says_what_is_missing() {
    Polite::instance();
}

#[test]
fn lines_are_captured_in_order_with_their_levels() {
    log::error("first");
    log::debug(format!("{}", 2));
    assert_eq!(testing::take_log(), [(Level::Error, "first".to_owned()), (Level::Debug, "2".to_owned())]);
    assert!(testing::take_log().is_empty());
}

#[test]
fn a_window_slides_and_is_cut_to_an_hour() {
    let minute = Duration::from_secs(60);
    assert_eq!(rate::hit("a", minute), 1);
    testing::advance(minute / 2);
    assert_eq!((rate::hit("a", minute), rate::hit("b", minute)), (2, 1));
    testing::advance(minute / 2);
    assert_eq!(rate::peek("a", minute), 1, "the first hit is a whole window old");
    testing::advance(rate::WINDOW_MAX);
    assert_eq!(rate::peek("a", rate::WINDOW_MAX * 2), 0);
}
