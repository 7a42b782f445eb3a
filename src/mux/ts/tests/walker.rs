//! A packet walker that knows ISO 13818-1 and nothing of the muxer: what it returns has passed the
//! rules for sync, counters, adaptation fields, tables and PES headers.

use std::collections::HashMap;

const WRAP: u64 = 1 << 33;

/// A stream taken apart.
#[derive(Default, Debug)]
pub(crate) struct Walked {
    pub(crate) packets: Vec<Packet>,
    /// In the order of their first packets.
    pub(crate) pes: Vec<Pes>,
    /// PMT sections, one for each packet of the PMT.
    pub(crate) pmts: Vec<Pmt>,
}

#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) pid: u16,
    pub(crate) payload: usize,
    pub(crate) random_access: bool,
    pub(crate) discontinuity: bool,
    pub(crate) pcr: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Pes {
    pub(crate) pid: u16,
    /// Index of its first packet.
    pub(crate) at: usize,
    pub(crate) random_access: bool,
    pub(crate) pts: u64,
    pub(crate) dts: u64,
    pub(crate) has_dts: bool,
    pub(crate) declared: usize,
    pub(crate) data: Vec<u8>,
}

#[derive(PartialEq, Eq, Clone, Debug)]
pub(crate) struct Pmt {
    pub(crate) version: u8,
    pub(crate) pcr_pid: u16,
    /// Stream type, PID, descriptors.
    pub(crate) streams: Vec<(u8, u16, Vec<u8>)>,
}

/// How far `b` is after `a` on the clock that wraps; negative if before.
pub(crate) fn after(a: u64, b: u64) -> i64 {
    let forward = (b + WRAP - a) % WRAP;
    if forward < WRAP / 2 {
        i64::try_from(forward).unwrap()
    } else {
        i64::try_from(forward).unwrap() - i64::try_from(WRAP).unwrap()
    }
}

pub(crate) fn walk(stream: &[u8]) -> Walked {
    assert_eq!(stream.len() % 188, 0, "whole packets");
    let mut walked = Walked::default();
    let mut counters: HashMap<u16, u8> = HashMap::new();
    let mut open: HashMap<u16, Pes> = HashMap::new();
    let mut pmt_pid = None;
    for (at, packet) in stream.chunks(188).enumerate() {
        assert_eq!(packet[0], 0x47, "sync of packet {at}");
        assert_eq!(packet[1] & 0xa0, 0, "no error, no priority");
        assert_eq!(packet[3] & 0xc0, 0, "not scrambled");
        let pid = u16::from_be_bytes([packet[1] & 0x1f, packet[2]]);
        let start = packet[1] & 0x40 != 0;
        let (has_adaptation, has_payload) = (packet[3] & 0x20 != 0, packet[3] & 0x10 != 0);
        let counter = packet[3] & 0x0f;
        if let Some(before) = counters.insert(pid, counter) {
            let expected = before + u8::from(has_payload);
            assert_eq!(
                counter,
                expected & 0x0f,
                "counter, packet {at} PID {pid:#x}"
            );
        }
        let mut body = &packet[4..];
        let mut info = Packet {
            pid,
            payload: 0,
            random_access: false,
            discontinuity: false,
            pcr: None,
        };
        if has_adaptation {
            let len = usize::from(body[0]);
            if has_payload {
                assert!(len <= 182, "a payload byte is left in packet {at}");
            } else {
                assert_eq!(len, 183, "nothing but adaptation in packet {at}");
            }
            adaptation(&body[1..=len], &mut info);
            body = &body[len + 1..];
        }
        assert!(has_adaptation || has_payload);
        info.payload = body.len();
        if pid == 0 {
            assert!(start && !has_adaptation);
            let table = section(body, 0x00);
            assert_eq!(&table[5..7], [0, 1], "program 1");
            pmt_pid = Some(u16::from_be_bytes([table[7] & 0x1f, table[8]]));
            assert_eq!(table.len(), 9, "one program");
        } else if Some(pid) == pmt_pid {
            assert!(start && !has_adaptation);
            walked.pmts.push(pmt(section(body, 0x02)));
        } else {
            let known = walked.pmts.last().expect("a PMT first");
            assert!(known.streams.iter().any(|stream| stream.1 == pid));
            if info.pcr.is_some() {
                assert_eq!(pid, known.pcr_pid, "PCR on its PID");
            }
            if start {
                assert!(has_payload);
                if let Some(done) = open.insert(pid, pes(body, at, &info)) {
                    walked.pes.push(done);
                }
            } else if has_payload {
                open.get_mut(&pid).expect("a PES begun").data.extend(body);
            }
        }
        walked.packets.push(info);
    }
    walked.pes.extend(open.into_values());
    walked.pes.sort_by_key(|pes| pes.at);
    for pes in &walked.pes {
        if pes.declared == 0 {
            assert_eq!(pes.pid, 0x100, "only video is unbounded");
            assert!(pes.data.len() > 65_535 - 13, "length is told if it can be");
        } else {
            let header = if pes.has_dts { 13 } else { 8 };
            assert_eq!(pes.declared, pes.data.len() + header);
        }
    }
    walked
}

fn adaptation(field: &[u8], info: &mut Packet) {
    let Some((flags, mut rest)) = field.split_first() else {
        return;
    };
    assert_eq!(flags & 0x2f, 0, "no other flags");
    info.discontinuity = flags & 0x80 != 0;
    info.random_access = flags & 0x40 != 0;
    if flags & 0x10 != 0 {
        let base = rest[..4].iter().fold(0, |sum, b| sum << 8 | u64::from(*b)) << 1
            | u64::from(rest[4] >> 7);
        assert_eq!(rest[4] & 0x7e, 0x7e, "reserved bits");
        assert_eq!((rest[4] & 1, rest[5]), (0, 0), "no extension");
        info.pcr = Some(base);
        rest = &rest[6..];
    }
    assert!(rest.iter().all(|byte| *byte == 0xff), "stuffing");
}

/// The section without its first three bytes and its checksum.
fn section(body: &[u8], table_id: u8) -> &[u8] {
    assert_eq!(body[..2], [0, table_id], "pointer, table id");
    assert_eq!(body[2] & 0xfc, 0xb0);
    let len = usize::from(u16::from_be_bytes([body[2] & 3, body[3]]));
    let end = 4 + len;
    assert!(body[end..].iter().all(|byte| *byte == 0xff), "stuffing");
    let crc = body[1..end].iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            crc << 1 ^ if crc >> 31 == 1 { 0x04c1_1db7 } else { 0 }
        })
    });
    assert_eq!(crc, 0, "checksum of table {table_id}");
    let table = &body[4..end - 4];
    assert_eq!(table[..2], [0, 1]);
    assert_eq!(table[2] & 0xc1, 0xc1, "current");
    assert_eq!(table[3..5], [0, 0], "the only section");
    table
}

fn pmt(table: &[u8]) -> Pmt {
    let word = |at: usize, mask: u8| u16::from_be_bytes([table[at] & mask, table[at + 1]]);
    let mut streams = Vec::new();
    let mut at = 9 + usize::from(word(7, 0x0f));
    while at < table.len() {
        let info = usize::from(word(at + 3, 0x0f));
        let descriptors = table[at + 5..at + 5 + info].to_vec();
        streams.push((table[at], word(at + 1, 0x1f), descriptors));
        at += 5 + info;
    }
    Pmt {
        version: table[2] >> 1 & 0x1f,
        pcr_pid: word(5, 0x1f),
        streams,
    }
}

fn pes(body: &[u8], at: usize, info: &Packet) -> Pes {
    assert_eq!(body[..3], [0, 0, 1]);
    assert_eq!(body[3], if info.pid == 0x100 { 0xe0 } else { 0xc0 });
    assert_eq!(body[6] & 0xf0, 0x80);
    let has_dts = match body[7] {
        0xc0 => true,
        0x80 => false,
        flags => panic!("flags {flags:#x}"),
    };
    let header = usize::from(body[8]);
    assert_eq!(header, if has_dts { 10 } else { 5 });
    let pts = stamp(&body[9..14], if has_dts { 3 } else { 2 });
    let dts = if has_dts {
        stamp(&body[14..19], 1)
    } else {
        pts
    };
    assert!(!has_dts || pts != dts, "DTS only if it differs");
    Pes {
        pid: info.pid,
        at,
        random_access: info.random_access,
        pts,
        dts,
        has_dts,
        declared: usize::from(u16::from_be_bytes([body[4], body[5]])),
        data: body[9 + header..].to_vec(),
    }
}

fn stamp(bytes: &[u8], prefix: u8) -> u64 {
    assert_eq!(bytes[0] >> 4, prefix);
    assert!(bytes[0] & bytes[2] & bytes[4] & 1 == 1, "marker bits");
    u64::from(bytes[0] >> 1 & 7) << 30
        | u64::from(bytes[1]) << 22
        | u64::from(bytes[2] >> 1) << 15
        | u64::from(bytes[3]) << 7
        | u64::from(bytes[4] >> 1)
}

impl Walked {
    pub(crate) fn of(&self, pid: u16) -> impl Iterator<Item = &Pes> {
        self.pes.iter().filter(move |pes| pes.pid == pid)
    }

    /// Index of the packet and value of each PCR.
    pub(crate) fn pcrs(&self) -> Vec<(usize, u64)> {
        let packets = self.packets.iter().enumerate();
        packets.filter_map(|(at, p)| Some((at, p.pcr?))).collect()
    }

    /// Packets that carry nothing but a PCR.
    pub(crate) fn fillers(&self) -> usize {
        let fillers = self.packets.iter().filter(|p| p.payload == 0);
        fillers.inspect(|p| assert!(p.pcr.is_some())).count()
    }

    /// The clock grows, by 100 ms at most, and is nowhere above what is still to be decoded.
    pub(crate) fn check_clock(&self) {
        let pcrs = self.pcrs();
        for pair in pcrs.windows(2) {
            let step = after(pair[0].1, pair[1].1);
            assert!((1..=9000).contains(&step), "step {step} at {:?}", pair[1]);
        }
        let mut pes = self.pes.iter().rev().peekable();
        let mut earliest: Option<u64> = None;
        for (at, pcr) in pcrs.into_iter().rev() {
            while let Some(pes) = pes.next_if(|pes| pes.at >= at) {
                earliest = Some(match earliest {
                    Some(time) if after(time, pes.dts) > 0 => time,
                    _ => pes.dts,
                });
            }
            if let Some(earliest) = earliest {
                assert!(after(pcr, earliest) > 0, "PCR {pcr} above {earliest}");
            }
        }
    }
}
