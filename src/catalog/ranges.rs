//! Named ranges of a channel's time: clips and holds, each in a table of its own.

use super::sql::Sql;
use super::{Catalog, Error, column, unstored, within};
use crate::id::ChannelId;
use sqlx::any::AnyRow;
use sqlx::{AnyConnection, AssertSqlSafe};
use std::fmt;

/// What a named range is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RangeKind {
    /// A playlist.
    Clip,
    /// Retention leaves it alone; it stays when its channel goes.
    Hold,
}

impl RangeKind {
    const fn table(self) -> &'static str {
        match self {
            Self::Clip => "clips",
            Self::Hold => "holds",
        }
    }
}

impl fmt::Display for RangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Clip => "clip",
            Self::Hold => "hold",
        })
    }
}

/// A named range as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RangeRow {
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
    /// A named range.
    pub async fn range(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        name: &str,
    ) -> Result<Option<RangeRow>, Error> {
        let mut sql = select(kind, channel);
        sql.push(" AND name = ?", [name.into()]);
        let rows = sql.rows(self, "read a named range").await?;
        rows.first().map(RangeRow::read).transpose()
    }

    /// The named ranges of a channel after the name `after`, in order.
    pub async fn ranges(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<RangeRow>, Error> {
        let mut sql = select(kind, channel);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(
            " AND name > ? ORDER BY name LIMIT ?",
            [after.unwrap_or("").into(), limit.into()],
        );
        let rows = sql.rows(self, "list named ranges").await?;
        rows.iter().map(RangeRow::read).collect()
    }

    /// Writes a named range, replacing one of the same name.
    pub async fn put_range(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        range: &RangeRow,
    ) -> Result<(), Error> {
        let text = format!(
            "INSERT INTO {} (hub, channel, name, start_ms, end_ms, created_ms) \
             VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (hub, channel, name) DO UPDATE SET \
             start_ms = excluded.start_ms, end_ms = excluded.end_ms",
            kind.table()
        );
        let write = sqlx::query(AssertSqlSafe(text))
            .bind(channel.hub.as_str())
            .bind(channel.name.as_str())
            .bind(range.name.as_str())
            .bind(range.start_ms)
            .bind(range.end_ms)
            .bind(range.created_ms);
        let write = async {
            let mut transaction = self.writes.begin().await?;
            write.execute(&mut *transaction).await?;
            mark(&mut transaction, channel).await?;
            transaction.commit().await
        };
        within("write a named range", write).await
    }

    /// Removes a named range; false if there is none.
    pub async fn delete_range(
        &self,
        kind: RangeKind,
        channel: &ChannelId,
        name: &str,
    ) -> Result<bool, Error> {
        let text = format!(
            "DELETE FROM {} WHERE hub = $1 AND channel = $2 AND name = $3",
            kind.table()
        );
        let delete = sqlx::query(AssertSqlSafe(text))
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
        within("delete a named range", delete).await
    }
}

/// The store's word of a channel has its clips and holds.
async fn mark(on: &mut AnyConnection, channel: &ChannelId) -> Result<(), sqlx::Error> {
    unstored::mark(on, channel.hub.as_str(), channel.name.as_str()).await
}

fn select(kind: RangeKind, channel: &ChannelId) -> Sql {
    let mut sql = Sql::new("SELECT name, start_ms, end_ms, created_ms FROM ");
    sql.push(kind.table(), []);
    let of = [channel.hub.as_str().into(), channel.name.as_str().into()];
    sql.push(" WHERE hub = ? AND channel = ?", of);
    sql
}

impl RangeRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            name: column(row, 0)?,
            start_ms: column(row, 1)?,
            end_ms: column(row, 2)?,
            created_ms: column(row, 3)?,
        })
    }
}
