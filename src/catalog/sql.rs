//! A statement that grows by conditions: text that we wrote, and values that others did.

use super::{Catalog, Error, within};
use sqlx::any::{AnyArguments, AnyRow};
use sqlx::query::Query;
use sqlx::{Any, AnyConnection, AssertSqlSafe};

/// Of a statement with more values than these the next is likely to have another number.
const VALUES_REMEMBERED: usize = 128;

/// Text with `$1`, `$2`, …, which SQLite and PostgreSQL both read, and the values for them.
pub(super) struct Sql {
    text: String,
    values: Vec<Value>,
}

/// A value for a placeholder.
pub(super) enum Value {
    Number(i64),
    Text(String),
}

impl Sql {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            values: Vec::new(),
        }
    }

    /// Appends `text`, in which each `?` stands for the next of `values`.
    pub(super) fn push(&mut self, text: &str, values: impl IntoIterator<Item = Value>) {
        let mut values = values.into_iter();
        for piece in text.split_inclusive('?') {
            match piece.strip_suffix('?') {
                None => self.text.push_str(piece),
                Some(piece) => {
                    self.text.push_str(piece);
                    self.values.extend(values.next());
                    self.text.push_str(&format!("${}", self.values.len()));
                }
            }
        }
    }

    /// Appends rows of numbers, each in parentheses.
    pub(super) fn push_rows<const COLUMNS: usize>(
        &mut self,
        rows: impl Iterator<Item = [i64; COLUMNS]>,
    ) {
        let places = ["?"; COLUMNS].join(", ");
        for (nth, row) in rows.enumerate() {
            let before = if nth == 0 { "" } else { ", " };
            self.push(&format!("{before}({places})"), row.map(Value::Number));
        }
    }

    /// What a statement returns that writes.
    pub(super) async fn fetch(self, on: &mut AnyConnection) -> Result<Vec<AnyRow>, sqlx::Error> {
        // A connection remembers some prepared statements: not one for every number of rows.
        let few = self.values.len() <= VALUES_REMEMBERED;
        self.query().persistent(few).fetch_all(on).await
    }

    pub(super) async fn rows(
        self,
        catalog: &Catalog,
        action: &'static str,
    ) -> Result<Vec<AnyRow>, Error> {
        within(action, self.query().fetch_all(&catalog.reads)).await
    }

    fn query(self) -> Query<'static, Any, AnyArguments> {
        // The text is made of our own literals and of numbers of placeholders.
        let mut query = sqlx::query(AssertSqlSafe(self.text));
        for value in self.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        query
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}
