//! What the muxer writes, taken apart by [`walker`] and by `mpeg2ts`.

mod walker;

use super::packet::{Adaptation, Payload, PidStream, Ticks33};
use super::{Blocks, Muxer, Packets, salvage};
use crate::media::track::{AudioCodec, VideoCodec};
use crate::media::{AudioConfig, Frame, Rope, Timestamp, TrackKind, Tracks, Unit, VideoConfig};
use bytes::Bytes;
use mpeg2ts::pes::{PesPacketReader, ReadPesPacket};
use mpeg2ts::ts::TsPacketReader;
use proptest::prelude::*;
use std::sync::Arc;
use walker::{Walked, after, walk};

const VIDEO: u16 = 0x100;
const AUDIO: u16 = 0x101;
const SPS: &[u8] = &[0x67, 0x64, 0x00, 0x1f];
const PPS: &[u8] = &[0x68, 0xee];

fn h264() -> VideoConfig {
    VideoConfig {
        codec: VideoCodec::H264,
        parameter_sets: vec![Bytes::from_static(SPS), Bytes::from_static(PPS)],
        width: 1280,
        height: 720,
        frame_rate: None,
        codec_string: "avc1.64001f".into(),
    }
}

fn aac() -> AudioConfig {
    AudioConfig {
        codec: AudioCodec::Aac {
            object_type: 2,
            frequency_index: 3,
            channel_configuration: 2,
        },
        sample_rate: 48_000,
        samples_per_frame: 1024,
        channels: 2,
        codec_string: "mp4a.40.2".into(),
    }
}

fn mp3(sample_rate: u32) -> AudioConfig {
    AudioConfig {
        codec: AudioCodec::Mp3,
        sample_rate,
        samples_per_frame: if sample_rate > 24_000 { 1152 } else { 576 },
        channels: 2,
        codec_string: "mp4a.40.34".into(),
    }
}

fn tracks(video: Option<VideoConfig>, audio: Option<AudioConfig>) -> Tracks {
    Tracks {
        video: video.map(Arc::new),
        audio: audio.map(Arc::new),
    }
}

fn both() -> Tracks {
    tracks(Some(h264()), Some(aac()))
}

/// Bytes that differ from place to place and never look like a start code.
fn noise(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 | 4).collect()
}

/// A picture of one NAL unit of `len` bytes behind a length field, as it comes from FLV.
fn picture(dts: i64, cts: i64, key: bool, len: usize) -> Frame {
    let mut data = vec![0; 4];
    data.extend(noise(len));
    Frame {
        kind: TrackKind::Video,
        pts: Timestamp::from_ticks(dts + cts),
        dts: Timestamp::from_ticks(dts),
        key,
        data: Rope::from(Bytes::from(data)),
        units: [Unit {
            offset: 4,
            len: u32::try_from(len).unwrap(),
        }]
        .into_iter()
        .collect(),
    }
}

fn sound(pts: i64, len: usize) -> Frame {
    Frame {
        kind: TrackKind::Audio,
        pts: Timestamp::from_ticks(pts),
        dts: Timestamp::from_ticks(pts),
        key: true,
        data: Rope::from(Bytes::from(noise(len))),
        units: Default::default(),
    }
}

/// The elementary stream of a picture made by [`picture`].
fn byte_stream(key: bool, len: usize) -> Vec<u8> {
    let mut stream = vec![0, 0, 0, 1, 0x09, 0xf0];
    if key {
        stream.extend([&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS].concat());
    }
    stream.extend([0, 0, 0, 1]);
    stream.extend(noise(len));
    stream
}

fn packets() -> Packets {
    Packets::new(Blocks::default())
}

/// All that was written.
fn bytes(mut packets: Packets) -> Vec<u8> {
    packets.cut();
    let pieces: Vec<_> = std::iter::from_fn(|| packets.next_full()).collect();
    pieces.concat()
}

/// One segment of these frames.
fn segment(tracks: Tracks, frames: &[Frame]) -> Vec<u8> {
    let mut muxer = Muxer::new(tracks);
    let mut out = packets();
    muxer.start_segment(&mut out);
    for frame in frames {
        muxer.write(frame, &mut out);
    }
    muxer.flush(&mut out);
    bytes(out)
}

/// Frames of a constant rate, and audio between them in the order of time.
fn interleaved(
    start: i64,
    seconds: i64,
    fps: i64,
    picture_len: usize,
    sound_len: usize,
) -> Vec<Frame> {
    let pictures = (0..seconds * fps).map(|n| {
        let key = n % (fps * 2) == 0;
        picture(start + n * 90_000 / fps, 0, key, picture_len)
    });
    let sounds = (0..seconds * 90_000 / 1920).map(|n| sound(start + n * 1920, sound_len));
    let mut frames: Vec<_> = pictures.chain(sounds).collect();
    frames.sort_by_key(|frame| (frame.dts, frame.kind));
    frames
}

/// The frames of an ADTS stream, without their headers.
fn adts_frames(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while !stream.is_empty() {
        assert_eq!(stream[..2], [0xff, 0xf1]);
        assert_eq!(stream[2], 0x4c, "LC, 48 kHz");
        let len = usize::from(stream[3] & 3) << 11
            | usize::from(stream[4]) << 3
            | usize::from(stream[5] >> 5);
        frames.push(stream[7..len].to_vec());
        stream = &stream[len..];
    }
    frames
}

/// Everything that was written is there, with its time, in its order.
fn check_frames(frames: &[Frame], walked: &Walked) {
    let wire = |time: Timestamp| (time.ticks() + 900_000).rem_euclid(1 << 33).cast_unsigned();
    let pictures: Vec<_> = frames
        .iter()
        .filter(|f| f.kind == TrackKind::Video)
        .collect();
    assert_eq!(walked.of(VIDEO).count(), pictures.len());
    for (pes, frame) in walked.of(VIDEO).zip(pictures) {
        assert_eq!((pes.pts, pes.dts), (wire(frame.pts), wire(frame.dts)));
        assert_eq!(pes.random_access, frame.key);
        assert!(
            pes.data == byte_stream(frame.key, frame.data.len() - 4),
            "{frame:?}"
        );
    }
    let mut sounds = frames.iter().filter(|f| f.kind == TrackKind::Audio);
    for pes in walked.of(AUDIO) {
        for (n, data) in adts_frames(&pes.data).into_iter().enumerate() {
            let frame = sounds.next().expect("no more than was written");
            let told = (pes.pts + n as u64 * 1920) % (1 << 33);
            assert!(after(told, wire(frame.pts)).abs() <= 90, "{frame:?}");
            assert_eq!(frame.data, Rope::from(Bytes::from(data)));
        }
    }
    assert_eq!(sounds.next(), None, "no less than was written");
}

/// Reads with `mpeg2ts`: number of PES packets and their bytes.
fn stranger(stream: &[u8]) -> (usize, usize) {
    let mut reader = PesPacketReader::new(TsPacketReader::new(stream));
    let (mut count, mut bytes) = (0, 0);
    while let Some(pes) = reader.read_pes_packet().unwrap() {
        count += 1;
        bytes += pes.data.len();
    }
    (count, bytes)
}

fn check(tracks: Tracks, frames: &[Frame]) -> Walked {
    let out = segment(tracks, frames);
    let walked = walk(&out);
    check_frames(frames, &walked);
    walked.check_clock();
    let bytes = walked.pes.iter().map(|pes| pes.data.len()).sum();
    assert_eq!(stranger(&out), (walked.pes.len(), bytes));
    walked
}

#[test]
fn any_payload_fits_its_packets() {
    let table = [
        Adaptation::default(),
        Adaptation {
            random_access: true,
            ..Adaptation::default()
        },
        Adaptation {
            discontinuity: true,
            random_access: false,
            pcr: Some(Ticks33::from(Timestamp::from_ticks(0x1_2345_6789))),
        },
    ];
    for (adaptation, field) in table.into_iter().zip([0, 2, 8]) {
        for (len, is_bounded) in (1..=600).flat_map(|len| [(len, true), (len, false)]) {
            let mut stream = PidStream::new(VIDEO);
            let mut out = packets();
            let data = noise(len);
            let begin = match is_bounded {
                true => Payload::begin,
                false => Payload::begin_unbounded,
            };
            let mut payload = begin(&mut stream, &adaptation, len, &mut out);
            for piece in data.chunks(1 + len / 3) {
                payload.put(piece);
            }
            drop(payload);
            let out = bytes(out);
            let shown = match (len + field) % 184 {
                0 if !is_bounded => 1,
                183 if !is_bounded => 2,
                _ => 0,
            };
            let expected = (len + field + shown).div_ceil(184) * 188;
            assert_eq!(out.len(), expected, "{len} bytes");
            let mut read = Vec::new();
            for (n, packet) in out.chunks(188).enumerate() {
                assert_eq!(packet[..3], [0x47, if n == 0 { 0x41 } else { 0x01 }, 0]);
                assert_eq!(packet[3] & 0x1f, 0x10 | n as u8);
                let skip = if packet[3] & 0x20 == 0 {
                    0
                } else {
                    usize::from(packet[4]) + 1
                };
                assert!(n > 0 || skip >= field);
                read.extend_from_slice(&packet[4 + skip..]);
            }
            assert_eq!(read, data);
        }
    }
}

#[test]
fn pictures_of_any_size_come_back() {
    let overhead = byte_stream(false, 0).len();
    let small = 1..600;
    let around_the_longest_length = 65_500 - overhead..65_560 - overhead;
    for len in small.chain(around_the_longest_length).chain([2_000_000]) {
        for cts in [0, 3000] {
            let frames = [
                picture(0, cts, true, len),
                picture(3000, cts, false, len),
                picture(6000, cts, false, 1),
            ];
            check(both(), &frames);
        }
    }
}

#[test]
fn a_video_pes_tells_its_length_while_it_fits() {
    let overhead = byte_stream(false, 0).len();
    for payload in 65_515..=65_541 {
        for (cts, header) in [(0, 8), (3000, 13)] {
            let frames = [picture(0, cts, false, payload - overhead)];
            let walked = check(both(), &frames);
            let length = payload + header;
            let expected = if length > 65_535 { 0 } else { length };
            assert_eq!(walked.pes[0].declared, expected);
        }
    }
}

/// A killed server leaves a segment that ends with any packet: what is kept of it ends with a picture.
#[test]
fn the_last_packet_of_a_picture_shows_even_if_its_length_does_not() {
    let sizes = 70_000..70_000 + 184;
    for (len, random_access) in sizes.flat_map(|len| [(len, false), (len, true)]) {
        let small = picture(0, 0, true, 100);
        let one = segment(both(), std::slice::from_ref(&small));
        let large = picture(3600, 0, random_access, len);
        let two = segment(both(), &[small, large]);
        let kept = |packets: usize| salvage(&two[..packets * 188]).map(|kept| kept.len);
        let (before, packets) = (one.len(), two.len() / 188);
        assert_eq!(kept(packets), Some(two.len()), "{len} bytes");
        for cut in [1, 2, 174] {
            assert_eq!(kept(packets - cut), Some(before), "{len} bytes but {cut}");
        }
    }
}

#[test]
fn the_slices_of_a_frame_do_not_show() {
    let mut frame = picture(0, 0, true, 1000);
    frame.units = [(4, 10), (20, 300), (330, 1), (331, 600)]
        .map(|(offset, len)| Unit { offset, len })
        .into_iter()
        .collect();
    let whole = frame.data.to_bytes();
    let expected = segment(both(), std::slice::from_ref(&frame));
    for size in (1..200).chain([999, 1000, 1004]) {
        frame.data = Rope::new();
        for at in (0..whole.len()).step_by(size) {
            frame.data.push(whole.slice(at..whole.len().min(at + size)));
        }
        assert_eq!(segment(both(), std::slice::from_ref(&frame)), expected);
    }
    let pes = &walk(&expected).pes[0];
    let sets = [&[0, 0, 0, 1], SPS, &[0, 0, 0, 1], PPS].concat();
    let data = [
        &[0, 0, 0, 1, 0x09, 0xf0],
        &sets[..],
        &[0, 0, 0, 1],
        &whole[4..14],
        &[0, 0, 1],
        &whole[20..320],
        &[0, 0, 1],
        &whole[330..331],
        &[0, 0, 1],
        &whole[331..931],
    ];
    assert_eq!(pes.data, data.concat());
}

#[test]
fn units_outside_the_data_are_cut_off() {
    let mut frame = picture(0, 0, false, 100);
    frame.units = [(50, 100), (u32::MAX, u32::MAX), (4, 3), (104, 1)]
        .map(|(offset, len)| Unit { offset, len })
        .into_iter()
        .collect();
    let pes = &walk(&segment(both(), &[frame])).pes[0];
    assert_eq!(pes.data.len(), 6 + (4 + 54) + 3 + (3 + 3) + 3);
}

#[test]
fn tables_say_what_the_streams_are() {
    let h265 = VideoConfig {
        codec: VideoCodec::H265,
        ..h264()
    };
    let hevc = b"\x05\x04HEVC".to_vec();
    let check = |tracks: Tracks, pcr_pid: u16, expected: &[(u8, u16, Vec<u8>)]| {
        let mut out = packets();
        Muxer::new(tracks).start_segment(&mut out);
        let out = bytes(out);
        assert_eq!(out.len(), 376);
        let pmt = &walk(&out).pmts[0];
        assert_eq!((pmt.version, pmt.pcr_pid), (0, pcr_pid));
        assert_eq!(pmt.streams, expected);
    };
    let video = (0x1b, VIDEO, vec![]);
    check(both(), VIDEO, &[video.clone(), (0x0f, AUDIO, vec![])]);
    check(tracks(Some(h264()), None), VIDEO, &[video]);
    check(tracks(Some(h265), None), VIDEO, &[(0x24, VIDEO, hevc)]);
    check(tracks(None, Some(aac())), AUDIO, &[(0x0f, AUDIO, vec![])]);
    for (rate, stream_type) in [(44_100, 3), (32_000, 3), (24_000, 4), (8_000, 4)] {
        let tracks = tracks(None, Some(mp3(rate)));
        check(tracks, AUDIO, &[(stream_type, AUDIO, vec![])]);
    }
    check(Tracks::default(), 0x1fff, &[]);
}

#[test]
fn the_version_of_the_pmt_grows_with_its_content_only() {
    let mut muxer = Muxer::new(both());
    let other_sets = VideoConfig {
        parameter_sets: vec![],
        ..h264()
    };
    let mut versions = Vec::new();
    for tracks in [
        both(),
        tracks(Some(other_sets), Some(aac())),
        tracks(Some(h264()), None),
        tracks(Some(h264()), None),
        both(),
    ] {
        muxer.set_tracks(tracks);
        let mut out = packets();
        muxer.start_segment(&mut out);
        versions.push(walk(&bytes(out)).pmts.last().unwrap().version);
    }
    assert_eq!(versions, [0, 0, 1, 1, 2]);
    for _ in 0..30 {
        muxer.set_tracks(tracks(Some(h264()), None));
        muxer.set_tracks(both());
    }
    let mut out = packets();
    muxer.start_segment(&mut out);
    assert_eq!(walk(&bytes(out)).pmts.last().unwrap().version, 62 % 32);
}

#[test]
fn hevc_has_its_own_delimiter() {
    let h265 = VideoConfig {
        codec: VideoCodec::H265,
        ..h264()
    };
    let out = segment(tracks(Some(h265), None), &[picture(0, 0, false, 5)]);
    assert_eq!(walk(&out).pes[0].data[..7], [0, 0, 0, 1, 0x46, 0x01, 0x50]);
}

#[test]
fn counters_and_clock_run_on_over_segments() {
    let frames = interleaved(0, 12, 30, 2000, 300);
    let mut muxer = Muxer::new(both());
    let mut whole = packets();
    let mut starts = Vec::new();
    for frame in &frames {
        if frame.kind == TrackKind::Video && frame.key {
            muxer.flush(&mut whole);
            starts.push((whole.written() / 188) as usize);
            muxer.start_segment(&mut whole);
        }
        muxer.write(frame, &mut whole);
    }
    muxer.flush(&mut whole);
    let walked = walk(&bytes(whole));
    check_frames(&frames, &walked);
    walked.check_clock();
    assert_eq!(walked.fillers(), 0);
    assert_eq!(starts.len(), 6);
    for at in starts {
        let [pat, pmt, first] = &walked.packets[at..at + 3] else {
            panic!()
        };
        assert_eq!((pat.pid, pmt.pid, first.pid), (0, 0x1000, VIDEO));
        assert!(first.pcr.is_some() && first.random_access && !first.discontinuity);
    }
}

#[test]
fn a_segment_that_begins_with_audio_has_its_clock_first() {
    let mut frames = vec![sound(0, 1500), sound(1920, 1500)];
    frames.push(picture(2000, 0, true, 50));
    let walked = check(both(), &frames);
    let kinds = walked.packets.iter().map(|p| (p.pid, p.pcr.is_some()));
    let kinds: Vec<_> = kinds.skip(2).take(2).collect();
    assert_eq!(kinds, [(VIDEO, true), (AUDIO, false)]);
}

#[test]
fn times_wrap_at_33_bits() {
    let wrap = (1 << 33) - 900_000;
    let mut frames = interleaved(wrap - 270_000, 6, 25, 1000, 200);
    for frame in &mut frames {
        if frame.kind == TrackKind::Video {
            frame.pts = frame.dts + crate::media::Duration::from_ms(80);
        }
    }
    let walked = check(both(), &frames);
    let wrapped = |pes: &&walker::Pes| pes.has_dts && pes.pts < pes.dts;
    assert_eq!(walked.of(VIDEO).filter(wrapped).count(), 2);
    assert!(walked.packets.iter().all(|packet| !packet.discontinuity));
    check(both(), &interleaved(-90_000, 3, 25, 1000, 200));
}

#[test]
fn packets_are_spent_on_the_clock_at_low_frame_rates_only() {
    let check_fillers = |fps, expected: std::ops::RangeInclusive<usize>| {
        let walked = check(both(), &interleaved(0, 20, fps, 500, 100));
        let fillers = walked.fillers();
        assert!(expected.contains(&fillers), "{fillers} at {fps} fps");
        let video_only: Vec<_> = (0..20 * fps)
            .map(|n| picture(n * 90_000 / fps, 0, n == 0, 500))
            .collect();
        let fillers = check(tracks(Some(h264()), None), &video_only).fillers();
        assert!(
            expected.contains(&fillers),
            "{fillers} without audio, {fps} fps"
        );
    };
    check_fillers(1, 160..=180);
    check_fillers(5, 90..=100);
    for fps in [10, 15, 24, 25, 30, 50, 60] {
        check_fillers(fps, 0..=0);
    }
}

#[test]
fn milliseconds_of_rtmp_cost_no_packets() {
    for (num, den) in [(30_000, 1001), (24_000, 1001), (60_000, 1001), (30, 1)] {
        let ms = |n: i64| n * 1000 * den / num;
        let frames: Vec<_> = (0..2000)
            .map(|n| picture(ms(n) * 90, 0, n == 0, 500))
            .collect();
        let walked = check(tracks(Some(h264()), None), &frames);
        assert_eq!(walked.fillers(), 0);
    }
}

#[test]
fn sound_alone_carries_the_clock() {
    let frames: Vec<_> = (0..1000).map(|n| sound(n * 1920, 340)).collect();
    let walked = check(tracks(None, Some(aac())), &frames);
    assert!(walked.pes.iter().all(|pes| pes.random_access));
    assert_eq!(walked.fillers(), 0);
    assert!(walked.packets[2].pcr.is_some());
}

#[test]
fn sound_is_packed_by_size_and_time() {
    let check_pes = |len: usize, frames: usize| {
        let sounds: Vec<_> = (0..100).map(|n| sound(n * 1920, len)).collect();
        let walked = check(both(), &sounds);
        let first = adts_frames(&walked.pes[0].data).len();
        assert_eq!(first, frames, "frames of {len} bytes in a PES");
    };
    check_pes(10, 14);
    check_pes(340, 8);
    check_pes(1458, 2);
    check_pes(1459, 1);
    check_pes(8184, 1);
    assert!(walk(&segment(both(), &[sound(0, 8185)])).pes.is_empty());
}

#[test]
fn a_hole_in_the_sound_is_told() {
    let frames = [sound(0, 50), sound(1920, 50), sound(1920 * 2 + 91, 50)];
    assert_eq!(check(both(), &frames).pes.len(), 2);
    let frames = [sound(0, 50), sound(1920, 50), sound(1920 * 2 - 90, 50)];
    assert_eq!(check(both(), &frames).pes.len(), 1);
}

#[test]
fn mp3_has_no_headers_of_ours() {
    let frames: Vec<_> = (0..4).map(|n| sound(n * 2351, 418)).collect();
    let walked = walk(&segment(tracks(None, Some(mp3(44_100))), &frames));
    let data: Vec<_> = walked.pes.iter().flat_map(|pes| pes.data.clone()).collect();
    assert_eq!(data, noise(418).repeat(4));
    let largest = sound(0, 65_527);
    let walked = walk(&segment(tracks(None, Some(mp3(44_100))), &[largest]));
    assert_eq!(walked.pes[0].declared, 65_535);
    let too_large = sound(0, 65_528);
    let walked = walk(&segment(tracks(None, Some(mp3(44_100))), &[too_large]));
    assert!(walked.pes.is_empty());
}

/// Frames that arrive as if audio were `late_ms` older than it is.
fn skewed(late_ms: i64) -> Vec<Frame> {
    let mut frames = interleaved(0, 10, 30, 800, 200);
    frames.sort_by_key(|frame| match frame.kind {
        TrackKind::Video => frame.dts.ticks(),
        TrackKind::Audio => frame.dts.ticks() + late_ms * 90,
    });
    frames
}

#[test]
fn the_clock_waits_for_a_track_that_is_late() {
    for late_ms in [-900, -500, -100, 100, 500, 900, 1200] {
        check(both(), &skewed(late_ms));
    }
}

#[test]
fn the_clock_waits_no_longer_than_a_second() {
    let frames = skewed(3000);
    let walked = walk(&segment(both(), &frames));
    check_frames(&frames, &walked);
    for pair in walked.pcrs().windows(2) {
        assert!((1..=9000).contains(&after(pair[0].1, pair[1].1)));
    }
    let last = walked.pcrs().last().unwrap().1;
    let end = walked.of(VIDEO).last().unwrap().dts;
    assert!(after(last, end) < 2 * 90_000);
}

#[test]
fn a_second_in_bursts_keeps_the_clock() {
    let mut frames = interleaved(0, 10, 30, 800, 200);
    frames.sort_by_key(|frame| (frame.dts.ticks() / 90_000, frame.kind));
    check(both(), &frames);
}

#[test]
fn sound_that_stops_is_not_held_back() {
    let mut frames = vec![sound(0, 50)];
    frames.extend((0..100).map(|n| picture(n * 3000, 0, n == 0, 300)));
    check(both(), &frames);
}

#[test]
fn a_long_hole_costs_few_packets() {
    let mut frames = interleaved(0, 1, 30, 800, 200);
    frames.extend(interleaved(90_000 * 3600, 1, 30, 800, 200));
    let walked = walk(&segment(both(), &frames));
    check_frames(&frames, &walked);
    assert!(walked.fillers() < 100, "{}", walked.fillers());
}

#[test]
fn a_discontinuity_shows_if_the_time_base_changes() {
    let check = |start: i64, changes: bool| {
        let mut muxer = Muxer::new(both());
        let mut out = packets();
        muxer.start_segment(&mut out);
        for frame in interleaved(900_000, 4, 30, 500, 100) {
            muxer.write(&frame, &mut out);
        }
        muxer.flush(&mut out);
        let cut = (out.written() / 188) as usize;
        muxer.discontinuity();
        muxer.start_segment(&mut out);
        for frame in interleaved(start, 4, 30, 500, 100) {
            muxer.write(&frame, &mut out);
        }
        muxer.flush(&mut out);
        let out = bytes(out);
        let walked = walk(&out);
        let first = walked.packets.iter().enumerate();
        let first: Vec<_> = first.filter(|(_, p)| p.discontinuity).collect();
        if changes {
            let [(at, packet)] = first[..] else {
                panic!("one indicator: {first:?}")
            };
            assert_eq!(at, cut + 2);
            let dts = walked.pes.iter().find(|pes| pes.at >= at).unwrap().dts;
            assert_eq!(after(packet.pcr.unwrap(), dts), 63_000);
        } else {
            assert!(first.is_empty());
            walked.check_clock();
        }
        assert_eq!(walked.fillers(), 0);
    };
    check(900_000 + 4 * 90_000, false);
    check(0, true);
    check(900_000, true);
    check(90_000 * 100, true);
}

#[test]
fn frames_of_absent_tracks_are_ignored() {
    let frames = interleaved(0, 1, 30, 100, 100);
    assert_eq!(segment(Tracks::default(), &frames).len(), 376);
    let walked = walk(&segment(tracks(Some(h264()), None), &frames));
    assert_eq!(walked.of(AUDIO).count(), 0);
}

proptest! {
    /// Whatever comes, in whatever order and at whatever time: packets stay packets.
    #[test]
    fn nothing_panics(
        calls in prop::collection::vec(
            (0..8u8, any::<i64>(), any::<i64>(), any::<bool>(), 0..400usize), 1..60,
        ),
    ) {
        let mut muxer = Muxer::new(both());
        let mut out = packets();
        muxer.start_segment(&mut out);
        for (call, dts, pts, key, len) in calls {
            let times = |mut frame: Frame| {
                frame.dts = Timestamp::from_ticks(dts);
                frame.pts = Timestamp::from_ticks(pts);
                frame
            };
            match call {
                0 => muxer.start_segment(&mut out),
                1 => muxer.flush(&mut out),
                2 => muxer.discontinuity(),
                3 => muxer.set_tracks(if key { both() } else { tracks(None, Some(aac())) }),
                4 | 5 => muxer.write(&times(sound(0, len * 30)), &mut out),
                _ => muxer.write(&times(picture(0, 0, key, len)), &mut out),
            }
        }
        let out = bytes(out);
        prop_assert_eq!(out.len() % 188, 0);
        prop_assert!(out.chunks(188).all(|packet| packet[0] == 0x47));
    }

    /// Any sizes, rates and interleaving that a publisher may have, cut into parts anywhere.
    #[test]
    fn sessions_come_back(
        sizes in prop::collection::vec(1..20_000usize, 2..80),
        step in 1000..30_000i64,
        cts in 0..9000i64,
        late_ms in -600..600i64,
        start in prop::sample::select(vec![0i64, -9000, (1 << 33) - 1_000_000]),
        part in 1..30usize,
    ) {
        let mut frames: Vec<_> = sizes.iter().enumerate()
            .map(|(n, len)| picture(start + n as i64 * step, cts, n % 10 == 0, *len))
            .collect();
        let sounds = sizes.len() as i64 * step / 1920;
        frames.extend((0..sounds).map(|n| sound(start + n * 1920, 20 + sizes[n as usize % sizes.len()] % 1500)));
        frames.sort_by_key(|frame| frame.dts.ticks() + if frame.kind == TrackKind::Audio { late_ms * 90 } else { 0 });
        let mut muxer = Muxer::new(both());
        let mut out = packets();
        muxer.start_segment(&mut out);
        for (n, frame) in frames.iter().enumerate() {
            if n % part == 0 {
                muxer.flush(&mut out);
            }
            if frame.key && frame.kind == TrackKind::Video && n > 0 {
                muxer.flush(&mut out);
                muxer.start_segment(&mut out);
            }
            muxer.write(frame, &mut out);
        }
        muxer.flush(&mut out);
        let out = bytes(out);
        let walked = walk(&out);
        check_frames(&frames, &walked);
        walked.check_clock();
        let bytes = walked.pes.iter().map(|pes| pes.data.len()).sum::<usize>();
        prop_assert_eq!(stranger(&out), (walked.pes.len(), bytes));
    }
}
