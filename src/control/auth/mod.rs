//! Who may publish: from a credential to a [`Grant`], or a refusal.
//!
//! Keys are kept as SHA-256 digests in a file of mode 0600; a key itself is shown once, when it is
//! made. Digests are compared without telling by time how much of them is right.

use crate::clock;
use crate::id::{ChannelId, NameError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Random bytes in a stream key: 120 bits, in 24 characters.
const KEY_BYTES: usize = 15;

/// Who may publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Policy {
    /// Whoever has the channel's key.
    Key,
    /// Anyone, to any name.
    Open,
}

/// The right to publish to a channel. Only [`Keys::publish`] makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Grant {
    channel: ChannelId,
}

/// Why somebody may not publish. The text is what the encoder shows, so it tells no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Hub or channel is no name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// There is no key in the request.
    #[error("channel {0} needs its stream key: write the OBS stream key (or the end of the URL) as {name}?key=…", name = .0.name)]
    NoKey(ChannelId),
    /// The key is wrong, or the channel has none: which of the two is nobody's business.
    #[error("wrong stream key for channel {0}")]
    WrongKey(ChannelId),
}

/// The keys of all channels.
#[derive(Debug)]
pub struct Keys {
    policy: Policy,
    file: Option<PathBuf>,
    digests: RwLock<BTreeMap<ChannelId, StoredKey>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct StoredKey {
    #[serde(with = "hexadecimal", rename = "key_sha256")]
    digest: [u8; 32],
    /// Whether it is written to the file.
    #[serde(skip)]
    passing: bool,
}

/// A stream key, to be shown once.
pub struct FreshKey(String);

impl Keys {
    /// Keys that are kept in `file`, or nowhere.
    pub fn load(policy: Policy, file: Option<PathBuf>) -> io::Result<Self> {
        let mut digests = BTreeMap::new();
        if let Some(file) = &file
            && let Some(text) = read_if_there(file)?
        {
            let wrong = |what: String| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{}: {what}", file.display()),
                )
            };
            let stored: BTreeMap<String, StoredKey> =
                serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            for (name, key) in stored {
                let channel = name
                    .parse()
                    .map_err(|error: NameError| wrong(error.to_string()))?;
                digests.insert(channel, key);
            }
        }
        Ok(Self {
            policy,
            file,
            digests: RwLock::new(digests),
        })
    }

    /// Whether any channel has a key.
    pub fn is_empty(&self) -> bool {
        self.digests
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }

    /// Gives a channel this key for as long as the process lives.
    pub fn set_passing(&self, channel: ChannelId, key: &str) {
        let key = StoredKey {
            digest: digest(key),
            passing: true,
        };
        self.digests
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(channel, key);
    }

    /// Makes a new random key for a channel, and keeps its digest.
    pub fn make(&self, channel: ChannelId) -> io::Result<FreshKey> {
        let key = FreshKey::random();
        let mut digests = self.digests.write().unwrap_or_else(PoisonError::into_inner);
        let stored = StoredKey {
            digest: digest(&key.0),
            passing: false,
        };
        digests.insert(channel, stored);
        if let Some(file) = &self.file {
            let kept: BTreeMap<String, &StoredKey> = digests
                .iter()
                .filter(|(_, key)| !key.passing)
                .map(|(channel, key)| (channel.to_string(), key))
                .collect();
            write_secret(file, &serde_json::to_string_pretty(&kept)?)?;
        }
        Ok(key)
    }

    /// Whether whoever shows `key` may publish to `hub`/`name`.
    pub fn publish(&self, hub: &str, name: &str, key: Option<&str>) -> Result<Grant, Denied> {
        let channel = ChannelId::new(hub, name)?;
        if self.policy == Policy::Open {
            return Ok(Grant { channel });
        }
        let Some(key) = key.filter(|key| !key.is_empty()) else {
            return Err(Denied::NoKey(channel));
        };
        let shown = digest(key);
        let digests = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        // A channel without a key is compared with a digest that no key has: the same work.
        let known = digests.get(&channel).map_or([0; 32], |key| key.digest);
        match same(&shown, &known) {
            true => Ok(Grant { channel }),
            false => Err(Denied::WrongKey(channel)),
        }
    }
}

impl Grant {
    /// The channel it is for.
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }
}

impl FreshKey {
    /// A key that nobody can guess.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let bits = clock::random::<KEY_BYTES>()
            .into_iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        let bits: Vec<u8> = bits.collect();
        let letter = |five: &[u8]| {
            five.iter()
                .fold(0_usize, |all, bit| all << 1 | usize::from(*bit))
        };
        Self(
            bits.chunks(5)
                .map(|five| char::from(ALPHABET[letter(five)]))
                .collect(),
        )
    }

    /// The key: to be shown, never to be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// Compares in a time that does not depend on where the two differ.
fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

fn read_if_there(file: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces `file` whole, readable by its owner alone.
fn write_secret(file: &Path, text: &str) -> io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let new = file.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    let mut out = options
        .create(true)
        .write(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()?;
    std::fs::rename(&new, file)
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoredKey")
    }
}

mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(digest: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        to.serialize_str(&text)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = String::deserialize(from)?;
        let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
        let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
        let digest = bytes.and_then(|bytes| bytes.try_into().ok());
        digest.ok_or_else(|| D::Error::custom("not a SHA-256 digest in 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel() -> ChannelId {
        ChannelId::new("live", "stream").expect("a name")
    }

    #[test]
    fn only_the_right_key_is_granted() {
        let keys = Keys::load(Policy::Key, None).expect("no file");
        let key = keys.make(channel()).expect("made");
        assert_eq!(key.reveal().len(), 24);
        let check = |hub: &str, name: &str, shown: Option<&str>, why: &str| {
            let denied = keys.publish(hub, name, shown).expect_err(why);
            assert!(denied.to_string().contains(why), "{denied}");
            assert!(!denied.to_string().contains(key.reveal()));
        };
        assert_eq!(
            keys.publish("live", "stream", Some(key.reveal())),
            Ok(Grant { channel: channel() })
        );
        check("live", "stream", None, "needs its stream key");
        check("live", "stream", Some(""), "needs its stream key");
        check("live", "stream", Some("wrong"), "wrong stream key");
        check(
            "live",
            "stream",
            Some(&key.reveal()[1..]),
            "wrong stream key",
        );
        check("live", "other", Some(key.reveal()), "wrong stream key");
        check("", "stream", Some(key.reveal()), "hub name is empty");
        check("live", "..", Some(key.reveal()), "begins with a dot");
    }

    #[test]
    fn open_lets_anyone_publish_under_a_proper_name() {
        let keys = Keys::load(Policy::Open, None).expect("no file");
        assert!(keys.publish("live", "any", None).is_ok());
        assert!(keys.publish("live", "../x", None).is_err());
    }

    #[test]
    fn keys_outlive_the_process_as_digests_that_only_their_owner_reads() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.json");
        let load = || Keys::load(Policy::Key, Some(file.clone())).expect("readable");
        let keys = load();
        keys.set_passing(ChannelId::new("live", "demo").expect("a name"), "demo");
        let key = keys.make(channel()).expect("made");
        let text = std::fs::read_to_string(&file).expect("written");
        assert!(
            !text.contains(key.reveal()) && !text.contains("demo"),
            "{text}"
        );
        let mode = std::fs::metadata(&file)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(load().publish("live", "stream", Some(key.reveal())).is_ok());
        std::fs::write(&file, "{\"live/stream\": {\"key_sha256\": \"12\"}}").expect("written");
        let error = Keys::load(Policy::Key, Some(file))
            .expect_err("a broken file")
            .to_string();
        assert!(
            error.contains("keys.json") && error.contains("SHA-256"),
            "{error}"
        );
    }
}
