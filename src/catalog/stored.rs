//! Segments that were stored: their rows, and what their recordings' own rows say of them all.
//!
//! Many at once: each statement is a way to the database and back, and hundreds of publishers store
//! as many segments every second.

use super::history::{SegmentRow, flags, recording_key, write_recording};
use super::sql::Sql;
use crate::key::RecordingKey;
use sqlx::{AnyConnection, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Rows in one statement.
const ROWS_MAX: usize = 64;

/// A segment that was stored.
#[derive(Clone, Copy)]
pub(super) struct Stored<'a> {
    pub(super) key: &'a RecordingKey,
    pub(super) row: &'a SegmentRow,
    pub(super) target_duration_s: i64,
}

/// Writes the rows of segments. One that is there already stays as it is.
pub(super) async fn write_segments(
    on: &mut AnyConnection,
    segments: &[Stored<'_>],
) -> Result<(), sqlx::Error> {
    for segments in segments.chunks(ROWS_MAX) {
        let new = insert(on, segments).await?;
        let is_new = |one: &&Stored<'_>| new.contains(&(recording_key(one.key), one.row.number));
        let mut sums = BTreeMap::new();
        for stored in segments.iter().filter(is_new) {
            let sum = sums.entry(recording_key(stored.key));
            sum.or_insert_with(|| Sum::of(stored)).add(stored);
        }
        for known in add(on, &sums).await? {
            sums.remove(&known);
        }
        if sums.is_empty() {
            continue;
        }
        // Their recordings' own rows are still to come: after a crash nobody says in which order.
        for sum in sums.values() {
            write_recording(on, sum.recording, sum.began_ms).await?;
        }
        add(on, &sums).await?;
    }
    Ok(())
}

/// The recordings and numbers of those that were not there.
async fn insert(
    on: &mut AnyConnection,
    segments: &[Stored<'_>],
) -> Result<BTreeSet<(i64, i64)>, sqlx::Error> {
    let mut sql = Sql::new(
        "INSERT INTO segments (recording, number, session_ms, date_ms, duration, size, flags) VALUES ",
    );
    sql.push_rows(segments.iter().map(|Stored { key, row, .. }| {
        [
            recording_key(key),
            row.number,
            row.session_ms,
            row.date_ms,
            row.duration,
            row.size,
            row.flags,
        ]
    }));
    sql.push(
        " ON CONFLICT (recording, number) DO NOTHING RETURNING recording, number",
        [],
    );
    let rows = sql.fetch(on).await?;
    let pair = |row: &sqlx::any::AnyRow| Ok((row.try_get(0)?, row.try_get(1)?));
    rows.iter().map(pair).collect()
}

/// What some segments add to their recording's own row.
struct Sum<'a> {
    recording: &'a RecordingKey,
    segments: i64,
    bytes: i64,
    target_duration_s: i64,
    began_ms: i64,
    until_ms: i64,
    /// Of those that have not expired.
    oldest_ms: i64,
    withdrawn: i64,
}

impl<'a> Sum<'a> {
    fn of(stored: &Stored<'a>) -> Self {
        Self {
            recording: stored.key,
            segments: 0,
            bytes: 0,
            target_duration_s: 0,
            began_ms: i64::MAX,
            until_ms: i64::MIN,
            oldest_ms: i64::MAX,
            withdrawn: 0,
        }
    }

    fn add(&mut self, stored: &Stored<'_>) {
        let row = stored.row;
        self.segments += 1;
        self.bytes += row.size;
        self.target_duration_s = stored.target_duration_s;
        self.began_ms = self.began_ms.min(row.date_ms);
        self.until_ms = self.until_ms.max(row.until_ms());
        match row.flags & flags::EXPIRED {
            0 => self.oldest_ms = self.oldest_ms.min(row.date_ms),
            _ => self.withdrawn += row.size,
        }
    }
}

/// Adds sums to the recordings' own rows; which recordings have one.
async fn add(
    on: &mut AnyConnection,
    sums: &BTreeMap<i64, Sum<'_>>,
) -> Result<Vec<i64>, sqlx::Error> {
    if sums.is_empty() {
        return Ok(Vec::new());
    }
    // Both databases call the columns of VALUES so.
    let mut sql = Sql::new(
        "UPDATE recordings AS r SET segments = r.segments + v.column2, bytes = r.bytes + v.column3, \
         target_duration_s = v.column4, \
         began_ms = CASE WHEN v.column5 < r.began_ms THEN v.column5 ELSE r.began_ms END, \
         until_ms = CASE WHEN v.column6 > r.until_ms THEN v.column6 ELSE r.until_ms END, \
         oldest_ms = CASE WHEN v.column7 < r.oldest_ms THEN v.column7 ELSE r.oldest_ms END, \
         withdrawn = r.withdrawn + v.column8 FROM (VALUES ",
    );
    sql.push_rows(sums.iter().map(|(key, sum)| {
        [
            *key,
            sum.segments,
            sum.bytes,
            sum.target_duration_s,
            sum.began_ms,
            sum.until_ms,
            sum.oldest_ms,
            sum.withdrawn,
        ]
    }));
    sql.push(") AS v WHERE key = v.column1 RETURNING key", []);
    let rows = sql.fetch(on).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}
