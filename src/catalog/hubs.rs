//! Hubs.

use super::sql::Sql;
use super::{Catalog, Error, column, unstored, within};
use crate::id::HubName;

/// A hub as the catalog keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HubRow {
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// What strangers may do: 0 nothing, 1 read, 2 read and write.
    pub access: i64,
}

impl Catalog {
    /// A hub by its name.
    pub async fn hub(&self, name: &HubName) -> Result<Option<HubRow>, Error> {
        let mut sql = Sql::new("SELECT created_ms, access FROM hubs");
        sql.push(" WHERE name = ?", [name.as_str().into()]);
        let rows = sql.rows(self, "read a hub").await?;
        let read = |row| {
            Ok(HubRow {
                created_ms: column(row, 0)?,
                access: column(row, 1)?,
            })
        };
        rows.first().map(read).transpose()
    }

    /// Writes a hub, whether it is new or not; one that is there keeps its age.
    pub async fn put_hub(&self, name: &HubName, row: HubRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO hubs (name, created_ms, access) VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET access = excluded.access",
        );
        let write = write
            .bind(name.as_str())
            .bind(row.created_ms)
            .bind(row.access);
        let write = async {
            let mut transaction = self.writes.begin().await?;
            write.execute(&mut *transaction).await?;
            unstored::mark(&mut transaction, name.as_str(), "").await?;
            transaction.commit().await
        };
        within("write a hub", write).await
    }

    /// Removes a hub that has neither channels nor recordings; false if it has, or is not there.
    pub async fn delete_hub(&self, name: &HubName) -> Result<bool, Error> {
        let delete = sqlx::query(
            "DELETE FROM hubs WHERE name = $1 \
             AND NOT EXISTS (SELECT 1 FROM channels WHERE hub = $1) \
             AND NOT EXISTS (SELECT 1 FROM recordings WHERE hub = $1)",
        );
        let delete = async {
            let mut transaction = self.writes.begin().await?;
            let delete = delete.bind(name.as_str());
            let gone = delete.execute(&mut *transaction).await?;
            if gone.rows_affected() > 0 {
                unstored::mark(&mut transaction, name.as_str(), "").await?;
            }
            transaction.commit().await?;
            Ok(gone.rows_affected() > 0)
        };
        within("delete a hub", delete).await
    }
}
