//! Who may do what: from a credential to a [`Grant`], a [`Caller`], or a refusal.
//!
//! A channel is published to with its stream key or with a URL that was signed for it; played by
//! anybody or with a signed token; the API is used with tokens. Keys and tokens are kept as
//! digests, shown once, when they are made. Comparisons do not tell by time how much is right.

mod secret;
mod sources;
mod tokens;

pub use secret::{Fingerprint, FreshKey};
pub use sources::{Audience, EVERYWHERE, Lists, Sources};
pub use tokens::{Caller, FirstStart, Need, NewToken, Scope, Token};

use super::channels::{Channel, Known};
use super::{Control, Error, Lookup};
use crate::clock;
use crate::id::{ChannelId, NameError};
use secret::Signer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};

/// Query names of a signed publish URL.
pub const EXPIRES: &str = "expires";
/// See [`EXPIRES`].
pub const SIGNATURE: &str = "signature";
/// Query name of a stream key.
pub const KEY: &str = "key";
/// Query name of a playback token.
pub const TOKEN: &str = "token";

/// Who may publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Whoever has the channel's key or a signed URL.
    Key,
    /// Whoever has a signed URL.
    Signed,
    /// Anyone.
    Open,
}

/// Who may play.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Playback {
    /// Anyone.
    #[default]
    Public,
    /// Whoever has a signed URL.
    Signed,
}

/// What a viewer may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MayPlay {
    /// By which rule.
    pub playback: Playback,
    /// Who else.
    pub audience: Audience,
}

/// What a publisher shows: the query of its URL.
#[derive(Clone, Default)]
pub struct Presented<'a>(Vec<(&'a str, &'a str)>);

/// The right to publish to a channel. Only [`Control`] makes one.
#[derive(Clone, Debug)]
pub struct Grant {
    pub(super) channel: Arc<Channel>,
}

/// Why somebody may not do something. The text is what an encoder shows, so it tells no secret.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Denied {
    /// Hub or channel is no name.
    #[error("{0}")]
    Name(#[from] NameError),
    /// There is no key in the request.
    #[error("channel {0} needs its stream key: write the OBS stream key (or the end of the URL) as {name}?key=…", name = .0.name)]
    NoKey(ChannelId),
    /// The key is wrong, the channel has none or does not exist: which of them is nobody's business.
    #[error("wrong stream key for channel {0}")]
    WrongKey(ChannelId),
    /// The channel wants a signed URL, and this is none.
    #[error("channel {0} needs a signed URL, and this one is not signed")]
    NotSigned(ChannelId),
    /// The signature is not ours, or not for this.
    #[error("the signature of this URL is not right for channel {0}")]
    WrongSignature(ChannelId),
    /// It was right once.
    #[error("this URL for channel {0} has expired")]
    Expired(ChannelId),
    /// Nobody may push to it for now.
    #[error("channel {0} is disabled")]
    Disabled(ChannelId),
    /// Whoever asks is somewhere else than publishers of this channel are.
    #[error("channel {0} is not published to from {1}")]
    Source(ChannelId, IpAddr),
    /// The same with viewers.
    #[error("channel {0} is not played from {1}")]
    Viewer(ChannelId, String),
    /// No token, or one that is not known.
    #[error("this needs an API token: send the header Authorization: Bearer …")]
    NoToken,
    /// The token's scope or hub does not reach so far.
    #[error("this API token does not allow that: {0}")]
    Beyond(&'static str),
    /// Another API refuses, in its own words.
    #[error("{0}")]
    Foreign(String),
    /// Credentials are in the catalog, and it is away.
    #[error("the server cannot look this up just now; try again")]
    Away,
}

/// Where a publisher wants to publish, as it says so.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Host and port under which it thinks to have reached us.
    pub host: Option<&'a str>,
    /// All but the last element of the path.
    pub app: &'a str,
    /// The last element.
    pub name: &'a str,
    /// Its query.
    pub shown: &'a Presented<'a>,
    /// Where it is.
    pub from: IpAddr,
}

/// Decides who may publish for the connections that come in by it: [`Control`] itself, or an API
/// with addresses and credentials of its own.
pub trait Door: Send + Sync {
    /// Whether whoever asks may publish, and to which channel.
    fn may_publish<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, Denied>> + Send + 'a>>;
}

impl Door for Control {
    fn may_publish<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, Denied>> + Send + 'a>> {
        Box::pin(Control::may_publish(
            self,
            asked.app,
            asked.name,
            asked.shown,
            asked.from,
        ))
    }
}

/// What decides without the catalog.
pub(super) struct Auth {
    pub(super) policy: Policy,
    signer: Signer,
    /// Keys that are not in the catalog: from the configuration, and the demo's.
    passing: RwLock<BTreeMap<ChannelId, Fingerprint>>,
    sources: RwLock<Arc<Sources>>,
}

impl<'a> Presented<'a> {
    /// From the pairs of a query.
    pub fn new(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// All pairs.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.0.iter().copied()
    }

    /// The first value called `name` that is not empty.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.0.iter();
        let found = pairs.find(|(key, value)| *key == name && !value.is_empty());
        found.map(|(_, value)| *value)
    }
}

impl Auth {
    /// `secret` is what [`Auth::new_secret`] gave once.
    pub(super) fn new(policy: Policy, secret: &str) -> Option<Self> {
        Some(Self {
            policy,
            signer: Signer::parse(secret)?,
            passing: RwLock::default(),
            sources: RwLock::default(),
        })
    }

    pub(super) fn new_secret() -> String {
        Signer::random().to_text()
    }
}

impl Control {
    /// Gives a channel this key for as long as the process lives.
    pub fn set_passing_key(&self, channel: ChannelId, key: &str) {
        let mut passing = self.auth().passing.write();
        let passing = passing.as_mut().map_err(|poisoned| poisoned.get_mut());
        let (Ok(passing) | Err(passing)) = passing;
        passing.insert(channel, Fingerprint::of(key));
    }

    /// Takes the key that [`Control::set_passing_key`] gave.
    pub fn take_passing_key(&self, channel: &ChannelId) {
        let mut passing = self.auth().passing.write();
        let passing = passing.as_mut().map_err(|poisoned| poisoned.get_mut());
        let (Ok(passing) | Err(passing)) = passing;
        passing.remove(channel);
    }

    /// Whether whoever shows this may publish to `hub`/`name` from this address. Where anybody may
    /// publish to any name, the channel is made.
    pub async fn may_publish(
        &self,
        hub: &str,
        name: &str,
        shown: &Presented<'_>,
        from: IpAddr,
    ) -> Result<Grant, Denied> {
        let id = ChannelId::new(hub, name)?;
        let known = self.known_for_auth(&id).await?;
        let policy = known
            .as_ref()
            .and_then(|known| known.channel.settings.publish);
        match policy.unwrap_or(self.auth().policy) {
            Policy::Open => {}
            policy => self.check_shown(policy, &id, known.as_deref(), shown)?,
        }
        let channel = match known {
            Some(known) => Arc::clone(&known.channel),
            None if self.auth().policy == Policy::Open => {
                self.check_publisher(&id, None, from)?;
                self.make_on_push(&id).await
            }
            None => return Err(Denied::WrongKey(id)),
        };
        match channel.settings.enabled {
            true => Ok(Grant { channel }),
            false => Err(Denied::Disabled(id)),
        }
    }

    fn check_shown(
        &self,
        policy: Policy,
        id: &ChannelId,
        known: Option<&Known>,
        shown: &Presented<'_>,
    ) -> Result<(), Denied> {
        if let Some(signature) = shown.get(SIGNATURE) {
            let expires = shown.get(EXPIRES).and_then(|text| text.parse().ok());
            let expires = expires.ok_or_else(|| Denied::WrongSignature(id.clone()))?;
            return self.check_signature(Use::Publish, id, expires, signature);
        }
        if policy == Policy::Signed {
            return Err(Denied::NotSigned(id.clone()));
        }
        let Some(key) = shown.get(KEY) else {
            return Err(Denied::NoKey(id.clone()));
        };
        let passing = self.auth().passing.read();
        let passing = passing.unwrap_or_else(PoisonError::into_inner);
        let shown = Fingerprint::of(key);
        let kept = known.and_then(|known| known.key);
        let right = [passing.get(id), kept.as_ref()];
        // All are compared, whichever is right.
        let right = right.into_iter().flatten();
        match right.fold(false, |any, kept| any | kept.is(&shown)) {
            true => Ok(()),
            false => Err(Denied::WrongKey(id.clone())),
        }
    }

    /// Whether whoever shows `token`, at `address`, may play a channel that there is.
    pub async fn may_play(
        &self,
        id: &ChannelId,
        token: Option<&str>,
        address: Option<IpAddr>,
    ) -> Result<MayPlay, Lookup> {
        let channel = match self.live_settings(id) {
            Some(channel) => channel,
            None => self.channel(id).await?,
        };
        let audience = self.check_viewer(id, Some(&channel.settings), address)?;
        let playback = channel.settings.playback;
        if playback == Playback::Signed {
            let token = token.ok_or_else(|| Denied::NotSigned(id.clone()))?;
            let parts = token.split_once('-');
            let parts =
                parts.and_then(|(expires, signature)| Some((expires.parse().ok()?, signature)));
            let (expires, signature) = parts.ok_or_else(|| Denied::WrongSignature(id.clone()))?;
            self.check_signature(Use::Play, id, expires, signature)?;
        }
        Ok(MayPlay { playback, audience })
    }

    /// The query that lets whoever has it publish to `channel` until `expires` (unix seconds).
    pub fn sign_publish(&self, channel: &ChannelId, expires: i64) -> String {
        let signature = self
            .auth()
            .signer
            .sign(&signed_text(Use::Publish, channel, expires));
        format!("{EXPIRES}={expires}&{SIGNATURE}={signature}")
    }

    /// The query that lets whoever has it play `channel` until `expires` (unix seconds): its
    /// playlists and every segment that they name.
    pub fn sign_playback(&self, channel: &ChannelId, expires: i64) -> String {
        let signature = self
            .auth()
            .signer
            .sign(&signed_text(Use::Play, channel, expires));
        format!("{TOKEN}={expires}-{signature}")
    }

    fn check_signature(
        &self,
        what: Use,
        id: &ChannelId,
        expires: i64,
        signature: &str,
    ) -> Result<(), Denied> {
        if !self
            .auth()
            .signer
            .verifies(&signed_text(what, id, expires), signature)
        {
            return Err(Denied::WrongSignature(id.clone()));
        }
        match clock::now().unix_ms() < expires.saturating_mul(1000) {
            true => Ok(()),
            false => Err(Denied::Expired(id.clone())),
        }
    }

    async fn known_for_auth(&self, id: &ChannelId) -> Result<Option<Arc<Known>>, Denied> {
        match self.known(id).await {
            Ok(known) => Ok(known),
            // Anybody may publish: a push does not wait for the database.
            Err(_) if self.auth().policy == Policy::Open => Ok(None),
            Err(error) => {
                tracing::warn!(channel = %id, %error, "a credential cannot be looked up");
                Err(Denied::Away)
            }
        }
    }
}

/// What a signature is for: one for the other is worth nothing.
#[derive(Clone, Copy)]
enum Use {
    Publish,
    Play,
}

fn signed_text(what: Use, channel: &ChannelId, expires: i64) -> String {
    let what = match what {
        Use::Publish => "publish",
        Use::Play => "play",
    };
    format!("{what}\n{channel}\n{expires}")
}

impl Grant {
    /// The channel it is for.
    pub fn channel(&self) -> &ChannelId {
        &self.channel.id
    }

    /// The right of somebody whose own credential was checked elsewhere, for example the server's.
    pub(super) fn of(channel: Arc<Channel>) -> Self {
        Self { channel }
    }
}

/// Names without values.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}
