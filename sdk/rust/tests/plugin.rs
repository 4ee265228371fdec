//! A plugin as an author writes it, run natively.

use godwit_plugin::{
    Attention, Audience, Content, Delivery, Facts, FanOut, Id, Instance, Level, Lifecycle, Live, Message,
    Moderation, NoConfig, Normalise, Notified, Reason, Recipient, Rewrite, Role, Scene, Subject, Verdict,
    log, rate, testing,
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

impl FanOut for Polite {
    fn choose(&self, _scene: &Scene, message: &Message, facts: &Facts) -> Option<Audience> {
        match message.content.body.starts_with(&self.please) {
            true => None,
            false => Some(Audience::only(facts.admins.clone())),
        }
    }
}

impl Delivery for Polite {
    fn attention(&self, _scene: &Scene, _message: &Message, recipient: &Recipient) -> Attention {
        if recipient.active { Attention::Normal } else { Attention::NotifyLater(testing::START) }
    }
}

godwit_plugin::lifecycle!(Polite);
godwit_plugin::normalise!(Polite);
godwit_plugin::moderation!(Polite);
godwit_plugin::fan_out!(Polite);
godwit_plugin::delivery!(Polite);

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
fn an_edit_and_a_name_are_reviewed_like_a_message() {
    let polite: Polite = testing::init(CONFIG).unwrap();
    let scene = testing::scene();
    assert_eq!(polite.review(&scene, testing::edit("come", "Please: come")), Verdict::Allow);
    let rude = Verdict::hold("rude", "Say please.");
    assert_eq!(polite.review(&scene, testing::edit("Please: come", "come")), rude);
    let nowhere = testing::nowhere();
    assert_eq!((&nowhere.conversation, nowhere.sender_role), (&None, None));
    assert_eq!(polite.review(&nowhere, Subject::UserName("ada".into())), rude);
}

#[test]
fn an_audience_is_named_or_left_to_others() {
    let polite: Polite = testing::init(CONFIG).unwrap();
    let ids = [7, 8, 9].map(Id::from_u128);
    let choose = |body: &str| polite.choose(&testing::scene(), &testing::sent(body), &testing::facts(&ids));
    assert_eq!(choose("Please: come"), None);
    let only = vec![ids[0]];
    let expected = Audience { live: Live::Only(only.clone()), notified: Notified::Only(only) };
    assert_eq!(choose("come"), Some(expected));
    let large = Facts { member_count: 101, ..testing::facts(&ids) };
    assert_eq!(Audience::usual(&large).live, Live::Followers);
    assert_eq!(Audience::usual(&testing::facts(&ids)).live, Live::Everyone);
}

#[test]
fn each_recipient_is_answered_in_order() {
    let polite: Polite = testing::init(CONFIG).unwrap();
    let ada = testing::recipient(Id::from_u128(7), "ada");
    let ben = Recipient { active: true, role: Role::Admin, ..testing::recipient(Id::from_u128(8), "ben") };
    let decided = polite.decide(&testing::scene(), &testing::sent("hi"), &[ada, ben]);
    assert_eq!(decided, [Attention::NotifyLater(testing::START), Attention::Normal]);
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
