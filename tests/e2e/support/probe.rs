//! ffprobe's and ffmpeg's view of a file or playlist.

use super::process::{self, ffmpeg, newer_ffmpeg};
use serde_json::Value;
use std::process::Command;

/// A frame as ffprobe reads it back; times in ticks of 90 kHz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) key: bool,
}

/// The packets of a transport stream, by kind, in order.
pub(crate) struct Packets {
    pub(crate) video: Vec<Packet>,
    pub(crate) audio: Vec<Packet>,
}

/// Reads all packets of `input`, a path or URL of MPEG-TS or of a playlist of it.
pub(crate) fn packets(input: &str) -> Packets {
    let mut command = Command::new("ffprobe");
    command.args([
        "-v",
        "error",
        "-of",
        "json",
        "-show_streams",
        "-show_entries",
    ]);
    command.args(["packet=codec_type,pts,dts,flags", input]);
    let output = process::succeed(&mut command);
    let all: Value = serde_json::from_str(&output.stdout).expect("ffprobe prints JSON");
    let list = |key: &str| all[key].as_array().cloned().unwrap_or_default();
    for stream in list("streams") {
        assert_eq!(
            stream["time_base"], "1/90000",
            "{input} is not MPEG-TS: {stream}"
        );
    }
    let of = |kind: &str| {
        let all = list("packets");
        all.iter()
            .filter(|packet| packet["codec_type"] == kind)
            .map(|packet| packet_of(packet, input))
            .collect()
    };
    Packets {
        video: of("video"),
        audio: of("audio"),
    }
}

fn packet_of(packet: &Value, input: &str) -> Packet {
    let time = |name: &str| {
        packet[name]
            .as_i64()
            .unwrap_or_else(|| panic!("{input}: a packet has no {name}: {packet}"))
    };
    let key = packet["flags"]
        .as_str()
        .is_some_and(|flags| flags.starts_with('K'));
    Packet {
        pts: time("pts"),
        dts: time("dts"),
        key,
    }
}

/// Who reads.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    Debian,
    Newer,
}

/// What a stream holds, without the parameter sets and delimiters that containers add and remove.
#[derive(PartialEq, Eq, Debug, Default)]
pub(crate) struct Payloads {
    pub(crate) video: Vec<String>,
    pub(crate) audio: Vec<String>,
}

/// Hashes the payload of every frame of `input`. `video` and `audio` are codec names, empty for none.
pub(crate) fn payloads(reader: Reader, input: &str, video: &str, audio: &str) -> Payloads {
    let mut command = if reader == Reader::Newer {
        newer_ffmpeg()
    } else {
        ffmpeg()
    };
    command.args(["-v", "error", "-copyts", "-i", input, "-c", "copy"]);
    match video {
        "h264" => command.args([
            "-map",
            "0:v",
            "-bsf:v",
            "h264_mp4toannexb,filter_units=remove_types=7-9",
        ]),
        "hevc" => command.args([
            "-map",
            "0:v",
            "-bsf:v",
            "hevc_mp4toannexb,filter_units=remove_types=32-35",
        ]),
        _ => &mut command,
    };
    match audio {
        "aac" => command.args(["-map", "0:a", "-bsf:a", "aac_adtstoasc"]),
        "mp3" => command.args(["-map", "0:a"]),
        _ => &mut command,
    };
    let output =
        process::succeed(command.args(["-copyinkf", "-f", "framehash", "-hash", "md5", "-"]));
    let mut payloads = Payloads::default();
    let mut is_video = Vec::new();
    for line in output.stdout.lines() {
        if let Some(media_type) = line.strip_prefix("#media_type ") {
            is_video.push(media_type.ends_with("video"));
        } else if !line.starts_with('#') {
            // stream, dts, pts, duration, size, hash
            let fields: Vec<&str> = line.split(',').map(str::trim).collect();
            let stream: usize = fields[0]
                .parse()
                .expect("framehash begins a line with the stream");
            let hash = format!("{} bytes {}", fields[4], fields[5]);
            if is_video[stream] {
                payloads.video.push(hash)
            } else {
                payloads.audio.push(hash)
            }
        }
    }
    payloads
}

/// Decodes all of `input`; what ffmpeg complains about, which should be nothing.
pub(crate) fn complaints(input: &str) -> String {
    let mut command = ffmpeg();
    let output = process::run(command.args(["-i", input, "-f", "null", "-"]));
    let end = if output.status.success() {
        String::new()
    } else {
        format!("{}", output.status)
    };
    output.stderr + &end
}
