//! Components by their digest: uploaded once, installed from there, forgotten when nobody needs them.

use super::Live;
use crate::component;
use godwit_domain::plugin::{Digest, Error, Roster, Upload, Uploaded};
use sha2::{Digest as _, Sha256};
use std::collections::HashSet;

impl Live {
    /// Checks a component from outside and keeps it.
    pub(crate) async fn upload(&self, component: Vec<u8>) -> Result<Uploaded, Error> {
        let outside = component::inspect(&component, &self.stage.options).map_err(Error::Refused)?;
        // No change of the roster may forget the component before it is known to be an upload.
        let roster = self.roster.lock().await;
        let (digest, size) = (Digest(Sha256::digest(&component).into()), component.len() as u64);
        self.tables.put_component(digest, &component).await?;
        self.tables.put_upload(digest, size, self.clock.now()).await?;
        let used: HashSet<Digest> = digests(&roster).collect();
        let mut unused = self.tables.uploads().await?;
        unused.retain(|(other, ..)| !used.contains(other));
        unused.sort_by_key(|(_, _, at)| *at);
        let excess = unused.len().saturating_sub(self.stage.options.uploads_max.max(1) as usize);
        for (other, ..) in unused.into_iter().filter(|(other, ..)| *other != digest).take(excess) {
            self.tables.drop_upload(other).await?;
            self.tables.drop_component(other).await?;
        }
        let hooks = outside.hook_names().into_iter().map(str::to_owned).collect();
        Ok(Uploaded { digest: digest.to_string(), size, hooks, imports: outside.imports })
    }

    pub(crate) async fn uploads(&self) -> Result<Vec<Upload>, Error> {
        let uploads = self.tables.uploads().await?;
        let snapshot = self.snapshot.load();
        let upload = |(digest, size, uploaded_at): (Digest, u64, _)| {
            let plugins = snapshot.seats().iter().map(|seat| &seat.installation);
            let on_it = plugins.filter(|plugin| plugin.releases().any(|release| release.digest == digest));
            let plugins = on_it.map(|plugin| plugin.id.clone()).collect();
            Upload { digest: digest.to_string(), size, uploaded_at, plugins }
        };
        Ok(uploads.into_iter().map(upload).collect())
    }

    pub(crate) async fn discard(&self, digest: Digest) -> Result<(), Error> {
        let roster = self.roster.lock().await;
        let uploads = self.tables.uploads().await?;
        if !uploads.iter().any(|(other, ..)| *other == digest) {
            return Err(Error::NoComponent(digest));
        }
        self.tables.drop_upload(digest).await?;
        if !digests(&roster).any(|other| other == digest) {
            self.tables.drop_component(digest).await?;
        }
        Ok(())
    }

    /// Forgets the components of `gone` that neither `kept` nor an installation to come needs. One that stays behind
    /// costs disk, nothing else.
    pub(super) async fn forget_components(&self, gone: &Roster, kept: &Roster) {
        let kept: HashSet<Digest> = digests(kept).collect();
        let mut gone: Vec<Digest> = digests(gone).filter(|digest| !kept.contains(digest)).collect();
        gone.sort();
        gone.dedup();
        if gone.is_empty() {
            return;
        }
        let uploads = match self.tables.uploads().await {
            Ok(uploads) => uploads,
            Err(error) => {
                return tracing::warn!(%error, "components that are no longer needed stay stored");
            }
        };
        for digest in gone.into_iter().filter(|digest| !uploads.iter().any(|(other, ..)| other == digest)) {
            if let Err(error) = self.tables.drop_component(digest).await {
                tracing::warn!(%digest, %error, "a component that is no longer needed stays stored");
            }
        }
    }
}

fn digests(roster: &Roster) -> impl Iterator<Item = Digest> {
    roster.plugins.iter().flat_map(|plugin| plugin.releases()).map(|release| release.digest)
}
