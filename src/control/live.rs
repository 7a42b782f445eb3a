//! The registry of channels that are live, and the claim that a session has on one.
//!
//! A channel has at most one session. Whoever claims it next takes over or is refused, by policy;
//! that is decided here and nowhere else. When a session ends, its recording waits for the
//! reconnect window and is ended then.

use super::auth::Grant;
use super::journal::Line;
use super::recording::Recording;
use super::{Control, LiveChannel};
use crate::clock;
use crate::id::{ChannelId, RecordingId};
use crate::key::RecordingKey;
use crate::media::{Begin, WallTime};
use crate::store::Spool;
use crate::store::disk::{WriteError, Writer};
use dashmap::DashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long a session that is taken over has to write what it holds.
const TAKEOVER_MAX: Duration = Duration::from_secs(5);

/// What happens to a second publisher of a live channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// What running publishers send may not find room any more.
    #[error(
        "the store is not reachable and the space for what waits for it is nearly used up; try again later"
    )]
    Full,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
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
}

struct SlotState {
    recording: Arc<Recording>,
    session: Option<Session>,
    /// Sessions so far: a reconnect window that has passed looks whether it is still the newest.
    sessions: u64,
    /// The recording is over; a new push needs a new slot.
    ended: bool,
}

struct Session {
    since: WallTime,
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
                codecs: tracks.codecs,
                resolution: tracks.resolution,
            })
        });
        live.collect()
    }

    /// Lets a session have its channel, as soon as a predecessor has let go.
    pub(super) async fn claim(&self, control: &Control, grant: &Grant) -> Result<Claim, Refused> {
        let channel = grant.channel();
        let deadline = tokio::time::Instant::from_std(clock::monotonic()) + TAKEOVER_MAX;
        loop {
            if self.stopping.load(std::sync::atomic::Ordering::Acquire) {
                return Err(Refused::Stopping);
            }
            if control.disk().spool().is_some_and(Spool::refuses) {
                return Err(Refused::Full);
            }
            let slot = self.slot(control, channel);
            let mut gone = match slot.try_claim(control) {
                Attempt::Claimed(claim) => return Ok(claim),
                Attempt::Over => {
                    self.channels
                        .remove_if(channel, |_, listed| Arc::ptr_eq(listed, &slot));
                    continue;
                }
                Attempt::Busy(gone) => gone,
            };
            if control.second_publisher() == SecondPublisher::Reject {
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
    pub(super) fn take_up(&self, control: &Control, recording: Recording, left: Duration) {
        let channel = recording.key().channel.clone();
        let slot = Arc::new(Slot::new(Arc::new(recording)));
        let older = self.channels.insert(channel, slot.clone());
        if let Some(older) = older {
            end_after(control, older, Duration::ZERO, 0);
        }
        end_after(control, slot, left, 0);
    }

    fn slot(&self, control: &Control, channel: &ChannelId) -> Arc<Slot> {
        let entry = self.channels.entry(channel.clone());
        let fresh = || {
            let recording =
                RecordingId::at(clock::now().unix_ms(), u16::from_le_bytes(clock::random()));
            let channel = channel.clone();
            let recording = control.new_recording(RecordingKey { channel, recording });
            Arc::new(Slot::new(Arc::new(recording)))
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
    fn new(recording: Arc<Recording>) -> Self {
        Self {
            state: Mutex::new(SlotState {
                recording,
                session: None,
                sessions: 0,
                ended: false,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_claim(self: &Arc<Self>, control: &Control) -> Attempt {
        let mut state = self.lock();
        if state.ended {
            return Attempt::Over;
        }
        if let Some(session) = &state.session {
            return Attempt::Busy(session.gone.subscribe());
        }
        let (end, ends) = watch::channel(None);
        state.sessions += 1;
        state.session = Some(Session {
            since: clock::now(),
            end,
            gone: watch::channel(()).0,
        });
        Attempt::Claimed(Claim {
            control: control.clone(),
            slot: self.clone(),
            recording: state.recording.clone(),
            begin: state.recording.begin(),
            end: ends,
        })
    }

    fn tell(&self, ending: Ending) {
        if let Some(session) = &self.lock().session {
            session
                .end
                .send_if_modified(|told| told.replace(ending).is_none());
        }
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
        let window = self.control.reconnect_window();
        end_after(&self.control, self.slot.clone(), window, sessions);
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
