//! A packet walker: reads a transport stream by the letter of ISO 13818-1 and names what breaks it.
//!
//! Strict where players are lenient: most of these defects play well in one player and not in the next.

use std::collections::BTreeMap;

const PACKET: usize = 188;
const NULL_PID: u16 = 0x1fff;
/// ISO 13818-1 §2.7.2, in units of 27 MHz.
const PCR_GAP_MAX: i64 = 2_700_000;
/// A PCR is 33 bits of 90 kHz and an extension of 27 MHz.
const PCR_WRAP: i64 = (1 << 33) * 300;
const PTS_WRAP: i64 = 1 << 33;

/// What a segment holds, as far as tests ask.
#[derive(Default, Debug)]
pub(crate) struct Segment {
    pub(crate) video: Vec<Picture>,
    /// Times of the audio PES packets, in ticks of 90 kHz, and how many frames each has.
    pub(crate) audio: Vec<(i64, usize)>,
    /// Bytes of coded media in PES payloads.
    pub(crate) payload_bytes: usize,
}

/// An access unit; times in ticks of 90 kHz.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Picture {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) key: bool,
}

impl Segment {
    /// Decoding time of its first frame.
    pub(crate) fn start(&self) -> i64 {
        let video = self.video.first().map(|picture| picture.dts);
        video.unwrap_or_else(|| self.audio.first().map_or(0, |frame| frame.0))
    }

    /// From the first to the last decoding time, in ticks.
    fn span(&self) -> i64 {
        let last = { self.video.last().map(|picture| picture.dts) }
            .or(self.audio.last().map(|frame| frame.0));
        last.map_or(0, |last| (last - self.start()).rem_euclid(PTS_WRAP))
    }

    /// Whether decoding can start at its beginning.
    pub(crate) fn is_independent(&self) -> bool {
        self.video.first().is_none_or(|picture| picture.key)
    }
}

/// Walks segments of one continuous stream, in order.
#[derive(Default)]
pub(crate) struct Walker {
    counters: BTreeMap<u16, u8>,
    last_dts: BTreeMap<u16, i64>,
    last_pcr: Option<i64>,
    program: Option<Vec<u8>>,
    faults: Vec<String>,
    at: usize,
}

/// The program of a segment.
struct Program {
    pcr_pid: u16,
    streams: BTreeMap<u16, Codec>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Codec {
    H264,
    Hevc,
    Aac,
    Mp3,
}

/// One packet, taken apart.
struct Packet<'a> {
    pid: u16,
    starts_unit: bool,
    counter: u8,
    random_access: bool,
    discontinuity: bool,
    pcr: Option<i64>,
    payload: &'a [u8],
    has_payload: bool,
}

/// A PES packet being put together.
#[derive(Default)]
struct Unit {
    bytes: Vec<u8>,
    random_access: bool,
    at: usize,
    /// The newest PCR when its last byte arrived.
    pcr: Option<i64>,
}

impl Walker {
    /// The next segment stands behind EXT-X-DISCONTINUITY: counters and clocks may start anew.
    pub(crate) fn discontinuity(&mut self) {
        *self = Self::default();
    }

    /// Reads one segment, or tells all that is wrong with it.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> Result<Segment, Vec<String>> {
        self.faults.clear();
        let segment = self.read(bytes);
        if self.faults.is_empty() {
            Ok(segment)
        } else {
            Err(std::mem::take(&mut self.faults))
        }
    }

    fn fault(&mut self, text: impl AsRef<str>) {
        // The first faults tell; the rest follow from them.
        if self.faults.len() < 20 {
            self.faults
                .push(format!("packet {}: {}", self.at, text.as_ref()));
        }
    }

    fn read(&mut self, bytes: &[u8]) -> Segment {
        let mut segment = Segment::default();
        self.at = 0;
        if bytes.is_empty() || !bytes.len().is_multiple_of(PACKET) {
            self.fault(format!(
                "{} bytes are no whole number of packets",
                bytes.len()
            ));
            return segment;
        }
        let mut pmt_pid = None;
        let mut program: Option<Program> = None;
        let mut units: BTreeMap<u16, Unit> = BTreeMap::new();
        let mut pcrs = 0;
        for (at, packet) in bytes.chunks(PACKET).enumerate() {
            self.at = at;
            let packet = match parse(packet) {
                Ok(packet) => packet,
                Err(fault) => {
                    self.fault(fault);
                    continue;
                }
            };
            self.count(&packet);
            match (packet.pid, at) {
                (0, _) => pmt_pid = self.pat(&packet),
                (_, 0) => self.fault("a segment begins with the PAT"),
                (pid, _) if Some(pid) == pmt_pid => program = self.pmt(&packet),
                (_, 1) => self.fault("the PMT follows the PAT"),
                (pid, _) => {
                    let Some(program) = &program else { continue };
                    let Some(codec) = program.streams.get(&pid).copied() else {
                        self.fault(format!("PID {pid:#x} is not in the PMT"));
                        continue;
                    };
                    if let Some(pcr) = packet.pcr {
                        pcrs += 1;
                        self.pcr(pcr, pid == program.pcr_pid, packet.discontinuity);
                    }
                    if packet.starts_unit {
                        let unit = Unit {
                            random_access: packet.random_access,
                            at,
                            ..Unit::default()
                        };
                        if let Some(whole) = units.insert(pid, unit) {
                            self.unit(pid, codec, &whole, &mut segment);
                        }
                        self.starts(&packet, codec, program, &segment, units.len() == 1);
                    }
                    match units.get_mut(&pid) {
                        Some(unit) if packet.has_payload => {
                            unit.bytes.extend_from_slice(packet.payload);
                            unit.pcr = self.last_pcr;
                        }
                        Some(_) => {}
                        None if packet.has_payload => {
                            self.fault(format!("PID {pid:#x} begins in the middle of a PES packet"))
                        }
                        None => {}
                    }
                }
            }
        }
        if let Some(program) = &program {
            for (pid, unit) in &units {
                self.unit(*pid, program.streams[pid], unit, &mut segment);
            }
        } else {
            self.fault("no PMT");
        }
        if segment.video.is_empty() && segment.audio.is_empty() {
            self.fault("no media");
        }
        // The gap behind the last PCR has no other end to be measured by.
        let (ms, needed) = (segment.span() / 90, segment.span() * 300 / PCR_GAP_MAX);
        if pcrs < needed {
            self.fault(format!("{pcrs} PCRs in {ms} ms"));
        }
        segment
    }

    /// §2.4.3.3: one more for each packet with payload, the same for one without.
    fn count(&mut self, packet: &Packet<'_>) {
        let Packet {
            pid,
            counter,
            has_payload,
            ..
        } = *packet;
        if pid == NULL_PID {
            self.fault("a null packet: nothing needs them in HLS");
            return;
        }
        if let Some(last) = self.counters.insert(pid, counter) {
            let expected = if has_payload { (last + 1) % 16 } else { last };
            if counter != expected {
                self.fault(format!(
                    "PID {pid:#x} has continuity counter {counter} after {last}"
                ));
            }
        }
    }

    fn pcr(&mut self, pcr: i64, on_its_pid: bool, discontinuity: bool) {
        if !on_its_pid {
            self.fault("a PCR outside the PCR PID");
        }
        if let Some(last) = self.last_pcr {
            let gap = (pcr - last).rem_euclid(PCR_WRAP);
            if !discontinuity && !(1..=PCR_GAP_MAX).contains(&gap) {
                let ms = if gap > PCR_WRAP / 2 {
                    gap - PCR_WRAP
                } else {
                    gap
                } as f64
                    / 27_000.0;
                self.fault(format!("{ms:.1} ms from one PCR to the next"));
            }
        }
        self.last_pcr = Some(pcr);
    }

    fn pat(&mut self, packet: &Packet<'_>) -> Option<u16> {
        let table = self.section(packet, 0x00)?;
        if table.len() != 9 {
            self.fault("the PAT names one program");
        }
        Some(u16::from_be_bytes([*table.get(7)?, *table.get(8)?]) & 0x1fff)
    }

    fn pmt(&mut self, packet: &Packet<'_>) -> Option<Program> {
        let table = self.section(packet, 0x02)?;
        if self.program.as_ref().is_some_and(|known| *known != table) {
            self.fault("the PMT changes without EXT-X-DISCONTINUITY");
        }
        let program = program(&table);
        if program.is_none() {
            self.fault("the PMT does not parse or has a stream type that is not expected");
        }
        self.program = Some(table);
        program
    }

    /// The section in `packet` after its length field, without its CRC.
    fn section(&mut self, packet: &Packet<'_>, table_id: u8) -> Option<Vec<u8>> {
        let pointer = usize::from(*packet.payload.first()?);
        let section = packet.payload.get(1 + pointer..)?;
        let length = usize::from(u16::from_be_bytes([*section.get(1)?, *section.get(2)?]) & 0x0fff);
        let Some(whole) = section.get(..3 + length) else {
            self.fault("a PSI section is longer than its packet");
            return None;
        };
        if !packet.starts_unit || whole[0] != table_id {
            self.fault(format!("table id {:#x} instead of {table_id:#x}", whole[0]));
        }
        if crc32(whole) != 0 {
            self.fault("wrong CRC of a PSI section");
        }
        Some(whole[3..whole.len().checked_sub(4)?].to_vec())
    }

    /// What only the first packet of a PES packet tells.
    fn starts(
        &mut self,
        packet: &Packet<'_>,
        codec: Codec,
        program: &Program,
        segment: &Segment,
        first: bool,
    ) {
        if !first || !segment.video.is_empty() || !segment.audio.is_empty() {
            return;
        }
        if !codec.is_video() && program.has_video() {
            self.fault("audio comes before the first picture");
        }
        if packet.pcr.is_none() {
            self.fault("the first PES packet has no PCR");
        }
    }

    /// A whole PES packet (§2.4.3.6).
    fn unit(&mut self, pid: u16, codec: Codec, unit: &Unit, segment: &mut Segment) {
        self.at = unit.at;
        let header = match pes(&unit.bytes) {
            Ok(header) => header,
            Err(fault) => return self.fault(fault),
        };
        let Pes {
            id,
            pts,
            dts,
            payload,
            has_length,
        } = header;
        let right_id = if codec.is_video() {
            0xe0..=0xef
        } else {
            0xc0..=0xdf
        };
        if !right_id.contains(&id) {
            self.fault(format!("stream id {id:#x} for {codec:?}"));
        }
        if !has_length && !codec.is_video() {
            self.fault("a PES packet of audio has a length");
        }
        self.clocks(pid, dts, unit.pcr);
        segment.payload_bytes += payload.len();
        let key = match codec {
            Codec::H264 | Codec::Hevc => self.picture(codec, payload),
            Codec::Aac | Codec::Mp3 => {
                let frames = if codec == Codec::Aac {
                    adts_frames(payload)
                } else {
                    mp3_frames(payload)
                };
                match frames {
                    Some(frames) => segment.audio.push((pts, frames)),
                    None => self.fault("audio frames do not fill their PES packet"),
                }
                true
            }
        };
        if codec.is_video() {
            segment.video.push(Picture { pts, dts, key });
        }
        // §2.4.3.5: every frame of sound is a point of entry, whether it says so or not.
        if codec.is_video() && unit.random_access != key {
            let is = if key { "a" } else { "no" };
            self.fault(format!(
                "random_access_indicator is {} at {is} point of entry",
                unit.random_access
            ));
        }
    }

    fn clocks(&mut self, pid: u16, dts: i64, pcr: Option<i64>) {
        if let Some(last) = self.last_dts.insert(pid, dts)
            && !(1..PTS_WRAP / 2).contains(&(dts - last).rem_euclid(PTS_WRAP))
        {
            self.fault(format!("PID {pid:#x} has DTS {dts} after {last}"));
        }
        if let Some(pcr) = pcr {
            let lead = (dts * 300 - pcr).rem_euclid(PCR_WRAP);
            if lead == 0 || lead > PCR_WRAP / 2 {
                self.fault(format!("DTS {dts} is not after the PCR {}", pcr / 300));
            }
        }
    }

    /// The order of NAL units in an access unit; returns whether decoding can start here.
    fn picture(&mut self, codec: Codec, payload: &[u8]) -> bool {
        let kinds = nal_kinds(codec, payload);
        let is = |wanted: &[u8]| kinds.iter().any(|kind| wanted.contains(kind));
        let (delimiter, sets, key): (u8, &[u8], bool) = match codec {
            Codec::H264 => (9, &[7, 8], is(&[5])),
            _ => (35, &[32, 33, 34], is(&[16, 17, 18, 19, 20, 21])),
        };
        if !payload.starts_with(&[0, 0, 0, 1]) {
            self.fault("an access unit begins with a start code of four bytes");
        }
        if kinds.first() != Some(&delimiter)
            || kinds.iter().filter(|kind| **kind == delimiter).count() != 1
        {
            self.fault(format!(
                "one access unit delimiter, in front; NAL unit types are {kinds:?}"
            ));
        }
        if key {
            // SEI may stand between the delimiter and the parameter sets.
            let mut found: Vec<u8> = kinds
                .iter()
                .copied()
                .filter(|kind| sets.contains(kind))
                .collect();
            found.dedup();
            let first_picture = kinds.iter().position(|kind| codec.is_picture(*kind));
            let last_set = kinds.iter().rposition(|kind| sets.contains(kind));
            if found != sets || last_set > first_picture {
                self.fault(format!(
                    "parameter sets before a key frame; NAL unit types are {kinds:?}"
                ));
            }
        }
        key
    }
}

impl Codec {
    fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::Hevc)
    }

    /// Whether NAL units of this type hold coded pictures.
    fn is_picture(self, kind: u8) -> bool {
        match self {
            Self::H264 => (1..=5).contains(&kind),
            _ => kind < 32,
        }
    }
}

impl Program {
    fn has_video(&self) -> bool {
        self.streams.values().any(|codec| codec.is_video())
    }
}

fn parse(bytes: &[u8]) -> Result<Packet<'_>, String> {
    if bytes[0] != 0x47 {
        return Err(format!("sync byte {:#x}", bytes[0]));
    }
    if bytes[1] & 0x80 != 0 || bytes[3] & 0xc0 != 0 {
        return Err("transport error or scrambling".into());
    }
    let pid = u16::from_be_bytes([bytes[1], bytes[2]]) & 0x1fff;
    let (has_adaptation, has_payload) = (bytes[3] & 0x20 != 0, bytes[3] & 0x10 != 0);
    let mut packet = Packet {
        pid,
        starts_unit: bytes[1] & 0x40 != 0,
        counter: bytes[3] & 15,
        random_access: false,
        discontinuity: false,
        pcr: None,
        payload: if has_payload { &bytes[4..] } else { &[] },
        has_payload,
    };
    if has_adaptation {
        let length = usize::from(bytes[4]);
        if if has_payload {
            length > 182
        } else {
            length != 183
        } {
            return Err(format!("adaptation field of {length} bytes"));
        }
        if has_payload {
            packet.payload = &bytes[5 + length..];
        }
        let field = &bytes[5..5 + length];
        let flags = field.first().copied().unwrap_or(0);
        packet.discontinuity = flags & 0x80 != 0;
        packet.random_access = flags & 0x40 != 0;
        if flags & 0x10 != 0 {
            packet.pcr = Some(pcr(field.get(1..7).ok_or("a PCR that does not fit")?)?);
        }
    } else if !has_payload {
        return Err("neither payload nor adaptation field".into());
    }
    Ok(packet)
}

/// Six bytes of base, reserved bits and extension, in units of 27 MHz.
fn pcr(bytes: &[u8]) -> Result<i64, String> {
    let all = bytes
        .iter()
        .fold(0i64, |all, byte| all << 8 | i64::from(*byte));
    let (base, reserved, extension) = (all >> 15, (all >> 9) & 0x3f, all & 0x1ff);
    if extension >= 300 || reserved != 0x3f {
        return Err(format!(
            "PCR extension {extension}, reserved bits {reserved:#x}"
        ));
    }
    Ok(base * 300 + extension)
}

/// `table` is a PMT after its length field.
fn program(table: &[u8]) -> Option<Program> {
    let word = |at: usize| Some(u16::from_be_bytes([*table.get(at)?, *table.get(at + 1)?]));
    let pcr_pid = word(5)? & 0x1fff;
    let mut at = 9 + usize::from(word(7)? & 0x0fff);
    let mut streams = BTreeMap::new();
    while at < table.len() {
        let codec = match table[at] {
            0x1b => Codec::H264,
            0x24 => Codec::Hevc,
            0x0f => Codec::Aac,
            0x03 | 0x04 => Codec::Mp3,
            _ => return None,
        };
        streams.insert(word(at + 1)? & 0x1fff, codec);
        at += 5 + usize::from(word(at + 3)? & 0x0fff);
    }
    streams
        .contains_key(&pcr_pid)
        .then_some(Program { pcr_pid, streams })
}

struct Pes<'a> {
    id: u8,
    pts: i64,
    dts: i64,
    payload: &'a [u8],
    has_length: bool,
}

fn pes(bytes: &[u8]) -> Result<Pes<'_>, String> {
    if bytes.len() < 14 || !bytes.starts_with(&[0, 0, 1]) {
        return Err("no PES packet".into());
    }
    let length = usize::from(u16::from_be_bytes([bytes[4], bytes[5]]));
    if length != 0 && length != bytes.len() - 6 {
        return Err(format!(
            "PES packet length {length} for {} bytes",
            bytes.len() - 6
        ));
    }
    let header_end = 9 + usize::from(bytes[8]);
    let payload = bytes
        .get(header_end..)
        .ok_or("PES header is longer than its packet")?;
    if bytes[6] & 0xc0 != 0x80 || payload.is_empty() {
        return Err("PES header without its marker, or packet without payload".into());
    }
    let (pts, dts) = match bytes[7] >> 6 {
        2 => (clock(&bytes[9..], 2)?, None),
        3 => (
            clock(&bytes[9..], 3)?,
            Some(clock(bytes.get(14..).unwrap_or(&[]), 1)?),
        ),
        flags => return Err(format!("PTS_DTS_flags {flags}")),
    };
    if dts == Some(pts) {
        return Err("a DTS that equals the PTS".into());
    }
    let dts = dts.unwrap_or(pts);
    if (pts - dts).rem_euclid(PTS_WRAP) > PTS_WRAP / 2 {
        return Err(format!("PTS {pts} before DTS {dts}"));
    }
    Ok(Pes {
        id: bytes[3],
        pts,
        dts,
        payload,
        has_length: length != 0,
    })
}

/// Five bytes with marker bits, after a prefix of four bits.
fn clock(bytes: &[u8], prefix: u8) -> Result<i64, String> {
    let Some([a, b, c, d, e]) = bytes.first_chunk::<5>() else {
        return Err("a time that does not fit".into());
    };
    if a >> 4 != prefix || a & c & e & 1 == 0 {
        return Err("marker bits of a time".into());
    }
    let part = |byte: &u8, shift: u32| i64::from(*byte) << shift;
    Ok(part(&(a >> 1 & 7), 30)
        | part(b, 22)
        | part(&(c >> 1), 15)
        | part(d, 7)
        | part(&(e >> 1), 0))
}

fn nal_kinds(codec: Codec, payload: &[u8]) -> Vec<u8> {
    let starts = payload
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1]);
    let first_bytes = starts.filter_map(|(at, _)| payload.get(at + 3));
    first_bytes
        .map(|byte| {
            if codec == Codec::H264 {
                byte & 31
            } else {
                byte >> 1 & 63
            }
        })
        .collect()
}

/// How many ADTS frames fill `payload`, if they do exactly.
fn adts_frames(mut payload: &[u8]) -> Option<usize> {
    let mut frames = 0;
    while !payload.is_empty() {
        let header = payload.first_chunk::<7>()?;
        let length = usize::from(header[3] & 3) << 11
            | usize::from(header[4]) << 3
            | usize::from(header[5]) >> 5;
        if header[0] != 0xff || header[1] & 0xf6 != 0xf0 || length < 7 {
            return None;
        }
        payload = payload.get(length..)?;
        frames += 1;
    }
    Some(frames)
}

/// How many frames of layer III fill `payload`, if they do exactly.
fn mp3_frames(mut payload: &[u8]) -> Option<usize> {
    const KBITS_1: [usize; 15] = [
        0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
    ];
    const KBITS_2: [usize; 15] = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];
    let mut frames = 0;
    while !payload.is_empty() {
        let header = payload.first_chunk::<4>()?;
        let version_1 = header[1] & 0x18 == 0x18;
        let rate = [44_100, 48_000, 32_000].get(usize::from(header[2] >> 2 & 3))?;
        let (kbits, rate) = if version_1 {
            (KBITS_1, *rate)
        } else {
            (KBITS_2, rate / 2)
        };
        let kbit = *kbits.get(usize::from(header[2] >> 4))?;
        let length = (if version_1 { 144_000 } else { 72_000 }) * kbit / rate
            + usize::from(header[2] >> 1 & 1);
        if header[0] != 0xff || header[1] & 0xe6 != 0xe2 || length < 5 {
            return None;
        }
        payload = payload.get(length..)?;
        frames += 1;
    }
    Some(frames)
}

/// ISO 13818-1 annex A; over a section with its CRC it is 0.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            };
        }
    }
    crc
}
