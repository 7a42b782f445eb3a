//! Version 1: HMAC-SHA1 over verb, date, `x-oss-` headers and the resource with its sub-resources.

use super::super::time;
use super::{Error, base64, canonical_headers, header as value_of, malformed, unix_seconds};
use super::{Request, Seal, Signed, TOKEN_HEADER, Validity};

/// The parameters that name a sub-resource or change an answer; all others are not signed.
const SIGNED: &[&str] = &[
    "acl",
    "append",
    "bucketInfo",
    "comp",
    "cors",
    "delete",
    "encryption",
    "endTime",
    "lifecycle",
    "live",
    "location",
    "logging",
    "objectMeta",
    "partNumber",
    "policy",
    "position",
    "referer",
    "requestPayment",
    "response-cache-control",
    "response-content-disposition",
    "response-content-encoding",
    "response-content-language",
    "response-content-type",
    "response-expires",
    "restore",
    "security-token",
    "stat",
    "startTime",
    "status",
    "symlink",
    "tagging",
    "uploadId",
    "uploads",
    "versionId",
    "versioning",
    "versions",
    "vod",
    "website",
    "x-oss-process",
];

/// `ID:SIGNATURE`, behind `OSS `.
pub(super) fn header<'a>(request: Request<'a>, rest: &'a str) -> Result<Signed<'a>, Error> {
    let (key_id, seal) = rest.split_once(':').ok_or_else(malformed)?;
    let own = value_of(request.headers, "x-oss-date");
    let date = match own.is_empty() {
        true => value_of(request.headers, "date"),
        false => own,
    };
    let at = time::of_http(date).or_else(|| time::of_compact(date));
    let at = at.ok_or_else(|| Error::denied("OSS authentication requires a valid Date."))?;
    let token = value_of(request.headers, TOKEN_HEADER);
    Ok(Signed {
        key_id,
        validity: Validity::Around(at),
        token: (!token.is_empty()).then_some(token),
        strings: strings(request, date),
        seal: Seal::Sha1(base64(seal.trim())?),
    })
}

/// `OSSAccessKeyId`, `Expires` and `Signature` in the query.
pub(super) fn presigned(request: Request<'_>) -> Result<Signed<'_>, Error> {
    let query = &request.target.query;
    let parameter = |name| {
        let missing = || Error::denied(format!("A presigned URL needs {name}."));
        query.filled(name).ok_or_else(missing)
    };
    Ok(Signed {
        key_id: parameter("OSSAccessKeyId")?,
        validity: Validity::Until(unix_seconds(request, "Expires")?),
        token: query.filled("security-token"),
        strings: strings(request, parameter("Expires")?),
        seal: Seal::Sha1(base64(parameter("Signature")?)?),
    })
}

fn strings(request: Request<'_>, date: &str) -> Vec<String> {
    let target = request.target;
    let (md5, content_type) = (
        value_of(request.headers, "content-md5"),
        value_of(request.headers, "content-type"),
    );
    let headers = canonical_headers(request.headers, |name| name.starts_with("x-oss-"));
    let query = target
        .query
        .canonical(|name| SIGNED.contains(&name), str::to_owned);
    let query = match query.is_empty() {
        true => query,
        false => format!("?{query}"),
    };
    let string = |resource: &str| {
        let method = request.method;
        format!("{method}\n{md5}\n{content_type}\n{date}\n{headers}{resource}{query}")
    };
    let as_sent = target.path_as_resource().map(string);
    [string(&target.resource())]
        .into_iter()
        .chain(as_sent)
        .collect()
}
