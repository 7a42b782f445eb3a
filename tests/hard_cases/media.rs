//! Tags that no encoder should send, through the whole pure path: what segments they become.
//!
//! Pictures and sounds are a few bytes each, behind configurations of real encoders.

use bytes::Bytes;
use millstream::flv::TagKind;
use millstream::media::{Begin, Duration, Segment, Tracks, WallTime};
use millstream::pipeline::{Effect, Pipeline, Policy, Stats};

const POLICY: Policy = Policy {
    target: Duration::from_secs(2),
    max: Duration::from_secs(10),
    part: Duration::from_ms(500),
};
const NOON: i64 = 1_763_700_000_000;

// ffmpeg 9.0.2, libx264: 320x180 and 160x90
const SPS: &str = "6742c00cda05067e7c0440000003004000000c83c50aa8";
const SPS_SMALL: &str = "6742c00bda0a37e4c044000003000400000300c83c50aa80";
// the same with -x264-params tff=1, 320x180
const SPS_FIELDS: &str = "674d4015f40a19f93011000003000100000300321f142a";
const PPS: &str = "68ce0fc8";
// ffmpeg 9.0.2, libx265: 640x362
const HEVC_RECORD: &str = "0101600000009000000000003ff000fcfdf8f800000f03\
    200001001840010c01ffff01600000030090000003000003003f959409\
    210001002942010101600000030090000003000003003fa005020171f26595952930bc05a02000007d20000ea601\
    22000100064401c073c189";
const IDR: &str = "6588840a";
const I: &str = "4188840a";
const P: &str = "419a22bc";
const RECOVERY: &str = "060601c480";

/// A tag, when it says that it is, and when it comes.
#[derive(Clone)]
struct Tag {
    kind: TagKind,
    at: u32,
    now_ms: i64,
    body: Vec<u8>,
}

fn hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16);
    digits
        .map(|pair| byte(pair).expect("a hexadecimal digit"))
        .collect()
}

fn tag(kind: TagKind, at: u32, body: &str) -> Tag {
    let now_ms = i64::from(at);
    Tag {
        kind,
        at,
        now_ms,
        body: hex(body),
    }
}

fn record(at: u32, sps: &str) -> Tag {
    let set = |set: &str| format!("{:04x}{set}", set.len() / 2);
    let body = format!("17000000000142c00cffe1{}01{}", set(sps), set(PPS));
    tag(TagKind::Video, at, &body)
}

fn picture(at: u32, flag: &str, units: &[&str]) -> Tag {
    let units = units
        .iter()
        .map(|unit| format!("{:08x}{unit}", unit.len() / 2));
    tag(
        TagKind::Video,
        at,
        &format!("{flag}01000000{}", units.collect::<String>()),
    )
}

fn key(at: u32) -> Tag {
    picture(at, "17", &[IDR])
}

/// A picture whose tag says that it is a key frame.
fn key_flagged(at: u32, units: &[&str]) -> Tag {
    picture(at, "17", units)
}

/// The same picture, shown later.
fn shown(mut picture: Tag, later_ms: u8) -> Tag {
    picture.body[4] = later_ms;
    picture
}

fn inter(at: u32) -> Tag {
    picture(at, "27", &[P])
}

/// AAC of 48 kHz, or of 44.1 kHz.
fn sound_record(at: u32, config: &str) -> Tag {
    tag(TagKind::Audio, at, &format!("af00{config}"))
}

fn sound(at: u32) -> Tag {
    tag(TagKind::Audio, at, "af0121004960")
}

/// `seconds` of pictures, 25 a second, with a key frame each `keys` frames.
fn pictures(seconds: u32, keys: u32) -> Vec<Tag> {
    let each = (0..seconds * 25).map(|n| {
        if n % keys == 0 {
            key(n * 40)
        } else {
            inter(n * 40)
        }
    });
    std::iter::once(record(0, SPS)).chain(each).collect()
}

/// The same with sound of 48 kHz, in the order of time.
fn both(seconds: u32, keys: u32) -> Vec<Tag> {
    let mut tags = pictures(seconds, keys);
    let frames = u64::from(seconds) * 48_000 / 1024;
    tags.extend((0..frames).map(|n| sound((n * 1024 / 48) as u32)));
    tags.insert(1, sound_record(0, "1190"));
    tags[2..].sort_by_key(|tag| tag.at);
    tags
}

struct Out {
    segments: Vec<Segment>,
    tracks: Vec<Tracks>,
    bytes: Vec<u8>,
    stats: Stats,
}

fn run(tags: Vec<Tag>) -> Out {
    run_from(Begin::default(), tags)
}

fn run_from(begin: Begin, tags: Vec<Tag>) -> Out {
    run_by(Pipeline::new(POLICY, begin), tags)
}

fn run_by(mut pipeline: Pipeline, tags: Vec<Tag>) -> Out {
    let mut out = Out {
        segments: Vec::new(),
        tracks: Vec::new(),
        bytes: Vec::new(),
        stats: Stats::default(),
    };
    let mut drain = |pipeline: &mut Pipeline| {
        while let Some(effect) = pipeline.poll() {
            match effect {
                Effect::Tracks(tracks) => out.tracks.push(tracks),
                Effect::Write(bytes) => out.bytes.extend(bytes),
                Effect::Segment {
                    segment,
                    target_duration_s,
                } => {
                    let rounded = segment.duration.as_secs_f64().round();
                    assert!(rounded <= f64::from(target_duration_s), "{segment:?}");
                    assert!(segment.duration > Duration::ZERO, "{segment:?}");
                    out.segments.push(segment);
                }
                Effect::Open(_) | Effect::Part(_) => {}
            }
        }
    };
    let mut now = WallTime::from_unix_ms(NOON);
    for tag in tags {
        now = WallTime::from_unix_ms(NOON + tag.now_ms);
        let body = Bytes::from(tag.body).into();
        pipeline
            .push(tag.kind, tag.at, body, now)
            .expect("H.264 and AAC");
        drain(&mut pipeline);
    }
    pipeline.finish(now);
    drain(&mut pipeline);
    out.stats = pipeline.stats().clone();
    out
}

impl Out {
    fn seconds(&self) -> Vec<f64> {
        self.segments
            .iter()
            .map(|segment| segment.duration.as_secs_f64())
            .collect()
    }

    fn total(&self) -> f64 {
        self.seconds().iter().sum()
    }

    fn discontinuities(&self) -> usize {
        self.segments
            .iter()
            .filter(|segment| segment.discontinuity)
            .count()
    }

    fn starts_ms(&self) -> Vec<i64> {
        let date = |segment: &Segment| segment.program_date_time.unix_ms() - NOON;
        self.segments.iter().map(date).collect()
    }
}

/// SRS 4695: a discontinuity for each of these.
#[test]
fn a_repeated_header_changes_nothing() {
    let plain = run(both(10, 50));
    let mut tags = Vec::new();
    for tag in both(10, 50) {
        if tag.at % 2_000 == 40 {
            tags.extend([record(tag.at, SPS), sound_record(tag.at, "1190")]);
        }
        tags.push(tag);
    }
    let repeated = run(tags);
    assert_eq!((repeated.discontinuities(), repeated.tracks.len()), (0, 1));
    assert_eq!(repeated.segments, plain.segments);
}

#[test]
fn a_new_size_begins_behind_a_discontinuity_with_a_key_frame() {
    let mut tags = pictures(12, 50);
    // At 5 s, in the middle of a group: three pictures more, then its key frame at 6 s.
    let at = tags
        .iter()
        .position(|tag| tag.at == 5_000)
        .expect("it is there");
    tags.insert(at, record(5_000, SPS_SMALL));
    let out = run(tags);
    let sizes: Vec<_> = out
        .tracks
        .iter()
        .flat_map(|tracks| &tracks.video)
        .map(|video| (video.width, video.height))
        .collect();
    assert_eq!(sizes, [(320, 180), (160, 90)]);
    assert_eq!(out.discontinuities(), 1);
    let changed = out
        .segments
        .iter()
        .find(|segment| segment.discontinuity)
        .expect("one");
    assert_eq!(changed.start, millstream::media::Timestamp::from_ms(6_000));
    assert!(changed.independent);
    let dropped: u64 = out.stats.dropped.values().sum();
    assert_eq!(
        dropped, 25,
        "those between the header and the key frame: {:?}",
        out.stats.dropped
    );
    assert_eq!(out.stats.video_frames, 300 - 25);
}

/// hls.js of 2026 begins with the tracks of one segment and fails at the first that has another.
#[test]
fn what_changes_at_one_time_does_so_behind_one_discontinuity() {
    for sound_first in [false, true] {
        let mut tags = both(6, 50);
        tags.extend([record(6_000, SPS_SMALL), sound_record(6_000, "1210")]);
        for tag in both(6, 50).into_iter().skip(2) {
            let late = u32::from(tag.kind == TagKind::Video && sound_first) * 100;
            let at = 6_000 + tag.at + late;
            tags.push(Tag { at, ..tag });
        }
        tags.sort_by_key(|tag| tag.at);
        let out = run(tags);
        assert_eq!((out.discontinuities(), out.tracks.len()), (1, 2));
        assert_eq!(out.stats.dropped.len(), 0, "{:?}", out.stats.dropped);
        assert_eq!((out.stats.video_frames, out.stats.audio_frames), (300, 562));
        let mut rest = out.bytes.as_slice();
        for segment in &out.segments {
            let (bytes, behind) = rest.split_at(segment.size as usize);
            rest = behind;
            let starts = |stream: u8| bytes.windows(4).any(|four| four == [0, 0, 1, stream]);
            assert!(starts(0xe0) && starts(0xc0), "both are in {segment:?}");
        }
    }
}

/// Sound does not wait for ever for a key frame that does not come.
#[test]
fn changed_sound_without_a_key_frame_goes_on_alone() {
    let mut tags = both(6, 50);
    tags.extend([record(6_000, SPS_SMALL), sound_record(6_000, "1210")]);
    tags.extend((0..100).map(|n| sound(6_000 + n * 23)));
    // Back to what it was for one frame, which nobody can place any more.
    tags.extend([
        sound_record(8_300, "1190"),
        sound(8_301),
        sound_record(8_302, "1210"),
        sound(8_303),
    ]);
    let out = run(tags);
    assert_eq!(out.stats.audio_frames, 281 + 100 + 1);
    let dropped: Vec<_> = out.stats.dropped.into_iter().collect();
    let reason = "sound between two changes of its parameters".to_owned();
    assert_eq!(dropped, [(reason, 1)]);
}

#[test]
fn intra_refresh_claims_no_independence() {
    let frame = |n: u32| match n {
        0 => key(0),
        n if n % 50 == 0 => picture(n * 40, "17", &[RECOVERY, P]),
        n => inter(n * 40),
    };
    let tags = std::iter::once(record(0, SPS)).chain((0..250).map(frame));
    let out = run(tags.collect());
    let independent: Vec<_> = out
        .segments
        .iter()
        .map(|segment| segment.independent)
        .collect();
    assert_eq!(independent, [true, false, false, false, false]);
    assert_eq!(out.seconds(), [2.0; 5]);
}

/// x264 with open-gop, joined in its middle: what leads the first picture refers to some that never came.
#[test]
fn leading_pictures_of_the_first_group_are_left_out() {
    let of_group = |group: u32| {
        let start = group * 2_000;
        // The key frame is shown after the three that follow it.
        let entry = shown(key_flagged(start, &[RECOVERY, P]), 120);
        let rest = (1..50).map(move |n| match n {
            1..=3 => inter(start + n * 40 - 40),
            n => inter(start + n * 40),
        });
        std::iter::once(entry).chain(rest)
    };
    let tags = std::iter::once(record(0, SPS)).chain((0..5).flat_map(of_group));
    let out = run(tags.collect());
    let dropped: Vec<_> = out.stats.dropped.iter().collect();
    assert_eq!(
        dropped,
        [(&"leading picture of the first open group".to_owned(), &3)]
    );
    assert_eq!(out.stats.video_frames, 250 - 3);
    assert_eq!(out.segments.len(), 5, "{:?}", out.seconds());
    assert!(out.segments.iter().all(|segment| !segment.independent));

    // HEVC: CRA, a leading picture that needs none from before (RADL), two that do (RASL).
    let hevc = |at: u32, later_ms: u8, flag: &str, unit: &str| {
        let body = format!("{flag}010000{later_ms:02x}{:08x}{unit}", unit.len() / 2);
        tag(TagKind::Video, at, &body)
    };
    let config = tag(TagKind::Video, 0, &format!("1c00000000{HEVC_RECORD}"));
    let of_group = |group: u32| {
        let start = group * 2_000;
        let first = [
            hevc(start, 160, "1c", "2a01af"),
            hevc(start + 40, 0, "2c", "0e01d0"),
            hevc(start + 80, 0, "2c", "1201d0"),
            hevc(start + 120, 0, "2c", "1001d0"),
        ];
        let rest = (4..50).map(move |n| hevc(start + n * 40, 0, "2c", "0201d0"));
        first.into_iter().chain(rest)
    };
    let out = run(std::iter::once(config)
        .chain((0..5).flat_map(of_group))
        .collect());
    let dropped: u64 = out.stats.dropped.values().sum();
    assert_eq!((dropped, out.stats.video_frames), (2, 248));
}

/// PAFF: the fields of a picture come in tags of their own, the second intra as well and flagged as key.
#[test]
fn no_cut_comes_between_two_fields() {
    let fields = |n: u32| {
        let (at, keys) = (n * 40, n.is_multiple_of(50));
        let first = if keys { key(at) } else { inter(at) };
        let second = match keys {
            true => key_flagged(at + 20, &[I]),
            false => inter(at + 20),
        };
        [first, second]
    };
    let tags = std::iter::once(record(0, SPS_FIELDS)).chain((0..500).flat_map(fields));
    let out = run(tags.collect());
    assert_eq!(out.seconds(), [2.0; 10]);
    assert!(out.segments.iter().all(|segment| segment.independent));
    assert_eq!(out.stats.video_frames, 1_000);
    let video = out.tracks[0].video.as_ref().expect("pictures");
    assert_eq!((video.width, video.height), (320, 180));
}

/// CEA-608 as broadcast encoders send it (ATSC A/53, GA94): it stays with its picture, untouched.
#[test]
fn captions_stay_with_their_picture() {
    const CAPTION: &str = "06040e b50031 47413934 03 41ff fc9420 ff 80";
    let caption = CAPTION.replace(' ', "");
    let with = |n: u32| match n % 50 {
        0 => picture(n * 40, "17", &[&caption, IDR]),
        _ => picture(n * 40, "27", &[&caption, P]),
    };
    let tags = std::iter::once(record(0, SPS)).chain((0..100).map(with));
    let out = run(tags.collect());
    let start_code = [&[0, 0, 1][..], &hex(&caption)].concat();
    for slice in [IDR, P] {
        let whole = [start_code.as_slice(), &[0, 0, 1], &hex(slice)].concat();
        let found = out.bytes.windows(whole.len()).filter(|at| *at == whole);
        assert_eq!(found.count(), if slice == IDR { 2 } else { 98 });
    }
}

#[test]
fn equal_timestamps_still_make_time() {
    let mut tags = pictures(10, 50);
    for tag in &mut tags[1..] {
        tag.at -= tag.at % 80;
    }
    let out = run(tags);
    assert_eq!((out.stats.video_frames, out.discontinuities()), (250, 0));
    assert!((out.total() - 10.0).abs() < 0.1, "{} s", out.total());
}

#[test]
fn no_key_frame_for_minutes_is_cut_by_force() {
    let out = run(both(180, u32::MAX));
    assert!(out.segments[0].independent);
    assert!(out.segments[1..].iter().all(|segment| !segment.independent));
    assert!(out.segments.len() >= 18, "{:?}", out.seconds());
    assert!((out.total() - 180.0).abs() < 0.1);
    assert_eq!(out.stats.video_frames, 180 * 25);
}

#[test]
fn all_intra_is_cut_at_the_target() {
    let out = run(pictures(20, 1));
    // A frame early is on time.
    let (last, others) = out.segments.split_last().expect("segments");
    let on_time = |segment: &Segment| (1.96..=2.0).contains(&segment.duration.as_secs_f64());
    assert!(others.iter().all(on_time), "{:?}", out.seconds());
    assert!((10..=11).contains(&(others.len() + 1)) && last.independent);
    // 29.97 pictures a second, a key frame each 60th: 2.002 s are the target, not twice of it.
    let frame = |n: u32| (n * 1001 / 30, n.is_multiple_of(60));
    let tags = (0..600)
        .map(frame)
        .map(|(at, is_key)| if is_key { key(at) } else { inter(at) });
    let out = run(std::iter::once(record(0, SPS)).chain(tags).collect());
    assert_eq!(out.segments.len(), 10, "{:?}", out.seconds());
}

#[test]
fn a_gap_is_a_discontinuity_and_the_date_knows() {
    let mut tags = both(12, 50);
    for tag in tags.iter_mut().filter(|tag| tag.at >= 6_000) {
        (tag.at, tag.now_ms) = (tag.at + 8_000, tag.now_ms + 8_000);
    }
    let out = run(tags);
    assert_eq!(out.discontinuities(), 1);
    assert!(
        (out.total() - 12.0).abs() < 0.1,
        "no media, no duration: {:?}",
        out.seconds()
    );
    let (ms, joined): (Vec<_>, Vec<_>) = out
        .starts_ms()
        .into_iter()
        .zip(&out.segments)
        .filter(|(_, s)| s.discontinuity)
        .unzip();
    assert_eq!(joined.len(), 1);
    assert!((13_900..=14_100).contains(&ms[0]), "{ms:?}");
}

/// Its clock stands still for 8 s, as it does with a camera that is paused: no gap in time, and none in
/// the media, but from then on the dates would be 8 s behind.
#[test]
fn a_publisher_that_pauses_its_clock_is_dated_anew() {
    let run = |late: &dyn Fn(u32) -> i64| {
        let mut tags = both(60, 50);
        for tag in &mut tags {
            tag.now_ms += late(tag.at);
        }
        let out = run(tags);
        assert_eq!(out.discontinuities(), 0);
        assert_eq!(out.seconds(), [2.0; 30]);
        let steps = out.starts_ms();
        let steps = steps.windows(2).map(|pair| pair[1] - pair[0] - 2_000);
        let moved = steps.enumerate().filter(|(_, moved)| *moved != 0);
        moved.collect::<Vec<_>>()
    };
    let paused = run(&|at| if at >= 20_000 { 8_000 } else { 0 });
    let [(segment, 7_960..=8_000)] = paused[..] else {
        panic!("one step of 8 s: {paused:?}")
    };
    assert!((14..=16).contains(&segment), "10 s later: {segment}");
    // A network that stands still, and then brings what it held back at twice the speed.
    let stalled = run(&|at| match at {
        20_000..28_000 => i64::from(28_000 - at),
        28_000..36_000 => i64::from(36_000 - at) / 2,
        _ => 0,
    });
    assert_eq!(stalled, []);
    // One that comes and goes, and one that is always a second late from some time on.
    let uneven = run(&|at| i64::from(at % 7_000));
    assert_eq!(uneven, []);
    let later = run(&|at| if at >= 20_000 { 1_000 } else { 0 });
    assert_eq!(later, []);
    // An encoder that is slower than its clock, by a twentieth.
    let slow = run(&|at| i64::from(at) / 20);
    assert_eq!(slow.len(), 1, "{slow:?}");
}

#[test]
fn the_first_timestamp_may_be_anything() {
    for first in [0, 19_999_999, 0x7fff_f000, u32::MAX - 3_000] {
        let mut tags = both(10, 50);
        // Headers are at 0, as ffmpeg with an output offset sends them.
        for tag in &mut tags[2..] {
            tag.at = tag.at.wrapping_add(first);
            // ffmpeg wraps at 31 bits.
            if first == 0x7fff_f000 {
                tag.at &= 0x7fff_ffff;
            }
        }
        let out = run(tags);
        assert_eq!(out.seconds()[..4], [2.0; 4], "{first}");
        assert_eq!(
            (out.discontinuities(), out.segments.len()),
            (0, 5),
            "{first}"
        );
        assert_eq!(out.starts_ms()[0], 0, "{first}");
    }
}

#[test]
fn sound_that_arrives_late_keeps_its_distance() {
    // Right timestamps, 1.5 s late.
    let mut tags = both(12, 50);
    let late = |tag: &Tag| tag.at + if tag.kind == TagKind::Audio { 1_500 } else { 0 };
    tags[2..].sort_by_key(late);
    let sounds = tags.iter().filter(|tag| tag.kind == TagKind::Audio);
    let sounds = sounds.count() as u64 - 1;
    let out = run(tags);
    assert_eq!(out.discontinuities(), 0, "{:?}", out.seconds());
    let lost: u64 = out.stats.dropped.values().sum();
    assert_eq!(
        (out.stats.audio_frames + lost, out.stats.video_frames),
        (sounds, 300)
    );
    assert!(lost <= 80, "{lost} before the first key frame");
}

/// ffmpeg -itsoffset: sound whose times lie a constant distance from those of the pictures it comes with.
#[test]
fn a_constant_distance_of_sound_and_pictures_costs_nothing() {
    let back_with_a_promise = Begin {
        continues: true,
        target_duration_s: Some(2),
        ..Begin::default()
    };
    for skew_ms in [-8_000_i64, -3_000, -1_500, 1_500, 3_000, 8_000] {
        for (begin, joins, sound_first) in [
            (Begin::default(), 0, false),
            (Begin::default(), 0, true),
            (back_with_a_promise, 1, false),
        ] {
            let mut tags = both(20, 50);
            let all = tags.len() - 2;
            if sound_first {
                tags.swap(2, 3);
            }
            // Later than 0, so that there are times before the pictures.
            for tag in &mut tags[2..] {
                let skew_ms = if tag.kind == TagKind::Audio {
                    skew_ms
                } else {
                    0
                };
                tag.at = (i64::from(tag.at) + 10_000 + skew_ms) as u32;
            }
            let out = run_from(begin, tags);
            let what = format!("{skew_ms} ms: {:?} {:?}", out.seconds(), out.stats);
            assert_eq!(out.discontinuities(), joins, "{what}");
            assert_eq!(out.seconds(), [2.0; 10], "{what}");
            let starts: Vec<_> = (0..10).map(|n| n * 2_000).collect();
            assert_eq!(out.starts_ms(), starts, "{what}");
            let muxed = out.stats.video_frames + out.stats.audio_frames;
            assert_eq!(muxed, all as u64, "{what}");
        }
    }
}

/// Two seconds of one track, then two seconds of the other.
#[test]
fn bursts_of_each_track_cost_nothing() {
    for first in [TagKind::Video, TagKind::Audio] {
        let mut tags = both(20, 50);
        let frames = tags.len() as u64 - 2;
        tags[2..].sort_by_key(|tag| (tag.at / 2_000, tag.kind != first, tag.at));
        let out = run(tags);
        let what = format!("{first:?} first: {:?} {:?}", out.seconds(), out.stats);
        assert_eq!(out.discontinuities(), 0, "{what}");
        assert_eq!(out.segments.len(), 10, "{what}");
        assert!((out.total() - 20.0).abs() < 0.05, "{what}");
        assert_eq!(out.stats.video_frames + out.stats.audio_frames, frames);
        assert!(out.segments.iter().all(|segment| segment.independent));
    }
}

/// Four seconds without anything, sound 3 s ahead or behind: one discontinuity, the distance stays.
#[test]
fn a_gap_leaves_the_distance_of_sound_and_pictures() {
    for skew_ms in [-3_000_i64, 3_000] {
        let mut tags = both(12, 50);
        for tag in &mut tags[2..] {
            let late = if tag.at >= 6_000 { 4_000 } else { 0 };
            tag.now_ms += i64::from(late);
            let skew_ms = if tag.kind == TagKind::Audio {
                skew_ms
            } else {
                0
            };
            tag.at = (i64::from(tag.at + late) + 10_000 + skew_ms) as u32;
        }
        let out = run(tags);
        let what = format!("{skew_ms} ms: {:?} {:?}", out.seconds(), out.starts_ms());
        assert_eq!(out.discontinuities(), 1, "{what}");
        assert!((out.total() - 12.0).abs() < 0.1, "{what}");
    }
}

/// 29.97 pictures and 44.1 kHz sound in whole milliseconds, for an hour.
#[test]
fn an_hour_adds_up() {
    let pictures = (0..3600_u64 * 30_000 / 1001).map(|n| (n * 1001 / 30, n));
    let frames = pictures.map(|(at, n)| {
        if n % 60 == 0 {
            key(at as u32)
        } else {
            inter(at as u32)
        }
    });
    let sounds = (0..3600_u64 * 44_100 / 1024).map(|n| sound((n * 10_240 / 441) as u32));
    let mut tags: Vec<_> = [record(0, SPS), sound_record(0, "1210")]
        .into_iter()
        .chain(frames)
        .chain(sounds)
        .collect();
    tags[2..].sort_by_key(|tag| tag.at);
    let out = run(tags);
    assert_eq!(out.discontinuities(), 0);
    assert!((out.total() - 3600.0).abs() < 0.05, "{} s", out.total());
    // Dates go with the media, all the way.
    let mut at = 0.0;
    for (segment, ms) in out.segments.iter().zip(out.starts_ms()) {
        assert!(
            (at * 1000.0 - ms as f64).abs() < 2.0,
            "{segment:?} at {at} s"
        );
        at += segment.duration.as_secs_f64();
    }
}

#[test]
fn ten_thousand_frames_a_second_are_bounded() {
    let frames = (0..50_000_u32).map(|n| {
        if n % 5_000 == 0 {
            key(n / 10)
        } else {
            inter(n / 10)
        }
    });
    let out = run(std::iter::once(record(0, SPS)).chain(frames).collect());
    assert_eq!((out.stats.video_frames, out.discontinuities()), (50_000, 0));
    assert!(
        out.bytes.len() < 50_000 * 3 * 188,
        "{} bytes",
        out.bytes.len()
    );
}

/// A segment that grows too large is cut where it stands, and claims no independence for what follows.
#[test]
fn a_segment_of_too_many_bytes_is_cut() {
    const MAX: u64 = 100_000;
    let picture = |n: u32| {
        let size = "ab".repeat(20_000);
        match n % 250 {
            0 => picture(n * 40, "17", &[&format!("{IDR}{size}")]),
            _ => picture(n * 40, "27", &[&format!("{P}{size}")]),
        }
    };
    let tags: Vec<_> = std::iter::once(record(0, SPS))
        .chain((0..100).map(picture))
        .collect();
    let whole = run(tags.clone());
    assert_eq!(whole.segments.len(), 1);
    let pipeline = Pipeline::new(POLICY, Begin::default()).with_segment_bytes_max(MAX);
    let out = run_by(pipeline, tags);
    let one = 22_000;
    for segment in &out.segments {
        assert!(segment.size <= MAX + one, "{segment:?}");
        assert!(!segment.discontinuity && segment.independent == (segment.number == 0));
    }
    assert_eq!(out.stats.video_frames, 100);
    assert!((out.total() - 4.0).abs() < 0.001, "{:?}", out.seconds());
}

#[test]
fn one_frame_is_a_segment_and_a_configuration_is_none() {
    assert!(
        run(vec![record(0, SPS), sound_record(0, "1190")])
            .segments
            .is_empty()
    );
    let out = run(vec![record(0, SPS), key(0)]);
    assert_eq!((out.segments.len(), out.stats.video_frames), (1, 1));
    assert!(out.bytes.len() > 2 * 188);
}
