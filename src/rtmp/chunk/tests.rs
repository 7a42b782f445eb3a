use super::super::message::type_id;
use super::super::testing::{Sender, Sending, Sent, basic};
use super::*;
use proptest::prelude::*;

type Got = (u8, u32, u32, Vec<u8>);

/// Reads `bytes` cut at every multiple of `step`, obeying Set Chunk Size and Abort.
fn read(bytes: &[u8], step: usize) -> Result<Vec<Got>, ErrorKind> {
    let mut reader = Reader::new(1 << 20, 1 << 21);
    let mut got = Vec::new();
    for piece in bytes.chunks(step) {
        let mut input = Bytes::copy_from_slice(piece);
        while let Some(message) = reader.read(&mut input)? {
            let payload = message.contiguous();
            let number = payload
                .first_chunk()
                .map_or(0, |bytes| u32::from_be_bytes(*bytes));
            match message.type_id {
                type_id::SET_CHUNK_SIZE => reader.set_chunk_size(number)?,
                type_id::ABORT => reader.abort(number),
                _ => got.push((
                    message.type_id,
                    message.stream.0,
                    message.timestamp,
                    payload.to_vec(),
                )),
            }
        }
        assert!(input.is_empty());
        reader.end_input();
    }
    assert_eq!(
        reader.partial,
        reader
            .streams
            .iter()
            .map(|s| {
                let held = s.slices.iter().map(Bytes::len).sum::<usize>() + s.tail.len();
                assert!(s.missing == 0 || held + s.missing == s.length as usize);
                held
            })
            .sum::<usize>()
    );
    Ok(got)
}

fn check(bytes: &[u8], expected: Result<Vec<Got>, ErrorKind>) {
    for step in [1, 2, 3, 5, 7, 11, 64, usize::MAX >> 1] {
        assert_eq!(
            read(bytes, step.min(bytes.len().max(1))),
            expected,
            "in steps of {step}"
        );
    }
}

/// A header of type 0 on chunk stream 4: audio on stream 1.
fn full(time: u32, len: u8) -> Vec<u8> {
    [&[4], &time.to_be_bytes()[1..], &[0, 0, len, 8, 1, 0, 0, 0]].concat()
}

#[test]
fn chunk_stream_ids_are_numbers_in_three_forms() {
    for (csid, form) in [
        (3, 1),
        (63, 1),
        (64, 2),
        (319, 2),
        (64, 3),
        (319, 3),
        (320, 3),
        (65599, 3),
    ] {
        let header = [0, 0, 5, 0, 0, 130, 9, 1, 0, 0, 0];
        let body = [7; 130];
        let bytes = [
            &basic(0, csid, form)[..],
            &header,
            &body[..128],
            &basic(3, csid, form),
            &body[128..],
        ]
        .concat();
        check(&bytes, Ok(vec![(9, 1, 5, body.to_vec())]));
    }
    // The number selects the stream, not the form it is written in.
    let bytes = [
        &basic(0, 70, 2)[..],
        &full(10, 1)[1..],
        b"a",
        &basic(3, 70, 3),
        b"b",
    ]
    .concat();
    check(
        &bytes,
        Ok(vec![(8, 1, 10, b"a".to_vec()), (8, 1, 20, b"b".to_vec())]),
    );
}

/// FMLE begins messages with a type 3 chunk behind a type 0 chunk: its delta is the timestamp.
#[test]
fn fmle_starts_messages_with_type_3() {
    let a = |time| (8, 1, time, b"a".to_vec());
    let bytes = [&full(26, 1)[..], b"a\xc4a\xc4a"].concat();
    check(&bytes, Ok(vec![a(26), a(52), a(78)]));
    // Behind types 1 and 2 it is theirs.
    let bytes = [
        &full(26, 1)[..],
        b"a\x44\0\0\x05\0\0\x01\x08a\xc4a\x84\0\0\x07a\xc4a",
    ]
    .concat();
    check(&bytes, Ok(vec![a(26), a(31), a(36), a(43), a(50)]));
    // Times wrap.
    let bytes = [&full(0xff_ffff, 1)[..], b"\xff\xff\xff\xffa\x84\0\0\x07a"].concat();
    check(&bytes, Ok(vec![a(u32::MAX), a(6)]));
}

/// librtmp sends its ping as type 1, first thing on chunk stream 2. DJI cameras begin with type 2.
#[test]
fn the_first_chunk_of_a_stream() {
    let bytes = b"\x42\0\0\x09\0\0\x02\x04ab";
    check(bytes, Ok(vec![(4, 0, 9, b"ab".to_vec())]));
    check(
        b"\xa1\0\0\x09ab",
        Err(ErrorKind::NoHeader {
            csid: 33,
            format: 2,
        }),
    );
    check(b"\xc6ab", Err(ErrorKind::NoHeader { csid: 6, format: 3 }));
}

#[test]
fn headers_within_a_message() {
    let body = [5; 200];
    let start = [&[4, 0, 0, 9, 0, 0, 200, 8, 1, 0, 0, 0], &body[..128]].concat();
    let message = |time| (8, 1, time, body.to_vec());
    // Types 1 and 2 go on with the message, and their time is not one more step.
    for go_on in [&b"\x44\0\0\x07\0\0\xc8\x08"[..], b"\x84\0\0\x07", b"\xc4"] {
        let bytes = [
            &start,
            go_on,
            &body[128..],
            b"\x84\0\0\x01",
            &body[..128],
            b"\xc4",
            &body[128..],
        ]
        .concat();
        check(&bytes, Ok(vec![message(9), message(10)]));
    }
    for other in [
        &b"\x44\0\0\x07\0\0\xc9\x08"[..],
        b"\x44\0\0\x07\0\0\xc8\x09",
        &full(9, 200),
    ] {
        let bytes = [&start, other, &body[128..]].concat();
        check(
            &bytes,
            Err(ErrorKind::Interrupted {
                csid: 4,
                missing: 72,
            }),
        );
    }
}

#[test]
fn extended_timestamps() {
    let a = |time| vec![(8, 1, time, b"a".to_vec())];
    check(&[&full(0xff_fffe, 1)[..], b"a"].concat(), Ok(a(0xff_fffe)));
    check(
        &[&full(0xff_ffff, 1)[..], b"\0\xff\xff\xffa"].concat(),
        Ok(a(0xff_ffff)),
    );
    check(
        &[&full(0xff_ffff, 1)[..], b"\x01\0\0\0a"].concat(),
        Ok(a(0x100_0000)),
    );
    // A field below 0xffffff is legal though nobody needs it.
    check(
        &[&full(0xff_ffff, 1)[..], b"\0\0\0\x05a"].concat(),
        Ok(a(5)),
    );
    // ffmpeg -output_ts_offset 20000: the second message has an extended delta.
    let bytes = [
        &full(0, 1)[..],
        b"a\x44\xff\xff\xff\0\0\x01\x08\x01\x31\x2c\xd0b",
    ]
    .concat();
    check(
        &bytes,
        Ok([a(0), vec![(8, 1, 19_999_952, b"b".to_vec())]].concat()),
    );
}

/// ffmpeg and OBS from 30.1 on repeat the field in type 3 chunks, older librtmp does not; a payload may look like it.
#[test]
fn extended_timestamps_with_and_without_repeat() {
    let time = 0x0102_0304u32.to_be_bytes();
    let head = [&[6, 255, 255, 255, 0, 0, 132, 9, 1, 0, 0, 0][..], &time].concat();
    let looks = [&[7; 128][..], &time].concat();
    let similar = [&[7; 128][..], &[1, 2, 3, 9]].concat();
    let message = |body: &[u8], time| (9, 1, time, body.to_vec());
    let twice = time.map(u32::from);
    let twice = (twice[0] << 24 | twice[1] << 16 | twice[2] << 8 | twice[3]) * 2;
    for body in [&looks, &similar] {
        let chunks = [
            &body[..128],
            b"\xc6",
            &time,
            &body[128..],
            b"\xc6",
            &time,
            &body[..128],
            b"\xc6",
            &time,
            &body[128..],
        ];
        let bytes = [&head, &chunks.concat()[..]].concat();
        check(
            &bytes,
            Ok(vec![message(body, 0x0102_0304), message(body, twice)]),
        );
    }
    // The peek runs into the end of a read, and what it took for the field is payload and a header.
    let bytes = [
        &head[..],
        &similar[..128],
        b"\xc6",
        &similar[128..],
        b"\xc6",
        &similar[..128],
        b"\xc6",
        &similar[128..],
    ];
    check(
        &bytes.concat(),
        Ok(vec![
            message(&similar, 0x0102_0304),
            message(&similar, twice),
        ]),
    );
    let head = [
        &[6, 255, 255, 255, 0, 0, 129, 9, 1, 0, 0, 0][..],
        &[1, 0x44, 0, 0],
    ]
    .concat();
    let body = [1; 129];
    let ping = b"\x44\0\x01\x09\0\0\x01\x08a";
    let bytes = [&head[..], &body[..128], b"\xc6", &body[128..], ping].concat();
    check(
        &bytes,
        Ok(vec![
            message(&body, 0x0144_0000),
            (8, 0, 0x109, b"a".to_vec()),
        ]),
    );
}

#[test]
fn chunk_sizes() {
    let sized = |size: u32| [&b"\x02\0\0\0\0\0\x04\x01\0\0\0\0"[..], &size.to_be_bytes()].concat();
    let then_audio = |size| [&sized(size)[..], &full(0, 3), b"abc"].concat();
    for size in [3, 128, 0xff_ffff, 0x100_0000, 134_217_728, 0x7fff_ffff] {
        check(&then_audio(size), Ok(vec![(8, 1, 0, b"abc".to_vec())]));
    }
    let bytes = [&sized(1)[..], &full(0, 3), b"a\xc4b\xc4c"].concat();
    check(&bytes, Ok(vec![(8, 1, 0, b"abc".to_vec())]));
    for size in [0, 0x8000_0000, u32::MAX] {
        check(&then_audio(size), Err(ErrorKind::ChunkSize { size }));
    }
}

#[test]
fn aborted_messages_are_forgotten() {
    let abort = |csid: u32| [&b"\x02\0\0\0\0\0\x04\x02\0\0\0\0"[..], &csid.to_be_bytes()].concat();
    let half = [&full(0, 200)[..], &[1; 128]].concat();
    let whole = [&full(7, 1)[..], b"a"].concat();
    let expected = || Ok(vec![(8, 1, 7, b"a".to_vec())]);
    check(&[&half[..], &abort(4), &whole].concat(), expected());
    check(
        &[&abort(4)[..], &abort(9), &abort(70_000), &whole].concat(),
        expected(),
    );
    // Sent in the middle of nothing, an abort of the stream it comes on.
    check(
        &[&half[..], &abort(4), &abort(4), &abort(2), &whole].concat(),
        expected(),
    );
}

#[test]
fn empty_messages_come_out_empty() {
    let bytes = [&full(3, 0)[..], b"\xc4", &full(4, 1), b"a"].concat();
    check(
        &bytes,
        Ok(vec![
            (8, 1, 3, vec![]),
            (8, 1, 6, vec![]),
            (8, 1, 4, b"a".to_vec()),
        ]),
    );
}

#[test]
fn limits_are_reached_one_by_one() {
    let mut reader = Reader::new(1000, 5000);
    let mut read = |bytes: Vec<u8>| {
        reader
            .read(&mut Bytes::from(bytes))
            .map(|message| message.is_some())
    };
    let start = |csid: u32, len: u16| {
        let [l1, l0] = len.to_be_bytes();
        let header = [&basic(0, csid, 3)[..], &[0, 0, 0, 0, l1, l0, 9, 1, 0, 0, 0]].concat();
        [header, vec![0; 128]].concat()
    };
    let too_long = ErrorKind::MessageTooLong {
        csid: 64,
        len: 1001,
        max: 1000,
    };
    assert_eq!(read(start(64, 1001)), Err(too_long));
    let mut reader = Reader::new(1000, 5000);
    let mut read = |bytes: Vec<u8>| {
        reader
            .read(&mut Bytes::from(bytes))
            .map(|message| message.is_some())
    };
    for csid in 0..39 {
        assert_eq!(read(start(100 + csid, 1000)), Ok(false), "{csid}");
    }
    assert_eq!(
        read(start(200, 1000)),
        Err(ErrorKind::PartialBytes { max: 5000 })
    );
    let mut reader = Reader::new(1000, 1 << 20);
    let mut read = |bytes: Vec<u8>| {
        reader
            .read(&mut Bytes::from(bytes))
            .map(|message| message.is_some())
    };
    for csid in 0..64 {
        assert_eq!(read(start(100 + csid, 128)), Ok(true), "{csid}");
    }
    assert_eq!(
        read(start(200, 128)),
        Err(ErrorKind::ChunkStreams { max: 64 })
    );
}

/// 64 streams that declare 16 MB each and send one chunk cost what was sent.
#[test]
fn a_declared_length_costs_nothing() {
    let mut reader = Reader::new(16 << 20, 32 << 20);
    for csid in 64..128 {
        let header = [
            &basic(0, csid, 2)[..],
            &[0, 0, 0, 255, 255, 255, 9, 1, 0, 0, 0],
            &[0; 128],
        ]
        .concat();
        assert_eq!(reader.read(&mut Bytes::from(header)), Ok(None));
    }
    let room: usize = reader
        .streams
        .iter()
        .map(|stream| stream.tail.capacity())
        .sum();
    assert!(room <= 64 * ASSEMBLY_LEN_MIN, "{room}");
}

#[test]
fn large_parts_are_slices_and_small_ones_are_copied_together() {
    let mut sender = Sender::default();
    let payload: Vec<u8> = (0..100_000u32).map(|i| i as u8).collect();
    let message = Sent {
        csid: 6,
        type_id: 9,
        stream: 1,
        timestamp: 0,
        payload: payload.clone(),
    };
    sender.set_chunk_size(65536);
    sender.send(&message);
    let mut input = Bytes::from(sender.out);
    let whole = input.clone();
    let mut reader = Reader::new(1 << 20, 1 << 20);
    reader.read(&mut input).unwrap().unwrap();
    reader.set_chunk_size(65536).unwrap();
    let got = reader.read(&mut input).unwrap().unwrap();
    assert_eq!(got.payload.len(), 2);
    let within = whole.as_ptr_range();
    assert!(
        got.payload
            .iter()
            .all(|slice| within.contains(&slice.as_ptr()))
    );
    assert_eq!(got.contiguous(), payload);

    let mut sender = Sender::default();
    sender.send(&message);
    let got = Reader::new(1 << 20, 1 << 20)
        .read(&mut Bytes::from(sender.out))
        .unwrap()
        .unwrap();
    assert_eq!(got.payload.len(), 1);
    assert_eq!(got.contiguous(), payload);
}

/// A message that is never finished must not keep all read buffers of the connection alive.
#[test]
fn old_unfinished_messages_leave_their_read_buffers() {
    let mut sender = Sender::default();
    sender.set_chunk_size(4096);
    let held = Sent {
        csid: 6,
        type_id: 9,
        stream: 1,
        timestamp: 0,
        payload: vec![3; 500_000],
    };
    let other = Sent {
        csid: 4,
        type_id: 8,
        stream: 1,
        timestamp: 0,
        payload: vec![4; 100_000],
    };
    let mut reader = Reader::new(1 << 20, 1 << 20);
    let mut sending = sender.begin(0, &held);
    loop {
        let last = sender.go_on(&mut sending);
        sender.send(&other);
        let buffer = Bytes::from(mem::take(&mut sender.out));
        let mut input = buffer.clone();
        while let Some(message) = reader.read(&mut input).unwrap() {
            match message.type_id {
                type_id::SET_CHUNK_SIZE => reader.set_chunk_size(4096).unwrap(),
                9 => assert_eq!(message.contiguous(), held.payload),
                _ => assert_eq!(message.contiguous(), other.payload),
            }
        }
        reader.end_input();
        drop(input);
        assert!(buffer.is_unique());
        if last {
            break;
        }
    }
}

/// Players lose the stream where type 3 chunks lack the extended timestamp.
#[test]
fn what_is_written_is_read() {
    for timestamp in [0, 0xff_fffe, 0xff_ffff, 0x100_0000, u32::MAX] {
        for chunk_size in [1, 128, 4096] {
            let payload: Vec<u8> = (0..1000u32).map(|i| i as u8).collect();
            let mut out = BytesMut::new();
            let mut writer = Writer::new();
            writer.set_chunk_size(chunk_size);
            writer.write(&mut out, 6, (9, StreamId(1), timestamp), &payload);
            let mut sender = Sender {
                chunk_size: chunk_size as usize,
                ..Sender::default()
            };
            sender.send(&Sent {
                csid: 6,
                type_id: 9,
                stream: 1,
                timestamp,
                payload: payload.clone(),
            });
            assert_eq!(out, sender.out);
            let mut reader = Reader::new(1 << 20, 1 << 20);
            reader.set_chunk_size(chunk_size).unwrap();
            let got = reader.read(&mut out.freeze()).unwrap().unwrap();
            assert_eq!(
                (got.timestamp, got.contiguous()),
                (timestamp, payload.into())
            );
        }
    }
}

fn message() -> impl Strategy<Value = (u8, Sent)> {
    let csid = prop_oneof![
        Just(3u32),
        Just(4),
        Just(6),
        Just(63),
        Just(64),
        Just(319),
        Just(320),
        Just(65599)
    ];
    let len = prop_oneof![Just(0usize), Just(1), 1usize..300, 1000usize..5000];
    let time = prop_oneof![
        0u32..100,
        0xff_fff0u32..0x100_0010,
        any::<u32>(),
        Just(0xff_ffff)
    ];
    (
        0u8..4,
        csid,
        prop_oneof![Just(8u8), Just(9)],
        1u32..3,
        time,
        len,
        any::<u8>(),
    )
        .prop_map(|(format, csid, type_id, stream, timestamp, len, salt)| {
            // No four bytes in a row that could be an extended time of these.
            let payload = (0..len)
                .map(|i| (i as u8).wrapping_mul(salt | 1) | 0x40)
                .collect();
            (
                format,
                Sent {
                    csid,
                    type_id,
                    stream,
                    timestamp,
                    payload,
                },
            )
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever a correct sender does comes out as it went in, in the order in which messages end.
    #[test]
    fn any_interleaving_and_any_chunk_size(
        messages in proptest::collection::vec(message(), 1..20),
        sizes in proptest::collection::vec((any::<bool>(), prop_oneof![Just(1u32), 2u32..200, Just(4096u32), Just(65536u32)]), 1..20),
        picks in proptest::collection::vec(any::<u8>(), 1..50),
        repeats in any::<bool>(),
        step in 1usize..5000,
    ) {
        let mut sender = Sender { repeats, ..Sender::default() };
        let mut waiting = messages.clone();
        waiting.reverse();
        let mut open: Vec<(Sent, Sending)> = Vec::new();
        let mut expected = Vec::new();
        let mut picks = picks.iter().cycle();
        let mut sizes = sizes.iter().cycle();
        let mut floor = 0usize;
        while !(waiting.is_empty() && open.is_empty()) {
            let pick = usize::from(*picks.next().unwrap());
            let free = waiting.last().filter(|(_, next)| open.iter().all(|(sent, _)| sent.csid != next.csid));
            if free.is_some() && (open.is_empty() || pick % 3 == 0) {
                let (format, sent) = waiting.pop().unwrap();
                let sending = sender.begin(format, &sent);
                open.push((sent, sending));
                floor = open.len() - 1;
            } else if !open.is_empty() {
                floor = pick % open.len();
            }
            // A header is followed by its chunk.
            let (sent, sending) = &mut open[floor];
            if sender.go_on(sending) {
                expected.push((sent.type_id, sent.stream, sent.timestamp, sent.payload.clone()));
                open.remove(floor);
            }
            let (change, size) = sizes.next().unwrap();
            if *change {
                sender.set_chunk_size(*size);
            }
        }
        prop_assert_eq!(read(&sender.out, step).unwrap(), expected);
    }

    #[test]
    fn any_bytes_are_read_the_same_in_any_split(
        bytes in proptest::collection::vec(prop_oneof![0u8..8, any::<u8>()], 0..400),
        step in 1usize..50,
    ) {
        // An extended time within an unfinished header may be decided later, never differently.
        let whole = read(&bytes, bytes.len().max(1));
        prop_assert_eq!(read(&bytes, step), whole);
    }
}
