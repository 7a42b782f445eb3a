//! What follows a recording in a remote store: rows and news of segments that the store has
//! confirmed, and the playlists that are published there.
//!
//! Data, then index, then news: with a remote store a segment has its row in the catalog, and is news,
//! when the store has confirmed it, and not before. What is confirmed is read from the recording's
//! own index, so it makes no difference whether this process wrote it or one that was killed.

use super::events::Event;
use super::journal::{Line, compact, trim_of};
use super::shelf::{Playlists, is_behind};
use super::{Control, Inner};
use crate::catalog::{Entry, SegmentRow};
use crate::key::RecordingKey;
use crate::media::Segment;
use crate::store::spool::{Follower, Followers, Published};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How often it is asked whether the catalog has what it was told.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Windows of confirmed segments that stay in the spool, for live viewers who are late.
const WINDOWS_KEPT: usize = 2;

/// Makes what follows each recording; with `publish` its playlists are written into the store too.
pub fn followers(control: &Control, publish: bool) -> Followers {
    let control = Arc::downgrade(&control.0);
    Box::new(move |key| Confirmed::follower(control.clone(), key.clone(), publish).boxed())
}

struct Confirmed {
    /// The spool belongs to control, not the other way round.
    control: Weak<Inner>,
    key: RecordingKey,
    window: usize,
    /// Beginning of the session whose segments are being read.
    session_ms: i64,
    playlists: Option<Playlists>,
}

impl Confirmed {
    async fn follower(control: Weak<Inner>, key: RecordingKey, publish: bool) -> Box<dyn Follower> {
        let window = match control.upgrade() {
            Some(inner) => Control(inner).window_now(&key).await,
            None => 0,
        };
        let playlists = publish.then(|| Playlists::new(&key, window));
        Box::new(Self {
            control,
            key,
            window,
            session_ms: 0,
            playlists,
        })
    }

    fn line(&mut self, line: Line, fresh: bool, control: &Control) {
        match line {
            Line::Session { began_ms, .. } => self.session_ms = began_ms,
            Line::Segment(line) if fresh => {
                let segment = Segment::from(&line);
                control.tell_of_segment(
                    &self.key,
                    &segment,
                    SegmentRow::of(&segment, self.session_ms),
                    line.target_duration_s,
                );
            }
            Line::Lost { number } if fresh => control.backlog().push(Entry::Lost {
                key: self.key.clone(),
                number: i64::try_from(number).unwrap_or(i64::MAX),
            }),
            _ => {}
        }
    }
}

impl Follower for Confirmed {
    fn extend(&mut self, lines: &[u8], fresh: bool) {
        if let Some(inner) = self.control.upgrade() {
            let control = Control(inner);
            for line in lines.split(|byte| *byte == b'\n') {
                if let Ok(line) = serde_json::from_slice(line) {
                    self.line(line, fresh, &control);
                }
            }
        }
        if let Some(playlists) = &mut self.playlists {
            playlists.extend(lines);
        }
    }

    fn current(&mut self) -> Vec<Published> {
        let playlists = self.playlists.as_mut();
        playlists.map(Playlists::current).unwrap_or_default()
    }

    fn settled(&mut self, index: &[u8]) -> Vec<Published> {
        let playlists = self.playlists.as_mut();
        playlists.map_or_else(Vec::new, |playlists| playlists.settled(index))
    }

    fn index(&self, text: Vec<u8>) -> (Vec<u8>, u64) {
        let text = compact(&text).unwrap_or(text);
        let before = trim_of(&text).map_or(0, |trim| trim.before);
        (text, before)
    }

    fn is_behind(&self, ours: &Published, theirs: &[u8]) -> bool {
        is_behind(&self.key, ours, theirs)
    }

    fn keep(&self) -> usize {
        WINDOWS_KEPT * self.window
    }

    fn safe(&self) -> BoxFuture<'static, ()> {
        let (control, key) = (self.control.clone(), self.key.clone());
        let mark = control.upgrade().map(|inner| inner.backlog.mark());
        async move {
            while let (Some(inner), Some(mark)) = (control.upgrade(), mark) {
                if inner.backlog.has_written(mark, &key) && !inner.is_restoring(&key) {
                    return;
                }
                drop(inner);
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        .boxed()
    }
}

impl Control {
    /// Segments in the live playlist of a recording, as its channel is set now. The server's own
    /// number while nobody can say: the catalog must not hold back uploads.
    async fn window_now(&self, key: &RecordingKey) -> usize {
        let channel = match self.live_settings(&key.channel) {
            Some(live) => Ok(live),
            None => self.channel_or_default(&key.channel).await,
        };
        match channel {
            Ok(channel) => self.window_of(&channel),
            Err(error) => {
                tracing::warn!(recording = %key, %error, "the channel's own window is not known; the server's is used");
                self.settings().window_segments
            }
        }
    }

    /// A segment is where it stays, or lost for good: its row and the news of it.
    pub(super) fn tell_of_segment(
        &self,
        key: &RecordingKey,
        segment: &Segment,
        row: SegmentRow,
        target_duration_s: u32,
    ) {
        self.events().send(Event::SegmentStored {
            channel: key.channel.clone(),
            recording: key.recording.clone(),
            number: segment.number,
            duration_ms: segment.duration.as_ms(),
            size: segment.size,
        });
        self.backlog().push(Entry::Segment {
            key: key.clone(),
            row,
            target_duration_s: target_duration_s.into(),
        });
    }
}
