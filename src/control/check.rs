//! Compares the catalog with the store, in both directions, and mends what can be mended.
//!
//! What a recording's own index says is believed: it was written after the bytes and before the
//! rows. So a segment that is listed and gone becomes a gap in the index and in the catalog; rows
//! follow the index; and rows that know more than an index that was lost with its spool are given
//! back to it. Media is never removed here: of what nothing names only files that hold nothing of
//! their own are, and what the index says has expired.
//!
//! Recordings that are being written are left alone: those of which something was written lately.

mod compare;
mod objects;

use super::{Control, Error};
use crate::clock;
use crate::id::ChannelId;
use crate::key::RecordingKey;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// Rows of recordings that are read at a time.
const PAGE: usize = 1_000;

/// How to look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct How {
    /// Whether to mend what can be mended.
    pub repair: bool,
    /// A recording is being written if something of it was written within this, or within its
    /// reconnect window. If it is zero none is.
    pub idle: Duration,
}

/// What is not as it should be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Problem {
    /// The index names a segment that the store does not have, or of which it has other bytes.
    Missing {
        /// Its number.
        number: u64,
        /// Bytes that there are instead.
        found: Option<u64>,
    },
    /// The catalog names segments of a recording that has no index in the store.
    NoIndex {
        /// How many.
        segments: usize,
    },
    /// The index has segments that the catalog does not know.
    RowsMissing {
        /// How many.
        segments: usize,
    },
    /// Rows say something else than the index.
    RowsDiffer {
        /// What of: segments, a session, the recording.
        what: &'static str,
        /// How many.
        count: usize,
    },
    /// The catalog knows segments that the index does not.
    LinesMissing {
        /// How many.
        segments: usize,
    },
    /// A push that nobody closed.
    SessionOpen {
        /// When it began, in milliseconds since the Unix epoch.
        began_ms: i64,
    },
    /// A recording that nobody ended.
    NotEnded,
    /// A killed server was writing it, and no server has been started since.
    Unfinished,
    /// It waits in the spool for the store.
    Spooled,
    /// An object that nothing names.
    Orphan {
        /// Its name.
        object: String,
        /// What it seems to be.
        what: Orphan,
    },
    /// A channel has recordings, and the catalog does not know it.
    NoChannel,
    /// What the store knows of the channel is not what the catalog does.
    Card,
}

/// What an object seems to be that nothing names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Orphan {
    /// A file that was begun and has no media that is not elsewhere: garbage.
    Leftover,
    /// Media behind the end of the index.
    Behind,
    /// Media of a segment that is a gap.
    OfGap,
    /// Media that has expired and that retention knows nothing of: garbage.
    Expired,
    /// Media of a recording without an index.
    NoIndex,
    /// Nothing that this program writes.
    Foreign,
}

/// A problem, where it is, and what was done about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The channel or recording.
    pub place: String,
    /// What is wrong.
    pub problem: Problem,
    /// Whether it was mended.
    pub mended: bool,
}

/// What a check has seen.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// What is not as it should be.
    pub findings: Vec<Finding>,
    /// Channels that were looked at.
    pub channels: usize,
    /// Recordings that were looked at.
    pub recordings: usize,
    /// Recordings that are being written and were left alone.
    pub running: Vec<RecordingKey>,
}

impl Control {
    /// Compares catalog and store. `progress` hears how many channels are done, of how many, and
    /// which is next.
    pub async fn check(
        &self,
        how: How,
        progress: impl Fn(usize, usize, &ChannelId),
    ) -> Result<Report, Error> {
        let mut report = Report::default();
        let channels = self.walk().await?.channels;
        let mut seen = BTreeSet::new();
        for (nth, channel) in channels.iter().enumerate() {
            progress(nth, channels.len(), channel);
            let known = self.catalog().channel(channel).await?;
            self.check_card(channel, known.is_some(), how, &mut report)
                .await?;
            for key in self.archive().of_channel(channel).await? {
                report.recordings += 1;
                self.check_recording(&key, how, &mut report).await?;
                seen.insert(key);
            }
        }
        report.channels = channels.len();
        self.check_rows(&seen, how, &mut report).await?;
        self.written().await;
        Ok(report)
    }

    /// Whether the store and the catalog say the same of a channel.
    async fn check_card(
        &self,
        id: &ChannelId,
        known: bool,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let stored = self.stored_card(id).await?;
        if !known && stored.as_ref().is_none_or(|card| !card.deleted) {
            if how.repair {
                self.restore_channel_row(id).await?;
            }
            report.add(id, Problem::NoChannel, how.repair);
            return Ok(());
        }
        if self.channel_card(id).await? != stored {
            if how.repair {
                self.write_card_of(id).await?;
            }
            report.add(id, Problem::Card, how.repair);
        }
        Ok(())
    }

    /// The catalog's recordings that the store does not have.
    async fn check_rows(
        &self,
        seen: &BTreeSet<RecordingKey>,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.catalog().all_recordings(after.as_ref(), PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = Some(last.key.clone());
            for row in page.iter().filter(|row| !seen.contains(&row.key)) {
                // Rows of a push that runs may be there before its first object.
                if clock::now().unix_ms() - row.until_ms < ms(how.idle) {
                    report.running.push(row.key.clone());
                    continue;
                }
                self.check_lost(&row.key, how, report).await?;
            }
        }
    }
}

impl Report {
    fn add(&mut self, place: &impl fmt::Display, problem: Problem, mended: bool) {
        self.findings.push(Finding {
            place: place.to_string(),
            problem,
            mended,
        });
    }

    /// Whether something is still not as it should be.
    pub fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.mended)
    }
}

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mended = if self.mended { " (mended)" } else { "" };
        write!(f, "{}: {}{mended}", self.place, self.problem)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing {
                number,
                found: None,
            } => write!(f, "segment {number} is listed and not in the store"),
            Self::Missing {
                number,
                found: Some(size),
            } => write!(f, "segment {number} has {size} bytes, and its index says otherwise"),
            Self::NoIndex { segments } => {
                write!(f, "the catalog has {segments} segments of it, and the store has no index of it")
            }
            Self::RowsMissing { segments } => {
                write!(f, "{segments} segments are in its index and not in the catalog")
            }
            Self::RowsDiffer { what, count } => {
                write!(f, "the catalog says something else than its index ({what}, {count})")
            }
            Self::LinesMissing { segments } => {
                write!(f, "{segments} segments are in the catalog and not in its index")
            }
            Self::SessionOpen { began_ms } => {
                write!(f, "the push that began at {began_ms} ms (Unix) was never closed")
            }
            Self::NotEnded => f.write_str("nobody writes it, and it was never ended"),
            Self::Unfinished => {
                f.write_str("a killed server was writing it: the next start of the server, or --repair, finishes it")
            }
            Self::Spooled => {
                f.write_str("it waits in the spool for the store: a running server uploads it")
            }
            Self::Orphan { object, what } => write!(f, "nothing names {object}: {what}"),
            Self::NoChannel => f.write_str("it has media, and the catalog does not know the channel"),
            Self::Card => f.write_str("what the store knows of its settings and clips is not the newest"),
        }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leftover => "a file that was begun and given up",
            Self::Behind => "media behind the end of the index",
            Self::OfGap => "media of a segment that is a gap",
            Self::Expired => "media that has expired",
            Self::NoIndex => "media of a recording without an index",
            Self::Foreign => "it is not this program's",
        })
    }
}

#[cfg(test)]
mod tests;
