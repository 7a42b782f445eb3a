//! URLs by which somebody reads an object from a remote store himself, for a while.

use super::remote::Remote;
use super::{Error, error, name};
use object_store::path::Path as Name;
use object_store::signer::{Method, Signer};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Somebody who cannot be asked for a signature by then does not sign.
const SIGN_MAX: Duration = Duration::from_secs(10);

/// Signs URLs of objects. Cheap to clone. A URL is a credential: no log shows it.
#[derive(Clone)]
pub struct SignedUrls {
    signer: Arc<dyn Signer>,
    store: String,
    prefix: Name,
    life: Duration,
}

/// For which request a URL is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ask {
    /// GET, whole or a range.
    Get,
    /// HEAD.
    Head,
}

impl SignedUrls {
    /// URLs of objects in `remote` that are good for so long. Fails if it cannot sign.
    pub async fn new(remote: &Remote, life: Duration) -> Result<Self, Error> {
        let urls = Self {
            signer: remote.signer()?,
            store: remote.url.clone(),
            prefix: remote.prefix()?,
            life,
        };
        // Whether there are keys to sign with is known when one is signed.
        let probe = urls.sign("probe", Ask::Get).await;
        probe.map(|_| urls)
    }

    /// How long a URL is good.
    pub fn life(&self) -> Duration {
        self.life
    }

    /// A URL of an object, whether or not it is there.
    pub async fn sign(&self, object: &str, ask: Ask) -> Result<String, Error> {
        let parts = self.prefix.parts().chain(name(object)?.parts()).collect();
        let method = match ask {
            Ask::Get => Method::GET,
            Ask::Head => Method::HEAD,
        };
        let signed = self.signer.signed_url(method, &parts, self.life);
        match tokio::time::timeout(SIGN_MAX, signed).await {
            Ok(Ok(url)) => Ok(url.into()),
            Ok(Err(source)) => Err(error("sign a URL of", object)(source)),
            Err(_) => Err(error("sign a URL of", object)(late())),
        }
    }
}

fn late() -> object_store::Error {
    object_store::Error::Generic {
        store: "signer",
        source: format!("there was no signature within {SIGN_MAX:?}").into(),
    }
}

impl fmt::Debug for SignedUrls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "URLs of {} for {:?}", self.store, self.life)
    }
}
