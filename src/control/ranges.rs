//! Named ranges of a channel's time: clips are playlists, of holds retention removes nothing. Holds
//! outlive the channel: what has to be kept does not depend on a setting.

pub use crate::catalog::RangeKind;

use super::auth::Caller;
use super::{Control, Error};
use crate::catalog::RangeRow;
use crate::clock;
use crate::id::{ChannelId, ChannelName};
use std::ops::Range;

/// A named range of a channel's time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NamedRange {
    /// Its name, unique in its channel among those of its kind.
    pub name: ChannelName,
    /// In milliseconds since the Unix epoch.
    pub range: Range<i64>,
    /// When it was made.
    pub created_ms: i64,
}

impl Control {
    /// A named range.
    pub async fn range(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        name: &ChannelName,
    ) -> Result<NamedRange, Error> {
        let row = self.catalog().range(kind, channel, name.as_str()).await?;
        let range = row.as_ref().and_then(NamedRange::of);
        range.ok_or_else(|| Error::NoRange(kind, channel.clone(), name.to_string()))
    }

    /// The named ranges of a channel after the name `after`, in order.
    pub async fn ranges(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<NamedRange>, Error> {
        let rows = self.catalog().ranges(kind, channel, after, limit).await?;
        Ok(rows.iter().filter_map(NamedRange::of).collect())
    }

    /// Makes a named range, or moves it: no media is copied, and what has expired does not come back.
    pub async fn put_range(
        &self,
        by: &Caller,
        kind: RangeKind,
        channel: &ChannelId,
        name: ChannelName,
        range: Range<i64>,
    ) -> Result<NamedRange, Error> {
        self.channel(channel).await?;
        if range.is_empty() {
            return Err(Error::Invalid(format!("a {kind} ends after it begins")));
        }
        let row = RangeRow {
            name: name.to_string(),
            start_ms: range.start,
            end_ms: range.end,
            created_ms: clock::now().unix_ms(),
        };
        {
            let _alone = self.names().changing().await;
            self.catalog().put_range(kind, channel, &row).await?;
        }
        let object = format!("{channel} {name}");
        self.note(by, &format!("put {kind}"), &object, "{}").await;
        Ok(NamedRange {
            name,
            range,
            created_ms: row.created_ms,
        })
    }

    /// Removes a named range; the segments stay, until retention has no other reason to keep them.
    pub async fn delete_range(
        &self,
        by: &Caller,
        kind: RangeKind,
        channel: &ChannelId,
        name: &ChannelName,
    ) -> Result<(), Error> {
        let gone = {
            let _alone = self.names().changing().await;
            let catalog = self.catalog();
            catalog.delete_range(kind, channel, name.as_str()).await?
        };
        if !gone {
            return Err(Error::NoRange(kind, channel.clone(), name.to_string()));
        }
        let object = format!("{channel} {name}");
        self.note(by, &format!("delete {kind}"), &object, "{}")
            .await;
        Ok(())
    }
}

impl NamedRange {
    fn of(row: &RangeRow) -> Option<Self> {
        Some(Self {
            name: row.name.parse().ok()?,
            range: row.start_ms..row.end_ms,
            created_ms: row.created_ms,
        })
    }
}
