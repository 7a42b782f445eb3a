//! Cards: one small object for each channel and each hub, by which the store itself tells what is
//! set there and which clips and holds there are, so that the catalog can be made again from it.
//!
//! The catalog marks what has changed, and a task writes those cards behind the change: whoever
//! makes a clip waits for no store. A mark stays until the store has the card, over restarts too.
//! There is no credential on a card, not even a digest: the store may be open to every viewer.

use super::auth::Caller;
use super::channels::Channel;
use super::settings::ChannelSettings;
use super::{Control, Error};
use crate::catalog::{ChannelRow, HubRow, RangeKind, RangeRow, Unstored};
use crate::id::{ChannelId, HubName};
use crate::key;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};

/// Cards that are written at a time, and in one go.
const AT_ONCE: usize = 8;
const BATCH: usize = 256;
/// Clips or holds that are read at a time.
const RANGES: usize = 1_000;
/// Version of the format.
const VERSION: u32 = 1;

/// What the store knows of a channel beside its recordings.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ChannelCard {
    version: u32,
    /// It was deleted; its recordings are still there.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) deleted: bool,
    enabled: bool,
    created_ms: i64,
    changed_ms: i64,
    settings: ChannelSettings,
    clips: Vec<RangeCard>,
    /// They stay when the channel is deleted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    holds: Vec<RangeCard>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct RangeCard {
    name: String,
    start_ms: i64,
    end_ms: i64,
    created_ms: i64,
}

/// What the store knows of a hub.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct HubCard {
    version: u32,
    created_ms: i64,
    access: i64,
}

impl Control {
    /// Writes the cards of what has changed; returns how many those were.
    pub async fn write_cards(&self) -> Result<usize, Error> {
        let due = self.catalog().unstored(BATCH).await?;
        let count = due.len();
        let each = stream::iter(due).map(|due| async move {
            self.write_card(&due).await?;
            Ok::<_, Error>(self.catalog().stored(&due).await?)
        });
        each.buffer_unordered(AT_ONCE)
            .try_for_each(|()| async { Ok(()) })
            .await?;
        Ok(count)
    }

    async fn write_card(&self, due: &Unstored) -> Result<(), Error> {
        // Names that no version of this program wrote stand for nothing in the store.
        if due.name.is_empty() {
            let Ok(hub) = HubName::new(&due.hub) else {
                return Ok(());
            };
            let card = self.catalog().hub(&hub).await?.map(|row| HubCard {
                version: VERSION,
                created_ms: row.created_ms,
                access: row.access,
            });
            let text = card.map(|card| super::json(&card));
            return self.put_card(&key::hub_card(&hub), text).await;
        }
        let Ok(id) = ChannelId::new(&due.hub, &due.name) else {
            return Ok(());
        };
        self.write_card_of(&id).await
    }

    /// Writes the card of a channel as it is now.
    pub(super) async fn write_card_of(&self, id: &ChannelId) -> Result<(), Error> {
        let card = self.channel_card(id).await?;
        let text = card.map(|card| super::json(&card));
        self.put_card(&key::channel_card(id), text).await
    }

    /// The card of a channel as it is now; `None` if nothing is left of it.
    pub(super) async fn channel_card(&self, id: &ChannelId) -> Result<Option<ChannelCard>, Error> {
        let holds = self.range_cards(RangeKind::Hold, id).await?;
        let Some(row) = self.catalog().channel(id).await? else {
            let recordings = self.catalog().recordings(id, 0..i64::MAX, 1).await?;
            let is_left = !recordings.is_empty() || !holds.is_empty();
            let deleted = ChannelCard {
                version: VERSION,
                deleted: true,
                holds,
                ..ChannelCard::default()
            };
            return Ok(Some(deleted).filter(|_| is_left));
        };
        let clips = self.range_cards(RangeKind::Clip, id).await?;
        let channel = Channel::of(row)?;
        Ok(Some(ChannelCard {
            version: VERSION,
            deleted: false,
            enabled: channel.settings.enabled,
            created_ms: channel.created_ms,
            changed_ms: channel.changed_ms,
            settings: channel.settings,
            clips,
            holds,
        }))
    }

    async fn range_cards(&self, kind: RangeKind, id: &ChannelId) -> Result<Vec<RangeCard>, Error> {
        let mut cards: Vec<RangeCard> = Vec::new();
        loop {
            let after = cards.last().map(|card| card.name.clone());
            let after = after.as_deref();
            let rows = self.catalog().ranges(kind, id, after, RANGES).await?;
            let last = rows.len() < RANGES;
            cards.extend(rows.into_iter().map(RangeCard::from));
            if last {
                return Ok(cards);
            }
        }
    }

    async fn put_card(&self, object: &str, text: Option<String>) -> Result<(), Error> {
        let store = self.archive().store();
        match text {
            Some(text) => store.put(object, Bytes::from(text)).await?,
            None => store.delete(object).await?,
        }
        Ok(())
    }

    /// The card that the store has of a channel; one that cannot be read is none.
    pub(super) async fn stored_card(&self, id: &ChannelId) -> Result<Option<ChannelCard>, Error> {
        let card: Option<ChannelCard> = self.read_card(&key::channel_card(id)).await?;
        Ok(card.map(|mut card| {
            // Not among the settings in JSON: it has a field of its own.
            card.settings.enabled = card.enabled || card.deleted;
            card
        }))
    }

    /// Makes a hub again by its card, unless the catalog has it.
    pub(super) async fn restore_hub(&self, name: &HubName) -> Result<(), Error> {
        if self.catalog().hub(name).await?.is_some() {
            return Ok(());
        }
        let card: Option<HubCard> = self.read_card(&key::hub_card(name)).await?;
        if let Some(card) = card {
            let row = HubRow {
                created_ms: card.created_ms,
                access: card.access,
            };
            self.catalog().put_hub(name, row).await?;
        }
        Ok(())
    }

    /// Makes a channel again by its card, unless the catalog has it. Without a card it gets the
    /// server's settings; without a key it comes back in any case.
    pub(super) async fn restore_channel_row(&self, id: &ChannelId) -> Result<(), Error> {
        if self.catalog().channel(id).await?.is_some() {
            return Ok(());
        }
        let Some(card) = self.stored_card(id).await? else {
            let by = Caller::server("rebuild");
            return self.put_if_missing(&by, id).await.map(drop);
        };
        for hold in card.holds {
            let hold = hold.into();
            self.catalog().put_range(RangeKind::Hold, id, &hold).await?;
        }
        if card.deleted {
            return Ok(());
        }
        let row = ChannelRow {
            id: id.clone(),
            enabled: card.enabled,
            settings: card.settings.to_json(),
            created_ms: card.created_ms,
            changed_ms: card.changed_ms,
            retention_s: card
                .settings
                .retention_s
                .and_then(|s| i64::try_from(s).ok()),
            retention_bytes: (card.settings.retention_bytes).and_then(|b| i64::try_from(b).ok()),
        };
        let labels = &card.settings.labels;
        self.catalog().put_channel(&row, labels).await?;
        for clip in card.clips {
            let clip = clip.into();
            self.catalog().put_range(RangeKind::Clip, id, &clip).await?;
        }
        Ok(())
    }

    async fn read_card<T: for<'de> Deserialize<'de>>(
        &self,
        object: &str,
    ) -> Result<Option<T>, Error> {
        let text = match self.archive().store().get(object).await {
            Ok(text) => text,
            Err(crate::store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let card = serde_json::from_slice(&text);
        let card = card.inspect_err(|error| tracing::error!(object, %error, "it is not readable"));
        Ok(card.ok())
    }
}

impl From<RangeRow> for RangeCard {
    fn from(row: RangeRow) -> Self {
        Self {
            name: row.name,
            start_ms: row.start_ms,
            end_ms: row.end_ms,
            created_ms: row.created_ms,
        }
    }
}

impl From<RangeCard> for RangeRow {
    fn from(card: RangeCard) -> Self {
        Self {
            name: card.name,
            start_ms: card.start_ms,
            end_ms: card.end_ms,
            created_ms: card.created_ms,
        }
    }
}
