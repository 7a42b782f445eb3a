//! The registry of channels that are live, and the claim that a session has on one.
//!
//! A channel has at most one session. Whoever claims it next takes over or is refused, by policy;
//! that is decided here and nowhere else. When a session ends, its recording waits for the
//! reconnect window and is ended then.

use super::auth::{Grant, Playback};
use super::channels::Channel;
use super::journal::Line;
use super::ledger::{Ledger, TrackInfo};
use super::meter::{Counts, Meter, Rates};
use super::recording::Recording;
use super::viewers::Viewers;
use super::{Control, LiveChannel};
use crate::catalog::Entry;
use crate::clock;
use crate::id::{ChannelId, RecordingId};
use crate::key::RecordingKey;
use crate::media::{Begin, WallTime};
use crate::store::Spool;
use crate::store::disk::{NoRoom, WriteError, Writer};
use dashmap::DashMap;
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a session that is taken over has to write what it holds.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);
/// What happens to a second publisher of a live channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondPublisher {
    /// It takes the channel over.
    Takeover,
    /// It is refused.
    Reject,
}

/// Why a session is told to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// Somebody with the same rights publishes now.
    TakenOver,
    /// The channel was disabled.
    Disabled,
    /// The channel was deleted.
    Deleted,
    /// Somebody ended this push, and nothing else.
    Kicked,
    /// The server stops.
    Shutdown,
}

/// Why a channel cannot be claimed. The text is what the encoder shows.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It has a publisher, and that one stays.
    #[error("channel {0} has a publisher already")]
    Busy(ChannelId),
    /// It has a publisher that did not let go in time.
    #[error("the publisher that channel {0} has does not end; try again")]
    Stuck(ChannelId),
    /// It was disabled or deleted just now.
    #[error("channel {0} is disabled")]
    Disabled(ChannelId),
    /// What running publishers send may not find room any more.
    #[error(
        "the store is not reachable and the space for what waits for it is nearly used up; try again later"
    )]
    Full,
    /// The same with the local disk.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
}

/// Who publishes, as far as anybody can know.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Publisher {
    /// Its address.
    pub remote: String,
    /// What its encoder calls itself.
    pub encoder: Option<String>,
}

/// A session as it is at this moment.
#[derive(Clone, PartialEq, Debug)]
pub struct LiveStatus {
    /// Where it goes to.
    pub recording: RecordingKey,
    /// When it began, in milliseconds since the Unix epoch.
    pub since_unix_ms: i64,
    /// Who publishes.
    pub publisher: Publisher,
    /// Its tracks; none before the first are known.
    pub tracks: TrackInfo,
    /// Totals.
    pub counts: Counts,
    /// Rates of the last seconds.
    pub rates: Rates,
    /// Viewers in the last thirty seconds.
    pub viewers: usize,
}

/// The channels that are live or may be again.
#[derive(Default)]
pub(super) struct Registry {
    channels: DashMap<ChannelId, Arc<Slot>>,
    stopping: std::sync::atomic::AtomicBool,
}

/// A channel in the registry.
struct Slot {
    state: Mutex<SlotState>,
    viewers: Viewers,
}

struct SlotState {
    /// As it was when it was changed last.
    channel: Arc<Channel>,
    recording: Arc<Recording>,
    session: Option<Session>,
    /// Sessions so far: a reconnect window that has passed looks whether it is still the newest.
    sessions: u64,
    /// The recording is over; a new push needs a new slot.
    ended: bool,
}

struct Session {
    since: WallTime,
    publisher: Publisher,
    meter: Arc<Meter>,
    end: watch::Sender<Option<Ending>>,
    /// Its receivers see it closed when the session is over.
    gone: watch::Sender<()>,
}

/// A session's hold on a channel. However it is dropped (a panic, a task that is thrown away), the
/// channel is free again all the same.
pub struct Claim {
    control: Control,
    slot: Arc<Slot>,
    recording: Arc<Recording>,
    begin: Begin,
    channel: Arc<Channel>,
    meter: Arc<Meter>,
    ledger: Ledger,
    end: watch::Receiver<Option<Ending>>,
}

impl Registry {
    /// The recording that is being made of a channel.
    pub(super) fn recording(&self, channel: &ChannelId) -> Option<Arc<Recording>> {
        let slot = self.channels.get(channel)?;
        Some(slot.lock().recording.clone())
    }

    /// The channels that have a publisher.
    pub(super) fn live(&self) -> Vec<LiveChannel> {
        let each = self.channels.iter();
        let live = each.filter_map(|entry| {
            let state = entry.value().lock();
            let tracks = state.recording.tracks();
            Some(LiveChannel {
                channel: entry.key().clone(),
                since_unix_ms: state.session.as_ref()?.since.unix_ms(),
                public: state.channel.settings.playback == Playback::Public,
                codecs: tracks.codecs,
                resolution: tracks.resolution,
            })
        });
        live.collect()
    }

    /// Whether a channel has a publisher.
    pub(super) fn is_live(&self, channel: &ChannelId) -> bool {
        let slot = self.channels.get(channel);
        slot.is_some_and(|slot| slot.lock().session.is_some())
    }

    /// The names of the channels that have a publisher.
    pub(super) fn live_names(&self) -> Vec<ChannelId> {
        let live = |slot: &Arc<Slot>| slot.lock().session.is_some();
        let each = self.channels.iter().filter(|entry| live(entry.value()));
        each.map(|entry| entry.key().clone()).collect()
    }

    /// A channel that is live or may be again, as it was changed last.
    pub(super) fn channel(&self, channel: &ChannelId) -> Option<Arc<Channel>> {
        let slot = self.channels.get(channel)?;
        Some(slot.lock().channel.clone())
    }

    /// A channel was changed.
    pub(super) fn set_channel(&self, channel: &Arc<Channel>) {
        if let Some(slot) = self.channels.get(&channel.id) {
            slot.lock().channel = Arc::clone(channel);
        }
    }

    /// What the publisher of a channel does at this moment.
    pub(super) fn status(&self, channel: &ChannelId) -> Option<LiveStatus> {
        let slot = self.channels.get(channel)?.value().clone();
        let viewers = slot.viewers.count(clock::monotonic());
        let state = slot.lock();
        let session = state.session.as_ref()?;
        Some(LiveStatus {
            recording: state.recording.key().clone(),
            since_unix_ms: session.since.unix_ms(),
            publisher: session.publisher.clone(),
            tracks: state.recording.track_info(),
            counts: session.meter.counts(),
            rates: session.meter.rates(clock::now()),
            viewers,
        })
    }

    /// How many bytes come in for a channel, as far as its publisher's rates tell.
    pub(super) fn bytes_per_s(&self, channel: &ChannelId) -> u64 {
        let slot = self.channels.get(channel).map(|slot| slot.clone());
        let meter = slot.and_then(|slot| Some(slot.lock().session.as_ref()?.meter.clone()));
        meter.map_or(0, |meter| {
            let rates = meter.rates(clock::now());
            (rates.video_bit_rate + rates.audio_bit_rate + rates.data_bit_rate) / 8
        })
    }

    /// Somebody asked for a playlist of a channel.
    pub(super) fn viewed(&self, channel: &ChannelId, viewer: u64) {
        if let Some(slot) = self.channels.get(channel) {
            slot.viewers.saw(viewer, clock::monotonic());
        }
    }

    /// Tells the session of a channel to end; false if there is none.
    pub(super) fn tell(&self, channel: &ChannelId, ending: Ending) -> bool {
        let slot = self.channels.get(channel).map(|slot| slot.clone());
        slot.is_some_and(|slot| slot.tell(ending))
    }

    /// Lets a session have its channel, as soon as a predecessor has let go.
    pub(super) async fn claim(
        &self,
        control: &Control,
        grant: &Grant,
        publisher: &Publisher,
    ) -> Result<Claim, Refused> {
        let channel = grant.channel();
        let deadline = tokio::time::Instant::from_std(clock::monotonic()) + TAKEOVER_MAX;
        loop {
            if self.is_stopping() {
                return Err(Refused::Stopping);
            }
            if control.disk().spool().is_some_and(Spool::refuses) {
                return Err(Refused::Full);
            }
            if let Some(no_room) = control.disk().lacks_room() {
                return Err(no_room.into());
            }
            let slot = self.slot(control, &grant.channel);
            let mut gone = match slot.try_claim(control, grant, publisher) {
                Attempt::Claimed(claim) => return Ok(claim),
                Attempt::Over => {
                    self.channels
                        .remove_if(channel, |_, listed| Arc::ptr_eq(listed, &slot));
                    continue;
                }
                Attempt::Busy(gone) => gone,
            };
            let settings = &grant.channel.settings;
            let second = settings.second_publisher;
            if second.unwrap_or(control.settings().second_publisher) == SecondPublisher::Reject {
                return Err(Refused::Busy(channel.clone()));
            }
            slot.tell(Ending::TakenOver);
            // An error means that the sender is gone, and that is what is waited for.
            if tokio::time::timeout_at(deadline, gone.changed())
                .await
                .is_err()
            {
                return Err(Refused::Stuck(channel.clone()));
            }
        }
    }

    /// Whether new sessions are refused for good.
    pub(super) fn is_stopping(&self) -> bool {
        self.stopping.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Ends all sessions and refuses new ones.
    pub(super) fn stop(&self) {
        self.stopping
            .store(true, std::sync::atomic::Ordering::Release);
        for slot in &self.channels {
            slot.tell(Ending::Shutdown);
        }
    }

    /// Ends every recording that waits for its publisher to come back.
    pub(super) async fn end_all(&self, control: &Control) {
        let slots: Vec<_> = self
            .channels
            .iter()
            .map(|slot| slot.value().clone())
            .collect();
        for slot in slots {
            self.end_recording(control, &slot, None).await;
        }
    }

    /// A recording of an earlier process waits for its publisher as those of this one do. Of two of
    /// one channel the newer waits; the older is over.
    pub(super) fn take_up(
        &self,
        control: &Control,
        channel: Arc<Channel>,
        recording: Recording,
        left: Duration,
    ) {
        let id = channel.id.clone();
        let slot = Arc::new(Slot::new(channel, recording));
        let older = self.channels.insert(id, slot.clone());
        if let Some(older) = older {
            end_after(control, older, Duration::ZERO, 0);
        }
        end_after(control, slot, left, 0);
    }

    fn slot(&self, control: &Control, of: &Arc<Channel>) -> Arc<Slot> {
        let entry = self.channels.entry(of.id.clone());
        let fresh = || {
            let recording =
                RecordingId::at(clock::now().unix_ms(), u16::from_le_bytes(clock::random()));
            let channel = of.id.clone();
            let key = RecordingKey { channel, recording };
            let recording = Recording::new(key, control.window_of(of));
            Arc::new(Slot::new(Arc::clone(of), recording))
        };
        entry.or_insert_with(fresh).value().clone()
    }

    /// Ends a slot's recording unless it has a session, or has had another since `sessions`.
    async fn end_recording(&self, control: &Control, slot: &Arc<Slot>, sessions: Option<u64>) {
        let recording = {
            let mut state = slot.lock();
            let newer = sessions.is_some_and(|seen| seen != state.sessions);
            if state.session.is_some() || state.ended || newer {
                return;
            }
            state.ended = true;
            state.recording.clone()
        };
        let key = recording.key();
        if recording.media().is_some() {
            let ended_ms = clock::now().unix_ms();
            let writer = control.disk().writer(&key.folder());
            let ended = recording.clone();
            let done = move |result: Result<(), WriteError>| {
                if let Err(error) = result {
                    tracing::error!(recording = %ended.key(), %error, "the recording's end is not in its index");
                }
                ended.end();
            };
            writer
                .line(key.journal(), Line::End { ended_ms }.to_text(), done)
                .await;
            writer.unmark(key.marker(), key.journal()).await;
            writer.flush().await;
            tracing::info!(channel = %key.channel, recording = %key.recording, "recording ended");
            control.backlog().push(Entry::End {
                key: key.clone(),
                ended_ms,
            });
        }
        self.channels
            .remove_if(&key.channel, |_, listed| Arc::ptr_eq(listed, slot));
        control.forget(&key.channel);
    }
}

enum Attempt {
    Claimed(Claim),
    Busy(watch::Receiver<()>),
    Over,
}

impl Slot {
    fn new(channel: Arc<Channel>, recording: Recording) -> Self {
        Self {
            viewers: Viewers::default(),
            state: Mutex::new(SlotState {
                channel,
                recording: Arc::new(recording),
                session: None,
                sessions: 0,
                ended: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_claim(
        self: &Arc<Self>,
        control: &Control,
        grant: &Grant,
        publisher: &Publisher,
    ) -> Attempt {
        let mut state = self.lock();
        if state.ended {
            return Attempt::Over;
        }
        if let Some(session) = &state.session {
            return Attempt::Busy(session.gone.subscribe());
        }
        let (end, ends) = watch::channel(None);
        let begin = state.recording.begin();
        let begins_recording = state.sessions == 0;
        let key = state.recording.key();
        let ledger = Ledger::open(control, key, publisher, begins_recording);
        let meter = Arc::new(Meter::default());
        state.sessions += 1;
        state.channel = Arc::clone(&grant.channel);
        state.session = Some(Session {
            since: ledger.began(),
            publisher: publisher.clone(),
            meter: Arc::clone(&meter),
            end,
            gone: watch::channel(()).0,
        });
        Attempt::Claimed(Claim {
            control: control.clone(),
            slot: self.clone(),
            recording: state.recording.clone(),
            begin,
            channel: Arc::clone(&grant.channel),
            meter,
            ledger,
            end: ends,
        })
    }

    fn tell(&self, ending: Ending) -> bool {
        let state = self.lock();
        let Some(session) = &state.session else {
            return false;
        };
        // The first reason stays.
        session.end.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(ending);
            first
        });
        true
    }
}

impl Claim {
    /// The recording that the session writes.
    pub fn recording(&self) -> &Arc<Recording> {
        &self.recording
    }

    /// The session's way to the disk.
    pub fn disk_writer(&self) -> Writer {
        let folder = self.recording.key().folder();
        self.control.disk().writer(&folder)
    }

    /// The channel as it was when the session began.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Where the session counts what comes.
    pub fn meter(&self) -> &Meter {
        &self.meter
    }

    /// The session's account in the catalog.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// Where the session takes it up.
    pub fn begin(&self) -> Begin {
        self.begin
    }

    /// Waits until the session is told to end, and says why.
    pub fn told_to_end(&self) -> impl Future<Output = Ending> + Send + 'static {
        let mut end = self.end.clone();
        async move {
            loop {
                if let Some(ending) = *end.borrow_and_update() {
                    return ending;
                }
                if end.changed().await.is_err() {
                    // The sender lives in the slot as long as the claim does.
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

/// The session is over: the channel is free, and its recording waits for the reconnect window.
impl Drop for Claim {
    fn drop(&mut self) {
        let sessions = {
            let mut state = self.slot.lock();
            state.session = None;
            state.sessions
        };
        let wait = self.control.reconnect_window_of(&self.channel);
        end_after(&self.control, self.slot.clone(), wait, sessions);
    }
}

/// Ends a slot's recording after `left`, unless it has had another session since `sessions`.
fn end_after(control: &Control, slot: Arc<Slot>, left: Duration, sessions: u64) {
    let control = control.clone();
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        tokio::time::sleep(left).await;
        control
            .registry()
            .end_recording(&control, &slot, Some(sessions))
            .await;
    });
}
