//! Retention: which segments go, by age, by bytes, by the room that is left on the disk.
//!
//! News, then index, then data, the way back of what publishing does: first the recording's index
//! says what has expired and playlists and history stop naming it (`withdraw`); when nobody who
//! loaded an older playlist can want it any more, its objects go, then its rows, and a recording of
//! which nothing is left goes as a whole (`remove`). Each step is done once or again: whoever is
//! killed between two goes on by what the catalog has.
//!
//! What a live playlist names never expires, nor what a clip or a hold names. Candidates are found
//! by an index of the catalog; a server that keeps everything asks it three short questions a round.

mod remove;
mod withdraw;

use super::{Control, Error};
use crate::catalog::{Candidate, SegmentRow, Usage};
use crate::clock;
use crate::id::ChannelId;
use crate::store::Spool;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, MutexGuard};

/// What the configuration says. What is `None` limits nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long segments are kept, of channels that do not say so themselves.
    pub age: Option<Duration>,
    /// Bytes that a channel keeps that does not say so itself.
    pub channel_bytes: Option<u64>,
    /// Bytes of all channels together.
    pub bytes: Option<u64>,
    /// Bytes that stay free on the disk of a local store.
    pub free_space: Option<u64>,
    /// How long what has expired stays for those who loaded a playlist before.
    pub grace: Duration,
    /// How often it is looked what has expired.
    pub interval: Duration,
    /// Objects that are removed in a second.
    pub deletes_per_second: u32,
}

/// Recordings that one question finds.
const CANDIDATES_MAX: usize = 10_000;
/// Recordings that are compared at first for the oldest segments; more if theirs are not enough.
const OLDEST: usize = 100;
/// Segments that are looked at for that, of all recordings together; of each at least and at most.
const COMPARED: usize = 6_400;
const SEGMENTS_MIN: usize = 8;
const SEGMENTS_MAX: usize = 64;
/// Segments of one recording that expire by age in one round.
const AGED_MAX: usize = 10_000;
/// Rounds of freeing bytes in a row.
const ROUNDS_MAX: usize = 200;
/// What has no end and that nobody here pushes is another server's, until it is as old as this.
const ABANDONED_MS: i64 = 86_400_000;
/// What cannot be done is said this often.
const WARN_EVERY: Duration = Duration::from_secs(600);
/// How often what clips and holds let go of is looked for without a word from this server.
const RELEASE_EVERY: Duration = Duration::from_secs(600);

/// Clips and holds change while nothing expires, and the other way round.
pub(super) struct Names {
    turn: Mutex<()>,
    /// Something may have been let go of since this was looked at.
    changed: AtomicBool,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            turn: Mutex::default(),
            changed: AtomicBool::new(true),
        }
    }
}

impl Names {
    /// The turn of whoever changes them.
    pub(super) async fn changing(&self) -> MutexGuard<'_, ()> {
        let turn = self.turn.lock().await;
        self.changed.store(true, Ordering::Release);
        turn
    }

    async fn reading(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }
}

/// The task of retention.
pub struct Retention {
    control: Control,
    settings: RwLock<Settings>,
    /// Whether the playlists of recordings are objects in a remote store too.
    publish_playlists: bool,
    /// Bytes removed since the start.
    removed: AtomicU64,
    rate: Mutex<Rate>,
    warned: std::sync::Mutex<Option<Instant>>,
}

/// Segments by age.
struct Oldest {
    of: Vec<Candidate>,
    /// Each with the place of its recording in `of`.
    rows: Vec<(usize, SegmentRow)>,
    /// Those of further recordings may be hardly younger.
    more: bool,
}

/// How fast bytes come in.
#[derive(Default)]
struct Rate {
    last: Option<(Instant, u64)>,
    bytes_per_s: u64,
    released: Option<Instant>,
}

impl Retention {
    /// Retention over what `control` has. With `publish_playlists` those in a remote store follow.
    pub fn new(control: Control, settings: Settings, publish_playlists: bool) -> Self {
        Self {
            control,
            settings: RwLock::new(settings),
            publish_playlists,
            removed: AtomicU64::new(0),
            rate: Mutex::default(),
            warned: std::sync::Mutex::default(),
        }
    }

    /// From the next round on these count.
    pub fn set(&self, settings: Settings) {
        let mut known = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *known = settings;
    }

    fn settings(&self) -> Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works until it is dropped. What takes long, removing objects, does not hold back the rest.
    pub async fn run(&self) {
        if let Err(error) = self.adopt_settings().await {
            tracing::error!(%error, "retention: settings of channels cannot be read");
        }
        let expire = async {
            loop {
                tokio::time::sleep(self.settings().interval).await;
                self.report(self.expire().await);
            }
        };
        let remove = async {
            loop {
                tokio::time::sleep(self.settings().interval).await;
                self.report(self.remove_due().await);
            }
        };
        tokio::join!(expire, remove);
    }

    fn report(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::warn!(%error, "retention: it goes on in the next round");
        }
    }

    /// One round: lets everything expire that is too old or too much.
    pub async fn expire(&self) -> Result<(), Error> {
        self.release_named().await?;
        self.expire_aged().await?;
        self.expire_channels().await?;
        let Settings {
            bytes, free_space, ..
        } = self.settings();
        let free_space = free_space.filter(|_| self.control.disk().spool().is_none());
        if bytes.is_none() && free_space.is_none() {
            return Ok(());
        }
        let usage = self.control.catalog().usage().await?;
        let ahead = self.ahead(self.measure(usage).await, usage, None);
        if let Some(limit) = bytes {
            let spare = self.control.disk().spare_bytes();
            let excess = excess(usage, limit, ahead.saturating_add(spare));
            self.shed(None, excess, "retention.bytes").await?;
        }
        if let Some(keep) = free_space {
            let root = self.control.disk().root().to_owned();
            let free = crate::store::free_space(&root).await?;
            let usage = self.control.catalog().usage().await?;
            let soon = free.saturating_add(u64::try_from(usage.withdrawn).unwrap_or(0));
            let wanted = keep.saturating_add(ahead.min(keep));
            let excess = wanted.saturating_sub(soon);
            let excess = i64::try_from(excess).unwrap_or(i64::MAX);
            self.shed(None, excess, "retention.free_space").await?;
        }
        Ok(())
    }

    /// What comes in until what expires now is gone.
    fn ahead(&self, bytes_per_s: u64, usage: Usage, channel: Option<&ChannelId>) -> u64 {
        let grace_ms = self.grace_ms(channel, usage.target_duration_s);
        let spool = self.control.disk().spool();
        // The store's index has to say it first.
        let index = spool.map_or(Duration::ZERO, Spool::index_interval);
        let rounds = 2 * self.settings().interval + index + Duration::from_secs(1);
        let until_ms = u64::try_from(grace_ms).unwrap_or(0) + rounds.as_millis() as u64;
        bytes_per_s.saturating_mul(until_ms) / 1000
    }

    /// How long what expires stays. A player may have loaded a playlist that named it until now, and
    /// plays on from there: RFC 8216 §6.2.2 asks for the length of the segment and of the longest
    /// live playlist that had it; caches may add half a target duration.
    fn grace_ms(&self, channel: Option<&ChannelId>, target_duration_s: i64) -> i64 {
        let window = match channel {
            Some(channel) => self.control.window_of_name(channel),
            None => self.control.settings().window_segments,
        };
        let window = i64::try_from(window).unwrap_or(i64::MAX).max(3);
        let target_ms = target_duration_s.max(1).saturating_mul(1000);
        let least_ms = target_ms.saturating_mul(window + 1) + target_ms / 2;
        let grace_ms = i64::try_from(self.settings().grace.as_millis()).unwrap_or(i64::MAX);
        grace_ms.max(least_ms)
    }

    /// How many bytes a second come in, over the last rounds.
    async fn measure(&self, usage: Usage) -> u64 {
        let came = u64::try_from(usage.bytes).unwrap_or(0) + self.removed.load(Ordering::Relaxed);
        let now = clock::monotonic();
        let mut rate = self.rate.lock().await;
        if let Some((at, before)) = rate.last {
            let ms = u64::try_from((now - at).as_millis()).unwrap_or(1).max(1);
            let current = came.saturating_sub(before).saturating_mul(1000) / ms;
            rate.bytes_per_s = current.max(rate.bytes_per_s / 4 * 3);
        }
        rate.last = Some((now, came));
        rate.bytes_per_s
    }

    /// Channels that were written before there was retention: their rows do not say it yet.
    async fn adopt_settings(&self) -> Result<(), Error> {
        let catalog = self.control.catalog();
        for id in catalog.unsynced_retention().await? {
            let channel = self.control.channel(&id).await?;
            let seconds = channel.settings.retention_s;
            let seconds = seconds.and_then(|seconds| i64::try_from(seconds).ok());
            catalog.sync_retention(&id, seconds).await?;
        }
        Ok(())
    }

    async fn expire_aged(&self) -> Result<(), Error> {
        let now_ms = clock::now().unix_ms();
        let default_s = self
            .settings()
            .age
            .map(|age| i64::try_from(age.as_secs()).unwrap_or(i64::MAX));
        let catalog = self.control.catalog();
        for candidate in catalog.aged(now_ms, default_s, CANDIDATES_MAX).await? {
            let Some(age_s) = candidate.own_age_s.or(default_s) else {
                continue;
            };
            let Some(numbers) = self.may_expire(&candidate) else {
                continue;
            };
            let cutoff_ms = now_ms.saturating_sub(age_s.saturating_mul(1000));
            let mut rows = catalog.unexpired(&candidate.key, numbers, AGED_MAX).await?;
            rows.truncate(rows.partition_point(|row| row.until_ms() <= cutoff_ms));
            if !rows.is_empty() || self.is_empty(&candidate).await? {
                self.withdraw(&candidate, &rows).await?;
            }
        }
        Ok(())
    }

    /// Whether nothing was ever stored of a recording that is over.
    async fn is_empty(&self, candidate: &Candidate) -> Result<bool, Error> {
        let catalog = self.control.catalog();
        let any = catalog.unexpired(&candidate.key, 0..i64::MAX, 1).await?;
        Ok(any.is_empty())
    }

    async fn expire_channels(&self) -> Result<(), Error> {
        let default = self.settings().channel_bytes;
        let default = default.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
        for (channel, usage, limit) in self.control.catalog().too_large(default).await? {
            let bytes_per_s = self.control.registry().bytes_per_s(&channel);
            let ahead = self.ahead(bytes_per_s, usage, Some(&channel));
            let excess = excess(usage, u64::try_from(limit).unwrap_or(0), ahead);
            self.shed(Some(&channel), excess, "the limit of a channel")
                .await?;
        }
        Ok(())
    }

    /// Lets the oldest segments of a channel, or of all, expire until `excess` bytes are on their way.
    async fn shed(
        &self,
        channel: Option<&ChannelId>,
        mut excess: i64,
        limit: &str,
    ) -> Result<(), Error> {
        for _ in 0..ROUNDS_MAX {
            if excess <= 0 {
                return Ok(());
            }
            match self.shed_some(channel, excess).await? {
                Some(freed) => excess -= freed,
                None => break,
            }
        }
        if excess > 0 {
            let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
            let now = clock::monotonic();
            if warned.is_none_or(|at| now.saturating_duration_since(at) > WARN_EVERY) {
                *warned = Some(now);
                let channel = channel.map(ToString::to_string);
                tracing::warn!(
                    channel,
                    bytes = excess,
                    "{limit} cannot be kept: the rest is named by live playlists, clips or holds, or waits for the store"
                );
            }
        }
        Ok(())
    }

    /// Lets the oldest segments expire, those of a recording together. Returns the bytes that nobody
    /// keeps, or `None` if nothing may expire.
    async fn shed_some(
        &self,
        channel: Option<&ChannelId>,
        excess: i64,
    ) -> Result<Option<i64>, Error> {
        let mut recordings = OLDEST;
        let chosen = loop {
            let oldest = self.oldest(channel, recordings).await?;
            let sum: i64 = oldest.rows.iter().map(|(_, row)| row.size).sum();
            if sum >= excess || !oldest.more || recordings >= CANDIDATES_MAX {
                break oldest;
            }
            recordings *= 10;
        };
        let mut rows: BTreeMap<usize, Vec<SegmentRow>> = BTreeMap::new();
        let mut sum = 0;
        for (at, row) in chosen.rows {
            if sum >= excess {
                break;
            }
            sum += row.size;
            rows.entry(at).or_default().push(row);
        }
        let mut freed = None;
        for (at, rows) in rows {
            let more = self.withdraw(&chosen.of[at], &rows).await?;
            freed = Some(freed.unwrap_or(0) + more);
        }
        Ok(freed)
    }

    /// The oldest segments that may expire, from so many recordings.
    async fn oldest(
        &self,
        channel: Option<&ChannelId>,
        recordings: usize,
    ) -> Result<Oldest, Error> {
        let catalog = self.control.catalog();
        let of = catalog.oldest(channel, recordings).await?;
        // Beyond this there may be older segments that were not looked at.
        let last = of.last().filter(|_| of.len() >= recordings);
        let others_ms = last.map_or(i64::MAX, |last| last.oldest_ms);
        let mut horizon_ms = others_ms;
        let each = COMPARED.checked_div(of.len()).unwrap_or(SEGMENTS_MAX);
        let each = each.clamp(SEGMENTS_MIN, SEGMENTS_MAX);
        let mut rows: Vec<(usize, SegmentRow)> = Vec::new();
        for (at, candidate) in of.iter().enumerate() {
            if candidate.oldest_ms > horizon_ms {
                break;
            }
            let Some(numbers) = self.may_expire(candidate) else {
                continue;
            };
            let found = catalog.unexpired(&candidate.key, numbers, each).await?;
            if let Some(last) = found.last().filter(|_| found.len() == each) {
                horizon_ms = horizon_ms.min(last.date_ms);
            }
            rows.extend(found.into_iter().map(|row| (at, row)));
        }
        rows.retain(|(_, row)| row.date_ms <= horizon_ms);
        rows.sort_by_key(|(_, row)| row.date_ms);
        let more = others_ms < i64::MAX && horizon_ms == others_ms;
        Ok(Oldest { of, rows, more })
    }

    /// Numbers of a recording that have not expired and may; `None` if none may.
    fn may_expire(&self, candidate: &Candidate) -> Option<std::ops::Range<i64>> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let key = &candidate.key;
        let mut end = i64::MAX;
        match self.control.registry().recording(&key.channel) {
            Some(made) if made.key() == key => {
                let recent = made.recent()?;
                end = number(recent.segments.first()?.number);
            }
            _ if candidate.ended_ms.is_none() => {
                let silent_ms = clock::now().unix_ms() - candidate.until_ms;
                (silent_ms > ABANDONED_MS).then_some(())?;
            }
            _ => {}
        }
        if let Some(spool) = self.control.disk().spool() {
            if spool.is_leaving(key) {
                return None;
            }
            if let Some(Some(first)) = spool.unconfirmed(key) {
                end = end.min(number(first));
            }
        }
        let numbers = candidate.expired_before..end;
        (!numbers.is_empty()).then_some(numbers)
    }
}

/// Bytes that have to expire so that no more than `limit` are there when they are gone.
fn excess(usage: Usage, limit: u64, ahead: u64) -> i64 {
    let target = limit - ahead.min(limit / 2);
    let listed = usage.bytes.saturating_sub(usage.withdrawn);
    listed.saturating_sub(i64::try_from(target).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
