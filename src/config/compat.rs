//! Foreign APIs: `[compat.*]`.

use super::ConfigError;
use super::values::{Listen, contradiction};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// `[compat]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compat {
    /// Alibaba Cloud OSS LiveChannel.
    pub oss: Oss,
}

/// `[compat.oss]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Oss {
    /// Address to listen on, for its HTTP and its RTMP.
    pub listen: Listen,
    /// Connections at a time.
    pub connections_max: usize,
    /// The name of which `BUCKET.` is put in front.
    pub domain: String,
    /// Other names and the bucket that each stands for.
    pub cnames: BTreeMap<String, String>,
    /// Access keys: secrets by id.
    pub keys: BTreeMap<String, String>,
    /// Security tokens of those that are temporary ones, by id.
    pub security_tokens: BTreeMap<String, String>,
    /// What keys do not reach, by id.
    pub limits: BTreeMap<String, KeyLimits>,
}

/// An entry of `[compat.oss.limits]`
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// The only buckets that the key reaches; all if empty.
    pub buckets: Vec<String>,
    /// Whether it may only look.
    pub read_only: bool,
}

impl Default for Oss {
    fn default() -> Self {
        Self {
            listen: Listen::Off,
            connections_max: 10_000,
            domain: "oss.localhost".to_owned(),
            cnames: BTreeMap::new(),
            keys: BTreeMap::new(),
            security_tokens: BTreeMap::new(),
            limits: BTreeMap::new(),
        }
    }
}

impl Oss {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.listen != Listen::Off && self.keys.is_empty() {
            return contradiction(
                "compat.oss.listen is set and compat.oss.keys is empty: nobody could do anything there",
            );
        }
        if self
            .keys
            .iter()
            .any(|(id, secret)| id.is_empty() || secret.is_empty())
        {
            return contradiction("compat.oss.keys has an empty id or secret");
        }
        if let Some(id) = self
            .security_tokens
            .keys()
            .find(|id| !self.keys.contains_key(*id))
        {
            return contradiction(format!(
                "compat.oss.security_tokens.{id} belongs to no access key of compat.oss.keys"
            ));
        }
        if let Some(id) = self.limits.keys().find(|id| !self.keys.contains_key(*id)) {
            return contradiction(format!(
                "compat.oss.limits.{id} belongs to no access key of compat.oss.keys"
            ));
        }
        Ok(())
    }
}

/// Names without secrets.
impl fmt::Debug for Oss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Oss")
            .field("listen", &self.listen)
            .field("connections_max", &self.connections_max)
            .field("domain", &self.domain)
            .field("cnames", &self.cnames)
            .field("keys", &keys)
            .field("limits", &self.limits)
            .finish()
    }
}
