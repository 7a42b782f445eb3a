//! Drives one RTMP connection: from its publish to its end.
//!
//! Carries out the effects of the pipeline in their order, on the disk, in the recording's index and
//! in its playlists. Decides nothing about protocol, media or rights: it asks those who do.

mod output;
mod quota;
mod told;

pub use output::GATHERED_MAX;
pub use quota::Quota;

use crate::clock;
use crate::control::Control;
use crate::control::auth::{Asked, Denied, Door, Presented};
use crate::control::journal::Line;
use crate::control::live::{Claim, Ending, Publisher};
use crate::control::meter::{Counts, Kind, Taken};
use crate::flv::{self, TagKind};
use crate::id::ChannelId;
use crate::media::{Rope, WallTime};
use crate::metrics;
use crate::net::{
    self, Accepted, Budget, Connection, Event, Message, MessageKind, Pace, Place, Progress,
    PublishRequest, Refusal, StreamId, Timeouts,
};
use crate::pipeline::{Blocks, Pipeline, Policy};
use output::Output;
use quota::{Account, Excess, Verdict};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// After a refusal a connection waits so long before it says so: whoever tries keys tries slowly.
const REFUSAL_DELAY: Duration = Duration::from_millis(200);

/// How long a publisher that knows how to connect anew, and was asked to, may take to go: it ends at
/// a place of its choice, and begins elsewhere before it does.
const RECONNECT: Duration = Duration::from_secs(3);

/// What a publisher had sent when it was told to go is still taken: what comes within this time, and
/// if there is always more, this is the end of it.
const READ_OUT: Duration = Duration::from_millis(50);
const READ_OUT_MAX: Duration = Duration::from_millis(500);

/// What publishing is told by the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lengths of segments and parts.
    pub policy: Policy,
    /// How long a peer may take.
    pub timeouts: Timeouts,
    /// Largest RTMP message in bytes.
    pub message_max: usize,
    /// How much a publisher may send.
    pub quota: Quota,
}

/// What all connections have in common. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shared {
    /// When they are read.
    pub pace: Pace,
    /// Memory for what they send.
    pub budget: Budget,
    /// Memory for what is made of it.
    pub blocks: Blocks,
}

/// Why a session ended. Written into the log and the recording's index.
#[derive(Debug)]
enum End {
    /// The encoder said so.
    Stopped,
    /// The encoder hung up without saying so.
    HungUp,
    /// The server ended it.
    Told(Ending),
    /// It sent more than it may.
    TooMuch(Excess),
    /// The stream cannot be packaged.
    Media(flv::Error),
    /// Protocol, socket or time.
    Failed(net::Error),
}

/// Serves one connection until it ends; `door` decides what it may publish. Whatever it does,
/// nobody else notices. Unless it publishes it ends with `leave`.
pub async fn serve(
    control: Control,
    door: Arc<dyn Door>,
    settings: Settings,
    shared: Shared,
    accepted: Accepted,
    leave: CancellationToken,
) {
    let Accepted {
        stream,
        peer,
        place,
        since,
    } = accepted;
    let config = net::Config {
        message_size_max: settings.message_max,
        ..net::Config::default()
    };
    let _open = metrics::RTMP_CONNECTIONS.hold();
    let timeouts = settings.timeouts;
    let Shared {
        pace,
        budget,
        blocks,
    } = shared;
    let mut connection = Connection::new(stream, peer, since, config, timeouts, pace, budget);
    let displaced = place.displaced();
    tokio::pin!(displaced);
    let mut published = false;
    loop {
        let event = tokio::select! {
            event = connection.next() => event,
            () = leave.cancelled() => break,
            () = &mut displaced => {
                tracing::debug!(remote = %peer, stage = ?connection.stage(), "closed: it made room for another");
                break;
            }
        };
        match event {
            Ok(Some(Event::Publish(request))) => {
                published = true;
                if !publish(
                    &control,
                    &*door,
                    (settings, &blocks),
                    &mut connection,
                    &place,
                    request,
                )
                .await
                {
                    break;
                }
            }
            Ok(Some(Event::Connected(_))) => place.reached(Progress::Greeted),
            Ok(Some(_)) => {}
            Ok(None) => {
                if !published && connection.received() > 0 && place.may_tell() {
                    let stage = connection.stage();
                    tracing::warn!(remote = %peer, ?stage, "connection closed before it published: the peer hung up");
                }
                break;
            }
            Err(error) => {
                if place.may_tell() {
                    tracing::warn!(remote = %peer, %error, "connection closed before it published");
                }
                break;
            }
        }
    }
    connection.close().await;
    drop(place);
}

/// One publish, from the request to its end; false if the connection is done with.
async fn publish(
    control: &Control,
    door: &dyn Door,
    (settings, blocks): (Settings, &Blocks),
    connection: &mut Connection,
    place: &Place,
    request: PublishRequest,
) -> bool {
    let remote = connection.peer();
    let stream = request.stream;
    let shown = Presented::new(request.query.iter());
    let publisher = Publisher {
        remote: remote.to_string(),
        encoder: request.encoder.clone(),
    };
    let asked = Asked {
        host: request.host.as_deref(),
        app: &request.app,
        name: &request.name,
        shown: &shown,
        from: remote.ip(),
    };
    let granted = door.may_publish(&asked).await.and_then(|grant| {
        control.may_publish_from(&grant, remote.ip())?;
        Ok(grant)
    });
    let (refusal, why) = match granted {
        Err(denied) => {
            tokio::time::sleep(REFUSAL_DELAY).await;
            let refusal = match denied {
                // What encoders that are made for that API expect.
                Denied::Foreign(_) => Refusal::BadName,
                _ => Refusal::Denied,
            };
            (refusal, denied.to_string())
        }
        Ok(grant) => match control.claim(&grant, &publisher).await {
            Err(refused) => (Refusal::BadName, refused.to_string()),
            Ok(claim) => {
                connection.accept(stream);
                place.reached(Progress::Settled);
                return Publishing::begin(claim, (settings, blocks), &request, remote)
                    .await
                    .run(connection, stream)
                    .await;
            }
        },
    };
    tracing::warn!(%remote, hub = request.app, channel = request.name, encoder = request.encoder, why, "publish refused");
    metrics::REFUSED.add(1);
    connection.reject(stream, refusal, &why);
    false
}

/// A running session.
struct Publishing {
    claim: Claim,
    channel: ChannelId,
    remote: SocketAddr,
    output: Output,
    pipeline: Pipeline,
    account: Account,
    /// When the bytes came that are being taken.
    now: WallTime,
    /// The same by the clock that is never set.
    at: std::time::Instant,
    /// What the meter does not know yet.
    taken: Vec<Taken>,
}

impl Publishing {
    async fn begin(
        claim: Claim,
        (settings, blocks): (Settings, &Blocks),
        request: &PublishRequest,
        remote: SocketAddr,
    ) -> Self {
        let recording = claim.recording().clone();
        let key = recording.key();
        let begin = claim.begin();
        tracing::info!(
            channel = %key.channel, recording = %key.recording, %remote,
            encoder = request.encoder, continues = begin.continues, "publish started"
        );
        metrics::SESSIONS.add(1);
        let ledger = claim.ledger().clone();
        let began = ledger.began();
        let node = Some(ledger.node());
        let mut output = Output::new(claim.disk_writer(), recording.clone(), ledger);
        if !begin.continues {
            output.note(&Line::recording(key.channel.to_string(), began));
        }
        output.note(&Line::Session {
            began_ms: began.unix_ms(),
            remote: remote.to_string(),
            encoder: request.encoder.clone(),
            node,
        });
        Self {
            channel: key.channel.clone(),
            remote,
            output,
            account: Account::new(quota_of(&claim, settings.quota), clock::monotonic()),
            pipeline: Pipeline::new(policy_of(&claim, settings.policy), begin)
                .with_blocks(blocks.clone()),
            now: clock::now(),
            at: clock::monotonic(),
            taken: Vec::new(),
            claim,
        }
    }

    /// Takes media until the end; false if the connection is done with.
    async fn run(mut self, connection: &mut Connection, stream: StreamId) -> bool {
        let end = self.take_media(connection, stream).await;
        let again = matches!(end, End::Stopped);
        match &end {
            End::Media(error) => connection.end(stream, Refusal::Rejected, &error.to_string()),
            End::TooMuch(excess) => connection.end(stream, Refusal::Rejected, &excess.to_string()),
            End::Told(Ending::TakenOver) => connection.end(stream, Refusal::BadName, TAKEN_OVER),
            End::Told(Ending::Disabled) => connection.end(stream, Refusal::Denied, DISABLED),
            End::Told(Ending::Deleted) => connection.end(stream, Refusal::Denied, DELETED),
            End::Told(Ending::Kicked) => connection.end(stream, Refusal::Rejected, KICKED),
            End::Told(Ending::Shutdown) => connection.end(stream, Refusal::Shutdown, SHUTDOWN),
            End::Stopped | End::HungUp | End::Failed(_) => {}
        }
        self.finish(&end).await;
        again
    }

    async fn take_media(&mut self, connection: &mut Connection, stream: StreamId) -> End {
        let told = self.claim.told_to_end();
        tokio::pin!(told);
        let mut asked_to_go: Option<Instant> = None;
        let mut told_to_go: Option<(Ending, Instant)> = None;
        loop {
            let event = match connection.poll() {
                Some(event) => Ok(Some(event)),
                None => {
                    self.report();
                    let due = self.pipeline.key_frame_due();
                    let due = told_to_go.map_or(due.map(Into::into), |_| Some(Duration::ZERO));
                    connection.expect(due);
                    let told_at = told_to_go.map(|(_, at)| at);
                    let event = tokio::select! {
                        biased;
                        ending = &mut told, if asked_to_go.or(told_at).is_none() => {
                            let now = clock::monotonic().into();
                            match ending == Ending::Shutdown && connection.ask_to_reconnect(SHUTDOWN) {
                                true => asked_to_go = Some(now),
                                false => told_to_go = Some((ending, now)),
                            }
                            continue;
                        }
                        () = after(asked_to_go, RECONNECT) => return End::Told(Ending::Shutdown),
                        ending = ended(told_to_go, READ_OUT_MAX) => return End::Told(ending),
                        event = connection.next() => event,
                        ending = ended(told_to_go, READ_OUT) => return End::Told(ending),
                        // Nothing more is there at this moment.
                        () = std::future::ready(()), if self.output.is_due() => {
                            self.output.hand_over().await;
                            continue;
                        }
                    };
                    self.now = clock::now();
                    self.at = clock::monotonic();
                    event
                }
            };
            match event {
                Ok(Some(Event::Message(message))) if message.stream == stream => {
                    if let Some(excess) = self.count(&message) {
                        return End::TooMuch(excess);
                    }
                    if let Err(error) = self.take(message).await {
                        return End::Media(error);
                    }
                    if let Err(error) = connection.holds(self.pipeline.held_bytes()) {
                        return End::Failed(error);
                    }
                }
                Ok(Some(Event::Unpublish { stream: of, .. })) if of == stream => {
                    return End::Stopped;
                }
                Ok(Some(Event::Publish(second))) => {
                    connection.reject(
                        second.stream,
                        Refusal::Rejected,
                        "one publish at a time on a connection",
                    );
                }
                Ok(Some(_)) => {}
                Ok(None) => return End::HungUp,
                Err(error) => return End::Failed(error),
            }
        }
    }

    /// What the publisher sent too much of, if that is so for too long.
    fn count(&mut self, message: &Message) -> Option<Excess> {
        let len = message.payload.iter().map(|piece| piece.len()).sum();
        match self.account.take(len, message.timestamp, self.at)? {
            Verdict::End(excess) => Some(excess),
            Verdict::Warn(excess) => {
                let (channel, remote) = (&self.channel, self.remote);
                tracing::warn!(%channel, %remote, %excess, "a publisher sends too much; it will be cut off if it goes on");
                None
            }
        }
    }

    async fn take(&mut self, message: Message) -> Result<(), flv::Error> {
        let kind = match message.kind {
            MessageKind::Audio => TagKind::Audio,
            MessageKind::Video => TagKind::Video,
            MessageKind::Data => TagKind::Data,
        };
        let body = Rope::from(message.payload);
        self.taken.push(Taken {
            kind: match message.kind {
                MessageKind::Audio => Kind::Audio,
                MessageKind::Video => Kind::Video,
                MessageKind::Data => Kind::Data,
            },
            len: body.len(),
            timestamp_ms: message.timestamp,
        });
        let pushed = self.pipeline.push(kind, message.timestamp, body, self.now);
        self.output.carry_out(&mut self.pipeline).await;
        pushed
    }

    /// Tells the meter and the ledger what has come: once for all messages that came at one time.
    fn report(&mut self) {
        if self.taken.is_empty() {
            return;
        }
        let counts = self.counts();
        self.claim.meter().take(&self.taken, self.now, counts);
        self.claim.ledger().counted(counts);
        self.taken.clear();
    }

    fn counts(&self) -> Counts {
        let stats = self.pipeline.stats();
        let key_interval = stats.key_interval.map(crate::media::Duration::as_ms);
        Counts {
            bytes: stats.bytes,
            video_frames: stats.video_frames,
            audio_frames: stats.audio_frames,
            dropped: stats.dropped.values().sum(),
            discontinuities: stats.discontinuities,
            key_interval_ms: key_interval.and_then(|ms| u64::try_from(ms).ok()),
        }
    }

    /// The last segment is written and listed before anybody else may have the channel.
    async fn finish(mut self, end: &End) {
        self.report();
        self.pipeline.finish(clock::now());
        self.output.carry_out(&mut self.pipeline).await;
        self.output.tell(&self.pipeline);
        let stats = self.pipeline.stats();
        let counts = self.counts();
        let dropped = counts.dropped;
        let ended_ms = clock::now().unix_ms();
        self.output.note(&Line::SessionEnd {
            ended_ms,
            reason: end.to_string(),
            counted: counts.into(),
        });
        self.output.finish().await;
        let ledger = self.claim.ledger();
        ledger.close(counts, ended_ms, &end.to_string());
        let (channel, remote) = (&self.channel, self.remote);
        tracing::info!(
            %channel, %remote, reason = %end,
            video_frames = stats.video_frames, audio_frames = stats.audio_frames, bytes = stats.bytes,
            discontinuities = stats.discontinuities, "publish ended"
        );
        if dropped > 0 {
            tracing::warn!(%channel, %remote, dropped, reasons = ?stats.dropped, "frames that are in no segment");
        }
    }
}

const TAKEN_OVER: &str = "another publisher with the same rights took this channel over";
const SHUTDOWN: &str = "the server is stopping";
const DISABLED: &str = "the channel was disabled";
const DELETED: &str = "the channel was deleted";
const KICKED: &str = "this push was ended by the API; a new one is welcome";

/// Waits until so long after that instant; for ever, if there is none.
async fn after(instant: Option<Instant>, time: Duration) {
    match instant {
        Some(at) => tokio::time::sleep_until(at + time).await,
        None => std::future::pending().await,
    }
}

/// Waits until whoever was told to go has had so much time, and says why it goes.
async fn ended(told: Option<(Ending, Instant)>, time: Duration) -> Ending {
    match told {
        Some((ending, at)) => {
            tokio::time::sleep_until(at + time).await;
            ending
        }
        None => std::future::pending().await,
    }
}

/// Lengths of segments and parts: the channel's, where it has its own.
fn quota_of(claim: &Claim, server: Quota) -> Quota {
    let own = claim.channel().settings.bit_rate_max;
    Quota {
        bits: own.unwrap_or(server.bits),
        ..server
    }
}

fn policy_of(claim: &Claim, server: Policy) -> Policy {
    let Some(ms) = claim.channel().settings.segment_duration_ms else {
        return server;
    };
    let target = crate::media::Duration::from_ms(ms.into());
    Policy {
        target,
        max: server.max.max(target),
        part: server.part.min(target),
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("the encoder stopped"),
            Self::HungUp => f.write_str("the encoder hung up"),
            Self::Told(Ending::TakenOver) => f.write_str(TAKEN_OVER),
            Self::Told(Ending::Disabled) => f.write_str(DISABLED),
            Self::Told(Ending::Deleted) => f.write_str(DELETED),
            Self::Told(Ending::Kicked) => f.write_str(KICKED),
            Self::Told(Ending::Shutdown) => f.write_str(SHUTDOWN),
            Self::TooMuch(excess) => excess.fmt(f),
            Self::Media(error) => error.fmt(f),
            Self::Failed(error) => error.fmt(f),
        }
    }
}
