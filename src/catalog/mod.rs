//! The catalog: channels, credentials and history in a database, SQLite or PostgreSQL, by one SQL.
//!
//! Rows in, rows out. Does not know what a setting means, who may do what, or where bytes live.
//! Every call has an end: a database that hangs is one that is away ([`Error::Away`]).
//!
//! What a running push has to tell goes through [`Backlog`]: a bounded queue and one task, so that
//! no push ever waits for the database. Both what the queue lost and all the rest can be written
//! again from the recordings' own indexes in the store; every insert is made to bear that.

mod backlog;
mod channels;
mod credentials;
mod history;
mod hubs;
mod ranges;
mod retention;
mod sql;
mod stored;
mod unstored;

pub use backlog::{Backlog, Entry, Health};
pub use channels::{ChannelFilter, ChannelRow};
pub use credentials::{AuditRow, CredentialRow, KEY, SECRET, TOKEN};
pub use history::{RecordingRow, SegmentRow, SessionRow, flags, recording_key};
pub use hubs::HubRow;
pub use ranges::{RangeKind, RangeRow};
pub use retention::{Candidate, Cause, Due, Expiry, NEVER, Usage};
pub use unstored::Unstored;

use sqlx::any::{AnyPoolOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, SqlSafeStr};
use std::path::Path;
use std::time::Duration;

/// Connections that read at one time.
const READERS: u32 = 8;
/// How long a call may wait for a connection: a database that is away is found out after this.
const ACQUIRE_MAX: Duration = Duration::from_secs(2);
/// How long a call may take in all; the longest asks for a day's segments.
const CALL_MAX: Duration = Duration::from_secs(10);

/// A connection to the catalog. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    reads: AnyPool,
    /// SQLite has one writer at a time: waiting for it here is fairer than in the database.
    writes: AnyPool,
}

/// Why the catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened.
    #[error("cannot open the catalog ({url}): {source}")]
    Open {
        /// Where it is; never with a password.
        url: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It does not answer; it may be back later.
    #[error("the catalog is away: {0}")]
    Away(String),
    /// It answered, and that it cannot.
    #[error("the catalog cannot {action}: {source}")]
    Failed {
        /// What was attempted.
        action: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// A row that no version of this program wrote.
    #[error("the catalog has a row that cannot be read: {0}")]
    Row(String),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Away(_))
    }
}

impl Catalog {
    /// The catalog in the SQLite file `path`, which is made if it is not there.
    pub async fn sqlite(path: &Path) -> Result<Self, Error> {
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let encoded: String = absolute.to_string_lossy().bytes().map(url_byte).collect();
        let url = format!("sqlite://{encoded}?mode=rwc");
        keep_private(&absolute).map_err(|error| Error::Open {
            url: url.clone(),
            source: error.into(),
        })?;
        Self::open(&url).await
    }

    /// The catalog at `url`: `sqlite://…` or `postgres://…`. Brings its tables up to date.
    pub async fn open(url: &str) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        let open = |source: Box<dyn std::error::Error + Send + Sync>| Error::Open {
            url: without_password(url),
            source,
        };
        let postgres = url.starts_with("postgres");
        let pool = |connections: u32| {
            AnyPoolOptions::new()
                .max_connections(connections)
                .acquire_timeout(ACQUIRE_MAX)
                // A file does not go away unseen, and each question costs two changes of thread.
                .test_before_acquire(postgres)
                .after_connect(move |connection, _| {
                    Box::pin(async move {
                        let prelude = if postgres { POSTGRES } else { SQLITE };
                        for statement in prelude {
                            sqlx::query(*statement).execute(&mut *connection).await?;
                        }
                        Ok(())
                    })
                })
        };
        let writes = pool(if postgres { READERS } else { 1 }).connect(url).await;
        let writes = writes.map_err(|error| open(error.into()))?;
        if postgres {
            let made = sqlx::query(r#"CREATE COLLATION IF NOT EXISTS "binary" FROM "C""#);
            made.execute(&writes)
                .await
                .map_err(|error| open(error.into()))?;
        }
        migrations()
            .run(&writes)
            .await
            .map_err(|error| open(error.into()))?;
        let reads = match postgres {
            true => writes.clone(),
            false => pool(READERS)
                .connect_lazy(url)
                .map_err(|e| open(e.into()))?,
        };
        Ok(Self { reads, writes })
    }

    /// Ends its connections.
    pub async fn close(&self) {
        self.reads.close().await;
        self.writes.close().await;
    }

    /// Whether it answers now.
    pub async fn ping(&self) -> Result<(), Error> {
        let answer = sqlx::query("SELECT 1").execute(&self.reads);
        within("answer", answer).await.map(drop)
    }
}

/// What every connection is told first. The timeouts are for one statement.
const SQLITE: &[&str] = &[
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    "PRAGMA busy_timeout = 5000",
    // 2 MB for each connection: most is read from the mapped file.
    "PRAGMA cache_size = -2000",
    "PRAGMA mmap_size = 268435456",
];
const POSTGRES: &[&str] = &["SET statement_timeout = '10s'", "SET TIME ZONE 'UTC'"];

fn migrations() -> Migrator {
    let one = |version, name: &'static str, sql: &'static str| {
        Migration::new(
            version,
            name.into(),
            MigrationType::Simple,
            sql.into_sql_str(),
            false,
        )
    };
    Migrator::with_migrations(vec![
        one(1, "catalog", include_str!("migrations/0001_catalog.sql")),
        one(
            2,
            "hub access",
            include_str!("migrations/0002_hub_access.sql"),
        ),
        one(
            3,
            "retention",
            include_str!("migrations/0003_retention.sql"),
        ),
        one(
            4,
            "what the store is to be told",
            include_str!("migrations/0004_unstored.sql"),
        ),
    ])
}

/// The outcome of a call that may take as long as [`CALL_MAX`].
async fn within<T>(
    action: &'static str,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, Error> {
    match tokio::time::timeout(CALL_MAX, call).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(judge(action, error)),
        Err(_) => Err(Error::Away(format!("it did not {action} in time"))),
    }
}

/// Whose fault it is: the database's, for now, or the statement's.
fn judge(action: &'static str, error: sqlx::Error) -> Error {
    use sqlx::Error as E;
    let away = match &error {
        // A server that goes down in the middle of a sentence breaks the protocol.
        E::Io(_) | E::Tls(_) | E::Protocol(_) => true,
        E::PoolTimedOut | E::PoolClosed | E::WorkerCrashed => true,
        E::Database(error) => error.code().is_some_and(|code| is_passing(&code)),
        _ => false,
    };
    match away {
        true => Error::Away(format!("it cannot {action}: {error}")),
        false => Error::Failed {
            action,
            source: error,
        },
    }
}

/// PostgreSQL's classes for connections, transactions that were given up or may only read, conflicts,
/// resources and operators (appendix A of its manual), and SQLite's primary codes BUSY, LOCKED, IOERR, FULL and CANTOPEN, all with extensions.
fn is_passing(code: &str) -> bool {
    // SQLite's are numbers of at most four digits.
    if code.len() == 5 {
        return ["08", "25", "40", "53", "55", "57", "58"]
            .iter()
            .any(|class| code.starts_with(class));
    }
    let primary = code.parse::<i64>().map(|code| code & 0xff);
    matches!(primary, Ok(5 | 6 | 10 | 13 | 14))
}

/// Makes the file if it is not there, readable by its owner alone: it holds what signs URLs. SQLite
/// gives the files that it puts beside it the same rights.
fn keep_private(file: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let mut options = std::fs::OpenOptions::new();
    let file = options.create(true).append(true).mode(0o600).open(file)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

fn url_byte(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' | b'~' => {
            char::from(byte).to_string()
        }
        _ => format!("%{byte:02X}"),
    }
}

/// The URL as it may be shown.
fn without_password(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return "no URL".to_owned();
    };
    let place = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
    format!("{scheme}://{place}")
}

/// A column of a row, by its place in the SELECT.
fn column<'r, T>(row: &'r AnyRow, at: usize) -> Result<T, Error>
where
    T: sqlx::Decode<'r, sqlx::Any> + sqlx::Type<sqlx::Any>,
{
    use sqlx::Row;
    row.try_get(at)
        .map_err(|error| Error::Row(error.to_string()))
}

#[cfg(test)]
mod tests;
