//! TLS: the certificate from its files, anew when they change, and what accepts with it.
//!
//! A connection keeps the certificate that it began with. A file that cannot be used changes nothing:
//! whoever asked for the reload says so, and the old one serves on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::SystemTime;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{ClientHello, ResolvesServerCert};
use tokio_rustls::rustls::sign::CertifiedKey;
use tokio_rustls::rustls::{self, ServerConfig};

/// What HTTPS offers, best first.
const HTTP: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there, or is not what it should be.
    #[error("{what} {}: {why}", path.display())]
    File {
        /// Certificate or key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// They do not belong together, or are of a kind that is not known.
    #[error("certificate {} with key {}: {why}", certificate.display(), key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: rustls::Error,
    },
}

/// A certificate chain and its key, as their files are now.
pub struct Certificate {
    certificate: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
    /// The files as they were when they were looked at last.
    seen: Mutex<Stamp>,
}

/// When each file was written, and its length.
type Stamp = [Option<(SystemTime, u64)>; 2];

impl Certificate {
    /// Reads PEM files: the chain, the server's own certificate first; and its private key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Arc<Self>, TlsError> {
        let seen = stamp(certificate, key);
        let current = read(certificate, key)?;
        Ok(Arc::new(Self {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            current: RwLock::new(current),
            seen: Mutex::new(seen),
        }))
    }

    /// Reads the files anew if they have changed since they were looked at last. True: the new ones
    /// are in use.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let stamp = stamp(&self.certificate, &self.key);
        {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if *seen == stamp {
                return Ok(false);
            }
            *seen = stamp;
        }
        let read = read(&self.certificate, &self.key)?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(true)
    }

    /// Accepts TLS; with HTTP/2 and HTTP/1.1 as protocols to choose from, if it is for HTTP.
    pub fn acceptor(self: &Arc<Self>, http: bool) -> Result<TlsAcceptor, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider);
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.map_err(|why| self.pair(why))?;
        let mut config = builder
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        if http {
            config.alpn_protocols = HTTP.map(<[u8]>::to_vec).to_vec();
        }
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn pair(&self, why: rustls::Error) -> TlsError {
        TlsError::Pair {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            why,
        }
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Some(current.clone())
    }
}

/// Without the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Certificate");
        shown.field("certificate", &self.certificate).finish()
    }
}

fn stamp(certificate: &Path, key: &Path) -> Stamp {
    [certificate, key].map(|path| {
        let meta = std::fs::metadata(path).ok()?;
        Some((meta.modified().ok()?, meta.len()))
    })
}

fn read(certificate: &Path, key: &Path) -> Result<Arc<CertifiedKey>, TlsError> {
    let file = |what, path: &Path, error: pem::Error| TlsError::File {
        what,
        path: path.to_owned(),
        why: match error {
            pem::Error::Io(error) => reason(&error),
            pem::Error::NoItemsFound => format!("there is no {what} in it"),
            error => error.to_string(),
        },
    };
    let wrong = |error| file("certificate", certificate, error);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(certificate)
        .map_err(wrong)?
        .collect();
    let chain = chain.map_err(wrong)?;
    if chain.is_empty() {
        return Err(wrong(pem::Error::NoItemsFound));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| file("key", key, error))?;
    let pair = |why| TlsError::Pair {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
        why,
    };
    let provider = ring::default_provider();
    // Looks whether the two belong together, too.
    let certified = CertifiedKey::from_der(chain, secret, &provider).map_err(pair)?;
    Ok(Arc::new(certified))
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        _ => error.to_string(),
    }
}
