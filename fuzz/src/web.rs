//! What comes over HTTP: paths, and the requests of foreign APIs.

use super::feed::Feed;
use millstream::compat::oss::fuzzing;
use millstream::id::{ChannelId, ChannelName, HubName, RecordingId};
use millstream::key::{MediaPath, RecordingKey};
use millstream::net::fuzzing::preface;

/// A name or a path that is accepted names one thing, reads back, and stays in its folder.
pub fn names(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let contained = |path: &str| {
        assert!(
            !path.starts_with('/') && !path.contains(['\\', '\0', '\n', '"', '%']),
            "{path:?}"
        );
        assert!(
            path.split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.')),
            "{path:?}"
        );
    };
    if let Some(path) = MediaPath::parse(&text) {
        contained(&path.to_string());
        assert_eq!(MediaPath::parse(&path.to_string()), Some(path));
    }
    if let Ok(hub) = HubName::new(&text) {
        contained(hub.as_str());
    }
    if let Ok(name) = ChannelName::new(&text) {
        contained(name.as_str());
        assert!(!name.as_str().contains('/'));
    }
    if let Ok(channel) = text.parse::<ChannelId>() {
        contained(&channel.to_string());
        assert_eq!(channel.to_string().parse::<ChannelId>().ok(), Some(channel));
    }
    if let Ok(recording) = text.parse::<RecordingId>() {
        contained(recording.as_str());
        let _ = recording.unix_ms();
    }
    for key in [
        RecordingKey::of_marker(&text),
        RecordingKey::of_journal(&text),
    ]
    .into_iter()
    .flatten()
    {
        contained(&key.folder());
    }
}

/// A request to the OSS API: method, host, target, headers and body in lines, as in the seeds.
pub fn oss(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let mut line = || lines.next().unwrap_or_default();
    let (method, host, target) = (line(), line(), line());
    let headers: Vec<_> = head
        .lines()
        .skip(3)
        .filter_map(|line| line.split_once(": "))
        .collect();
    let mut feed = Feed::new(data);
    let now = if feed.u8().is_ascii() {
        1_795_262_400
    } else {
        feed.i64()
    };
    let trusted = fuzzing::request(method, host, target, &headers, body.as_bytes(), now);
    assert!(!trusted, "a request that nobody signed is the owner's");
}

/// A PROXY preface, as it arrives: what is whole stays what it is, what is wrong stays wrong, and it is
/// never longer than what was there.
pub fn proxy(data: &[u8]) {
    let mut before = Ok(None);
    for end in 0..=data.len().min(4096) {
        let read = preface(&data[..end]);
        if let Ok(Some((len, _))) = read {
            assert!(len <= end, "{len} bytes of {end}");
        }
        if before != Ok(None) {
            assert_eq!(read, before, "at {end}");
        }
        before = read;
    }
}
