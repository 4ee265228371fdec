//! After a message has its number: rules that name audiences, policies that decide attention, and those that break.

use crate::bed::{Bed, scene, sent, user};
use godwit_domain::{
    conversation::Role,
    filter::{
        Attention, Audience, Facts, Filters, Hook, Live, NOTIFY_LATER_MS_MAX, Notified, Recipient, Spent,
    },
    id::UserId,
    plugin::{Begin, Component, Install, Manager},
    time::Ms,
};
use godwit_engine::Options;
use std::sync::Arc;

/// The fixture of audiences with that configuration.
fn fixture(id: &str, priority: i32, config: &str) -> Install {
    Install {
        id: id.to_owned(),
        manifest: format!(
            "id = {id:?}\nversion = \"1\"\ninterface = \"0.1\"\nhooks = [\"fan-out\", \"delivery\"]\n\
             priority = {priority}\n[capabilities]\nmember-list = true\n"
        ),
        component: Component::Bytes(godwit_fixtures::component(godwit_fixtures::AUDIENCE)),
        grants: Some(vec!["member-list".to_owned()]),
        to: Begin::Active,
        config: Some(config.to_owned()),
        dry_run: false,
    }
}

fn choosing(id: &str, priority: i32, choice: &str) -> Install {
    fixture(id, priority, &format!(r#"{{"fan_out": {choice}}}"#))
}

fn deciding(id: &str, policy: &str) -> Install {
    fixture(id, 0, &format!(r#"{{"delivery": {policy}}}"#))
}

fn users(ids: &[u128]) -> Vec<UserId> {
    ids.iter().copied().map(UserId::from_u128).collect()
}

/// A conversation of the users 1 to 3, of whom the first is an admin.
pub fn facts() -> Facts {
    Facts {
        follow_above: 100,
        member_count: 3,
        follower_count: 1,
        online_count: 2,
        admins: users(&[1]),
        mentioned: users(&[2]),
        members: Some(users(&[1, 2, 3])),
    }
}

/// So many recipients, called `r0`, `r1` and so on; every third is mentioned.
pub fn recipients(count: usize) -> Vec<Recipient> {
    let recipient = |n: usize| Recipient {
        user: Arc::new(user(n as u128 + 1, &format!("r{n}"))),
        role: Role::Member,
        online: true,
        active: n.is_multiple_of(2),
        mentioned: n.is_multiple_of(3),
        muted_until: n.is_multiple_of(5).then_some(Ms(7)),
    };
    (0..count).map(recipient).collect()
}

impl Bed {
    async fn choose(&self, body: &str) -> Option<Audience> {
        self.engine.pin().choose(&scene(1), &sent(body), &facts(), &mut Spent::default()).await
    }

    async fn decide(&self, body: &str, recipients: &[Recipient]) -> Vec<Attention> {
        self.engine.pin().decide(&scene(1), &sent(body), recipients, &mut Spent::default()).await
    }
}

fn only(ids: &[u128]) -> Audience {
    Audience { live: Live::Only(users(ids)), notified: Notified::Only(users(ids)) }
}

#[tokio::test]
async fn without_such_plugins_nothing_is_served() {
    let bed = Bed::new(Options::default()).await;
    bed.install("a", "1", "{}").await.unwrap();
    let (chain, place) = (bed.engine.pin(), scene(1).conversation.unwrap());
    for (hook, served) in
        [(Hook::Normalise, true), (Hook::Moderation, true), (Hook::FanOut, false), (Hook::Delivery, false)]
    {
        assert_eq!(chain.serves(hook, &place), served, "{hook:?}");
    }
    assert_eq!(bed.choose("x").await, None);
    assert_eq!(bed.decide("x", &recipients(2)).await, [Attention::Normal; 2]);
    bed.engine.install(fixture("b", 0, "{}")).await.unwrap();
    bed.engine.remove("a").await.unwrap();
    let chain = bed.engine.pin();
    assert!(chain.serves(Hook::FanOut, &place) && chain.serves(Hook::Delivery, &place));
    assert!(!chain.is_empty() && !chain.reviews(), "it is asked, and judges nothing");
}

#[tokio::test]
async fn a_rule_names_its_audience_or_leaves_it_to_others() {
    let bed = Bed::new(Options::default()).await;
    let two = "00000000-0000-0000-0000-000000000002";
    let audience = |live, notified| Some(Audience { live, notified });
    for (choice, expected) in [
        ("{}".to_owned(), None),
        (r#"{"mode": "everyone"}"#.to_owned(), audience(Live::Everyone, Notified::Everyone)),
        (r#"{"mode": "followers"}"#.to_owned(), audience(Live::Followers, Notified::Mentioned)),
        (
            format!(r#"{{"mode": "followers-and", "users": ["{two}"]}}"#),
            audience(Live::FollowersAnd(users(&[2])), Notified::Nobody),
        ),
        (format!(r#"{{"mode": "only", "users": ["{two}", "{two}"]}}"#), Some(only(&[2]))),
        (r#"{"mode": "admins"}"#.to_owned(), Some(only(&[1]))),
    ] {
        bed.engine.install(choosing("a", 0, &choice)).await.unwrap();
        assert_eq!(bed.choose("x").await, expected, "{choice}");
    }
    let metrics = bed.metrics();
    for (decision, count) in [("allow", 1), ("override", 5)] {
        let labels = format!(r#"{{plugin="a",version="1",hook="fan-out",decision="{decision}"}} {count}"#);
        assert!(metrics.contains(&format!("godwit_plugin_calls_total{labels}")), "{labels} in {metrics}");
    }
}

#[tokio::test]
async fn the_first_rule_that_names_an_audience_counts() {
    let bed = Bed::new(Options::default()).await;
    bed.engine.install(choosing("a", 3, r#"{"mode": "followers"}"#)).await.unwrap();
    bed.engine.install(choosing("b", 2, r#"{"mode": "admins", "on": "bravo"}"#)).await.unwrap();
    bed.engine.install(choosing("c", 1, r#"{"mode": "everyone", "on": "charlie"}"#)).await.unwrap();
    let live = async |body: &str| bed.choose(body).await.map(|audience| audience.live);
    assert_eq!(live("x").await, Some(Live::Followers));
    assert_eq!(live("bravo").await, Some(Live::Only(users(&[1]))));
    assert_eq!(live("bravo and charlie").await, Some(Live::Everyone));
}

#[tokio::test]
async fn a_rule_that_breaks_leaves_the_built_in_one_whatever_later_ones_would_say() {
    let bed = Bed::new(Options { call_cpu_ms: 20, ..Options::default() }).await;
    bed.engine.install(choosing("b", 2, r#"{"mode": "admins"}"#)).await.unwrap();
    for (choice, how, logged) in [
        (r#"{"mode": "trap", "on": "bad"}"#, "trap", "traps as configured"),
        (r#"{"mode": "loop", "on": "bad"}"#, "deadline", "20 ms of CPU time"),
        (r#"{"mode": "crowd", "count": 4, "on": "bad"}"#, "trap", "4 users"),
        (r#"{"mode": "crowd", "count": 1, "on": "bad"}"#, "trap", "not in the member list"),
        (r#"{"mode": "crowd", "count": 10000, "on": "bad"}"#, "trap", "fuel"),
    ] {
        let install = Install { ..choosing("a", 1, choice) };
        bed.engine.install(install).await.unwrap();
        assert_eq!(bed.choose("bad").await, None, "{choice}");
        assert_eq!(bed.choose("good").await, Some(only(&[1])), "after {choice}");
        let log = bed.log("a").await;
        assert!(
            log.contains(&format!("host: {how} of `fan-out`")) && log.contains(logged),
            "{choice}: {log}"
        );
        bed.engine.remove("a").await.unwrap();
    }
}

#[tokio::test]
async fn who_is_in_is_shown_to_whom_that_was_granted() {
    let bed = Bed::new(Options::default()).await;
    let place = scene(1).conversation.unwrap();
    let choice = r#"{"mode": "all-but-last"}"#;
    let without = Install { grants: Some(Vec::new()), ..choosing("a", 2, choice) };
    let refused = bed.engine.install(without).await.unwrap_err().to_string();
    assert!(refused.contains("member-list"), "{refused}");
    assert!(!bed.engine.pin().wants_members(&place));
    let granted = Some(vec!["member-list".to_owned()]);
    bed.engine.install(Install { grants: granted, ..choosing("a", 2, choice) }).await.unwrap();
    assert!(bed.engine.pin().wants_members(&place));
    assert_eq!(bed.choose("x").await, Some(only(&[1, 2])));
    assert!(bed.log("a").await.contains("3 members, shown Some(3)"));
}

#[tokio::test]
async fn who_does_not_ask_for_the_member_list_is_not_shown_it() {
    let bed = Bed::new(Options::default()).await;
    let mut install = choosing("a", 2, r#"{"mode": "all-but-last"}"#);
    install.manifest = install.manifest.replace("member-list = true\n", "");
    bed.engine.install(Install { grants: Some(Vec::new()), ..install }).await.unwrap();
    assert!(!bed.engine.pin().wants_members(&scene(1).conversation.unwrap()));
    assert_eq!(bed.choose("x").await, None);
    assert!(bed.log("a").await.contains("3 members, shown None"));
}

#[tokio::test]
async fn a_policy_answers_for_each_recipient() {
    use Attention::{NoNotification, Normal, NotifyLater, Quiet};
    let bed = Bed::new(Options::default()).await;
    let five = recipients(5);
    bed.engine.install(deciding("a", r#"{"mode": "unless-mentioned"}"#)).await.unwrap();
    assert_eq!(bed.decide("x", &five).await, [Normal, Quiet, Quiet, Normal, Quiet]);
    assert!(bed.decide("x", &[]).await.is_empty());
    bed.engine.install(deciding("a", r#"{"mode": "no-notification", "name": "r3"}"#)).await.unwrap();
    assert_eq!(bed.decide("x", &five).await, [Normal, Normal, Normal, NoNotification, Normal]);
    let now = scene(1).now;
    for (at, expected) in [(now.0 + 1, now.plus(1)), (u64::MAX >> 1, now.plus(NOTIFY_LATER_MS_MAX))] {
        let policy = format!(r#"{{"mode": "notify-later", "at": {at}}}"#);
        bed.engine.install(deciding("a", &policy)).await.unwrap();
        assert_eq!(bed.decide("x", &five[..1]).await, [NotifyLater(expected)]);
    }
}

#[tokio::test]
async fn of_several_policies_the_quietest_counts_and_of_two_times_the_later() {
    let bed = Bed::new(Options::default()).await;
    let later = |id, after: u64, name| {
        let at = scene(1).now.0 + after;
        deciding(id, &format!(r#"{{"mode": "notify-later", "at": {at}, "name": "{name}"}}"#))
    };
    bed.engine.install(later("a", 9, "r0")).await.unwrap();
    bed.engine.install(later("b", 5, "r")).await.unwrap();
    bed.engine.install(deciding("c", r#"{"mode": "quiet", "name": "r1"}"#)).await.unwrap();
    bed.engine.install(deciding("d", r#"{"mode": "no-notification", "name": "r2"}"#)).await.unwrap();
    bed.engine.install(deciding("e", r#"{"mode": "trap"}"#)).await.unwrap();
    let now = scene(1).now;
    let expected =
        [Attention::NotifyLater(now.plus(9)), Attention::NotifyLater(now.plus(5)), Attention::NoNotification];
    assert_eq!(bed.decide("x", &recipients(3)).await, expected);
}

#[tokio::test]
async fn a_policy_that_breaks_decides_nothing() {
    let bed = Bed::new(Options { call_cpu_ms: 20, ..Options::default() }).await;
    for (mode, how, logged) in [
        ("too-short", "trap", "2 answers for 3 recipients"),
        ("too-long", "trap", "4 answers for 3 recipients"),
        ("huge", "trap", "fuel"),
        ("loop", "deadline", "20 ms of CPU time"),
        ("trap", "trap", "traps as configured"),
    ] {
        let policy = format!(r#"{{"mode": "{mode}", "on": "bad"}}"#);
        bed.engine.install(deciding("a", &policy)).await.unwrap();
        assert_eq!(bed.decide("bad", &recipients(3)).await, [Attention::Normal; 3], "{mode}");
        let log = bed.log("a").await;
        assert!(log.contains(&format!("host: {how} of `delivery`")) && log.contains(logged), "{mode}: {log}");
        bed.engine.remove("a").await.unwrap();
    }
}

#[tokio::test]
async fn more_recipients_than_fit_into_a_call_are_asked_about_in_several() {
    let patient =
        Options { call_cpu_ms: 2_000, deliver_cpu_ms: 20_000, call_wall_ms: 10_000, ..Options::default() };
    let bed = Bed::new(patient).await;
    bed.engine.install(deciding("a", r#"{"mode": "quiet", "name": "9"}"#)).await.unwrap();
    let many = recipients(2_001);
    let decided = bed.decide("x", &many).await;
    let expected = many.iter().map(|recipient| match recipient.user.name.contains('9') {
        true => Attention::Quiet,
        false => Attention::Normal,
    });
    assert_eq!(decided, expected.collect::<Vec<_>>());
    let metrics = bed.metrics();
    for (decision, count) in [("override", 2), ("allow", 1)] {
        let labels = format!(r#"{{plugin="a",version="1",hook="delivery",decision="{decision}"}} {count}"#);
        assert!(metrics.contains(&format!("godwit_plugin_calls_total{labels}")), "{labels} in {metrics}");
    }
}

#[tokio::test]
async fn both_hooks_share_one_budget_beyond_which_nobody_is_asked() {
    let options = Options { call_cpu_ms: 5, deliver_cpu_ms: 8, ..Options::default() };
    let bed = Bed::new(options).await;
    let config = r#"{"fan_out": {"mode": "loop"}, "delivery": {"mode": "loop"}}"#;
    bed.engine.install(fixture("a", 1, config)).await.unwrap();
    bed.engine.install(fixture("b", 2, r#"{"delivery": {"mode": "quiet"}}"#)).await.unwrap();
    let (chain, mut spent) = (bed.engine.pin(), Spent::default());
    assert_eq!(chain.choose(&scene(1), &sent("x"), &facts(), &mut spent).await, None);
    assert!((5..8).contains(&spent.cpu_ms), "{spent:?}");
    let decided = chain.decide(&scene(1), &sent("x"), &recipients(1), &mut spent).await;
    assert_eq!((decided, spent.cpu_ms), (vec![Attention::Normal], 8));
    assert!(bed.log("b").await.contains("CPU time of the whole chain"));
}

#[tokio::test]
async fn the_manifests_tests_may_be_about_audiences_and_attention() {
    let bed = Bed::new(Options::default()).await;
    let ids = ["00000000-0000-0000-0000-000000000007", "00000000-0000-0000-0000-000000000008"];
    let [seven, eight] = ids;
    let tests = |first: &str| {
        format!(
            r#"
            [[test]]
            hook = "fan-out"
            input = {{ body = "x", facts = {{ members = ["{seven}", "{eight}"] }} }}
            expect = {{ audience = {{ live = {{ only = ["{first}"] }}, notified = {{ only = ["{first}"] }} }} }}
            [[test]]
            hook = "fan-out"
            input = {{ body = "x" }}
            expect = {{ allow = true }}
            [[test]]
            hook = "delivery"
            input = {{ body = "x", now = 1000, recipients = [{{ name = "ada" }}, {{ name = "ben", role = "admin" }}] }}
            expect = {{ attention = [{{ notify-later = 2000 }}, "normal"] }}
            [[test]]
            hook = "delivery"
            input = {{ body = "x", recipients = [{{ name = "ben", muted-until = 7 }}] }}
            expect = {{ allow = true }}
            "#
        )
    };
    let config = r#"{"fan_out": {"mode": "all-but-last"},
                     "delivery": {"mode": "notify-later", "at": 2000, "name": "ada"}}"#;
    let with = |first: &str| {
        let mut install = fixture("a", 0, config);
        install.manifest += &tests(first);
        install
    };
    bed.engine.install(with(seven)).await.unwrap();
    let found = bed.refusal(with(eight)).await;
    assert!(found.contains("test 1 failed") && !found.contains("test 2 failed"), "{found}");
}
