//! Which channels and hubs have changed since the store was told of them.
//!
//! A change and its mark are one transaction, so no change is forgotten, whatever ends when. A mark
//! is taken back when the store has what it stands for and nothing was changed meanwhile.

use super::sql::Sql;
use super::{Catalog, Error, column, within};
use sqlx::AnyConnection;
use std::hash::{BuildHasher, RandomState};

/// Something that the store has to be told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unstored {
    /// The hub.
    pub hub: String,
    /// The channel; empty if it is the hub itself.
    pub name: String,
    mark: i64,
}

impl Catalog {
    /// Some of what the store has to be told.
    pub async fn unstored(&self, limit: usize) -> Result<Vec<Unstored>, Error> {
        let mut sql = Sql::new("SELECT hub, name, mark FROM unstored");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(" ORDER BY hub, name LIMIT ?", [limit.into()]);
        let rows = sql.rows(self, "list what the store is to be told").await?;
        let read = |row| {
            Ok(Unstored {
                hub: column(row, 0)?,
                name: column(row, 1)?,
                mark: column(row, 2)?,
            })
        };
        rows.iter().map(read).collect()
    }

    /// The store was told. If somebody else has told it meanwhile it is marked again: the older of
    /// two tellings may have come last.
    pub async fn stored(&self, told: &Unstored) -> Result<(), Error> {
        let done = async {
            let mut transaction = self.writes.begin().await?;
            let gone =
                sqlx::query("DELETE FROM unstored WHERE hub = $1 AND name = $2 AND mark = $3")
                    .bind(told.hub.as_str())
                    .bind(told.name.as_str())
                    .bind(told.mark)
                    .execute(&mut *transaction)
                    .await?;
            if gone.rows_affected() == 0 {
                mark(&mut transaction, &told.hub, &told.name).await?;
            }
            transaction.commit().await
        };
        within("note what the store was told", done).await
    }
}

/// Marks a channel or, without a name, a hub. Part of the transaction that changes it.
pub(super) async fn mark(on: &mut AnyConnection, hub: &str, name: &str) -> Result<(), sqlx::Error> {
    // Keyed with random bytes at every call: no two marks are the same.
    let fresh = RandomState::new().hash_one(name);
    sqlx::query(
        "INSERT INTO unstored (hub, name, mark) VALUES ($1, $2, $3) \
         ON CONFLICT (hub, name) DO UPDATE SET mark = excluded.mark",
    )
    .bind(hub)
    .bind(name)
    .bind(i64::from_le_bytes(fresh.to_le_bytes()))
    .execute(on)
    .await
    .map(drop)
}
