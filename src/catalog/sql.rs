//! A statement that grows by conditions: text that we wrote, and values that others did.

use super::{Catalog, Error, within};
use sqlx::AssertSqlSafe;
use sqlx::any::AnyRow;

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

    pub(super) async fn rows(
        self,
        catalog: &Catalog,
        action: &'static str,
    ) -> Result<Vec<AnyRow>, Error> {
        // The text is made of our own literals and of numbers of placeholders.
        let mut query = sqlx::query(AssertSqlSafe(self.text));
        for value in self.values {
            query = match value {
                Value::Number(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
            };
        }
        within(action, query.fetch_all(&catalog.reads)).await
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
