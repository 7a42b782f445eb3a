//! Holds: named ranges of a channel's time that retention leaves alone.

use super::sql::Sql;
use super::{Catalog, Error, column, within};
use crate::id::ChannelId;
use sqlx::any::AnyRow;

/// A hold as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldRow {
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
    /// A hold by its name.
    pub async fn hold(&self, channel: &ChannelId, name: &str) -> Result<Option<HoldRow>, Error> {
        let mut sql = select(channel);
        sql.push(" AND name = ?", [name.into()]);
        let rows = sql.rows(self, "read a hold").await?;
        rows.first().map(HoldRow::read).transpose()
    }

    /// The holds of a channel after the name `after`, in order.
    pub async fn holds(
        &self,
        channel: &ChannelId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<HoldRow>, Error> {
        let mut sql = select(channel);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(
            " AND name > ? ORDER BY name LIMIT ?",
            [after.unwrap_or("").into(), limit.into()],
        );
        let rows = sql.rows(self, "list holds").await?;
        rows.iter().map(HoldRow::read).collect()
    }

    /// Writes a hold, replacing one of the same name.
    pub async fn put_hold(&self, channel: &ChannelId, hold: &HoldRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO holds (hub, channel, name, start_ms, end_ms, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (hub, channel, name) DO UPDATE SET \
             start_ms = excluded.start_ms, end_ms = excluded.end_ms",
        );
        let write = write
            .bind(channel.hub.as_str())
            .bind(channel.name.as_str())
            .bind(hold.name.as_str())
            .bind(hold.start_ms)
            .bind(hold.end_ms)
            .bind(hold.created_ms);
        within("write a hold", write.execute(&self.writes))
            .await
            .map(drop)
    }

    /// Removes a hold; false if there is none.
    pub async fn delete_hold(&self, channel: &ChannelId, name: &str) -> Result<bool, Error> {
        let delete = sqlx::query("DELETE FROM holds WHERE hub = $1 AND channel = $2 AND name = $3");
        let delete = delete
            .bind(channel.hub.as_str())
            .bind(channel.name.as_str())
            .bind(name);
        let gone = within("delete a hold", delete.execute(&self.writes)).await?;
        Ok(gone.rows_affected() > 0)
    }
}

fn select(channel: &ChannelId) -> Sql {
    let mut sql = Sql::new("SELECT name, start_ms, end_ms, created_ms FROM holds");
    let of = [channel.hub.as_str().into(), channel.name.as_str().into()];
    sql.push(" WHERE hub = ? AND channel = ?", of);
    sql
}

impl HoldRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            name: column(row, 0)?,
            start_ms: column(row, 1)?,
            end_ms: column(row, 2)?,
            created_ms: column(row, 3)?,
        })
    }
}
