//! Compiled components on disk: each file sealed by a key that never leaves the data folder.
//!
//! A file is named by component and engine, and is its seal (HMAC-SHA-256 over name and artefact) followed by the
//! artefact. What does not carry the right seal does not exist: it is compiled again.

use crate::faults::{self, Fault};
use godwit_domain::plugin::Digest;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};
use std::{
    fs,
    hash::{Hash, Hasher},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use wasmtime::Engine;

const SEAL_BYTES: usize = 32;
const EXTENSION: &str = "cwasm";

/// The folder of compiled components.
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; 32],
    engine: String,
    bytes_max: u64,
}

impl Cache {
    /// Opens the folder, making it and its key (readable by the owner only) on first use.
    pub(crate) fn open(folder: &Path, engine: &Engine, bytes_max: u64) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let engine = hex(&hasher.0.finalize()[..8]);
        Ok(Self { folder: folder.to_owned(), key: key(&folder.join("key"))?, engine, bytes_max })
    }

    /// The artefact of that component, if one with a right seal is kept.
    pub(crate) fn get(&self, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = match fs::read(self.path(digest)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if bytes.len() < SEAL_BYTES {
            tracing::warn!(%digest, "cached artefact is cut short, compiling again");
            return Ok(None);
        }
        let artefact = bytes.split_off(SEAL_BYTES);
        let wrong = self.seal(digest, &artefact).verify_slice(&bytes).is_err();
        if wrong && !faults::on(Fault::CacheUnverified) {
            tracing::warn!(%digest, "cached artefact has a wrong seal, compiling again");
            return Ok(None);
        }
        Ok(Some(artefact))
    }

    /// Keeps an artefact: it is there whole or not at all, whenever the power fails.
    pub(crate) fn put(&self, digest: Digest, artefact: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(&self.seal(digest, artefact).finalize().into_bytes())?;
        file.write_all(artefact)?;
        file.as_file().sync_all()?;
        file.persist(self.path(digest)).map_err(|error| error.error)?;
        fs::File::open(&self.folder)?.sync_all()?;
        self.shrink(&self.path(digest))
    }

    /// Removes the files that were written longest ago until the rest fits; `newest` stays in any case.
    fn shrink(&self, newest: &Path) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION) && path != newest {
                let meta = fs::metadata(&path)?;
                files.push((meta.modified()?, meta.len(), path));
            }
        }
        files.sort();
        let mut total = fs::metadata(newest)?.len() + files.iter().map(|(_, bytes, _)| bytes).sum::<u64>();
        for (_, bytes, path) in files {
            if total <= self.bytes_max {
                break;
            }
            fs::remove_file(path)?;
            total -= bytes;
        }
        Ok(())
    }

    fn path(&self, digest: Digest) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{EXTENSION}", self.engine))
    }

    fn seal(&self, digest: Digest, artefact: &[u8]) -> Hmac<Sha256> {
        let mut seal = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        seal.update(&digest.0);
        seal.update(self.engine.as_bytes());
        seal.update(artefact);
        seal
    }
}

/// Reads the key, or makes it: whole or not at all, like an artefact.
fn key(path: &Path) -> io::Result<[u8; 32]> {
    let mut key = [0; 32];
    match fs::File::open(path) {
        Ok(mut file) => file.read_exact(&mut key).map(|()| key),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
            let fresh = path.with_extension("new");
            let mut file =
                fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
            file.write_all(&key)?;
            file.sync_all()?;
            fs::rename(fresh, path)?;
            Ok(key)
        }
        Err(error) => Err(error),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Lets wasmtime's hash of its settings be taken by a hash that is the same in each process.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let hash = self.0.clone().finalize();
        u64::from_le_bytes(std::array::from_fn(|n| hash[n]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: Digest = Digest([1; 32]);

    fn open(folder: &Path, bytes_max: u64) -> Cache {
        Cache::open(folder, &Engine::default(), bytes_max).unwrap()
    }

    #[test]
    fn an_artefact_is_found_again_by_the_same_key_only() {
        let folder = tempfile::tempdir().unwrap();
        open(folder.path(), 1 << 20).put(DIGEST, b"code").unwrap();
        assert_eq!(open(folder.path(), 1 << 20).get(DIGEST).unwrap().as_deref(), Some(&b"code"[..]));
        assert_eq!(open(folder.path(), 1 << 20).get(Digest([2; 32])).unwrap(), None);

        let mode = fs::metadata(folder.path().join("key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        fs::write(folder.path().join("key"), [0; 32]).unwrap();
        assert_eq!(open(folder.path(), 1 << 20).get(DIGEST).unwrap(), None);
    }

    #[test]
    fn no_flipped_byte_cut_or_swap_goes_unseen() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 1 << 20);
        cache.put(DIGEST, b"some machine code").unwrap();
        let path = cache.path(DIGEST);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert_eq!(cache.get(DIGEST).unwrap(), None, "byte {at}");
            fs::write(&path, &good[..at]).unwrap();
            assert_eq!(cache.get(DIGEST).unwrap(), None, "cut at {at}");
        }
        fs::write(cache.path(Digest([2; 32])), &good).unwrap();
        assert_eq!(cache.get(Digest([2; 32])).unwrap(), None, "the artefact of another component");
    }

    #[test]
    fn the_oldest_artefacts_make_room_and_the_newest_stays() {
        let folder = tempfile::tempdir().unwrap();
        let cache = open(folder.path(), 250);
        for n in 1..=3 {
            cache.put(Digest([n; 32]), &[n; 100]).unwrap();
            let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(n.into());
            let file = fs::File::options().write(true).open(cache.path(Digest([n; 32]))).unwrap();
            file.set_modified(then).unwrap();
        }
        cache.put(Digest([4; 32]), &[4; 300]).unwrap();
        let kept: Vec<_> = (1..=4).map(|n| cache.get(Digest([n; 32])).unwrap().is_some()).collect();
        assert_eq!(kept, [false, false, false, true]);
    }
}
