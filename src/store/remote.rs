//! Opens a store in a cloud: S3 and what speaks like it, Google Cloud Storage, Azure.

use super::{Error, Store};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::azure::{MicrosoftAzure, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorage, GoogleCloudStorageBuilder};
use object_store::path::Path as Name;
use object_store::prefix::PrefixStore;
use object_store::signer::Signer;
use object_store::{ClientOptions, ObjectStore, RetryConfig};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A store that does not answer a connection attempt by then is down.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// No request takes longer: uploads are pieces of at most 8 MiB.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// Attempts that are made at once; longer patience is the spool's.
const RETRIES: usize = 2;

/// Where a remote store is and how it is entered. What is not said comes from the environment
/// (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or from the role of the machine.
#[derive(Clone, Default)]
pub struct Remote {
    /// `s3://bucket/prefix`, `gs://bucket/prefix` or `az://container/prefix`.
    pub url: String,
    /// Base URL of an S3 server other than Amazon's.
    pub endpoint: Option<String>,
    /// S3 region.
    pub region: Option<String>,
    /// Whether the bucket is in the path of a request, as most servers want it, or in its host name.
    pub path_style: bool,
    /// S3 access key.
    pub access_key_id: Option<String>,
    /// Its secret.
    pub secret_access_key: Option<String>,
}

impl Store {
    /// A store in a cloud. Nothing is asked of it yet: it may be down.
    pub fn remote(remote: &Remote) -> Result<Self, Error> {
        let store: Arc<dyn ObjectStore> = match remote.open()? {
            Opened::S3(store) => Arc::new(store),
            Opened::Gs(store) => Arc::new(store),
            Opened::Az(store) => Arc::new(store),
        };
        let prefix = remote.prefix()?;
        Ok(match prefix.as_ref().is_empty() {
            true => Self::new(store),
            false => Self::new(Arc::new(PrefixStore::new(store, prefix))),
        })
    }
}

/// A store of one of the kinds that there are.
enum Opened {
    S3(AmazonS3),
    Gs(GoogleCloudStorage),
    Az(MicrosoftAzure),
}

impl Remote {
    fn open(&self) -> Result<Opened, Error> {
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme);
        let opened = match scheme {
            Some("s3") => self.s3().map(Opened::S3),
            Some("gs") => self.gs().map(Opened::Gs),
            Some("az") => self.az().map(Opened::Az),
            _ => {
                return Err(Error::Scheme {
                    url: self.url.clone(),
                });
            }
        };
        opened.map_err(|source| self.refused(source))
    }

    /// What signs URLs of its objects.
    pub(super) fn signer(&self) -> Result<Arc<dyn Signer>, Error> {
        Ok(match self.open()? {
            Opened::S3(store) => Arc::new(store),
            Opened::Gs(store) => Arc::new(store),
            Opened::Az(store) => Arc::new(store),
        })
    }

    /// What stands before the name of each object.
    pub(super) fn prefix(&self) -> Result<Name, Error> {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        let prefix = rest.split_once('/').map_or("", |(_, prefix)| prefix);
        Name::parse(prefix).map_err(|error| self.refused(error.into()))
    }

    fn refused(&self, source: object_store::Error) -> Error {
        Error::Remote {
            url: self.url.clone(),
            source: Arc::new(source),
        }
    }

    fn s3(&self) -> Result<AmazonS3, object_store::Error> {
        let mut builder = AmazonS3Builder::from_env()
            .with_url(&self.url)
            .with_retry(retries())
            .with_virtual_hosted_style_request(!self.path_style);
        let mut http = false;
        if let Some(endpoint) = &self.endpoint {
            http = endpoint.starts_with("http://");
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(id) = &self.access_key_id {
            builder = builder.with_access_key_id(id);
        }
        if let Some(secret) = &self.secret_access_key {
            builder = builder.with_secret_access_key(secret);
        }
        let client = client().with_allow_http(http);
        builder.with_client_options(client).build()
    }

    fn gs(&self) -> Result<GoogleCloudStorage, object_store::Error> {
        GoogleCloudStorageBuilder::from_env()
            .with_url(&self.url)
            .with_retry(retries())
            .with_client_options(client())
            .build()
    }

    fn az(&self) -> Result<MicrosoftAzure, object_store::Error> {
        MicrosoftAzureBuilder::from_env()
            .with_url(&self.url)
            .with_retry(retries())
            .with_client_options(client())
            .build()
    }
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_connect_timeout(CONNECT_MAX)
        .with_timeout(REQUEST_MAX)
}

fn retries() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES,
        retry_timeout: REQUEST_MAX,
        ..RetryConfig::default()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.url)
    }
}
