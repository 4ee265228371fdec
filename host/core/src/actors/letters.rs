//! For operators: how far a plugin is, and its dead letters (what it never heard, and what it wanted and was refused) to
//! read, to drive again and to drop.

use super::lane::Lane;
use crate::host::Host;
use godwit_domain::{
    plugin::AtWork,
    tables::{Cause, Letter, Notice},
};
use godwit_protocol::error::{Code, Error};
use serde::Serialize;
use std::sync::Arc;

/// A page of dead letters.
#[derive(Debug, Serialize)]
pub struct Page {
    letters: Vec<Letter>,
    /// Where to go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

impl Host {
    fn lane_of(&self, plugin: &str) -> Result<Arc<Lane>, Error> {
        let missing = || Error::new(Code::NotFound, format!("no plugin `{plugin}` is at work here"));
        self.crew.lane(plugin).ok_or_else(missing)
    }

    /// How far a plugin is; `None` where it does not act.
    pub fn at_work(&self, plugin: &str) -> Option<AtWork> {
        let lane = self.crew.lane(plugin).filter(|lane| !lane.is_removed())?;
        Some(self.crew.metrics.at_work(plugin, lane.user.id))
    }

    /// The dead letters of a plugin, oldest first.
    ///
    /// # Errors
    /// `not_found`, `invalid` for a page that was never given, or that of the store.
    pub async fn letters(&self, plugin: &str, page: Option<&str>, limit: usize) -> Result<Page, Error> {
        let unreadable = |_| Error::invalid("page", "`page` is not one that this list gave");
        let after = page.map_or(Ok(0), |page| page.parse().map_err(unreadable))?;
        let mut letters = self.lane_of(plugin)?.work.letters(plugin, after, limit + 1).await?;
        let more = letters.len() > limit;
        letters.truncate(limit);
        let next = letters.last().filter(|_| more).map(|letter| letter.n.to_string());
        Ok(Page { letters, next })
    }

    /// One dead letter.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn letter(&self, plugin: &str, n: u64) -> Result<Letter, Error> {
        self.lane_of(plugin)?.work.letter(plugin, n).await?.ok_or_else(|| no_letter(plugin, n))
    }

    /// Has a plugin hear again what it never heard.
    ///
    /// # Errors
    /// `not_found`; `conflict` for what it wanted done and was refused, whose text is not kept; or that of the store.
    pub async fn redrive(&self, plugin: &str, n: u64) -> Result<(), Error> {
        let lane = self.lane_of(plugin)?;
        let letter = self.letter(plugin, n).await?;
        if let Cause::Errand { act, .. } = &letter.cause {
            let text = format!(
                "this is a {act} that was refused, and what it said is not kept; the plugin has to do it again"
            );
            return Err(Error::new(Code::Conflict, text));
        }
        let notice = Notice {
            n,
            conversation: letter.conversation,
            at: self.parts.clock.now(),
            hops: letter.hops,
            cause: letter.cause,
        };
        match lane.work.take_letter(plugin, n, Some(notice.clone())).await? {
            true => {
                lane.notify(notice);
                Ok(())
            }
            false => Err(no_letter(plugin, n)),
        }
    }

    /// Forgets a dead letter.
    ///
    /// # Errors
    /// `not_found`, or that of the store.
    pub async fn drop_letter(&self, plugin: &str, n: u64) -> Result<(), Error> {
        match self.lane_of(plugin)?.work.take_letter(plugin, n, None).await? {
            true => Ok(()),
            false => Err(no_letter(plugin, n)),
        }
    }

    /// Has a plugin that is being removed forget what it still wants done, where that was not done yet.
    pub fn discard_errands(&self, plugin: &str) {
        self.crew.discard(plugin);
    }
}

fn no_letter(plugin: &str, n: u64) -> Error {
    Error::new(Code::NotFound, format!("`{plugin}` has no dead letter {n}"))
}
