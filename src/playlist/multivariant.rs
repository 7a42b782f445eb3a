//! The multivariant playlist: what renditions there are and what playing them takes
//! (RFC 8216 §4.3.4).

use super::media::VERSION;
use m3u8_rs::{MasterPlaylist, QuotedOrUnquoted, Resolution, VariantStream};
use std::collections::HashMap;

/// One rendition (EXT-X-STREAM-INF).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Variant {
    /// Its media playlist, relative to the multivariant playlist.
    pub uri: String,
    /// Peak bits per second, overhead of the container included.
    pub bandwidth: u64,
    /// Average bits per second.
    pub average_bandwidth: Option<u64>,
    /// RFC 6381 codec strings of its tracks; those that are not known are left out.
    pub codecs: Vec<String>,
    /// Cropped width and height in pixels; absent for sound alone.
    pub resolution: Option<(u32, u32)>,
    /// Frames per second as numerator and denominator.
    pub frame_rate: Option<(u32, u32)>,
}

/// The text of a multivariant playlist. `independent` says of all renditions that every segment
/// begins with a key frame.
pub fn render(variants: &[Variant], independent: bool) -> String {
    let playlist = MasterPlaylist {
        version: Some(VERSION),
        independent_segments: independent,
        variants: variants.iter().map(value).collect(),
        ..MasterPlaylist::default()
    };
    let mut text = Vec::new();
    // Writing to memory cannot fail, and names and codec strings are text.
    let _ = playlist.write_to(&mut text);
    String::from_utf8(text).unwrap_or_default()
}

fn value(variant: &Variant) -> VariantStream {
    let codecs: Vec<_> = variant.codecs.iter().filter(|c| is_codec(c)).collect();
    VariantStream {
        uri: variant.uri.clone(),
        bandwidth: variant.bandwidth.max(1), // zero is what players take for "unknown" and refuse
        average_bandwidth: variant.average_bandwidth.map(|average| average.max(1)),
        codecs: (!codecs.is_empty())
            .then(|| codecs.into_iter().map(String::as_str).collect::<Vec<_>>())
            .map(|codecs| codecs.join(",")),
        resolution: variant
            .resolution
            .filter(|(width, height)| *width > 0 && *height > 0)
            .map(|(width, height)| Resolution {
                width: width.into(),
                height: height.into(),
            }),
        // m3u8-rs would print the number without its zeros.
        other_attributes: variant.frame_rate.and_then(frame_rate).map(|rate| {
            let rate = QuotedOrUnquoted::Unquoted(format!("{rate:.3}"));
            HashMap::from([("FRAME-RATE".to_owned(), rate)])
        }),
        ..VariantStream::default()
    }
}

/// Nothing that could leave the quoted string or the list (RFC 6381 §3.2 allows no more).
fn is_codec(codec: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !codec.is_empty() && codec.bytes().all(allowed)
}

/// The rate whose three decimals are told (RFC 8216 §4.3.4.2).
fn frame_rate((numerator, denominator): (u32, u32)) -> Option<f64> {
    let rate = f64::from(numerator) / f64::from(denominator);
    (rate.is_finite() && rate >= 0.0005).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variant() -> Variant {
        Variant {
            uri: "20251121T034455123-9f2c/media.m3u8".to_owned(),
            bandwidth: 2_630_000,
            average_bandwidth: Some(2_100_000),
            codecs: vec!["avc1.64001f".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some((1280, 720)),
            frame_rate: Some((30_000, 1001)),
        }
    }

    #[test]
    fn attributes_are_there_or_absent() {
        let check = |variant: Variant, independent, expected: &str| {
            let text = render(std::slice::from_ref(&variant), independent);
            assert_eq!(text, format!("#EXTM3U\n#EXT-X-VERSION:3\n{expected}"));
            let back = m3u8_rs::parse_master_playlist_res(text.as_bytes()).expect(&text);
            let [back_variant] = &back.variants[..] else {
                panic!("one variant: {text}")
            };
            let rate = variant.frame_rate.and_then(frame_rate);
            let read = back_variant.frame_rate;
            assert_eq!(read, rate.map(|rate| (rate * 1000.0).round() / 1000.0));
            let (read, told) = (back_variant.clone(), value(&variant));
            let rest = |variant| VariantStream {
                frame_rate: None,
                other_attributes: None,
                ..variant
            };
            assert_eq!(rest(read), rest(told));
            assert_eq!(back.independent_segments, independent);
        };
        check(
            variant(),
            true,
            "#EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-STREAM-INF:BANDWIDTH=2630000,AVERAGE-BANDWIDTH=2100000,\
             CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970\n\
             20251121T034455123-9f2c/media.m3u8\n",
        );
        let sound = Variant {
            codecs: vec!["mp4a.40.34".to_owned()],
            resolution: None,
            frame_rate: None,
            average_bandwidth: None,
            ..variant()
        };
        check(
            sound,
            false,
            "#EXT-X-STREAM-INF:BANDWIDTH=2630000,CODECS=\"mp4a.40.34\"\n\
             20251121T034455123-9f2c/media.m3u8\n",
        );
        let unknown = Variant {
            bandwidth: 0,
            average_bandwidth: Some(0),
            codecs: vec!["a\",B=\"\n".to_owned()],
            resolution: Some((0, 0)),
            frame_rate: Some((25, 0)),
            ..variant()
        };
        check(
            unknown,
            false,
            "#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n\
             20251121T034455123-9f2c/media.m3u8\n",
        );
    }
}
