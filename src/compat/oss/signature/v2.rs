//! Version 2: HMAC-SHA256 over verb, date, chosen headers, the encoded resource and all parameters.

use super::super::query::encode;
use super::super::time;
use super::{Error, base64, canonical_headers, header as value_of, malformed, unix_seconds};
use super::{Request, Seal, Signed, TOKEN_HEADER, Validity};

const SIGNATURE: &str = "x-oss-signature";

/// `AccessKeyId:ID[,AdditionalHeaders:a;b],Signature:SIG`, behind `OSS2 `.
pub(super) fn header<'a>(request: Request<'a>, rest: &'a str) -> Result<Signed<'a>, Error> {
    let part = |name: &str| {
        let mut parts = rest
            .split(',')
            .filter_map(|part| part.trim().split_once(':'));
        parts.find_map(|(key, value)| (key == name).then_some(value))
    };
    let own = value_of(request.headers, "x-oss-date");
    let date = match own.is_empty() {
        true => value_of(request.headers, "date"),
        false => own,
    };
    let at = time::of_http(date).or_else(|| time::of_compact(date));
    let at = at.ok_or_else(|| Error::denied("OSS authentication requires a valid Date."))?;
    let token = value_of(request.headers, TOKEN_HEADER);
    let additional = part("AdditionalHeaders").unwrap_or_default();
    Ok(Signed {
        key_id: part("AccessKeyId").ok_or_else(malformed)?,
        validity: Validity::Around(at),
        token: (!token.is_empty()).then_some(token),
        strings: vec![string(request, date, additional)],
        seal: Seal::Sha256(base64(part("Signature").ok_or_else(malformed)?)?),
    })
}

/// `x-oss-signature-version=OSS2` and its companions in the query.
pub(super) fn presigned(request: Request<'_>) -> Result<Signed<'_>, Error> {
    let query = &request.target.query;
    let parameter = |name| {
        let missing = || Error::denied(format!("A presigned URL needs {name}."));
        query.filled(name).ok_or_else(missing)
    };
    let additional = query.get("x-oss-additional-headers").unwrap_or_default();
    Ok(Signed {
        key_id: parameter("x-oss-access-key-id")?,
        validity: Validity::Until(unix_seconds(request, "x-oss-expires")?),
        token: query.filled("security-token"),
        strings: vec![string(request, parameter("x-oss-expires")?, additional)],
        seal: Seal::Sha256(base64(parameter(SIGNATURE)?)?),
    })
}

fn string(request: Request<'_>, date: &str, additional: &str) -> String {
    let mut names: Vec<_> = additional
        .split(';')
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    let headers = canonical_headers(request.headers, |name| {
        name.starts_with("x-oss-") || names.contains(&name)
    });
    let query = request
        .target
        .query
        .canonical(|name| name != SIGNATURE, encode);
    let query = match query.is_empty() {
        true => query,
        false => format!("?{query}"),
    };
    let method = request.method;
    let (md5, content_type) = (
        value_of(request.headers, "content-md5"),
        value_of(request.headers, "content-type"),
    );
    let (names, resource) = (names.join(";"), encode(&request.target.resource()));
    format!("{method}\n{md5}\n{content_type}\n{date}\n{headers}{names}\n{resource}{query}")
}
