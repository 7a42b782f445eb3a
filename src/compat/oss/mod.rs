//! Alibaba Cloud OSS LiveChannel: a hub is a bucket, a channel a live channel, playlists and
//! segments are objects. What that API has no word for stays out of its answers.
//!
//! ```text
//! HTTP   service ─ address ─ signature ─ operation ─ buckets | channels | playlists | objects | listing ─ document
//! RTMP   gate ─ publish_url ─ signature
//! ```

mod address;
mod query;
mod signature;

mod error;
mod names;
mod operation;
mod time;

mod gate;
mod publish_url;

mod service;

mod buckets;
mod channels;
mod listing;
mod objects;
mod playlists;

mod document;

#[doc(hidden)]
pub mod fuzzing;

#[cfg(test)]
mod recorded;

use crate::control::{self, Control};
use crate::id::ChannelId;
use address::{Names, Style, Target};
use error::{Code, Error};
use signature::AccessKeys;
pub use signature::KeyLimits;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The API over a server's channels. Cheap to clone.
#[derive(Clone)]
pub struct Oss(Arc<Inner>);

struct Inner {
    control: Control,
    names: Names,
    keys: AccessKeys,
}

/// What this API is told by the configuration.
#[derive(Clone, Default)]
pub struct Settings {
    /// The name of which `BUCKET.` is put in front.
    pub domain: String,
    /// Other hosts and the bucket that each stands for.
    pub cnames: BTreeMap<String, String>,
    /// Secrets of access keys by their ids.
    pub keys: BTreeMap<String, String>,
    /// Security tokens of temporary keys by their ids.
    pub security_tokens: BTreeMap<String, String>,
    /// What keys do not reach, by their ids.
    pub limits: BTreeMap<String, KeyLimits>,
}

/// A configured host stands for something that is no bucket.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{bucket:?}, for which the host {host} is to stand, is no bucket: 3 to 63 of a-z, 0-9 and -"
)]
pub struct NoBucket {
    /// The host.
    pub host: String,
    /// What it was to stand for.
    pub bucket: String,
}

/// Where a bucket is, as the client that asks sees it.
struct Place {
    /// Host and port.
    host: String,
    /// What stands before a channel's name: nothing, or a slash and the bucket.
    path: String,
}

impl Oss {
    /// The API over the channels of `control`.
    pub fn new(control: Control, settings: &Settings) -> Result<Self, NoBucket> {
        let mut cnames = BTreeMap::new();
        for (host, bucket) in &settings.cnames {
            names::bucket(bucket).map_err(|_| NoBucket {
                host: host.clone(),
                bucket: bucket.clone(),
            })?;
            cnames.insert(host.to_ascii_lowercase(), bucket.clone());
        }
        Ok(Self(Arc::new(Inner {
            control,
            names: Names {
                domain: settings.domain.to_ascii_lowercase(),
                cnames,
            },
            keys: AccessKeys::new(&settings.keys, &settings.security_tokens, &settings.limits),
        })))
    }

    fn control(&self) -> &Control {
        &self.0.control
    }

    fn names(&self) -> &Names {
        &self.0.names
    }

    fn keys(&self) -> &AccessKeys {
        &self.0.keys
    }

    /// Where the bucket of a channel is: where the request found it.
    fn place(&self, target: &Target, channel: &ChannelId) -> Place {
        Place {
            host: target.host.clone(),
            path: match target.style {
                Style::Host => String::new(),
                Style::Path => format!("/{}", channel.hub),
            },
        }
    }

    /// The host and port of which `BUCKET.` may be put in front.
    fn endpoint(&self, target: &Target) -> String {
        let host = &target.host;
        let port = host
            .strip_prefix(address::without_port(host))
            .unwrap_or_default();
        match target.style {
            Style::Host => format!("{}{port}", self.names().domain),
            Style::Path => host.clone(),
        }
    }
}

impl From<control::Error> for Error {
    fn from(error: control::Error) -> Self {
        use control::Error as E;
        match error {
            E::NoChannel(_) => Self::no_such_channel(),
            E::Live(_) => Self::still_live(),
            E::Invalid(why) => Self::argument("LiveChannelConfiguration", "", "", why),
            E::Denied(denied) => Self::denied(denied.to_string()),
            E::Catalog(error) => {
                tracing::warn!(%error, "oss: the catalog does not answer");
                service::away()
            }
            E::Store(error) => {
                tracing::warn!(%error, "oss: the store does not answer");
                service::away()
            }
            other => Self::new(Code::InternalError, other.to_string()),
        }
    }
}
