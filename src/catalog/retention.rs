//! What retention asks and writes: candidates by index, expired segments, what is due to go.
//!
//! A segment expires in two steps. [`Catalog::expire`] flags its row, so that no playlist and no
//! listing names it, and notes when its object may go. [`Catalog::gone`] takes the row, after the
//! object. Killed between any two, the next process finds the same rows and goes on.

use super::history::{self, SEGMENT, flags, limit_of, recording_key};
use super::sql::Sql;
use super::{Catalog, Error, SegmentRow, column, judge, within};
use crate::id::ChannelId;
use crate::key::RecordingKey;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::ops::Range;

/// Later than every segment: the oldest of a recording that has none left.
pub const NEVER: i64 = i64::MAX;

/// A recording that retention looks at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its name.
    pub key: RecordingKey,
    /// Where its first segment begins that has not expired; [`NEVER`] if there is none.
    pub oldest_ms: i64,
    /// When its last segment ends.
    pub until_ms: i64,
    /// When it was ended for good.
    pub ended_ms: Option<i64>,
    /// EXT-X-TARGETDURATION in seconds.
    pub target_duration_s: i64,
    /// Segments before this number have expired.
    pub expired_before: i64,
    /// How many before that number stay because somebody names them.
    pub kept: i64,
    /// Discontinuities before that number.
    pub discontinuities: i64,
    /// How long its channel keeps what was pushed, if the channel says so itself.
    pub own_age_s: Option<i64>,
}

/// What there is of something, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// All that is there.
    pub bytes: i64,
    /// Of that, what has expired and goes soon.
    pub withdrawn: i64,
    /// The longest EXT-X-TARGETDURATION of a recording that goes on, in seconds.
    pub target_duration_s: i64,
}

/// Segments that expire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Expiry {
    /// The first number that is looked at, and the first that has not expired afterwards.
    pub numbers: Range<i64>,
    /// How it comes about.
    pub cause: Cause,
    /// Runs of numbers within, or before, that expire, as far as they have not.
    pub runs: Vec<Range<i64>>,
    /// Where the first segment begins that has not expired, or [`NEVER`].
    pub oldest_ms: i64,
    /// Segments of the recording before `numbers.end` that stay.
    pub kept: i64,
    /// Discontinuities before `numbers.end`.
    pub discontinuities: i64,
    /// When their objects may go.
    pub due_ms: i64,
}

/// How it comes about that segments expire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// They are the next of their recording.
    Next,
    /// Clips and holds have let go of them, among others that have expired before and may go earlier.
    Released,
    /// The recording's index says so, and the catalog may know it already.
    Told,
}

/// Expired segments whose objects may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Due {
    /// Their recording.
    pub key: RecordingKey,
    /// Their numbers; not all between have expired.
    pub numbers: Range<i64>,
    /// Since when.
    pub due_ms: i64,
    /// Whether the recording is over.
    pub ended: bool,
    /// Segments of the recording before its first that has not expired, which stay.
    pub kept: i64,
    /// Whether no segment of the recording is left that has not expired.
    pub is_all: bool,
}

const CANDIDATE: &str = "SELECT r.hub, r.channel, r.id, r.oldest_ms, r.until_ms, r.ended_ms, \
     r.target_duration_s, r.expired_before, r.kept, c.retention_s, r.expired_discontinuities FROM recordings r \
     LEFT JOIN channels c ON c.hub = r.hub AND c.name = r.channel";

impl Catalog {
    /// Recordings with segments that are older than their channels keep them, as they say
    /// themselves or, where they do not, by `default_s`.
    pub async fn aged(
        &self,
        now_ms: i64,
        default_s: Option<i64>,
        limit: usize,
    ) -> Result<Vec<Candidate>, Error> {
        let mut sql = Sql::new(
            "SELECT r.hub, r.channel, r.id, r.oldest_ms, r.until_ms, r.ended_ms, r.target_duration_s, \
             r.expired_before, r.kept, c.retention_s, r.expired_discontinuities FROM channels c JOIN recordings r \
             ON r.hub = c.hub AND r.channel = c.name",
        );
        let limit = limit_of(limit);
        sql.push(
            " AND r.oldest_ms < ? - c.retention_s * 1000 WHERE c.retention_s IS NOT NULL LIMIT ?",
            [now_ms.into(), limit.into()],
        );
        let mut rows = sql.rows(self, "find what is too old").await?;
        if let Some(default_s) = default_s {
            let mut sql = Sql::new(CANDIDATE);
            let cutoff_ms = now_ms.saturating_sub(default_s.saturating_mul(1000));
            sql.push(
                " WHERE r.oldest_ms < ? AND c.retention_s IS NULL ORDER BY r.oldest_ms LIMIT ?",
                [cutoff_ms.into(), limit.into()],
            );
            rows.extend(sql.rows(self, "find what is too old").await?);
        }
        rows.iter().map(Candidate::read).collect()
    }

    /// Channels that have more bytes than they keep, each with what it has and what it keeps, as
    /// it says itself or by `default`.
    pub async fn too_large(
        &self,
        default: Option<i64>,
    ) -> Result<Vec<(ChannelId, Usage, i64)>, Error> {
        // Usual is that no channel says anything, and then none is looked at.
        let said = sqlx::query("SELECT 1 FROM channels WHERE retention_bytes IS NOT NULL LIMIT 1");
        let said = within("find limits", said.fetch_optional(&self.reads)).await?;
        if default.is_none() && said.is_none() {
            return Ok(Vec::new());
        }
        let mut sql = Sql::new(
            "SELECT r.hub, r.channel, CAST(SUM(r.bytes) AS BIGINT), CAST(SUM(r.withdrawn) AS BIGINT), \
             MAX(c.retention_bytes), \
             MAX(CASE WHEN r.ended_ms IS NULL THEN r.target_duration_s ELSE 0 END) FROM recordings r LEFT JOIN channels c ON c.hub = r.hub \
             AND c.name = r.channel GROUP BY r.hub, r.channel",
        );
        let default = default.unwrap_or(i64::MAX);
        sql.push(
            " HAVING SUM(r.bytes) * 2 > COALESCE(MAX(c.retention_bytes), ?)",
            [default.into()],
        );
        let rows = sql.rows(self, "find channels that are too large").await?;
        let read = |row: &AnyRow| {
            let (hub, channel): (String, String) = (column(row, 0)?, column(row, 1)?);
            let usage = Usage {
                bytes: column(row, 2)?,
                withdrawn: column(row, 3)?,
                target_duration_s: column(row, 5)?,
            };
            let channel = ChannelId::new(&hub, &channel);
            let channel = channel.map_err(|error| Error::Row(error.to_string()))?;
            Ok((
                channel,
                usage,
                column::<Option<i64>>(row, 4)?.unwrap_or(default),
            ))
        };
        rows.iter().map(read).collect()
    }

    /// What all recordings have together.
    pub async fn usage(&self) -> Result<Usage, Error> {
        let sql = Sql::new(
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT), \
             CAST(COALESCE(SUM(withdrawn), 0) AS BIGINT), \
             COALESCE(MAX(CASE WHEN ended_ms IS NULL THEN target_duration_s ELSE 0 END), 0) \
             FROM recordings",
        );
        let rows = sql.rows(self, "add up bytes").await?;
        let row = rows
            .first()
            .ok_or_else(|| Error::Row("no sum".to_owned()))?;
        Ok(Usage {
            bytes: column(row, 0)?,
            withdrawn: column(row, 1)?,
            target_duration_s: column(row, 2)?,
        })
    }

    /// The recordings of a channel, or of all, with the oldest segments that have not expired.
    pub async fn oldest(
        &self,
        channel: Option<&ChannelId>,
        limit: usize,
    ) -> Result<Vec<Candidate>, Error> {
        let mut sql = Sql::new(CANDIDATE);
        sql.push(" WHERE r.oldest_ms < ?", [NEVER.into()]);
        if let Some(channel) = channel {
            let of = [channel.hub.as_str().into(), channel.name.as_str().into()];
            sql.push(" AND r.hub = ? AND r.channel = ?", of);
        }
        sql.push(" ORDER BY r.oldest_ms LIMIT ?", [limit_of(limit).into()]);
        let rows = sql.rows(self, "find the oldest recordings").await?;
        rows.iter().map(Candidate::read).collect()
    }

    /// Recordings with expired stretches of which something is kept for a clip or a hold.
    pub async fn with_kept(&self, limit: usize) -> Result<Vec<Candidate>, Error> {
        let mut sql = Sql::new(CANDIDATE);
        let limit = limit_of(limit).into();
        sql.push(" WHERE r.kept > 0 ORDER BY r.key LIMIT ?", [limit]);
        let rows = sql.rows(self, "find what is kept").await?;
        rows.iter().map(Candidate::read).collect()
    }

    /// Segments of a recording with these numbers that have not expired, by number.
    pub async fn unexpired(
        &self,
        recording: &RecordingKey,
        numbers: Range<i64>,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, Error> {
        let mut sql = Sql::new(SEGMENT);
        sql.push(
            " WHERE recording = ? AND number >= ? AND number < ? AND (flags & ?) = 0 \
             ORDER BY number LIMIT ?",
            [
                recording_key(recording).into(),
                numbers.start.into(),
                numbers.end.into(),
                flags::EXPIRED.into(),
                limit_of(limit).into(),
            ],
        );
        let rows = sql.rows(self, "list segments").await?;
        let read = |row: &AnyRow| SegmentRow::unpack(column(row, 0)?);
        rows.iter().map(read).collect()
    }

    /// The ranges of time of a channel that clips and holds name, where they touch `range`.
    pub async fn named_ranges(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
    ) -> Result<Vec<Range<i64>>, Error> {
        let mut found = Vec::new();
        for table in ["clips", "holds"] {
            let mut sql = Sql::new("SELECT start_ms, end_ms FROM ");
            sql.push(table, []);
            sql.push(
                " WHERE hub = ? AND channel = ? AND start_ms < ? AND end_ms > ?",
                [
                    channel.hub.as_str().into(),
                    channel.name.as_str().into(),
                    range.end.into(),
                    range.start.into(),
                ],
            );
            for row in sql.rows(self, "list what is named").await? {
                found.push(column(&row, 0)?..column(&row, 1)?);
            }
        }
        Ok(found)
    }

    /// Lets segments of a recording expire: nothing names them from now on.
    pub async fn expire(&self, recording: &RecordingKey, expiry: &Expiry) -> Result<(), Error> {
        let write = async {
            let mut transaction = self.writes.begin().await?;
            expire(&mut transaction, recording, expiry).await?;
            transaction.commit().await
        };
        within("let segments expire", write).await
    }

    /// Segments whose objects may go for `due`, by number: those that have expired, but for what has
    /// expired later and may not go yet.
    pub async fn removable(&self, due: &Due, limit: usize) -> Result<Vec<SegmentRow>, Error> {
        let mut sql = Sql::new(SEGMENT);
        sql.push(
            " WHERE recording = ? AND number >= ? AND number < ? AND (flags & ?) <> 0 AND NOT EXISTS",
            [
                recording_key(&due.key).into(),
                due.numbers.start.into(),
                due.numbers.end.into(),
                flags::EXPIRED.into(),
            ],
        );
        sql.push(
            " (SELECT 1 FROM withdrawals w WHERE w.recording = segments.recording \
             AND w.first <= segments.number AND w.before > segments.number AND w.due_ms > ?) \
             ORDER BY number LIMIT ?",
            [due.due_ms.into(), limit_of(limit).into()],
        );
        let rows = sql.rows(self, "list segments").await?;
        let read = |row: &AnyRow| SegmentRow::unpack(column(row, 0)?);
        rows.iter().map(read).collect()
    }

    /// Expired segments whose objects may go by now.
    pub async fn due(&self, now_ms: i64, limit: usize) -> Result<Vec<Due>, Error> {
        let mut sql = Sql::new(
            "SELECT r.hub, r.channel, r.id, w.first, w.before, w.due_ms, \
             CASE WHEN r.ended_ms IS NULL THEN 0 ELSE 1 END, r.kept, \
             CASE WHEN r.oldest_ms = 9223372036854775807 THEN 1 ELSE 0 END \
             FROM withdrawals w JOIN recordings r ON r.key = w.recording",
        );
        sql.push(
            " WHERE w.due_ms <= ? ORDER BY w.due_ms LIMIT ?",
            [now_ms.into(), limit_of(limit).into()],
        );
        let rows = sql.rows(self, "find what is due").await?;
        rows.iter().map(Due::read).collect()
    }

    /// The objects of these segments, which were [`Catalog::removable`] for `due`, are gone, and so are
    /// their rows now.
    pub async fn gone(&self, due: &Due, rows: &[SegmentRow]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        let key = recording_key(&due.key);
        let bytes: i64 = rows.iter().map(|row| row.size).sum();
        let write = async {
            let mut transaction = self.writes.begin().await?;
            // What has expired between them since they were listed is not among them.
            let delete = sqlx::query(
                "DELETE FROM segments WHERE recording = $1 AND number >= $2 AND number <= $3 \
                 AND (flags & $4) <> 0 AND NOT EXISTS (SELECT 1 FROM withdrawals w \
                 WHERE w.recording = segments.recording AND w.first <= segments.number \
                 AND w.before > segments.number AND w.due_ms > $5)",
            );
            let delete = delete.bind(key).bind(first.number).bind(last.number);
            let delete = delete.bind(flags::EXPIRED).bind(due.due_ms);
            let deleted = delete.execute(&mut *transaction).await?.rows_affected();
            let deleted = i64::try_from(deleted).unwrap_or(i64::MAX);
            let less = sqlx::query(
                "UPDATE recordings SET segments = segments - $1, bytes = bytes - $2, \
                 withdrawn = withdrawn - $2 WHERE key = $3",
            );
            let less = less.bind(deleted).bind(bytes).bind(key);
            less.execute(&mut *transaction).await?;
            transaction.commit().await
        };
        within("remove expired segments", write).await
    }

    /// All that was due of this is gone.
    pub async fn done(&self, due: &Due) -> Result<(), Error> {
        let done = sqlx::query(
            "DELETE FROM withdrawals WHERE recording = $1 AND first = $2 AND due_ms = $3",
        );
        let done = done.bind(recording_key(&due.key)).bind(due.numbers.start);
        let done = done.bind(due.due_ms).execute(&self.writes);
        within("remove expired segments", done).await.map(drop)
    }

    /// Whether something of the same recording may go later only.
    pub async fn has_later(&self, due: &Due) -> Result<bool, Error> {
        let mut sql = Sql::new("SELECT due_ms FROM withdrawals");
        let of = [recording_key(&due.key).into(), due.due_ms.into()];
        sql.push(" WHERE recording = ? AND due_ms > ? LIMIT 1", of);
        let rows = sql.rows(self, "find what is due").await?;
        Ok(!rows.is_empty())
    }

    /// Makes it due at once, for tests.
    #[cfg(test)]
    pub async fn hurry(&self, due: &Due) -> Result<(), Error> {
        let now = sqlx::query(
            "UPDATE withdrawals SET due_ms = due_ms - 1000000000000 WHERE recording = $1 AND first = $2 AND due_ms = $3",
        );
        let now = now.bind(recording_key(&due.key)).bind(due.numbers.start);
        let now = now.bind(due.due_ms).execute(&self.writes);
        within("hurry", now).await.map(drop)
    }

    /// A recording and its sessions are gone, as its objects are.
    pub async fn forget_recording(&self, recording: &RecordingKey) -> Result<(), Error> {
        let key = recording_key(recording);
        let write = async {
            let mut transaction = self.writes.begin().await?;
            for statement in [
                "DELETE FROM segments WHERE recording = $1",
                "DELETE FROM sessions WHERE recording = $1",
                "DELETE FROM withdrawals WHERE recording = $1",
                "DELETE FROM recordings WHERE key = $1",
            ] {
                let one = sqlx::query(statement).bind(key);
                one.execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        within("remove a recording", write).await
    }

    /// Channels whose settings speak of retention and whose rows do not yet: they were written by
    /// a version that did not know it.
    pub async fn unsynced_retention(&self) -> Result<Vec<ChannelId>, Error> {
        let found = sqlx::query(
            "SELECT hub, name FROM channels WHERE retention_s IS NULL \
             AND settings LIKE '%\"retention_s\":%' AND settings NOT LIKE '%\"retention_s\":null%'",
        );
        let rows = found.fetch_all(&self.reads).await;
        let rows = rows.map_err(|error| judge("read retention", error))?;
        let read = |row: &AnyRow| {
            let (hub, name): (String, String) = (column(row, 0)?, column(row, 1)?);
            ChannelId::new(&hub, &name).map_err(|error| Error::Row(error.to_string()))
        };
        rows.iter().map(read).collect()
    }

    /// Writes what a channel keeps into its row.
    pub async fn sync_retention(&self, id: &ChannelId, seconds: Option<i64>) -> Result<(), Error> {
        let write =
            sqlx::query("UPDATE channels SET retention_s = $1 WHERE hub = $2 AND name = $3");
        let write = write.bind(seconds).bind(id.hub.as_str());
        let write = write.bind(id.name.as_str()).execute(&self.writes);
        within("write retention", write).await.map(drop)
    }
}

/// The same within a transaction: the backlog writes it too, from a recording's index.
pub(super) async fn expire(
    on: &mut AnyConnection,
    recording: &RecordingKey,
    expiry: &Expiry,
) -> Result<(), sqlx::Error> {
    let key = recording_key(recording);
    let mut bytes = 0_i64;
    for run in &expiry.runs {
        let size = sqlx::query_scalar::<_, i64>(
            "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM segments WHERE recording = $1 \
             AND number >= $2 AND number < $3 AND (flags & $4) = 0",
        );
        let size = size.bind(key).bind(run.start).bind(run.end);
        bytes += size.bind(flags::EXPIRED).fetch_one(&mut *on).await?;
        let flag = sqlx::query(
            "UPDATE segments SET flags = flags | $1 WHERE recording = $2 AND number >= $3 \
             AND number < $4 AND (flags & $1) = 0",
        );
        let flag = flag.bind(flags::EXPIRED).bind(key);
        flag.bind(run.start).bind(run.end).execute(&mut *on).await?;
    }
    let update = sqlx::query(
        "UPDATE recordings SET expired_before = $1, oldest_ms = $2, kept = $3, \
         withdrawn = withdrawn + $4, expired_discontinuities = $6 \
         WHERE key = $5 AND expired_before <= $1",
    );
    let update = update.bind(expiry.numbers.end).bind(expiry.oldest_ms);
    let update = update.bind(expiry.kept).bind(bytes).bind(key);
    let update = update.bind(expiry.discontinuities);
    update.execute(&mut *on).await?;
    let numbers = expiry.numbers.clone();
    match expiry.cause {
        Cause::Next => due(on, key, numbers, expiry.due_ms).await,
        Cause::Released => {
            for run in &expiry.runs {
                due(on, key, run.clone(), expiry.due_ms).await?;
            }
            Ok(())
        }
        Cause::Told => {
            let nothing_stays = expiry.oldest_ms == NEVER && expiry.kept == 0;
            for run in forgotten(on, key, &numbers, nothing_stays).await? {
                due(on, key, run, expiry.due_ms).await?;
            }
            Ok(())
        }
    }
}

/// Runs of these numbers that have expired and are never due; all of them if nothing of the recording
/// stays and nobody has noted when it goes.
async fn forgotten(
    on: &mut AnyConnection,
    recording: i64,
    numbers: &Range<i64>,
    nothing_stays: bool,
) -> Result<Vec<Range<i64>>, sqlx::Error> {
    let any = sqlx::query("SELECT 1 FROM withdrawals WHERE recording = $1 LIMIT 1");
    let any = any.bind(recording).fetch_optional(&mut *on).await?;
    if nothing_stays && any.is_none() {
        return Ok(vec![numbers.clone()]);
    }
    let forgotten = sqlx::query_scalar::<_, i64>(
        "SELECT s.number FROM segments s WHERE s.recording = $1 AND s.number >= $2 AND s.number < $3 \
         AND (s.flags & $4) <> 0 AND NOT EXISTS (SELECT 1 FROM withdrawals w \
         WHERE w.recording = s.recording AND w.first <= s.number AND w.before > s.number) \
         ORDER BY s.number",
    );
    let forgotten = forgotten.bind(recording).bind(numbers.start);
    let forgotten = forgotten.bind(numbers.end).bind(flags::EXPIRED);
    let forgotten = forgotten.fetch_all(on).await?;
    let runs = forgotten.chunk_by(|a, b| a + 1 == *b);
    Ok(runs
        .filter_map(|run| Some(*run.first()?..run.last()? + 1))
        .collect())
}

/// Notes that expired segments go at a time.
pub(super) async fn due(
    on: &mut AnyConnection,
    recording: i64,
    numbers: Range<i64>,
    due_ms: i64,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query(
        "INSERT INTO withdrawals (recording, first, before, due_ms) VALUES ($1, $2, $3, $4) \
         ON CONFLICT (recording, first, due_ms) DO NOTHING",
    );
    let insert = insert.bind(recording).bind(numbers.start);
    let insert = insert.bind(numbers.end).bind(due_ms);
    insert.execute(on).await.map(drop)
}

impl Candidate {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            key: history::key(row)?,
            oldest_ms: column(row, 3)?,
            until_ms: column(row, 4)?,
            ended_ms: column(row, 5)?,
            target_duration_s: column(row, 6)?,
            expired_before: column(row, 7)?,
            kept: column(row, 8)?,
            own_age_s: column(row, 9)?,
            discontinuities: column(row, 10)?,
        })
    }
}

impl Due {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            key: history::key(row)?,
            numbers: column(row, 3)?..column(row, 4)?,
            due_ms: column(row, 5)?,
            ended: column::<i64>(row, 6)? != 0,
            kept: column(row, 7)?,
            is_all: column::<i64>(row, 8)? != 0,
        })
    }
}
