//! Playlists and the index of a recording, from any segments and any text.

use super::feed::Feed;
use millstream::control::journal::{Index, Line, Marker};
use millstream::media::{Duration, Segment, Timestamp, WallTime};
use millstream::playlist::{Window, WindowConfig, vod};

/// Any segments give playlists that another parser reads as they were meant; any text is an index.
pub fn playlists(data: &[u8]) {
    index(data);
    let mut feed = Feed::new(data);
    let target_duration_s = u32::from(feed.u8() % 30) + 1;
    let config = WindowConfig {
        segments: usize::from(feed.u8() % 20),
        target_duration_s,
    };
    let mut window = Window::new(config);
    let mut all = Vec::new();
    let mut date = 1_763_700_000_000;
    let (mut before, mut gone) = (Vec::<String>::new(), 0);
    for number in u64::from(feed.u32()).. {
        if feed.is_empty() {
            break;
        }
        let flags = feed.u8();
        // The segmenter keeps its promise; playlists only repeat it.
        let longest = i64::from(target_duration_s) * 90_000 + 44_999;
        let duration = i64::from(feed.u32()) % longest + 1;
        let segment = Segment {
            number,
            start: Timestamp::from_ticks(feed.i64()),
            program_date_time: WallTime::from_unix_ms(date),
            duration: Duration::from_ticks(duration),
            size: feed.u32().into(),
            discontinuity: flags & 1 != 0,
            independent: flags & 2 == 0,
            gap: flags & 4 != 0,
            parts: Vec::new(),
        };
        date += duration / 90;
        window.push(segment.clone()).expect("it is the next one");
        all.push(segment);
        let text = window.render();
        let parsed = strict(&text, target_duration_s);
        let uris: Vec<_> = parsed.segments.iter().map(|s| s.uri.clone()).collect();
        // Nothing leaves but from the front, and the sequence counts it.
        let left = before.iter().take_while(|uri| **uri != uris[0]).count();
        assert_eq!(&before[left..], &uris[..uris.len() - 1], "{text}");
        gone += left as u64;
        assert_eq!(parsed.media_sequence, all[0].number + gone);
        before = uris;
    }
    if all.is_empty() {
        return;
    }
    for ended in [false, true] {
        let text = vod::render(target_duration_s, None, &all, ended);
        let parsed = strict(&text, target_duration_s);
        assert_eq!((parsed.segments.len(), parsed.end_list), (all.len(), ended));
    }
    let lines: String = all
        .iter()
        .map(|s| Line::segment(s, target_duration_s).to_text())
        .collect();
    let index = Index::parse(lines.as_bytes());
    assert_eq!(index.segments, all);
}

fn index(text: &[u8]) {
    let whole = Index::parse(text);
    assert_eq!(whole.segments.len(), Index::ends(text).len());
    let _ = Marker::parse(text);
}

fn strict(text: &str, target_duration_s: u32) -> m3u8_rs::MediaPlaylist {
    assert!(text.starts_with("#EXTM3U\n") && text.ends_with('\n') && !text.contains('\r'));
    let (rest, parsed) = m3u8_rs::parse_media_playlist(text.as_bytes()).expect("a playlist");
    assert!(rest.is_empty(), "{text}");
    assert_eq!(parsed.target_duration, u64::from(target_duration_s));
    for segment in &parsed.segments {
        assert!(
            segment.duration >= 0.0
                && segment.duration.round() <= f32::from(target_duration_s as u16),
            "{text}"
        );
    }
    parsed
}
