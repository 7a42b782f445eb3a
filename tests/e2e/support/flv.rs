//! Reads the times that stand on the wire: what the timestamps of the output are measured against.
//!
//! Our own and minimal, because ffmpeg's reader repairs and interpolates timestamps.

use std::path::Path;

/// The frames of an FLV file, in order.
#[derive(Default, Debug)]
pub(crate) struct Wire {
    pub(crate) video: Vec<VideoTag>,
    /// Milliseconds.
    pub(crate) audio: Vec<i64>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct VideoTag {
    pub(crate) pts_ms: i64,
    pub(crate) dts_ms: i64,
    pub(crate) key: bool,
}

pub(crate) fn read(path: &Path) -> Wire {
    let file = std::fs::read(path).expect("the clip can be read");
    let mut wire = Wire::default();
    // File header of 9 bytes, then for each tag the size of the previous one and its own 11 bytes.
    let mut rest = &file[9..];
    while rest.len() >= 15 {
        let size = usize::from(rest[5]) << 16 | usize::from(rest[6]) << 8 | usize::from(rest[7]);
        let ms = i64::from(rest[11]) << 24
            | i64::from(rest[8]) << 16
            | i64::from(rest[9]) << 8
            | i64::from(rest[10]);
        let (kind, body) = (rest[4], &rest[15..15 + size]);
        match kind {
            8 if is_audio_frame(body) => wire.audio.push(ms),
            9 => wire.video.extend(video_frame(body, ms)),
            _ => {}
        }
        rest = &rest[15 + size..];
    }
    wire
}

/// AAC has a sequence header, which is no frame; Enhanced RTMP's coded frames are packet type 1.
fn is_audio_frame(body: &[u8]) -> bool {
    match body.first().map(|b| b >> 4) {
        Some(10) => body.get(1) == Some(&1),
        Some(9) => body[0] & 15 == 1,
        Some(_) => body.len() > 1,
        None => false,
    }
}

fn video_frame(body: &[u8], ms: i64) -> Option<VideoTag> {
    let first = *body.first()?;
    let enhanced = first & 0x80 != 0;
    let (packet_type, composition) = if enhanced {
        (first & 15, 5)
    } else {
        (*body.get(1)?, 2)
    };
    let offset_ms = match packet_type {
        1 => signed24(body.get(composition..composition + 3)?),
        3 if enhanced => 0,
        _ => return None,
    };
    let key = (first >> 4) & 7 == 1;
    Some(VideoTag {
        pts_ms: ms + offset_ms,
        dts_ms: ms,
        key,
    })
}

fn signed24(bytes: &[u8]) -> i64 {
    i64::from(i32::from_be_bytes([bytes[0], bytes[1], bytes[2], 0]) >> 8)
}
