//! Who may do what: `[auth]`.

use super::ConfigError;
use super::values::contradiction;
use crate::control::auth::EVERYWHERE;
use crate::id::{ChannelId, HubName};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `[auth]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Who may publish.
    pub publish: Publish,
    /// Stream keys by channel (`"live/studio" = "secret"`), beside those made at the first start.
    pub keys: BTreeMap<ChannelKey, String>,
    /// Networks that publishers come from, by `*`, hub, or channel.
    pub publish_from: BTreeMap<String, Vec<IpNet>>,
    /// Networks that they never come from.
    pub publish_not_from: BTreeMap<String, Vec<IpNet>>,
    /// Networks that viewers come from, by `*`, hub, or channel.
    pub play_from: BTreeMap<String, Vec<IpNet>>,
    /// Networks that they never come from.
    pub play_not_from: BTreeMap<String, Vec<IpNet>>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            publish: Publish::Key,
            keys: BTreeMap::new(),
            publish_from: BTreeMap::new(),
            publish_not_from: BTreeMap::new(),
            play_from: BTreeMap::new(),
            play_not_from: BTreeMap::new(),
        }
    }
}

/// Who may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Publish {
    /// Whoever has the channel's key or a signed URL.
    Key,
    /// Whoever has a signed URL.
    Signed,
    /// Anyone, to any name.
    Open,
}

/// A channel as a key of a table.
pub type ChannelKey = String;

impl Auth {
    /// The configured keys by parsed channel; the first name that is none, if there is one.
    pub fn channels(&self) -> Result<Vec<(ChannelId, &str)>, ConfigError> {
        let parse = |(name, key): (&ChannelKey, &'_ String)| match name.parse::<ChannelId>() {
            Ok(_) if key.is_empty() => Err(ConfigError::Contradiction(format!(
                "auth.keys.\"{name}\" is empty"
            ))),
            Ok(_) => Ok(()),
            Err(why) => Err(ConfigError::Contradiction(format!(
                "auth.keys.\"{name}\": {why}"
            ))),
        };
        self.keys.iter().try_for_each(parse)?;
        let pairs = self
            .keys
            .iter()
            .filter_map(|(name, key)| Some((name.parse().ok()?, key.as_str())));
        Ok(pairs.collect())
    }
}

impl Auth {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let lists = [
            ("publish_from", &self.publish_from),
            ("publish_not_from", &self.publish_not_from),
            ("play_from", &self.play_from),
            ("play_not_from", &self.play_not_from),
        ];
        for (key, names) in lists {
            let is_name = |name: &String| {
                name == EVERYWHERE
                    || HubName::new(name).is_ok()
                    || name.parse::<ChannelId>().is_ok()
            };
            if let Some(name) = names.keys().find(|name| !is_name(name)) {
                return contradiction(format!(
                    "auth.{key}.{name:?} is neither \"*\" nor a hub nor a channel"
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Auth")
            .field("publish", &self.publish)
            .field("keys", &keys)
            .field("publish_from", &self.publish_from)
            .field("publish_not_from", &self.publish_not_from)
            .field("play_from", &self.play_from)
            .field("play_not_from", &self.play_not_from)
            .finish()
    }
}
