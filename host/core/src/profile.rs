//! Profiles: what others see of a user, and how they hear that it changed.
//!
//! A change is first noted for the other ones of direct conversations, who are shown it when they resume, then written,
//! then answered; a second later at most it is told to those who are connected and share a small conversation. Changes
//! of one user within that second are told as one, as the user is then. In large conversations nobody is told: who
//! looks at a person there asks.

use crate::{
    changes::Stamp,
    host::Host,
    registry::{Push, Reach, Router},
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use godwit_domain::{
    conversation::{Circle, Kind},
    id::{ConversationId, SessionId, UserId},
    user::{ProfileChange, User},
};
use godwit_protocol::{
    encode,
    error::{Code, Error},
    object,
};
use parking_lot::Mutex;
use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Weak},
    time::Duration,
};
use tokio::time::{MissedTickBehavior, interval};

/// How often changes are told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// To how many people a change is told live.
const TOLD_MAX: usize = 10_000;
/// How many conversations are read at once to find them.
const AT_ONCE: usize = 16;

/// The changes that are to be told.
#[derive(Default)]
pub struct Changed(Mutex<HashMap<UserId, News>>);

struct News {
    /// Who may see it, and is connected.
    audience: BTreeSet<UserId>,
    /// The session that has its reply; none where several changed something.
    except: Option<SessionId>,
    /// Held until it was told.
    stamps: Vec<Stamp>,
}

impl Changed {
    fn add(&self, user: UserId, audience: BTreeSet<UserId>, session: SessionId, stamp: Stamp) {
        let mut changed = self.0.lock();
        match changed.get_mut(&user) {
            Some(news) => {
                news.audience.extend(audience);
                news.except = news.except.filter(|other| *other == session);
                news.stamps.push(stamp);
            }
            None => {
                let news = News { audience, except: Some(session), stamps: vec![stamp] };
                changed.insert(user, news);
            }
        }
    }
}

/// Whom a change concerns.
#[derive(Default)]
struct Concerned {
    /// The other ones of direct conversations.
    peers: Vec<(UserId, ConversationId)>,
    /// Everyone who is connected and shares a small conversation.
    audience: BTreeSet<UserId>,
}

impl Host {
    /// Changes the profile of a user who asked for it from that session.
    ///
    /// # Errors
    /// `invalid`, `moderated`, `rate_limited`, or that of the store.
    pub async fn change_profile(
        &self,
        user: UserId,
        session: SessionId,
        change: &ProfileChange,
    ) -> Result<User, Error> {
        let accounts = &self.parts.accounts;
        let before = accounts.users(&[user]).await?.pop().ok_or_else(Error::not_found)?;
        let wanted = accounts.with_profile(&before, change)?;
        if wanted == before {
            return Ok(before);
        }
        let max = self.parts.limits.profiles_per_minute;
        let taken = self.people.get(user).take_profile(self.parts.clock.now(), max);
        taken.map_err(|retry_after_ms| {
            let text = format!("more than {max} changes of a profile in a minute");
            Error::new(Code::RateLimited, text).retry_after_ms(retry_after_ms)
        })?;
        let stamp = self.parts.changes.begin();
        stamp.secured().await?;
        // What of one's doings others are shown is one's own business, but for receipts: they show in conversations.
        let is_shown = User { privacy: before.privacy, ..wanted } != before;
        let Concerned { peers, mut audience } = match is_shown || change.receipts.is_some() {
            true => self.concerned(user).await?,
            false => Concerned::default(),
        };
        if !is_shown {
            audience.clear();
        }
        // Before it is written: who is told for nothing loses nothing.
        self.parts.conversations.note_peer_changed(&peers, stamp.at()).await?;
        let after = accounts.set_profile(user, change).await?;
        self.known.forget(user);
        self.look_up_again(user).await?;
        if change.presence.is_some() {
            self.presence.look_again(user).await;
        }
        self.profiles.add(user, audience, session, stamp);
        Ok(after)
    }

    async fn concerned(&self, user: UserId) -> Result<Concerned, Error> {
        let tables = &self.parts.conversations;
        let small_max = self.parts.limits.follow_above as usize;
        let conversations = tables.present_in(user).await?;
        let mut circles = stream::iter(conversations)
            .map(|conversation| async move {
                Ok::<_, Error>((conversation, tables.circle(conversation, small_max).await?))
            })
            .buffer_unordered(AT_ONCE);
        let mut concerned = Concerned::default();
        while let Some((conversation, circle)) = circles.try_next().await? {
            let Some(Circle { kind, members }) = circle else { continue };
            for other in members.into_iter().filter(|other| *other != user) {
                if kind == Kind::Direct {
                    concerned.peers.push((other, conversation));
                }
                if concerned.audience.len() < TOLD_MAX && self.parts.registry.reaches(other, None) {
                    concerned.audience.insert(other);
                }
            }
        }
        Ok(concerned)
    }

    /// Takes up anew who a connected user is.
    async fn look_up_again(&self, user: UserId) -> Result<(), Error> {
        let Some(facts) = self.parts.registry.facts(user) else { return Ok(()) };
        let reading = facts.user.begin();
        if let Some(user) = self.parts.accounts.users(&[user]).await?.pop() {
            facts.user.finish(reading, Arc::new(user));
        }
        Ok(())
    }

    /// Tells now which profiles changed, as is done every second.
    pub async fn tell_profiles(&self) {
        let changed = std::mem::take(&mut *self.profiles.0.lock());
        for (user, news) in changed {
            if let Err(error) = self.tell_profile(user, &news).await {
                tracing::warn!(%error, %user, "a changed profile is not told live; who resumes hears of it");
            }
            drop(news.stamps);
        }
    }

    async fn tell_profile(&self, user: UserId, news: &News) -> Result<(), Error> {
        let Some(now) = self.parts.accounts.users(&[user]).await?.pop() else { return Ok(()) };
        let circle = self.relations.circle(user).await?;
        let audience: Vec<_> = news.audience.iter().copied().filter(|other| !circle.blocks(*other)).collect();
        self.parts.metrics.profiles_told.inc();
        let push = |audience: &[UserId], object: &object::User<'_>, except| {
            let frame = Bytes::from(encode::push("user", object));
            let reach = Reach::Sessions;
            self.parts.registry.route(Push { audience, reach, frame, own: None, except, at: None });
        };
        push(&audience, &object::User::from(&now), None);
        push(&[user], &object::User::own(&now), news.except);
        Ok(())
    }
}

/// Tells changes from time to time.
pub async fn tell_in_time(host: Weak<Host>) {
    let mut ticks = interval(TELL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(host) = host.upgrade() else { return };
        host.tell_profiles().await;
    }
}
