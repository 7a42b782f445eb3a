//! The RTMP side: whether a publisher may push, by this API's addresses and signatures.

use super::error::Error;
use super::publish_url::PublishUrl;
use super::query::Query;
use super::signature::Caller;
use super::{Oss, channels, names};
use crate::clock;
use crate::control;
use crate::control::auth::{self, Asked, Denied, Door, Grant};
use crate::control::channels::ChannelState;
use crate::control::hubs::HubAccess;
use crate::id::ChannelId;
use std::pin::Pin;

impl Door for Oss {
    fn may_publish<'a>(
        &'a self,
        asked: &'a Asked<'a>,
    ) -> Pin<Box<dyn Future<Output = Result<Grant, Denied>> + Send + 'a>> {
        Box::pin(async move {
            let refused = |error: Error| Denied::Foreign(error.message);
            self.grant(asked).await.map_err(refused)
        })
    }
}

impl Oss {
    /// In the order of the reference: bucket, channel, whether it is enabled, signature or ACL,
    /// and whether somebody pushes already.
    async fn grant(&self, asked: &Asked<'_>) -> Result<Grant, Error> {
        let query = Query::of(asked.shown.iter());
        let url = PublishUrl::parse(self.names(), asked.host, asked.app, asked.name, query);
        let url = url.ok_or_else(|| {
            Error::denied("The URL is not rtmp://BUCKET.HOST/live/CHANNEL or rtmp://HOST/BUCKET/live/CHANNEL.")
        })?;
        let id = channels::id_of(&url.bucket, &url.channel)?;
        let hub = self.control().hub(&id.hub).await?;
        let hub = hub.ok_or_else(|| Error::no_such_bucket(&url.bucket))?;
        self.control().grant(&id).await?;
        let now_s = clock::now().unix_ms().div_euclid(1000);
        match url.publisher(self.keys(), now_s)? {
            Caller::Key(limits) if limits.read_only || !limits.reaches(&url.bucket) => {
                return Err(Error::denied("The access key does not reach that far."));
            }
            Caller::Key(_) => {}
            Caller::Anonymous if hub.access == HubAccess::ReadWrite => {}
            Caller::Anonymous => return Err(Error::denied("The URL is not signed.")),
        }
        let channel = self.control().channel(&id).await?;
        if self.control().state(&channel) == ChannelState::Live {
            return Err(Error::denied("The live channel has a publisher already."));
        }
        self.name_playlist(&id, url.playlist()).await?;
        // With the channel as it is now.
        Ok(self.control().grant(&id).await?)
    }

    /// Keeps the name under which this push wants its playlist.
    async fn name_playlist(&self, id: &ChannelId, wanted: Option<&str>) -> Result<(), Error> {
        if let Some(name) = wanted {
            names::playlist(name)?;
        }
        let by = auth::Caller::server("oss");
        let change = self.control().change_channel(&by, id, |settings| {
            channels::set_pushed_playlist(settings, wanted);
            Ok(())
        });
        match change.await {
            Ok(_) => Ok(()),
            // The push matters more than the second name of its playlist.
            Err(control::Error::Catalog(error)) => {
                tracing::warn!(channel = %id, %error, "the playlist name of a push is not kept");
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
