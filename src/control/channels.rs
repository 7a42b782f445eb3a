//! Channels: what is set of them, and changing that.
//!
//! What the catalog says of a channel is believed for a moment, so that a crowd asks once. While
//! the catalog is away what it said last is believed for as long as that takes: those who publish
//! and watch notice nothing.

use super::auth::{Caller, Denied, Fingerprint, FreshKey, Grant};
use super::events::Event;
use super::live::Ending;
use super::settings::ChannelSettings;
use super::{Control, Error};
use crate::catalog::{AuditRow, ChannelFilter, ChannelRow, CredentialRow, KEY};
use crate::clock;
use crate::id::ChannelId;
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Channels that are remembered, also for not being there.
const KNOWN: usize = 20_000;
/// How long the catalog's word is believed: what another node changes takes effect within it.
const BELIEVED: Duration = Duration::from_secs(2);
/// After the catalog was away it is not asked for so long if something is remembered.
const AWAY: Duration = Duration::from_secs(5);
/// Channels that one listing looks at to find those that are idle.
const LOOKED_AT_MAX: usize = 2_000;

/// A channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Channel {
    /// Its name.
    pub id: ChannelId,
    /// What is set of it.
    pub settings: ChannelSettings,
    /// When it was made, in milliseconds since the Unix epoch.
    pub created_ms: i64,
    /// When it was changed last.
    pub changed_ms: i64,
}

/// What a channel is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChannelState {
    /// Nobody pushes.
    Idle,
    /// Somebody pushes.
    Live,
    /// Nobody may push.
    Disabled,
}

/// What [`Control::put_channel`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Put {
    /// It was not there.
    Created,
    /// It was there with other settings.
    Replaced,
    /// It was there with these settings.
    Same,
}

/// What to do with a push that runs on a channel that is to be disabled or deleted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IfLive {
    /// End it.
    End,
    /// Leave it and change nothing.
    Refuse,
}

/// Which channels a listing wants.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Wanted {
    /// Only of this hub.
    pub hub: Option<String>,
    /// Only names that begin so.
    pub prefix: Option<String>,
    /// Only with this label of this value.
    pub label: Option<(String, String)>,
    /// Only in this state.
    pub state: Option<ChannelState>,
    /// Only what comes after this hub and name.
    pub after: Option<(String, String)>,
}

/// A page of a listing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// The channels, by hub and name, with their states.
    pub channels: Vec<(Channel, ChannelState)>,
    /// What to ask for to get more, if there may be more.
    pub next: Option<(String, String)>,
}

/// A channel with what decides who may publish.
pub(super) struct Known {
    pub(super) channel: Arc<Channel>,
    pub(super) key: Option<Fingerprint>,
}

/// What the catalog said of channels.
pub(super) struct Memory {
    known: Cache<ChannelId, (Instant, Option<Arc<Known>>)>,
    away_until: Mutex<Option<Instant>>,
    /// One change at a time: each reads what the one before wrote.
    changes: tokio::sync::Mutex<()>,
    /// Id of the newest row of the trail: rows of one millisecond keep their order.
    last_audit: AtomicI64,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self {
            known: Cache::new(KNOWN),
            away_until: Mutex::default(),
            changes: tokio::sync::Mutex::default(),
            last_audit: AtomicI64::new(0),
        }
    }
}

impl Memory {
    /// An id that follows time; twenty random bits tell nodes apart.
    fn audit_id(&self, at_ms: i64) -> i64 {
        let fresh = at_ms << 20 | i64::from(u32::from_le_bytes(clock::random()) >> 12);
        let next = |last: i64| fresh.max(last + 1);
        let last = self
            .last_audit
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                Some(next(last))
            });
        let (Ok(last) | Err(last)) = last;
        next(last)
    }
}

impl Control {
    /// A channel by its name.
    pub async fn channel(&self, id: &ChannelId) -> Result<Arc<Channel>, Error> {
        let known = self.known(id).await?;
        let known = known.ok_or_else(|| Error::NoChannel(id.clone()))?;
        Ok(Arc::clone(&known.channel))
    }

    /// The same; one that is not in the catalog is as the configuration says.
    pub(super) async fn channel_or_default(&self, id: &ChannelId) -> Result<Arc<Channel>, Error> {
        Ok(match self.known(id).await? {
            Some(known) => Arc::clone(&known.channel),
            None => Arc::new(Channel {
                id: id.clone(),
                settings: ChannelSettings::default(),
                created_ms: 0,
                changed_ms: 0,
            }),
        })
    }

    /// The right of somebody whose credential was checked elsewhere.
    pub async fn grant(&self, id: &ChannelId) -> Result<Grant, Error> {
        let channel = self.channel(id).await?;
        match channel.settings.enabled {
            true => Ok(Grant::of(channel)),
            false => Err(Denied::Disabled(id.clone()).into()),
        }
    }

    /// What a channel is at this moment.
    pub fn state(&self, channel: &Channel) -> ChannelState {
        match channel.settings.enabled {
            false => ChannelState::Disabled,
            true if self.registry().is_live(&channel.id) => ChannelState::Live,
            true => ChannelState::Idle,
        }
    }

    /// Makes a channel or replaces its settings. The settings of one that is there take effect as
    /// [`ChannelSettings`] says; one that becomes disabled is ended.
    pub async fn put_channel(
        &self,
        by: &Caller,
        id: &ChannelId,
        settings: ChannelSettings,
    ) -> Result<(Arc<Channel>, Put), Error> {
        self.replace_channel(by, id, settings, IfLive::End).await
    }

    /// The same; a push that runs may be a reason to refuse.
    pub async fn replace_channel(
        &self,
        by: &Caller,
        id: &ChannelId,
        settings: ChannelSettings,
        if_live: IfLive,
    ) -> Result<(Arc<Channel>, Put), Error> {
        settings.check()?;
        let _alone = self.memory().changes.lock().await;
        self.may_end(id, if_live)?;
        let before = self.read(id).await?;
        if let Some(before) = &before
            && before.channel.settings == settings
        {
            return Ok((Arc::clone(&before.channel), Put::Same));
        }
        let put = match before {
            Some(_) => Put::Replaced,
            None => Put::Created,
        };
        let channel = self.write(by, id, before.as_deref(), settings).await?;
        Ok((channel, put))
    }

    /// Changes some settings of a channel.
    pub async fn change_channel(
        &self,
        by: &Caller,
        id: &ChannelId,
        change: impl FnOnce(&mut ChannelSettings) -> Result<(), Error>,
    ) -> Result<Arc<Channel>, Error> {
        let _alone = self.memory().changes.lock().await;
        let before = self.read(id).await?;
        let before = before.ok_or_else(|| Error::NoChannel(id.clone()))?;
        let mut settings = before.channel.settings.clone();
        change(&mut settings)?;
        settings.check()?;
        if settings == before.channel.settings {
            return Ok(Arc::clone(&before.channel));
        }
        self.write(by, id, Some(&before), settings).await
    }

    /// Enables or disables a channel. A push that runs is ended within a second, or is a reason to
    /// refuse.
    pub async fn enable_channel(
        &self,
        by: &Caller,
        id: &ChannelId,
        enabled: bool,
        if_live: IfLive,
    ) -> Result<Arc<Channel>, Error> {
        if !enabled {
            self.may_end(id, if_live)?;
        }
        let change = |settings: &mut ChannelSettings| {
            settings.enabled = enabled;
            Ok(())
        };
        self.change_channel(by, id, change).await
    }

    /// Removes a channel with its key and clips. Its history and media stay, and are there again if
    /// it is made again.
    pub async fn delete_channel(
        &self,
        by: &Caller,
        id: &ChannelId,
        if_live: IfLive,
    ) -> Result<(), Error> {
        let _alone = self.memory().changes.lock().await;
        self.may_end(id, if_live)?;
        if !self.catalog().delete_channel(id).await? {
            return Err(Error::NoChannel(id.clone()));
        }
        self.remember(id, None);
        self.registry().tell(id, Ending::Deleted);
        self.note(by, "delete channel", &id.to_string(), "{}").await;
        self.events().send(Event::ChannelDeleted(id.clone()));
        Ok(())
    }

    /// Ends the push that runs on a channel. Its encoder may come back at once.
    pub async fn kick(&self, by: &Caller, id: &ChannelId) -> Result<(), Error> {
        if !self.registry().tell(id, Ending::Kicked) {
            self.channel(id).await?;
            return Err(Error::NotLive(id.clone()));
        }
        self.note(by, "kick channel", &id.to_string(), "{}").await;
        Ok(())
    }

    /// Gives a channel a new random key; the old one is worth nothing from now on. A push that runs
    /// goes on.
    pub async fn rotate_key(&self, by: &Caller, id: &ChannelId) -> Result<FreshKey, Error> {
        let _alone = self.memory().changes.lock().await;
        let known = self.read(id).await?;
        let known = known.ok_or_else(|| Error::NoChannel(id.clone()))?;
        let key = FreshKey::random();
        let row = CredentialRow {
            kind: KEY.to_owned(),
            id: id.to_string(),
            secret: key.fingerprint().to_string(),
            about: "{}".to_owned(),
            created_ms: clock::now().unix_ms(),
        };
        self.catalog().put_credential(&row).await?;
        self.remember(
            id,
            Some(Arc::new(Known {
                channel: Arc::clone(&known.channel),
                key: Some(key.fingerprint()),
            })),
        );
        self.note(by, "rotate key", &id.to_string(), "{}").await;
        Ok(key)
    }

    /// The first `limit` channels that are wanted.
    pub async fn channels(&self, wanted: &Wanted, limit: usize) -> Result<Listed, Error> {
        let mut filter = ChannelFilter {
            hub: wanted.hub.clone(),
            prefix: wanted.prefix.clone(),
            label: wanted.label.clone(),
            enabled: wanted.state.map(|state| state != ChannelState::Disabled),
            after: wanted.after.clone(),
        };
        if wanted.state == Some(ChannelState::Live) {
            return self.live_channels(wanted, limit).await;
        }
        let mut channels = Vec::new();
        let mut looked_at = 0;
        loop {
            let rows = self.catalog().channels(&filter, limit + 1).await?;
            let last_page = rows.len() <= limit;
            looked_at += rows.len();
            for row in rows {
                if channels.len() == limit {
                    return Ok(Listed::more(channels, filter.after));
                }
                filter.after = Some((row.id.hub.to_string(), row.id.name.to_string()));
                let channel = Channel::of(row)?;
                let state = self.state(&channel);
                if wanted.state.is_none_or(|wanted| wanted == state) {
                    channels.push((channel, state));
                }
            }
            if last_page {
                return Ok(Listed::more(channels, None));
            }
            if looked_at > LOOKED_AT_MAX.max(limit) {
                return Ok(Listed::more(channels, filter.after));
            }
        }
    }

    /// Few channels are live, of many that there are: they are asked for by name.
    async fn live_channels(&self, wanted: &Wanted, limit: usize) -> Result<Listed, Error> {
        let mut names: Vec<ChannelId> = self.registry().live_names();
        names.retain(|id| {
            let pair = (id.hub.as_str(), id.name.as_str());
            let after = wanted.after.as_ref();
            wanted.hub.as_deref().is_none_or(|hub| hub == pair.0)
                && wanted
                    .prefix
                    .as_deref()
                    .is_none_or(|prefix| pair.1.starts_with(prefix))
                && after.is_none_or(|(hub, name)| pair > (hub.as_str(), name.as_str()))
        });
        names.sort_unstable();
        let mut channels = Vec::new();
        let mut after = None;
        for id in names {
            if channels.len() == limit {
                return Ok(Listed::more(channels, after));
            }
            after = Some((id.hub.to_string(), id.name.to_string()));
            let Some(known) = self.known(&id).await? else {
                continue;
            };
            let channel = &known.channel;
            let label = wanted.label.as_ref();
            if self.state(channel) == ChannelState::Live
                && label
                    .is_none_or(|(label, value)| channel.settings.labels.get(label) == Some(value))
            {
                channels.push((channel.as_ref().clone(), ChannelState::Live));
            }
        }
        Ok(Listed::more(channels, None))
    }

    /// The hubs that have or had a channel after the name `after`, with when they were made.
    pub async fn hubs(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, i64)>, Error> {
        Ok(self.catalog().hubs(after, limit).await?)
    }

    /// How many channels there are.
    pub async fn count_channels(&self) -> Result<i64, Error> {
        Ok(self.catalog().count_channels().await?)
    }

    /// Who changed what, newest first, from before the row `before`.
    pub async fn audit(&self, before: Option<i64>, limit: usize) -> Result<Vec<AuditRow>, Error> {
        Ok(self.catalog().audit(before, limit).await?)
    }

    /// Adds to the trail. A trail that cannot be written does not undo what was done; the log has it.
    pub(super) async fn note(&self, by: &Caller, action: &str, object: &str, detail: &str) {
        let at_ms = clock::now().unix_ms();
        let row = AuditRow {
            id: self.memory().audit_id(at_ms),
            at_ms,
            actor: by.name.clone(),
            action: action.to_owned(),
            object: object.to_owned(),
            detail: detail.to_owned(),
        };
        tracing::info!(actor = row.actor, action, object, "change");
        if let Err(error) = self.catalog().add_audit(&row).await {
            tracing::error!(%error, actor = row.actor, action, object, "a change is not in the audit trail");
        }
    }

    fn may_end(&self, id: &ChannelId, if_live: IfLive) -> Result<(), Error> {
        match if_live {
            IfLive::Refuse if self.registry().is_live(id) => Err(Error::Live(id.clone())),
            IfLive::Refuse | IfLive::End => Ok(()),
        }
    }

    async fn write(
        &self,
        by: &Caller,
        id: &ChannelId,
        before: Option<&Known>,
        settings: ChannelSettings,
    ) -> Result<Arc<Channel>, Error> {
        let now = clock::now().unix_ms();
        let channel = Arc::new(Channel {
            id: id.clone(),
            created_ms: before.map_or(now, |before| before.channel.created_ms),
            changed_ms: now,
            settings,
        });
        let settings = &channel.settings;
        let row = ChannelRow {
            id: id.clone(),
            enabled: settings.enabled,
            settings: settings.to_json(),
            created_ms: channel.created_ms,
            changed_ms: now,
            retention_s: settings.retention_s.and_then(|s| i64::try_from(s).ok()),
            retention_bytes: settings.retention_bytes.and_then(|b| i64::try_from(b).ok()),
        };
        self.catalog().put_channel(&row, &settings.labels).await?;
        let known = Known {
            channel: Arc::clone(&channel),
            key: before.and_then(|before| before.key),
        };
        self.remember(id, Some(Arc::new(known)));
        if !settings.enabled {
            self.registry().tell(id, Ending::Disabled);
        }
        self.registry().set_channel(&channel);
        let action = match before {
            Some(_) => "change channel",
            None => "create channel",
        };
        self.note(by, action, &id.to_string(), &row.settings).await;
        self.events().send(Event::ChannelChanged(id.clone()));
        Ok(channel)
    }

    /// The channel of a push to a name that nobody has made, where anybody may push to any. If the
    /// catalog is away the push runs with the server's settings, and the next one makes it.
    pub(super) async fn make_on_push(&self, id: &ChannelId) -> Arc<Channel> {
        let by = Caller::server("publish");
        match self.put_if_missing(&by, id).await {
            Ok(channel) => channel,
            Err(error) => {
                tracing::warn!(channel = %id, %error, "the channel of a push is not in the catalog");
                Arc::new(Channel {
                    id: id.clone(),
                    settings: ChannelSettings::default(),
                    created_ms: clock::now().unix_ms(),
                    changed_ms: clock::now().unix_ms(),
                })
            }
        }
    }

    /// The channel, made with the server's settings if it is not there.
    pub async fn put_if_missing(&self, by: &Caller, id: &ChannelId) -> Result<Arc<Channel>, Error> {
        let _alone = self.memory().changes.lock().await;
        match self.read(id).await? {
            Some(known) => Ok(Arc::clone(&known.channel)),
            None => self.write(by, id, None, ChannelSettings::default()).await,
        }
    }

    /// What is known of a channel.
    pub(super) async fn known(&self, id: &ChannelId) -> Result<Option<Arc<Known>>, Error> {
        let memory = self.memory();
        let now = clock::monotonic();
        let remembered = memory.known.get(id);
        if let Some((at, known)) = &remembered {
            if now.saturating_duration_since(*at) < BELIEVED || self.is_catalog_away(now) {
                return Ok(known.clone());
            }
            // Whoever comes while it is being asked believes this a moment longer.
            memory.known.insert(id.clone(), (now, known.clone()));
        }
        match (self.read(id).await, remembered) {
            (Ok(known), _) => Ok(known),
            (Err(Error::Catalog(error)), Some((_, known))) if error.is_passing() => {
                let mut until = memory
                    .away_until
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner);
                *until = Some(clock::monotonic() + AWAY);
                Ok(known)
            }
            (Err(error), _) => Err(error),
        }
    }

    fn is_catalog_away(&self, now: Instant) -> bool {
        let until = *self
            .memory()
            .away_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| now < until)
    }

    /// What the catalog says now, which is remembered.
    async fn read(&self, id: &ChannelId) -> Result<Option<Arc<Known>>, Error> {
        let row = self.catalog().channel(id).await?;
        let known = match row {
            None => None,
            Some(row) => {
                let key = self.catalog().credential(KEY, &id.to_string()).await?;
                Some(Arc::new(Known {
                    channel: Arc::new(Channel::of(row)?),
                    key: key.and_then(|row| Fingerprint::parse(&row.secret)),
                }))
            }
        };
        self.remember(id, known.clone());
        Ok(known)
    }

    fn remember(&self, id: &ChannelId, known: Option<Arc<Known>>) {
        let now = clock::monotonic();
        self.memory().known.insert(id.clone(), (now, known));
    }
}

impl Channel {
    pub(super) fn of(row: ChannelRow) -> Result<Self, Error> {
        let settings: Result<ChannelSettings, _> = serde_json::from_str(&row.settings);
        let wrong = |error| {
            let text = format!("settings of channel {}: {error}", row.id);
            Error::Catalog(crate::catalog::Error::Row(text))
        };
        let settings = settings.map_err(wrong)?;
        Ok(Self {
            settings: ChannelSettings {
                enabled: row.enabled,
                ..settings
            },
            id: row.id,
            created_ms: row.created_ms,
            changed_ms: row.changed_ms,
        })
    }
}

impl Listed {
    fn more(channels: Vec<(Channel, ChannelState)>, next: Option<(String, String)>) -> Self {
        Self { channels, next }
    }
}
