//! What can be set of a channel. What is not set is as the server's configuration says.

use super::Error;
use super::auth::{Playback, Policy};
use super::live::SecondPublisher;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// Settings of a channel. All but `enabled`, `playback`, `description`, `labels`, what is kept and where
/// viewers come from take effect at the next push.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelSettings {
    /// Whether anybody may push to it.
    #[serde(skip)]
    pub enabled: bool,
    /// For people.
    pub description: String,
    /// For programs: listings select by them.
    pub labels: BTreeMap<String, String>,
    /// A segment ends at the first key frame at or after this; in milliseconds.
    pub segment_duration_ms: Option<u32>,
    /// Segments in the live playlist.
    pub window: Option<u32>,
    /// A second name for the channel's `index.m3u8`.
    pub playlist_name: Option<String>,
    /// Who may publish.
    pub publish: Option<Policy>,
    /// Who may play.
    pub playback: Playback,
    /// What happens to a second publisher.
    pub second_publisher: Option<SecondPublisher>,
    /// How long an ended push may be taken up again; in milliseconds.
    pub reconnect_window_ms: Option<u32>,
    /// How long segments are kept; in seconds.
    pub retention_s: Option<u64>,
    /// How many bytes of segments are kept.
    pub retention_bytes: Option<u64>,
    /// Networks that publishers come from.
    pub publish_from: Option<Networks>,
    /// Networks that they never come from.
    pub publish_not_from: Option<Networks>,
    /// Networks that viewers come from.
    pub play_from: Option<Networks>,
    /// Networks that they never come from.
    pub play_not_from: Option<Networks>,
    /// Bits of media in a second that a push may have; 0 for any number.
    pub bit_rate_max: Option<u64>,
}

/// Some networks.
pub type Networks = Vec<IpNet>;

/// Bytes of a description.
const DESCRIPTION_MAX: usize = 1024;
/// Labels of one channel.
const LABELS_MAX: usize = 32;
/// Bytes of a label and of its value.
const LABEL_MAX: usize = 128;
/// Bytes of a playlist's name.
const PLAYLIST_NAME_MAX: usize = 128;
const SEGMENT_MS: RangeInclusive<u32> = 500..=100_000;
const WINDOW: RangeInclusive<u32> = 3..=1000;
const RECONNECT_MS: RangeInclusive<u32> = 0..=86_400_000;
const RETENTION_S: RangeInclusive<u64> = 60..=3_155_760_000;
/// From what a live playlist needs to more than there is.
const RETENTION_BYTES: RangeInclusive<u64> = 1 << 20..=1 << 60;
const BIT_RATE: RangeInclusive<u64> = 0..=1_000_000_000_000;
/// Networks in a list: each is compared with every address that comes.
const NETWORKS_MAX: usize = 64;

impl Default for ChannelSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            description: String::new(),
            labels: BTreeMap::new(),
            segment_duration_ms: None,
            window: None,
            playlist_name: None,
            publish: None,
            playback: Playback::Public,
            second_publisher: None,
            reconnect_window_ms: None,
            retention_s: None,
            retention_bytes: None,
            publish_from: None,
            publish_not_from: None,
            play_from: None,
            play_not_from: None,
            bit_rate_max: None,
        }
    }
}

impl ChannelSettings {
    /// Whether all values are within their limits; the error names the first that is not.
    pub fn check(&self) -> Result<(), Error> {
        within("segment_duration_ms", self.segment_duration_ms, SEGMENT_MS)?;
        within("window", self.window, WINDOW)?;
        within(
            "reconnect_window_ms",
            self.reconnect_window_ms,
            RECONNECT_MS,
        )?;
        within("retention_s", self.retention_s, RETENTION_S)?;
        within("retention_bytes", self.retention_bytes, RETENTION_BYTES)?;
        within("bit_rate_max", self.bit_rate_max, BIT_RATE)?;
        let no = |text: String| Err(Error::Invalid(text));
        for (name, list, whom) in [
            ("publish_from", &self.publish_from, Some("publish")),
            ("publish_not_from", &self.publish_not_from, None),
            ("play_from", &self.play_from, Some("play")),
            ("play_not_from", &self.play_not_from, None),
        ] {
            let len = list.as_ref().map(Vec::len);
            if len > Some(NETWORKS_MAX) {
                return no(format!("{name} has at most {NETWORKS_MAX} networks"));
            }
            if let (Some(0), Some(what)) = (len, whom) {
                return no(format!(
                    "{name} is empty, so that nobody could {what}: name networks, or null for any"
                ));
            }
        }
        if self.description.len() > DESCRIPTION_MAX || self.description.contains('\0') {
            return no(format!(
                "description has at most {DESCRIPTION_MAX} bytes, none of them zero"
            ));
        }
        if self.labels.len() > LABELS_MAX {
            return no(format!("a channel has at most {LABELS_MAX} labels"));
        }
        for (label, value) in &self.labels {
            let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/');
            if label.is_empty() || label.len() > LABEL_MAX || !label.chars().all(word) {
                return no(format!(
                    "label {label:?}: 1 to {LABEL_MAX} letters, digits and . _ - / of ASCII"
                ));
            }
            if value.len() > LABEL_MAX || value.contains('\0') {
                return no(format!(
                    "the value of label {label:?} has at most {LABEL_MAX} bytes"
                ));
            }
        }
        match &self.playlist_name {
            Some(name) if !is_playlist_name(name) => no(format!(
                "playlist_name {name:?}: letters, digits and . _ ~ - of ASCII, ending in .m3u8, \
                 at most {PLAYLIST_NAME_MAX} bytes, not beginning with a dot or clip-"
            )),
            Some(_) | None => Ok(()),
        }
    }

    /// As the catalog keeps them; `enabled` has its own column.
    pub(super) fn to_json(&self) -> String {
        super::json(self)
    }
}

fn is_playlist_name(name: &str) -> bool {
    crate::id::ChannelName::new(name).is_ok()
        && name.len() <= PLAYLIST_NAME_MAX
        && name.len() > ".m3u8".len()
        && name.ends_with(".m3u8")
        && !name.starts_with(crate::key::CLIP_PREFIX)
}

fn within<T: PartialOrd + std::fmt::Display>(
    name: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) -> Result<(), Error> {
    match value {
        Some(value) if !range.contains(&value) => Err(Error::Invalid(format!(
            "{name} is {value}, and it must be {} to {}",
            range.start(),
            range.end()
        ))),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_limits() {
        let check = |change: fn(&mut ChannelSettings), why: &str| {
            let mut settings = ChannelSettings::default();
            change(&mut settings);
            let error = settings.check().expect_err(why).to_string();
            assert!(error.contains(why), "{error}");
        };
        check(|s| s.segment_duration_ms = Some(499), "500 to 100000");
        check(|s| s.window = Some(2), "3 to 1000");
        check(|s| s.retention_s = Some(1), "retention_s is 1");
        check(|s| s.retention_bytes = Some(1), "retention_bytes is 1");
        check(|s| s.bit_rate_max = Some(u64::MAX), "bit_rate_max is");
        check(
            |s| s.publish_from = Some(Vec::new()),
            "nobody could publish",
        );
        check(|s| s.play_from = Some(Vec::new()), "nobody could play");
        check(
            |s| s.play_not_from = Some(vec![IpNet::default(); 65]),
            "64 networks",
        );
        check(|s| s.description = "x".repeat(1025), "1024 bytes");
        check(
            |s| s.playlist_name = Some("a/b.m3u8".to_owned()),
            "playlist_name",
        );
        check(
            |s| s.playlist_name = Some(".m3u8".to_owned()),
            "playlist_name",
        );
        check(
            |s| s.playlist_name = Some("clip-x.m3u8".to_owned()),
            "playlist_name",
        );
        check(
            |s| {
                s.labels.insert(String::new(), String::new());
            },
            "label",
        );
        let fine = ChannelSettings {
            playlist_name: Some("playlist.m3u8".to_owned()),
            window: Some(3),
            play_from: Some(vec!["2001:db8::/32".parse().expect("a network")]),
            labels: [("a/b".to_owned(), "ü".to_owned())].into(),
            ..ChannelSettings::default()
        };
        assert!(fine.check().is_ok());
        let back: ChannelSettings = serde_json::from_str(&fine.to_json()).expect("reads back");
        assert_eq!(back, fine);
    }
}
