//! Hubs: namespaces of channels, and what strangers may do there.

use super::auth::Caller;
use super::{Control, Error};
use crate::catalog::HubRow;
use crate::clock;
use crate::id::HubName;

/// A hub.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hub {
    /// Its name.
    pub name: HubName,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// What strangers may do.
    pub access: HubAccess,
}

/// What somebody without a credential may do in a hub, by doors that ask for it: an API that serves
/// media as the objects of a store. Each includes those before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum HubAccess {
    /// Nothing.
    #[default]
    Private,
    /// Read media.
    Read,
    /// Read media and publish.
    ReadWrite,
}

impl Control {
    /// A hub by its name.
    pub async fn hub(&self, name: &HubName) -> Result<Option<Hub>, Error> {
        let row = self.catalog().hub(name).await?;
        Ok(row.map(|row| Hub {
            name: name.clone(),
            created_ms: row.created_ms,
            access: match row.access {
                1 => HubAccess::Read,
                2 => HubAccess::ReadWrite,
                _ => HubAccess::Private,
            },
        }))
    }

    /// Makes a hub, or changes what strangers may do there.
    pub async fn put_hub(
        &self,
        by: &Caller,
        name: &HubName,
        access: HubAccess,
    ) -> Result<(), Error> {
        let row = HubRow {
            created_ms: clock::now().unix_ms(),
            access: match access {
                HubAccess::Private => 0,
                HubAccess::Read => 1,
                HubAccess::ReadWrite => 2,
            },
        };
        self.catalog().put_hub(name, row).await?;
        let detail = format!("{{\"access\":{}}}", row.access);
        self.note(by, "put hub", name.as_str(), &detail).await;
        Ok(())
    }

    /// Removes a hub; false if it still has channels or media, or is not there.
    pub async fn delete_hub(&self, by: &Caller, name: &HubName) -> Result<bool, Error> {
        let deleted = self.catalog().delete_hub(name).await?;
        if deleted {
            self.note(by, "delete hub", name.as_str(), "{}").await;
        }
        Ok(deleted)
    }
}
