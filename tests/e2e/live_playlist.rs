//! Live playlists while time passes: every version against the one before.

use crate::support::clips;
use crate::support::http;
use crate::support::lossless;
use crate::support::playlist::{Media, Multivariant};
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::recording::{Recording, finished, join};
use crate::support::server::Server;
use crate::support::watch::Watch;
use std::thread::sleep;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn reconnects_within_the_window_continue_the_recording() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("hls.segment_duration", "1s"),
        ("hls.segment_max", "2s"),
        ("hls.window", "7"),
        ("hls.reconnect_window", "4s"),
    ];
    let server = Server::start(data.path(), &settings);
    let watch = Watch::start(server.index_url("again"));
    for _ in 0..4 {
        let publisher = ffmpeg_push(
            &clips::SHOW_SHORT_GOP,
            &server.publish_url("again"),
            Speed::RealTime,
        );
        sleep(5 * SECOND);
        drop(publisher);
        sleep(SECOND);
    }
    let recording = finished(&server.index_url("again"));
    let seen = watch.finish();

    assert_eq!(seen.recordings.len(), 1, "one recording");
    let live = &seen.recordings[0];
    assert!(
        live.last.ended,
        "the live playlist ends when the window has passed"
    );
    assert!(live.versions > 10, "{} versions", live.versions);
    assert!(live.last.media_sequence > 0, "the window moves");
    assert!(
        live.last.discontinuity_sequence > 0,
        "discontinuities leave it"
    );
    let vod = &recording.playlist;
    assert_eq!(
        vod.segments
            .iter()
            .filter(|segment| segment.discontinuity)
            .count(),
        3,
        "one for each return"
    );
    assert!(vod.duration() > 16.0, "{} s of 20 s", vod.duration());
}

#[test]
fn a_push_after_the_window_begins_a_recording_of_its_own() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let watch = Watch::start(server.index_url("twice"));
    for _ in 0..2 {
        let publisher = ffmpeg_push(&clips::SHOW, &server.publish_url("twice"), Speed::RealTime);
        sleep(5 * SECOND);
        drop(publisher);
        finished(&server.index_url("twice"));
    }
    let seen = watch.finish();
    assert_eq!(seen.recordings.len(), 2, "two recordings");
    for recording in &seen.recordings {
        assert!(recording.last.ended, "{} has an end", recording.url);
        assert_eq!(recording.last.media_sequence, 0, "{}", recording.url);
    }
}

#[test]
fn a_key_frame_every_ten_seconds_just_works() {
    plays_live(&clips::LONG_GOP);
}

#[test]
fn irregular_key_frames_just_work() {
    plays_live(&clips::OBS_DEFAULT);
}

/// Pushes in real time with the default settings; the watcher sees that nothing changes that may not.
fn plays_live(clip: &clips::Clip) {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let index = server.index_url(clip.name);
    let watch = Watch::start(index.clone());
    let publisher = ffmpeg_push(clip, &server.publish_url(clip.name), Speed::RealTime);
    let output = publisher.finish(Duration::from_secs(u64::from(clip.seconds) + 20));
    assert!(output.status.success(), "{}", output.stderr);
    let recording = finished(&index);
    watch.finish();
    assert!(
        recording.playlist.independent,
        "key frames come in time: nothing is cut by force"
    );
    lossless::assert_whole(clip, &index);
}

#[test]
fn the_multivariant_playlist_tells_what_the_bitstream_says() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let check = |clip: &clips::Clip, codecs: &str, resolution: &str, frame_rate: &str| {
        let url = server.publish_url(clip.name);
        let output = ffmpeg_push(clip, &url, Speed::Max).finish(60 * SECOND);
        assert!(output.status.success(), "{}", output.stderr);
        let index = server.index_url(clip.name);
        let recording = finished(&index);
        let variant =
            Multivariant::parse(&http::get(&index).text()).expect("a multivariant playlist");
        let starts = variant
            .attribute("CODECS")
            .split(',')
            .zip(codecs.split(','));
        assert!(
            starts.clone().count() > 0
                && starts
                    .clone()
                    .all(|(codec, start)| codec.starts_with(start)),
            "{variant:?}"
        );
        assert_eq!(
            variant.attribute("CODECS").matches(',').count(),
            codecs.matches(',').count(),
            "{variant:?}"
        );
        assert_eq!(variant.attribute("RESOLUTION"), resolution, "{variant:?}");
        let rate = |text: &str| text.parse::<f64>().ok();
        let (told, expected) = (rate(variant.attribute("FRAME-RATE")), rate(frame_rate));
        assert_eq!(told, expected, "{variant:?}");

        let bits = |bytes: usize, seconds: f64| 8.0 * bytes as f64 / seconds;
        let sizes = recording.files.iter().map(Vec::len);
        let average = bits(sizes.sum(), recording.playlist.duration());
        let peak = peak(&recording).unwrap_or(average);
        let near = |name: &str, measured: f64| {
            let told: f64 = variant.attribute(name).parse().expect("bits a second");
            assert!(
                (measured * 0.99..measured * 1.25).contains(&told),
                "{}: {name} {told}, measured {measured}",
                clip.name
            );
        };
        near("BANDWIDTH", peak);
        near("AVERAGE-BANDWIDTH", average);
    };
    check(&clips::PLAIN, "avc1.64,mp4a.40.2", "320x180", "25");
    check(&clips::FILM, "avc1.64,mp4a.40.2", "320x180", "23.976");
    check(&clips::SHORT_GOP, "avc1.64,mp4a.40.2", "320x180", "60");
    check(&clips::MP3, "avc1.64,mp4a.40.34", "320x180", "25");
    check(&clips::AUDIO_ONLY, "mp4a.40.2", "", "");
    check(&clips::VIDEO_ONLY, "avc1.64", "320x180", "30");
    check(&clips::HEVC, "hvc1.,mp4a.40.2", "320x180", "25");
}

/// RFC 8216 §4.3.4.2: the largest rate of segments in a row that last between half and one and a half
/// target durations together.
fn peak(recording: &Recording) -> Option<f64> {
    let segments = &recording.playlist.segments;
    let target = f64::from(recording.playlist.target_duration);
    let runs = (0..segments.len()).flat_map(|from| (from..segments.len()).map(move |to| from..=to));
    let rates = runs.filter_map(|run| {
        let seconds: f64 = segments[run.clone()]
            .iter()
            .map(|segment| segment.duration)
            .sum();
        let bytes: usize = recording.files[run].iter().map(Vec::len).sum();
        (0.5 * target..=1.5 * target)
            .contains(&seconds)
            .then_some(8.0 * bytes as f64 / seconds)
    });
    rates.reduce(f64::max)
}

/// How long after its last frame a segment is named, as far as a viewer can tell: the program date
/// time is that of the first frame's arrival, so a segment is complete when its duration has passed
/// since, give or take the publisher's hurry.
#[test]
fn a_segment_is_named_soon_after_it_is_complete() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[]);
    let _publisher = ffmpeg_push(&clips::SHOW, &server.publish_url("soon"), Speed::RealTime);
    let index = server.index_url("soon");
    let variant = crate::support::wait_for("the first playlist", 10 * SECOND, || {
        let reply = http::try_get(&index).filter(|reply| reply.status == 200)?;
        Multivariant::parse(&reply.text()).ok()
    });
    let media_url = join(&index, &variant.uri);
    let mut named = 1;
    let mut delays = Vec::new();
    while delays.len() < 4 {
        let media = Media::parse(&http::get(&media_url).text()).expect("a media playlist");
        if media.segments.len() > named {
            named = media.segments.len();
            let newest = &media.segments[named - 1];
            let began = newest.program_date_time.expect("a program date time");
            let age = chrono::Utc::now()
                .signed_duration_since(began)
                .num_milliseconds() as f64
                / 1000.0;
            delays.push(age - newest.duration);
        }
        sleep(SECOND / 100);
    }
    delays.sort_by(f64::total_cmp);
    eprintln!("seconds from the end of a segment to the playlist that names it: {delays:.3?}");
    assert!(delays[1] < 0.5, "{delays:?}");
}
