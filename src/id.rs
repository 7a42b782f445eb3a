//! Names that came from outside and were parsed: hubs, channels, recordings, sessions.
//!
//! A value of these types is safe in a path, a URL, a playlist and a log line; nobody checks again.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Longest hub or channel name in bytes; protects object stores (1,024 bytes a key) and file systems (255 a name).
pub const NAME_LEN_MAX: usize = 128;
/// Most levels in a hub name (`a/b/c` has three).
pub const HUB_LEVELS_MAX: usize = 4;

/// Why a name is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// There is nothing.
    #[error("the {what} name is empty")]
    Empty {
        /// `hub` or `channel`.
        what: &'static str,
    },
    /// Longer than [`NAME_LEN_MAX`].
    #[error("the {what} name is longer than {NAME_LEN_MAX} bytes")]
    TooLong {
        /// `hub` or `channel`.
        what: &'static str,
    },
    /// More levels than [`HUB_LEVELS_MAX`].
    #[error("the hub name has more than {HUB_LEVELS_MAX} levels")]
    TooDeep,
    /// A character outside `A-Z a-z 0-9 . _ ~ -`.
    #[error("the {what} name has {found:?} in it: only letters, digits and . _ ~ - are allowed")]
    Character {
        /// `hub` or `channel`.
        what: &'static str,
        /// The first character that is not allowed.
        found: char,
    },
    /// A level begins with a dot (hidden files, `..`).
    #[error("the {what} name begins with a dot")]
    LeadingDot {
        /// `hub` or `channel`.
        what: &'static str,
    },
    /// Not what [`RecordingId`] prints.
    #[error("not a recording id")]
    Recording,
}

/// A namespace of channels: the RTMP app. May have levels, separated by `/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HubName(Arc<str>);

/// The name of a channel within its hub.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName(Arc<str>);

/// A channel: where one pushes to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelId {
    /// Its hub.
    pub hub: HubName,
    /// Its name there.
    pub name: ChannelName,
}

/// A recording: the instant at which it began and four hexadecimal digits that keep two of one
/// millisecond apart, `20261121T034455123-9f2c`. Sorts by time; never used twice.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RecordingId(Arc<str>);

impl HubName {
    /// Parses `name`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, "hub", true)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ChannelName {
    /// Parses `name`.
    pub fn new(name: &str) -> Result<Self, NameError> {
        check(name, "channel", false)?;
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ChannelId {
    /// Parses both names.
    pub fn new(hub: &str, name: &str) -> Result<Self, NameError> {
        Ok(Self {
            hub: HubName::new(hub)?,
            name: ChannelName::new(name)?,
        })
    }
}

impl RecordingId {
    /// An id for a recording that begins at `unix_ms`; `salt` tells two of the same millisecond apart.
    pub fn at(unix_ms: i64, salt: u16) -> Self {
        let at = chrono::DateTime::from_timestamp_millis(unix_ms).unwrap_or_default();
        Self(format!("{}-{salt:04x}", at.format("%Y%m%dT%H%M%S%3f")).into())
    }

    /// The instant at which it began, in milliseconds since the Unix epoch.
    pub fn unix_ms(&self) -> i64 {
        instant_of(&self.0).unwrap_or(0)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn instant_of(id: &str) -> Option<i64> {
    let (stamp, salt) = id.split_once('-')?;
    let digits = stamp.get(..8)?.bytes().chain(stamp.get(9..)?.bytes());
    if stamp.len() != 18
        || stamp.as_bytes().get(8) != Some(&b'T')
        || !{ digits }.all(|b| b.is_ascii_digit())
        || salt.len() != 4
        || !salt.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    let (seconds, millis) = stamp.split_at(15);
    let at = chrono::NaiveDateTime::parse_from_str(seconds, "%Y%m%dT%H%M%S").ok()?;
    at.and_utc()
        .timestamp_millis()
        .checked_add(millis.parse().ok()?)
}

fn check(name: &str, what: &'static str, levels: bool) -> Result<(), NameError> {
    if name.len() > NAME_LEN_MAX {
        return Err(NameError::TooLong { what });
    }
    let depth = name.split('/').count();
    for level in name.split('/') {
        if level.is_empty() {
            return Err(NameError::Empty { what });
        }
        if level.starts_with('.') {
            return Err(NameError::LeadingDot { what });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
        if let Some(found) = level.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character { what, found });
        }
    }
    match depth {
        1 => Ok(()),
        _ if !levels => Err(NameError::Character { what, found: '/' }),
        2..=HUB_LEVELS_MAX => Ok(()),
        _ => Err(NameError::TooDeep),
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hub, self.name)
    }
}

impl fmt::Debug for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChannelId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let (hub, name) = text.rsplit_once('/').unwrap_or(("", text));
        Self::new(hub, name)
    }
}

impl FromStr for RecordingId {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        instant_of(text).ok_or(NameError::Recording)?;
        Ok(Self(text.into()))
    }
}

impl FromStr for HubName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

impl FromStr for ChannelName {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::new(text)
    }
}

macro_rules! text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
text!(HubName, ChannelName, RecordingId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_an_allow_list() {
        let ok = |hub, name| assert!(ChannelId::new(hub, name).is_ok(), "{hub:?} {name:?}");
        ok("live", "stream");
        ok("a/b/c/d", "A-Z_0~9.x");
        ok("live", &"x".repeat(128));
        let bad = |hub, name, why: &str| {
            let error = ChannelId::new(hub, name).expect_err(&format!("{hub:?} {name:?}"));
            assert!(error.to_string().contains(why), "{error}");
        };
        bad("", "x", "hub name is empty");
        bad("live", "", "channel name is empty");
        bad("live/", "x", "hub name is empty");
        bad("a/b/c/d/e", "x", "more than 4 levels");
        bad("live/..", "x", "begins with a dot");
        bad("live", "../../etc/x", "begins with a dot");
        bad("live", "a/b", "'/'");
        bad("live", "a\\b", "'\\\\'");
        bad("live", "..%2f", "begins with a dot");
        bad("live", "a%2f", "'%'");
        bad("live", "a\0", "'\\0'");
        bad("live", "a\"b", "'\"'");
        bad("live", "ключ", "'к'");
        bad("live", &"x".repeat(129), "longer than 128");
    }

    #[test]
    fn recording_ids_sort_by_time_and_read_back() {
        let id = RecordingId::at(1_763_696_695_123, 0x9f2c);
        assert_eq!(id.as_str(), "20251121T034455123-9f2c");
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
        assert_eq!(id.unix_ms(), 1_763_696_695_123);
        assert!(id < RecordingId::at(1_763_696_695_124, 0));
        for bad in [
            "",
            "20251121T034455123",
            "20251321T034455123-9f2c",
            "20251121T034455123-9F2C",
            "../../../etc/passwd-0000",
        ] {
            assert_eq!(
                bad.parse::<RecordingId>(),
                Err(NameError::Recording),
                "{bad:?}"
            );
        }
    }
}
