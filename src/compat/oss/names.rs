//! The rules for names and numbers of this API, checked once.

use super::error::{Code, Error};
use super::query::Query;
use crate::id::{ChannelId, ChannelName, HubName};

/// Bytes of a channel's name: one less than the limit that the reference names.
const CHANNEL_LEN_MAX: usize = 63;
const PLAYLIST_LEN: std::ops::RangeInclusive<usize> = 6..=128;
/// Bytes of a prefix or marker.
const TEXT_LEN_MAX: usize = 1024;
/// Names on one page of a listing, at most and if nothing is said.
const KEYS_MAX: usize = 1000;
const KEYS_DEFAULT: usize = 100;
/// Longest range of a VOD playlist: a day.
const RANGE_MAX_S: i64 = 86_400;
/// How every playlist's name ends.
const SUFFIX: &str = ".m3u8";

/// A bucket: a hub whose name is also one in DNS.
pub(super) fn bucket(name: &str) -> Result<HubName, Error> {
    let invalid = || {
        let message = "The specified bucket is not valid.";
        Error::new(Code::InvalidBucketName, message).with("BucketName", name)
    };
    let inside = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-');
    let good = (3..=63).contains(&name.len())
        && name.bytes().all(inside)
        && !name.starts_with('-')
        && !name.ends_with('-');
    let hub = HubName::new(name).ok().filter(|_| good);
    hub.ok_or_else(invalid)
}

/// A channel of a bucket.
pub(super) fn channel(hub: &HubName, name: &str) -> Result<ChannelId, Error> {
    let refuse = |ec, message: &str| Err(Error::argument("LiveChannelName", name, ec, message));
    if name.is_empty() {
        return refuse("0017-00000257", "The live channel name is empty.");
    }
    if name.len() > CHANNEL_LEN_MAX {
        return refuse("0017-00000258", "The live channel name is too long.");
    }
    if name.contains('/') {
        return refuse("0017-00000260", "The live channel name contains a slash.");
    }
    match ChannelName::new(name) {
        Ok(name) => Ok(ChannelId {
            hub: hub.clone(),
            name,
        }),
        Err(error) => refuse(
            "",
            &format!("This server does not take that name: {error}."),
        ),
    }
}

/// Whether this API can name the channel at all: its rule is the shorter one.
pub(super) fn is_channel(name: &str) -> bool {
    name.len() <= CHANNEL_LEN_MAX
}

/// The live playlist of a channel.
pub(super) fn playlist(name: &str) -> Result<(), Error> {
    let refuse = |ec, message| Err(Error::argument("PlaylistName", name, ec, message));
    if name.contains('/') {
        return refuse("0044-00000016", "The playlist name contains a slash.");
    }
    if !PLAYLIST_LEN.contains(&name.len()) {
        return refuse(
            "0044-00000017",
            "The playlist name has 6 to 128 characters.",
        );
    }
    if !name.ends_with(SUFFIX) {
        return refuse("0044-00000018", "The playlist name ends in .m3u8.");
    }
    match name.chars().any(char::is_control) {
        true => refuse(
            "0044-00000016",
            "The playlist name contains a control character.",
        ),
        false => Ok(()),
    }
}

/// The playlist of a range.
pub(super) fn vod_playlist(name: &str) -> Result<(), Error> {
    let good = name.ends_with(SUFFIX) && playlist(name).is_ok();
    good.then_some(()).ok_or_else(|| {
        let message = "The name of a VOD playlist ends in .m3u8, without a slash before it.";
        Error::argument("playlistName", name, "0044-00000403", message)
    })
}

/// First and last second of a VOD playlist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start_s: i64,
    pub(super) end_s: i64,
}

impl Range {
    /// `startTime` and `endTime`.
    pub(super) fn parse(query: &Query) -> Result<Self, Error> {
        let time = |name: &'static str, ec| {
            let text = query.get(name).unwrap_or_default();
            let number = text.parse::<i64>().ok().filter(|time| *time >= 0);
            let message = format!("{name} is a number of seconds.");
            number.ok_or_else(|| Error::argument(name, text, ec, message))
        };
        let start_s = time("startTime", "0044-00000304")?;
        let end_s = time("endTime", "0044-00000305")?;
        let refuse = |ec, message| {
            let end = end_s.to_string();
            Err(Error::argument("endTime", &end, ec, message))
        };
        if end_s <= start_s {
            return refuse("0044-00000306", "endTime must be later than startTime.");
        }
        if end_s - start_s > RANGE_MAX_S {
            return refuse("0044-00000307", "The time span is longer than a day.");
        }
        Ok(Self { start_s, end_s })
    }
}

/// Which part of a listing is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) prefix: String,
    /// Names come after this one.
    pub(super) marker: String,
    pub(super) max_keys: usize,
}

impl Page {
    /// `prefix`, `marker` and `max-keys`.
    pub(super) fn parse(query: &Query) -> Result<Self, Error> {
        let text = |name: &'static str, ec| {
            let text = query.get(name).unwrap_or_default();
            match text.len() <= TEXT_LEN_MAX {
                true => Ok(text.to_owned()),
                false => Err(Error::argument(
                    name,
                    "",
                    ec,
                    format!("{name} is too long."),
                )),
            }
        };
        let max_keys = match query.filled("max-keys") {
            None => KEYS_DEFAULT,
            Some(text) => {
                let number = text.parse().ok().filter(|n| (1..=KEYS_MAX).contains(n));
                let message = "max-keys is a number from 1 to 1000.";
                number.ok_or_else(|| Error::argument("max-keys", text, "0044-00000101", message))?
            }
        };
        Ok(Self {
            prefix: text("prefix", "0044-00000102")?,
            marker: text("marker", "0044-00000103")?,
            max_keys,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ec<T>(result: Result<T, Error>) -> Option<&'static str> {
        result.err().map(|error| error.ec)
    }

    #[test]
    fn names_have_their_own_rules() {
        for good in ["abc", "a-1", &"a".repeat(63)] {
            assert!(bucket(good).is_ok(), "{good}");
        }
        for bad in [
            "ab",
            "Abc",
            "a_b",
            "-abc",
            "abc-",
            "a.b.c",
            "",
            &"a".repeat(64),
        ] {
            let error = bucket(bad).expect_err(bad);
            assert_eq!(error.code, Code::InvalidBucketName, "{bad}");
        }
        let hub = bucket("demo-bucket").expect("a bucket");
        let check = |name: &str, expected| assert_eq!(ec(channel(&hub, name)), expected, "{name}");
        check("cam.1_~-X", None);
        check(&"a".repeat(63), None);
        check("", Some("0017-00000257"));
        check(&"a".repeat(64), Some("0017-00000258"));
        check("a/b", Some("0017-00000260"));
        check(".a", Some(""));
        check("ä", Some(""));
    }

    #[test]
    fn playlists_end_in_m3u8() {
        let check = |name: &str, live, vod| {
            assert_eq!(
                (ec(playlist(name)), ec(vod_playlist(name))),
                (live, vod),
                "{name}"
            );
        };
        check("a.m3u8", None, None);
        check(&format!("{}.m3u8", "a".repeat(123)), None, None);
        let vod = Some("0044-00000403");
        check(
            &format!("{}.m3u8", "a".repeat(124)),
            Some("0044-00000017"),
            vod,
        );
        check(".m3u8", Some("0044-00000017"), vod);
        check("a/b.m3u8", Some("0044-00000016"), vod);
        check("a\n.m3u8", Some("0044-00000016"), vod);
        check("playlist", Some("0044-00000018"), vod);
        check("playlist.M3U8", Some("0044-00000018"), vod);
    }

    #[test]
    fn ranges_are_a_day_at_most() {
        let check = |query: &str, expected| {
            let query = Query::parse(query).expect("UTF-8");
            assert_eq!(ec(Range::parse(&query)), expected, "{query:?}");
        };
        check("startTime=10&endTime=86410", None);
        check("startTime=10&endTime=86411", Some("0044-00000307"));
        check("startTime=10&endTime=10", Some("0044-00000306"));
        check("startTime=10&endTime=9", Some("0044-00000306"));
        check("endTime=9", Some("0044-00000304"));
        check("startTime=x&endTime=9", Some("0044-00000304"));
        check("startTime=-1&endTime=9", Some("0044-00000304"));
        check("startTime=1&endTime=", Some("0044-00000305"));
        check(
            "startTime=1&endTime=99999999999999999999",
            Some("0044-00000305"),
        );
        check(
            "startTime=0&endTime=9223372036854775807",
            Some("0044-00000307"),
        );
    }

    #[test]
    fn pages_have_limits() {
        let page = |query: &str| Page::parse(&Query::parse(query).expect("UTF-8"));
        let expected = Page {
            prefix: String::new(),
            marker: String::new(),
            max_keys: 100,
        };
        assert_eq!(page("live&prefix&marker=&max-keys="), Ok(expected));
        assert_eq!(page("max-keys=1000").map(|page| page.max_keys), Ok(1000));
        for bad in ["0", "1001", "-1", "x"] {
            let found = ec(page(&format!("max-keys={bad}")));
            assert_eq!(found, Some("0044-00000101"), "{bad}");
        }
        let long = "a".repeat(1025);
        assert_eq!(ec(page(&format!("prefix={long}"))), Some("0044-00000102"));
        assert_eq!(ec(page(&format!("marker={long}"))), Some("0044-00000103"));
        assert!(page(&format!("prefix={}", &long[1..])).is_ok());
    }
}
