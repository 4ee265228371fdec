//! Storage: typed tables over the waist, and the backend that keeps the waist's rows in one redb file.
//!
//! It owns how records look on disk ([`tables`], described in `FORMAT.md`) and how they get there ([`redb`]).
//! It refuses to know who asks: no sessions, no shards, no wire format; time is passed in.
//!
//! Start with [`tables::Tables`], which says what is stored where, then [`redb::Backend`], which makes it durable.
//! Neither knows the other: they meet at [`godwit_domain::waist::Store`].
//!
//! ```
//! use godwit_domain::{id::UserId, tables::Accounts, time::{Clock, Ms}, user::{Account, Privacy, User}};
//! use godwit_storage::{redb::{Backend, Metrics, Options}, tables::Tables};
//! use std::sync::Arc;
//!
//! struct Noon;
//! impl Clock for Noon {
//!     fn now(&self) -> Ms {
//!         Ms(1_800_000_000_000)
//!     }
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let folder = tempfile::tempdir().unwrap();
//! let clock = Arc::new(Noon);
//! let store = Backend::open(folder.path(), &Options::default(), clock.clone(), Metrics::default()).unwrap();
//! let tables = Tables::new(store.clone(), clock);
//!
//! let user = User {
//!     id: UserId::from_u128(1),
//!     name: "ada".into(),
//!     display_name: None,
//!     bot: false,
//!     time_zone: None,
//!     joined_at: Ms(0),
//!     avatar: None,
//!     privacy: Privacy::default(),
//! };
//! let ada = Account { user, password_hash: None, disabled: false, token_version: 0 };
//! let _ = tables.create_account(&ada).await.unwrap();
//! assert_eq!(tables.account_by_name("ada").await.unwrap(), Some(ada));
//! store.close().await.unwrap();
//! # });
//! ```

pub mod redb;
pub mod tables;
