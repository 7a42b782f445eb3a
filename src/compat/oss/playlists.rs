//! Playlists as this API writes them: beside their segments, which are named by their time.

use super::Oss;
use super::channels::{self, frag_count_of};
use super::error::{Code, Error};
use super::names::{self, Range};
use super::service::Call;
use crate::clock;
use crate::control;
use crate::control::channels::Channel;
use crate::control::hubs::Hub;
use crate::control::ranges::RangeKind;
use crate::control::recording::Recent;
use crate::control::settings::ChannelSettings;
use crate::control::timeline::Placed;
use crate::http::Representation;
use crate::id::{ChannelId, ChannelName, RecordingId};
use axum::response::{IntoResponse, Response};
use hyper::header::ETAG;
use hyper::{HeaderMap, StatusCode};
use std::fmt::Write;

const TYPE: &str = "application/x-mpegURL";
/// Segments of one playlist: a day of those of one second, the shortest, and some.
const SEGMENTS_MAX: usize = 100_000;
/// Posted playlists that a page of a listing looks at; more than it shows.
const CLIPS_MAX: usize = 1_000;
/// Media sequence numbers of live playlists count on from recording to recording: each recording's
/// begin with the quarters of a second from then (2020) to its beginning.
const NUMBERS_FROM_MS: i64 = 1_577_836_800_000;
const NUMBERS_MS: i64 = 250;

/// A segment as a playlist names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    unix_ms: i64,
    duration_ms: i64,
    discontinuity: bool,
}

impl Oss {
    pub(super) async fn post_vod_playlist(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let key = &call.target.key;
        let (channel, name) = key.split_once('/').unwrap_or((key, ""));
        let id = names::channel(&hub.name, channel)?;
        names::vod_playlist(name)?;
        let range = Range::parse(&call.target.query)?;
        self.control().channel(&id).await?;
        let placed = self.placed(&id, millis(range)).await?;
        let newest = placed.last().map_or(0, unix_ms_of);
        // What is pushed later is not in a playlist that was written now.
        let end_ms = millis(range)
            .end
            .min(newest.max(clock::now().unix_ms()) + 1);
        let text = vod_text(&placed);
        let range = millis(range).start..end_ms;
        let clip = clip_name(name)?;
        self.control()
            .put_range(&call.by, RangeKind::Clip, &id, clip, range)
            .await?;
        let written = Representation::of_text(text, TYPE, "", &HeaderMap::new()).await;
        Ok((StatusCode::OK, [(ETAG, written.etag())]).into_response())
    }

    pub(super) async fn get_vod_playlist(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let id = names::channel(&hub.name, &call.target.key)?;
        let range = Range::parse(&call.target.query)?;
        self.control().channel(&id).await?;
        let placed = self.placed(&id, millis(range)).await?;
        Ok(respond(call, vod_text(&placed)).await)
    }

    /// The playlist that an object's name means: the live one, or a posted one.
    pub(super) async fn get_playlist(
        &self,
        call: &Call<'_>,
        id: &ChannelId,
        name: &str,
    ) -> Result<Response, Error> {
        let channel = self.control().channel(id).await;
        let channel = channel.map_err(|error| missing(error, call))?;
        let text = self.playlist_text(&channel, name).await?;
        let text = text.ok_or_else(|| Error::no_such_key(&call.target.key))?;
        Ok(respond(call, text).await)
    }

    /// Whether there is a live playlist of this name.
    pub(super) async fn is_live_playlist(&self, id: &ChannelId, name: &str) -> Result<bool, Error> {
        let channel = match self.control().channel(id).await {
            Ok(channel) => channel,
            Err(control::Error::NoChannel(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let named = channels::is_live_playlist(&channel.settings, name);
        Ok(named && self.control().recent(id).await?.is_some())
    }

    /// The text of the channel's playlist of this name, if there is one now.
    async fn playlist_text(&self, channel: &Channel, name: &str) -> Result<Option<String>, Error> {
        if channels::is_live_playlist(&channel.settings, name) {
            let recent = self.control().recent(&channel.id).await?;
            return Ok(recent.and_then(|recent| live_text(&recent, &channel.settings)));
        }
        let Ok(clip) = ChannelName::new(name) else {
            return Ok(None);
        };
        let range = match self
            .control()
            .range(RangeKind::Clip, &channel.id, &clip)
            .await
        {
            Ok(clip) => clip.range,
            Err(control::Error::NoRange(..)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        match self.placed(&channel.id, range).await {
            Ok(placed) => Ok(Some(vod_text(&placed))),
            Err(error) if error.code == Code::InvalidArgument => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The names of a channel's playlists after `after`, with when each was changed last, in
    /// milliseconds since the Unix epoch.
    pub(super) async fn playlist_names(
        &self,
        channel: &Channel,
        after: &str,
    ) -> Result<Vec<(String, i64)>, Error> {
        let clips = self
            .control()
            .ranges(RangeKind::Clip, &channel.id, Some(after), CLIPS_MAX)
            .await?;
        let clips = clips.into_iter();
        let mut names: Vec<_> = clips
            .filter(|clip| names::vod_playlist(clip.name.as_str()).is_ok())
            .filter(|clip| !channels::is_live_playlist(&channel.settings, clip.name.as_str()))
            .map(|clip| (clip.name.to_string(), clip.created_ms))
            .collect();
        let recent = self.control().recent(&channel.id).await?;
        let newest = recent.as_ref().and_then(|recent| recent.segments.last());
        if let Some(newest) = newest {
            let changed_ms = newest.program_date_time.unix_ms() + newest.duration.as_ms();
            let live = channels::live_playlists(&channel.settings);
            names.extend(live.map(|name| (name.to_owned(), changed_ms)));
        }
        Ok(names)
    }

    /// Entity tag and size of a playlist, if there is one of this name.
    pub(super) async fn playlist_facts(
        &self,
        channel: &Channel,
        name: &str,
    ) -> Result<Option<(String, u64)>, Error> {
        let Some(text) = self.playlist_text(channel, name).await? else {
            return Ok(None);
        };
        let size = text.len() as u64;
        let written = Representation::of_text(text, TYPE, "", &HeaderMap::new()).await;
        Ok(Some((written.etag().to_owned(), size)))
    }

    /// The segments that begin in a range; at least one.
    async fn placed(
        &self,
        id: &ChannelId,
        range: std::ops::Range<i64>,
    ) -> Result<Vec<Placed>, Error> {
        let placed = self
            .control()
            .segments_between(id, range, SEGMENTS_MAX)
            .await?;
        match placed.iter().any(|placed| !placed.segment.gap) {
            true => Ok(placed),
            false => {
                let message = "No ts file found in specified time span.";
                Err(Error::argument("endTime", "", "0044-00000308", message))
            }
        }
    }
}

/// A clip of the name of a posted playlist.
fn clip_name(name: &str) -> Result<ChannelName, Error> {
    ChannelName::new(name).map_err(|error| {
        let message = format!("This server does not take that name: {error}.");
        Error::argument("playlistName", name, "0044-00000403", message)
    })
}

/// An object that is not there for want of its channel is an object that is not there.
fn missing(error: control::Error, call: &Call<'_>) -> Error {
    match error {
        control::Error::NoChannel(_) => Error::no_such_key(&call.target.key),
        other => other.into(),
    }
}

async fn respond(call: &Call<'_>, text: String) -> Response {
    let headers = &call.parts.headers;
    let found = Representation::of_text(text, TYPE, call.ask(), headers).await;
    found.respond(&call.parts.method, headers).await
}

/// Both seconds are within.
fn millis(range: Range) -> std::ops::Range<i64> {
    range.start_s * 1000..range.end_s * 1000 + 1000
}

fn unix_ms_of(placed: &Placed) -> i64 {
    placed.segment.program_date_time.unix_ms()
}

/// The name of a segment beside its playlists.
pub(super) fn segment_name(unix_ms: i64) -> String {
    format!("{unix_ms}.ts")
}

/// The entity tag of a segment: its name stands for its bytes.
pub(super) fn segment_etag(recording: &RecordingId, number: u64, size: u64) -> String {
    format!("\"{recording}-{number:x}-{size:x}\"")
}

/// The time in a segment's name.
pub(super) fn segment_time(name: &str) -> Option<i64> {
    let unix_ms: i64 = name.strip_suffix(".ts")?.parse().ok()?;
    (segment_name(unix_ms) == name).then_some(unix_ms)
}

/// The live playlist: the newest segments, as many as the channel's setting says.
fn live_text(recent: &Recent, settings: &ChannelSettings) -> Option<String> {
    let count = usize::try_from(frag_count_of(settings)).ok()?;
    let skipped = recent.segments.len().saturating_sub(count);
    let (old, shown) = recent.segments.split_at(skipped);
    let first = shown.first()?;
    let began_ms = recent.recording.recording.unix_ms();
    let base = u64::try_from((began_ms - NUMBERS_FROM_MS).div_euclid(NUMBERS_MS)).unwrap_or(0);
    let before = old.iter().filter(|segment| segment.discontinuity).count() as u64;
    let lines = shown.iter().map(|segment| {
        (!segment.gap).then(|| Line {
            unix_ms: segment.program_date_time.unix_ms(),
            duration_ms: segment.duration.as_ms(),
            discontinuity: segment.discontinuity,
        })
    });
    Some(render(&Playlist {
        media_sequence: base.saturating_add(first.number),
        discontinuity_sequence: recent.discontinuity_sequence + before,
        target_duration_s: i64::from(recent.target_duration_s),
        lines: joined(lines),
        ended: recent.ended,
    }))
}

/// The playlist of a range, which is whole. A change of recording is a discontinuity.
fn vod_text(placed: &[Placed]) -> String {
    let mut recording = None;
    let lines = placed.iter().map(|placed| {
        let other = recording.replace(&placed.recording) != Some(&placed.recording);
        let segment = &placed.segment;
        (!segment.gap).then(|| Line {
            unix_ms: unix_ms_of(placed),
            duration_ms: segment.duration.as_ms(),
            discontinuity: segment.discontinuity || other,
        })
    });
    let mut lines = joined(lines);
    if let Some(first) = lines.first_mut() {
        first.discontinuity = false;
    }
    render(&Playlist {
        media_sequence: 0,
        discontinuity_sequence: 0,
        target_duration_s: 1,
        lines,
        ended: true,
    })
}

/// Lines without the gaps between them; what follows a gap does not continue.
fn joined(lines: impl Iterator<Item = Option<Line>>) -> Vec<Line> {
    let mut after_gap = false;
    let lines = lines.filter_map(|line| {
        let gap = std::mem::replace(&mut after_gap, line.is_none());
        let mut line = line?;
        line.discontinuity |= gap;
        Some(line)
    });
    lines.collect()
}

/// What a playlist says.
struct Playlist {
    media_sequence: u64,
    discontinuity_sequence: u64,
    /// At least.
    target_duration_s: i64,
    lines: Vec<Line>,
    ended: bool,
}

fn render(playlist: &Playlist) -> String {
    let rounded = |line: &Line| (line.duration_ms + 500).div_euclid(1000);
    let longest = playlist.lines.iter().map(rounded).max().unwrap_or(0);
    let target = longest.max(playlist.target_duration_s);
    let mut text = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        playlist.media_sequence
    );
    // Writing to a String cannot fail.
    if playlist.discontinuity_sequence > 0 {
        let sequence = playlist.discontinuity_sequence;
        let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{sequence}");
    }
    let _ = writeln!(text, "#EXT-X-TARGETDURATION:{target}");
    for line in &playlist.lines {
        if line.discontinuity {
            text += "#EXT-X-DISCONTINUITY\n";
        }
        let (s, ms) = (line.duration_ms / 1000, line.duration_ms % 1000);
        let _ = writeln!(text, "#EXTINF:{s}.{ms:03},\n{}", segment_name(line.unix_ms));
    }
    if playlist.ended {
        text += "#EXT-X-ENDLIST\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(unix_ms: i64, duration_ms: i64, discontinuity: bool) -> Line {
        Line {
            unix_ms,
            duration_ms,
            discontinuity,
        }
    }

    #[test]
    fn a_playlist_names_segments_by_their_time() {
        let text = render(&Playlist {
            media_sequence: 0,
            discontinuity_sequence: 0,
            target_duration_s: 1,
            lines: vec![
                line(1_933_394_400_120, 5_120, false),
                line(1_933_394_405_240, 5_500, true),
            ],
            ended: true,
        });
        assert_eq!(
            text,
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:6\n\
             #EXTINF:5.120,\n1933394400120.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:5.500,\n\
             1933394405240.ts\n#EXT-X-ENDLIST\n"
        );
        let (_, back) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
        assert_eq!((back.segments.len(), back.end_list), (2, true));
    }

    #[test]
    fn what_follows_a_gap_does_not_continue() {
        let lines = [Some(line(0, 1, false)), None, None, Some(line(3, 1, false))];
        let found = joined(lines.into_iter());
        assert_eq!(found, [line(0, 1, false), line(3, 1, true)]);
        let found = joined([None, Some(line(3, 1, false))].into_iter());
        assert_eq!(found, [line(3, 1, true)]);
    }

    #[test]
    fn a_segment_has_one_name() {
        assert_eq!(segment_time("1933394400120.ts"), Some(1_933_394_400_120));
        for bad in [
            "x.ts",
            "1933394400120",
            "01.ts",
            "+1.ts",
            "1.ts/",
            ".ts",
            "1e3.ts",
        ] {
            assert_eq!(segment_time(bad), None, "{bad}");
        }
    }

    /// The newest segments of a recording that began at `began_ms`, two seconds each.
    fn recent(began_ms: i64, numbers: std::ops::Range<u64>, gap: Option<u64>) -> Recent {
        use crate::key::RecordingKey;
        use crate::media::{Duration, Segment, Timestamp, WallTime};
        let segment = |number: u64| Segment {
            number,
            start: Timestamp::ZERO,
            program_date_time: WallTime::from_unix_ms(began_ms + 2_000 * number as i64),
            duration: Duration::from_ms(2_000),
            size: 1,
            discontinuity: number == 5,
            independent: true,
            gap: gap == Some(number),
            parts: Vec::new(),
        };
        Recent {
            recording: RecordingKey {
                channel: ChannelId::new("demo-bucket", "cam").expect("names"),
                recording: RecordingId::at(began_ms, 1),
            },
            segments: numbers.map(segment).collect(),
            discontinuity_sequence: 1,
            target_duration_s: 2,
            ended: false,
        }
    }

    #[test]
    fn a_live_playlist_shows_the_newest_and_its_numbers_grow() {
        let settings = ChannelSettings {
            window: Some(3),
            ..ChannelSettings::default()
        };
        let live = |recent: &Recent| live_text(recent, &settings).expect("segments");
        let base = NUMBERS_FROM_MS + 1_000_000;
        let text = live(&recent(base, 4..8, None));
        assert_eq!(
            text,
            format!(
                "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:4005\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n\
                 #EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\n{}.ts\n#EXTINF:2.000,\n{}.ts\n\
                 #EXTINF:2.000,\n{}.ts\n",
                base + 10_000,
                base + 12_000,
                base + 14_000
            )
        );
        let (_, back) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
        assert_eq!(back.discontinuity_sequence, 1);
        // The discontinuity has left the window.
        let later = live(&recent(base, 5..9, None));
        assert!(later.contains("DISCONTINUITY-SEQUENCE:2\n") && !later.contains("DISCONTINUITY\n"));
        // A recording after this one.
        let next = live(&recent(base + 20_000, 0..1, None));
        assert!(next.contains("#EXT-X-MEDIA-SEQUENCE:4080\n"), "{next}");
        let none = recent(base, 0..0, None);
        assert_eq!(live_text(&none, &settings), None);
    }

    #[test]
    fn a_range_over_two_recordings_is_one_playlist() {
        let placed = |recent: Recent| {
            let recording = recent.recording.clone();
            let segments = recent.segments.into_iter();
            segments.map(move |segment| Placed {
                recording: recording.clone(),
                segment,
            })
        };
        let one = recent(1_795_238_000_000, 1..3, Some(1));
        let two = recent(1_795_239_000_000, 0..1, None);
        let all: Vec<_> = placed(one).chain(placed(two)).collect();
        assert_eq!(
            vod_text(&all),
            "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:2\n#EXTINF:2.000,\n\
             1795238004000.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000,\n1795239000000.ts\n#EXT-X-ENDLIST\n"
        );
    }
}
