//! Which operation a request is, from its method, its address and its sub-resources.

use super::address::Target;
use super::error::Error;
use hyper::Method;

/// An operation of this API, without its arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    ListBuckets,
    CreateBucket,
    DeleteBucket,
    GetBucketInfo,
    GetBucketLocation,
    GetBucketAcl,
    PutBucketAcl,
    ListObjects,
    ListUploads,
    ListChannels,
    PutChannel,
    PutChannelStatus,
    GetChannelInfo,
    GetChannelStat,
    GetChannelHistory,
    DeleteChannel,
    PostVodPlaylist,
    GetVodPlaylist,
    GetObject,
    DeleteObject,
}

/// What a caller needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// An access key, whatever the bucket's ACL says.
    Owner,
    /// To read objects.
    Read,
    /// To write and remove objects.
    Write,
}

/// Sub-resources of a bucket that this server has no answer for. Without this list a request for
/// one would be taken for a listing, or worse, for the bucket's removal.
const UNKNOWN: &[&str] = &[
    "cname",
    "cors",
    "encryption",
    "inventory",
    "lifecycle",
    "logging",
    "policy",
    "qosInfo",
    "referer",
    "replication",
    "requestPayment",
    "resourceGroup",
    "stat",
    "style",
    "symlink",
    "tagging",
    "transferAcceleration",
    "uploadId",
    "versioning",
    "versions",
    "website",
    "worm",
    "append",
    "delete",
    "restore",
    "metaQuery",
    "accessMonitor",
    "list-type",
    "publicAccessBlock",
];

impl Operation {
    /// The operation that a request is.
    pub(super) fn of(method: &Method, target: &Target) -> Result<Self, Error> {
        let query = &target.query;
        if target.bucket.is_empty() {
            return match *method {
                Method::GET => Ok(Self::ListBuckets),
                _ => Err(Error::method_not_allowed()),
            };
        }
        if query.has("live") {
            return Self::of_channel(method, target);
        }
        if query.has("vod") {
            return match *method {
                Method::POST => Ok(Self::PostVodPlaylist),
                Method::GET => Ok(Self::GetVodPlaylist),
                _ => Err(Error::method_not_allowed()),
            };
        }
        if let Some(name) = UNKNOWN.iter().find(|name| query.has(name)) {
            let message = format!("This server has no {name}.");
            return Err(Error::new(super::error::Code::NotImplemented, message));
        }
        match target.key.is_empty() {
            true => Self::of_bucket(method, target),
            false => Self::of_object(method, target),
        }
    }

    fn of_channel(method: &Method, target: &Target) -> Result<Self, Error> {
        let query = &target.query;
        match (method.as_str(), query.filled("comp")) {
            ("GET", None) if target.key.is_empty() => Ok(Self::ListChannels),
            ("GET", None) => Ok(Self::GetChannelInfo),
            ("GET", Some("stat")) => Ok(Self::GetChannelStat),
            ("GET", Some("history")) => Ok(Self::GetChannelHistory),
            ("GET", Some(comp)) => {
                let message = "comp is stat or history.";
                Err(Error::argument("comp", comp, "", message))
            }
            ("PUT", _) if query.has("status") => Ok(Self::PutChannelStatus),
            ("PUT", _) => Ok(Self::PutChannel),
            ("DELETE", _) => Ok(Self::DeleteChannel),
            _ => Err(Error::method_not_allowed()),
        }
    }

    fn of_bucket(method: &Method, target: &Target) -> Result<Self, Error> {
        let has = |name| target.query.has(name);
        match method.as_str() {
            "GET" if has("bucketInfo") => Ok(Self::GetBucketInfo),
            "GET" if has("location") => Ok(Self::GetBucketLocation),
            "GET" if has("acl") => Ok(Self::GetBucketAcl),
            "GET" if has("uploads") => Ok(Self::ListUploads),
            "GET" => Ok(Self::ListObjects),
            "PUT" if has("acl") => Ok(Self::PutBucketAcl),
            "PUT" => Ok(Self::CreateBucket),
            "DELETE" => Ok(Self::DeleteBucket),
            _ => Err(Error::method_not_allowed()),
        }
    }

    fn of_object(method: &Method, target: &Target) -> Result<Self, Error> {
        let plain = !["acl", "uploads"].iter().any(|name| target.query.has(name));
        match method.as_str() {
            "GET" | "HEAD" if plain => Ok(Self::GetObject),
            "DELETE" if plain => Ok(Self::DeleteObject),
            // What is in a bucket came from a push.
            _ => Err(Error::method_not_allowed()),
        }
    }

    /// Whether something is different afterwards.
    pub(super) fn changes(self) -> bool {
        match self {
            Self::CreateBucket
            | Self::DeleteBucket
            | Self::PutBucketAcl
            | Self::PutChannel
            | Self::PutChannelStatus
            | Self::DeleteChannel
            | Self::PostVodPlaylist
            | Self::DeleteObject => true,
            Self::ListBuckets
            | Self::GetBucketInfo
            | Self::GetBucketLocation
            | Self::GetBucketAcl
            | Self::ListObjects
            | Self::ListUploads
            | Self::ListChannels
            | Self::GetChannelInfo
            | Self::GetChannelStat
            | Self::GetChannelHistory
            | Self::GetVodPlaylist
            | Self::GetObject => false,
        }
    }

    /// What a caller needs for it.
    pub(super) fn need(self) -> Need {
        match self {
            Self::GetObject => Need::Read,
            Self::DeleteObject => Need::Write,
            _ => Need::Owner,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::address::Names;
    use super::super::error::Code;
    use super::super::recorded;
    use super::Operation as O;
    use super::*;

    fn names() -> Names {
        Names {
            domain: "oss.localhost".to_owned(),
            cnames: [("live.localhost".to_owned(), "demo-bucket".to_owned())].into(),
        }
    }

    #[test]
    fn calls_of_the_sdk_are_known() {
        for request in recorded::requests() {
            let (host, path) = (&request.host, &request.path);
            let target = Target::parse(&names(), host, path, &request.query).expect("UTF-8");
            let method = request.method.parse().expect("a method");
            let expected = match request.label.rsplit(", ").next().expect("a call") {
                "create_live_channel" => O::PutChannel,
                "list_live_channel" => O::ListChannels,
                "post_vod_playlist" => O::PostVodPlaylist,
                "get_object_with_url" | "get_object" => O::GetObject,
                "put_live_channel_status" => O::PutChannelStatus,
                "get_live_channel" => O::GetChannelInfo,
                "get_live_channel_stat" => O::GetChannelStat,
                "get_live_channel_history" => O::GetChannelHistory,
                "delete_live_channel" => O::DeleteChannel,
                "get_vod_playlist" => O::GetVodPlaylist,
                "create_bucket" => O::CreateBucket,
                "get_bucket_info" => O::GetBucketInfo,
                "list_objects" => O::ListObjects,
                other => panic!("{other}"),
            };
            let label = &request.label;
            assert_eq!(Operation::of(&method, &target), Ok(expected), "{label}");
            assert_eq!(target.bucket, "demo-bucket", "{label}");
            let key = match expected {
                O::ListChannels | O::CreateBucket | O::GetBucketInfo | O::ListObjects => "",
                O::PostVodPlaylist => "cam/vod.m3u8",
                O::GetObject if label.ends_with("url") => "cam/playlist.m3u8",
                O::GetObject => "cam/1.ts",
                _ => "cam",
            };
            assert_eq!(target.key, key, "{label}");
        }
    }

    #[test]
    fn requests_of_other_clients_are_known() {
        let check = |request: &str, expected: Result<O, Code>| {
            let (method, path) = request.split_once(' ').expect("two words");
            let (path, query) = path.split_once('?').unwrap_or((path, ""));
            let target = Target::parse(&names(), "127.0.0.1:9000", path, query).expect("UTF-8");
            let found = Operation::of(&method.parse().expect("a method"), &target);
            assert_eq!(found.map_err(|error| error.code), expected, "{request}");
        };
        let not_allowed = Err(Code::MethodNotAllowed);
        // Go
        check("PUT /b/cam?live", Ok(O::PutChannel));
        check(
            "POST /b/cam%2Fv.m3u8?endTime=9&startTime=1&vod",
            Ok(O::PostVodPlaylist),
        );
        // C
        check("PUT /b%2Fcam?live", Ok(O::PutChannel));
        check(
            "POST /b%2Fcam%2Fv.m3u8?vod&startTime=1&endTime=9",
            Ok(O::PostVodPlaylist),
        );
        check(
            "GET /b?live&prefix=x&marker&max-keys=1000",
            Ok(O::ListChannels),
        );
        check("PUT /b", Ok(O::CreateBucket));
        check("GET /", Ok(O::ListBuckets));
        check("GET /?prefix=x&max-keys=10", Ok(O::ListBuckets));
        check("DELETE /", not_allowed);
        check("GET /b/?acl", Ok(O::GetBucketAcl));
        check("GET /b/?location", Ok(O::GetBucketLocation));
        check("GET /b/?uploads", Ok(O::ListUploads));
        check("PUT /b/?acl", Ok(O::PutBucketAcl));
        check("DELETE /b/", Ok(O::DeleteBucket));
        check("DELETE /b/cam/1.ts", Ok(O::DeleteObject));
        check("HEAD /b/cam/1.ts", Ok(O::GetObject));
        check("HEAD /b/cam/1.ts?objectMeta", Ok(O::GetObject));
        // A channel without a name is not the bucket.
        check("DELETE /b/?live", Ok(O::DeleteChannel));
        check("PUT /b/?live", Ok(O::PutChannel));
        check("PUT /b/cam?live&status=", Ok(O::PutChannelStatus));
        check("GET /b/cam?live&comp=other", Err(Code::InvalidArgument));
        check("POST /b/cam?live", not_allowed);
        check("DELETE /b/cam?vod", not_allowed);
        check("PUT /b/x.txt", not_allowed);
        check("POST /b/?delete", Err(Code::NotImplemented));
        check("DELETE /b/?lifecycle", Err(Code::NotImplemented));
        check("GET /b/x?acl", not_allowed);
    }
}
