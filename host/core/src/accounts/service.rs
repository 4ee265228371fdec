//! What people and administrators can ask of accounts.

use super::{
    Ends, Key, Minted, Misconfigured, Options, Principal, Tokens,
    attempts::Attempts,
    hasher::Hasher,
    token::{Kind, Token},
};
use crate::review;
use godwit_domain::{
    filter::{Activity, Filters, Wording},
    id::{LoginId, UserId},
    tables::{Accounts, Written},
    time::{Clock, Ms},
    user::{Account, Login, Privacy, ProfileChange, User},
};
use godwit_protocol::error::{Code, Error};
use std::{net::IpAddr, ops::RangeInclusive, sync::Arc};
use uuid::Uuid;

const NAME_LEN: RangeInclusive<usize> = 3..=32;
const PASSWORD_CHARS: RangeInclusive<usize> = 8..=128;
const DISPLAY_NAME_CHARS_MAX: usize = 100;
/// Longer than any IANA name.
const TIME_ZONE_BYTES_MAX: usize = 64;
const MINTED_TTL_S: RangeInclusive<u64> = 60..=86_400;
/// How often a change of an account is tried again when another one came between.
const RACES_MAX: usize = 5;

/// Accounts, logins and tokens. Its errors are those that clients see.
pub struct Service {
    options: Options,
    key: Key,
    tables: Arc<dyn Accounts>,
    clock: Arc<dyn Clock>,
    ends: Arc<dyn Ends>,
    hasher: Hasher,
    attempts: Attempts,
    filters: Option<Arc<dyn Filters>>,
}

/// Building, and what people ask by themselves.
impl Service {
    /// Hashes a password once, to see that it works. `logins_per_minute` is the setting of `[limits]`.
    pub fn new(
        options: Options,
        logins_per_minute: u32,
        key: Key,
        tables: Arc<dyn Accounts>,
        clock: Arc<dyn Clock>,
        ends: Arc<dyn Ends>,
    ) -> Result<Self, Misconfigured> {
        options.check()?;
        let hasher = Hasher::new(&options)?;
        let attempts = Attempts::new(logins_per_minute);
        Ok(Self { options, key, tables, clock, ends, hasher, attempts, filters: None })
    }

    /// Has these plugins judge the names that people register with.
    #[must_use]
    pub fn judged_by(self, filters: Arc<dyn Filters>) -> Self {
        Self { filters: Some(filters), ..self }
    }

    /// Makes an account and logs it in.
    ///
    /// `forbidden` where registration is closed, `conflict` where the name is taken, `invalid` for bad fields,
    /// `rate_limited` for who tries too often, `moderated` or `unavailable` where a plugin does not let the names pass.
    pub async fn register(
        &self,
        name: &str,
        password: &str,
        display_name: Option<&str>,
        address: IpAddr,
    ) -> Result<Tokens, Error> {
        if !self.options.registration {
            return Err(Error::new(
                Code::Forbidden,
                "registration is closed; an administrator makes accounts",
            ));
        }
        check_name(name)?;
        check_password(password)?;
        let display_name = check_display_name(display_name)?;
        self.admit(name, address)?;
        let user = self.new_user(name, display_name, false).await?;
        self.review(&user).await?;
        let account = self.new_account(user, Some(password)).await?;
        self.log_in(account).await
    }

    /// Logs in with a password.
    ///
    /// `unauthorised` for a wrong name and for a wrong password, in the same words and the same time; `forbidden` for
    /// a disabled user who knows the password; `rate_limited` for who tries too often.
    pub async fn login(&self, name: &str, password: &str, address: IpAddr) -> Result<Tokens, Error> {
        let wrong = || Error::new(Code::Unauthorised, "wrong name or password");
        // What no account can have is not worth a hash, and tells nothing about those that there are.
        if check_name(name).is_err() || check_password(password).is_err() {
            return Err(wrong());
        }
        self.admit(name, address)?;
        let account = self.tables.account_by_name(name).await?;
        let hash = account.as_ref().and_then(|account| account.password_hash.as_deref());
        let fits = self.hasher.verify(password, hash).await?;
        let account = account.filter(|_| fits).ok_or_else(wrong)?;
        refuse_disabled(&account)?;
        self.log_in(account).await
    }

    /// The next tokens of a login. The refresh token is used up by it; used again, the whole login ends.
    pub async fn refresh(&self, refresh_token: &str) -> Result<Tokens, Error> {
        let stale = || Error::new(Code::Unauthorised, "the refresh token is not valid; log in again");
        let token = self.key.open(refresh_token).ok_or_else(stale)?;
        let Kind::Refresh { login, refreshes } = token.kind else { return Err(stale()) };
        let now = self.clock.now();
        let account = self.tables.account(token.user).await?.ok_or_else(stale)?;
        refuse_disabled(&account)?;
        let before =
            self.tables.login(login).await?.filter(|login| login.expires_at > now).ok_or_else(stale)?;
        if token.token_version != account.token_version || token.expires_at <= now {
            return Err(stale());
        }
        let after = Login {
            refreshes: before.refreshes.saturating_add(1),
            expires_at: self.login_expiry(now),
            ..before.clone()
        };
        // Of two who come with the same token at once, one finds the row changed: that is a second use as well.
        let used_before =
            before.refreshes != refreshes || self.tables.replace_login(&before, &after).await? == Written::No;
        if used_before {
            tracing::warn!(user = %token.user, %login, "a refresh token was used twice; the login ends");
            self.end_login(login).await?;
            return Err(stale());
        }
        Ok(self.tokens(&account, &after, now))
    }

    /// Ends the login of an access token: its tokens and its sockets.
    /// A minted token has no login to end: `invalid`.
    pub async fn logout(&self, access_token: &str) -> Result<(), Error> {
        match self.authenticate(access_token).await?.login {
            Some(login) => self.end_login(login).await,
            None => Err(Error::new(Code::Invalid, "a minted token has no login; it ends when it expires")),
        }
    }

    /// Who an access token or a minted token stands for; `unauthorised` where it does not hold, or holds no more.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Error> {
        let invalid = || Error::new(Code::Unauthorised, "the token is not valid");
        let token = self.key.open(token).ok_or_else(invalid)?;
        let now = self.clock.now();
        if token.expires_at <= now {
            return Err(Error::new(Code::Unauthorised, "the token has expired"));
        }
        let login = match token.kind {
            Kind::Access(login) => Some(login),
            Kind::Minted => None,
            Kind::Refresh { .. } => return Err(invalid()),
        };
        let account = self.tables.account(token.user).await?.ok_or_else(invalid)?;
        if account.disabled || account.token_version != token.token_version {
            return Err(invalid());
        }
        if let Some(login) = login
            && self.login_expires_at(login).await?.is_none()
        {
            return Err(invalid());
        }
        Ok(Principal {
            user: Arc::new(account.user),
            login,
            expires_at: login.is_none().then_some(token.expires_at),
        })
    }

    /// When this login ends unless it is refreshed meanwhile; `None` where it has ended.
    /// A socket that outlives this time asks again.
    pub async fn login_expires_at(&self, login: LoginId) -> Result<Option<Ms>, Error> {
        let now = self.clock.now();
        let login = self.tables.login(login).await?;
        Ok(login.map(|login| login.expires_at).filter(|&expires_at| expires_at > now))
    }

    /// The users of those ids that exist, in the order asked.
    pub async fn users(&self, users: &[UserId]) -> Result<Vec<User>, Error> {
        let accounts = self.tables.accounts(users).await?;
        Ok(accounts.into_iter().map(|account| account.user).collect())
    }

    /// Changes what others see of a user; the user as they are then. Those who are told hear of it from whoever asks.
    ///
    /// `invalid` for bad fields, `moderated` or `unavailable` where a plugin does not let the name pass.
    pub async fn set_profile(&self, user: UserId, change: &ProfileChange) -> Result<User, Error> {
        for _ in 0..RACES_MAX {
            let before = self.existing(user).await?;
            let mut after = before.clone();
            changed(&mut after.user, change)?;
            if after == before {
                return Ok(after.user);
            }
            if let Some(name) = &after.user.display_name
                && after.user.display_name != before.user.display_name
            {
                self.review_display_name(&before.user, name).await?;
            }
            if self.tables.replace_account(&before, &after).await? == Written::Yes {
                return Ok(after.user);
            }
        }
        Err(Error::new(Code::Unavailable, "the account is being changed by others; try again"))
    }

    /// The user of that id as they would be after a change.
    ///
    /// As [`Service::set_profile`], but nothing is judged or written.
    pub fn with_profile(&self, user: &User, change: &ProfileChange) -> Result<User, Error> {
        let mut after = user.clone();
        changed(&mut after, change)?;
        Ok(after)
    }

    /// The user of that name.
    pub async fn find(&self, name: &str) -> Result<Option<User>, Error> {
        Ok(self.tables.account_by_name(name).await?.map(|account| account.user))
    }
}

/// What administrators ask.
impl Service {
    /// Makes an account; without a password it is let in by minted tokens alone.
    /// `conflict` where the name is taken, `invalid` for bad fields.
    pub async fn create(
        &self,
        name: &str,
        password: Option<&str>,
        display_name: Option<&str>,
    ) -> Result<User, Error> {
        check_name(name)?;
        password.map_or(Ok(()), check_password)?;
        let display_name = check_display_name(display_name)?;
        let user = self.new_user(name, display_name, false).await?;
        Ok(self.new_account(user, password).await?.user)
    }

    /// The user of the plugin of that id, made where there is none.
    /// `conflict` where somebody else bears the name.
    pub async fn bot(&self, plugin: &str) -> Result<User, Error> {
        if let Some(account) = self.tables.account_by_name(plugin).await? {
            let taken = || {
                let text = format!("the name {plugin} is taken by a user who is no plugin");
                Error::new(Code::Conflict, text).field("name")
            };
            return if account.user.bot { Ok(account.user) } else { Err(taken()) };
        }
        let user = self.new_user(plugin, None, true).await?;
        Ok(self.new_account(user, None).await?.user)
    }

    /// A token for that user, good for `ttl_s` seconds.
    /// `not_found` for no user, `forbidden` for a disabled one, `invalid` for a time out of bounds.
    pub async fn mint(&self, user: UserId, ttl_s: u64) -> Result<Minted, Error> {
        if !MINTED_TTL_S.contains(&ttl_s) {
            let (min, max) = (MINTED_TTL_S.start(), MINTED_TTL_S.end());
            return Err(Error::invalid("ttl_s", format!("ttl_s is {ttl_s}, it must be {min} to {max}")));
        }
        let account = self.existing(user).await?;
        refuse_disabled(&account)?;
        if account.user.bot {
            let text = format!("{} is the user of a plugin, which alone speaks for it", account.user.name);
            return Err(Error::new(Code::Forbidden, text));
        }
        let expires_at = self.clock.now().plus(ttl_s * 1000);
        let token = Token { user, kind: Kind::Minted, token_version: account.token_version, expires_at };
        Ok(Minted { access_token: self.key.seal(&token), expires_at })
    }

    /// Sets the password, and ends all tokens and sockets of the user.
    pub async fn set_password(&self, user: UserId, password: &str) -> Result<(), Error> {
        check_password(password)?;
        if self.existing(user).await?.user.bot {
            return Err(Error::new(Code::Forbidden, "the user of a plugin has no password"));
        }
        let hash = self.hasher.hash(password).await?;
        self.change(user, |account| account.password_hash = Some(hash.clone())).await
    }

    /// Disables or enables a user, and ends all its tokens and sockets; one that is so already is left as it is.
    pub async fn set_disabled(&self, user: UserId, disabled: bool) -> Result<(), Error> {
        self.change(user, |account| account.disabled = disabled).await
    }

    async fn existing(&self, user: UserId) -> Result<Account, Error> {
        let account = self.tables.account(user).await?;
        account.ok_or_else(|| Error::new(Code::NotFound, format!("no user has the id {user}")))
    }

    /// Changes an account together with its token version, so that the change and the end of tokens are one.
    async fn change(&self, user: UserId, change: impl Fn(&mut Account)) -> Result<(), Error> {
        for _ in 0..RACES_MAX {
            let before = self.existing(user).await?;
            let mut after = before.clone();
            change(&mut after);
            if after == before {
                return Ok(());
            }
            after.token_version = before.token_version.wrapping_add(1);
            if self.tables.replace_account(&before, &after).await? == Written::Yes {
                self.ends.user_ended(user);
                return Ok(());
            }
        }
        Err(Error::new(Code::Unavailable, "the account is being changed by others; try again"))
    }
}

impl Service {
    fn admit(&self, name: &str, address: IpAddr) -> Result<(), Error> {
        self.attempts.count(name, address, self.clock.now()).map_err(|retry_after_ms| {
            Error::new(Code::RateLimited, "too many attempts; try again later").retry_after_ms(retry_after_ms)
        })
    }

    /// A user of a name that is free so far. Looked up before anything else is done for it: a hash costs more, and the
    /// write settles it in any case.
    async fn new_user(&self, name: &str, display_name: Option<String>, bot: bool) -> Result<User, Error> {
        if self.tables.account_by_name(name).await?.is_some() {
            return Err(taken(name));
        }
        let now = self.clock.now();
        Ok(User {
            id: UserId(new_id(now)?),
            name: name.to_owned(),
            display_name,
            bot,
            time_zone: None,
            joined_at: now,
            avatar: None,
            privacy: Privacy::default(),
        })
    }

    /// Asks the plugins whether people may read what a user is to be called.
    async fn review(&self, user: &User) -> Result<(), Error> {
        self.review_as(user, Wording::UserName(&user.name)).await?;
        match &user.display_name {
            Some(name) => self.review_display_name(user, name).await,
            None => Ok(()),
        }
    }

    async fn review_display_name(&self, user: &User, name: &str) -> Result<(), Error> {
        self.review_as(user, Wording::DisplayName(name)).await
    }

    async fn review_as(&self, user: &User, wording: Wording<'_>) -> Result<(), Error> {
        let Some(chain) = self.filters.as_ref().map(|filters| filters.pin()).filter(|chain| chain.reviews())
        else {
            return Ok(());
        };
        let scene = review::nowhere(Arc::new(user.clone()), Activity::default(), self.clock.now());
        review::review(&*chain, &scene, wording).await
    }

    async fn new_account(&self, user: User, password: Option<&str>) -> Result<Account, Error> {
        let password_hash = match password {
            Some(password) => Some(self.hasher.hash(password).await?),
            None => None,
        };
        let account = Account { user, password_hash, disabled: false, token_version: 0 };
        match self.tables.create_account(&account).await? {
            Written::Yes => Ok(account),
            Written::No => Err(taken(&account.user.name)),
        }
    }

    async fn log_in(&self, account: Account) -> Result<Tokens, Error> {
        let now = self.clock.now();
        let login = Login {
            id: LoginId(new_id(now)?),
            user: account.user.id,
            refreshes: 0,
            since: now,
            expires_at: self.login_expiry(now),
        };
        self.tables.create_login(&login).await?;
        Ok(self.tokens(&account, &login, now))
    }

    async fn end_login(&self, login: LoginId) -> Result<(), Error> {
        self.tables.drop_login(login).await?;
        self.ends.login_ended(login);
        Ok(())
    }

    fn login_expiry(&self, now: Ms) -> Ms {
        now.plus(self.options.refresh_ttl_s.saturating_mul(1000))
    }

    fn tokens(&self, account: &Account, login: &Login, now: Ms) -> Tokens {
        let expires_at = now.plus(self.options.access_ttl_s.saturating_mul(1000)).min(login.expires_at);
        let token = |kind, expires_at| {
            let token =
                Token { user: account.user.id, kind, token_version: account.token_version, expires_at };
            self.key.seal(&token)
        };
        let refresh = Kind::Refresh { login: login.id, refreshes: login.refreshes };
        Tokens {
            access_token: token(Kind::Access(login.id), expires_at),
            refresh_token: token(refresh, login.expires_at),
            expires_at,
            user: Arc::new(account.user.clone()),
        }
    }
}

fn taken(name: &str) -> Error {
    Error::new(Code::Conflict, format!("the name {name} is taken")).field("name")
}

/// A new id that sorts by time, so that rows made one after the other lie together.
fn new_id(now: Ms) -> Result<Uuid, Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| {
        tracing::error!(%error, "no randomness");
        Error::new(Code::Internal, "no randomness")
    })?;
    Ok(uuid::Builder::from_unix_timestamp_millis(now.0, &random).into_uuid())
}

fn refuse_disabled(account: &Account) -> Result<(), Error> {
    match account.disabled {
        true => Err(Error::new(Code::Forbidden, "the user is disabled")),
        false => Ok(()),
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let (min, max) = (NAME_LEN.start(), NAME_LEN.end());
    if !NAME_LEN.contains(&name.len()) {
        let message = format!("a name of {} bytes, it must have {min} to {max}", name.len());
        return Err(Error::invalid("name", message));
    }
    match name.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
        Some(c) => Err(Error::invalid("name", format!("a name with {c:?}, it must be of a-z0-9._-"))),
        None => Ok(()),
    }
}

fn check_password(password: &str) -> Result<(), Error> {
    let (min, max) = (PASSWORD_CHARS.start(), PASSWORD_CHARS.end());
    let chars = password.chars().take(max + 1).count();
    match chars {
        _ if PASSWORD_CHARS.contains(&chars) => Ok(()),
        _ if chars < *min => Err(Error::invalid(
            "password",
            format!("a password of {chars} characters, it must have at least {min}"),
        )),
        _ => Err(Error::invalid("password", format!("a password of more than {max} characters"))),
    }
}

/// Changes a user as asked, where that can be.
fn changed(user: &mut User, change: &ProfileChange) -> Result<(), Error> {
    let ProfileChange { display_name, avatar, time_zone, presence, receipts } = change;
    if let Some(display_name) = display_name {
        user.display_name = check_display_name(display_name.as_deref())?;
    }
    if let Some(avatar) = avatar {
        user.avatar = *avatar;
    }
    if let Some(time_zone) = time_zone {
        time_zone.as_deref().map_or(Ok(()), check_time_zone)?;
        user.time_zone.clone_from(time_zone);
    }
    user.privacy.presence = presence.unwrap_or(user.privacy.presence);
    user.privacy.receipts = receipts.unwrap_or(user.privacy.receipts);
    Ok(())
}

/// Whether that could be an IANA name. Which of them exist changes with their releases, and is for who looks one up.
fn check_time_zone(time_zone: &str) -> Result<(), Error> {
    let bytes = time_zone.len();
    if !(1..=TIME_ZONE_BYTES_MAX).contains(&bytes) {
        let message = format!("a time zone of {bytes} bytes, it must have 1 to {TIME_ZONE_BYTES_MAX}");
        return Err(Error::invalid("time_zone", message));
    }
    let is_part = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '+'))
    };
    match time_zone.split('/').all(is_part) {
        true => Ok(()),
        false => Err(Error::invalid(
            "time_zone",
            format!("`{time_zone}` is no IANA name of a time zone, as `Europe/London` is"),
        )),
    }
}

/// A display name without spaces around it; a blank one is none.
fn check_display_name(display_name: Option<&str>) -> Result<Option<String>, Error> {
    let display_name = display_name.unwrap_or_default().trim();
    let chars = display_name.chars().count();
    if chars > DISPLAY_NAME_CHARS_MAX {
        let message = format!("a display name of {chars} characters, it may have {DISPLAY_NAME_CHARS_MAX}");
        return Err(Error::invalid("display_name", message));
    }
    if let Some(c) = display_name.chars().find(|c| c.is_control()) {
        return Err(Error::invalid(
            "display_name",
            format!("a display name with {c:?}, a control character"),
        ));
    }
    Ok((!display_name.is_empty()).then(|| display_name.to_owned()))
}

#[cfg(test)]
mod tests;
