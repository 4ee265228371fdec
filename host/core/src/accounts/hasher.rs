//! Password hashing in a bounded place of its own.
//!
//! It owns argon2id and the two bounds around it: so many hashes at once, so many waiting for their turn.
//! It refuses to know whose passwords they are. Hashes run on the blocking pool, never on a worker that moves messages.

use super::options::{Misconfigured, Options};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use godwit_protocol::error::{Code, Error};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Of a caller who finds the queue full: about the time in which a full queue empties.
const RETRY_AFTER_MS: u64 = 2_000;

#[derive(Debug)]
pub(super) struct Hasher {
    argon: Argon2<'static>,
    /// One permit per hash, running or waiting.
    places: Arc<Semaphore>,
    /// One permit per hash that runs.
    slots: Arc<Semaphore>,
    /// What a password is compared with where there is no account: it costs the same, and fits none.
    decoy: Arc<str>,
}

impl Hasher {
    /// Hashes once, to make the decoy.
    pub fn new(options: &Options) -> Result<Self, Misconfigured> {
        let (memory_kib, passes) = (options.hash_memory_kib, options.hash_passes);
        let params = Params::new(memory_kib, passes, 1, None).map_err(|source| Misconfigured::Cost {
            memory_kib,
            passes,
            source,
        })?;
        let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut nobody = [0; 32];
        getrandom::fill(&mut nobody)
            .map_err(|_| Misconfigured::Hashing(argon2::password_hash::Error::RngFailure))?;
        let decoy = argon.hash_password(&nobody).map_err(Misconfigured::Hashing)?.to_string().into();
        let places = options.hashes_at_once_max.saturating_add(options.hashes_waiting_max);
        Ok(Self {
            argon,
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            slots: Arc::new(Semaphore::new(options.hashes_at_once_max.min(Semaphore::MAX_PERMITS))),
            decoy,
        })
    }

    /// The hash of a password, in PHC string format.
    pub async fn hash(&self, password: &str) -> Result<String, Error> {
        let password = password.to_owned();
        let hash = self
            .run(move |argon| argon.hash_password(password.as_bytes()).map(|hash| hash.to_string()))
            .await?;
        hash.map_err(|error| {
            tracing::error!(%error, "a password could not be hashed");
            Error::new(Code::Internal, "the password could not be hashed")
        })
    }

    /// Whether the password is the one of the hash; without a hash it is not, found out in the same time.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool, Error> {
        let password = password.to_owned();
        let hash = hash.map_or_else(|| self.decoy.clone(), Arc::from);
        self.run(move |argon| match PasswordHash::new(&hash) {
            Ok(hash) => argon.verify_password(password.as_bytes(), &hash).is_ok(),
            Err(error) => {
                tracing::error!(%error, "a stored password hash cannot be read");
                false
            }
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let full = || {
            Error::new(Code::Unavailable, "too many passwords are being checked; try again")
                .retry_after_ms(RETRY_AFTER_MS)
        };
        let place = self.places.clone().try_acquire_owned().map_err(|_| full())?;
        let slot = self.slots.clone().acquire_owned().await.map_err(|_| full())?;
        let argon = self.argon.clone();
        // The permits go with the work: a caller who hangs up leaves its hash running, and that still counts.
        let work = tokio::task::spawn_blocking(move || {
            let result = work(&argon);
            drop((slot, place));
            result
        });
        work.await.map_err(|error| {
            tracing::error!(%error, "hashing a password failed");
            Error::new(Code::Internal, "the password could not be checked")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cheap() -> Options {
        Options { hash_memory_kib: 8, hash_passes: 1, ..Options::default() }
    }

    #[tokio::test]
    async fn a_hash_fits_its_own_password_alone() {
        let hasher = Hasher::new(&cheap()).unwrap();
        let hash = hasher.hash("correct horse").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{hash}");
        assert_ne!(hash, hasher.hash("correct horse").await.unwrap(), "salted");
        assert!(hasher.verify("correct horse", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("correct house", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("correct horse", None).await.unwrap());
        assert!(!hasher.verify("correct horse", Some("no hash")).await.unwrap());
    }

    #[tokio::test]
    async fn a_hash_of_another_cost_is_still_read() {
        let old = Hasher::new(&cheap()).unwrap().hash("correct horse").await.unwrap();
        let dearer = Hasher::new(&Options { hash_memory_kib: 64, ..cheap() }).unwrap();
        assert!(dearer.verify("correct horse", Some(&old)).await.unwrap());
    }

    #[tokio::test]
    async fn who_finds_the_queue_full_is_asked_to_try_again() {
        let hasher =
            Hasher::new(&Options { hashes_at_once_max: 1, hashes_waiting_max: 1, ..cheap() }).unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let mut running = Box::pin(hasher.run(move |_| released.recv().unwrap()));
        let mut waiting = Box::pin(hasher.run(|_| ()));
        assert!(futures_util::poll!(&mut running).is_pending());
        assert!(futures_util::poll!(&mut waiting).is_pending());

        let refused = hasher.run(|_| ()).await.unwrap_err();
        assert_eq!(refused.code, Code::Unavailable);
        assert_eq!(refused.retry_after_ms, Some(RETRY_AFTER_MS));

        release.send(()).unwrap();
        running.await.unwrap();
        waiting.await.unwrap();
        hasher.run(|_| ()).await.unwrap();
    }

    #[tokio::test]
    async fn a_caller_who_hangs_up_does_not_free_the_slot_of_its_running_hash() {
        let hasher =
            Hasher::new(&Options { hashes_at_once_max: 1, hashes_waiting_max: 0, ..cheap() }).unwrap();
        let (release, released) = std::sync::mpsc::channel::<()>();
        let mut running = Box::pin(hasher.run(move |_| released.recv().unwrap()));
        assert!(futures_util::poll!(&mut running).is_pending());
        drop(running);
        assert_eq!(hasher.run(|_| ()).await.unwrap_err().code, Code::Unavailable);

        release.send(()).unwrap();
        let _free = hasher.places.acquire().await.unwrap();
    }

    #[test]
    fn a_cost_that_argon2_does_not_know_is_refused() {
        let refused = Hasher::new(&Options { hash_memory_kib: 7, ..cheap() }).unwrap_err();
        assert!(matches!(refused, Misconfigured::Cost { memory_kib: 7, passes: 1, .. }), "{refused}");
    }
}
