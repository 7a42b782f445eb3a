//! Transport packets (ISO 13818-1 §2.4.3): 188 bytes, their headers, counters and stuffing.
//!
//! Does not know what the payload is.

use super::packets::Packets;
use crate::media::Timestamp;

/// Bytes of a packet.
pub(super) const PACKET_LEN: usize = 188;
/// Bytes of a packet's header, and behind it.
pub(super) const HEADER_LEN: usize = 4;
pub(super) const BODY_LEN: usize = PACKET_LEN - HEADER_LEN;
/// Adaptation field with flags only: its length byte and the flags.
const FLAGS_LEN: usize = 2;
/// The PCR inside an adaptation field.
const PCR_LEN: usize = 6;

const SYNC: u8 = 0x47;
const UNIT_START: u8 = 0x40;
const HAS_PAYLOAD: u8 = 0x10;
const HAS_ADAPTATION: u8 = 0x20;
const STUFFING: [u8; BODY_LEN] = [0xff; BODY_LEN];

/// What is added to a time of the output timeline when it is written: 10 s, so that neither audio
/// a little before the first picture nor the clock, which runs ahead of the frames, is negative.
const ORIGIN: i64 = 900_000;

/// A time as packets carry it: 90 kHz from [`ORIGIN`], modulo 2^33.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticks33(u64);

impl From<Timestamp> for Ticks33 {
    fn from(time: Timestamp) -> Self {
        // Two's complement: the low 33 bits are the remainder, of negative times too.
        Self(time.ticks().wrapping_add(ORIGIN).cast_unsigned() & 0x1_ffff_ffff)
    }
}

impl Ticks33 {
    pub(super) const fn get(self) -> u64 {
        self.0
    }
}

/// What the adaptation field of a packet says. Stuffing comes by itself.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Adaptation {
    /// The time base changes with the PCR of this packet.
    pub(super) discontinuity: bool,
    /// Decoding can start here.
    pub(super) random_access: bool,
    pub(super) pcr: Option<Ticks33>,
}

impl Adaptation {
    const fn len(&self) -> usize {
        match (self.pcr, self.random_access || self.discontinuity) {
            (Some(_), _) => FLAGS_LEN.saturating_add(PCR_LEN),
            (None, true) => FLAGS_LEN,
            (None, false) => 0,
        }
    }

    /// Writes the field in `len` bytes, of which the first counts the others (§2.4.3.4).
    fn write(&self, len: usize, out: &mut Packets) {
        let Some(following) = len.checked_sub(1) else {
            return;
        };
        out.put(&[u8::try_from(following).unwrap_or(u8::MAX)]);
        let Some(mut stuffing) = following.checked_sub(1) else {
            return;
        };
        let flags = u8::from(self.discontinuity) << 7
            | u8::from(self.random_access) << 6
            | u8::from(self.pcr.is_some()) << 4;
        out.put(&[flags]);
        if let Some(Ticks33(base)) = self.pcr {
            // 33 bits of base, 6 reserved ones, 9 bits of extension: always 0, our clock has 90 kHz.
            let [_, _, field @ ..] = (base << 15 | 0x7e00).to_be_bytes();
            out.put(&field);
            stuffing = stuffing.saturating_sub(PCR_LEN);
        }
        out.put(STUFFING.get(..stuffing).unwrap_or_default());
    }
}

/// The packets of one PID.
#[derive(Debug)]
pub(super) struct PidStream {
    pid: u16,
    /// Continuity counter of the next packet that has a payload; runs on over segments.
    counter: u8,
}

impl PidStream {
    pub(super) const fn new(pid: u16) -> Self {
        Self { pid, counter: 0 }
    }

    /// A packet without payload. Leaves the counter alone: it repeats the one before (§2.4.3.3).
    pub(super) fn write_adaptation(&mut self, adaptation: &Adaptation, out: &mut Packets) {
        out.begin_packet();
        let [high, low] = self.pid.to_be_bytes();
        let counter = self.counter.wrapping_sub(1) & 0x0f;
        out.put(&[SYNC, high, low, HAS_ADAPTATION | counter]);
        adaptation.write(BODY_LEN, out);
    }

    fn header(&mut self, start: bool, adaptation: bool) -> [u8; HEADER_LEN] {
        let [high, low] = self.pid.to_be_bytes();
        let start = if start { UNIT_START } else { 0 };
        let adaptation = if adaptation { HAS_ADAPTATION } else { 0 };
        let counter = self.counter;
        self.counter = self.counter.wrapping_add(1) & 0x0f;
        [SYNC, high | start, low, HAS_PAYLOAD | adaptation | counter]
    }
}

/// A payload of known length on its way into packets, piece by piece. Its owner puts exactly the
/// bytes announced; what is short in the last packet becomes stuffing in its adaptation field.
pub(super) struct Payload<'a> {
    out: &'a mut Packets,
    stream: &'a mut PidStream,
    /// Bytes still to come.
    left: usize,
    /// Bytes that still go into the packet begun last.
    room: usize,
    /// What the packet to be begun next carries beside payload.
    rides: Option<Adaptation>,
}

impl<'a> Payload<'a> {
    /// Begins with the first packet, which carries `adaptation` and the unit start indicator.
    pub(super) fn begin(
        stream: &'a mut PidStream,
        adaptation: &Adaptation,
        len: usize,
        out: &'a mut Packets,
    ) -> Self {
        Self::begin_with(stream, adaptation, len, adaptation.len(), out)
    }

    /// The same, but its last packet has an adaptation field with flags in any case: that shows the
    /// end of a payload that does not say its length.
    pub(super) fn begin_unbounded(
        stream: &'a mut PidStream,
        adaptation: &Adaptation,
        len: usize,
        out: &'a mut Packets,
    ) -> Self {
        let beside = adaptation.len();
        let before = len.saturating_add(beside).saturating_sub(1);
        let last = (before % BODY_LEN).saturating_add(1);
        // If there is no room for it, the first packet leaves so much that one more follows.
        let more = match BODY_LEN.saturating_sub(last) {
            room if room < FLAGS_LEN => room.saturating_add(1),
            _ => 0,
        };
        Self::begin_with(stream, adaptation, len, beside.saturating_add(more), out)
    }

    fn begin_with(
        stream: &'a mut PidStream,
        adaptation: &Adaptation,
        len: usize,
        beside: usize,
        out: &'a mut Packets,
    ) -> Self {
        let mut payload = Self {
            out,
            stream,
            left: len,
            room: 0,
            rides: None,
        };
        payload.begin_packet(true, adaptation, beside);
        payload
    }

    /// Lets the next packet that is begun carry this; it is lost if none follows.
    pub(super) fn ride(&mut self, adaptation: Adaptation) {
        self.rides = Some(adaptation);
    }

    /// Appends bytes; ignores what was not announced.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        debug_assert!(bytes.len() <= self.left, "more payload than announced");
        let mut bytes = bytes.get(..self.left).unwrap_or(bytes);
        while !bytes.is_empty() {
            if self.room == 0 {
                let rides = self.rides.take();
                if rides.is_none() {
                    bytes = self.put_whole_packets(bytes);
                }
                if bytes.is_empty() {
                    return;
                }
                let adaptation = rides.unwrap_or_default();
                self.begin_packet(false, &adaptation, adaptation.len());
            }
            let (now, later) = bytes.split_at_checked(self.room).unwrap_or((bytes, &[]));
            self.out.put(now);
            self.room = self.room.saturating_sub(now.len());
            self.left = self.left.saturating_sub(now.len());
            bytes = later;
        }
    }

    /// The bulk of a large piece: packets without adaptation field, each copied with a length that
    /// the compiler knows. Returns the rest.
    fn put_whole_packets<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let (mut bodies, rest) = bytes.as_chunks::<BODY_LEN>();
        while !bodies.is_empty() {
            self.out.begin_packet();
            let header = || self.stream.header(false, false);
            let done = self.out.put_packets(bodies, header);
            bodies = bodies.get(done..).unwrap_or_default();
        }
        self.left = self
            .left
            .saturating_sub(bytes.len().saturating_sub(rest.len()));
        rest
    }

    /// A packet with `adaptation` in so many bytes, or more if there is less payload.
    fn begin_packet(&mut self, start: bool, adaptation: &Adaptation, beside: usize) {
        let free = BODY_LEN.saturating_sub(beside);
        self.room = free.min(self.left);
        let adaptation_len = BODY_LEN.saturating_sub(self.room);
        let header = self.stream.header(start, adaptation_len > 0);
        self.out.begin_packet();
        self.out.put(&header);
        adaptation.write(adaptation_len, self.out);
    }
}

impl Drop for Payload<'_> {
    fn drop(&mut self) {
        debug_assert!(
            self.left == 0 || std::thread::panicking(),
            "less payload than announced"
        );
    }
}
