//! Secrets of the data folder: the key that signs tokens, and the token that opens the admin API.
//!
//! It owns how they are made, on first start, and kept: one file each, readable by its owner alone. It refuses to use
//! one that others can read. What they are for is not its business.

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use godwit_core::accounts::Key;
use godwit_gateway::Token;
use std::{
    fs::{self, File},
    io::{ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

const SIGNING_KEY_FILE: &str = "signing-key";
const ADMIN_TOKEN_FILE: &str = "admin-token";
const SECRET_BYTES: usize = 32;

/// The admin token, and where it comes from.
#[derive(Debug)]
pub struct AdminToken {
    /// What opens the admin API.
    pub token: Token,
    /// What to tell the operator: the token itself and the file it was written to, on the first start alone.
    pub made: Option<(String, PathBuf)>,
}

/// The key that signs tokens, made on the first start.
///
/// # Errors
/// The file cannot be read or written, can be read by others, or holds something else.
pub fn signing_key(data: &Path) -> anyhow::Result<Key> {
    let path = data.join(SIGNING_KEY_FILE);
    let (text, _) = read_or_make(&path)?;
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).ok().and_then(|bytes| bytes.try_into().ok());
    let bytes: [u8; Key::LEN] = bytes.with_context(|| {
        format!(
            "{} does not hold a signing key; restore it from a backup, or remove it: everyone has to log in again then",
            path.display()
        )
    })?;
    Ok(Key::new(&bytes))
}

/// The admin token: `given`, or else the one in the data folder, made on the first start.
///
/// # Errors
/// The given one is blank; or the file cannot be read or written, can be read by others, or is empty.
pub fn admin_token(data: &Path, given: Option<&str>) -> anyhow::Result<AdminToken> {
    if let Some(given) = given {
        if given.trim().is_empty() {
            bail!("GODWIT_ADMIN_TOKEN is blank; set a token, or unset it to use the one of the data folder");
        }
        return Ok(AdminToken { token: Token::new(given.trim()), made: None });
    }
    let path = data.join(ADMIN_TOKEN_FILE);
    let (text, made) = read_or_make(&path)?;
    if text.is_empty() {
        bail!("{} is empty; remove it, and a new token is made", path.display());
    }
    Ok(AdminToken { token: Token::new(&*text), made: made.then_some((text, path)) })
}

/// The text of that file, and whether it was made now.
fn read_or_make(path: &Path) -> anyhow::Result<(String, bool)> {
    match read(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        read => return Ok((read.with_context(|| format!("cannot read {}", path.display()))?, false)),
    }
    let made = make(path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok((made, true))
}

fn read(path: &Path) -> std::io::Result<String> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(std::io::Error::new(
            ErrorKind::PermissionDenied,
            format!("others can read it (mode {mode:o}); run `chmod 600 {}`", path.display()),
        ));
    }
    Ok(fs::read_to_string(path)?.trim().to_owned())
}

/// Written aside, made durable and then named: whoever sees the file sees all of it.
fn make(path: &Path) -> anyhow::Result<String> {
    let mut secret = [0; SECRET_BYTES];
    getrandom::fill(&mut secret).context("no randomness")?;
    let text = BASE64_URL_SAFE_NO_PAD.encode(secret);
    let folder = path.parent().context("the file has no folder")?;
    // The library makes files that their owner alone can read.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{text}")?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    File::open(folder)?.sync_all()?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_made_once_and_kept_from_others() {
        let data = tempfile::tempdir().unwrap();
        let first = admin_token(data.path(), None).unwrap();
        let (text, path) = first.made.unwrap();
        assert_eq!(path, data.path().join("admin-token"));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{text}\n"));
        assert_eq!(text.len(), 43);
        assert!(admin_token(data.path(), None).unwrap().made.is_none(), "told once");

        signing_key(data.path()).unwrap();
        let key = fs::read(data.path().join("signing-key")).unwrap();
        signing_key(data.path()).unwrap();
        assert_eq!(fs::read(data.path().join("signing-key")).unwrap(), key);
        for file in ["admin-token", "signing-key"] {
            let mode = fs::metadata(data.path().join(file)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{file}");
        }
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 2, "nothing is left beside them");
    }

    #[test]
    fn every_folder_gets_secrets_of_its_own() {
        let made = || admin_token(tempfile::tempdir().unwrap().path(), None).unwrap().made.unwrap().0;
        assert_ne!(made(), made());
    }

    #[test]
    fn a_given_token_is_used_and_nothing_is_written() {
        let data = tempfile::tempdir().unwrap();
        assert!(admin_token(data.path(), Some("given")).unwrap().made.is_none());
        assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0);
        let blank = admin_token(data.path(), Some(" ")).unwrap_err();
        assert!(blank.to_string().contains("GODWIT_ADMIN_TOKEN is blank"), "{blank}");
    }

    #[test]
    fn a_secret_that_others_can_read_is_refused_with_what_to_do() {
        let data = tempfile::tempdir().unwrap();
        signing_key(data.path()).unwrap();
        let path = data.path().join("signing-key");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = format!("{:#}", signing_key(data.path()).unwrap_err());
        assert!(refused.contains("mode 640") && refused.contains("chmod 600"), "{refused}");
    }

    #[test]
    fn what_is_no_key_is_refused_and_left_alone() {
        let data = tempfile::tempdir().unwrap();
        for (file, text) in [("signing-key", "garbage\n"), ("signing-key", ""), ("admin-token", "\n")] {
            let path = data.path().join(file);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let refused = match file {
                "signing-key" => signing_key(data.path()).map(drop),
                _ => admin_token(data.path(), None).map(drop),
            };
            refused.unwrap_err();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let refused = format!("{:#}", signing_key(Path::new("/nowhere/at/all")).unwrap_err());
        assert!(refused.contains("/nowhere/at/all/signing-key"), "{refused}");
    }
}
