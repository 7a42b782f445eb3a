//! What a store holds, found by its folders: the hubs that have a card, and the channels that have a
//! card or recordings.

use super::{Control, Error};
use crate::id::{ChannelId, HUB_LEVELS_MAX, HubName, RecordingId};
use crate::key::{CHANNEL_CARD, HUB_CARD};
use futures_util::{StreamExt, TryStreamExt, stream};

/// Folders that are listed at a time.
const AT_ONCE: usize = 8;

/// What was found, by name.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) hubs: Vec<HubName>,
    pub(super) channels: Vec<ChannelId>,
}

impl Control {
    /// Looks at all folders that can be a hub's or a channel's.
    pub(super) async fn walk(&self) -> Result<Found, Error> {
        let mut found = Found::default();
        let mut level = vec![String::new()];
        // The root, the levels of hubs, and a channel's own folder below the deepest.
        for _ in 0..HUB_LEVELS_MAX + 2 {
            let store = self.archive().store();
            let listed = stream::iter(level).map(|folder| async move {
                let listed = store.list_level(&folder).await;
                listed.map(|listed| (folder, listed))
            });
            let listed: Vec<_> = listed.buffered(AT_ONCE).try_collect().await?;
            let mut next = Vec::new();
            for (folder, (folders, objects)) in listed {
                let has = |card: &str| objects.iter().any(|object| object == card);
                if has(HUB_CARD)
                    && let Ok(hub) = folder.parse()
                {
                    found.hubs.push(hub);
                }
                let is_recording = |name: &String| name.parse::<RecordingId>().is_ok();
                let (recorded, others): (Vec<_>, Vec<_>) =
                    folders.into_iter().partition(is_recording);
                if (has(CHANNEL_CARD) || !recorded.is_empty())
                    && let Ok(id) = folder.parse()
                {
                    found.channels.push(id);
                }
                let path = |name: String| match folder.as_str() {
                    "" => name,
                    folder => format!("{folder}/{name}"),
                };
                next.extend(others.into_iter().map(path));
            }
            level = next;
        }
        found.channels.sort_unstable();
        Ok(found)
    }
}
