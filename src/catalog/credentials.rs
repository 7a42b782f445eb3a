//! Credentials, as digests where they can be, and the trail of who changed what.

use super::sql::Sql;
use super::{Catalog, Error, column, within};
use sqlx::any::AnyRow;
use std::fmt;

/// Kind of a channel's stream key.
pub const KEY: &str = "key";
/// Kind of an API token.
pub const TOKEN: &str = "token";
/// Kind of what URLs are signed by.
pub const SECRET: &str = "secret";

/// A credential as the catalog keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// [`KEY`], [`TOKEN`] or [`SECRET`].
    pub kind: String,
    /// Of a key its channel; of a token its public id.
    pub id: String,
    /// SHA-256 in hexadecimal; of a [`SECRET`] the secret.
    pub secret: String,
    /// What it is for and may do, as JSON.
    pub about: String,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
}

/// A change that somebody made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuditRow {
    /// Grows with time.
    pub id: i64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Who: a token, or the server itself.
    pub actor: String,
    /// What, in two words.
    pub action: String,
    /// With what.
    pub object: String,
    /// What it was changed to, as JSON; never a secret.
    pub detail: String,
}

const COLUMNS: &str = "SELECT kind, id, secret, about, created_ms FROM credentials";

impl Catalog {
    /// A credential by its id.
    pub async fn credential(&self, kind: &str, id: &str) -> Result<Option<CredentialRow>, Error> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(" WHERE kind = ? AND id = ?", [kind.into(), id.into()]);
        self.one(sql).await
    }

    /// A credential by the digest of its secret.
    pub async fn credential_by_digest(
        &self,
        kind: &str,
        digest: &str,
    ) -> Result<Option<CredentialRow>, Error> {
        let mut sql = Sql::new(COLUMNS);
        sql.push(
            " WHERE kind = ? AND secret = ?",
            [kind.into(), digest.into()],
        );
        self.one(sql).await
    }

    async fn one(&self, sql: Sql) -> Result<Option<CredentialRow>, Error> {
        let rows = sql.rows(self, "read a credential").await?;
        rows.first().map(CredentialRow::read).transpose()
    }

    /// The credentials of a kind after the id `after`, in order.
    pub async fn credentials(
        &self,
        kind: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<CredentialRow>, Error> {
        let mut sql = Sql::new(COLUMNS);
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        sql.push(
            " WHERE kind = ? AND id > ? ORDER BY id LIMIT ?",
            [kind.into(), after.unwrap_or("").into(), limit.into()],
        );
        let rows = sql.rows(self, "list credentials").await?;
        rows.iter().map(CredentialRow::read).collect()
    }

    /// Writes a credential, replacing one of the same kind and id.
    pub async fn put_credential(&self, row: &CredentialRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO credentials (kind, id, secret, about, created_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, id) DO UPDATE SET \
             secret = excluded.secret, about = excluded.about, created_ms = excluded.created_ms",
        );
        self.write_credential(write, row).await
    }

    /// Writes a credential unless there is one of this kind and id: then that one stays.
    pub async fn add_credential(&self, row: &CredentialRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO credentials (kind, id, secret, about, created_ms) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT (kind, id) DO NOTHING",
        );
        self.write_credential(write, row).await
    }

    async fn write_credential(
        &self,
        write: sqlx::query::Query<'_, sqlx::Any, sqlx::any::AnyArguments>,
        row: &CredentialRow,
    ) -> Result<(), Error> {
        let write = write
            .bind(row.kind.clone())
            .bind(row.id.clone())
            .bind(row.secret.clone())
            .bind(row.about.clone())
            .bind(row.created_ms);
        within("write a credential", write.execute(&self.writes))
            .await
            .map(drop)
    }

    /// Removes a credential; false if there is none.
    pub async fn delete_credential(&self, kind: &str, id: &str) -> Result<bool, Error> {
        let delete = sqlx::query("DELETE FROM credentials WHERE kind = $1 AND id = $2");
        let delete = delete.bind(kind).bind(id);
        let gone = within("delete a credential", delete.execute(&self.writes)).await?;
        Ok(gone.rows_affected() > 0)
    }

    /// Adds to the trail. The row's id is its time with a random end, so it never has to be asked for.
    pub async fn add_audit(&self, row: &AuditRow) -> Result<(), Error> {
        let write = sqlx::query(
            "INSERT INTO audit (id, at_ms, actor, action, object, detail) VALUES ($1, $2, $3, $4, $5, $6)",
        );
        let write = write
            .bind(row.id)
            .bind(row.at_ms)
            .bind(row.actor.as_str())
            .bind(row.action.as_str())
            .bind(row.object.as_str())
            .bind(row.detail.as_str());
        within("write the audit trail", write.execute(&self.writes))
            .await
            .map(drop)
    }

    /// The trail from the newest on, or from before the row `before`.
    pub async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, Error> {
        let mut sql = Sql::new("SELECT id, at_ms, actor, action, object, detail FROM audit");
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let before = before.unwrap_or(i64::MAX);
        sql.push(
            " WHERE id < ? ORDER BY id DESC LIMIT ?",
            [before.into(), limit.into()],
        );
        let rows = sql.rows(self, "read the audit trail").await?;
        let read = |row: &AnyRow| {
            Ok(AuditRow {
                id: column(row, 0)?,
                at_ms: column(row, 1)?,
                actor: column(row, 2)?,
                action: column(row, 3)?,
                object: column(row, 4)?,
                detail: column(row, 5)?,
            })
        };
        rows.iter().map(read).collect()
    }
}

impl CredentialRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            kind: column(row, 0)?,
            id: column(row, 1)?,
            secret: column(row, 2)?,
            about: column(row, 3)?,
            created_ms: column(row, 4)?,
        })
    }
}

/// Without the secret.
impl fmt::Debug for CredentialRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CredentialRow({} {})", self.kind, self.id)
    }
}
