//! What the service promises, over tables in memory with a clock that the tests move.

use super::*;
use async_trait::async_trait;
use godwit_domain::waist;
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, Ordering},
};

const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const PASSWORD: &str = "correct horse";
const START: Ms = Ms(1_800_000_000_000);

/// The tables in memory, with a switch that makes every conditional write lose a race.
#[derive(Default)]
struct Memory {
    accounts: Mutex<HashMap<UserId, Account>>,
    logins: Mutex<HashMap<LoginId, Login>>,
    overtaken: AtomicBool,
}

impl Memory {
    fn replace<K: std::hash::Hash + Eq, V: PartialEq + Clone>(
        &self,
        rows: &Mutex<HashMap<K, V>>,
        key: K,
        before: &V,
        after: &V,
    ) -> Written {
        match rows.lock().get_mut(&key) {
            Some(row) if row == before && !self.overtaken.load(Ordering::Relaxed) => {
                *row = after.clone();
                Written::Yes
            }
            _ => Written::No,
        }
    }
}

#[async_trait]
impl Accounts for Memory {
    async fn create_account(&self, account: &Account) -> Result<Written, waist::Error> {
        let mut accounts = self.accounts.lock();
        if self.overtaken.load(Ordering::Relaxed)
            || accounts.values().any(|a| a.user.name == account.user.name)
        {
            return Ok(Written::No);
        }
        accounts.insert(account.user.id, account.clone());
        Ok(Written::Yes)
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, waist::Error> {
        Ok(self.accounts.lock().get(&user).cloned())
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, waist::Error> {
        Ok(self.accounts.lock().values().find(|account| account.user.name == name).cloned())
    }

    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Account>, waist::Error> {
        let accounts = self.accounts.lock();
        Ok(users.iter().filter_map(|user| accounts.get(user).cloned()).collect())
    }

    async fn replace_account(&self, before: &Account, after: &Account) -> Result<Written, waist::Error> {
        Ok(self.replace(&self.accounts, before.user.id, before, after))
    }

    async fn create_login(&self, login: &Login) -> Result<(), waist::Error> {
        self.logins.lock().insert(login.id, login.clone());
        Ok(())
    }

    async fn login(&self, login: LoginId) -> Result<Option<Login>, waist::Error> {
        Ok(self.logins.lock().get(&login).cloned())
    }

    async fn replace_login(&self, before: &Login, after: &Login) -> Result<Written, waist::Error> {
        Ok(self.replace(&self.logins, before.id, before, after))
    }

    async fn drop_login(&self, login: LoginId) -> Result<(), waist::Error> {
        self.logins.lock().remove(&login);
        Ok(())
    }
}

/// A clock that stands until it is moved.
struct Hands(Mutex<Ms>);

impl Clock for Hands {
    fn now(&self) -> Ms {
        *self.0.lock()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Login(LoginId),
    User(UserId),
}

#[derive(Default)]
struct Heard(Mutex<Vec<End>>);

impl Ends for Heard {
    fn login_ended(&self, login: LoginId) {
        self.0.lock().push(End::Login(login));
    }

    fn user_ended(&self, user: UserId) {
        self.0.lock().push(End::User(user));
    }
}

struct House {
    service: Service,
    memory: Arc<Memory>,
    clock: Arc<Hands>,
    heard: Arc<Heard>,
}

impl House {
    fn with(options: Options, logins_per_minute: u32) -> Self {
        let memory = Arc::new(Memory::default());
        let clock = Arc::new(Hands(Mutex::new(START)));
        let heard = Arc::new(Heard::default());
        let options = Options { hash_memory_kib: 8, hash_passes: 1, ..options };
        let key = Key::new(&[7; Key::LEN]);
        let service =
            Service::new(options, logins_per_minute, key, memory.clone(), clock.clone(), heard.clone())
                .unwrap();
        Self { service, memory, clock, heard }
    }

    fn new() -> Self {
        Self::with(Options::default(), 0)
    }

    fn pass(&self, seconds: u64) {
        let mut now = self.clock.0.lock();
        *now = now.plus(seconds * 1000);
    }

    async fn register(&self, name: &str) -> Tokens {
        self.service.register(name, PASSWORD, None, ADDRESS).await.unwrap()
    }

    fn ends(&self) -> Vec<End> {
        std::mem::take(&mut self.heard.0.lock())
    }

    async fn check_dead(&self, token: &str) {
        let refused = self.service.authenticate(token).await.unwrap_err();
        assert_eq!(refused.code, Code::Unauthorised);
    }
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(result: Result<T, Error>, code: Code, field: Option<&str>) {
    let error = result.unwrap_err();
    assert_eq!((error.code, error.field.as_deref()), (code, field), "{error}");
}

#[tokio::test]
async fn who_registered_is_logged_in_and_can_log_in_again() {
    let house = House::new();
    let tokens = house.service.register("ada", PASSWORD, Some(" Ada  L. "), ADDRESS).await.unwrap();
    assert_eq!(tokens.user.name, "ada");
    assert_eq!(tokens.user.display_name.as_deref(), Some("Ada  L."));
    assert_eq!(tokens.user.joined_at, START);
    assert_eq!(tokens.expires_at, START.plus(15 * 60 * 1000));

    let first = house.service.authenticate(&tokens.access_token).await.unwrap();
    assert_eq!(first.user, tokens.user);
    assert_eq!(first.expires_at, None, "a login's socket lives as long as the login");

    let again = house.service.login("ada", PASSWORD, ADDRESS).await.unwrap();
    let second = house.service.authenticate(&again.access_token).await.unwrap();
    assert_eq!(second.user, tokens.user);
    assert_ne!(second.login, first.login);
    assert_eq!(house.service.find("ada").await.unwrap().as_ref(), Some(&*tokens.user));
    assert_eq!(
        house.service.users(&[tokens.user.id, UserId::from_u128(1)]).await.unwrap(),
        [(*tokens.user).clone()]
    );
}

#[tokio::test]
async fn bad_fields_are_named() {
    let house = House::new();
    let long = |len| "x".repeat(len);
    let cases = [
        ("ad", PASSWORD, None, "name"),
        (&*long(33), PASSWORD, None, "name"),
        ("Ada", PASSWORD, None, "name"),
        ("a da", PASSWORD, None, "name"),
        ("ädä", PASSWORD, None, "name"),
        ("ada\0", PASSWORD, None, "name"),
        ("ada", "1234567", None, "password"),
        ("ada", "ééééééé", None, "password"),
        ("ada", &*long(129), None, "password"),
        ("ada", PASSWORD, Some(&*long(101)), "display_name"),
        ("ada", PASSWORD, Some("A\nda"), "display_name"),
    ];
    for (name, password, display_name, field) in cases {
        let result = house.service.register(name, password, display_name, ADDRESS).await;
        check_refused(result, Code::Invalid, Some(field));
        check_refused(
            house.service.create(name, Some(password), display_name).await,
            Code::Invalid,
            Some(field),
        );
    }
    assert!(house.memory.accounts.lock().is_empty());
}

#[tokio::test]
async fn the_longest_and_the_shortest_of_everything_are_taken() {
    let house = House::new();
    let (name, password, display_name) = ("a".repeat(32), "🐦".repeat(128), "é".repeat(100));
    house.service.register(&name, &password, Some(&display_name), ADDRESS).await.unwrap();
    house.service.login(&name, &password, ADDRESS).await.unwrap();
    let tokens = house.service.register("._-", "12345678", Some("  "), ADDRESS).await.unwrap();
    assert_eq!(tokens.user.display_name, None);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let house = House::new();
    house.register("ada").await;
    let again = house.service.register("ada", "another password", None, ADDRESS).await;
    check_refused(again, Code::Conflict, Some("name"));
    check_refused(house.service.create("ada", None, None).await, Code::Conflict, Some("name"));

    house.memory.overtaken.store(true, Ordering::Relaxed);
    let raced = house.service.register("ben", PASSWORD, None, ADDRESS).await;
    check_refused(raced, Code::Conflict, Some("name"));
}

#[tokio::test]
async fn closed_registration_leaves_accounts_to_administrators() {
    let house = House::with(Options { registration: false, ..Options::default() }, 0);
    check_refused(house.service.register("ada", PASSWORD, None, ADDRESS).await, Code::Forbidden, None);
    let ada = house.service.create("ada", Some(PASSWORD), None).await.unwrap();
    assert_eq!(house.service.login("ada", PASSWORD, ADDRESS).await.unwrap().user.id, ada.id);
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_are_told_alike() {
    let house = House::new();
    house.register("ada").await;
    house.service.create("bot", None, None).await.unwrap();
    let cases = [
        ("ada", "wrong horse"),
        ("ben", PASSWORD),
        ("bot", PASSWORD),
        ("ada", "short"),
        ("ben", "short"),
        ("no name", PASSWORD),
        ("ada", &*"x".repeat(129)),
    ];
    let mut answers = Vec::new();
    for (name, password) in cases {
        answers.push(house.service.login(name, password, ADDRESS).await.unwrap_err());
    }
    assert_eq!(answers[0].code, Code::Unauthorised);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
}

#[tokio::test]
async fn attempts_are_counted_whether_they_succeed_or_not_registration_included() {
    let house = House::with(Options::default(), 3);
    house.register("ada").await;
    house.service.login("ada", PASSWORD, ADDRESS).await.unwrap();
    house.service.login("ada", "wrong horse", ADDRESS).await.unwrap_err();
    house.pass(10);
    for result in [
        house.service.login("ada", PASSWORD, ADDRESS).await,
        house.service.register("ben", PASSWORD, None, ADDRESS).await,
    ] {
        let refused = result.unwrap_err();
        assert_eq!((refused.code, refused.retry_after_ms), (Code::RateLimited, Some(50_000)));
    }
    house.pass(50);
    house.service.login("ada", PASSWORD, ADDRESS).await.unwrap();
}

#[tokio::test]
async fn an_access_token_ends_at_its_time() {
    let house = House::with(Options { access_ttl_s: 60, ..Options::default() }, 0);
    let tokens = house.register("ada").await;
    house.pass(59);
    house.service.authenticate(&tokens.access_token).await.unwrap();
    house.pass(1);
    house.check_dead(&tokens.access_token).await;
}

#[tokio::test]
async fn what_is_no_access_token_is_unauthorised() {
    let house = House::new();
    let tokens = house.register("ada").await;
    let foreign = House::new();
    for token in ["", "garbage", &tokens.refresh_token] {
        house.check_dead(token).await;
    }
    foreign.check_dead(&tokens.access_token).await;
}

#[tokio::test]
async fn a_refresh_gives_new_tokens_of_the_same_login() {
    let house = House::with(Options { access_ttl_s: 60, refresh_ttl_s: 600, ..Options::default() }, 0);
    let first = house.register("ada").await;
    let login = house.service.authenticate(&first.access_token).await.unwrap().login.unwrap();
    house.pass(500);
    let second = house.service.refresh(&first.refresh_token).await.unwrap();
    assert_eq!(house.service.authenticate(&second.access_token).await.unwrap().login, Some(login));
    house.pass(500);
    house.service.refresh(&second.refresh_token).await.expect("each refresh lengthens the login");
    assert_eq!(house.service.login_expires_at(login).await.unwrap(), Some(START.plus(1_600_000)));
    assert_eq!(house.ends(), []);
}

#[tokio::test]
async fn a_refresh_token_used_twice_ends_its_login_and_no_other() {
    let house = House::new();
    let first = house.register("ada").await;
    let other = house.service.login("ada", PASSWORD, ADDRESS).await.unwrap();
    let login = house.service.authenticate(&first.access_token).await.unwrap().login.unwrap();
    let second = house.service.refresh(&first.refresh_token).await.unwrap();

    check_refused(house.service.refresh(&first.refresh_token).await, Code::Unauthorised, None);
    assert_eq!(house.ends(), [End::Login(login)]);
    house.check_dead(&first.access_token).await;
    house.check_dead(&second.access_token).await;
    check_refused(house.service.refresh(&second.refresh_token).await, Code::Unauthorised, None);
    assert_eq!(house.service.login_expires_at(login).await.unwrap(), None);
    house.service.authenticate(&other.access_token).await.unwrap();
}

#[tokio::test]
async fn of_two_refreshes_at_once_the_slower_ends_the_login() {
    let house = House::new();
    let tokens = house.register("ada").await;
    house.memory.overtaken.store(true, Ordering::Relaxed);
    check_refused(house.service.refresh(&tokens.refresh_token).await, Code::Unauthorised, None);
    assert!(matches!(house.ends()[..], [End::Login(_)]));
    house.check_dead(&tokens.access_token).await;
}

#[tokio::test]
async fn what_is_no_refresh_token_refreshes_nothing_and_ends_nothing() {
    let house = House::with(Options { refresh_ttl_s: 600, ..Options::default() }, 0);
    let tokens = house.register("ada").await;
    for token in ["garbage", &tokens.access_token] {
        check_refused(house.service.refresh(token).await, Code::Unauthorised, None);
    }
    house.service.authenticate(&tokens.access_token).await.unwrap();
    house.pass(600);
    check_refused(house.service.refresh(&tokens.refresh_token).await, Code::Unauthorised, None);
    assert_eq!(house.ends(), []);
}

#[tokio::test]
async fn logout_ends_the_login_with_its_tokens() {
    let house = House::new();
    let tokens = house.register("ada").await;
    let login = house.service.authenticate(&tokens.access_token).await.unwrap().login.unwrap();
    house.service.logout(&tokens.access_token).await.unwrap();
    assert_eq!(house.ends(), [End::Login(login)]);
    house.check_dead(&tokens.access_token).await;
    check_refused(house.service.refresh(&tokens.refresh_token).await, Code::Unauthorised, None);
    check_refused(house.service.logout(&tokens.access_token).await, Code::Unauthorised, None);
}

#[tokio::test]
async fn a_minted_token_has_an_end_and_no_login() {
    let house = House::new();
    let ada = house.service.create("ada", None, None).await.unwrap();
    let minted = house.service.mint(ada.id, 60).await.unwrap();
    assert_eq!(minted.expires_at, START.plus(60_000));
    let principal = house.service.authenticate(&minted.access_token).await.unwrap();
    assert_eq!(
        principal,
        Principal { user: Arc::new(ada), login: None, expires_at: Some(minted.expires_at) }
    );
    check_refused(house.service.logout(&minted.access_token).await, Code::Invalid, None);
    check_refused(house.service.refresh(&minted.access_token).await, Code::Unauthorised, None);
    house.pass(60);
    house.check_dead(&minted.access_token).await;
}

#[tokio::test]
async fn minting_has_bounds() {
    let house = House::new();
    let ada = house.service.create("ada", None, None).await.unwrap().id;
    for ttl_s in [0, 59, 86_401, u64::MAX] {
        check_refused(house.service.mint(ada, ttl_s).await, Code::Invalid, Some("ttl_s"));
    }
    house.service.mint(ada, 86_400).await.unwrap();
    check_refused(house.service.mint(UserId::from_u128(1), 60).await, Code::NotFound, None);
}

#[tokio::test]
async fn a_new_password_ends_all_tokens_and_replaces_the_old_one() {
    let house = House::new();
    let tokens = house.register("ada").await;
    let ada = tokens.user.id;
    let minted = house.service.mint(ada, 600).await.unwrap();
    check_refused(house.service.set_password(ada, "short").await, Code::Invalid, Some("password"));
    check_refused(house.service.set_password(UserId::from_u128(1), PASSWORD).await, Code::NotFound, None);
    assert_eq!(house.ends(), []);

    house.service.set_password(ada, "battery staple").await.unwrap();
    assert_eq!(house.ends(), [End::User(ada)]);
    house.check_dead(&tokens.access_token).await;
    house.check_dead(&minted.access_token).await;
    check_refused(house.service.refresh(&tokens.refresh_token).await, Code::Unauthorised, None);
    check_refused(house.service.login("ada", PASSWORD, ADDRESS).await, Code::Unauthorised, None);
    house.service.login("ada", "battery staple", ADDRESS).await.unwrap();
}

#[tokio::test]
async fn a_disabled_user_is_refused_everywhere_until_enabled() {
    let house = House::new();
    let tokens = house.register("ada").await;
    let ada = tokens.user.id;
    house.service.set_disabled(ada, true).await.unwrap();
    assert_eq!(house.ends(), [End::User(ada)]);
    house.check_dead(&tokens.access_token).await;
    check_refused(house.service.login("ada", PASSWORD, ADDRESS).await, Code::Forbidden, None);
    check_refused(house.service.login("ada", "wrong horse", ADDRESS).await, Code::Unauthorised, None);
    check_refused(house.service.refresh(&tokens.refresh_token).await, Code::Forbidden, None);
    check_refused(house.service.mint(ada, 600).await, Code::Forbidden, None);

    house.service.set_disabled(ada, true).await.unwrap();
    assert_eq!(house.ends(), [], "it was so already");
    house.service.set_disabled(ada, false).await.unwrap();
    house.check_dead(&tokens.access_token).await;
    house.service.login("ada", PASSWORD, ADDRESS).await.unwrap();
    check_refused(house.service.set_disabled(UserId::from_u128(1), true).await, Code::NotFound, None);
}

#[tokio::test]
async fn an_account_that_others_keep_changing_is_given_up_in_the_end() {
    let house = House::new();
    let ada = house.register("ada").await.user.id;
    house.memory.overtaken.store(true, Ordering::Relaxed);
    check_refused(house.service.set_disabled(ada, true).await, Code::Unavailable, None);
    assert_eq!(house.ends(), []);
}

#[test]
fn settings_under_which_nothing_works_are_refused_by_name() {
    let zero = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        options.check().unwrap_err().to_string()
    };
    assert_eq!(zero(|options| options.access_ttl_s = 0), "auth.access_ttl_s is 0, it must be at least 1");
    assert_eq!(zero(|options| options.refresh_ttl_s = 0), "auth.refresh_ttl_s is 0, it must be at least 1");
    assert_eq!(
        zero(|options| options.hashes_at_once_max = 0),
        "auth.hashes_at_once_max is 0, it must be at least 1"
    );
}
