//! Where mutation begins: small sound inputs for every target, made from the demo clip.

use bytes::Bytes;
use millstream::flv::{Reader, Tag, TagKind};

const DEMO: &[u8] = include_bytes!("../../assets/demo.flv");
/// Bytes of a picture that a seed keeps: its headers.
const SLICE_LEN: usize = 40;

/// The publisher's half of a handshake.
pub fn handshake() -> Vec<u8> {
    let mut bytes = vec![3];
    bytes.extend([0; 8]);
    bytes.extend((0..1528 + 1536).map(|i: u32| (i % 251) as u8));
    bytes
}

/// A message on chunk stream 3 in chunks of 128 bytes.
pub fn message(type_id: u8, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap_or_default();
    let mut bytes = vec![3, 0, 0, 0];
    bytes.extend(&len.to_be_bytes()[1..]);
    bytes.push(type_id);
    bytes.extend(if type_id == 20 { [0; 4] } else { [1, 0, 0, 0] });
    for (nth, chunk) in payload.chunks(128).enumerate() {
        if nth > 0 {
            bytes.push(0xc3);
        }
        bytes.extend(chunk);
    }
    bytes
}

fn string(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).unwrap_or_default();
    [&[2][..], &len.to_be_bytes(), text.as_bytes()].concat()
}

fn command(name: &str, id: f64, arguments: &[&str]) -> Vec<u8> {
    let mut bytes = string(name);
    bytes.push(0);
    bytes.extend(id.to_be_bytes());
    if name == "connect" {
        bytes.push(3);
        for (key, value) in [("app", "live"), ("tcUrl", "rtmp://h/live?x=1")] {
            bytes.extend(&string(key)[1..]);
            bytes.extend(string(value));
        }
        bytes.extend([0, 0, 9]);
    } else {
        bytes.push(5);
    }
    arguments.iter().for_each(|text| bytes.extend(string(text)));
    bytes
}

fn connection() -> Vec<u8> {
    let mut bytes = vec![5];
    bytes.extend([2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0, 0, 128]);
    for (name, arguments) in [
        ("connect", &[][..]),
        ("releaseStream", &["a?key=1"]),
        ("FCPublish", &["a?key=1"]),
        ("createStream", &[]),
    ] {
        bytes.extend(message(20, &command(name, 2.0, arguments)));
    }
    let mut publish = message(20, &command("publish", 5.0, &["a?key=1", "live"]));
    publish[8] = 1;
    bytes.extend(publish);
    for tag in tags().iter().take(6) {
        let kind = match tag.kind {
            TagKind::Audio => 8,
            TagKind::Video => 9,
            TagKind::Data => 18,
        };
        bytes.extend(message(kind, &tag.body.to_bytes()));
    }
    // An aggregate, an abort, a ping, an acknowledgement window.
    bytes.extend(message(
        22,
        &[8, 0, 0, 2, 0, 0, 1, 0, 0, 0, 0, 0xaf, 1, 0, 0, 0, 13],
    ));
    bytes.extend(message(2, &[0, 0, 0, 3]));
    bytes.extend(message(4, &[0, 6, 0, 0, 0, 1]));
    bytes.extend(message(5, &[0, 0, 64, 0]));
    bytes.extend(message(20, &command("FCUnpublish", 6.0, &["a"])));
    bytes
}

/// The first tags of the demo clip, with pictures cut down to their headers, still well-formed.
pub fn tags() -> Vec<Tag> {
    let mut reader = Reader::new();
    reader.push(Bytes::from_static(DEMO));
    let mut tags = Vec::new();
    while let Ok(Some(mut tag)) = reader.next_tag() {
        if tag.kind == TagKind::Video && tag.body.get(1) == Some(1) {
            let body = tag.body.to_bytes();
            let unit = body.get(9..(9 + SLICE_LEN).min(body.len()));
            let unit = unit.unwrap_or_default();
            let len = u32::try_from(unit.len()).unwrap_or_default();
            let small = [&body[..5], &len.to_be_bytes(), unit].concat();
            tag.body = Bytes::from(small).into();
        }
        tags.push(tag);
        if tags.len() == 400 {
            break;
        }
    }
    tags
}

/// Tags as the target `pipeline` reads them.
pub fn packed(tags: &[Tag]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for tag in tags {
        let body = tag.body.to_bytes();
        bytes.push(match tag.kind {
            TagKind::Audio => 0,
            TagKind::Video => 1,
            TagKind::Data => 2,
        });
        bytes.extend(tag.timestamp_ms.to_le_bytes());
        bytes.extend(u16::try_from(body.len()).unwrap_or(u16::MAX).to_le_bytes());
        bytes.extend(&body[..body.len().min(0xffff)]);
    }
    bytes
}

/// Enhanced headers, multitrack, ModEx, HEVC by its old id.
fn enhanced() -> Vec<Vec<u8>> {
    let all = tags();
    let avc = |first: u8| {
        all.iter()
            .find(|tag| tag.kind == TagKind::Video && tag.body.get(1) == Some(first))
    };
    let body = |first: u8, skip: usize| {
        let body = avc(first)
            .map(|tag| tag.body.to_bytes())
            .unwrap_or_default();
        body.get(skip..).unwrap_or_default().to_vec()
    };
    let (record, frame) = (body(0, 5), body(1, 5));
    vec![
        [b"\x90avc1".as_slice(), &record].concat(),
        [b"\x91avc1\0\0\0".as_slice(), &frame].concat(),
        [b"\x93avc1".as_slice(), &frame].concat(),
        [b"\x96\x00avc1\x01".as_slice(), &record].concat(),
        [b"\x96\x11avc1\x00\0\0\x28".as_slice(), &frame].concat(),
        [b"\x97\x02\0\0\x10\x03avc1".as_slice(), &frame].concat(),
        [b"\x90hvc1".as_slice(), &record].concat(),
        [b"\x1c\0\0\0\0".as_slice(), &record].concat(),
        [b"\x94mp4a\x01\x06\0\0\0\x3f".as_slice()].concat(),
        [b"\x90mp4a".as_slice(), &[0x12, 0x10]].concat(),
        [b"\xd4hvc1\x02\0\x09colorInfo".as_slice()].concat(),
    ]
}

fn enhanced_tags() -> Vec<Tag> {
    let bodies = enhanced().into_iter();
    let tag = |(nth, body): (usize, Vec<u8>)| Tag {
        kind: if body.windows(4).any(|four| four == b"mp4a") {
            TagKind::Audio
        } else {
            TagKind::Video
        },
        timestamp_ms: nth as u32 * 40,
        body: Bytes::from(body).into(),
    };
    bodies.enumerate().map(tag).collect()
}

/// Puts the inputs of a target where libFuzzer begins; what it finds is added beside them and stays out
/// of git.
pub fn write(target: &str) {
    let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let folder = corpus.join(target);
    std::fs::create_dir_all(&folder).expect("fuzz/ can be written to");
    for (nth, seed) in of(target).iter().enumerate() {
        std::fs::write(folder.join(format!("seed-{nth}")), seed).expect("fuzz/ can be written to");
    }
}

/// Sound inputs for a target.
pub fn of(target: &str) -> Vec<Vec<u8>> {
    let tags = tags();
    match target {
        "handshake" => vec![[&[3][..], &handshake(), &connection()[1..]].concat()],
        "session" => vec![connection()],
        "amf0" => {
            let data = tags.iter().filter(|tag| tag.kind == TagKind::Data);
            let mut seeds: Vec<_> = data.map(|tag| tag.body.to_bytes().to_vec()).collect();
            seeds.push(command("connect", 1.0, &["x"]));
            seeds.push(command("publish", 5.0, &["a", "live"]));
            // Strict array, date, long string, reference, typed object, XML, AMF3.
            seeds.push(
                [&[10, 0, 0, 0, 2, 5, 6, 11][..], &[0; 10], &[12, 0, 0, 0, 1, b'x', 7, 0, 1, 16, 0, 1, b'c', 0, 0, 9, 15, 0, 0, 0, 0, 17, 1]]
                    .concat(),
            );
            seeds
        }
        "flv" => vec![
            [&[0][..], &DEMO[..12_000]].concat(),
            [&[1][..], &DEMO[..700]].concat(),
        ],
        "records" => {
            let configurations = tags.iter().filter(|tag| tag.body.get(1) == Some(0));
            let mut seeds: Vec<_> = configurations
                .map(|tag| tag.body.to_bytes().to_vec())
                .map(|body| body[if body[0] & 0xf == 7 { 5 } else { 2 }..].to_vec())
                .collect();
            seeds.extend(tags.iter().filter(|tag| tag.kind == TagKind::Video).skip(1).take(2).map(|tag| tag.body.to_bytes()[5..].to_vec()));
            // x265's record begins so; MP3 and ADTS headers.
            seeds.push(b"\x01\x01\x60\x00\x00\x00\x90\x00\x00\x00\x00\x00\x5d\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x01\xa0\x00\x01\x00\x18\x40\x01\x0c\x01\xff\xff\x01\x60\x00\x00\x03\x00\x90\x00\x00\x03\x00\x00\x03\x00\x5d\x95\x98\x09".to_vec());
            seeds.push(b"\xff\xfb\x90\x64".to_vec());
            seeds.push(b"\xff\xf1\x50\x80\x02\x1f\xfc\x21".to_vec());
            seeds
        }
        "timeline" => vec![(0..=200).collect(), vec![0, 40, 1, 23, 0, 40, 1, 23]],
        "pipeline" => vec![
            packed(&tags[..120]),
            packed(&tags[..20]),
            packed(&enhanced_tags()),
            packed(&[&tags[..3], &enhanced_tags(), &tags[3..30]].concat()),
        ],
        "salvage" => vec![super::media::muxed(&tags[..60]), super::media::muxed(&tags[..12])],
        "playlists" => vec![
            (0..=255).collect(),
            b"{\"recording\":{\"version\":1,\"channel\":\"live/a\",\"began_ms\":0}}\n{\"segment\":{\"number\":0,\"start\":0,\"date_ms\":5,\"duration\":180000,\"size\":9,\"target_duration_s\":2}}\n{\"lost\":{\"number\":0}}\n{\"end\":{\"ended_ms\":7}}\n".to_vec(),
        ],
        "names" => [
            "live/a/index.m3u8",
            "live/x/y/clip-goal.m3u8",
            "live/a/20261121-120000-123-abcd/0000/00000012.ts",
            "live/a/20261121-120000-123-abcd/media.m3u8",
            "live/..%2f..%2fx",
            "../../etc/passwd",
        ]
        .map(|name| name.as_bytes().to_vec())
        .to_vec(),
        "oss" => [
            "GET\nyard.oss.localhost:9000\n/barn?live\nauthorization: OSS id:c2ln\ndate: Sat, 21 Nov 2026 12:00:00 GMT\n\n",
            "PUT\nlocalhost\n/yard/barn?live&x-oss-signature-version=OSS2&x-oss-expires=9999999999&x-oss-access-key-id=id&x-oss-signature=c2ln\n\n<LiveChannelConfiguration><Description>x</Description><Target><Type>HLS</Type><FragDuration>2</FragDuration><FragCount>3</FragCount></Target></LiveChannelConfiguration>",
            "GET\nlocalhost\n/yard/%62arn/a.m3u8?OSSAccessKeyId=id&Expires=1999999999&Signature=c2ln%3d\n\n",
            "GET\nlocalhost\n/?prefix=a\nauthorization: OSS4-HMAC-SHA256 Credential=id/20261121/cn/oss/aliyun_v4_request, AdditionalHeaders=host, Signature=00ff\nx-oss-date: 20261121T120000Z\n\n",
            "GET\nlocalhost\n/yard/barn/x.ts?x-oss-signature-version=OSS4-HMAC-SHA256&x-oss-credential=id/20261121/cn/oss/aliyun_v4_request&x-oss-date=20261121T120000Z&x-oss-expires=60&x-oss-signature=00ff\n\n",
            "GET\nlocalhost\n/\nauthorization: OSS2 AccessKeyId:id,Signature:c2ln\n\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec(),
        "proxy" => vec![
            b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n\x03".to_vec(),
            b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n".to_vec(),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb".to_vec(),
            b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
        ],
        _ => Vec::new(),
    }
}
