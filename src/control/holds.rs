//! Holds: named ranges of a channel's time of which retention removes nothing. They outlive the
//! channel: what has to be kept does not depend on a setting.

use super::auth::Caller;
use super::{Control, Error};
use crate::catalog::HoldRow;
use crate::clock;
use crate::id::{ChannelId, ChannelName};
use std::ops::Range;

/// A named range of a channel's time that is kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hold {
    /// Its name, unique in its channel.
    pub name: ChannelName,
    /// In milliseconds since the Unix epoch.
    pub range: Range<i64>,
    /// When it was made.
    pub created_ms: i64,
}

impl Control {
    /// A hold by its name.
    pub async fn hold(&self, channel: &ChannelId, name: &ChannelName) -> Result<Hold, Error> {
        let row = self.catalog().hold(channel, name.as_str()).await?;
        let hold = row.as_ref().and_then(Hold::of);
        hold.ok_or_else(|| Error::NoHold(channel.clone(), name.to_string()))
    }

    /// The holds of a channel after the name `after`, in order.
    pub async fn holds(
        &self,
        channel: &ChannelId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Hold>, Error> {
        let rows = self.catalog().holds(channel, after, limit).await?;
        Ok(rows.iter().filter_map(Hold::of).collect())
    }

    /// Makes a hold, or moves it. What has expired already does not come back.
    pub async fn put_hold(
        &self,
        by: &Caller,
        channel: &ChannelId,
        name: ChannelName,
        range: Range<i64>,
    ) -> Result<Hold, Error> {
        self.channel(channel).await?;
        if range.is_empty() {
            return Err(Error::Invalid("a hold ends after it begins".to_owned()));
        }
        let row = HoldRow {
            name: name.to_string(),
            start_ms: range.start,
            end_ms: range.end,
            created_ms: clock::now().unix_ms(),
        };
        {
            let _alone = self.names().changing().await;
            self.catalog().put_hold(channel, &row).await?;
        }
        let object = format!("{channel} {name}");
        self.note(by, "put hold", &object, "{}").await;
        Ok(Hold {
            name,
            range,
            created_ms: row.created_ms,
        })
    }

    /// Removes a hold: what only it kept goes by retention.
    pub async fn delete_hold(
        &self,
        by: &Caller,
        channel: &ChannelId,
        name: &ChannelName,
    ) -> Result<(), Error> {
        let gone = {
            let _alone = self.names().changing().await;
            self.catalog().delete_hold(channel, name.as_str()).await?
        };
        if !gone {
            return Err(Error::NoHold(channel.clone(), name.to_string()));
        }
        let object = format!("{channel} {name}");
        self.note(by, "delete hold", &object, "{}").await;
        Ok(())
    }
}

impl Hold {
    fn of(row: &HoldRow) -> Option<Self> {
        Some(Self {
            name: row.name.parse().ok()?,
            range: row.start_ms..row.end_ms,
            created_ms: row.created_ms,
        })
    }
}
