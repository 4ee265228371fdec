//! Accounts, their names, and logins.
//!
//! A name belongs to who has a settled claim on it. An account is made in three steps: claim the name, write the
//! account, settle the claim. A crash leaves an unsettled claim, which nobody was told of and which a later
//! registration takes over; the claim's row decides between a slow registration and who takes over.

use super::{Tables, absent, layout, put_one, record, stays};
use async_trait::async_trait;
use godwit_domain::{
    id::{LoginId, UserId},
    tables::{Accounts, Written},
    time::Ms,
    user::{Account, Login},
    waist::{Batch, Check, Error, Put},
};
use serde::{Deserialize, Serialize};

/// For how long an unsettled claim is respected. A registration takes three commits.
const CLAIM_MS: u64 = 60_000;

/// Who has a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claim {
    user: UserId,
    claimed_at: Ms,
    /// Whether the account was written.
    settled: bool,
}

#[async_trait]
impl Accounts for Tables {
    async fn create_account(&self, account: &Account) -> Result<Written, Error> {
        let (name, now) = (layout::name(&account.user.name), self.clock.now());
        let user = account.user.id;
        let claim = Claim { user, claimed_at: now, settled: false };
        let claimed = stays(&name, layout::ONE, &claim)?;
        let (check, left) = match self.find::<Claim>("a claim", &name, layout::ONE).await? {
            None => (absent(layout::ONE), None),
            Some((_, other)) if other.settled => return Ok(Written::No),
            Some((_, other)) if other.user != user && now.since(other.claimed_at) < CLAIM_MS => {
                return Ok(Written::No);
            }
            Some((row, other)) => (Check::Equals(row), (other.user != user).then_some(other.user)),
        };
        if self.write(put_one(name.clone(), check, claimed.clone())).await? == Written::No {
            return Ok(Written::No);
        }
        if let Some(left) = left {
            self.drop_account(left).await?;
        }

        let partition = layout::user(user);
        let row = stays(&partition, layout::ACCOUNT, account)?;
        let written = self.write(put_one(partition.clone(), absent(layout::ACCOUNT), row)).await?;
        if written == Written::No && self.account(user).await?.as_ref() != Some(account) {
            return Ok(Written::No);
        }

        let settled = stays(&name, layout::ONE, &Claim { settled: true, ..claim })?;
        let written = self.write(put_one(name, Check::Equals(claimed.row), settled)).await?;
        if written == Written::No {
            // Someone took the claim over while this registration stood still.
            self.drop_account(user).await?;
        }
        Ok(written)
    }

    async fn account(&self, user: UserId) -> Result<Option<Account>, Error> {
        let found = self.find("an account", &layout::user(user), layout::ACCOUNT).await?;
        Ok(found.map(|(_, account)| account))
    }

    async fn account_by_name(&self, name: &str) -> Result<Option<Account>, Error> {
        match self.find::<Claim>("a claim", &layout::name(name), layout::ONE).await? {
            Some((_, claim)) if claim.settled => self.account(claim.user).await,
            _ => Ok(None),
        }
    }

    async fn accounts(&self, users: &[UserId]) -> Result<Vec<Account>, Error> {
        let key = record::key(layout::ACCOUNT);
        let keys = users.iter().map(|user| (layout::user(*user), key.clone())).collect();
        let found = self.store.get_many(keys).await?;
        let read = |(user, value): (&UserId, Option<_>)| {
            let value: bytes::Bytes = value?;
            Some(record::read("an account", &layout::user(*user), layout::ACCOUNT, &value))
        };
        users.iter().zip(found).filter_map(read).collect()
    }

    async fn replace_account(&self, before: &Account, after: &Account) -> Result<Written, Error> {
        let same = (before.user.id, &before.user.name) == (after.user.id, &after.user.name);
        if !same {
            let (before, after) = (&before.user, &after.user);
            return Err(Error::Invalid(format!(
                "account {} `{}` cannot become {} `{}`",
                before.id, before.name, after.id, after.name
            )));
        }
        let partition = layout::user(before.user.id);
        let row = stays(&partition, layout::ACCOUNT, after)?;
        self.replace("an account", partition, layout::ACCOUNT, before, row).await
    }

    async fn create_login(&self, login: &Login) -> Result<(), Error> {
        let put = login_row(login)?;
        self.store.put_all(vec![(layout::login(login.id), put)]).await
    }

    async fn login(&self, login: LoginId) -> Result<Option<Login>, Error> {
        let found = self.find("a login", &layout::login(login), layout::ONE).await?;
        Ok(found.map(|(_, login)| login))
    }

    async fn replace_login(&self, before: &Login, after: &Login) -> Result<Written, Error> {
        if before.id != after.id {
            return Err(Error::Invalid(format!("login {} cannot become {}", before.id, after.id)));
        }
        self.replace("a login", layout::login(before.id), layout::ONE, before, login_row(after)?).await
    }

    async fn drop_login(&self, login: LoginId) -> Result<(), Error> {
        let deletes = vec![record::key(layout::ONE)];
        let partition = layout::login(login);
        self.write(Batch { partition, checks: vec![], puts: vec![], deletes }).await.map(drop)
    }
}

impl Tables {
    /// Removes an account that nobody was told of.
    async fn drop_account(&self, user: UserId) -> Result<(), Error> {
        let deletes = vec![record::key(layout::ACCOUNT)];
        let partition = layout::user(user);
        self.write(Batch { partition, checks: vec![], puts: vec![], deletes }).await.map(drop)
    }
}

fn login_row(login: &Login) -> Result<Put, Error> {
    let row = record::row(&layout::login(login.id), layout::ONE, login)?;
    Ok(Put { row, expires_at: Some(login.expires_at) })
}
