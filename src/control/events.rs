//! News for whoever listens: a short memory of what happened, numbered, so that a listener who was
//! away knows what it missed.

use crate::clock;
use crate::id::{ChannelId, RecordingId};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Events that are remembered: at 500 live channels, four seconds of their segments.
const REMEMBERED: usize = 1024;

/// Something that happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A push began.
    SessionStarted {
        /// Where.
        channel: ChannelId,
        /// Into which recording.
        recording: RecordingId,
        /// Address of the publisher.
        remote: String,
    },
    /// A push ended.
    SessionEnded {
        /// Where.
        channel: ChannelId,
        /// The recording.
        recording: RecordingId,
        /// Why.
        reason: String,
    },
    /// A segment is stored and in the playlist.
    SegmentStored {
        /// Where.
        channel: ChannelId,
        /// The recording.
        recording: RecordingId,
        /// Its number.
        number: u64,
        /// How long it lasts, in milliseconds.
        duration_ms: i64,
        /// Bytes.
        size: u64,
    },
    /// A channel was made or changed.
    ChannelChanged(ChannelId),
    /// A channel was removed.
    ChannelDeleted(ChannelId),
}

/// An event with its number and time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Numbered {
    /// Grows by one with each event; begins anew, higher, when the server does.
    pub id: u64,
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// What.
    pub event: Event,
}

/// What happened lately.
pub struct Events {
    recent: Mutex<Recent>,
    newest: watch::Sender<u64>,
}

struct Recent {
    next: u64,
    events: VecDeque<Numbered>,
}

/// A reader of events. Holds nothing: one that is slow misses some and is told so.
pub struct Listener {
    after: u64,
    newest: watch::Receiver<u64>,
}

/// Listeners at one time; each is a connection that stays.
pub const LISTENERS_MAX: usize = 1_000;

/// What a listener gets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Whether there were events before these that are forgotten.
    pub missed: bool,
    /// In order.
    pub events: Vec<Numbered>,
}

impl Event {
    /// The channel that it is about.
    pub fn channel(&self) -> &ChannelId {
        match self {
            Self::SessionStarted { channel, .. }
            | Self::SessionEnded { channel, .. }
            | Self::SegmentStored { channel, .. }
            | Self::ChannelChanged(channel)
            | Self::ChannelDeleted(channel) => channel,
        }
    }
}

impl Events {
    pub(super) fn new() -> Self {
        // Higher than what a process before this one may have reached at a thousand a second.
        let next = u64::try_from(clock::now().unix_ms()).unwrap_or(1);
        Self {
            recent: Mutex::new(Recent {
                next,
                events: VecDeque::new(),
            }),
            newest: watch::channel(next - 1).0,
        }
    }

    pub(super) fn send(&self, event: Event) {
        let mut recent = self.lock();
        let id = recent.next;
        recent.next += 1;
        if recent.events.len() == REMEMBERED {
            recent.events.pop_front();
        }
        recent.events.push_back(Numbered {
            id,
            at_ms: clock::now().unix_ms(),
            event,
        });
        self.newest.send_replace(id);
    }

    /// Listens to what comes after the event `after`, or from now on; `None`: as many listen as may.
    pub fn listen(&self, after: Option<u64>) -> Option<Listener> {
        if self.newest.receiver_count() >= LISTENERS_MAX {
            return None;
        }
        let newest = self.newest.subscribe();
        let now = *newest.borrow();
        Some(Listener {
            after: after.unwrap_or(now),
            newest,
        })
    }

    /// Waits for what is next.
    pub async fn next(&self, listener: &mut Listener) -> Batch {
        loop {
            let batch = {
                let recent = self.lock();
                let missed = match recent.events.front() {
                    Some(first) => listener.after + 1 < first.id,
                    None => listener.after + 1 < recent.next,
                };
                // A number that was never given is of another life of the server.
                let ahead = listener.after >= recent.next;
                let after = if ahead { 0 } else { listener.after };
                let events = recent.events.iter().filter(|event| event.id > after);
                let events: Vec<_> = events.cloned().collect();
                let before = std::mem::replace(&mut listener.after, recent.next - 1);
                Batch {
                    missed: missed || ahead && before > 0,
                    events,
                }
            };
            if batch.missed || !batch.events.is_empty() {
                return batch;
            }
            if listener.newest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> Event {
        Event::ChannelChanged(ChannelId::new("live", name).expect("a name"))
    }

    #[tokio::test]
    async fn a_listener_resumes_and_knows_what_it_missed() {
        let events = Events::new();
        let mut live = events.listen(None).expect("room");
        events.send(event("a"));
        events.send(event("b"));
        let batch = events.next(&mut live).await;
        assert_eq!((batch.missed, batch.events.len()), (false, 2));
        let first = batch.events[0].id;
        let mut back = events.listen(Some(first)).expect("room");
        let batch = events.next(&mut back).await;
        assert_eq!((batch.missed, batch.events.len()), (false, 1));
        for _ in 0..REMEMBERED {
            events.send(event("c"));
        }
        let batch = events
            .next(&mut events.listen(Some(first)).expect("room"))
            .await;
        assert_eq!((batch.missed, batch.events.len()), (true, REMEMBERED));
        let batch = events
            .next(&mut events.listen(Some(u64::MAX - 1)).expect("room"))
            .await;
        assert_eq!((batch.missed, batch.events.len()), (true, REMEMBERED));
    }

    #[test]
    fn so_many_listen_and_no_more() {
        let events = Events::new();
        let mut all: Vec<_> = (0..LISTENERS_MAX).map(|_| events.listen(None)).collect();
        assert!(all.iter().all(Option::is_some) && events.listen(None).is_none());
        all.pop();
        assert!(events.listen(None).is_some());
    }
}
