//! The first step: nothing names a segment any more.

use super::{RELEASE_EVERY, Retention};
use crate::catalog::{Candidate, Cause, Expiry, NEVER, SegmentRow, flags};
use crate::clock;
use crate::control::Error;
use crate::control::journal::{Index, Line, Trim, compact};
use crate::control::shelf::Playlists;
use crate::key::RecordingKey;
use crate::store::spool::{Presence, Published};
use crate::store::{self, Condition, disk::WriteError};
use std::ops::Range;
use std::sync::atomic::Ordering;
use tokio::sync::oneshot;

/// Recordings that one round looks through for what clips and holds have let go of.
const RELEASED_MAX: usize = 10_000;
/// Segments before the expired ones that clips and holds keep of one recording.
const KEPT_MAX: usize = 1_000_000;

impl Retention {
    /// Lets `rows`, the first of a recording that have not expired, expire, but for what clips and
    /// holds name. Returns the bytes that will be free. A recording that fails holds back no other.
    pub(super) async fn withdraw(
        &self,
        candidate: &Candidate,
        rows: &[SegmentRow],
    ) -> Result<i64, Error> {
        match self.withdraw_now(candidate, rows).await {
            Err(error @ Error::Catalog(_)) => Err(error),
            Err(error) => {
                tracing::warn!(recording = %candidate.key, %error, "retention: nothing of it expires in this round");
                Ok(0)
            }
            freed => freed,
        }
    }

    async fn withdraw_now(&self, candidate: &Candidate, rows: &[SegmentRow]) -> Result<i64, Error> {
        let _alone = self.control.names().reading().await;
        let catalog = self.control.catalog();
        let key = &candidate.key;
        let before = rows
            .last()
            .map_or(candidate.expired_before, |row| row.number + 1);
        let next = catalog.unexpired(key, before..i64::MAX, 1).await?;
        let mut kept = match candidate.kept {
            0 => Vec::new(),
            _ => {
                catalog
                    .unexpired(key, 0..candidate.expired_before, KEPT_MAX)
                    .await?
            }
        };
        let (named, free) = self.named(key, rows).await?;
        kept.extend(named);
        let first_ever = candidate.expired_before == 0;
        let tags = rows.iter().enumerate().filter(|(at, row)| {
            // The first of all follows nothing, whatever it says.
            row.flags & flags::DISCONTINUITY != 0 && !(first_ever && *at == 0)
        });
        let expiry = Expiry {
            numbers: candidate.expired_before..before,
            cause: Cause::Next,
            runs: runs(&free),
            oldest_ms: next.first().map_or(NEVER, |row| row.date_ms),
            kept: i64::try_from(kept.len()).unwrap_or(i64::MAX),
            discontinuities: candidate.discontinuities
                + i64::try_from(tags.count()).unwrap_or(i64::MAX),
            due_ms: self.due_ms(candidate),
        };
        self.make_known(key, &expiry, &kept).await?;
        Ok(free.iter().map(|row| row.size).sum())
    }

    /// Segments before the expired ones that clips and holds have let go of expire too.
    pub(super) async fn release_named(&self) -> Result<(), Error> {
        let now = clock::monotonic();
        {
            let mut rate = self.rate.lock().await;
            let told = self.control.names().changed.swap(false, Ordering::AcqRel);
            let past = |at| now.saturating_duration_since(at) > RELEASE_EVERY;
            if !told && !rate.released.is_none_or(past) {
                return Ok(());
            }
            rate.released = Some(now);
        }
        for candidate in self.control.catalog().with_kept(RELEASED_MAX).await? {
            let _alone = self.control.names().reading().await;
            let key = &candidate.key;
            let catalog = self.control.catalog();
            let rows = catalog
                .unexpired(key, 0..candidate.expired_before, KEPT_MAX)
                .await?;
            let (kept, free) = self.named(key, &rows).await?;
            let Some(first) = free.first() else {
                continue;
            };
            let expiry = Expiry {
                numbers: first.number..candidate.expired_before,
                cause: Cause::Released,
                runs: runs(&free),
                oldest_ms: candidate.oldest_ms,
                kept: i64::try_from(kept.len()).unwrap_or(i64::MAX),
                discontinuities: candidate.discontinuities,
                due_ms: self.due_ms(&candidate),
            };
            self.make_known(key, &expiry, &kept).await?;
        }
        Ok(())
    }

    /// What of `rows` a clip or a hold names, and what nobody does.
    async fn named(
        &self,
        key: &RecordingKey,
        rows: &[SegmentRow],
    ) -> Result<(Vec<SegmentRow>, Vec<SegmentRow>), Error> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok((Vec::new(), Vec::new()));
        };
        let time = first.date_ms..last.until_ms();
        let named = self
            .control
            .catalog()
            .named_ranges(&key.channel, time)
            .await?;
        let is_named = |row: &&SegmentRow| {
            let touches =
                |range: &Range<i64>| row.date_ms < range.end && row.until_ms() > range.start;
            named.iter().any(touches)
        };
        Ok(rows.iter().partition(is_named))
    }

    /// Index, then playlists and history.
    async fn make_known(
        &self,
        key: &RecordingKey,
        expiry: &Expiry,
        kept: &[SegmentRow],
    ) -> Result<(), Error> {
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        let pairs = runs(kept).into_iter();
        let trim = Trim {
            before: number(expiry.numbers.end),
            discontinuities: number(expiry.discontinuities),
            kept: pairs
                .map(|run| (number(run.start), number(run.end - 1)))
                .collect(),
        };
        self.write_line(key, &trim).await?;
        self.control.archive().forget_recording(key);
        self.control.catalog().expire(key, expiry).await?;
        tracing::debug!(recording = %key, before = expiry.numbers.end, "segments expire");
        Ok(())
    }

    /// Says in the recording's index what has expired, wherever that is.
    pub(super) async fn write_line(&self, key: &RecordingKey, trim: &Trim) -> Result<(), Error> {
        let line = Line::Expired(trim.clone()).to_text();
        let spool = self.control.disk().spool();
        match spool.map(|spool| spool.presence(key)) {
            None => return self.append_line(key, line).await,
            Some(Presence::Here(stay)) => {
                let appended = self.append_line(key, line).await;
                drop(stay);
                return appended;
            }
            Some(Presence::Leaving) => return Err(Error::Leaving(key.clone())),
            Some(Presence::Gone) => {}
        }
        let store = self.control.store();
        let text = match store.get(&key.journal()).await {
            Ok(text) => text,
            // A push without a segment has none.
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let mut text = text.to_vec();
        text.extend_from_slice(line.as_bytes());
        let text = compact(&text).unwrap_or(text);
        if self.publish_playlists && Index::parse(&text).segments.is_empty() {
            self.unpublish(key).await?;
        } else if self.publish_playlists {
            let ours = key.folder();
            let mut shelf = Playlists::new(key, self.control.window_of_name(&key.channel));
            shelf.extend(&text);
            for published in shelf
                .settled(&text)
                .iter()
                .filter(|one| one.object.starts_with(&ours))
            {
                store.publish(published, Condition::Always).await?;
            }
        }
        let journal = Published {
            object: key.journal(),
            text: text.into(),
            max_age_s: 0,
        };
        store.publish(&journal, Condition::Always).await?;
        Ok(())
    }

    async fn append_line(&self, key: &RecordingKey, line: String) -> Result<(), Error> {
        let writer = self.control.disk().writer(&key.folder());
        let (done, told) = oneshot::channel();
        let done = |result: Result<(), WriteError>| {
            // Nobody waits any more if this fails.
            let _ = done.send(result);
        };
        writer.line(key.journal(), line, done).await;
        match told.await {
            Ok(Err(error)) => Err(Error::Write(error)),
            // The thread is gone: the server stops.
            Ok(Ok(())) | Err(_) => Ok(()),
        }
    }

    /// When what expires now may go.
    fn due_ms(&self, candidate: &Candidate) -> i64 {
        let channel = Some(&candidate.key.channel);
        let grace_ms = self.grace_ms(channel, candidate.target_duration_s);
        clock::now().unix_ms().saturating_add(grace_ms)
    }
}

/// Consecutive numbers as runs.
fn runs(rows: &[SegmentRow]) -> Vec<Range<i64>> {
    let consecutive = rows.chunk_by(|a, b| a.number + 1 == b.number);
    let run = |rows: &[SegmentRow]| Some(rows.first()?.number..rows.last()?.number + 1);
    consecutive.filter_map(run).collect()
}
