//! What the server says: every message it ever sends is made here.

use super::amf0::Encoder;
use super::chunk::Writer;
use super::command::Connect;
use super::message::{StreamId, type_id};
use bytes::{Bytes, BytesMut};
use std::mem;

/// Chunk stream of protocol control and user control messages (§5.3.1.1).
const CSID_CONTROL: u8 = 2;
/// Chunk stream of answers to calls on the connection.
const CSID_COMMAND: u8 = 3;
/// Chunk stream of what concerns one NetStream.
const CSID_STREAM: u8 = 5;

/// User control events (§7.1.7).
pub(super) mod user_control {
    pub(in crate::rtmp) const STREAM_BEGIN: u16 = 0;
    pub(in crate::rtmp) const PING_REQUEST: u16 = 6;
    pub(in crate::rtmp) const PING_RESPONSE: u16 = 7;
}

/// `CanForward` of Enhanced RTMP's FourCcInfoMask: nothing is decoded or encoded here.
const CAN_FORWARD: f64 = 4.0;

/// Bytes for the peer that wait to be sent.
pub(super) struct Output {
    pub(super) buffer: BytesMut,
    writer: Writer,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            buffer: BytesMut::new(),
            writer: Writer::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn take(&mut self) -> Option<Bytes> {
        // The room goes with it: most connections never say anything again.
        (!self.buffer.is_empty()).then(|| mem::take(&mut self.buffer).freeze())
    }

    pub(super) fn window_ack_size(&mut self, size: u32) {
        self.control(type_id::WINDOW_ACK_SIZE, &size.to_be_bytes());
    }

    pub(super) fn acknowledgement(&mut self, position: u32) {
        self.control(type_id::ACKNOWLEDGEMENT, &position.to_be_bytes());
    }

    /// Limit type 2: the peer may apply what it likes best.
    pub(super) fn set_peer_bandwidth(&mut self, size: u32) {
        let [a, b, c, d] = size.to_be_bytes();
        self.control(type_id::SET_PEER_BANDWIDTH, &[a, b, c, d, 2]);
    }

    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.control(type_id::SET_CHUNK_SIZE, &size.to_be_bytes());
        self.writer.set_chunk_size(size);
    }

    pub(super) fn user_control(&mut self, event: u16, value: u32) {
        let ([a, b], [c, d, e, f]) = (event.to_be_bytes(), value.to_be_bytes());
        self.control(type_id::USER_CONTROL, &[a, b, c, d, e, f]);
    }

    /// `_result` of `connect`. Tells of Enhanced RTMP only who asked for it, and only what is true (capsEx 0:
    /// no reconnect, multitrack, ModEx).
    pub(super) fn connected(
        &mut self,
        transaction: f64,
        connect: &Connect,
        video: &[&str],
        audio: &[&str],
    ) {
        let map = |o: Encoder, name: &str, fourccs: &[&str]| {
            let entries = |o| {
                fourccs
                    .iter()
                    .fold(o, |o: Encoder, cc| o.name(cc).number(CAN_FORWARD))
            };
            o.name(name).object(entries)
        };
        let properties = |o: Encoder| {
            let o = o.name("fmsVer").string("FMS/3,0,1,123");
            let o = o.name("capabilities").number(31.0).name("mode").number(1.0);
            if !connect.enhanced {
                return o;
            }
            let o = o.name("fourCcList").strings(&[video, audio].concat());
            let o = map(o, "videoFourCcInfoMap", video);
            map(o, "audioFourCcInfoMap", audio)
                .name("capsEx")
                .number(0.0)
        };
        let information = |o| {
            let o = describe(o, "status", "NetConnection.Connect.Success", "connected");
            o.name("objectEncoding").number(0.0)
        };
        let message = Encoder::command("_result", transaction);
        self.command(StreamId(0), message.object(properties).object(information));
    }

    /// `_result` with nothing to say.
    pub(super) fn result(&mut self, transaction: f64) {
        if transaction != 0.0 {
            self.command(
                StreamId(0),
                Encoder::command("_result", transaction).null().undefined(),
            );
        }
    }

    /// `_result` with a number: the id of a stream, a length.
    pub(super) fn result_number(&mut self, transaction: f64, number: f64) {
        self.command(
            StreamId(0),
            Encoder::command("_result", transaction)
                .null()
                .number(number),
        );
    }

    /// `_error`.
    pub(super) fn error(&mut self, transaction: f64, code: &str, description: &str) {
        if transaction != 0.0 {
            let message = Encoder::command("_error", transaction).null();
            let message = message.object(|o| describe(o, "error", code, description));
            self.command(StreamId(0), message);
        }
    }

    /// `onStatus` on a NetStream, or on the connection (stream 0).
    pub(super) fn status(&mut self, stream: StreamId, level: &str, code: &str, description: &str) {
        let message = Encoder::command("onStatus", 0.0).null();
        self.command(
            stream,
            message.object(|o| describe(o, level, code, description)),
        );
    }

    /// `onFCPublish`, under the number of the `FCPublish` that it belongs to: Livestream Studio waits for it.
    pub(super) fn on_fc_publish(&mut self, transaction: f64, name: &str) {
        let message = Encoder::command("onFCPublish", transaction).null();
        let message = message.object(|o| describe(o, "status", "NetStream.Publish.Start", name));
        self.command(StreamId(0), message);
    }

    fn command(&mut self, stream: StreamId, message: Encoder) {
        let csid = if stream.0 == 0 {
            CSID_COMMAND
        } else {
            CSID_STREAM
        };
        let header = (type_id::COMMAND, stream, 0);
        self.writer
            .write(&mut self.buffer, csid, header, &message.finish());
    }

    fn control(&mut self, type_id: u8, payload: &[u8]) {
        let header = (type_id, StreamId(0), 0);
        self.writer
            .write(&mut self.buffer, CSID_CONTROL, header, payload);
    }
}

fn describe(object: Encoder, level: &str, code: &str, description: &str) -> Encoder {
    let object = object.name("level").string(level).name("code").string(code);
    object.name("description").string(description)
}
