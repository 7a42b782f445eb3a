//! The oracle of "lossless": what was pushed is in the output, frame by frame, at its own time.

use super::clips::Clip;
use super::flv::{self, Wire};
use super::probe::{self, Packet, Packets, Payloads, Reader};
use super::recording::Recording;

/// Ticks of 90 kHz in one millisecond of the wire.
const TICKS_PER_MS: i64 = 90;
/// Audio is re-timed by its samples and may leave the wire's rounded time by this much.
const AUDIO_TOLERANCE: i64 = TICKS_PER_MS;
/// ffmpeg computes the times of the frames inside a PES packet and rounds each.
const READER_ROUNDING: i64 = 4;

/// Demands that `playlist`, a path or URL, holds all frames of `clip`.
pub(crate) fn assert_whole(clip: &Clip, playlist: &str) {
    let (wire, output) = compare(clip, playlist);
    assert_eq!(
        output.video.len(),
        wire.video.len(),
        "{}: video frames",
        clip.name
    );
    assert_eq!(
        output.audio.len(),
        wire.audio.len(),
        "{}: audio frames",
        clip.name
    );
}

/// Demands that `playlist` holds the beginning of `clip` without a hole; returns its length in seconds.
pub(crate) fn assert_beginning(clip: &Clip, playlist: &str) -> f64 {
    let (_, output) = compare(clip, playlist);
    let video = output.video;
    let (first, last) = (
        video.first().expect("there is video"),
        video.last().expect("there is video"),
    );
    (last.dts - first.dts) as f64 / 90_000.0
}

fn compare(clip: &Clip, playlist: &str) -> (Wire, Packets) {
    let path = clip.path();
    let wire = flv::read(&path);
    let output = packets(clip, playlist);
    assert!(
        output.video.len() <= wire.video.len(),
        "{}: more video than was sent",
        clip.name
    );
    assert!(
        output.audio.len() <= wire.audio.len(),
        "{}: more audio than was sent",
        clip.name
    );

    let (video, audio) = codecs(clip);
    let reader = if clip.is_hevc() {
        Reader::Newer
    } else {
        Reader::Debian
    };
    let sent = probe::payloads(reader, &path.to_string_lossy(), video, audio);
    let got = probe::payloads(Reader::Debian, playlist, video, audio);
    assert_eq!(
        (got.video.len(), got.audio.len()),
        (output.video.len(), output.audio.len()),
        "{}: two readers",
        clip.name
    );
    payloads_equal(clip, &sent, &got);

    let origin = video_times(clip, &wire, &output.video);
    audio_times(clip, &wire, &output.audio, origin);
    (wire, output)
}

/// What ffprobe reads from the playlist. Of sound without pictures it reads the segments one after
/// the other instead: through a playlist ffmpeg gives the first two frames the same time, in
/// playlists of its own too.
fn packets(clip: &Clip, playlist: &str) -> Packets {
    if clip.video.is_some() {
        return probe::packets(playlist);
    }
    let joined = tempfile::NamedTempFile::new().expect("the machine has room for temporary files");
    let recording = Recording::of_index(playlist);
    std::fs::write(joined.path(), recording.files.concat()).expect("written");
    probe::packets(&joined.path().to_string_lossy())
}

fn codecs(clip: &Clip) -> (&'static str, &'static str) {
    let video = match clip.video {
        Some(_) if clip.is_hevc() => "hevc",
        Some(_) => "h264",
        None => "",
    };
    let audio = match clip.audio.map(|audio| audio.codec) {
        Some("libmp3lame") => "mp3",
        Some(_) => "aac",
        None => "",
    };
    (video, audio)
}

fn payloads_equal(clip: &Clip, sent: &Payloads, got: &Payloads) {
    for (kind, sent, got) in [
        ("video", &sent.video, &got.video),
        ("audio", &sent.audio, &got.audio),
    ] {
        for (index, (sent, got)) in sent.iter().zip(got).enumerate() {
            assert_eq!(got, sent, "{}: payload of {kind} frame {index}", clip.name);
        }
    }
}

/// Video keeps the wire's time to the tick, up to one constant, which is returned.
fn video_times(clip: &Clip, wire: &Wire, output: &[Packet]) -> Option<i64> {
    let origin = output.first()?.dts - wire.video[0].dts_ms * TICKS_PER_MS;
    for (index, (sent, got)) in wire.video.iter().zip(output).enumerate() {
        let expected = Packet {
            pts: sent.pts_ms * TICKS_PER_MS + origin,
            dts: sent.dts_ms * TICKS_PER_MS + origin,
            key: sent.key,
        };
        assert_eq!(
            *got, expected,
            "{}: video frame {index}, sent as {sent:?}",
            clip.name
        );
    }
    Some(origin)
}

/// Audio keeps it within a millisecond, with the same constant: picture and sound stay together.
fn audio_times(clip: &Clip, wire: &Wire, output: &[Packet], origin: Option<i64>) {
    let differences: Vec<i64> = wire
        .audio
        .iter()
        .zip(output)
        .map(|(ms, got)| got.pts - ms * TICKS_PER_MS)
        .collect();
    let (Some(least), Some(most)) = (differences.iter().min(), differences.iter().max()) else {
        return;
    };
    let origin = origin.unwrap_or((least + most) / 2);
    let allowed = AUDIO_TOLERANCE + READER_ROUNDING;
    let off = (origin - least).max(most - origin);
    assert!(
        off <= allowed,
        "{}: audio is up to {off} ticks off the wire's time ({least}..={most} for {origin})",
        clip.name
    );
    for pair in output.windows(2) {
        assert!(
            pair[0].dts < pair[1].dts,
            "{}: audio goes back from {pair:?}",
            clip.name
        );
    }
}
