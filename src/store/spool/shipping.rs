//! The task of one recording: uploads its segments, confirms them in order, and publishes.

use super::local::remove_recording;
use super::pause::Pause;
use super::{Item, Published, Shelf, Shipment, Spool, blocking, named_by};
use crate::clock;
use crate::metrics;
use crate::store::Error;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Uploads of one recording at a time: enough to catch up, too few to take all there are.
const UPLOADS_PER_RECORDING: usize = 4;
/// The index in the store is rewritten only after so many times its own size in media: an object
/// store cannot append, and so it costs at most a 64th of the traffic.
const MEDIA_PER_INDEX: u64 = 64;

/// The task of one recording.
pub(super) struct Shipping {
    spool: Spool,
    shipment: Arc<Shipment>,
    shelf: Option<Box<dyn Shelf>>,
    /// Length of the index that the shelf has read.
    shelved_len: u64,
    /// Playlists as they were written last.
    written: HashMap<String, Bytes>,
    /// Length of the index in the store.
    indexed_len: u64,
    indexed_at: Instant,
    /// Media confirmed since then.
    media_since: u64,
    /// Confirmed segments that are still here.
    kept: VecDeque<Item>,
}

impl Shipping {
    pub(super) fn new(
        spool: Spool,
        shipment: Arc<Shipment>,
        shelf: Option<Box<dyn Shelf>>,
    ) -> Self {
        Self {
            spool,
            shipment,
            shelf,
            shelved_len: 0,
            written: HashMap::new(),
            indexed_len: 0,
            indexed_at: clock::monotonic(),
            media_since: 0,
            kept: VecDeque::new(),
        }
    }

    pub(super) async fn run(mut self) {
        let mut flights = FuturesOrdered::new();
        loop {
            while flights.len() < UPLOADS_PER_RECORDING
                && let Some(item) = self.next_item()
            {
                // A task of its own: it goes on, and lets go of its turn, while this one waits
                // for another turn to write an index.
                let upload = self.spool.0.clone().upload(item);
                flights.push_back(self.spool.0.runtime.spawn(upload));
            }
            let idle = flights.is_empty();
            if idle && self.all_confirmed() {
                self.finish().await;
                return;
            }
            tokio::select! {
                biased;
                Some(landed) = flights.next(), if !idle => {
                    let Ok(item) = landed else {
                        tracing::error!(recording = %self.shipment.key, "an upload broke down; the next start goes on with it");
                        return;
                    };
                    self.confirm(item).await;
                    if !self.more_is_ready() {
                        self.publish().await;
                    }
                }
                () = self.shipment.wake.notified() => {}
                () = tokio::time::sleep(self.until_index()), if self.index_is_behind() => {
                    self.write_index().await;
                }
            }
        }
    }

    fn next_item(&self) -> Option<Item> {
        let mut state = self.shipment.lock();
        let item = state.queue.get(state.begun).cloned()?;
        state.begun += 1;
        Some(item)
    }

    /// Called while nothing is under way: lines after the last segment are confirmed with it.
    fn all_confirmed(&self) -> bool {
        let mut state = self.shipment.lock();
        if state.queue.is_empty() {
            state.confirmed_len = state.index_len;
        }
        state.queue.is_empty() && state.ended
    }

    /// Whether so much waits that playlists would only be overtaken.
    fn more_is_ready(&self) -> bool {
        let state = self.shipment.lock();
        state.queue.len() - state.begun > UPLOADS_PER_RECORDING
    }

    fn confirmed_len(&self) -> u64 {
        self.shipment.lock().confirmed_len
    }

    async fn confirm(&mut self, item: Item) {
        {
            let mut state = self.shipment.lock();
            state.confirmed_len = state.confirmed_len.max(item.index_len);
            state.queue.pop_front();
            state.begun -= 1;
        }
        metrics::STORED_SEGMENTS.add(1);
        metrics::STORED_BYTES.add(item.size);
        self.media_since += item.size;
        let path = self.spool.0.root.join(&item.object);
        self.kept.push_back(item);
        let gone = match self.kept.len() > self.spool.0.settings.keep {
            true => self.kept.pop_front(),
            false => None,
        };
        let gone_path = gone
            .as_ref()
            .map(|gone| self.spool.0.root.join(&gone.object));
        let done = blocking(move || {
            let mut permissions = fs::metadata(&path)?.permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions)?;
            gone_path.map_or(Ok(()), fs::remove_file)
        });
        if let Err(error) = done.await {
            // It is uploaded once more after a restart, which changes nothing.
            tracing::warn!(recording = %self.shipment.key, %error, "a confirmed segment cannot be marked or removed");
        }
        self.spool.shrank(gone.map_or(0, |gone| gone.size));
    }

    /// Playlists, if they are wanted: the newest of what is confirmed.
    async fn publish(&mut self) {
        let Some(mut shelf) = self.shelf.take() else {
            return;
        };
        let confirmed = self.confirmed_len();
        match self.read_index(self.shelved_len, confirmed).await {
            Ok(lines) => {
                shelf.extend(&lines);
                self.shelved_len = confirmed;
                self.put_changed(shelf.current()).await;
            }
            Err(error) => self.complain(&error),
        }
        self.shelf = Some(shelf);
    }

    async fn put_changed(&mut self, all: Vec<Published>) {
        let folder = self.shipment.key.folder();
        for published in all {
            let ours = published.object.starts_with(&folder);
            if self.written.get(&published.object) != Some(&published.text)
                && (ours || self.is_newest(&published.object).await)
            {
                self.spool.0.put(published.clone()).await;
                self.written.insert(published.object, published.text);
            }
        }
    }

    /// Whether the channel's playlist may name this recording: uploads that were late must not
    /// bring an older recording back.
    async fn is_newest(&self, object: &str) -> bool {
        let inner = &self.spool.0;
        let mut pause = Pause::new(inner, object);
        loop {
            match inner.store.get(object).await {
                Ok(text) => {
                    return named_by(&text)
                        .is_none_or(|named| named <= self.shipment.key.recording);
                }
                Err(Error::NotFound { .. }) => return true,
                Err(error) => pause.after(&error).await,
            }
        }
    }

    fn index_is_behind(&self) -> bool {
        let confirmed = self.confirmed_len();
        let first = self.indexed_len == 0;
        let worth = self.media_since >= MEDIA_PER_INDEX * confirmed;
        confirmed > self.indexed_len && (first || worth)
    }

    fn until_index(&self) -> Duration {
        let due = self.indexed_at + self.spool.0.settings.index_interval;
        due.saturating_duration_since(clock::monotonic())
    }

    async fn write_index(&mut self) {
        let len = self.confirmed_len();
        match self.read_index(0, len).await {
            Ok(text) => {
                let object = self.shipment.key.journal();
                let text = text.into();
                let max_age_s = 0;
                self.spool
                    .0
                    .put(Published {
                        object,
                        text,
                        max_age_s,
                    })
                    .await;
                self.indexed_len = len;
                self.media_since = 0;
            }
            Err(error) => self.complain(&error),
        }
        self.indexed_at = clock::monotonic();
    }

    /// Everything is confirmed: the index and the playlists are settled, and the spool forgets.
    async fn finish(mut self) {
        self.write_index().await;
        if self.indexed_len < self.confirmed_len() {
            return; // it could not be read; the next start tries again
        }
        if let Some(mut shelf) = self.shelf.take()
            && let Ok(text) = self.read_index(0, self.confirmed_len()).await
        {
            let text: Bytes = text.into();
            self.put_changed(shelf.settled(&text)).await;
        }
        let Spool(inner) = self.spool.clone();
        inner.shipments().remove(&self.shipment.key.folder());
        let (root, key) = (inner.root.clone(), self.shipment.key.clone());
        let removed = blocking(move || remove_recording(&root, &key)).await;
        match removed {
            Ok(bytes) => self.spool.shrank(bytes),
            Err(error) => self.complain(&error),
        }
        tracing::info!(recording = %self.shipment.key, "the store has all of the recording");
        inner.left.notify_waiters();
    }

    async fn read_index(&self, from: u64, to: u64) -> io::Result<Vec<u8>> {
        let path = self.spool.0.root.join(self.shipment.key.journal());
        blocking(move || {
            let mut file = fs::File::open(path)?;
            file.seek(SeekFrom::Start(from))?;
            let mut text = Vec::new();
            file.take(to.saturating_sub(from)).read_to_end(&mut text)?;
            Ok(text)
        })
        .await
    }

    fn complain(&self, error: &io::Error) {
        tracing::error!(recording = %self.shipment.key, %error, "the spool cannot be used");
    }
}
