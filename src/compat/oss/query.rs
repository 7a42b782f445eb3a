//! The query of a request: names and values, decoded, in their order.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::fmt;

/// Pairs that are looked at; protects against queries that are all separators.
const PAIRS_MAX: usize = 64;
/// What every signature version leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');

/// A query. Its `Debug` shows names only: values may be signatures.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads what stands behind the question mark; `None` if it is not UTF-8 or has too many pairs.
    /// A plus is a space, as the Python SDK writes one; a plus is written `%2B`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let decode = |part: &str| {
            let part = part.replace('+', " ");
            Some(percent_decode_str(&part).decode_utf8().ok()?.into_owned())
        };
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let pairs: Vec<_> = pairs
            .take(PAIRS_MAX + 1)
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((decode(name)?, decode(value)?))
            })
            .collect::<Option<_>>()?;
        (pairs.len() <= PAIRS_MAX).then_some(Self(pairs))
    }

    /// A query of these pairs.
    pub(super) fn of<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Self(owned.collect())
    }

    /// The first value called `name`; empty for a name without one.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut pairs = self.iter();
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The same, without an empty value: many clients send `marker=` for none.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    /// Whether `name` is there, with a value or without.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// All pairs, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The pairs that `wanted` wants, sorted by name, as signatures join them: `name=value`, or
    /// `name` alone.
    pub(super) fn canonical(
        &self,
        wanted: impl Fn(&str) -> bool,
        write: impl Fn(&str) -> String,
    ) -> String {
        let pairs = self.iter().filter(|(name, _)| wanted(name));
        let mut pairs: Vec<_> = pairs
            .map(|(name, value)| (write(name), write(value)))
            .collect();
        pairs.sort();
        let joined = pairs
            .into_iter()
            .map(|(name, value)| match value.is_empty() {
                true => name,
                false => format!("{name}={value}"),
            });
        joined.collect::<Vec<_>>().join("&")
    }
}

/// Percent-encodes everything but letters, digits and `-_.~`.
pub(super) fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

/// The same, and slashes stay too.
pub(super) fn encode_path(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED_AND_SLASH).to_string()
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.iter().map(|(name, _)| name))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_alone_and_a_name_without_value_are_the_same() {
        for text in ["live", "live=", "&live&", "live=&"] {
            let query = Query::parse(text).expect(text);
            assert_eq!(query, Query::of([("live", "")].into_iter()), "{text}");
            assert!(query.has("live") && query.filled("live").is_none());
        }
    }

    #[test]
    fn values_are_decoded() {
        let query = Query::parse("a%20b=c%2Fd+e%3D%2B&x=1=2").expect("UTF-8");
        assert_eq!(query.get("a b"), Some("c/d e=+"));
        assert_eq!(query.get("x"), Some("1=2"));
        assert_eq!(Query::parse("a=%ff"), None);
        assert_eq!(Query::parse(&"a&".repeat(PAIRS_MAX + 1)), None);
        assert!(Query::parse(&"a&".repeat(PAIRS_MAX)).is_some());
        assert_eq!(
            format!("{:?}", Query::parse("Signature=secret").expect("UTF-8")),
            "[\"Signature\"]"
        );
    }

    #[test]
    fn canonical_form_is_sorted() {
        let query = Query::parse("vod=&startTime=5&endTime=9&marker=a%2Fb").expect("UTF-8");
        assert_eq!(
            query.canonical(|name| name != "marker", str::to_owned),
            "endTime=9&startTime=5&vod"
        );
        assert_eq!(
            query.canonical(|_| true, encode),
            "endTime=9&marker=a%2Fb&startTime=5&vod"
        );
        assert_eq!(encode_path("/a b/ü"), "/a%20b/%C3%BC");
    }
}
