//! The task of one recording: uploads its segments, confirms them in order, and tells.

use super::fence::Known;
use super::local::{remove_index, remove_segments};
use super::pause::Pause;
use super::{Follower, Inner, Item, Published, Shipment, Spool, blocking};
use crate::clock;
use crate::metrics;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Uploads of one recording at a time: enough to catch up, too few to take all there are.
const UPLOADS_PER_RECORDING: usize = 4;
/// The index in the store is rewritten only after so many times its own size in media: an object
/// store cannot append, and so it costs at most a 64th of the traffic.
const MEDIA_PER_INDEX: u64 = 64;
/// The same while expired objects wait for the index to say so: they may take so much more room.
const MEDIA_PER_WANTED_INDEX: u64 = 4;

/// The task of one recording.
pub(super) struct Shipping {
    spool: Spool,
    shipment: Arc<Shipment>,
    follower: Option<Box<dyn Follower>>,
    /// Length of the index that the follower was told.
    told_len: u64,
    /// Objects beside the segments, as they were written last.
    written: HashMap<String, Written>,
    /// Length of the index up to which the store has it.
    indexed_len: u64,
    /// Length of what the store has of it.
    stored_len: u64,
    indexed_at: Instant,
    /// Media confirmed since then.
    media_since: u64,
}

#[derive(Default)]
struct Written {
    text: Bytes,
    known: Known,
}

impl Shipping {
    pub(super) fn new(spool: Spool, shipment: Arc<Shipment>) -> Self {
        Self {
            spool,
            shipment,
            follower: None,
            told_len: 0,
            written: HashMap::new(),
            indexed_len: 0,
            stored_len: 0,
            indexed_at: clock::monotonic(),
            media_since: 0,
        }
    }

    pub(super) async fn run(mut self) {
        if let Some(make) = self.spool.0.followers.get() {
            self.follower = Some(make(&self.shipment.key).await);
        }
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
            let over = flights.is_empty() && self.all_confirmed();
            let news = self.tell().await;
            if over {
                self.finish().await;
                return;
            }
            if news && !self.more_is_ready() {
                self.publish().await;
            }
            tokio::select! {
                biased;
                Some(landed) = flights.next(), if !flights.is_empty() => {
                    let Ok(item) = landed else {
                        tracing::error!(recording = %self.shipment.key, "an upload broke down; the next start goes on with it");
                        return;
                    };
                    self.confirm(item).await;
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

    /// Called while nothing is under way: lines after the last segment are confirmed with it. If it is
    /// over with that, nothing is added any more.
    fn all_confirmed(&self) -> bool {
        let mut state = self.shipment.lock();
        if state.queue.is_empty() {
            state.confirmed_len = state.index_len;
        }
        state.leaving = state.queue.is_empty() && state.ended && state.stays == 0;
        state.leaving
    }

    /// Whether so much waits that playlists would only be overtaken.
    fn more_is_ready(&self) -> bool {
        let state = self.shipment.lock();
        state.queue.len() - state.begun > UPLOADS_PER_RECORDING
    }

    fn confirmed_len(&self) -> u64 {
        self.shipment.lock().confirmed_len
    }

    /// The oldest segment is in the store.
    async fn confirm(&mut self, item: Item) {
        metrics::STORED_SEGMENTS.add(1);
        metrics::STORED_BYTES.add(item.size);
        self.media_since += item.size;
        let root = &self.spool.0.root;
        let path = root.join(&item.object);
        let keep = self.follower.as_ref().map_or(0, |f| f.keep());
        let gone: Vec<Item> = {
            let mut state = self.shipment.lock();
            state.confirmed_len = state.confirmed_len.max(item.index_len);
            state.queue.pop_front();
            state.begun -= 1;
            state.kept.push_back(item);
            let more = state.kept.len().saturating_sub(keep);
            state.kept.drain(..more).collect()
        };
        let gone_len = gone.iter().map(|gone| gone.size).sum();
        let gone: Vec<_> = gone.iter().map(|gone| root.join(&gone.object)).collect();
        let spares = self.spool.0.spares.get().cloned();
        let done = blocking(move || {
            let mut permissions = fs::metadata(&path)?.permissions();
            permissions.set_readonly(true);
            fs::set_permissions(&path, permissions)?;
            gone.into_iter().try_for_each(|path| match &spares {
                Some(spares) if spares.offer(&path).unwrap_or(false) => Ok(()),
                _ => fs::remove_file(path),
            })
        });
        if let Err(error) = done.await {
            // It is uploaded once more after a restart, which changes nothing.
            tracing::warn!(recording = %self.shipment.key, %error, "a confirmed segment cannot be marked or removed");
        }
        self.spool.shrank(gone_len);
    }

    /// Tells the follower what is confirmed and it does not know; true if there was something.
    async fn tell(&mut self) -> bool {
        let (confirmed, resumed) = {
            let state = self.shipment.lock();
            (state.confirmed_len, state.resumed_len)
        };
        if confirmed <= self.told_len || self.follower.is_none() {
            return false;
        }
        let lines = match self.read_index(self.told_len, confirmed).await {
            Ok(lines) => lines,
            Err(error) => {
                self.complain(&error);
                return false;
            }
        };
        if let Some(follower) = &mut self.follower {
            let known = resumed.saturating_sub(self.told_len);
            let known = usize::try_from(known)
                .unwrap_or(usize::MAX)
                .min(lines.len());
            let (known, fresh) = lines.split_at(known);
            for (lines, fresh) in [(known, false), (fresh, true)] {
                if !lines.is_empty() {
                    follower.extend(lines, fresh);
                }
            }
        }
        self.told_len = confirmed;
        true
    }

    /// Playlists, if they are wanted: the newest of what is confirmed.
    async fn publish(&mut self) {
        if let Some(mut follower) = self.follower.take() {
            let current = follower.current();
            self.put_changed(&*follower, current).await;
            self.follower = Some(follower);
        }
    }

    async fn put_changed(&mut self, follower: &dyn Follower, all: Vec<Published>) {
        for published in all {
            let known = self.written.remove(&published.object);
            let mut written = known.unwrap_or_else(|| self.unknown(&published.object));
            if written.text != published.text {
                let is_ahead = |theirs: &[u8]| follower.is_behind(&published, theirs);
                let put = self.spool.0.put(&published, &mut written.known, is_ahead);
                if put.await {
                    written.text = published.text.clone();
                }
            }
            self.written.insert(published.object, written);
        }
    }

    /// What is known of an object that this task has not written. Those in the folder of a recording
    /// that this process has begun are not there before it writes them.
    fn unknown(&self, object: &str) -> Written {
        let ours = object.starts_with(&self.shipment.key.folder());
        let fresh = ours && !self.shipment.lock().resumed;
        Written {
            text: Bytes::new(),
            known: match fresh {
                true => Known::Absent,
                false => Known::Nothing,
            },
        }
    }

    fn index_is_behind(&self) -> bool {
        let (confirmed, wanted) = {
            let state = self.shipment.lock();
            (state.confirmed_len, state.index_wanted)
        };
        let times = match wanted {
            true => MEDIA_PER_WANTED_INDEX,
            false => MEDIA_PER_INDEX,
        };
        // The first one is worth it in any case.
        confirmed > self.indexed_len && self.media_since >= times * self.stored_len
    }

    fn until_index(&self) -> Duration {
        let due = self.indexed_at + self.spool.0.settings.index_interval;
        due.saturating_duration_since(clock::monotonic())
    }

    async fn write_index(&mut self) {
        let len = self.confirmed_len();
        match self.read_index(0, len).await {
            Ok(text) => self.put_index(text, len).await,
            Err(error) => self.complain(&error),
        }
        self.indexed_at = clock::monotonic();
    }

    async fn put_index(&mut self, text: Vec<u8>, len: u64) {
        let follower = self.follower.as_deref();
        let (text, expired_before) = match follower {
            Some(follower) => follower.index(text),
            None => (text, 0),
        };
        let stored_len = text.len() as u64;
        let published = Published {
            object: self.shipment.key.journal(),
            text: text.into(),
            max_age_s: 0,
        };
        let is_ahead = |theirs: &[u8]| match follower {
            Some(follower) => follower.is_behind(&published, theirs),
            None => theirs.len() > published.text.len(),
        };
        let known = self.written.remove(&published.object);
        let mut written = known.unwrap_or_else(|| self.unknown(&published.object));
        let put = self.spool.0.put(&published, &mut written.known, is_ahead);
        if put.await {
            let mut state = self.shipment.lock();
            state.indexed_before = expired_before;
            state.index_wanted = false;
        } else {
            tracing::error!(recording = %self.shipment.key, "the index in the store goes on further than ours: another server writes this recording");
        }
        // The text itself is not kept: a day's is megabytes.
        self.written.insert(published.object, written);
        self.indexed_len = len;
        self.stored_len = stored_len;
        self.media_since = 0;
    }

    /// Everything is confirmed: the index and the playlists are settled, and the spool forgets.
    async fn finish(mut self) {
        self.write_index().await;
        if self.indexed_len < self.confirmed_len() {
            return; // it could not be read; the next start tries again
        }
        let mut follower = self.follower.take();
        if let Some(follower) = &mut follower
            && let Ok(text) = self.read_index(0, self.confirmed_len()).await
        {
            let settled = follower.settled(&text);
            self.put_changed(&**follower, settled).await;
        }
        let Spool(inner) = self.spool.clone();
        let (root, key) = (inner.root.clone(), self.shipment.key.clone());
        match blocking(move || remove_segments(&root, &key)).await {
            Ok(bytes) => self.spool.shrank(bytes),
            Err(error) => self.complain(&error),
        }
        inner.shipments().remove(&self.shipment.key.folder());
        inner.left.notify_waiters();
        tracing::info!(recording = %self.shipment.key, "the store has all of the recording");
        // The index is what a restart tells again from.
        if let Some(follower) = follower {
            follower.safe().await;
        }
        let (root, key) = (inner.root.clone(), self.shipment.key.clone());
        if let Err(error) = blocking(move || remove_index(&root, &key)).await {
            self.complain(&error);
        }
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

impl Inner {
    /// Tries until it is confirmed.
    async fn upload(self: Arc<Self>, item: Item) -> Item {
        let began = clock::monotonic();
        let path = self.root.join(&item.object);
        let mut pause = Pause::new(&self, &item.object);
        loop {
            let permit = self.uploads.acquire().await; // never closed
            let flying = metrics::UPLOADS.hold();
            let result = self.store.upload(&item.object, &path, item.size).await;
            drop((permit, flying));
            match result {
                Ok(()) => {
                    metrics::UPLOAD_SECONDS.record(clock::monotonic() - began);
                    return item;
                }
                Err(error) => pause.after(&error).await,
            }
        }
    }
}
