//! Hubs and channels.

use super::sql::{Sql, Value};
use super::{Catalog, Error, column, judge, unstored, within};
use crate::id::ChannelId;
use sqlx::any::AnyRow;
use std::collections::BTreeMap;

/// A channel as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChannelRow {
    /// Its name.
    pub id: ChannelId,
    /// Whether anybody may push to it.
    pub enabled: bool,
    /// Everything else that is set, as JSON.
    pub settings: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was changed last.
    pub changed_ms: i64,
    /// How long it keeps what was pushed, in seconds; also in `settings`, here to be found by.
    pub retention_s: Option<i64>,
    /// How many bytes it keeps; the same.
    pub retention_bytes: Option<i64>,
}

/// Which channels a listing wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ChannelFilter {
    /// Only of this hub.
    pub hub: Option<String>,
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Only with this label of this value.
    pub label: Option<(String, String)>,
    /// Only enabled, or only disabled ones.
    pub enabled: Option<bool>,
    /// Only what comes after this one, by hub and name.
    pub after: Option<(String, String)>,
}

/// Greater than every character that a name can have.
const AFTER_NAMES: char = '\u{7f}';
const COLUMNS: &str = "SELECT c.hub, c.name, c.enabled, c.settings, c.created_ms, c.changed_ms, c.retention_s, \
     c.retention_bytes FROM channels c";

impl Catalog {
    /// A channel by its name.
    pub async fn channel(&self, id: &ChannelId) -> Result<Option<ChannelRow>, Error> {
        let mut sql = Sql::new(COLUMNS);
        let name = [id.hub.as_str().into(), id.name.as_str().into()];
        sql.push(" WHERE c.hub = ? AND c.name = ?", name);
        let rows = sql.rows(self, "read a channel").await?;
        rows.first().map(ChannelRow::read).transpose()
    }

    /// The first `limit` channels that `filter` lets through, by hub and name.
    pub async fn channels(
        &self,
        filter: &ChannelFilter,
        limit: usize,
    ) -> Result<Vec<ChannelRow>, Error> {
        let mut sql = Sql::new(COLUMNS);
        let from_label = filter.label.as_ref();
        if from_label.is_some() {
            sql.push(
                " JOIN channel_labels l ON l.hub = c.hub AND l.name = c.name",
                [],
            );
        }
        sql.push(" WHERE 1 = 1", []);
        if let Some(hub) = &filter.hub {
            sql.push(" AND c.hub = ?", [hub.as_str().into()]);
        }
        if let Some(prefix) = &filter.prefix {
            let range: [Value; 2] = [
                prefix.as_str().into(),
                format!("{prefix}{AFTER_NAMES}").into(),
            ];
            sql.push(" AND c.name >= ? AND c.name < ?", range);
        }
        if let Some((label, value)) = from_label {
            let label = [label.as_str().into(), value.as_str().into()];
            sql.push(" AND l.label = ? AND l.value = ?", label);
        }
        if let Some(enabled) = filter.enabled {
            sql.push(" AND c.enabled = ?", [i64::from(enabled).into()]);
        }
        if let Some((hub, name)) = &filter.after {
            let after = [hub.as_str().into(), name.as_str().into()];
            sql.push(" AND (c.hub, c.name) > (?, ?)", after);
        }
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(" ORDER BY c.hub, c.name LIMIT ?", [limit.into()]);
        let rows = sql.rows(self, "list channels").await?;
        rows.iter().map(ChannelRow::read).collect()
    }

    /// Writes a channel and its labels, whether it is new or not.
    pub async fn put_channel(
        &self,
        row: &ChannelRow,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let action = "write a channel";
        let (hub, name) = (row.id.hub.as_str(), row.id.name.as_str());
        let write = async {
            let mut transaction = self.writes.begin().await?;
            let statement =
                "INSERT INTO hubs (name, created_ms) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
            let hubs = sqlx::query(statement).bind(hub).bind(row.created_ms);
            if hubs.execute(&mut *transaction).await?.rows_affected() > 0 {
                unstored::mark(&mut transaction, hub, "").await?;
            }
            unstored::mark(&mut transaction, hub, name).await?;
            sqlx::query(
                "INSERT INTO channels (hub, name, enabled, settings, created_ms, changed_ms, retention_s, \
                 retention_bytes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (hub, name) DO UPDATE SET \
                 enabled = excluded.enabled, settings = excluded.settings, changed_ms = excluded.changed_ms, \
                 retention_s = excluded.retention_s, retention_bytes = excluded.retention_bytes",
            )
            .bind(hub)
            .bind(name)
            .bind(i64::from(row.enabled))
            .bind(row.settings.as_str())
            .bind(row.created_ms)
            .bind(row.changed_ms)
            .bind(row.retention_s)
            .bind(row.retention_bytes)
            .execute(&mut *transaction)
            .await?;
            let old = sqlx::query("DELETE FROM channel_labels WHERE hub = $1 AND name = $2");
            old.bind(hub).bind(name).execute(&mut *transaction).await?;
            for (label, value) in labels {
                let statement =
                    "INSERT INTO channel_labels (label, value, hub, name) VALUES ($1, $2, $3, $4)";
                let new = sqlx::query(statement)
                    .bind(label.as_str())
                    .bind(value.as_str());
                new.bind(hub).bind(name).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        };
        within(action, write).await
    }

    /// Removes a channel with its labels, key and clips; its history and its holds stay. False if there is none.
    pub async fn delete_channel(&self, id: &ChannelId) -> Result<bool, Error> {
        let (hub, name) = (id.hub.as_str(), id.name.as_str());
        let delete = async {
            let mut transaction = self.writes.begin().await?;
            for statement in [
                "DELETE FROM channel_labels WHERE hub = $1 AND name = $2",
                "DELETE FROM clips WHERE hub = $1 AND channel = $2",
            ] {
                let one = sqlx::query(statement).bind(hub).bind(name);
                one.execute(&mut *transaction).await?;
            }
            let key = sqlx::query("DELETE FROM credentials WHERE kind = 'key' AND id = $1");
            key.bind(id.to_string()).execute(&mut *transaction).await?;
            let channel = sqlx::query("DELETE FROM channels WHERE hub = $1 AND name = $2");
            let gone = channel
                .bind(hub)
                .bind(name)
                .execute(&mut *transaction)
                .await?;
            if gone.rows_affected() > 0 {
                unstored::mark(&mut transaction, hub, name).await?;
            }
            transaction.commit().await?;
            Ok(gone.rows_affected() > 0)
        };
        within("delete a channel", delete).await
    }

    /// The hubs that have or had a channel, by name, after `after`.
    pub async fn hubs(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, i64)>, Error> {
        let mut sql = Sql::new("SELECT name, created_ms FROM hubs");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(
            " WHERE name > ? ORDER BY name LIMIT ?",
            [after.unwrap_or("").into(), limit.into()],
        );
        let rows = sql.rows(self, "list hubs").await?;
        rows.iter()
            .map(|row| Ok((column(row, 0)?, column(row, 1)?)))
            .collect()
    }

    /// How many channels there are, enabled or not.
    pub async fn count_channels(&self) -> Result<i64, Error> {
        let count = sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM channels");
        let count = count.fetch_one(&self.reads).await;
        count.map_err(|error| judge("count channels", error))
    }
}

impl ChannelRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        let (hub, name): (String, String) = (column(row, 0)?, column(row, 1)?);
        let id = ChannelId::new(&hub, &name);
        Ok(Self {
            id: id.map_err(|error| Error::Row(error.to_string()))?,
            enabled: column::<i64>(row, 2)? != 0,
            settings: column(row, 3)?,
            created_ms: column(row, 4)?,
            changed_ms: column(row, 5)?,
            retention_s: column(row, 6)?,
            retention_bytes: column(row, 7)?,
        })
    }
}
