//! Tests of the oracles: they accept what is good, and name each defect that is put in.

use crate::support::clips;
use crate::support::process::{ffmpeg, succeed};
use crate::support::tswalk::Walker;

const PACKET: usize = 188;

/// Two segments by ffmpeg's muxer, without its SDT, which it puts before the PAT.
fn segments_of_ffmpeg() -> [Vec<u8>; 2] {
    let folder = tempfile::tempdir().expect("a folder for the output");
    let mut command = ffmpeg();
    command
        .arg("-i")
        .arg(clips::PLAIN.path())
        .args(["-c", "copy", "-f", "hls", "-hls_time", "2"]);
    succeed(command.arg(folder.path().join("x.m3u8")));
    ["x0.ts", "x1.ts"].map(|name| {
        let file = std::fs::read(folder.path().join(name)).expect("ffmpeg wrote it");
        file.chunks(PACKET)
            .filter(|packet| pid(packet) != 17)
            .flatten()
            .copied()
            .collect()
    })
}

fn pid(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[1], packet[2]]) & 0x1fff
}

fn walk(segments: &[Vec<u8>]) -> Vec<String> {
    let mut walker = Walker::default();
    segments
        .iter()
        .flat_map(|segment| walker.walk(segment).err().unwrap_or_default())
        .collect()
}

#[test]
fn the_walker_accepts_another_muxer() {
    assert_eq!(walk(&segments_of_ffmpeg()), Vec::<String>::new());
}

#[test]
fn the_walker_names_each_defect() {
    let good = segments_of_ffmpeg();
    let check = |what: &str, expected: &str, spoil: &dyn Fn(&mut Vec<u8>)| {
        let mut segments = good.clone();
        spoil(&mut segments[1]);
        let faults = walk(&segments);
        assert!(
            faults.iter().any(|fault| fault.contains(expected)),
            "{what}: {faults:#?}"
        );
    };
    check("a lost packet", "continuity counter", &|ts| {
        drop(ts.drain(PACKET * 20..PACKET * 21))
    });
    check("a cut-off end", "whole number of packets", &|ts| {
        ts.truncate(ts.len() - 1)
    });
    check("a wrong sync byte", "sync byte", &|ts| {
        ts[PACKET * 7] = 0x48
    });
    check("no PAT", "begins with the PAT", &|ts| {
        drop(ts.drain(..PACKET))
    });
    check("no PMT", "PMT follows the PAT", &|ts| {
        drop(ts.drain(PACKET..PACKET * 2))
    });
    check("a spoilt PMT", "CRC", &|ts| ts[PACKET + 20] ^= 1);
    check("another first counter", "continuity counter", &|ts| {
        for packet in ts.chunks_mut(PACKET) {
            packet[3] = packet[3] & 0xf0 | (packet[3] + 5) & 15;
        }
    });
    check("a null packet", "null packet", &|ts| {
        let mut null = vec![0xff; PACKET];
        null[..4].copy_from_slice(&[0x47, 0x1f, 0xff, 0x10]);
        ts.splice(PACKET * 9..PACKET * 9, null);
    });
    check("PCRs too rare", "PCRs in", &|ts| {
        let with_pcr = ts
            .chunks_mut(PACKET)
            .filter(|packet| packet[3] & 0x20 != 0 && packet[4] > 6 && packet[5] & 0x10 != 0);
        // Stuffing takes the place of the PCR.
        for packet in with_pcr.skip(1) {
            packet[5] &= !0x10;
        }
    });
    check(
        "no random access indicator",
        "random_access_indicator",
        &|ts| ts[PACKET * 2 + 5] &= !0x40,
    );
    check("no delimiter", "access unit delimiter", &|ts| {
        let at = ts
            .windows(5)
            .position(|window| window == [0, 0, 0, 1, 9])
            .expect("there is one");
        ts[at + 4] = 12;
    });
    check("no parameter sets", "parameter sets", &|ts| {
        let at = ts
            .windows(4)
            .position(|window| window == [0, 0, 1, 0x67])
            .expect("there is one");
        ts[at + 3] = 12;
    });
    check("audio frames that do not add up", "audio frames", &|ts| {
        let at = ts
            .windows(3)
            .position(|window| window == [0xff, 0xf1, 0x4c])
            .expect("there is one");
        ts[at + 4] ^= 0x10;
    });
    check("the segment before", "DTS", &|ts| *ts = good[0].clone());
}
