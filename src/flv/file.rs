//! The framing of an FLV file (Adobe FLV specification 10.1, annex E.2 to E.4): header, tags, trailers.
//!
//! Without I/O: fed with whatever was read, in any split, it yields whole tags that share the bytes
//! they were fed. It trusts tags: the track flags of the header and the sizes after each tag are
//! not looked at, because writers get them wrong. What a tag means is [`super::demux`]'s business.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use crate::media::Rope;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;

/// What a tag carries, and so what an RTMP message carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum TagKind {
    /// Type 8.
    Audio,
    /// Type 9.
    Video,
    /// Type 18: named AMF0 values.
    Data,
}

/// One tag of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tag {
    /// What it carries.
    pub kind: TagKind,
    /// Decoding time in milliseconds, with its extension byte.
    pub timestamp_ms: u32,
    /// The bytes, at most 16 MiB as the size field has 24 bits.
    pub body: Rope,
}

/// What is wrong with a file. Nothing can be read after any of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FileError {
    /// It does not begin with `FLV`.
    #[error("not an FLV file: it does not begin with \"FLV\"")]
    NotFlv,
    /// The header claims a length beyond [`HEADER_BYTES_MAX`].
    #[error("FLV header of {0} bytes is longer than {HEADER_BYTES_MAX}")]
    HeaderTooLong(u32),
    /// A tag is encrypted (filter bit).
    #[error("FLV tag at byte {offset} is encrypted")]
    Encrypted {
        /// Where the tag begins.
        offset: u64,
    },
    /// The file ends within a tag; all tags before it were good.
    #[error("FLV file ends within the tag at byte {offset}: {missing} bytes are missing")]
    Truncated {
        /// Where the tag begins.
        offset: u64,
        /// How many bytes are missing at least.
        missing: u64,
    },
}

/// Bytes of header that are skipped at most; files have 9.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;

/// Reads tags from the bytes of a file.
///
/// Holds what was fed and not yet taken: a caller that takes all tags after each feed never makes it
/// hold more than one tag and one feed.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Buffer,
    state: State,
    offset: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    FileHeader,
    /// Bytes to skip before the next tag: rest of the header, trailer of a tag, body of an unknown one.
    Skip(usize),
    Tag,
    Failed(FileError),
}

impl Reader {
    /// A reader at the beginning of a file.
    pub fn new() -> Self {
        Self::default()
    }

    /// Feeds the next bytes of the file.
    pub fn push(&mut self, bytes: Bytes) {
        self.buffer.push(bytes);
    }

    /// The next tag; `None` if it has not arrived whole.
    pub fn next_tag(&mut self) -> Result<Option<Tag>, FileError> {
        let result = self.step_to_tag();
        if let Err(error) = result {
            self.state = State::Failed(error);
        }
        result
    }

    /// To be called at the end of the file: whether it ends where a tag ends.
    pub fn finish(self) -> Result<(), FileError> {
        let truncated = |missing: usize| {
            Err(FileError::Truncated {
                offset: self.offset,
                missing: missing as u64,
            })
        };
        let held = self.buffer.len;
        match self.state {
            State::Failed(error) => Err(error),
            State::FileHeader => truncated(FILE_HEADER_LEN.saturating_sub(held)),
            // The trailer of the last tag carries nothing; many writers cut it off.
            State::Skip(left) if left <= TRAILER_LEN => Ok(()),
            State::Skip(left) => truncated(left),
            State::Tag if held == 0 => Ok(()),
            State::Tag => {
                let whole = self
                    .buffer
                    .tag_header()
                    .map_or(TAG_HEADER_LEN, |header| header.whole_len());
                truncated(whole.saturating_sub(held))
            }
        }
    }

    fn step_to_tag(&mut self) -> Result<Option<Tag>, FileError> {
        loop {
            match self.state {
                State::Failed(error) => return Err(error),
                State::FileHeader => match self.read_file_header()? {
                    Some(skip) => self.state = State::Skip(skip),
                    None => return Ok(None),
                },
                State::Skip(left) => {
                    let skipped = self.take(left).len();
                    let left = left.saturating_sub(skipped);
                    if left > 0 {
                        self.state = State::Skip(left);
                        return Ok(None);
                    }
                    self.state = State::Tag;
                }
                State::Tag => {
                    let Some(header) = self.buffer.tag_header() else {
                        return Ok(None);
                    };
                    if header.encrypted {
                        return Err(FileError::Encrypted {
                            offset: self.offset,
                        });
                    }
                    let Some(kind) = header.kind else {
                        self.state = State::Skip(header.whole_len().saturating_add(TRAILER_LEN));
                        continue;
                    };
                    if self.buffer.len < header.whole_len() {
                        return Ok(None);
                    }
                    self.take(TAG_HEADER_LEN);
                    let body = self.take(header.body_len);
                    self.state = State::Skip(TRAILER_LEN);
                    return Ok(Some(Tag {
                        kind,
                        timestamp_ms: header.timestamp_ms,
                        body,
                    }));
                }
            }
        }
    }

    /// Takes the file header if it is there; returns what is to be skipped up to the first tag.
    fn read_file_header(&mut self) -> Result<Option<usize>, FileError> {
        let mut header = [0; FILE_HEADER_LEN];
        let held = self.buffer.peek(&mut header);
        if header.iter().zip(b"FLV").take(held).any(|(a, b)| a != b) {
            return Err(FileError::NotFlv);
        }
        if held < FILE_HEADER_LEN {
            return Ok(None);
        }
        let [_, _, _, _, _, a, b, c, d] = header;
        let claimed = u32::from_be_bytes([a, b, c, d]);
        if claimed > HEADER_BYTES_MAX {
            return Err(FileError::HeaderTooLong(claimed));
        }
        self.take(FILE_HEADER_LEN);
        let rest = (claimed as usize).saturating_sub(FILE_HEADER_LEN);
        Ok(Some(rest.saturating_add(TRAILER_LEN)))
    }

    fn take(&mut self, len: usize) -> Rope {
        let rope = self.buffer.take(len);
        self.offset = self.offset.saturating_add(rope.len() as u64);
        rope
    }
}

const FILE_HEADER_LEN: usize = 9;
const TAG_HEADER_LEN: usize = 11;
/// PreviousTagSize.
const TRAILER_LEN: usize = 4;

struct TagHeader {
    kind: Option<TagKind>,
    encrypted: bool,
    body_len: usize,
    timestamp_ms: u32,
}

impl TagHeader {
    const fn whole_len(&self) -> usize {
        self.body_len.saturating_add(TAG_HEADER_LEN)
    }
}

/// What was fed and not yet taken.
#[derive(Debug, Default)]
struct Buffer {
    slices: VecDeque<Bytes>,
    len: usize,
}

impl Buffer {
    fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len = self.len.saturating_add(slice.len());
            self.slices.push_back(slice);
        }
    }

    /// Copies the first bytes to `out`; returns how many there were.
    fn peek(&self, out: &mut [u8]) -> usize {
        let mut bytes = self.slices.iter().flatten();
        let mut done: usize = 0;
        for (target, byte) in out.iter_mut().zip(&mut bytes) {
            *target = *byte;
            done = done.saturating_add(1);
        }
        done
    }

    fn tag_header(&self) -> Option<TagHeader> {
        let mut header = [0; TAG_HEADER_LEN];
        if self.peek(&mut header) < TAG_HEADER_LEN {
            return None;
        }
        let [first, l0, l1, l2, t0, t1, t2, t3, _, _, _] = header;
        Some(TagHeader {
            kind: match first & 0x1f {
                8 => Some(TagKind::Audio),
                9 => Some(TagKind::Video),
                18 => Some(TagKind::Data),
                _ => None,
            },
            encrypted: first & 0x20 != 0,
            body_len: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            timestamp_ms: u32::from_be_bytes([t3, t0, t1, t2]),
        })
    }

    /// Takes up to `len` bytes; copies none.
    fn take(&mut self, len: usize) -> Rope {
        let mut rope = Rope::new();
        let mut left = len;
        while left > 0 {
            let Some(front) = self.slices.front_mut() else {
                break;
            };
            if front.len() > left {
                rope.push(front.split_to(left));
                break;
            }
            left = left.saturating_sub(front.len());
            rope.push(self.slices.pop_front().unwrap_or_default());
        }
        self.len = self.len.saturating_sub(rope.len());
        rope
    }
}

/// Writes the header of a file that may hold audio and video, and the trailer before the first tag.
pub fn write_header(out: &mut BytesMut) {
    out.extend_from_slice(b"FLV\x01\x05\0\0\0\x09\0\0\0\0");
}

/// Writes one tag and its trailer. Returns false, and writes nothing, if the body is larger than the size field can tell.
pub fn write_tag(out: &mut BytesMut, kind: TagKind, timestamp_ms: u32, body: &Rope) -> bool {
    let Some(len) = u32::try_from(body.len())
        .ok()
        .filter(|&len| len < 0x0100_0000)
    else {
        return false;
    };
    let [_, l0, l1, l2] = len.to_be_bytes();
    let [t3, t0, t1, t2] = timestamp_ms.to_be_bytes();
    let first = match kind {
        TagKind::Audio => 8,
        TagKind::Video => 9,
        TagKind::Data => 18,
    };
    out.extend_from_slice(&[first, l0, l1, l2, t0, t1, t2, t3, 0, 0, 0]);
    for slice in body.slices() {
        out.extend_from_slice(slice);
    }
    out.extend_from_slice(&len.saturating_add(TAG_HEADER_LEN as u32).to_be_bytes());
    true
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(tags: &[(TagKind, u32, &'static [u8])]) -> Bytes {
        let mut out = BytesMut::new();
        write_header(&mut out);
        for &(kind, timestamp_ms, body) in tags {
            assert!(write_tag(
                &mut out,
                kind,
                timestamp_ms,
                &Bytes::from_static(body).into()
            ));
        }
        out.freeze()
    }

    /// What is in a file that arrives in pieces of these lengths, over and over.
    fn read(file: &Bytes, pieces: &[usize]) -> (Vec<Tag>, Result<(), FileError>) {
        let mut reader = Reader::new();
        let mut tags = Vec::new();
        let mut rest = file.clone();
        for &len in pieces.iter().cycle() {
            while let Ok(Some(tag)) = reader.next_tag() {
                tags.push(tag);
            }
            if rest.is_empty() {
                break;
            }
            reader.push(rest.split_to(len.clamp(1, rest.len())));
        }
        (tags, reader.finish())
    }

    const TAGS: &[(TagKind, u32, &[u8])] = &[
        (TagKind::Data, 0, b"metadata"),
        (TagKind::Video, 0x0123_4567, b"video"),
        (TagKind::Audio, u32::MAX, b""),
        (TagKind::Audio, 23, b"a"),
    ];

    fn tags() -> Vec<Tag> {
        let tag = |&(kind, timestamp_ms, body)| Tag {
            kind,
            timestamp_ms,
            body: Bytes::from_static(body).into(),
        };
        TAGS.iter().map(tag).collect()
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        assert_eq!(read(&file(TAGS), &[usize::MAX]), (tags(), Ok(())));
        assert_eq!(read(&file(&[]), &[1]), (vec![], Ok(())));
    }

    #[test]
    fn bodies_share_the_bytes_they_were_fed() {
        let file = file(TAGS);
        let (tags, _) = read(&file, &[usize::MAX]);
        let within = file.as_ptr_range();
        for slice in tags.iter().flat_map(|tag| tag.body.slices()) {
            assert!(within.contains(&slice.as_ptr()));
        }
    }

    #[test]
    fn every_truncation_is_told() {
        let whole = file(TAGS);
        // Ends of the tags, without and with their trailers.
        let mut good = vec![9, 10, 11, 12, 13];
        let mut at = 13;
        for (_, _, body) in TAGS {
            at += 11 + body.len();
            good.extend(at..=at + 4);
            at += 4;
        }
        for cut in 0..=whole.len() {
            let (seen, end) = read(&whole.slice(..cut), &[usize::MAX]);
            assert_eq!(end.is_ok(), good.contains(&cut), "cut to {cut}: {end:?}");
            assert_eq!(seen[..], tags()[..seen.len()], "cut to {cut}");
        }
        let (_, end) = read(&whole.slice(..26), &[usize::MAX]);
        assert_eq!(
            end.unwrap_err().to_string(),
            "FLV file ends within the tag at byte 13: 6 bytes are missing"
        );
    }

    #[test]
    fn quirks() {
        let whole = file(TAGS);
        let check = |name: &str, change: &dyn Fn(&mut BytesMut), expected| {
            let mut bytes = BytesMut::from(&whole[..]);
            change(&mut bytes);
            assert_eq!(read(&bytes.freeze(), &[7]), expected, "{name}");
        };
        let good = || (tags(), Ok(()));
        let fails = |error| (vec![], Err(error));
        check("no flags", &|b| b[4] = 0, good());
        check("version", &|b| b[3] = 9, good());
        check("wrong trailer", &|b| b[12] = 9, good());
        check("stream id", &|b| b[23] = 1, good());
        check("header length 0", &|b| b[8] = 0, good());
        let longer = |b: &mut BytesMut| {
            b[8] = 12;
            let tail = b.split_off(9);
            b.extend_from_slice(b"abc");
            b.unsplit(tail);
        };
        check("longer header", &longer, good());
        check(
            "endless header",
            &|b| b[6] = 2,
            fails(FileError::HeaderTooLong(0x2_0009)),
        );
        check("MP4", &|b| b[0] = 0, fails(FileError::NotFlv));
        check(
            "encrypted",
            &|b| b[13] |= 0x20,
            fails(FileError::Encrypted { offset: 13 }),
        );
        let mut rest = tags();
        rest.remove(0);
        check("unknown type", &|b| b[13] = 15, (rest, Ok(())));
        check(
            "size beyond the end",
            &|b| b[14] = 0xff,
            fails(FileError::Truncated {
                offset: 13,
                missing: 0xff_0008 + 11 - (whole.len() as u64 - 13),
            }),
        );
    }

    #[test]
    fn a_body_that_the_size_cannot_tell_is_not_written() {
        let mut out = BytesMut::new();
        let body = Rope::from(Bytes::from(vec![0; 0x0100_0000]));
        assert!(!write_tag(&mut out, TagKind::Video, 0, &body));
        assert!(out.is_empty());
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_tags(pieces in prop::collection::vec(1..40_usize, 1..20)) {
            prop_assert_eq!(read(&file(TAGS), &pieces), (tags(), Ok(())));
        }

        #[test]
        fn no_bytes_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            pieces in prop::collection::vec(1..40_usize, 1..9),
        ) {
            let mut file = BytesMut::new();
            write_header(&mut file);
            file.extend_from_slice(&bytes);
            let file = file.freeze();
            prop_assert_eq!(read(&file, &pieces), read(&file, &[usize::MAX]));
            let bytes = Bytes::from(bytes);
            prop_assert_eq!(read(&bytes, &pieces), read(&bytes, &[usize::MAX]));
        }
    }
}
