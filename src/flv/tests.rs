//! The demuxer as a whole: tags in, samples and tracks out.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::*;
use crate::media::codec::tests::hex;
use crate::media::track::{AudioCodec, VideoCodec};
use crate::media::{Rope, TrackKind};
use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

// ffmpeg 9.0.2: libx264 320x180, 160x90 and interlaced; libx265 640x362
const SPS: &str = "6742c00cda05067e7c0440000003004000000c83c50aa8";
const SPS_SMALL: &str = "6742c00bda0a37e4c044000003000400000300c83c50aa80";
const PPS: &str = "68ce0fc8";
const PPS_OTHER: &str = "68de0fc8";
const HEVC_VPS: &str = "40010c01ffff01600000030090000003000003003f959409";
const HEVC_SPS: &str =
    "42010101600000030090000003000003003fa005020171f26595952930bc05a02000007d20000ea601";
const HEVC_PPS: &str = "4401c073c189";

const IDR: &str = "6588840a";
const P: &str = "419a22bc";
const I: &str = "418884";
const SEI: &str = "0604026162";
const RECOVERY: &str = "060601c480";
const AUD: &str = "09f0";
const FILLER: &str = "0cffff80";

/// A demuxer, and what it said to each tag.
#[derive(Default)]
struct Stream(Demuxer);

impl Stream {
    fn push(&mut self, kind: TagKind, body: &str) -> Result<Demuxed, Error> {
        let body = Bytes::from(hex(&body.replace(' ', "")));
        self.0.push(kind, 40, body.into())
    }

    fn video(&mut self, body: &str) -> Demuxed {
        self.push(TagKind::Video, body).unwrap()
    }

    fn audio(&mut self, body: &str) -> Demuxed {
        self.push(TagKind::Audio, body).unwrap()
    }

    /// After the record of the first stream.
    fn avc() -> Self {
        let mut stream = Self::default();
        assert!(stream.video(&avc_record(&[SPS], &[PPS])).tracks_changed);
        stream
    }

    fn size(&self) -> Option<(u32, u32)> {
        let video = self.0.tracks().video.as_ref()?;
        Some((video.width, video.height))
    }

    fn sets(&self) -> Vec<String> {
        let video = self.0.tracks().video.as_ref().unwrap();
        video.parameter_sets.iter().map(|set| text(set)).collect()
    }
}

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn avc_record(sps: &[&str], pps: &[&str]) -> String {
    let list = |sets: &[&str]| -> String {
        let one = |set: &&str| format!("{:04x}{set}", set.len() / 2);
        sets.iter().map(one).collect()
    };
    format!(
        "17000000000142c00cff{:02x}{}{:02x}{}",
        0xe0 | sps.len(),
        list(sps),
        pps.len(),
        list(pps)
    )
}

fn hevc_record() -> String {
    let array = |kind: u8, set: &str| format!("{kind:02x}0001{:04x}{set}", set.len() / 2);
    format!(
        "0101600000009000000000003ff000fcfdf8f800000f03{}{}{}",
        array(0x20, HEVC_VPS),
        array(0x21, HEVC_SPS),
        array(0x22, HEVC_PPS)
    )
}

/// A picture: tag header and units behind 32-bit lengths.
fn picture(header: &str, units: &[&str]) -> String {
    let one = |unit: &&str| format!("{:08x}{unit}", unit.len() / 2);
    header.to_owned() + &units.iter().map(one).collect::<String>()
}

fn key(units: &[&str]) -> String {
    picture("1701000000", units)
}

fn inter(units: &[&str]) -> String {
    picture("2701000000", units)
}

/// The units of the sample, as hexadecimal text.
fn units(demuxed: &Demuxed) -> Vec<String> {
    let sample = demuxed.sample.as_ref().expect("a sample");
    let unit = |unit: &crate::media::Unit| {
        let bytes = sample.data.slice(unit.offset as usize, unit.len as usize);
        assert_eq!(bytes.len(), unit.len as usize);
        text(&bytes.to_bytes())
    };
    sample.units.iter().map(unit).collect()
}

#[test]
fn units_that_go_to_the_output() {
    let check = |name: &str, tag: &str, expected: &[&str]| {
        let demuxed = Stream::avc().video(tag);
        assert_eq!(units(&demuxed), expected, "{name}");
        assert_eq!(demuxed.dropped, None, "{name}");
        assert!(!demuxed.tracks_changed, "{name}");
    };
    check("picture", &inter(&[P]), &[P]);
    check("messages stay", &key(&[SEI, IDR]), &[SEI, IDR]);
    check("slices stay in order", &inter(&[P, I, P]), &[P, I, P]);
    check("x264 aud=1", &key(&[SEI, AUD, IDR]), &[SEI, IDR]);
    check("two delimiters", &inter(&[AUD, AUD, P]), &[P]);
    check("filler stays within", &inter(&[P, FILLER]), &[P, FILLER]);
    check("end marks go", &inter(&[P, "0a", "0b"]), &[P]);
    check("sets of the record go", &key(&[SPS, PPS, IDR]), &[IDR]);
    check("empty units", &inter(&["", P, ""]), &[P]);
    check("trailing zeros", &inter(&["419a22bc0000"]), &[P]);
    check("padding", &(inter(&[P]) + "00000000"), &[P]);
    check(
        "start codes",
        "2701000000 00000001 419a22bc 000001 0cffff80",
        &[P, FILLER],
    );
}

#[test]
fn tags_without_a_picture() {
    let check = |name: &str, tag: &str, dropped: Option<Dropped>| {
        let mut stream = Stream::avc();
        let demuxed = stream.video(tag);
        assert_eq!((demuxed.sample, demuxed.dropped), (None, dropped), "{name}");
        assert_eq!(units(&stream.video(&inter(&[P]))), [P], "{name}");
    };
    check("delimiter", &key(&[AUD]), Some(Dropped::NoSlice));
    check("filler", &key(&[FILLER]), Some(Dropped::NoSlice));
    check("end", &inter(&["0a"]), Some(Dropped::NoSlice));
    check("known sets", &key(&[SPS, PPS]), None);
    check("no units", &key(&[]), Some(Dropped::Empty));
    check("empty units", &key(&["", ""]), Some(Dropped::Empty));
    check("nothing", "", Some(Dropped::Empty));
    check(
        "header cut off",
        "1701",
        Some(Dropped::BrokenTag {
            reason: "its header ends early",
        }),
    );
    check(
        "unit beyond the end",
        &(inter(&[P]) + "0000000941"),
        Some(Dropped::BrokenNal { offset: 13 }),
    );
    check("end of sequence", "1702000000", None);
    check("seek", "5700", None);
    check("colours", "d4 61766331 02", None);
    check(
        "unknown",
        "1709000000",
        Some(Dropped::UnknownPacket {
            kind: TrackKind::Video,
            packet_type: 9,
        }),
    );
    let second = "96 01 61766331 01 000000 00000001 41";
    check("second track", second, Some(Dropped::SecondaryTrack));
    let many = inter(&["41"; 4097]);
    check(
        "units",
        &many,
        Some(Dropped::Oversize {
            limit: "4096 NAL units in a picture",
        }),
    );
}

#[test]
fn messages_wait_for_their_picture() {
    let mut stream = Stream::avc();
    let demuxed = stream.video(&key(&[AUD, SEI]));
    assert_eq!(demuxed, Demuxed::default());
    assert_eq!(stream.video(&inter(&[RECOVERY])), Demuxed::default());
    let demuxed = stream.video(&inter(&[AUD, P, FILLER]));
    assert_eq!(units(&demuxed), [SEI, RECOVERY, P, FILLER]);
    assert_eq!(units(&stream.video(&inter(&[P]))), [P]);

    let mut drops = 0;
    for _ in 0..65 {
        drops += usize::from(stream.video(&inter(&[SEI])).dropped.is_some());
    }
    assert_eq!(drops, 1, "the 65th does not wait");
    assert_eq!(units(&stream.video(&inter(&[P]))).len(), 65);

    let large = "06".repeat(40_000);
    assert_eq!(stream.video(&inter(&[&large])).dropped, None);
    assert!(matches!(
        stream.video(&inter(&[&large])).dropped,
        Some(Dropped::Oversize { .. })
    ));
}

#[test]
fn the_bitstream_says_what_is_a_key_frame() {
    let check = |name: &str, tag: &str, expected: (bool, bool)| {
        let sample = Stream::avc().video(tag).sample.unwrap();
        assert_eq!((sample.key, sample.recovery), expected, "{name}");
    };
    check("IDR", &key(&[IDR]), (true, false));
    check("IDR without flag", &inter(&[IDR]), (true, false));
    check(
        "IDR, type 0 (OBS)",
        &picture("0701000000", &[IDR]),
        (true, false),
    );
    check("flag on everything", &key(&[P]), (false, false));
    check("x264 intra refresh", &key(&[RECOVERY, P]), (false, true));
    check("x264 open GOP", &key(&[RECOVERY, I]), (false, true));
    check("intra with flag", &key(&[I]), (false, true));
    check("intra without flag", &inter(&[I]), (false, false));

    let mut stream = Stream::default();
    stream.video(&("9068766331".to_owned() + &hevc_record()));
    for (first, expected) in [
        ("26", (true, false)),  // IDR_W_RADL
        ("28", (true, false)),  // IDR_N_LP
        ("2a", (true, true)),   // CRA
        ("20", (true, true)),   // BLA_W_LP
        ("02", (false, false)), // TRAIL_R
    ] {
        let slice = format!("{first}01af");
        let sample = stream
            .video(&picture("a368766331", &[&slice]))
            .sample
            .unwrap();
        assert_eq!((sample.key, sample.recovery), expected, "{first}");
    }
}

#[test]
fn a_repeated_record_does_nothing() {
    let mut stream = Stream::avc();
    let record = avc_record(&[SPS], &[PPS]);
    assert_eq!(stream.video(&record), Demuxed::default());
    // reserved bits, trailing bytes
    assert_eq!(
        stream.video(&(record.replace("ffe1", "03e1") + "00")),
        Demuxed::default()
    );
    // in-band sets win, and a repetition of the old record does not bring the old ones back
    assert!(stream.video(&key(&[SPS_SMALL, PPS, IDR])).tracks_changed);
    assert_eq!(stream.size(), Some((160, 90)));
    assert_eq!(stream.video(&record), Demuxed::default());
    assert_eq!(stream.size(), Some((160, 90)));
    assert!(!stream.video(&key(&[SPS_SMALL, PPS, IDR])).tracks_changed);
    assert!(!stream.video(&key(&[IDR])).tracks_changed);
    assert_eq!(stream.sets(), [SPS_SMALL, PPS]);
}

#[test]
fn a_new_record_changes_the_track() {
    let mut stream = Stream::avc();
    assert_eq!(stream.size(), Some((320, 180)));
    let demuxed = stream.video(&avc_record(&[SPS_SMALL], &[PPS, ""]));
    assert!(demuxed.tracks_changed && demuxed.sample.is_none());
    assert_eq!(stream.size(), Some((160, 90)));
}

#[test]
fn a_broken_record_leaves_the_one_before() {
    let check = |name: &str, record: &str| {
        let mut stream = Stream::avc();
        let demuxed = stream.video(record);
        let broken = matches!(demuxed.dropped, Some(Dropped::BrokenConfig { .. }));
        assert!(broken && !demuxed.tracks_changed, "{name}: {demuxed:?}");
        assert_eq!(units(&stream.video(&inter(&[P]))), [P], "{name}");
    };
    check("empty", "1700000000");
    check(
        "lengths of 3",
        &avc_record(&[SPS], &[PPS]).replace("0cffe1", "0cfee1"),
    );
    check("cut off", &avc_record(&[SPS], &[PPS])[..40]);
    check("SPS of nothing", &avc_record(&["6742c0"], &[PPS]));
}

#[test]
fn records_that_are_not_whole() {
    // no sets in the record: they come with the picture
    let mut stream = Stream::default();
    assert_eq!(stream.video(&avc_record(&[], &[])), Demuxed::default());
    let no_config = Some(Dropped::NoConfig {
        kind: TrackKind::Video,
    });
    assert_eq!(stream.video(&key(&[IDR])).dropped, no_config);
    let demuxed = stream.video(&key(&[SPS, PPS, IDR]));
    assert!(demuxed.tracks_changed);
    assert_eq!(units(&demuxed), [IDR]);
    // no record at all, sets in a tag of their own
    let mut stream = Stream::default();
    assert_eq!(stream.video(&key(&[SPS, PPS])).dropped, None);
    assert!(stream.video(&key(&[IDR])).tracks_changed);
    // start codes in the record (SRS 183)
    let mut stream = Stream::default();
    let record = format!("1700000000 00000001{SPS}00000001{PPS}");
    assert!(stream.video(&record).tracks_changed);
    assert_eq!(stream.sets(), [SPS, PPS]);
    // lengths of 2
    let mut stream = Stream::default();
    stream.video(&avc_record(&[SPS], &[PPS]).replace("0cffe1", "0cfde1"));
    assert_eq!(
        units(&stream.video("2701000000 0004 419a22bc 0002 0cff")),
        [P, "0cff"]
    );
}

#[test]
fn sets_that_change_within_a_group_of_pictures_stay_until_its_end() {
    let mut stream = Stream::avc();
    let demuxed = stream.video(&inter(&[PPS_OTHER, P]));
    assert_eq!(units(&demuxed), [PPS_OTHER, P]);
    assert!(!demuxed.tracks_changed);
    assert_eq!(
        units(&stream.video(&inter(&[PPS, P]))),
        [PPS, P],
        "back again"
    );
    assert_eq!(
        units(&stream.video(&inter(&[PPS_OTHER, P]))),
        [PPS_OTHER, P]
    );
    let demuxed = stream.video(&key(&[IDR]));
    assert!(demuxed.tracks_changed);
    assert_eq!(units(&demuxed), [IDR]);
    assert_eq!(stream.sets(), [SPS, PPS_OTHER]);
}

#[test]
fn the_size_is_that_of_the_sps_in_use() {
    // PPS 1 refers to SPS 1: 1 010 010 …; the slice names it by 1 00110 (type 5)… here IDR: 1, type 7, pps 1
    let sps_1 = "6742c00b56828df93011000003000100000300320f142aa0"; // SPS_SMALL with id 1
    let id = crate::media::codec::h264::Sps::parse(&hex(sps_1)).map(|sps| (sps.id, sps.width));
    assert_eq!(id, Ok((1, 160)));
    let pps_1 = "6848c0";
    let idr_1 = "658840ff";
    let mut stream = Stream::default();
    stream.video(&avc_record(&[SPS, sps_1], &[PPS, pps_1]));
    assert_eq!(stream.sets(), [SPS, sps_1, PPS, pps_1]);
    assert_eq!(stream.size(), Some((320, 180)));
    assert!(stream.video(&key(&[idr_1])).tracks_changed);
    assert_eq!(stream.size(), Some((160, 90)));
    assert!(!stream.video(&key(&[idr_1])).tracks_changed);
}

#[test]
fn hevc_in_all_its_tags() {
    for (start, frame) in [
        ("9068766331", "9168766331000043"),
        ("9068766331", "9368766331"),
        ("1c00000000", "1c01000043"),
        ("96006876633100", "9601687663310000002b"),
    ] {
        let mut stream = Stream::default();
        assert!(
            stream
                .video(&(start.to_owned() + &hevc_record()))
                .tracks_changed,
            "{start}"
        );
        let video = stream.0.tracks().video.clone().unwrap();
        assert_eq!(
            (video.codec, video.width, video.height),
            (VideoCodec::H265, 640, 362)
        );
        assert_eq!(video.frame_rate, Some((30_000, 1001)));
        assert_eq!(video.codec_string, "hvc1.1.6.L63.90");
        assert_eq!(stream.sets(), [HEVC_VPS, HEVC_SPS, HEVC_PPS]);
        let message = "4e0104026162";
        let (aud, filler, idr) = ("460150", "4c01ffff", "2801af");
        let tag = picture(
            frame,
            &[
                aud, HEVC_VPS, HEVC_SPS, HEVC_PPS, message, idr, filler, "4801",
            ],
        );
        let demuxed = stream.video(&tag);
        assert_eq!(units(&demuxed), [message, idr, filler], "{frame}");
        assert!(!demuxed.tracks_changed && demuxed.sample.unwrap().key);
    }
}

#[test]
fn another_codec_takes_over_when_it_has_a_configuration() {
    let mut stream = Stream::avc();
    let foreign = stream.video(&picture("9368766331", &["2801af"]));
    assert_eq!(
        foreign.dropped,
        Some(Dropped::NoConfig {
            kind: TrackKind::Video
        })
    );
    assert_eq!(units(&stream.video(&inter(&[P]))), [P]);
    assert!(
        stream
            .video(&("9068766331".to_owned() + &hevc_record()))
            .tracks_changed
    );
    assert_eq!(
        stream.0.tracks().video.as_ref().unwrap().codec,
        VideoCodec::H265
    );
}

#[test]
fn times_leave_as_they_came() {
    let mut stream = Stream::avc();
    let sample = stream.video(&picture("2701ffffb0", &[P])).sample.unwrap();
    assert_eq!(
        (sample.timestamp_ms, sample.composition_ms, sample.nano),
        (40, -80, 0)
    );
    // ModEx by the specification of Enhanced RTMP v2; no sender is known
    let tag = picture("a7 02 07a120 01 61766331 000014", &[P]);
    let sample = stream.video(&tag).sample.unwrap();
    assert_eq!(
        (sample.timestamp_ms, sample.composition_ms, sample.nano),
        (40, 20, 500_000)
    );
}

#[test]
fn what_cannot_be_carried_is_refused_by_name() {
    let check = |kind, tag: &str, name: &str| {
        let error = Stream::default().push(kind, tag).unwrap_err();
        let Error::UnsupportedCodec { name: seen, .. } = &error;
        assert_eq!(seen, name);
        assert!(error.to_string().contains(name));
    };
    let video = |tag, name| check(TagKind::Video, tag, name);
    video("90 61763031 81", "AV1");
    video("1d 00 000000", "AV1");
    video("90 76703039 01", "VP9");
    video("91 76703038 01", "VP8");
    video("90 76766331 01", "H.266");
    video("90 61626364", "FourCC abcd");
    video("12 00", "Sorenson H.263");
    video("14 00", "VP6");
    video("13 00", "Screen video");
    let audio = |tag, name| check(TagKind::Audio, tag, name);
    audio("90 4f707573 4f707573", "Opus");
    audio("90 664c6143", "FLAC");
    audio("90 61632d33", "AC-3");
    audio("90 65632d33", "E-AC-3");
    // ffmpeg 9.0.2
    audio("b6 00", "Speex");
    audio("72 00", "G.711 A-law");
    audio("82 00", "G.711 mu-law");
    audio("3f 00", "PCM");
    audio("1a 00", "ADPCM");
    audio("42 00", "Nellymoser");
    audio("af00 11e056e500", "AAC with channel configuration 12 (7.1)");
    audio("2f fffb00c4", "MP3 of free format");
}

#[test]
fn aac() {
    let no_config = Some(Dropped::NoConfig {
        kind: TrackKind::Audio,
    });
    for (start, frame) in [("af00", "af01"), ("906d703461", "916d703461")] {
        let start = |config: &str| start.to_owned() + config;
        let frame = |data: &str| frame.to_owned() + data;
        let mut stream = Stream::default();
        assert_eq!(stream.audio(&frame("dc00")).dropped, no_config);
        assert!(stream.audio(&start("1190")).tracks_changed);
        let sample = stream.audio(&frame("dc00")).sample.unwrap();
        assert_eq!(text(&sample.data.to_bytes()), "dc00");
        assert!(sample.key && sample.units.is_empty() && sample.frames == 1);
        assert_eq!(stream.audio(&start("1190")), Demuxed::default(), "the same");
        assert_eq!(
            stream.audio(&start("11900000")),
            Demuxed::default(),
            "means the same"
        );
        assert_eq!(stream.audio(&frame("")).dropped, Some(Dropped::Empty));
        assert_eq!(stream.audio(&start("")).dropped, Some(Dropped::Empty));
        assert!(stream.audio(&start("12")).dropped.is_some(), "broken");
        assert_eq!(
            stream.0.tracks().audio.as_ref().unwrap().sample_rate,
            48_000
        );
        assert!(stream.audio(&start("1210")).tracks_changed);
        assert_eq!(
            stream.0.tracks().audio.as_ref().unwrap().sample_rate,
            44_100
        );
        let large = frame(&"21".repeat(8185));
        assert!(matches!(
            stream.audio(&large).dropped,
            Some(Dropped::Oversize { .. })
        ));
    }
}

#[test]
fn adts_in_a_tag_is_taken_off() {
    let adts = |len: usize, data: &str| format!("fff15080{:04x}fc{data}", len << 5 | 0x1f);
    let mut stream = Stream::default();
    stream.audio("af001210");
    let sample = stream
        .audio(&format!("af01{}", adts(9, "dc00")))
        .sample
        .unwrap();
    assert_eq!(text(&sample.data.to_bytes()), "dc00");
    assert_eq!(sample.frames, 1);
    let demuxed = stream.audio(&format!("af01{}{}", adts(9, "dc00"), adts(8, "21")));
    assert_eq!(units(&demuxed), ["dc00", "21"]);
    assert_eq!(demuxed.sample.unwrap().frames, 2);
    // without a config the header is one
    let mut stream = Stream::default();
    assert!(
        stream
            .audio(&format!("af01{}", adts(9, "dc00")))
            .tracks_changed
    );
    assert!(
        !stream
            .audio(&format!("af01{}", adts(9, "dc00")))
            .tracks_changed
    );
    // a length that does not fit is no header
    let mut stream = Stream::default();
    stream.audio("af001210");
    let whole = adts(99, "dc00");
    let sample = stream.audio(&format!("af01{whole}")).sample.unwrap();
    assert_eq!(text(&sample.data.to_bytes()), whole);
}

#[test]
fn mp3() {
    let frame = "fff310c4".to_owned() + &"00".repeat(20); // MPEG-2, 8 kbit/s at 22.05 kHz: 26 bytes
    let frame = frame + "0000";
    let mut stream = Stream::default();
    let demuxed = stream.audio(&format!("2f{frame}"));
    assert!(demuxed.tracks_changed);
    assert_eq!(demuxed.sample.as_ref().unwrap().frames, 1);
    assert!(demuxed.sample.unwrap().units.is_empty());
    let audio = stream.0.tracks().audio.clone().unwrap();
    assert_eq!(
        (
            audio.codec,
            audio.sample_rate,
            audio.samples_per_frame,
            audio.channels
        ),
        (AudioCodec::Mp3, 22_050, 576, 1)
    );
    assert!(!stream.audio(&format!("2f{frame}")).tracks_changed);
    let demuxed = stream.audio(&format!("912e6d7033{frame}{frame}{frame}"));
    assert_eq!(units(&demuxed), [frame.as_str(); 3]);
    assert_eq!(demuxed.sample.unwrap().frames, 3);
    assert!(matches!(
        stream.audio(&format!("2f{}", frame.repeat(65))).dropped,
        Some(Dropped::Oversize { .. })
    ));
    assert!(matches!(
        stream.audio("2f4944330400").dropped,
        Some(Dropped::BrokenAudio { .. })
    ));
    assert_eq!(stream.audio("2f").dropped, Some(Dropped::Empty));
    // to AAC and back
    assert!(stream.audio("af001210").tracks_changed);
    assert!(stream.audio(&format!("2f{frame}")).tracks_changed);
    assert!(stream.audio("af001210").tracks_changed);
}

#[test]
fn the_first_track_of_several_is_the_stream() {
    // ffmpeg 9.0.2 with two video and two audio streams: track 0 in legacy form, track 1 beside it
    let mut stream = Stream::avc();
    let second = "960061766331010142c00bffe100186742c00bda0a37e4c044000003000400000300c83c50aa8001000468ce0fc8";
    let demuxed = stream.video(second);
    assert_eq!(demuxed.dropped, Some(Dropped::SecondaryTrack));
    assert_eq!(stream.size(), Some((320, 180)));
    assert!(stream.audio("af00120856e500").tracks_changed);
    let second = Some(Dropped::SecondaryTrack);
    assert_eq!(stream.audio("95006d70346101120856e500").dropped, second);
    assert_eq!(stream.audio("95046d70346101010100000004").dropped, second);
    assert_eq!(stream.audio("95016d70346101dc00").dropped, second);
    // both in one message
    let both = "9613617663 31 00 000008 00000004419a22bc 01 000001 aa".replace(' ', "");
    let demuxed = stream.video(&both);
    assert_eq!(units(&demuxed), [P]);
    assert_eq!(demuxed.dropped, second);
}

#[test]
fn metadata_is_kept_for_information() {
    let mut stream = Stream::default();
    // onMetaData, ECMA array, width 640, framerate NaN
    let tag = "02000a6f6e4d65746144617461 08 00000002 00057769647468 00 4084000000000000
        00096672616d6572617465 00 7ff8000000000000 000009"
        .replace('\n', "");
    assert_eq!(stream.push(TagKind::Data, &tag), Ok(Demuxed::default()));
    let metadata = stream.0.metadata().unwrap();
    assert_eq!((metadata.width, metadata.frame_rate), (Some(640), None));
    stream.push(TagKind::Data, "02000a6f6e4375").unwrap();
    assert!(stream.0.metadata().is_some());
    assert!(stream.0.tracks().is_empty());
}

#[test]
fn a_tag_beyond_its_limit_is_dropped() {
    let body = Rope::from(Bytes::from(vec![0; demux::TAG_BYTES_MAX + 1]));
    let demuxed = Demuxer::new().push(TagKind::Video, 0, body).unwrap();
    assert_eq!(
        demuxed.dropped,
        Some(Dropped::Oversize {
            limit: "16 MiB in a tag"
        })
    );
}

/// Tags near to real ones.
fn tag() -> impl Strategy<Value = (TagKind, Vec<u8>)> {
    let kind = prop_oneof![
        Just(TagKind::Video),
        Just(TagKind::Audio),
        Just(TagKind::Data)
    ];
    let head = prop::sample::select(vec![
        "",
        "1700000000",
        "1701000000",
        "2701000000",
        "1c01000000",
        "9068766331",
        "9168766331",
        "9368766331",
        "9613617663",
        "9601687663310000",
        "97020000000",
        "af00",
        "af01",
        "2f",
        "916d7034",
        "95016d70346100",
        "02000a6f6e4d65746144617461",
    ]);
    let unit = prop_oneof![
        prop::sample::select(vec![
            SPS, SPS_SMALL, PPS, PPS_OTHER, IDR, P, I, SEI, RECOVERY, AUD, FILLER, HEVC_VPS,
            HEVC_SPS, HEVC_PPS, "2801af", "0a", "",
        ])
        .prop_map(|unit| picture("", &[unit])),
        prop::collection::vec(any::<u8>(), 0..12).prop_map(|bytes| text(&bytes)),
    ];
    let units = prop::collection::vec(unit, 0..6);
    let damage = (any::<prop::sample::Index>(), any::<u8>(), 0..4_u8);
    (kind, head, units, damage).prop_map(|(kind, head, units, (at, byte, damaged))| {
        let mut bytes = hex(&(head.to_owned() + &units.concat()));
        if damaged == 0 && !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        (kind, bytes)
    })
}

fn cut(bytes: &[u8], pieces: usize) -> Rope {
    let mut rope = Rope::new();
    for piece in bytes.chunks(pieces) {
        rope.push(BytesMut::from(piece).freeze());
    }
    rope
}

proptest! {
    #[test]
    fn no_tags_panic_and_slices_do_not_matter(
        tags in prop::collection::vec(tag(), 0..20),
        pieces in 1..9_usize,
    ) {
        let (mut whole, mut sliced) = (Demuxer::new(), Demuxer::new());
        for (kind, bytes) in tags {
            let before = whole.tracks().clone();
            let expected = whole.push(kind, 0, cut(&bytes, usize::MAX));
            prop_assert_eq!(&expected, &sliced.push(kind, 0, cut(&bytes, pieces)));
            prop_assert_eq!(whole.tracks(), sliced.tracks());
            if let Ok(demuxed) = expected {
                prop_assert_eq!(demuxed.tracks_changed, whole.tracks() != &before);
                if let Some(sample) = demuxed.sample {
                    prop_assert!(whole.tracks().has(sample.kind));
                    for unit in &sample.units {
                        prop_assert!((unit.offset + unit.len) as usize <= sample.data.len());
                    }
                }
            }
        }
    }
}
