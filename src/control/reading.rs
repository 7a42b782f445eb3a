//! Where a viewer reads a segment: from this server, or from the store by a signed URL.

use super::Control;
use crate::key::{Container, RecordingKey};
use crate::store::SignedUrls;
use crate::store::signed::Ask;
use std::fmt;
use std::time::Duration;

/// Where the store gives a segment to whoever has this.
#[derive(Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The URL. It is a credential.
    pub url: String,
    /// How long it is good.
    pub life: Duration,
}

impl Control {
    /// From now on readers of what the store has are sent there. Call it before anybody reads; once.
    pub fn send_readers_to(&self, urls: SignedUrls) {
        // A second call changes nothing.
        let _ = self.0.urls.set(urls);
    }

    /// Where segment `number` is read if not from this server. What the spool has is read here: live
    /// viewers do not depend on the store. So is everything if the store does not sign now.
    ///
    /// Whoever asks has shown already that he may play it.
    pub async fn elsewhere(&self, key: &RecordingKey, number: u64, ask: Ask) -> Option<Elsewhere> {
        let urls = self.0.urls.get()?;
        let is_here = match self.disk().spool()?.first(key) {
            None => false,
            Some(first) => first.is_none_or(|first| number >= first),
        };
        if is_here {
            return None;
        }
        match urls.sign(&key.segment(number, Container::Ts), ask).await {
            Ok(url) => {
                let life = urls.life();
                Some(Elsewhere { url, life })
            }
            Err(error) => {
                tracing::warn!(recording = %key, %error, "a viewer is served from here");
                None
            }
        }
    }
}

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elsewhere for {:?}", self.life)
    }
}
