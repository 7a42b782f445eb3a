//! Configuration: `config.toml`, environment and `--set`, parsed once into types.
//!
//! Every key is listed with its default in the `config.toml` at the top of the package; a test
//! proves that it tells the truth.

mod values;

pub use values::{Secret, Size, Span};

use crate::id::ChannelId;
use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Prefix of environment variables: `MILLSTREAM__HTTP__LISTEN`.
const ENV_PREFIX: &str = "MILLSTREAM__";

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of everything that is kept.
    pub data_dir: PathBuf,
    /// RTMP listener.
    pub rtmp: Rtmp,
    /// HTTP listener.
    pub http: Http,
    /// Segments and playlists.
    pub hls: Hls,
    /// What a publisher may do.
    pub ingest: Ingest,
    /// Where segments are kept.
    pub store: Store,
    /// What waits for a remote store.
    pub spool: Spool,
    /// Where channels and history are kept.
    pub catalog: Catalog,
    /// Who may publish.
    pub auth: Auth,
    /// Foreign APIs.
    pub compat: Compat,
    /// The log.
    pub log: Log,
}

/// `[rtmp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtmp {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What signed publish URLs begin with.
    pub public_url: String,
    /// Connections at a time.
    pub connections_max: usize,
    /// From the connection to the accepted publish.
    pub publish_timeout: Span,
    /// Silence after which a publisher is taken to be gone.
    pub idle_timeout: Span,
}

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What signed playback URLs begin with.
    pub public_url: String,
    /// Connections at a time.
    pub connections_max: usize,
    /// Memory for segments that viewers want, in all.
    pub cache: Size,
}

/// `[hls]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hls {
    /// A segment ends at the first key frame at or after this.
    pub segment_duration: Span,
    /// A segment ends at the latest after this, key frame or not.
    pub segment_max: Span,
    /// Length of a part, the unit in which bytes reach the disk.
    pub part_duration: Span,
    /// Segments in the live playlist.
    pub window: usize,
    /// How long an ended push may be taken up again in the same recording.
    pub reconnect_window: Span,
}

/// `[ingest]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// Largest RTMP message.
    pub message_max: Size,
    /// What happens to a second publisher of a live channel.
    pub second_publisher: SecondPublisher,
}

/// What happens to a second publisher of a live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondPublisher {
    /// It takes the channel over; the first one is told so and closed.
    Takeover,
    /// It is refused.
    Reject,
}

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `file:` for `media` in the data folder, `file:/folder`, `s3://bucket/prefix`, `gs://…`, `az://…`.
    pub url: String,
    /// Base URL of an S3 server other than Amazon's.
    pub endpoint: String,
    /// S3 region.
    pub region: String,
    /// Whether requests have the bucket in their path and not in the host name.
    pub path_style: bool,
    /// S3 access key; without one the environment or the machine's role says it.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Whether playlists are written into a remote store, for viewers who come past this server.
    pub publish_playlists: bool,
    /// The index of a running recording is rewritten in a remote store at most this often.
    pub index_interval: Span,
    /// Threads that write files.
    pub writers: usize,
    /// What a power cut may cost.
    pub fsync: Fsync,
}

/// What is forced to the disk, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Nothing: the operating system decides; a power cut may cost some seconds, a killed process nothing.
    None,
    /// Each segment when it is finished.
    Segment,
    /// Each part.
    Part,
}

/// `[catalog]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// `postgres://…` or `sqlite://…`; empty for SQLite in the data folder.
    pub url: String,
    /// Name of this server in the history; empty for the host's.
    pub node: String,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    /// Disk space for what a remote store has not confirmed.
    pub limit: Size,
    /// Uploads at a time.
    pub uploads: usize,
}

/// `[auth]`
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Auth {
    /// Who may publish.
    pub publish: Publish,
    /// Stream keys by channel (`"live/studio" = "secret"`), beside those made at the first start.
    pub keys: BTreeMap<ChannelKey, String>,
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

/// `[compat]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
}

/// Where to listen, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Least level, or a filter such as `info,millstream::net=debug`.
    pub level: String,
    /// Lines for people or for programs.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Config {
    fn default() -> Self {
        let any = |port| SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port));
        let secs = |secs| Span(Duration::from_secs(secs));
        Self {
            data_dir: PathBuf::from("data"),
            rtmp: Rtmp {
                listen: any(1935),
                public_url: String::new(),
                connections_max: 1000,
                publish_timeout: secs(10),
                idle_timeout: secs(15),
            },
            http: Http {
                listen: any(8080),
                public_url: String::new(),
                connections_max: 20_000,
                cache: Size(256 << 20),
            },
            hls: Hls {
                segment_duration: secs(2),
                segment_max: secs(10),
                part_duration: Span(Duration::from_millis(500)),
                window: 6,
                reconnect_window: secs(30),
            },
            ingest: Ingest {
                message_max: Size(16 << 20),
                second_publisher: SecondPublisher::Takeover,
            },
            store: Store {
                url: "file:".to_owned(),
                endpoint: String::new(),
                region: String::new(),
                path_style: true,
                access_key_id: String::new(),
                secret_access_key: Secret::default(),
                publish_playlists: false,
                index_interval: secs(10),
                writers: 2,
                fsync: Fsync::None,
            },
            spool: Spool {
                limit: Size(10 << 30),
                uploads: 16,
            },
            catalog: Catalog {
                url: String::new(),
                node: String::new(),
            },
            auth: Auth {
                publish: Publish::Key,
                keys: BTreeMap::new(),
            },
            compat: Compat {
                oss: Oss {
                    listen: Listen::Off,
                    connections_max: 10_000,
                    domain: "oss.localhost".to_owned(),
                    cnames: BTreeMap::new(),
                    keys: BTreeMap::new(),
                    security_tokens: BTreeMap::new(),
                },
            },
            log: Log {
                level: "info".to_owned(),
                format: LogFormat::Text,
            },
        }
    }
}

/// Why a configuration cannot be used; the text names the key, the source and the nearest known key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag that cannot be read or understood.
    #[error("{0}")]
    Source(String),
    /// Values that contradict each other.
    #[error("configuration: {0}")]
    Contradiction(String),
}

impl Config {
    /// Reads `file` if given (`config.toml` in the current folder if there is one otherwise), then
    /// the environment, then `settings` of the form `http.listen=127.0.0.1:80`.
    pub fn load(file: Option<&Path>, settings: &[String]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        let default_file = Path::new("config.toml");
        if let Some(file) = file.or_else(|| default_file.exists().then_some(default_file)) {
            if !file.is_file() {
                let text = format!("configuration file {} cannot be read", file.display());
                return Err(ConfigError::Source(text));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
        for setting in settings {
            let Some((key, value)) = setting.split_once('=') else {
                let text = format!(
                    "--set {setting}: write it as key=value, for example http.listen=127.0.0.1:8080"
                );
                return Err(ConfigError::Source(text));
            };
            figment = figment.merge((key.trim(), scalar(value.trim())));
        }
        let config: Self = figment
            .extract()
            .map_err(|error| ConfigError::Source(explain(error)))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let hls = &self.hls;
        let no = |text: String| Err(ConfigError::Contradiction(text));
        if hls.part_duration.0.is_zero() || hls.part_duration > hls.segment_duration {
            return no(format!(
                "hls.part_duration ({}) must be more than nothing and at most hls.segment_duration ({})",
                hls.part_duration, hls.segment_duration
            ));
        }
        if hls.segment_duration > hls.segment_max {
            return no(format!(
                "hls.segment_duration ({}) is longer than hls.segment_max ({})",
                hls.segment_duration, hls.segment_max
            ));
        }
        if hls.segment_max.0 > Duration::from_secs(60)
            || hls.segment_duration.0 < Duration::from_millis(500)
        {
            return no(
                "hls.segment_duration must be at least 500ms and hls.segment_max at most 1m"
                    .to_owned(),
            );
        }
        if !(3..=1000).contains(&hls.window) {
            return no(format!(
                "hls.window ({}) must be 3 to 1000 segments: players need three",
                hls.window
            ));
        }
        if !(1..=256).contains(&self.spool.uploads) {
            return no(format!(
                "spool.uploads ({}) must be 1 to 256",
                self.spool.uploads
            ));
        }
        if self.spool.limit < Size(64 << 20) {
            return no(format!(
                "spool.limit ({}) must be at least 64MiB: running pushes need room",
                self.spool.limit
            ));
        }
        let url = &self.catalog.url;
        let known = ["postgres://", "postgresql://", "sqlite://"];
        if !url.is_empty() && !known.iter().any(|scheme| url.starts_with(scheme)) {
            return no("catalog.url must begin with postgres:// or sqlite://".to_owned());
        }
        if !(1..=64).contains(&self.store.writers) {
            return no(format!(
                "store.writers ({}) must be 1 to 64",
                self.store.writers
            ));
        }
        self.compat.oss.check()
    }
}

impl Oss {
    fn check(&self) -> Result<(), ConfigError> {
        let no = |text: &str| Err(ConfigError::Contradiction(text.to_owned()));
        if self.listen != Listen::Off && self.keys.is_empty() {
            return no(
                "compat.oss.listen is set and compat.oss.keys is empty: nobody could do anything there",
            );
        }
        if self
            .keys
            .iter()
            .any(|(id, secret)| id.is_empty() || secret.is_empty())
        {
            return no("compat.oss.keys has an empty id or secret");
        }
        if let Some(id) = self
            .security_tokens
            .keys()
            .find(|id| !self.keys.contains_key(*id))
        {
            return no(&format!(
                "compat.oss.security_tokens.{id} belongs to no access key of compat.oss.keys"
            ));
        }
        Ok(())
    }
}

impl TryFrom<String> for Listen {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "off" => Ok(Self::Off),
            text => text.parse().map(Self::At).map_err(|_| {
                format!("{text:?} is no address: write for example 0.0.0.0:9000, [::]:9000 or off")
            }),
        }
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> Self {
        match listen {
            Listen::Off => "off".to_owned(),
            Listen::At(address) => address.to_string(),
        }
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
            .finish()
    }
}

/// A value on the command line: a number or a boolean if it looks like one, else text.
fn scalar(value: &str) -> figment::value::Value {
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        text => text.into(),
    }
}

/// figment's error with the nearest known key for an unknown one.
fn explain(error: figment::Error) -> String {
    let lines: Vec<String> = error
        .into_iter()
        .map(|one| {
            let text = one.to_string();
            let figment::error::Kind::UnknownField(found, known) = &one.kind else {
                return format!("configuration: {text}");
            };
            let path: Vec<_> = one
                .path
                .iter()
                .map(String::as_str)
                .filter(|key| key != found)
                .collect();
            let full = path
                .iter()
                .copied()
                .chain([found.as_str()])
                .collect::<Vec<_>>()
                .join(".");
            let near = known
                .iter()
                .map(|key| (strsim::jaro_winkler(found, key), *key))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match near {
                Some((likeness, key)) if likeness > 0.7 => format!("; did you mean {key}?"),
                _ => format!("; known here: {}", known.join(", ")),
            };
            let source = one.metadata.as_ref().map_or(String::new(), |from| {
                let place = from
                    .source
                    .as_ref()
                    .map_or(String::new(), |place| format!(" {place}"));
                format!(" ({}{place})", from.name)
            });
            format!("configuration: unknown key {full}{source}{hint}")
        })
        .collect();
    lines.join("\n")
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

/// Without the URL, which may hold a password.
impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("node", &self.node).finish()
    }
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.keys().collect();
        f.debug_struct("Auth")
            .field("publish", &self.publish)
            .field("keys", &keys)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn config_toml_lists_every_default() {
        let text = include_str!("../config.toml");
        let written: Config = Figment::from(Toml::string(text))
            .extract()
            .expect("config.toml is complete");
        assert_eq!(written, Config::default());
        for line in text.lines().filter(|line| line.contains(" = ")) {
            assert!(line.contains(" # "), "no reason beside: {line}");
        }
    }

    #[test]
    fn wrong_settings_say_what_is_wrong() {
        let check = |setting: &str, why: &str| {
            let error = Config::load(None, &[setting.to_owned()]).expect_err(setting);
            assert!(error.to_string().contains(why), "{setting}: {error}");
        };
        check("http.lisen=127.0.0.1:80", "unknown key http.lisen");
        check("http.lisen=127.0.0.1:80", "did you mean listen?");
        check("htp.listen=127.0.0.1:80", "did you mean http?");
        check("http.listen=nowhere", "http.listen");
        check("hls.segment_duration=2", "hls.segment_duration");
        check("hls.segment_duration=20s", "longer than hls.segment_max");
        check("hls.part_duration=3s", "hls.part_duration");
        check("hls.window=1", "hls.window");
        check("http.cache=1XB", "is no size");
        check("compat.oss.listen=nowhere", "is no address");
        check("compat.oss.listen=[::]:9000", "compat.oss.keys is empty");
        check("compat.oss.keys.a=", "empty id or secret");
        check("compat.oss.security_tokens.a=b", "no access key");
        check("catalog.url=mysql://x", "catalog.url");
        check("nothing", "key=value");
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let set = |setting: &str| Config::load(None, &[setting.to_owned()]).expect(setting);
        assert_eq!(set("http.cache=64MiB").http.cache, Size(64 << 20));
        assert_eq!(
            set("hls.reconnect_window=1m 30s").hls.reconnect_window,
            Span(Duration::from_secs(90))
        );
        assert_eq!(set("auth.publish=open").auth.publish, Publish::Open);
        assert_eq!(set("hls.window=12").hls.window, 12);
    }
}
