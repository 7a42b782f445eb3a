//! Settings of a channel in the JSON of the API.

use crate::control::auth::{Playback, Policy};
use crate::control::live::SecondPublisher;
use crate::control::settings::ChannelSettings;
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::IpAddr;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// Settings of a channel. What is absent or null is as the server's configuration says.
#[derive(Clone, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Whether anybody may push to it.
    enabled: bool,
    /// For people.
    #[schema(max_length = 1024)]
    description: String,
    /// For programs: listings select by them.
    labels: BTreeMap<String, String>,
    /// A segment ends at the first key frame at or after this.
    #[schema(minimum = 500, maximum = 100000)]
    segment_duration_ms: Option<u32>,
    /// Segments in the live playlist.
    #[schema(minimum = 3, maximum = 1000)]
    window: Option<u32>,
    /// A second name for the channel's index.m3u8, ending in .m3u8.
    #[schema(pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*\\.m3u8$", max_length = 128)]
    playlist_name: Option<String>,
    publish: Option<PublishPolicy>,
    playback: PlaybackPolicy,
    second_publisher: Option<Second>,
    /// How long an ended push may be taken up again in the same recording.
    #[schema(maximum = 86400000)]
    reconnect_window_ms: Option<u32>,
    /// How long segments are kept.
    #[schema(minimum = 60, maximum = 3155760000_u64)]
    retention_s: Option<u64>,
    /// How many bytes of segments are kept.
    #[schema(minimum = 1048576, maximum = 1152921504606846976_u64)]
    retention_bytes: Option<u64>,
    /// Networks that publishers come from. It replaces the lists of the configuration.
    #[schema(min_items = 1, max_items = 64)]
    publish_from: Option<Vec<Net>>,
    /// Networks that they never come from, beside those of the configuration.
    #[schema(max_items = 64)]
    publish_not_from: Option<Vec<Net>>,
    /// Networks that viewers come from. It replaces the lists of the configuration.
    #[schema(min_items = 1, max_items = 64)]
    play_from: Option<Vec<Net>>,
    /// Networks that they never come from, beside those of the configuration.
    #[schema(max_items = 64)]
    play_not_from: Option<Vec<Net>>,
    /// Bits of media in a second that a push may have; 0 for any number.
    #[schema(maximum = 1000000000000_u64)]
    bit_rate_max: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self::from(&ChannelSettings::default())
    }
}

impl From<&ChannelSettings> for Settings {
    fn from(settings: &ChannelSettings) -> Self {
        let settings = settings.clone();
        Self {
            enabled: settings.enabled,
            description: settings.description,
            labels: settings.labels,
            segment_duration_ms: settings.segment_duration_ms,
            window: settings.window,
            playlist_name: settings.playlist_name,
            publish: settings.publish.map(|policy| match policy {
                Policy::Key => PublishPolicy::Key,
                Policy::Signed => PublishPolicy::Signed,
                Policy::Open => PublishPolicy::Open,
            }),
            playback: match settings.playback {
                Playback::Public => PlaybackPolicy::Public,
                Playback::Signed => PlaybackPolicy::Signed,
            },
            second_publisher: settings.second_publisher.map(|second| match second {
                SecondPublisher::Takeover => Second::Takeover,
                SecondPublisher::Reject => Second::Reject,
            }),
            reconnect_window_ms: settings.reconnect_window_ms,
            retention_s: settings.retention_s,
            retention_bytes: settings.retention_bytes,
            publish_from: settings.publish_from.map(each_into),
            publish_not_from: settings.publish_not_from.map(each_into),
            play_from: settings.play_from.map(each_into),
            play_not_from: settings.play_not_from.map(each_into),
            bit_rate_max: settings.bit_rate_max,
        }
    }
}

impl From<Settings> for ChannelSettings {
    fn from(settings: Settings) -> Self {
        Self {
            enabled: settings.enabled,
            description: settings.description,
            labels: settings.labels,
            segment_duration_ms: settings.segment_duration_ms,
            window: settings.window,
            playlist_name: settings.playlist_name,
            publish: settings.publish.map(|policy| match policy {
                PublishPolicy::Key => Policy::Key,
                PublishPolicy::Signed => Policy::Signed,
                PublishPolicy::Open => Policy::Open,
            }),
            playback: match settings.playback {
                PlaybackPolicy::Public => Playback::Public,
                PlaybackPolicy::Signed => Playback::Signed,
            },
            second_publisher: settings.second_publisher.map(|second| match second {
                Second::Takeover => SecondPublisher::Takeover,
                Second::Reject => SecondPublisher::Reject,
            }),
            reconnect_window_ms: settings.reconnect_window_ms,
            retention_s: settings.retention_s,
            retention_bytes: settings.retention_bytes,
            publish_from: settings.publish_from.map(each_into),
            publish_not_from: settings.publish_not_from.map(each_into),
            play_from: settings.play_from.map(each_into),
            play_not_from: settings.play_not_from.map(each_into),
            bit_rate_max: settings.bit_rate_max,
        }
    }
}

/// Who may publish: with the channel's key or a signed URL, with a signed URL alone, or anybody.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PublishPolicy {
    Key,
    Signed,
    Open,
}

/// Who may play: anybody, or whoever has a signed URL.
#[derive(Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum PlaybackPolicy {
    #[default]
    Public,
    Signed,
}

/// What happens to a second publisher.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Second {
    Takeover,
    Reject,
}

/// A network of addresses, or one address; `192.0.2.0/24` in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Net(IpNet);

impl From<IpNet> for Net {
    fn from(net: IpNet) -> Self {
        Self(net)
    }
}

impl From<Net> for IpNet {
    fn from(net: Net) -> Self {
        net.0
    }
}

fn each_into<A: Into<B>, B>(list: Vec<A>) -> Vec<B> {
    list.into_iter().map(Into::into).collect()
}

impl Serialize for Net {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Net {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let one = || text.parse::<IpAddr>().ok().map(IpNet::from);
        let net = text.parse::<IpNet>().ok().or_else(one);
        let net = net.ok_or_else(|| {
            let example = "is no network of addresses, for example 192.0.2.0/24 or 2001:db8::/32";
            serde::de::Error::custom(format!("{text:?} {example}"))
        })?;
        Ok(Self(net.trunc()))
    }
}

impl PartialSchema for Net {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let example = serde_json::Value::from("192.0.2.0/24");
        text.examples([example]).build().into()
    }
}

impl ToSchema for Net {
    fn name() -> Cow<'static, str> {
        "Net".into()
    }
}
