use super::super::amf0::{Encoder, Value};
use super::super::testing::{Peer, Reply, Seen, Sender, Sent};
use super::super::{Fault, Query};
use super::*;
use proptest::prelude::*;

/// A client that has published `name` on stream 1.
fn published(app: &str, name: &str) -> Sender {
    let mut client = Sender::default();
    client.handshake();
    client.connect(app);
    client.publish(1, name);
    client
}

/// A peer that has read what `client` has sent, which is taken out of it.
fn served(client: &mut Sender) -> Peer {
    let mut peer = Peer::new(Config::default());
    serve(&mut peer, client).unwrap();
    peer
}

fn serve(peer: &mut Peer, client: &mut Sender) -> Result<(), Error> {
    peer.feed(&mem::take(&mut client.out))
}

fn message(stream: u32, kind: MessageKind, timestamp: u32, payload: &[u8]) -> Seen {
    Seen::Message(stream, kind, timestamp, payload.to_vec())
}

fn unpublish(stream: u32, cause: StopCause) -> Seen {
    Seen::Other(Event::Unpublish {
        stream: StreamId(stream),
        cause,
    })
}

/// A session like ffmpeg's: 128-byte chunks, commands back to back, media, stop.
fn like_ffmpeg() -> Vec<u8> {
    let mut client = published("live/sub", "key?token=a/b&x=1");
    let metadata = Encoder::default()
        .string("@setDataFrame")
        .string("onMetaData")
        .object(|o| o.name("width").number(640.0));
    client.media(18, 1, 0, &metadata.finish());
    for frame in 0..40u32 {
        client.media(9, 1, frame * 40, &[frame as u8 | 0x40; 1500]);
        client.media(8, 1, frame * 23, &[frame as u8 | 0x80; 200]);
    }
    client.set_chunk_size(4096);
    client.media(9, 1, 20_000_000, &[0x55; 70_000]);
    client.media(9, 1, 20_000_040, &[0x56; 9_000]);
    client.media(9, 1, 20_000_000, b"\x17\x02\0\0\0");
    client.stop(1, "key?token=a/b&x=1");
    client.out
}

fn run(bytes: &[u8], mut next: impl FnMut() -> usize) -> (Vec<Seen>, Vec<String>) {
    let mut peer = Peer::new(Config::default());
    let mut rest = bytes;
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(next().clamp(1, rest.len()));
        peer.feed(piece).unwrap();
        rest = behind;
    }
    assert_eq!(peer.session.received(), bytes.len() as u64);
    assert_eq!(peer.session.dropped(), 0);
    // The answer to `publish` stands where the peer gave it: in one piece, behind all other replies.
    let mut replies: Vec<_> = peer
        .replies()
        .iter()
        .map(|reply| format!("{reply:?}"))
        .collect();
    replies.sort();
    (peer.seen, replies)
}

#[test]
fn an_event_takes_no_more_than_is_counted() {
    // A queue grows to twice what is in it.
    assert!(
        2 * size_of::<Event>() <= EVENT_LEN,
        "{}",
        size_of::<Event>()
    );
}

#[test]
fn what_came_counts_until_it_is_taken_and_leaves_no_room_behind() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    assert_eq!(peer.session.held(), 0);
    (0..1000).for_each(|_| client.media(8, 1, 0, b"a"));
    client.control(4, &[0, 6, 0, 0, 0, 0]);
    let input = mem::take(&mut client.out).into();
    peer.session.handle_input(input).unwrap();
    let replies = peer.session.output.len();
    assert!(replies > 0);
    assert_eq!(peer.session.held(), 1000 * (EVENT_LEN + 1) + replies);
    peer.drain();
    assert_eq!(peer.session.held(), 0);
    assert!(peer.session.events.capacity() <= 2 * EVENTS_KEPT);
    assert_eq!(peer.session.output.buffer.capacity(), 0);
}

#[test]
fn a_session_is_the_same_in_any_split() {
    let bytes = like_ffmpeg();
    let whole = run(&bytes, || usize::MAX);
    assert_eq!(whole.0.len(), 2 + 1 + 80 + 3 + 1);
    assert_eq!(whole.0[0], Seen::Connected("live/sub".into()));
    let Seen::Publish(1, app, name, query) = &whole.0[1] else {
        panic!("{:?}", whole.0[1]);
    };
    assert_eq!((app.as_str(), name.as_str()), ("live/sub", "key"));
    assert_eq!(
        (query.get("token"), query.get("x")),
        (Some("a/b"), Some("1"))
    );
    for size in [1, 7, 128, 4096] {
        assert!(run(&bytes, || size) == whole, "in pieces of {size}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]

    #[test]
    fn a_session_is_the_same_in_random_splits(sizes in proptest::collection::vec(1usize..3000, 1..40)) {
        let bytes = like_ffmpeg();
        let mut sizes = sizes.iter().cycle();
        prop_assert!(run(&bytes, || *sizes.next().unwrap()) == run(&bytes, || usize::MAX));
    }

    #[test]
    fn any_bytes_behind_the_handshake_end_in_an_error_or_not(
        bytes in proptest::collection::vec(any::<u8>(), 0..2000),
        step in 1usize..500,
    ) {
        let mut client = published("live", "cam");
        let mut peer = served(&mut client);
        let whole = peer.feed(&bytes);
        let mut other = served(&mut published("live", "cam"));
        let split = bytes.chunks(step).try_for_each(|piece| other.feed(piece));
        prop_assert_eq!(split, whole);
        prop_assert_eq!(other.seen, peer.seen);
    }
}

#[test]
fn replies_come_in_the_order_that_clients_wait_for() {
    let peer = served(&mut published("live", "cam"));
    let replies = peer.replies();
    let window = 2_500_000u32.to_be_bytes();
    assert_eq!(replies[0], Reply::Control(5, window.to_vec()));
    assert_eq!(replies[1], Reply::Control(6, [&window[..], &[2]].concat()));
    assert_eq!(
        replies[2],
        Reply::Control(1, 4096u32.to_be_bytes().to_vec())
    );
    assert!(
        replies.contains(&Reply::Control(4, vec![0, 0, 0, 0, 0, 1])),
        "Stream Begin"
    );
    let call = |stream, name: &str, number, result: &str| {
        (stream, name.to_owned(), number, result.to_owned())
    };
    let expected = [
        call(0, "_result", 1.0, "NetConnection.Connect.Success"),
        call(0, "_result", 2.0, ""),
        call(0, "_result", 3.0, ""),
        call(0, "_result", 4.0, "1"),
        call(0, "onFCPublish", 3.0, "NetStream.Publish.Start"),
        call(1, "onStatus", 0.0, "NetStream.Publish.Start"),
    ];
    assert_eq!(peer.calls(), expected);
    assert_eq!(peer.session.stage(), Stage::Publishing);
}

#[test]
fn stages_follow_the_conversation() {
    let mut peer = Peer::new(Config::default());
    peer.accepts = false;
    let mut client = Sender::default();
    let mut step = |peer: &mut Peer, act: &dyn Fn(&mut Sender), stage| {
        act(&mut client);
        serve(peer, &mut client).unwrap();
        assert_eq!(peer.session.stage(), stage);
    };
    step(&mut peer, &|_| {}, Stage::Handshake);
    step(&mut peer, &|client| client.handshake(), Stage::Connecting);
    step(
        &mut peer,
        &|client| client.connect("live"),
        Stage::Connected,
    );
    step(
        &mut peer,
        &|client| client.publish(1, "cam"),
        Stage::Pending,
    );
    assert!(
        !peer.calls().iter().any(|call| call.1.starts_with("on")),
        "no Start before the answer"
    );
    peer.session.accept_publish(StreamId(1));
    step(&mut peer, &|_| {}, Stage::Publishing);
    step(&mut peer, &|client| client.stop(1, "cam"), Stage::Connected);
    assert_eq!(
        peer.seen.last(),
        Some(&unpublish(1, StopCause::FcUnpublish))
    );
}

/// Not every encoder waits for the answer to `publish`; without its sequence headers a stream would never play.
#[test]
fn media_before_the_answer_waits_for_it() {
    let mut client = published("live", "cam");
    client.media(9, 1, 0, b"header");
    client.media(8, 1, 5, &[1; 5000]);
    let mut peer = Peer::new(Config {
        pending_bytes_max: 6000,
        ..Config::default()
    });
    peer.accepts = false;
    client.media(9, 1, 40, &[2; 1000]);
    serve(&mut peer, &mut client).unwrap();
    assert_eq!((peer.seen.len(), peer.session.dropped()), (2, 1));
    peer.session.accept_publish(StreamId(1));
    client.media(9, 1, 80, b"frame");
    serve(&mut peer, &mut client).unwrap();
    let expected = [
        message(1, MessageKind::Video, 0, b"header"),
        message(1, MessageKind::Audio, 5, &[1; 5000]),
        message(1, MessageKind::Video, 80, b"frame"),
    ];
    assert_eq!(peer.seen[2..], expected);

    // Refused, it is dropped and counted.
    let mut client = published("live", "cam");
    client.media(9, 1, 0, b"header");
    let mut peer = Peer::new(Config::default());
    peer.accepts = false;
    serve(&mut peer, &mut client).unwrap();
    peer.session
        .reject_publish(StreamId(1), Refusal::Denied, "wrong stream key");
    client.media(9, 1, 0, b"more");
    serve(&mut peer, &mut client).unwrap();
    assert_eq!((peer.seen.len(), peer.session.dropped()), (2, 2));
    let last = peer.replies().pop().unwrap();
    let Reply::Command(1, values) = last else {
        panic!("{last:?}")
    };
    let text = |name| values[3].get(name).and_then(Value::as_str);
    assert_eq!(text("level"), Some("error"));
    assert_eq!(text("code"), Some("NetStream.Publish.Denied"));
    assert_eq!(text("description"), Some("wrong stream key"));
}

#[test]
fn a_running_publish_can_be_ended() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    peer.session
        .end_publish(StreamId(1), Refusal::BadName, "another encoder took over");
    peer.session
        .end_publish(StreamId(1), Refusal::BadName, "twice");
    peer.session
        .end_publish(StreamId(7), Refusal::BadName, "unknown");
    client.media(9, 1, 0, b"late");
    client.stop(1, "cam");
    serve(&mut peer, &mut client).unwrap();
    assert_eq!((peer.seen.len(), peer.session.dropped()), (2, 1));
    let ended = peer
        .calls()
        .into_iter()
        .filter(|call| call.3 == "NetStream.Publish.BadName")
        .count();
    assert_eq!(ended, 1);
}

#[test]
fn ways_to_stop_and_to_publish_again() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    client.media(9, 1, 1, b"a");
    client.command(1, Encoder::command("closeStream", 0.0).null());
    client.command(1, Encoder::command("publish", 0.0).null().string("cam"));
    client.media(9, 1, 2, b"b");
    // deleteStream for a stream that is not there changes nothing.
    client.command(0, Encoder::command("deleteStream", 0.0).null().number(9.0));
    client.command(0, Encoder::command("deleteStream", 0.0).null().number(1.0));
    client.publish(2, "cam");
    // An encoder that writes stream 1 whatever it was given.
    client.media(9, 1, 3, b"c");
    client.command(
        0,
        Encoder::command("FCUnpublish", 0.0).null().string("other"),
    );
    serve(&mut peer, &mut client).unwrap();
    let publish = |stream| Seen::Publish(stream, "live".into(), "cam".into(), Query::default());
    let video = |stream, time, body: &[u8]| message(stream, MessageKind::Video, time, body);
    let expected = [
        video(1, 1, b"a"),
        unpublish(1, StopCause::CloseStream),
        publish(1),
        video(1, 2, b"b"),
        unpublish(1, StopCause::DeleteStream),
        publish(2),
        video(2, 3, b"c"),
        unpublish(2, StopCause::FcUnpublish),
    ];
    // Streams 1 and 2 are answered when all is read, so their events mix; each has its own in order.
    for stream in ["(1,", "(2,", "stream: 1", "stream: 2"] {
        let of = |seen: &[Seen]| -> Vec<_> {
            seen.iter()
                .map(|seen| format!("{seen:?}"))
                .filter(|seen| seen.contains(stream))
                .collect()
        };
        assert_eq!(of(&peer.seen[2..]), of(&expected));
    }
    assert_eq!(
        (peer.seen.len(), peer.session.dropped()),
        (2 + expected.len(), 0)
    );
    assert_eq!(peer.session.stage(), Stage::Connected);
}

#[test]
fn two_streams_of_one_connection_are_kept_apart() {
    let mut client = published("live", "a");
    client.publish(2, "b");
    let mut peer = served(&mut client);
    client.media(9, 1, 0, b"a");
    client.media(9, 2, 0, b"b");
    client.media(9, 3, 0, b"whose?");
    client.command(0, Encoder::command("FCUnpublish", 0.0).null().string("c"));
    serve(&mut peer, &mut client).unwrap();
    let expected = [
        message(1, MessageKind::Video, 0, b"a"),
        message(2, MessageKind::Video, 0, b"b"),
    ];
    assert_eq!(peer.seen[3..], expected);
    assert_eq!(peer.session.dropped(), 1);
}

#[test]
fn publishes_that_nobody_has_to_decide() {
    let mut client = published("", "");
    // A repeated request is the same request; another name on a running stream is none.
    client.command(2, Encoder::command("publish", 0.0).null().string("cam"));
    client.command(2, Encoder::command("publish", 0.0).null().string("cam"));
    client.command(2, Encoder::command("publish", 0.0).null().string("other"));
    (3..20).for_each(|stream| {
        client.command(stream, Encoder::command("publish", 0.0).null().string("x"))
    });
    client.command(0, Encoder::command("createStream", 9.0).null());
    let peer = served(&mut client);
    let codes: Vec<_> = peer
        .calls()
        .into_iter()
        .filter(|call| {
            call.3.contains("BadName") || call.3.contains("Rejected") || call.3.contains("Failed")
        })
        .collect();
    let code = |stream: u32, name: &str, number: f64, code: &str| {
        (stream, name.to_owned(), number, code.to_owned())
    };
    let expected = [
        code(1, "onStatus", 0.0, "NetStream.Publish.BadName"),
        code(2, "onStatus", 0.0, "NetStream.Publish.BadName"),
        code(17, "onStatus", 0.0, "NetStream.Publish.Rejected"),
        code(18, "onStatus", 0.0, "NetStream.Publish.Rejected"),
        code(19, "onStatus", 0.0, "NetStream.Publish.Rejected"),
        code(0, "_error", 9.0, "NetConnection.Call.Failed"),
    ];
    assert_eq!(codes, expected);
    assert_eq!(peer.seen.len(), 1 + 15);
}

#[test]
fn every_command_with_a_number_is_answered() {
    let mut client = Sender::default();
    client.handshake();
    client.connect("live");
    let names = [
        "_checkbw",
        "getStreamLength",
        "FCSubscribe",
        "foo",
        "connect",
    ];
    for (name, number) in names.into_iter().zip(10u8..) {
        client.command(0, Encoder::command(name, number.into()).null());
        client.command(0, Encoder::command(name, 0.0).null());
    }
    client.command(1, Encoder::command("play", 0.0).null().string("cam"));
    client.command(0, Encoder::command("_result", 4.0).null());
    client.command(0, Encoder::command("_error", 4.0).null());
    let peer = served(&mut client);
    let call = |stream, name: &str, number, result: &str| {
        (stream, name.to_owned(), number, result.to_owned())
    };
    let expected = [
        call(0, "_result", 10.0, ""),
        call(0, "_result", 11.0, "0"),
        call(0, "_result", 12.0, ""),
        call(0, "_error", 13.0, "NetConnection.Call.Failed"),
        call(0, "_error", 14.0, "NetConnection.Connect.Rejected"),
        call(1, "onStatus", 0.0, "NetStream.Play.StreamNotFound"),
    ];
    assert_eq!(peer.calls()[1..], expected);
}

#[test]
fn enhanced_rtmp_is_told_what_is_true() {
    let fourccs = |fill: &dyn Fn(Encoder) -> Encoder| {
        let mut client = Sender::default();
        client.handshake();
        let connect = Encoder::command("connect", 1.0);
        client.command(0, connect.object(|o| fill(o.name("app").string("live"))));
        let peer = served(&mut client);
        let Some(Reply::Command(_, values)) = peer.replies().pop() else {
            panic!()
        };
        let get = |name| values[2].get(name).cloned();
        (
            get("fourCcList"),
            get("videoFourCcInfoMap"),
            get("audioFourCcInfoMap"),
            get("capsEx"),
        )
    };
    assert_eq!(fourccs(&|o| o), (None, None, None, None));
    let strings = |texts: &[&str]| {
        Value::Array(
            texts
                .iter()
                .map(|text| Value::String((*text).into()))
                .collect(),
        )
    };
    let map = |texts: &[&str]| {
        Value::Object(
            texts
                .iter()
                .map(|text| ((*text).into(), Value::Number(4.0)))
                .collect(),
        )
    };
    let expected = (
        Some(strings(&["avc1", "hvc1", "mp4a", ".mp3"])),
        Some(map(&["avc1", "hvc1"])),
        Some(map(&["mp4a", ".mp3"])),
        Some(Value::Number(0.0)),
    );
    assert_eq!(fourccs(&|o| o.name("fourCcList").strings(&["*"])), expected);
    assert_eq!(fourccs(&|o| o.name("capsEx").number(15.0)), expected);
}

#[test]
fn reconnect_is_asked_of_those_who_know_it() {
    for (caps, able) in [(0.0, false), (1.0, true), (14.0, false)] {
        let mut client = Sender::default();
        client.handshake();
        client.command(
            0,
            Encoder::command("connect", 1.0).object(|o| o.name("capsEx").number(caps)),
        );
        let mut peer = served(&mut client);
        assert_eq!(peer.session.request_reconnect("maintenance"), able);
        peer.drain();
        let asked = peer
            .calls()
            .iter()
            .any(|call| call.3 == "NetConnection.Connect.ReconnectRequest");
        assert_eq!(asked, able);
    }
}

/// Cameras send control messages on any chunk stream and message stream; some send types nobody knows.
#[test]
fn oddities_change_nothing() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    let mut odd = |type_id, payload: &[u8]| {
        let payload = payload.to_vec();
        client.send(&Sent {
            csid: 7,
            type_id,
            stream: 1,
            timestamp: 0,
            payload,
        });
    };
    for type_id in [0, 3, 7, 16, 19, 21, 255] {
        odd(type_id, b"whatever");
    }
    for type_id in 0..=22 {
        odd(type_id, b"");
        odd(type_id, b"\0");
    }
    // A window of 0, and user control events that no specification has.
    odd(5, &[0; 4]);
    for event in [3, 0x1a, 0x1b, 0x1f, 0x20, 0xffff] {
        odd(4, &[&u16::to_be_bytes(event)[..], &[0; 8]].concat());
    }
    // ffmpeg's timecode message is no AMF.
    odd(18, &[0, 1, 2, 3]);
    serve(&mut peer, &mut client).unwrap();
    let kinds: Vec<_> = peer.seen[2..]
        .iter()
        .map(|seen| match seen {
            Seen::Message(1, kind, 0, payload) => (*kind, payload.len()),
            other => panic!("{other:?}"),
        })
        .collect();
    // One byte is a message, if not a good one; empty ones are none.
    let expected = [
        (MessageKind::Audio, 1),
        (MessageKind::Video, 1),
        (MessageKind::Data, 1),
        (MessageKind::Data, 4),
    ];
    assert_eq!(kinds, expected);
}

#[test]
fn control_messages_are_obeyed_wherever_they_come() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    let payload = 70_000u32.to_be_bytes().to_vec();
    client.send(&Sent {
        csid: 3,
        type_id: 1,
        stream: 1,
        timestamp: 9,
        payload,
    });
    client.chunk_size = 70_000;
    client.media(9, 1, 0, &[1; 60_000]);
    client.control(4, &[0, 6, 1, 2, 3, 4]);
    client.control(4, &[0, 7, 0, 0, 0, 5]);
    client.control(6, &[0, 1, 0, 0, 2]);
    client.control(6, &[0, 1, 0, 0, 2]);
    client.control(6, &[0, 2, 0, 0, 3]);
    client.control(6, &2_500_000u32.to_be_bytes());
    serve(&mut peer, &mut client).unwrap();
    peer.session.ping(77);
    peer.drain();
    assert_eq!(
        peer.seen[2],
        message(1, MessageKind::Video, 0, &[1; 60_000])
    );
    assert_eq!(
        peer.seen[3],
        Seen::Other(Event::PingResponse { timestamp_ms: 5 })
    );
    let replies = peer.replies();
    let expected = [
        Reply::Control(4, vec![0, 7, 1, 2, 3, 4]),
        Reply::Control(5, vec![0, 1, 0, 0]),
        Reply::Control(4, vec![0, 6, 0, 0, 0, 77]),
    ];
    assert_eq!(replies[replies.len() - 3..], expected);
}

#[test]
fn acknowledgements_follow_the_window_and_wrap() {
    let mut client = published("live", "cam");
    client.control(5, &10_000u32.to_be_bytes());
    let mut peer = served(&mut client);
    let acks = |peer: &Peer| {
        let acks = peer.replies().into_iter().filter_map(|reply| match reply {
            Reply::Control(3, position) => Some(u32::from_be_bytes(position.try_into().unwrap())),
            _ => None,
        });
        acks.collect::<Vec<_>>()
    };
    let before = acks(&peer).len();
    peer.session.received = u64::from(u32::MAX) - 5_000;
    peer.session.acknowledged = peer.session.received;
    for _ in 0..5 {
        client.media(9, 1, 0, &[0; 4000]);
        serve(&mut peer, &mut client).unwrap();
    }
    let acks = acks(&peer);
    assert_eq!(acks.len() - before, 1);
    assert!((4_000..10_000).contains(acks.last().unwrap()), "{acks:?}");
    // A window of 1 does not cost a reply per read.
    client.control(5, &1u32.to_be_bytes());
    serve(&mut peer, &mut client).unwrap();
    assert_eq!(peer.session.ack_window, WINDOW_ACK_SIZE_MIN);
}

#[test]
fn amf3_messages_have_a_byte_in_front() {
    let mut client = Sender::default();
    client.handshake();
    let mut send = |type_id, stream, message: Encoder| {
        let payload = [&[0], &message.finish()[..]].concat();
        client.send(&Sent {
            csid: 3,
            type_id,
            stream,
            timestamp: 0,
            payload,
        });
    };
    send(
        17,
        0,
        Encoder::command("connect", 1.0).object(|o| o.name("app").string("live")),
    );
    send(17, 1, Encoder::command("publish", 2.0).null().string("cam"));
    send(15, 1, Encoder::default().string("@setDataFrame"));
    let peer = served(&mut client);
    let data = Encoder::default().string("@setDataFrame").finish();
    assert_eq!(peer.seen[2], message(1, MessageKind::Data, 0, &data));
}

#[test]
fn aggregates_are_taken_apart() {
    let mut client = published("live", "cam");
    let mut peer = served(&mut client);
    let part = |type_id, timestamp: u8, body: u8| {
        [
            type_id, 0, 0, 1, 0, 0, timestamp, 0, 0, 0, 0, body, 0, 0, 0, 12,
        ]
    };
    let body = [
        part(8, 50, 1),
        part(22, 50, 2),
        part(9, 70, 3),
        part(20, 70, 4),
        part(18, 80, 5),
    ]
    .concat();
    client.media(22, 1, 1000, &body);
    client.media(22, 1, 1000, &body[..20]);
    serve(&mut peer, &mut client).unwrap();
    let expected = [
        message(1, MessageKind::Audio, 1000, &[1]),
        message(1, MessageKind::Video, 1020, &[3]),
        message(1, MessageKind::Data, 1030, &[5]),
        message(1, MessageKind::Audio, 1000, &[1]),
    ];
    assert_eq!(peer.seen[2..], expected);
}

#[test]
fn errors_tell_where_and_end_the_session() {
    let mut client = Sender::default();
    client.handshake();
    client.command(1, Encoder::command("publish", 1.0).null().string("cam"));
    let mut peer = Peer::new(Config::default());
    let error = serve(&mut peer, &mut client).unwrap_err();
    assert_eq!(
        error.to_string(),
        "\"publish\" came before connect, at byte 3111 from the peer"
    );
    assert_eq!(error.fault(), Fault::Peer);
    assert_eq!(peer.feed(b"more"), Err(error));

    let mut peer = Peer::new(Config::default());
    let error = peer.feed(b"GET / HTTP/1.1\r\n").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Http);
    assert_eq!(peer.output, b"");
}

#[test]
fn limits_of_a_session() {
    let check = |act: &dyn Fn(&mut Sender), expected: ErrorKind| {
        let mut client = published("live", "cam");
        let mut peer = Peer::new(Config {
            message_size_max: 1 << 20,
            ..Config::default()
        });
        serve(&mut peer, &mut client).unwrap();
        client.set_chunk_size(65536);
        act(&mut client);
        let error = serve(&mut peer, &mut client).unwrap_err();
        assert_eq!((error.fault(), error.kind), (Fault::Limit, expected));
    };
    check(
        &|client| (0..=EVENTS_MAX).for_each(|_| client.media(8, 1, 0, b"a")),
        ErrorKind::Events { max: EVENTS_MAX },
    );
    check(
        &|client| (0..70_000).for_each(|_| client.control(4, &[0, 6, 0, 0, 0, 0])),
        ErrorKind::Output {
            max: OUTPUT_BYTES_MAX,
        },
    );
    check(
        &|client| client.command(0, Encoder::default().string(&"x".repeat(COMMAND_LEN_MAX))),
        ErrorKind::CommandTooLong {
            len: COMMAND_LEN_MAX + 5,
            max: COMMAND_LEN_MAX,
        },
    );
    check(
        &|client| {
            client.media(
                20,
                0,
                0,
                &[&b"\x02\0\x01x"[..], &b"\x0a\0\0\0\x01".repeat(40)].concat(),
            )
        },
        ErrorKind::AmfDepth {
            max: amf0::DEPTH_MAX,
        },
    );
    check(
        &|client| client.media(20, 0, 0, &[5; amf0::VALUES_MAX + 1]),
        ErrorKind::AmfValues {
            max: amf0::VALUES_MAX,
        },
    );
    check(
        &|client| client.media(9, 1, 0, &vec![0; 0xff_ffff]),
        ErrorKind::MessageTooLong {
            csid: 9,
            len: 0xff_ffff,
            max: 1 << 20,
        },
    );
}

#[test]
fn a_stranger_may_hold_less_than_a_publisher() {
    let config = Config {
        pending_bytes_max: 10_000,
        ..Config::default()
    };
    let mut client = Sender::default();
    client.handshake();
    let mut peer = Peer::new(config.clone());
    serve(&mut peer, &mut client).unwrap();
    client.media(9, 1, 0, &[0; 20_000]);
    let error = serve(&mut peer, &mut client).unwrap_err();
    assert_eq!(error.kind, ErrorKind::PartialBytes { max: 10_000 });

    let mut client = published("live", "cam");
    let mut peer = Peer::new(config);
    serve(&mut peer, &mut client).unwrap();
    client.media(9, 1, 0, &[0; 20_000]);
    serve(&mut peer, &mut client).unwrap();
    assert_eq!(peer.seen.len(), 3);
}

#[test]
fn what_is_printed_holds_no_key() {
    let mut client = published("live?key=secret", "cam?key=secret");
    let mut peer = Peer::new(Config::default());
    peer.accepts = false;
    peer.session
        .handle_input(mem::take(&mut client.out).into())
        .unwrap();
    let events: Vec<_> = std::iter::from_fn(|| peer.session.poll_event()).collect();
    assert_eq!(events.len(), 2);
    assert!(!format!("{events:?}").contains("secret"), "{events:?}");
    let long = Message {
        stream: StreamId(1),
        kind: MessageKind::Audio,
        timestamp: 5,
        payload: SmallVec::from_iter([
            Bytes::from_static(&[0xab; 2]),
            Bytes::from_static(&[1; 40]),
        ]),
    };
    let printed = format!("{long:?}");
    assert_eq!(
        printed,
        format!(
            "Audio of stream 1 at 5 ms, 42 bytes: ab ab{} …",
            " 01".repeat(14)
        )
    );
}

/// An independent client, of the crate that `push` uses too.
mod rml {
    use super::*;
    use rml_rtmp::handshake::{Handshake as ClientHandshake, HandshakeProcessResult, PeerType};
    use rml_rtmp::sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult,
        PublishRequestType,
    };
    use rml_rtmp::time::RtmpTimestamp;

    /// Sends what the client wants to say, and gives it what the server replies, until both are silent.
    fn talk(
        client: &mut ClientSession,
        peer: &mut Peer,
        mut results: Vec<ClientSessionResult>,
    ) -> Vec<ClientSessionEvent> {
        let mut events = Vec::new();
        while !results.is_empty() {
            for result in results.drain(..) {
                match result {
                    ClientSessionResult::OutboundResponse(packet) => {
                        peer.feed(&packet.bytes).unwrap()
                    }
                    ClientSessionResult::RaisedEvent(event) => events.push(event),
                    ClientSessionResult::UnhandleableMessageReceived(_) => {}
                }
            }
            results = client.handle_input(&mem::take(&mut peer.output)).unwrap();
        }
        events
    }

    #[test]
    fn rml_rtmp_publishes() {
        let mut peer = Peer::new(Config::default());
        let mut handshake = ClientHandshake::new(PeerType::Client);
        peer.feed(&handshake.generate_outbound_p0_and_p1().unwrap())
            .unwrap();
        let answer = mem::take(&mut peer.output);
        assert_eq!(answer[5..9], [4, 5, 0, 1], "its C1 is signed, so S1 is");
        match handshake.process_bytes(&answer).unwrap() {
            HandshakeProcessResult::Completed { response_bytes, .. } => {
                peer.feed(&response_bytes).unwrap()
            }
            HandshakeProcessResult::InProgress { .. } => panic!("the client waits for more"),
        }
        assert_eq!(peer.session.stage(), Stage::Connecting);

        let (mut client, first) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        talk(&mut client, &mut peer, first);
        let connect = client.request_connection("live".to_owned()).unwrap();
        let events = talk(&mut client, &mut peer, vec![connect]);
        assert_eq!(events, [ClientSessionEvent::ConnectionRequestAccepted]);
        let publish = client
            .request_publishing("cam?key=k".to_owned(), PublishRequestType::Live)
            .unwrap();
        let events = talk(&mut client, &mut peer, vec![publish]);
        assert_eq!(events, [ClientSessionEvent::PublishRequestAccepted]);
        for (time, len) in [(0, 10), (40, 70_000), (20_000_000, 300)] {
            let data = Bytes::from(vec![time as u8; len]);
            let video = client
                .publish_video_data(data.clone(), RtmpTimestamp::new(time), false)
                .unwrap();
            talk(&mut client, &mut peer, vec![video]);
            let audio = client
                .publish_audio_data(data, RtmpTimestamp::new(time), false)
                .unwrap();
            talk(&mut client, &mut peer, vec![audio]);
        }
        let stop = client.stop_publishing().unwrap();
        talk(&mut client, &mut peer, stop);
        let of = |kind, time: u32, len| message(1, kind, time, &vec![time as u8; len]);
        let media: Vec<_> = [(0, 10), (40, 70_000), (20_000_000, 300)]
            .into_iter()
            .flat_map(|(time, len)| {
                [
                    of(MessageKind::Video, time, len),
                    of(MessageKind::Audio, time, len),
                ]
            })
            .collect();
        assert!(peer.seen[2..8] == media);
        assert_eq!(peer.seen[8..], [unpublish(1, StopCause::DeleteStream)]);
    }
}
