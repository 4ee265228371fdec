//! The roster of plugins, compositions and components.

use crate::common::{House, Lying, NOW, Stopping};
use godwit_domain::{
    filter::Hook,
    id::Generation,
    kept::Secrets,
    plugin::{Digest, Installation, OnFailure, OnOpen, Poisoned, Release, Roster},
    tables::{Plugins, Written},
    waist::Error,
};

fn roster(generation: u64, ids: &[&str]) -> Roster {
    let release = |id: &str| Release {
        version: "1.2.0".into(),
        digest: Digest([7; 32]),
        manifest: format!("id = {id:?}"),
        config: r#"{"words": ["sea"]}"#.into(),
        grants: vec!["kv".into()],
        hooks: vec![Hook::Normalise, Hook::Moderation],
        actor: Some(crate::golden::served()),
        priority: -3,
        on_failure: OnFailure::Reject,
        on_open: OnOpen::Allow,
        asks: vec!["kv".into(), "send".into()],
        imports: vec!["godwit:plugin/kv@0.1.0".into()],
        installed_at: NOW,
    };
    let installation = |id: &&str| Installation {
        previous: Some(Release { version: "1.1.0".into(), ..release(id) }),
        ..Installation::new((*id).into(), release(id))
    };
    Roster { generation: Generation(generation), plugins: ids.iter().map(installation).collect() }
}

fn component(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index / 7 % 251) as u8).collect()
}

#[tokio::test]
async fn the_roster_is_replaced_only_from_the_generation_that_stands() {
    let house = House::new();
    assert_eq!(house.tables.roster().await, Ok(Roster::default()));
    let (one, two) = (roster(1, &["wordfilter"]), roster(2, &["wordfilter", "slowmode"]));
    assert_eq!(house.tables.replace_roster(Generation(1), &two).await, Ok(Written::No));
    assert_eq!(house.tables.replace_roster(Generation::ZERO, &one).await, Ok(Written::Yes));
    assert_eq!(house.tables.replace_roster(Generation::ZERO, &two).await, Ok(Written::No));
    assert_eq!(house.tables.roster().await, Ok(one.clone()));
    assert_eq!(house.tables.replace_roster(Generation(1), &two).await, Ok(Written::Yes));
    assert_eq!(house.tables.roster().await, Ok(two.clone()));
    // What decided about older messages can still be told.
    assert_eq!(house.tables.composition(Generation(1)).await, Ok(Some(one.composition())));
    assert_eq!(house.tables.composition(Generation(2)).await, Ok(Some(two.composition())));
    assert_eq!(house.tables.composition(Generation(3)).await, Ok(None));
}

#[tokio::test]
async fn a_component_of_any_size_is_read_back() {
    let house = House::new();
    for (index, length) in [0, 1, 512 << 10, (512 << 10) + 1, 5 << 20].into_iter().enumerate() {
        let (digest, component) = (Digest([index as u8; 32]), component(length));
        for _ in 0..2 {
            house.tables.put_component(digest, &component).await.unwrap();
        }
        let found = house.tables.component(digest).await.unwrap();
        assert!(found.as_ref() == Some(&component), "a component of {length} bytes differs");
    }
    assert_eq!(house.tables.component(Digest([99; 32])).await, Ok(None));
}

#[tokio::test]
async fn a_dropped_component_is_gone_and_the_others_are_not() {
    let house = House::new();
    let (one, two) = (Digest([1; 32]), Digest([2; 32]));
    for digest in [one, two] {
        house.tables.put_component(digest, &component(3 << 20)).await.unwrap();
    }
    for _ in 0..2 {
        house.tables.drop_component(one).await.unwrap();
        assert_eq!(house.tables.component(one).await, Ok(None));
    }
    assert!(house.tables.component(two).await.unwrap().is_some());
}

/// The story: the host is killed while a component is stored. It is none until its last row is there.
#[tokio::test]
async fn a_component_that_was_cut_is_none_and_may_be_stored_or_dropped_again() {
    let house = House::new();
    let (digest, bytes) = (Digest([1; 32]), component(2 << 20));
    for cut in 0..5 {
        let dying = house.by_way_of(Stopping::after(cut, house.store.clone()));
        assert!(dying.put_component(digest, &bytes).await.is_err(), "cut at {cut}");
        assert_eq!(house.tables.component(digest).await, Ok(None), "cut at {cut}");
        house.tables.drop_component(digest).await.unwrap();
    }
    house.tables.put_component(digest, &bytes).await.unwrap();
    assert!(house.tables.component(digest).await.unwrap() == Some(bytes));
}

#[tokio::test]
async fn a_changed_roster_or_component_is_corrupt() {
    let house = House::new();
    let digest = Digest([1; 32]);
    let _ = house.tables.replace_roster(Generation::ZERO, &roster(1, &["wordfilter"])).await.unwrap();
    house.tables.put_component(digest, &component(10)).await.unwrap();
    let tables = house.by_way_of(Lying::over(house.store.clone(), true));
    let errors = [
        ("the roster", tables.roster().await.err()),
        ("a composition", tables.composition(Generation(1)).await.err()),
        ("a component", tables.component(digest).await.err()),
    ];
    for (what, error) in errors {
        let Some(Error::Corrupt(text)) = error else { panic!("{what} gave {error:?}") };
        assert!(text.starts_with(what), "{text} is not about {what}");
    }
}

#[tokio::test]
async fn uploads_are_listed_until_they_are_forgotten() {
    let house = House::new();
    let tables = &house.tables;
    assert_eq!(tables.uploads().await, Ok(vec![]));
    for digest in [2, 1, 2] {
        tables.put_upload(Digest([digest; 32]), u64::from(digest), NOW).await.unwrap();
    }
    let (one, two) = ((Digest([1; 32]), 1, NOW), (Digest([2; 32]), 2, NOW));
    assert_eq!(tables.uploads().await, Ok(vec![one, two]));
    for _ in 0..2 {
        tables.drop_upload(Digest([1; 32])).await.unwrap();
    }
    assert_eq!(tables.uploads().await, Ok(vec![two]));
}

#[tokio::test]
async fn what_a_plugin_is_not_shown_is_its_own_and_ends_in_time() {
    let house = House::new();
    let tables = &house.tables;
    let poisoned = |hash: u32, until| Poisoned {
        hash: format!("{hash:064x}"),
        hook: "moderation".into(),
        version: "1".into(),
        how: "trap".into(),
        at: NOW,
        until,
    };
    // More than one page of them.
    let all: Vec<_> = (0..501).map(|hash| poisoned(hash, NOW.plus(60_000))).collect();
    for poisoned in &all {
        tables.put_poisoned("a", poisoned).await.unwrap();
    }
    tables.put_poisoned("b", &poisoned(7, NOW.plus(1))).await.unwrap();
    assert_eq!(tables.poisoned("a").await, Ok(all.clone()));
    assert_eq!(tables.poisoned("b").await.unwrap().len(), 1);
    house.clock.advance(2);
    assert_eq!(tables.poisoned("b").await, Ok(vec![]), "its time is over");
    let hashes: Vec<_> = all.into_iter().map(|poisoned| poisoned.hash).collect();
    tables.drop_poisoned("a", &hashes).await.unwrap();
    assert_eq!(tables.poisoned("a").await, Ok(vec![]));
}

#[tokio::test]
async fn secrets_are_set_replaced_listed_and_forgotten_for_each_plugin_apart() {
    let house = House::new();
    let tables = &house.tables;
    assert_eq!(tables.secret("a", "token").await, Ok(None));
    tables.put_secret("a", "token", "one").await.unwrap();
    tables.put_secret("a", "token", "two").await.unwrap();
    tables.put_secret("a", "key", "three").await.unwrap();
    tables.put_secret("as", "token", "other").await.unwrap();
    assert_eq!(tables.secret("a", "token").await, Ok(Some("two".into())));
    assert_eq!(tables.secret("as", "token").await, Ok(Some("other".into())));
    assert_eq!(tables.secret_names("a").await, Ok(vec!["key".into(), "token".into()]));
    assert_eq!(tables.drop_secret("a", "token").await, Ok(true));
    assert_eq!(tables.drop_secret("a", "token").await, Ok(false));
    assert_eq!(tables.secret_names("a").await, Ok(vec!["key".into()]));
    assert_eq!(tables.secret_names("as").await, Ok(vec!["token".into()]));
    // More than one page of names, which the engine never lets be.
    for n in 0..600 {
        tables.put_secret("many", &format!("n{n:03}"), "x").await.unwrap();
    }
    assert_eq!(tables.secret_names("many").await.map(|names| names.len()), Ok(600));
}
