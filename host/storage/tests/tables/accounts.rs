//! Accounts, names and logins.

use crate::common::{House, Lying, NOW, Stopping, user};
use godwit_domain::{
    id::LoginId,
    tables::{Accounts, Written},
    time::Ms,
    user::{Account, Login, Privacy, User},
    waist::Error,
};

fn account(number: u128, name: &str) -> Account {
    let user = User {
        id: user(number),
        name: name.into(),
        display_name: Some("Ada L.".into()),
        bot: false,
        time_zone: Some("Europe/London".into()),
        joined_at: NOW,
        avatar: None,
        privacy: Privacy::default(),
    };
    Account { user, password_hash: Some("$argon2id$".into()), disabled: false, token_version: 1 }
}

fn login(number: u128, expires_at: Ms) -> Login {
    Login { id: LoginId::from_u128(number), user: user(1), refreshes: 0, since: NOW, expires_at }
}

#[tokio::test]
async fn an_account_is_found_by_id_and_by_name() {
    let house = House::new();
    let (ada, ben) = (account(1, "ada"), account(2, "ben"));
    for account in [&ada, &ben] {
        assert_eq!(house.tables.create_account(account).await, Ok(Written::Yes));
        assert_eq!(house.tables.account(account.user.id).await, Ok(Some(account.clone())));
        assert_eq!(house.tables.account_by_name(&account.user.name).await, Ok(Some(account.clone())));
    }
    assert_eq!(house.tables.account(user(3)).await, Ok(None));
    assert_eq!(house.tables.account_by_name("ad").await, Ok(None));
    let found = house.tables.accounts(&[user(2), user(3), user(1)]).await;
    assert_eq!(found, Ok(vec![ben, ada]));
}

#[tokio::test]
async fn a_taken_name_is_refused_and_leaves_no_account() {
    let house = House::new();
    assert_eq!(house.tables.create_account(&account(1, "ada")).await, Ok(Written::Yes));
    house.clock.advance(1_000_000_000);
    assert_eq!(house.tables.create_account(&account(2, "ada")).await, Ok(Written::No));
    assert_eq!(house.tables.account(user(2)).await, Ok(None));
    assert_eq!(house.tables.account_by_name("ada").await.unwrap().unwrap().user.id, user(1));
}

#[tokio::test]
async fn of_many_who_want_a_name_at_once_one_gets_it() {
    let house = House::new();
    let tasks: Vec<_> = (1..=8)
        .map(|number| {
            let tables = house.tables.clone();
            tokio::spawn(async move { tables.create_account(&account(number, "ada")).await.unwrap() })
        })
        .collect();
    let mut written = Vec::new();
    for task in tasks {
        written.push(task.await.unwrap());
    }
    let winners: Vec<_> = (1..=8).zip(&written).filter(|(_, written)| **written == Written::Yes).collect();
    let [(winner, _)] = winners[..] else { panic!("{written:?}") };
    assert_eq!(house.tables.account_by_name("ada").await.unwrap().unwrap().user.id, user(winner));
    for number in (1..=8).filter(|number| *number != winner) {
        assert_eq!(house.tables.account(user(number)).await, Ok(None), "{number}");
    }
}

/// The story: the host is killed between the claim on the name and the end of the registration. Nobody was answered;
/// the name must be free again soon, and not before the first registration can be taken for dead.
#[tokio::test]
async fn a_claim_that_a_crash_left_is_taken_over_after_a_while() {
    for cut in 0..3 {
        let house = House::new();
        let dying = house.by_way_of(Stopping::after(cut, house.store.clone()));
        assert!(dying.create_account(&account(1, "ada")).await.is_err(), "cut at {cut}");
        assert_eq!(house.tables.account_by_name("ada").await, Ok(None), "nobody was answered at {cut}");
        let second = house.tables.create_account(&account(2, "ada")).await;
        assert_eq!(second, Ok(if cut == 0 { Written::Yes } else { Written::No }), "cut at {cut}");
        house.clock.advance(60_000);
        let third = house.tables.create_account(&account(3, "ada")).await;
        assert_eq!(third, Ok(if cut == 0 { Written::No } else { Written::Yes }), "cut at {cut}");
        assert_eq!(house.tables.account(user(1)).await, Ok(None), "nothing is left of the first at {cut}");
    }
}

#[tokio::test]
async fn an_interrupted_registration_may_be_repeated_at_once_by_itself() {
    for cut in 0..3 {
        let house = House::new();
        let dying = house.by_way_of(Stopping::after(cut, house.store.clone()));
        assert!(dying.create_account(&account(1, "ada")).await.is_err(), "cut at {cut}");
        assert_eq!(house.tables.create_account(&account(1, "ada")).await, Ok(Written::Yes), "cut at {cut}");
        assert_eq!(house.tables.account_by_name("ada").await, Ok(Some(account(1, "ada"))), "cut at {cut}");
    }
}

#[tokio::test]
async fn an_account_is_replaced_only_as_it_was_known() {
    let house = House::new();
    let before = account(1, "ada");
    let _ = house.tables.create_account(&before).await.unwrap();
    let after = Account { disabled: true, token_version: 2, ..before.clone() };
    assert_eq!(house.tables.replace_account(&before, &after).await, Ok(Written::Yes));
    assert_eq!(house.tables.replace_account(&before, &after).await, Ok(Written::No));
    assert_eq!(house.tables.account(user(1)).await, Ok(Some(after.clone())));
    let missing = account(2, "ben");
    assert_eq!(house.tables.replace_account(&missing, &missing).await, Ok(Written::No));
    let renamed = account(1, "eve");
    assert!(matches!(house.tables.replace_account(&after, &renamed).await, Err(Error::Invalid(_))));
}

#[tokio::test]
async fn a_login_ends_by_itself_and_a_refresh_prolongs_it() {
    let house = House::new();
    let (short, long) = (login(1, NOW.plus(10)), login(2, NOW.plus(10)));
    for login in [&short, &long] {
        house.tables.create_login(login).await.unwrap();
        assert_eq!(house.tables.login(login.id).await, Ok(Some(login.clone())));
    }
    let refreshed = Login { refreshes: 1, expires_at: NOW.plus(20), ..long.clone() };
    assert_eq!(house.tables.replace_login(&long, &refreshed).await, Ok(Written::Yes));
    assert_eq!(house.tables.replace_login(&long, &refreshed).await, Ok(Written::No), "it was used before");
    house.clock.advance(10);
    assert_eq!(house.tables.login(short.id).await, Ok(None));
    assert_eq!(house.tables.replace_login(&short, &short).await, Ok(Written::No));
    assert_eq!(house.tables.login(long.id).await, Ok(Some(refreshed)));
    house.clock.advance(10);
    assert_eq!(house.tables.login(long.id).await, Ok(None));
}

#[tokio::test]
async fn a_login_is_dropped_and_may_be_dropped_again() {
    let house = House::new();
    let login = login(1, NOW.plus(10));
    house.tables.create_login(&login).await.unwrap();
    for _ in 0..2 {
        assert_eq!(house.tables.drop_login(login.id).await, Ok(()));
        assert_eq!(house.tables.login(login.id).await, Ok(None));
    }
}

#[tokio::test]
async fn a_changed_account_or_login_is_corrupt() {
    let house = House::new();
    let _ = house.tables.create_account(&account(1, "ada")).await.unwrap();
    house.tables.create_login(&login(1, NOW.plus(10))).await.unwrap();
    let tables = house.by_way_of(Lying::over(house.store.clone(), true));
    let errors = [
        ("an account", tables.account(user(1)).await.err()),
        ("an account", tables.accounts(&[user(1)]).await.err()),
        ("a claim", tables.account_by_name("ada").await.err()),
        ("a login", tables.login(LoginId::from_u128(1)).await.err()),
    ];
    for (what, error) in errors {
        let Some(Error::Corrupt(text)) = error else { panic!("{what} gave {error:?}") };
        assert!(text.starts_with(what), "{text} is not about {what}");
    }
}
