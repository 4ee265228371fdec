//! Tokens, as they come from anyone.
//!
//! Promises: a token that this host made lets in its user; any other text is `unauthorised`, also where what it says
//! was changed and signed under another key, or under the right one with a layout that does not exist.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use godwit_conformance::TestClock;
use godwit_core::{
    accounts::{self, Key, Service},
    registry::Registry,
};
use godwit_domain::{id::UserId, time::Ms};
use godwit_fuzz::Target;
use godwit_protocol::error::Code;
use godwit_storage::{
    redb::{Backend, Metrics, Options},
    tables::Tables,
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::{net::Ipv4Addr, sync::Arc};
use tokio::runtime::Runtime;

const NOW: Ms = Ms(1_800_000_000_000);
const KEY: [u8; Key::LEN] = [7; Key::LEN];
/// What is signed, in bytes.
const PAYLOAD: usize = 50;

pub struct Tokens {
    runtime: Runtime,
    accounts: Service,
    made: Vec<(String, UserId)>,
    /// Of no use for requests, and yet a valid one to change.
    refresh: String,
    _folder: tempfile::TempDir,
}

impl Tokens {
    pub fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::at(NOW));
        let store =
            Backend::open(folder.path(), &Options::default(), clock.clone(), Metrics::default()).unwrap();
        let tables = Arc::new(Tables::new(store, clock.clone()));
        let options =
            accounts::Options { hash_memory_kib: 8, hash_passes: 1, ..accounts::Options::default() };
        let registry = Arc::<Registry>::default();
        let accounts = Service::new(options, 0, Key::new(&KEY), tables, clock, registry).unwrap();
        let (made, refresh) = runtime.block_on(async {
            let ada = accounts.create("ada", Some("correct horse"), None).await.unwrap().id;
            let ben = accounts.create("ben", None, None).await.unwrap().id;
            let login = accounts.login("ada", "correct horse", Ipv4Addr::LOCALHOST.into()).await.unwrap();
            let minted = accounts.mint(ben, 3_600).await.unwrap().access_token;
            (vec![(login.access_token, ada), (minted, ben)], login.refresh_token)
        });
        Self { runtime, accounts, made, refresh, _folder: folder }
    }

    fn user(&self, token: &str) -> Option<UserId> {
        match self.runtime.block_on(self.accounts.authenticate(token)) {
            Ok(principal) => Some(principal.user.id),
            Err(error) => {
                assert_eq!(error.code, Code::Unauthorised, "{error:?}");
                None
            }
        }
    }
}

fn sign(key: &[u8], payload: &[u8]) -> String {
    let tag = Hmac::<Sha256>::new_from_slice(key).unwrap().chain_update(payload).finalize().into_bytes();
    BASE64_URL_SAFE_NO_PAD.encode([payload, &tag[..]].concat())
}

impl Target for Tokens {
    const NAME: &'static str = "tokens";

    fn valid(&self) -> Vec<Vec<u8>> {
        let texts = self.made.iter().map(|(token, _)| token).chain([&self.refresh]);
        texts.map(|token| token.clone().into_bytes()).collect()
    }

    fn check(&self, input: &[u8]) {
        let Ok(text) = std::str::from_utf8(input) else { return };
        let made = self.made.iter().find(|(token, _)| token == text).map(|(_, user)| *user);
        assert_eq!(self.user(text), made, "only what was made lets in");
        let Ok(bytes) = BASE64_URL_SAFE_NO_PAD.decode(text) else { return };
        let Some(payload) = bytes.get(..PAYLOAD) else { return };
        assert_eq!(self.user(&sign(&[8; Key::LEN], payload)), None, "another key signed it");
        // Whoever has the key can be anyone, but only someone who exists, in a layout that does.
        if let Some(user) = self.user(&sign(&KEY, payload)) {
            assert!(self.made.iter().any(|(_, made)| *made == user));
        }
    }
}
