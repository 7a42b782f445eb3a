//! The second step: objects, then rows, then folders.

use super::Retention;
use crate::catalog::Due;
use crate::clock;
use crate::control::Error;
use crate::control::journal::{Trim, compact, trim_of};
use crate::control::shelf::named_by;
use crate::key::{Container, MediaPath, RecordingKey, segment_folder};
use crate::metrics;
use crate::store;
use futures_util::TryStreamExt;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What is due that one question finds.
const DUE_MAX: usize = 1_000;
/// Recordings that may fail in one round; a store that is away fails for all.
const FAILURES_MAX: usize = 10;
/// Objects that are removed in one go: what S3 takes in one request.
const BATCH: usize = 1_000;

impl Retention {
    /// Removes what has expired long enough ago. A recording that fails holds back no other.
    pub async fn remove_due(&self) -> Result<(), Error> {
        let mut failures = 0;
        loop {
            let now_ms = clock::now().unix_ms();
            let all = self.control.catalog().due(now_ms, DUE_MAX).await?;
            let mut some_done = false;
            for due in all {
                match self.remove(&due).await {
                    Ok(done) => some_done |= done,
                    Err(error @ Error::Catalog(_)) => return Err(error),
                    Err(error) if failures == FAILURES_MAX => return Err(error),
                    Err(error) => {
                        failures += 1;
                        tracing::warn!(recording = %due.key, %error, "retention: it is removed in the next round");
                    }
                }
            }
            if !some_done {
                return Ok(());
            }
        }
    }

    /// Removes what is due; false if something of it has to wait.
    async fn remove(&self, due: &Due) -> Result<bool, Error> {
        let catalog = self.control.catalog();
        // Whoever has lost the spool has the store's own index, which is to name nothing that is gone.
        let before = u64::try_from(due.numbers.end).unwrap_or(0);
        let spool = self.control.disk().spool();
        if spool.is_some_and(|spool| !spool.has_indexed(&due.key, before)) {
            return Ok(false);
        }
        self.ensure_line(due).await?;
        loop {
            let per_second = self.settings().deletes_per_second.max(1);
            let batch = usize::try_from(per_second).unwrap_or(BATCH).min(BATCH);
            let rows = catalog.removable(due, batch).await?;
            if rows.is_empty() {
                break;
            }
            let began = clock::monotonic();
            let number = |number: i64| u64::try_from(number).unwrap_or(0);
            let numbers = rows.iter().map(|row| number(row.number));
            let object = |number| due.key.segment(number, Container::Ts);
            let objects: Vec<_> = numbers.clone().map(object).collect();
            let left = match spool {
                None => self.control.disk().let_go(objects).await,
                Some(_) => objects,
            };
            self.control.store().delete_all(&left).await?;
            // The segment after them is in its folder, which goes with that one or with the recording.
            let next = segment_folder(number(due.numbers.end));
            let folders: BTreeSet<_> = numbers.map(segment_folder).collect();
            for folder in folders
                .into_iter()
                .filter(|folder| due.is_all || *folder != next)
            {
                self.remove_empty(&format!("{}/{folder}", due.key)).await;
            }
            catalog.gone(due, &rows).await?;
            let bytes: i64 = rows.iter().map(|row| row.size).sum();
            let bytes = u64::try_from(bytes).unwrap_or(0);
            self.removed.fetch_add(bytes, Ordering::Relaxed);
            metrics::DELETED_SEGMENTS.add(rows.len() as u64);
            metrics::DELETED_BYTES.add(bytes);
            tracing::debug!(recording = %due.key, segments = rows.len(), bytes, "expired segments are gone");
            pace(per_second, rows.len(), began.elapsed()).await;
            if rows.len() < batch {
                break;
            }
        }
        if due.is_all && due.kept == 0 && self.is_over(due).await? {
            if self.is_spooled(&due.key) {
                return Ok(false);
            }
            self.remove_recording(&due.key).await?;
            return Ok(true);
        }
        if self.control.disk().spool().is_none() {
            let writer = self.control.disk().writer(&due.key.folder());
            let key = due.key.clone();
            let done = move |result| {
                if let Err(error) = result {
                    let error: store::disk::WriteError = error;
                    tracing::warn!(recording = %key, %error, "an index cannot be made shorter");
                }
            };
            writer.rewrite(due.key.journal(), compact, done).await;
        }
        catalog.done(due).await?;
        Ok(true)
    }

    /// Whether really nothing is left of a recording, and nothing will come.
    async fn is_over(&self, due: &Due) -> Result<bool, Error> {
        let made = self.control.registry().recording(&due.key.channel);
        if made.is_some_and(|made| *made.key() == due.key) {
            return Ok(false);
        }
        let catalog = self.control.catalog();
        let left = catalog.unexpired(&due.key, 0..i64::MAX, 1).await?;
        Ok(left.is_empty() && !catalog.has_later(due).await?)
    }

    fn is_spooled(&self, key: &RecordingKey) -> bool {
        let spool = self.control.disk().spool();
        spool.is_some_and(|spool| spool.unconfirmed(key).is_some())
    }

    /// A recording may have left the spool while its line was written there: the index says it in
    /// any case before objects go.
    async fn ensure_line(&self, due: &Due) -> Result<(), Error> {
        if self.control.disk().spool().is_none() {
            return Ok(());
        }
        let Some(text) = self.control.archive().index(&due.key).await? else {
            return Ok(());
        };
        let before = u64::try_from(due.numbers.end).unwrap_or(0);
        let trim = trim_of(&text.0).unwrap_or_default();
        if trim.before >= before {
            return Ok(());
        }
        self.write_line(&due.key, &Trim { before, ..trim }).await
    }

    /// What is left of a recording without segments: playlists, and its index last.
    async fn remove_recording(&self, key: &RecordingKey) -> Result<(), Error> {
        let store = self.control.store();
        let journal = key.journal();
        self.unpublish(key).await?;
        let mut left = store.list(&key.folder());
        let mut objects = Vec::new();
        while let Some(found) = left.try_next().await? {
            if found.object != journal {
                objects.push(found.object);
            }
        }
        for batch in objects.chunks(BATCH) {
            store.delete_all(batch).await?;
        }
        store.delete(&journal).await?;
        self.remove_empty(&key.folder()).await;
        self.control.archive().forget_recording(key);
        self.control.catalog().forget_recording(key).await?;
        tracing::info!(recording = %key, "the last of a recording has expired, and it is gone");
        Ok(())
    }

    /// Playlists in a remote store that name this recording, of which nothing is left: that of its
    /// channel first, which leads to the others.
    pub(super) async fn unpublish(&self, key: &RecordingKey) -> Result<(), Error> {
        if self.control.disk().spool().is_none() {
            return Ok(());
        }
        let store = self.control.store();
        let index = MediaPath::Index(key.channel.clone()).to_string();
        match store.get(&index).await {
            // A newer recording writes it again over whatever is there.
            Ok(text) if named_by(&text).as_ref() == Some(&key.recording) => {
                store.delete(&index).await?;
            }
            Ok(_) | Err(store::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let own = [MediaPath::Media(key.clone()), MediaPath::Vod(key.clone())];
        Ok(store.delete_all(&own.map(|path| path.to_string())).await?)
    }

    /// In an object store there are no folders.
    async fn remove_empty(&self, folder: &str) {
        let disk = self.control.disk();
        if disk.spool().is_some() {
            return;
        }
        let root = disk.root().to_owned();
        let folder = root.join(folder);
        let remove = move || store::disk::remove_empty(&root, Some(&folder));
        // What is left is tried again with the next objects that go.
        let _ = tokio::task::spawn_blocking(remove).await;
    }
}

/// Leaves room for those who read and write.
async fn pace(per_second: u32, objects: usize, took: Duration) {
    let objects = u32::try_from(objects).unwrap_or(u32::MAX);
    let should = Duration::from_secs(1) * objects / per_second;
    if let Some(left) = should.checked_sub(took) {
        tokio::time::sleep(left).await;
    }
}
