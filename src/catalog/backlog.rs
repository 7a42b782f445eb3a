//! What running pushes have to tell the catalog: a bounded queue and the one task that writes it.
//!
//! A push hands its row over and goes on, whatever the database does. The task writes rows in
//! batches; a batch that meets a database that is away is kept and tried again, with a growing
//! pause, and the rows behind it wait in the queue. A full queue refuses what comes: that is
//! counted, shown, and remembered by recording, so that whoever knows the store can write those
//! rows again from the recording's own index ([`Backlog::take_torn`]).

use super::history::{self, RecordingRow, SegmentRow, SessionRow};
use super::retention::{self, Expiry};
use super::stored::{self, Stored};
use super::{Catalog, Error, judge, within};
use crate::key::RecordingKey;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::task::JoinHandle;

/// Rows that wait for the database: some 15 MB, and with 500 channels of two-second segments four
/// minutes.
const WAITING_MAX: usize = 65_536;
/// Rows in one transaction; bounds how long others wait for the write lock.
const BATCH_MAX: usize = 512;
/// How long the first row of a batch waits for more: what a killed process forgets, until its
/// recordings are read again.
const LINGER: Duration = Duration::from_millis(100);
/// Pauses between attempts while the database is away.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Recordings that lost rows and are remembered for it.
const TORN_MAX: usize = 10_000;

/// A row on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// A recording begins.
    Recording {
        /// Its name.
        key: RecordingKey,
        /// When, in milliseconds since the Unix epoch.
        began_ms: i64,
    },
    /// A session begins, goes on or has ended: the row as it is now.
    Session(Box<SessionRow>),
    /// A segment is stored.
    Segment {
        /// Of which recording.
        key: RecordingKey,
        /// The row.
        row: SegmentRow,
        /// EXT-X-TARGETDURATION of the recording, in seconds.
        target_duration_s: i64,
    },
    /// The bytes of a segment that was stored are gone: it is a gap.
    Lost {
        /// Of which recording.
        key: RecordingKey,
        /// Media sequence number.
        number: i64,
    },
    /// Segments of a recording have expired: the rows of those that are left say so themselves.
    Expired {
        /// Of which recording.
        key: RecordingKey,
        /// What has expired.
        expiry: Box<Expiry>,
    },
    /// A recording is over.
    End {
        /// Its name.
        key: RecordingKey,
        /// When, in milliseconds since the Unix epoch.
        ended_ms: i64,
    },
}

/// How the catalog is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Health {
    /// Why nothing is written at this moment, if so.
    pub away: Option<String>,
    /// Rows that wait.
    pub waiting: usize,
    /// Rows that found the queue full since the start.
    pub refused: u64,
}

/// The way into the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Backlog {
    entries: mpsc::Sender<Entry>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    away: Option<String>,
    /// Rows that were handed over and are not written.
    waiting: usize,
    /// Rows that are written, since the start.
    written: u64,
    refused: u64,
    full: bool,
    torn: BTreeSet<RecordingKey>,
}

impl Backlog {
    /// A queue into `catalog`, and its task, which ends when all senders are gone and all is written.
    pub fn start(catalog: Catalog) -> (Self, JoinHandle<()>) {
        Self::with_capacity(catalog, WAITING_MAX)
    }

    /// The same with room for `capacity` rows.
    pub fn with_capacity(catalog: Catalog, capacity: usize) -> (Self, JoinHandle<()>) {
        let (entries, waiting) = mpsc::channel(capacity);
        let state = Arc::new(Mutex::default());
        let writer = Writer {
            catalog,
            state: Arc::clone(&state),
        };
        (Self { entries, state }, tokio::spawn(writer.run(waiting)))
    }

    /// Hands a row over. Never waits.
    pub fn push(&self, entry: Entry) {
        let mut state = lock(&self.state);
        let refused = match self.entries.try_send(entry) {
            Ok(()) => {
                state.waiting += 1;
                return;
            }
            Err(TrySendError::Full(entry) | TrySendError::Closed(entry)) => entry,
        };
        state.refused += 1;
        if state.torn.len() < TORN_MAX {
            state.torn.insert(refused.recording().clone());
        }
        if !std::mem::replace(&mut state.full, true) {
            tracing::error!(
                rows = WAITING_MAX,
                "catalog: as many rows wait as may; history has gaps until they are restored from the recordings' indexes"
            );
        }
    }

    /// How the catalog is.
    pub fn health(&self) -> Health {
        let state = lock(&self.state);
        Health {
            away: state.away.clone(),
            waiting: state.waiting,
            refused: state.refused,
        }
    }

    /// Stands for everything that was handed over so far.
    pub fn mark(&self) -> u64 {
        let state = lock(&self.state);
        state.written + state.waiting as u64
    }

    /// Whether all before `mark` is written, and the recording has lost no row to a full queue.
    pub fn has_written(&self, mark: u64, recording: &RecordingKey) -> bool {
        let state = lock(&self.state);
        state.written >= mark && !state.torn.contains(recording)
    }

    /// The recordings that lost rows to a full queue, once the queue has room again. Whoever takes
    /// them writes their rows again.
    pub fn take_torn(&self) -> BTreeSet<RecordingKey> {
        let room = self.entries.capacity() * 2 > self.entries.max_capacity();
        let mut state = lock(&self.state);
        match room && state.away.is_none() {
            true => {
                state.full = false;
                std::mem::take(&mut state.torn)
            }
            false => BTreeSet::new(),
        }
    }
}

struct Writer {
    catalog: Catalog,
    state: Arc<Mutex<State>>,
}

impl Writer {
    async fn run(self, mut waiting: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        while waiting.recv_many(&mut batch, BATCH_MAX).await > 0 {
            if batch.len() < BATCH_MAX {
                tokio::time::sleep(LINGER).await;
                while batch.len() < BATCH_MAX
                    && let Ok(entry) = waiting.try_recv()
                {
                    batch.push(entry);
                }
            }
            self.write(&batch).await;
            let mut state = lock(&self.state);
            state.waiting -= batch.len();
            state.written += batch.len() as u64;
            drop(state);
            batch.clear();
        }
    }

    /// Writes a batch, however long that takes.
    async fn write(&self, batch: &[Entry]) {
        let mut pause = PAUSE_MIN;
        loop {
            match self.attempt(batch).await {
                Ok(()) => return self.is_back(),
                Err(error) if error.is_passing() => self.is_away(&error),
                Err(error) if batch.len() == 1 => {
                    self.is_back();
                    return tracing::error!(%error, row = ?batch.first(), "catalog: a row is left out");
                }
                // One row spoils the transaction of all: each gets its own.
                Err(_) => {
                    for entry in batch {
                        Box::pin(self.write(std::slice::from_ref(entry))).await;
                    }
                    return;
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn attempt(&self, batch: &[Entry]) -> Result<(), Error> {
        let write = async {
            let mut transaction = self.catalog.writes.begin().await?;
            // Segments in a row are written together.
            let both_stored = |one: &Entry, next: &Entry| one.stored().and(next.stored()).is_some();
            for run in batch.chunk_by(both_stored) {
                if let [one] = run {
                    one.write(&mut transaction).await?;
                } else {
                    let segments: Vec<_> = run.iter().filter_map(Entry::stored).collect();
                    stored::write_segments(&mut transaction, &segments).await?;
                }
            }
            transaction.commit().await
        };
        within("write history", write).await
    }

    fn is_away(&self, error: &Error) {
        let before = lock(&self.state).away.replace(error.to_string());
        if before.is_none() {
            tracing::warn!(%error, "catalog: rows wait until it is back; pushes go on");
        }
    }

    fn is_back(&self) {
        if lock(&self.state).away.take().is_some() {
            tracing::info!("catalog: it is back, and what waited is being written");
        }
    }
}

/// How long the rows of one recording may take to be written anew: a week has 300,000.
const REWRITE_MAX: Duration = Duration::from_secs(600);

impl Catalog {
    /// Makes the rows of a recording what they should be: itself, its `segments`, and the sessions
    /// among `entries`. Segments that are not named go, but for those that have expired.
    pub async fn rewrite(
        &self,
        recording: &RecordingRow,
        segments: &[SegmentRow],
        entries: &[Entry],
    ) -> Result<(), Error> {
        let action = "write history anew";
        let write = async {
            let mut transaction = self.writes.begin().await?;
            for entry in entries {
                match entry {
                    Entry::Session(_) | Entry::Expired { .. } => {
                        entry.write(&mut transaction).await?;
                    }
                    _ => {}
                }
            }
            history::rewrite(&mut transaction, recording, segments).await?;
            transaction.commit().await
        };
        match tokio::time::timeout(REWRITE_MAX, write).await {
            Ok(written) => written.map_err(|error| judge(action, error)),
            Err(_) => Err(Error::Away(format!("it did not {action} in time"))),
        }
    }
}

impl Entry {
    fn recording(&self) -> &RecordingKey {
        match self {
            Self::Recording { key, .. }
            | Self::Segment { key, .. }
            | Self::Lost { key, .. }
            | Self::Expired { key, .. }
            | Self::End { key, .. } => key,
            Self::Session(row) => &row.recording,
        }
    }

    fn stored(&self) -> Option<Stored<'_>> {
        match self {
            Self::Segment {
                key,
                row,
                target_duration_s,
            } => Some(Stored {
                key,
                row,
                target_duration_s: *target_duration_s,
            }),
            _ => None,
        }
    }

    async fn write(&self, on: &mut sqlx::AnyConnection) -> Result<(), sqlx::Error> {
        match self {
            Self::Recording { key, began_ms } => history::write_recording(on, key, *began_ms).await,
            Self::Session(row) => history::write_session(on, row).await,
            Self::Segment { .. } => stored::write_segments(on, self.stored().as_slice()).await,
            Self::Lost { key, number } => history::lose_segment(on, key, *number).await,
            Self::Expired { key, expiry } => retention::expire(on, key, expiry).await,
            Self::End { key, ended_ms } => history::end_recording(on, key, *ended_ms).await,
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
