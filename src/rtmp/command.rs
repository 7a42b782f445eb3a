//! Commands (§7.2): what a client asks for, parsed once.

use super::address::public_url;
use super::amf0::Value;

/// Longest text of a client about itself that is kept; protects logs and status pages.
const TEXT_LEN_MAX: usize = 256;
/// Most FourCCs of a client that are kept; Enhanced RTMP defines about a dozen.
const FOURCCS_MAX: usize = 32;

/// What a client tells about itself in `connect`. Holds no secrets: queries are kept apart.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ConnectInfo {
    /// `app`, without its query; empty if it was missing.
    pub app: String,
    /// `tcUrl`, without its query, user and password.
    pub tc_url: Option<String>,
    /// `flashVer`: the name and version of the encoder.
    pub encoder: Option<String>,
    /// FourCCs that the client announced (`fourCcList`, `videoFourCcInfoMap`, `audioFourCcInfoMap`), `*` for all.
    pub fourccs: Vec<String>,
    /// `capsEx` of Enhanced RTMP: bit 0 reconnect, 1 multitrack, 2 ModEx, 3 nanosecond offsets.
    pub caps: u32,
}

/// A command with the number under which it wants its answer; 0: none wanted.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Command {
    pub(super) transaction: f64,
    pub(super) call: Call,
}

/// What is asked for.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Call {
    Connect(Connect),
    CreateStream,
    ReleaseStream,
    FcPublish {
        name: String,
    },
    FcUnpublish {
        name: String,
    },
    Publish {
        name: String,
    },
    CloseStream,
    DeleteStream {
        stream: Option<u32>,
    },
    Play,
    GetStreamLength,
    /// Asks for nothing that a publish needs, and is content with any answer.
    Courtesy,
    /// An answer to something that was never asked, or news. Never answered: two servers could go on for ever.
    Reply,
    Unknown {
        name: String,
    },
}

/// `connect`, with what the public part leaves out.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Connect {
    pub(super) info: ConnectInfo,
    /// Whether the client speaks of Enhanced RTMP at all.
    pub(super) enhanced: bool,
    /// As sent, with queries.
    pub(super) app: Option<String>,
    /// As sent, with queries.
    pub(super) tc_url: Option<String>,
}

impl Command {
    /// Takes the values of a command message apart. `None`: its name is missing.
    pub(super) fn parse(values: &[Value]) -> Option<Self> {
        let name = values.first()?.as_str()?;
        let transaction = values.get(1).and_then(Value::as_number);
        let text = || text_argument(values);
        let call = match name {
            "connect" => Call::Connect(Connect::parse(values)),
            "createStream" => Call::CreateStream,
            "releaseStream" => Call::ReleaseStream,
            "FCPublish" => Call::FcPublish { name: text() },
            "FCUnpublish" => Call::FcUnpublish { name: text() },
            "publish" => Call::Publish { name: text() },
            "closeStream" => Call::CloseStream,
            "deleteStream" => Call::DeleteStream {
                // A cast from floating point saturates, and NaN is 0.
                stream: values.get(3).and_then(Value::as_number).map(|id| id as u32),
            },
            "play" | "play2" => Call::Play,
            "getStreamLength" => Call::GetStreamLength,
            "_checkbw" | "checkBandwidth" | "FCSubscribe" | "FCUnsubscribe" | "receiveAudio"
            | "receiveVideo" | "pause" | "seek" => Call::Courtesy,
            "_result" | "_error" | "onStatus" | "onBWDone" | "onFCPublish" | "onFCUnpublish" => {
                Call::Reply
            }
            _ => Call::Unknown {
                name: shorten(name),
            },
        };
        Some(Self {
            transaction: transaction.filter(|id| id.is_finite()).unwrap_or(0.0),
            call,
        })
    }
}

/// The first argument behind the command object (which some clients leave out), if it is a text.
fn text_argument(values: &[Value]) -> String {
    let argument = match values.get(2) {
        Some(text @ Value::String(_)) => Some(text),
        _ => values.get(3),
    };
    argument
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl Connect {
    fn parse(values: &[Value]) -> Self {
        let object = values
            .iter()
            .skip(2)
            .find(|value| matches!(value, Value::Object(_)));
        let get = |name| object.and_then(|object| object.get(name));
        let text = |name| get(name).and_then(Value::as_str);
        let (app, tc_url) = (text("app"), text("tcUrl"));
        let mut fourccs = Vec::new();
        if let Some(Value::Array(list)) = get("fourCcList") {
            fourccs.extend(list.iter().filter_map(Value::as_str).map(shorten));
        }
        let maps = [get("videoFourCcInfoMap"), get("audioFourCcInfoMap")];
        let names = maps.iter().flatten().flat_map(|map| map.properties());
        fourccs.extend(names.map(|(name, _)| shorten(name)));
        fourccs.truncate(FOURCCS_MAX);
        let caps = get("capsEx").and_then(Value::as_number);
        let plain_app = app.map(|app| app.split('?').next().unwrap_or_default());
        Self {
            enhanced: !fourccs.is_empty() || caps.is_some(),
            info: ConnectInfo {
                app: plain_app.map(shorten).unwrap_or_default(),
                tc_url: tc_url.map(|url| shorten(&public_url(url))),
                encoder: text("flashVer")
                    .filter(|text| !text.is_empty())
                    .map(shorten),
                fourccs,
                caps: caps.map_or(0, |caps| caps as u32),
            },
            app: app.map(str::to_owned),
            tc_url: tc_url.map(str::to_owned),
        }
    }
}

fn shorten(text: &str) -> String {
    let end = text.floor_char_boundary(TEXT_LEN_MAX);
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::amf0::{Encoder, decode};
    use super::*;

    fn parse(message: Encoder) -> Command {
        Command::parse(&decode(&message.finish()).unwrap()).unwrap()
    }

    #[test]
    fn names_are_found_with_and_without_a_command_object() {
        let check = |message: Encoder, expected: Call| assert_eq!(parse(message).call, expected);
        let publish = |name: &str| Call::Publish {
            name: name.to_owned(),
        };
        let call = || Encoder::command("publish", 5.0);
        check(call().null().string("cam").string("live"), publish("cam"));
        check(call().string("cam").string("LIVE"), publish("cam"));
        check(call().null().null(), publish(""));
        check(call(), publish(""));
        let delete = || Encoder::command("deleteStream", 0.0).null();
        check(delete().number(3.0), Call::DeleteStream { stream: Some(3) });
        check(
            delete().number(f64::NAN),
            Call::DeleteStream { stream: Some(0) },
        );
        check(delete(), Call::DeleteStream { stream: None });
        check(
            Encoder::command("foo", 1.0),
            Call::Unknown { name: "foo".into() },
        );
        check(Encoder::command("_result", 1.0).null(), Call::Reply);
        assert!(parse(Encoder::command("foo", f64::INFINITY)).transaction == 0.0);
        assert_eq!(Command::parse(&[Value::Null]), None);
        assert_eq!(Command::parse(&[]), None);
    }

    #[test]
    fn connect_is_read_as_far_as_it_makes_sense() {
        let message = Encoder::command("connect", 1.0).object(|o| {
            let o = o
                .name("app")
                .string("live?key=k")
                .name("tcurl")
                .string("rtmp://u:p@h/live?key=k");
            let o = o
                .name("flashVer")
                .string(&"é".repeat(200))
                .name("fpad")
                .number(0.0);
            let o = o.name("fourCcList").strings(&["hvc1", "*"]);
            o.name("videoFourCcInfoMap")
                .object(|o| o.name("av01").number(4.0))
                .name("capsEx")
                .number(1.0)
        });
        let Call::Connect(connect) = parse(message.number(1.0).string("more")).call else {
            panic!("not a connect");
        };
        assert_eq!(connect.app.as_deref(), Some("live?key=k"));
        assert!(connect.enhanced);
        let info = connect.info;
        assert_eq!(
            (info.app.as_str(), info.tc_url.as_deref()),
            ("live", Some("rtmp://h/live"))
        );
        assert_eq!(
            (info.fourccs, info.caps),
            (vec!["hvc1".into(), "*".into(), "av01".into()], 1)
        );
        assert_eq!(info.encoder.map(|text| text.len()), Some(256));

        let Call::Connect(empty) = parse(Encoder::command("connect", 1.0)).call else {
            panic!("not a connect");
        };
        assert_eq!(
            (empty.info, empty.enhanced),
            (ConnectInfo::default(), false)
        );
    }
}
