//! Opens a store in a cloud: S3 and what speaks like it, Google Cloud Storage, Azure.

use super::{Error, Store};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path as Name;
use object_store::prefix::PrefixStore;
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
        let refused = |source| Error::Remote {
            url: remote.url.clone(),
            source: Arc::new(source),
        };
        let scheme = remote.url.split_once("://").map(|(scheme, _)| scheme);
        let store = match scheme {
            Some("s3") => remote.s3().map_err(refused)?,
            Some("gs") => remote.gs().map_err(refused)?,
            Some("az") => remote.az().map_err(refused)?,
            _ => {
                return Err(Error::Scheme {
                    url: remote.url.clone(),
                });
            }
        };
        let prefix = Name::parse(remote.prefix()).map_err(|e| refused(e.into()))?;
        Ok(match prefix.as_ref().is_empty() {
            true => Self::new(store),
            false => Self::new(Arc::new(PrefixStore::new(store, prefix))),
        })
    }
}

impl Remote {
    fn prefix(&self) -> &str {
        let rest = self.url.split_once("://").map_or("", |(_, rest)| rest);
        rest.split_once('/').map_or("", |(_, prefix)| prefix)
    }

    fn s3(&self) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
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
        Ok(Arc::new(builder.with_client_options(client).build()?))
    }

    fn gs(&self) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        let builder = GoogleCloudStorageBuilder::from_env()
            .with_url(&self.url)
            .with_retry(retries())
            .with_client_options(client());
        Ok(Arc::new(builder.build()?))
    }

    fn az(&self) -> Result<Arc<dyn ObjectStore>, object_store::Error> {
        let builder = MicrosoftAzureBuilder::from_env()
            .with_url(&self.url)
            .with_retry(retries())
            .with_client_options(client());
        Ok(Arc::new(builder.build()?))
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
