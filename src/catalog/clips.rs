//! Clips: named ranges of a channel's time.

use super::sql::Sql;
use super::{Catalog, Error, column, unstored, within};
use crate::id::ChannelId;
use sqlx::AnyConnection;
use sqlx::any::AnyRow;

/// A clip as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClipRow {
    /// Its name, unique in its channel.
    pub name: String,
    /// Where it begins, in milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// Where it ends.
    pub end_ms: i64,
    /// When it was made.
    pub created_ms: i64,
}

impl Catalog {
    /// A clip by its name.
    pub async fn clip(&self, channel: &ChannelId, name: &str) -> Result<Option<ClipRow>, Error> {
        let mut sql = select(channel);
        sql.push(" AND name = ?", [name.into()]);
        let rows = sql.rows(self, "read a clip").await?;
        rows.first().map(ClipRow::read).transpose()
    }

    /// The clips of a channel after the name `after`, in order.
    pub async fn clips(
        &self,
        channel: &ChannelId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<ClipRow>, Error> {
        let mut sql = select(channel);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(
            " AND name > ? ORDER BY name LIMIT ?",
            [after.unwrap_or("").into(), limit.into()],
        );
        let rows = sql.rows(self, "list clips").await?;
        rows.iter().map(ClipRow::read).collect()
    }

    /// Writes a clip, replacing one of the same name.
    pub async fn put_clip(&self, channel: &ChannelId, clip: &ClipRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO clips (hub, channel, name, start_ms, end_ms, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (hub, channel, name) DO UPDATE SET \
             start_ms = excluded.start_ms, end_ms = excluded.end_ms",
        );
        let write = write
            .bind(channel.hub.as_str())
            .bind(channel.name.as_str())
            .bind(clip.name.as_str())
            .bind(clip.start_ms)
            .bind(clip.end_ms)
            .bind(clip.created_ms);
        let write = async {
            let mut transaction = self.writes.begin().await?;
            write.execute(&mut *transaction).await?;
            mark(&mut transaction, channel).await?;
            transaction.commit().await
        };
        within("write a clip", write).await
    }

    /// Removes a clip; false if there is none.
    pub async fn delete_clip(&self, channel: &ChannelId, name: &str) -> Result<bool, Error> {
        let delete = sqlx::query("DELETE FROM clips WHERE hub = $1 AND channel = $2 AND name = $3");
        let delete = delete
            .bind(channel.hub.as_str())
            .bind(channel.name.as_str())
            .bind(name);
        let delete = async {
            let mut transaction = self.writes.begin().await?;
            let gone = delete.execute(&mut *transaction).await?;
            if gone.rows_affected() > 0 {
                mark(&mut transaction, channel).await?;
            }
            transaction.commit().await?;
            Ok(gone.rows_affected() > 0)
        };
        within("delete a clip", delete).await
    }
}

/// The store's word of a channel has its clips.
async fn mark(on: &mut AnyConnection, channel: &ChannelId) -> Result<(), sqlx::Error> {
    unstored::mark(on, channel.hub.as_str(), channel.name.as_str()).await
}

fn select(channel: &ChannelId) -> Sql {
    let mut sql = Sql::new("SELECT name, start_ms, end_ms, created_ms FROM clips");
    let of = [channel.hub.as_str().into(), channel.name.as_str().into()];
    sql.push(" WHERE hub = ? AND channel = ?", of);
    sql
}

impl ClipRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            name: column(row, 0)?,
            start_ms: column(row, 1)?,
            end_ms: column(row, 2)?,
            created_ms: column(row, 3)?,
        })
    }
}
