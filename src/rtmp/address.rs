//! What a publisher wants to publish, from the three places in which encoders put it.
//!
//! The rule: `app` (or, where that is missing, the path of `tcUrl`) and the stream name make one path; its
//! last element is the name and what stands before is the app. So `rtmp://host/live` with key `cam` and
//! `rtmp://host/live/cam` with no key at all are the same, and so are `a/b` + `c` and `a` + `b/c`. Empty
//! elements (double and trailing slashes) do not count. Queries are collected: the stream name's first, then
//! the app's, then the URL's.
//!
//! ffmpeg cuts `rtmp://host/live/cam?key=a/b` at the slash of the query, and nobody can tell that from an app
//! with a query: a slash in a key has to be written `%2F`.

use std::fmt;

/// Names and values behind the `?` of a publisher's addresses. Its `Debug` shows names only: values are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// The first value called `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    }

    /// All of them, in order of precedence.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what `text` holds and is not here yet: encoders send the same query in `app` and `tcUrl`.
    fn merge(&mut self, text: &str) {
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let pair = (decode(name), decode(value));
            if !self.0.contains(&pair) {
                self.0.push(pair);
            }
        }
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, _)| (name, "…")))
            .finish()
    }
}

/// Undoes percent-encoding. A plus stays one: keys are typed into encoders, not into HTML forms.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let digits = behind.split_first_chunk::<2>().filter(|_| *first == b'%');
        let decoded = digits.and_then(|(digits, behind)| {
            let digits = std::str::from_utf8(digits).ok()?;
            let valid = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16).ok().filter(|_| valid)?;
            Some((byte, behind))
        });
        let (byte, behind) = decoded.unwrap_or((*first, behind));
        bytes.push(byte);
        rest = behind;
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Host, app, name and query of a publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Address {
    /// Host and port of `tcUrl`.
    pub(super) host: Option<String>,
    /// May be empty (`rtmp://host/onlykey`).
    pub(super) app: String,
    /// Empty only if nothing was named anywhere.
    pub(super) name: String,
    pub(super) query: Query,
}

impl Address {
    /// Applies the rule above.
    pub(super) fn resolve(app: Option<&str>, tc_url: Option<&str>, stream: &str) -> Self {
        let (url_path, url_query) = split_url(tc_url.unwrap_or_default());
        let (app_path, app_query) = split_query(clean(app.unwrap_or_default()));
        let (stream_path, stream_query) = split_query(clean(stream));
        let base = match elements(app_path).next() {
            Some(_) => app_path,
            None => url_path,
        };
        let mut path: Vec<&str> = elements(base).chain(elements(stream_path)).collect();
        let name = path.pop().unwrap_or_default().to_owned();
        let mut query = Query::default();
        [stream_query, app_query, url_query]
            .into_iter()
            .for_each(|text| query.merge(text));
        Self {
            host: tc_url.and_then(host_of).map(str::to_owned),
            app: path.join("/"),
            name,
            query,
        }
    }
}

fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|element| !element.is_empty())
}

/// Without the quotes and blanks that some encoders put around.
fn clean(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\0'))
}

fn split_query(text: &str) -> (&str, &str) {
    text.split_once('?').unwrap_or((text, ""))
}

/// Host and port of a URL, without user and password.
fn host_of(url: &str) -> Option<&str> {
    let (url, _) = split_query(clean(url));
    let (_, rest) = url.split_once("://")?;
    let authority = rest
        .split_once('/')
        .map_or(rest, |(authority, _)| authority);
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    (!host.is_empty()).then_some(host)
}

/// Path and query of a URL.
fn split_url(url: &str) -> (&str, &str) {
    let (url, query) = split_query(clean(url));
    let behind_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    (
        behind_scheme.split_once('/').map_or("", |(_, path)| path),
        query,
    )
}

/// A `tcUrl` as it may be logged: without query and without user and password.
pub(super) fn public_url(url: &str) -> String {
    let (url, _) = split_query(clean(url));
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}/{path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_rule_for_every_place_of_the_name() {
        let check = |app: Option<&str>,
                     tc_url: Option<&str>,
                     stream: &str,
                     expected: (&str, &str, &str)| {
            let address = Address::resolve(app, tc_url, stream);
            let query: Vec<_> = address
                .query
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            let found = (
                address.app.as_str(),
                address.name.as_str(),
                &*query.join("&"),
            );
            assert_eq!(found, expected, "{app:?} {tc_url:?} {stream:?}");
        };
        check(Some("live"), None, "cam", ("live", "cam", ""));
        check(
            Some("live"),
            Some("rtmp://h/other"),
            "cam",
            ("live", "cam", ""),
        );
        check(Some("live/"), None, "cam", ("live", "cam", ""));
        check(Some("/live//"), None, "/cam/", ("live", "cam", ""));
        check(Some("a/b/c"), None, "cam", ("a/b/c", "cam", ""));
        check(Some("a"), None, "b/cam", ("a/b", "cam", ""));
        // OBS with the key in the Server field, and nothing in the Key field.
        check(
            Some("live/cam"),
            Some("rtmp://h/live/cam"),
            "",
            ("live", "cam", ""),
        );
        check(Some("live/cam"), None, "?key=k", ("live", "cam", "key=k"));
        // ffmpeg rtmp://host/onlykey
        check(Some("onlykey"), None, "", ("", "onlykey", ""));
        check(None, None, "cam", ("", "cam", ""));
        check(None, None, "", ("", "", ""));
        check(
            Some("?x=1"),
            Some("rtmp://h/live"),
            "cam",
            ("live", "cam", "x=1"),
        );
        // No app: the URL's path, whatever stands around it.
        for url in [
            "rtmp://h/live",
            "rtmp://h:0/live/",
            "\"rtmp://h:1935/live\"",
            " rtmps://[::1]:1935/live ",
            "rtmp://user:pw@h/live",
        ] {
            check(None, Some(url), "cam", ("live", "cam", ""));
            check(Some(""), Some(url), "cam", ("live", "cam", ""));
        }
        check(None, Some("rtmp://h"), "cam", ("", "cam", ""));
        // ffmpeg: a slash within the query is not one of the path.
        check(
            Some("live/sub"),
            None,
            "key?token=a/b&x=1",
            ("live/sub", "key", "token=a/b&x=1"),
        );
        check(
            Some("live?x=1&key=app"),
            Some("rtmp://h/live?x=1&key=url"),
            "cam?key=own",
            ("live", "cam", "key=own&x=1&key=app&key=url"),
        );
        check(
            Some("live"),
            None,
            "cam?k=a%2Fb+c%zz%4&&flag&=v",
            ("live", "cam", "k=a/b+c%zz%4&flag=&=v"),
        );
        check(
            Some("live"),
            None,
            "cam?a=b=c?d",
            ("live", "cam", "a=b=c?d"),
        );
        // ffmpeg, for rtmp://host/live/cam?key=a/b and for rtmp://host/live/cam?key=a%2Fb
        check(
            Some("live/cam?key=a"),
            None,
            "b",
            ("live/cam", "b", "key=a"),
        );
        check(
            Some("live"),
            None,
            "cam?key=a%2Fb",
            ("live", "cam", "key=a/b"),
        );
        // Names are as they were sent; whether they are good ones is for others to say.
        check(Some("live"), None, "..%2f", ("live", "..%2f", ""));
    }

    #[test]
    fn the_host_is_that_of_the_url() {
        let check = |tc_url, expected: Option<&str>| {
            let address = Address::resolve(Some("live"), tc_url, "cam");
            assert_eq!(address.host.as_deref(), expected, "{tc_url:?}");
        };
        check(
            Some("rtmp://b.oss.localhost:9000/live"),
            Some("b.oss.localhost:9000"),
        );
        check(Some("rtmp://user:pw@h/live?x=1"), Some("h"));
        check(Some("rtmp://[::1]:1935"), Some("[::1]:1935"));
        check(Some("rtmp:///live"), None);
        check(Some("live"), None);
        check(None, None);
    }

    #[test]
    fn the_first_value_wins_and_none_is_printed() {
        let address = Address::resolve(Some("live?key=second"), None, "cam?key=first");
        assert_eq!(address.query.get("key"), Some("first"));
        let printed = format!("{address:?}");
        assert!(
            printed.contains("key") && !printed.contains("first") && !printed.contains("second"),
            "{printed}"
        );
    }

    #[test]
    fn a_url_in_the_log_has_no_secrets() {
        let check = |url, expected| assert_eq!(public_url(url), expected);
        check("rtmp://user:pw@h:1935/live?key=k", "rtmp://h:1935/live");
        check("'rtmp://h/live/a@b'", "rtmp://h/live/a@b");
        check("live?key=k", "live");
    }
}
