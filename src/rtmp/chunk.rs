//! Chunks (§5.3): messages are cut into chunks, and the chunks of several messages interleave.
//!
//! [`Reader`] is the hottest loop of the server. A publisher with large chunks costs it a header and a
//! reference per chunk; one that never sets a chunk size (ffmpeg: 128 bytes) costs a copy into one buffer
//! per message instead of a slice per 128 bytes.

use super::error::ErrorKind;
use super::message::{Payload, RawMessage, StreamId, join};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use std::mem;

/// Chunk size of both directions until a Set Chunk Size (§5.4.1).
const CHUNK_SIZE_INITIAL: u32 = 128;
/// Most chunk streams of one connection; publishers use three to five, and each costs memory for ever.
pub(super) const CHUNK_STREAMS_MAX: usize = 64;
/// Longest header: three bytes of chunk stream id, eleven of message header, four of extended timestamp.
const HEADER_LEN_MAX: usize = 18;
/// The 24-bit field that says that the time stands in four more bytes.
const EXTENDED: u32 = 0xff_ffff;
/// From this length on a part of a message stays in the buffer in which it arrived; below, copying is cheaper.
const SLICE_LEN_MIN: usize = 1024;
/// First room for a message that is copied together; later its room follows what has arrived, never what was declared.
const ASSEMBLY_LEN_MIN: usize = 4096;

/// Puts the messages of one connection together.
pub(super) struct Reader {
    chunk_size: u32,
    message_size_max: usize,
    partial_bytes_max: usize,
    streams: Vec<ChunkStream>,
    /// The chunk whose payload comes next: its stream, and how many bytes are missing.
    open: Option<(usize, usize)>,
    /// A header of which only a part has arrived.
    pending: Pending,
    /// Bytes of unfinished messages, all streams together.
    partial: usize,
}

/// One chunk stream: the last header, from which the next ones inherit, and the unfinished message.
struct ChunkStream {
    id: u32,
    /// Of the present message; of the last one between messages.
    timestamp: u32,
    /// What a type 3 chunk adds when it begins a message.
    delta: u32,
    length: u32,
    type_id: u8,
    stream: StreamId,
    /// The last extended field, if the last header had one; type 3 chunks repeat it (or do not).
    extended: Option<u32>,
    /// The one byte that continues the present message, if one byte is all it takes.
    continuation: Option<u8>,
    /// Bytes that the present message lacks; 0 between messages.
    missing: usize,
    slices: Payload,
    /// So many of them, the first, are not in the read buffer.
    owned: usize,
    /// What comes behind `slices`.
    tail: BytesMut,
}

#[derive(Default)]
struct Pending {
    bytes: [u8; HEADER_LEN_MAX],
    len: usize,
}

/// A chunk header, with what it says and nothing that it inherits.
struct Header {
    len: usize,
    csid: u32,
    /// Where [`Reader::streams`] has it.
    index: Option<usize>,
    format: u8,
    /// Absolute in type 0, a difference in types 1 and 2.
    time: u32,
    length: u32,
    type_id: u8,
    stream: u32,
    extended: Option<u32>,
}

impl Reader {
    pub(super) fn new(message_size_max: usize, partial_bytes_max: usize) -> Self {
        Self {
            chunk_size: CHUNK_SIZE_INITIAL,
            message_size_max,
            partial_bytes_max,
            streams: Vec::new(),
            open: None,
            pending: Pending::default(),
            partial: 0,
        }
    }

    /// The peer's Set Chunk Size, in force from the next chunk header on.
    pub(super) fn set_chunk_size(&mut self, size: u32) -> Result<(), ErrorKind> {
        if size == 0 || size > i32::MAX.cast_unsigned() {
            return Err(ErrorKind::ChunkSize { size });
        }
        self.chunk_size = size;
        Ok(())
    }

    /// Bytes of unfinished messages.
    pub(super) const fn partial(&self) -> usize {
        self.partial
    }

    pub(super) fn set_partial_bytes_max(&mut self, max: usize) {
        self.partial_bytes_max = max;
    }

    /// The peer's Abort Message: forgets the unfinished message of a chunk stream.
    pub(super) fn abort(&mut self, csid: u32) {
        if let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == csid) {
            let held = (stream.length as usize).saturating_sub(stream.missing);
            if stream.missing > 0 {
                self.partial = self.partial.saturating_sub(held);
            }
            stream.clear();
        }
    }

    /// Tells that the input was read to its end: what is unfinished is copied out of it, so that its
    /// buffer is free for the next.
    pub(super) fn end_input(&mut self) {
        if self.partial > 0 {
            self.streams.iter_mut().for_each(ChunkStream::unpin);
        }
    }

    /// Consumes `input` up to the end of the next message. `None`: it is consumed, and the message goes on.
    pub(super) fn read(&mut self, input: &mut Bytes) -> Result<Option<RawMessage>, ErrorKind> {
        loop {
            let (index, mut left) = match self.open.take() {
                Some(open) => open,
                None => match self.read_header(input)? {
                    Some(open) => open,
                    None => return Ok(None),
                },
            };
            let Some(stream) = self.streams.get_mut(index) else {
                return Ok(None);
            };
            loop {
                let taken = stream.take(left, input);
                left = left.saturating_sub(taken);
                self.partial = self.partial.saturating_add(taken);
                if stream.missing == 0 {
                    self.partial = self.partial.saturating_sub(stream.length as usize);
                    return Ok(Some(stream.finish()));
                }
                if self.partial > self.partial_bytes_max {
                    let max = self.partial_bytes_max;
                    return Err(ErrorKind::PartialBytes { max });
                }
                if left > 0 {
                    self.open = Some((index, left));
                    return Ok(None);
                }
                // The most common header by far: the same message goes on.
                match (stream.continuation, input.first()) {
                    (Some(continuation), Some(first)) if continuation == *first => {
                        input.advance(1);
                        left = stream.missing.min(self.chunk_size as usize);
                    }
                    _ => break,
                }
            }
        }
    }

    /// Consumes a header. `None`: `input` is consumed, and the header goes on.
    fn read_header(&mut self, input: &mut Bytes) -> Result<Option<(usize, usize)>, ErrorKind> {
        let header = if self.pending.len == 0 {
            let Some(header) = self.parse_header(input)? else {
                self.pending.fill(input);
                input.clear();
                return Ok(None);
            };
            input.advance(header.len);
            header
        } else {
            let had = self.pending.len;
            let filled = self.pending.fill(input);
            let bytes = mem::take(&mut self.pending);
            let Some(header) = self.parse_header(bytes.get())? else {
                self.pending = bytes;
                input.advance(filled);
                return Ok(None);
            };
            match header.len.checked_sub(had) {
                Some(rest) => input.advance(rest),
                // What looked like the repeat of an extended timestamp is the payload.
                None => *input = join(bytes.get().get(header.len..had).unwrap_or_default(), input),
            }
            header
        };
        self.apply(&header).map(Some)
    }

    /// Parses a header; `None` if it is not all there. Changes nothing.
    fn parse_header(&self, bytes: &[u8]) -> Result<Option<Header>, ErrorKind> {
        let Some((csid, format, rest)) = parse_basic(bytes) else {
            return Ok(None);
        };
        let index = self.streams.iter().position(|stream| stream.id == csid);
        let known = index.and_then(|index| self.streams.get(index));
        if known.is_none() && format >= 2 {
            return Err(ErrorKind::NoHeader { csid, format });
        }
        let mut header = Header {
            len: 0,
            csid,
            index,
            format,
            time: 0,
            length: 0,
            type_id: 0,
            stream: 0,
            extended: None,
        };
        let Some(mut rest) = header.parse_fields(rest) else {
            return Ok(None);
        };
        if format < 3 && header.time == EXTENDED {
            let Some((extended, behind)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            header.time = u32::from_be_bytes(*extended);
            header.extended = Some(header.time);
            rest = behind;
        } else if let (3, Some(extended)) = (format, known.and_then(|stream| stream.extended)) {
            // The specification says that the field is repeated here (§5.3.1.3); ffmpeg and newer OBS do so,
            // older librtmp does not. Four equal bytes are the field, anything else is payload.
            let extended = extended.to_be_bytes();
            let here = rest.get(..4).unwrap_or(rest);
            if extended.starts_with(here) {
                if here.len() < 4 {
                    return Ok(None);
                }
                rest = rest.get(4..).unwrap_or_default();
            }
        }
        header.len = bytes.len().saturating_sub(rest.len());
        Ok(Some(header))
    }

    /// Begins or continues the message of which `header` is a chunk's: its stream, and the chunk's length.
    fn apply(&mut self, header: &Header) -> Result<(usize, usize), ErrorKind> {
        let index = match header.index {
            Some(index) => index,
            None if self.streams.len() < CHUNK_STREAMS_MAX => {
                self.streams.push(ChunkStream::new(header.csid));
                self.streams.len().saturating_sub(1)
            }
            None => {
                return Err(ErrorKind::ChunkStreams {
                    max: CHUNK_STREAMS_MAX,
                });
            }
        };
        let Some(stream) = self.streams.get_mut(index) else {
            return Ok((index, 0));
        };
        if stream.missing > 0 {
            stream.go_on(header)?;
        } else {
            stream.begin(header);
            if stream.length as usize > self.message_size_max {
                return Err(ErrorKind::MessageTooLong {
                    csid: header.csid,
                    len: stream.length,
                    max: self.message_size_max,
                });
            }
            stream.missing = stream.length as usize;
        }
        Ok((index, stream.missing.min(self.chunk_size as usize)))
    }
}

/// Chunk stream id and type (§5.3.1.1). The number names the stream, whichever form it is written in.
fn parse_basic(bytes: &[u8]) -> Option<(u32, u8, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (csid, rest) = match (first & 0x3f, rest) {
        (0, [low, rest @ ..]) => (u32::from(*low).saturating_add(64), rest),
        (1, [low, high, rest @ ..]) => (
            u32::from(u16::from_le_bytes([*low, *high])).saturating_add(64),
            rest,
        ),
        (0 | 1, _) => return None,
        (csid, rest) => (u32::from(csid), rest),
    };
    Some((csid, first >> 6, rest))
}

impl Header {
    /// Reads what a header of this type has (§5.3.1.2), without the extended timestamp.
    fn parse_fields<'a>(&mut self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        if self.format == 3 {
            return Some(bytes);
        }
        let (&[t2, t1, t0], mut rest) = bytes.split_first_chunk()?;
        self.time = u32::from_be_bytes([0, t2, t1, t0]);
        if self.format <= 1 {
            let (&[l2, l1, l0, type_id], behind) = rest.split_first_chunk()?;
            self.length = u32::from_be_bytes([0, l2, l1, l0]);
            self.type_id = type_id;
            rest = behind;
        }
        if self.format == 0 {
            let (stream, behind) = rest.split_first_chunk()?;
            self.stream = u32::from_le_bytes(*stream);
            rest = behind;
        }
        Some(rest)
    }
}

impl ChunkStream {
    fn new(id: u32) -> Self {
        Self {
            id,
            timestamp: 0,
            delta: 0,
            length: 0,
            type_id: 0,
            stream: StreamId(0),
            extended: None,
            continuation: None,
            missing: 0,
            slices: Payload::new(),
            owned: 0,
            tail: BytesMut::new(),
        }
    }

    /// A message begins.
    fn begin(&mut self, header: &Header) {
        match header.format {
            0 => {
                self.timestamp = header.time;
                self.stream = StreamId(header.stream);
            }
            1 | 2 => self.timestamp = self.timestamp.wrapping_add(header.time),
            _ => self.timestamp = self.timestamp.wrapping_add(self.delta),
        }
        if header.format <= 1 {
            self.length = header.length;
            self.type_id = header.type_id;
        }
        if header.format <= 2 {
            // Behind a type 0 chunk the delta is its timestamp (§5.3.1.2.4; FMLE does this).
            self.delta = header.time;
            self.set_extended(header.extended);
        }
    }

    /// The present message goes on. Chunks within a message should be of type 3, and others are seen:
    /// their times are those of the message, not one more step.
    fn go_on(&mut self, header: &Header) -> Result<(), ErrorKind> {
        let same = match header.format {
            0 => false,
            1 => header.length == self.length && header.type_id == self.type_id,
            _ => true,
        };
        if !same {
            let missing = u32::try_from(self.missing).unwrap_or(u32::MAX);
            return Err(ErrorKind::Interrupted {
                csid: self.id,
                missing,
            });
        }
        if header.format <= 2 {
            self.set_extended(header.extended);
        }
        Ok(())
    }

    fn set_extended(&mut self, extended: Option<u32>) {
        self.extended = extended;
        let one_byte = u8::try_from(self.id)
            .ok()
            .filter(|id| *id < 64 && extended.is_none());
        self.continuation = one_byte.map(|id| 0xc0 | id);
    }

    /// Takes at most `left` bytes of payload from `input`, and tells how many.
    fn take(&mut self, left: usize, input: &mut Bytes) -> usize {
        let taken = left.min(input.len());
        let whole = taken == self.length as usize;
        if taken > 0 && (taken >= SLICE_LEN_MIN || whole) {
            self.cut_tail();
            self.slices.push(input.split_to(taken));
        } else {
            if self.tail.capacity() == 0 {
                self.tail.reserve(ASSEMBLY_LEN_MIN);
            }
            self.tail
                .extend_from_slice(input.get(..taken).unwrap_or_default());
            input.advance(taken);
        }
        self.missing = self.missing.saturating_sub(taken);
        taken
    }

    fn finish(&mut self) -> RawMessage {
        self.cut_tail();
        self.owned = 0;
        RawMessage {
            type_id: self.type_id,
            stream: self.stream,
            timestamp: self.timestamp,
            payload: mem::take(&mut self.slices),
        }
    }

    /// What was copied together becomes a slice; the room behind it serves the next message.
    fn cut_tail(&mut self) {
        if !self.tail.is_empty() {
            self.slices.push(self.tail.split().freeze());
        }
    }

    /// Copies what has come of the present message out of the read buffer, each byte once.
    fn unpin(&mut self) {
        if self.slices.len() == self.owned {
            return;
        }
        self.cut_tail();
        let pinned = self.slices.get(self.owned..).unwrap_or_default();
        let mut copy = BytesMut::with_capacity(pinned.iter().map(Bytes::len).sum());
        pinned
            .iter()
            .for_each(|slice| copy.extend_from_slice(slice));
        self.slices.truncate(self.owned);
        self.slices.push(copy.freeze());
        self.owned = self.slices.len();
    }

    fn clear(&mut self) {
        self.missing = 0;
        self.owned = 0;
        self.slices.clear();
        self.tail.clear();
    }
}

impl Pending {
    fn get(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// Appends what fits and tells how much that was.
    fn fill(&mut self, from: &[u8]) -> usize {
        let room = self.bytes.get_mut(self.len..).unwrap_or_default();
        let taken = room.len().min(from.len());
        room.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        self.len = self.len.saturating_add(taken);
        taken
    }
}

/// Cuts the messages of one direction into chunks. Always full headers: a server's replies are few.
pub(super) struct Writer {
    chunk_size: u32,
}

impl Writer {
    pub(super) const fn new() -> Self {
        Self {
            chunk_size: CHUNK_SIZE_INITIAL,
        }
    }

    /// In force for the message behind the Set Chunk Size that the caller has just written.
    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.chunk_size = size.clamp(1, i32::MAX.cast_unsigned());
    }

    /// Appends a message on chunk stream `csid` (2 to 63).
    pub(super) fn write(
        &self,
        out: &mut BytesMut,
        csid: u8,
        (type_id, stream, timestamp): (u8, StreamId, u32),
        payload: &[u8],
    ) {
        let extended = (timestamp >= EXTENDED).then_some(timestamp);
        let len = u32::try_from(payload.len()).unwrap_or(EXTENDED);
        out.put_u8(csid & 0x3f);
        out.put_uint(timestamp.min(EXTENDED).into(), 3);
        out.put_uint(len.into(), 3);
        out.put_u8(type_id);
        out.put_u32_le(stream.0);
        extended
            .into_iter()
            .for_each(|extended| out.put_u32(extended));
        for (index, chunk) in payload.chunks(self.chunk_size as usize).enumerate() {
            if index > 0 {
                out.put_u8(0xc0 | csid);
                // Players take the stream for broken where this is missing.
                extended
                    .into_iter()
                    .for_each(|extended| out.put_u32(extended));
            }
            out.put_slice(chunk);
        }
    }
}

#[cfg(test)]
mod tests;
