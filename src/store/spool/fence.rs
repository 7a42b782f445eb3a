//! Playlists and indexes in the store: each written only over the state that was known of it, so
//! that neither an older writer nor an older request that comes late undoes what is newer.

use super::pause::Pause;
use super::{Inner, Published};
use crate::metrics;
use crate::store::{Condition, Error, Version};
use bytes::Bytes;
use std::sync::atomic::Ordering;

/// What is known of an object in the store.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Known {
    /// Nothing: it has to be looked at.
    #[default]
    Nothing,
    /// It is not there.
    Absent,
    /// It is as this writer wrote it, or saw it.
    Version(Version),
}

impl Inner {
    /// Writes an object, tried until it is confirmed; false if what the store has `is_ahead`.
    pub(super) async fn put(
        &self,
        published: &Published,
        known: &mut Known,
        is_ahead: impl Fn(&[u8]) -> bool,
    ) -> bool {
        let object = &published.object;
        let mut pause = Pause::new(self, object);
        loop {
            let error = match self.attempt(published, known, &is_ahead).await {
                Ok(written) => return written,
                Err(error) => error,
            };
            match error {
                // Another writer, or this one, whose answer was lost: the store knows which.
                Error::Conflict { .. } => *known = Known::Nothing,
                Error::Unconditional { .. } => {
                    if self.conditional.swap(false, Ordering::Relaxed) {
                        tracing::warn!(
                            %error,
                            "the store knows no conditional writes: of two servers that publish one channel, the last to write wins"
                        );
                    }
                    *known = Known::Nothing;
                }
                error => pause.after(&error).await,
            }
        }
    }

    async fn attempt(
        &self,
        published: &Published,
        known: &mut Known,
        is_ahead: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, Error> {
        if *known == Known::Nothing {
            match self.look(&published.object).await? {
                None => *known = Known::Absent,
                Some((theirs, version)) => {
                    if is_ahead(&theirs) {
                        return Ok(false);
                    }
                    let same = theirs == published.text;
                    *known = Known::Version(version);
                    if same {
                        return Ok(true);
                    }
                }
            }
        }
        let conditional = self.conditional.load(Ordering::Relaxed);
        let condition = match &*known {
            _ if !conditional => Condition::Always,
            Known::Nothing => Condition::Always,
            Known::Absent => Condition::Absent,
            Known::Version(version) => Condition::Unchanged(version.clone()),
        };
        let permit = self.uploads.acquire().await; // never closed
        let flying = metrics::UPLOADS.hold();
        let result = self.store.publish(published, condition).await;
        drop((permit, flying));
        let version = result?;
        // Without conditions what is known may be wrong at any time.
        *known = match conditional {
            true => Known::Version(version),
            false => Known::Nothing,
        };
        Ok(true)
    }

    async fn look(&self, object: &str) -> Result<Option<(Bytes, Version)>, Error> {
        match self.store.get_version(object).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
