//! The XML documents of this API, as types. Element names are those of the wire.

use super::error::{Code, Error};
use quick_xml::se::Serializer;
use serde::{Deserialize, Serialize};

const PROLOG: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// `value` as a document whose root element is `root`.
pub(super) fn write<T: Serialize>(root: &str, value: &T) -> String {
    let mut text = PROLOG.to_owned();
    let written = Serializer::with_root(&mut text, Some(root)).map(|to| value.serialize(to));
    match written {
        Ok(Ok(_)) => text,
        // Every document here is a struct under a constant name, which has a form in XML.
        _ => format!("{PROLOG}<{root}/>"),
    }
}

/// A document that is one element with a text in it.
pub(super) fn text(root: &str, text: &str) -> String {
    format!(
        "{PROLOG}<{root}>{}</{root}>",
        quick_xml::escape::escape(text)
    )
}

/// Body of PutLiveChannel. Elements that are not known are passed over.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PutChannel {
    pub(super) description: String,
    pub(super) status: String,
    pub(super) target: Option<PutTarget>,
    pub(super) snapshot: Option<serde::de::IgnoredAny>,
}

/// Numbers are text here: an empty element means the default.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct PutTarget {
    pub(super) r#type: String,
    pub(super) frag_duration: String,
    pub(super) frag_count: String,
    /// One page of the reference writes it in the other way.
    #[serde(alias = "PlayListName")]
    pub(super) playlist_name: String,
}

impl PutChannel {
    /// Reads a body.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        let malformed = || {
            let message = "The XML you provided was not well-formed or did not validate against our published schema.";
            Error::new(Code::MalformedXML, message)
        };
        let text = std::str::from_utf8(body).map_err(|_| malformed())?;
        is_document(text, "LiveChannelConfiguration").ok_or_else(malformed)?;
        quick_xml::de::from_str(text).map_err(|_| malformed())
    }
}

/// Whether the whole text is one well-formed document with this root, and declares nothing.
fn is_document(text: &str, root: &str) -> Option<()> {
    use quick_xml::events::Event;
    let mut reader = quick_xml::Reader::from_str(text);
    let (mut depth, mut roots) = (0_u32, 0_u32);
    loop {
        let event = reader.read_event().ok()?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) if depth == 0 => {
                roots += 1;
                (tag.name().into_inner() == root).then_some(())?;
            }
            Event::DocType(_) => return None,
            Event::Eof => return (depth == 0 && roots == 1).then_some(()),
            _ => {}
        }
        match event {
            Event::Start(_) => depth += 1,
            Event::End(_) => depth = depth.checked_sub(1)?,
            _ => {}
        }
    }
}

/// One URL under its own element, as every list of URLs here has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Urls {
    pub(super) url: String,
}

/// Answer to PutLiveChannel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CreateLiveChannelResult {
    pub(super) publish_urls: Urls,
    pub(super) play_urls: Urls,
}

/// Answer to GetLiveChannelInfo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LiveChannelConfiguration {
    pub(super) description: String,
    pub(super) status: &'static str,
    pub(super) target: Target,
}

/// Where a push is packaged to.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Target {
    pub(super) r#type: &'static str,
    pub(super) frag_duration: u32,
    pub(super) frag_count: u32,
    pub(super) playlist_name: String,
}

/// Answer to GetLiveChannelStat.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LiveChannelStat {
    pub(super) status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) connected_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remote_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) video: Option<VideoStat>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) audio: Option<AudioStat>,
}

/// The pictures of a running push.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct VideoStat {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) frame_rate: u32,
    /// Bytes in a second.
    pub(super) bandwidth: u64,
    pub(super) codec: String,
}

/// The sound of a running push.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AudioStat {
    /// Bytes in a second.
    pub(super) bandwidth: u64,
    pub(super) sample_rate: u32,
    pub(super) codec: String,
}

/// Answer to GetLiveChannelHistory.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LiveChannelHistory {
    pub(super) live_record: Vec<LiveRecord>,
}

/// A push that is over.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct LiveRecord {
    pub(super) start_time: String,
    pub(super) end_time: String,
    pub(super) remote_addr: String,
}

/// Answer to ListLiveChannel.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListLiveChannelResult {
    pub(super) prefix: String,
    pub(super) marker: String,
    pub(super) max_keys: usize,
    pub(super) is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_marker: Option<String>,
    pub(super) live_channel: Vec<ListedChannel>,
}

/// A channel in a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedChannel {
    pub(super) name: String,
    pub(super) description: String,
    pub(super) status: &'static str,
    pub(super) last_modified: String,
    pub(super) publish_urls: Urls,
    pub(super) play_urls: Urls,
}

/// Whose everything is.
#[derive(Debug, Serialize)]
pub(super) struct Owner {
    #[serde(rename = "ID")]
    pub(super) id: &'static str,
    #[serde(rename = "DisplayName")]
    pub(super) display_name: &'static str,
}

/// This server has one owner: whoever has an access key.
pub(super) const OWNER: Owner = Owner {
    id: "millstream",
    display_name: "millstream",
};

/// Answer to GetService (ListBuckets).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListAllMyBucketsResult {
    pub(super) prefix: String,
    pub(super) marker: String,
    pub(super) max_keys: usize,
    pub(super) is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_marker: Option<String>,
    pub(super) owner: Owner,
    pub(super) buckets: Buckets,
}

/// The buckets of a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Buckets {
    pub(super) bucket: Vec<ListedBucket>,
}

/// A bucket in a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedBucket {
    pub(super) name: String,
    pub(super) location: &'static str,
    pub(super) creation_date: String,
    pub(super) extranet_endpoint: String,
    pub(super) intranet_endpoint: String,
    pub(super) storage_class: &'static str,
}

/// Answer to GetBucketInfo.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BucketInfo {
    pub(super) bucket: BucketFacts,
}

/// What GetBucketInfo tells.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BucketFacts {
    #[serde(flatten)]
    pub(super) listed: ListedBucket,
    pub(super) owner: Owner,
    pub(super) access_control_list: Grants,
}

/// Who may do what.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Grants {
    pub(super) grant: &'static str,
}

/// Answer to GetBucketAcl.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct AccessControlPolicy {
    pub(super) owner: Owner,
    pub(super) access_control_list: Grants,
}

/// Answer to ListMultipartUploads.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMultipartUploadsResult {
    pub(super) bucket: String,
    pub(super) key_marker: String,
    pub(super) upload_id_marker: String,
    pub(super) next_key_marker: String,
    pub(super) next_upload_id_marker: String,
    pub(super) prefix: String,
    pub(super) delimiter: String,
    pub(super) max_uploads: usize,
    pub(super) is_truncated: bool,
}

/// Answer to GetBucket (ListObjects).
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListBucketResult {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) marker: String,
    pub(super) max_keys: usize,
    pub(super) delimiter: String,
    pub(super) is_truncated: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_marker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) encoding_type: Option<&'static str>,
    pub(super) contents: Vec<ListedObject>,
    pub(super) common_prefixes: Vec<CommonPrefix>,
}

/// An object in a listing.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListedObject {
    pub(super) key: String,
    pub(super) last_modified: String,
    #[serde(rename = "ETag")]
    pub(super) etag: String,
    pub(super) r#type: &'static str,
    pub(super) size: u64,
    pub(super) storage_class: &'static str,
    pub(super) owner: Owner,
}

/// Objects that a listing with a delimiter joins.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct CommonPrefix {
    pub(super) prefix: String,
}

/// The error document; its further elements depend on the code.
pub(super) fn error(error: &Error, request_id: &str, host: &str) -> String {
    use quick_xml::escape::escape;
    let element = |name: &str, value: &str| format!("<{name}>{}</{name}>", escape(value));
    let mut inside = element("Code", error.code.as_str());
    inside += &element("Message", &error.message);
    inside += &element("RequestId", request_id);
    inside += &element("HostId", host);
    if !error.ec.is_empty() {
        inside += &element("EC", error.ec);
    }
    for (name, value) in &error.facts {
        inside += &element(name, value);
    }
    format!("{PROLOG}<Error>{inside}</Error>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_of_all_clients_are_read() {
        let check = |body: &str, expected: (&str, &str, Option<[&str; 4]>)| {
            let found = PutChannel::parse(body.as_bytes()).expect(body);
            let target = found
                .target
                .map(|t| [t.r#type, t.frag_duration, t.frag_count, t.playlist_name]);
            let target = target.as_ref().map(|t| t.each_ref().map(String::as_str));
            assert_eq!(
                (&*found.description, &*found.status, target),
                expected,
                "{body}"
            );
        };
        // Python's SDK.
        check(
            "<LiveChannelConfiguration><Description /><Status>enabled</Status><Target><Type>HLS</Type><FragDuration>5</FragDuration><FragCount>3</FragCount><PlaylistName>test.m3u8</PlaylistName></Target></LiveChannelConfiguration>",
            ("", "enabled", Some(["HLS", "5", "3", "test.m3u8"])),
        );
        // Go's leaves zeros out; C's begins with a prolog.
        check(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<LiveChannelConfiguration>\n  <Description>a &amp; b</Description>\n  <Target><Type>HLS</Type><PlaylistName /></Target>\n</LiveChannelConfiguration>\n",
            ("a & b", "", Some(["HLS", "", "", ""])),
        );
        check(
            "<LiveChannelConfiguration><Other><Deep>1</Deep></Other><Target><PlayListName>x.m3u8</PlayListName><New/></Target></LiveChannelConfiguration>",
            ("", "", Some(["", "", "", "x.m3u8"])),
        );
        check("<LiveChannelConfiguration/>", ("", "", None));
    }

    #[test]
    fn what_is_no_configuration_is_malformed() {
        for body in [
            "",
            "x",
            "<LiveChannelConfiguration>",
            "<LiveChannelConfiguration></Target>",
            "<LiveChannelConfiguration/><LiveChannelConfiguration/>",
            "<Other/>",
            "<LiveChannelConfiguration><Target></LiveChannelConfiguration>",
            "<LiveChannelConfiguration><Status>a</Status><Status>b</Status></LiveChannelConfiguration>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><LiveChannelConfiguration/>",
            "<LiveChannelConfiguration><Description>&b;</Description></LiveChannelConfiguration>",
        ] {
            let error = PutChannel::parse(body.as_bytes()).expect_err(body);
            assert_eq!(error.code, Code::MalformedXML, "{body}");
        }
        assert!(
            PutChannel::parse(b"<LiveChannelConfiguration>\xff</LiveChannelConfiguration>")
                .is_err()
        );
    }

    #[test]
    fn depth_costs_no_stack() {
        let (open, close) = ("<a>".repeat(100_000), "</a>".repeat(100_000));
        let body = format!("<LiveChannelConfiguration>{open}{close}</LiveChannelConfiguration>");
        assert_eq!(
            PutChannel::parse(body.as_bytes()),
            Ok(PutChannel::default())
        );
    }

    #[test]
    fn answers_have_the_elements_that_clients_read() {
        let check = |found: String, expected: &str| {
            assert_eq!(found.strip_prefix(PROLOG), Some(expected));
        };
        let urls = |url: &str| Urls {
            url: url.to_owned(),
        };
        check(
            write(
                "CreateLiveChannelResult",
                &CreateLiveChannelResult {
                    publish_urls: urls("rtmp://h/live/a?b&c"),
                    play_urls: urls("http://h/a/playlist.m3u8"),
                },
            ),
            "<CreateLiveChannelResult><PublishUrls><Url>rtmp://h/live/a?b&amp;c</Url></PublishUrls><PlayUrls><Url>http://h/a/playlist.m3u8</Url></PlayUrls></CreateLiveChannelResult>",
        );
        let idle = LiveChannelStat {
            status: "Idle",
            ..LiveChannelStat::default()
        };
        check(
            write("LiveChannelStat", &idle),
            "<LiveChannelStat><Status>Idle</Status></LiveChannelStat>",
        );
        let live = LiveChannelStat {
            status: "Live",
            connected_time: Some("2031-04-02T07:15:09.000Z".to_owned()),
            remote_addr: Some("192.0.2.14:50712".to_owned()),
            video: Some(VideoStat {
                width: 1280,
                height: 720,
                frame_rate: 30,
                bandwidth: 187_500,
                codec: "H264".to_owned(),
            }),
            audio: Some(AudioStat {
                bandwidth: 16_000,
                sample_rate: 44_100,
                codec: "AAC".to_owned(),
            }),
        };
        check(
            write("LiveChannelStat", &live),
            "<LiveChannelStat><Status>Live</Status><ConnectedTime>2031-04-02T07:15:09.000Z</ConnectedTime><RemoteAddr>192.0.2.14:50712</RemoteAddr><Video><Width>1280</Width><Height>720</Height><FrameRate>30</FrameRate><Bandwidth>187500</Bandwidth><Codec>H264</Codec></Video><Audio><Bandwidth>16000</Bandwidth><SampleRate>44100</SampleRate><Codec>AAC</Codec></Audio></LiveChannelStat>",
        );
        let nothing = LiveChannelHistory {
            live_record: Vec::new(),
        };
        check(
            write("LiveChannelHistory", &nothing),
            "<LiveChannelHistory/>",
        );
        let record = || LiveRecord {
            start_time: "a".into(),
            end_time: "b".into(),
            remote_addr: "c".into(),
        };
        check(
            write(
                "LiveChannelHistory",
                &LiveChannelHistory {
                    live_record: vec![record(), record()],
                },
            ),
            &format!(
                "<LiveChannelHistory>{0}{0}</LiveChannelHistory>",
                "<LiveRecord><StartTime>a</StartTime><EndTime>b</EndTime><RemoteAddr>c</RemoteAddr></LiveRecord>"
            ),
        );
        let bucket = ListedBucket {
            name: "b".into(),
            location: "oss-local",
            creation_date: "d".into(),
            extranet_endpoint: "e".into(),
            intranet_endpoint: "i".into(),
            storage_class: "Standard",
        };
        let info = BucketInfo {
            bucket: BucketFacts {
                listed: bucket,
                owner: OWNER,
                access_control_list: Grants { grant: "private" },
            },
        };
        let text = write("BucketInfo", &info);
        assert!(
            text.contains("<BucketInfo><Bucket><Name>b</Name><Location>oss-local</Location>"),
            "{text}"
        );
        assert!(text.ends_with("<AccessControlList><Grant>private</Grant></AccessControlList></Bucket></BucketInfo>"), "{text}");
    }

    #[test]
    fn errors_are_documents() {
        let failed = Error::argument("max-keys", "<0>", "0044-00000101", "a & b");
        assert_eq!(
            error(&failed, "69A1F00D3C4B5A6978877665", "b.oss.localhost").strip_prefix(PROLOG),
            Some(
                "<Error><Code>InvalidArgument</Code><Message>a &amp; b</Message><RequestId>69A1F00D3C4B5A6978877665</RequestId>\
                 <HostId>b.oss.localhost</HostId><EC>0044-00000101</EC><ArgumentName>max-keys</ArgumentName><ArgumentValue>&lt;0&gt;</ArgumentValue></Error>"
            )
        );
    }
}
