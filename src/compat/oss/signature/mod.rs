//! Who sends a request: signatures of versions 1, 2 and 4, in the header or in a presigned URL.
//!
//! A request is put into words ([`Signed`]) without any key; only then is the key looked up and the
//! signature compared, in a time that does not depend on where it differs.

mod v1;
mod v2;
mod v4;

use super::address::Target;
use super::error::{Code, Error};
use super::time;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use hyper::HeaderMap;
use sha1::Sha1;
use sha2::Sha256;
use std::collections::BTreeMap;
use std::fmt;

/// How far a client's clock may be off.
const SKEW_MAX_S: i64 = 15 * 60;
/// Header of a temporary credential's token.
const TOKEN_HEADER: &str = "x-oss-security-token";

/// The access keys by id.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct AccessKeys(BTreeMap<String, AccessKey>);

#[derive(Clone, PartialEq, Eq)]
struct AccessKey {
    secret: String,
    /// The token that goes with a temporary key; any, or none, if the key is a lasting one.
    token: Option<String>,
    limits: KeyLimits,
}

/// What an access key does not reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyLimits {
    /// The only buckets that it reaches; all if there is none.
    pub buckets: Vec<String>,
    /// Whether it may only look.
    pub read_only: bool,
}

/// Who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caller<'k> {
    /// Nobody says so.
    Anonymous,
    /// Somebody with an access key.
    Key(&'k KeyLimits),
}

/// Somebody whose key reaches everything.
#[cfg(test)]
pub(super) const OWNER: Caller<'static> = Caller::Key(&KeyLimits {
    buckets: Vec::new(),
    read_only: false,
});

impl KeyLimits {
    /// Whether it reaches a bucket.
    pub(super) fn reaches(&self, bucket: &str) -> bool {
        self.buckets.is_empty() || self.buckets.iter().any(|one| one == bucket)
    }
}

/// What of a request is signed.
#[derive(Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) method: &'a str,
    pub(super) target: &'a Target,
    pub(super) headers: &'a HeaderMap,
}

/// A signature that a request shows.
struct Signed<'a> {
    key_id: &'a str,
    validity: Validity,
    token: Option<&'a str>,
    /// The strings that may have been signed: a client signs one of them.
    strings: Vec<String>,
    seal: Seal,
}

/// When a signature counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Validity {
    /// Around this time, in Unix seconds: the signature of a header.
    Around(i64),
    /// Until then: a presigned URL.
    Until(i64),
}

/// How a string is sealed, and the seal as bytes.
enum Seal {
    Sha1(Vec<u8>),
    Sha256(Vec<u8>),
    /// With a key that is derived from the secret by date, region and product.
    Derived {
        scope: [String; 4],
        seal: Vec<u8>,
    },
}

impl AccessKeys {
    /// Keys of these ids and secrets; `tokens` are those of temporary ones and `limits` what some
    /// do not reach, both by id.
    pub(super) fn new(
        secrets: &BTreeMap<String, String>,
        tokens: &BTreeMap<String, String>,
        limits: &BTreeMap<String, KeyLimits>,
    ) -> Self {
        let key = |(id, secret): (&String, &String)| {
            let key = AccessKey {
                secret: secret.clone(),
                token: tokens.get(id).cloned(),
                limits: limits.get(id).cloned().unwrap_or_default(),
            };
            (id.clone(), key)
        };
        Self(secrets.iter().map(key).collect())
    }

    /// Who sends `request` at `now`, in Unix seconds. No signature at all is nobody; a wrong one is
    /// an error.
    pub(super) fn caller(&self, request: Request<'_>, now: i64) -> Result<Caller<'_>, Error> {
        let Some(signed) = signed(request)? else {
            return Ok(Caller::Anonymous);
        };
        signed.validity.check(now)?;
        let key = self.find(signed.key_id)?;
        key.check_token(signed.token)?;
        let right = signed
            .strings
            .iter()
            .any(|string| signed.seal.is_of(string, &key.secret));
        match right {
            true => Ok(Caller::Key(&key.limits)),
            false => Err(mismatch(signed.key_id, signed.strings.first())),
        }
    }

    /// Whether `signature` seals any of `strings`, as RTMP URLs are signed: always with HMAC-SHA1.
    pub(super) fn sealed(
        &self,
        key_id: &str,
        token: Option<&str>,
        strings: &[String],
        signature: &str,
    ) -> Result<&KeyLimits, Error> {
        let key = self.find(key_id)?;
        key.check_token(token)?;
        let seal = Seal::Sha1(base64(signature)?);
        match strings.iter().any(|string| seal.is_of(string, &key.secret)) {
            true => Ok(&key.limits),
            false => Err(mismatch(key_id, None)),
        }
    }

    fn find(&self, id: &str) -> Result<&AccessKey, Error> {
        self.0.get(id).ok_or_else(|| {
            let message = "The OSS Access Key Id you provided does not exist in our records.";
            Error::new(Code::InvalidAccessKeyId, message).with("OSSAccessKeyId", id)
        })
    }
}

impl AccessKey {
    /// A lasting key takes any token: it adds no right, and it was signed like any header.
    fn check_token(&self, shown: Option<&str>) -> Result<(), Error> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        match same(shown.unwrap_or_default(), token) {
            true => Ok(()),
            false => {
                let message = "The security token you provided is invalid.";
                Err(Error::new(Code::InvalidSecurityToken, message))
            }
        }
    }
}

/// The signature that a request shows, whatever its version.
fn signed(request: Request<'_>) -> Result<Option<Signed<'_>>, Error> {
    let query = &request.target.query;
    if let Some(value) = request.headers.get("authorization") {
        let value = value.to_str().map_err(|_| malformed())?;
        let (scheme, rest) = value.split_once(' ').ok_or_else(malformed)?;
        return match scheme {
            "OSS" => v1::header(request, rest).map(Some),
            "OSS2" => v2::header(request, rest).map(Some),
            v4::SCHEME => v4::header(request, rest).map(Some),
            _ => Err(malformed()),
        };
    }
    match query.get("x-oss-signature-version") {
        Some("OSS2") => v2::presigned(request).map(Some),
        Some(v4::SCHEME) => v4::presigned(request).map(Some),
        Some(_) => Err(malformed()),
        None if query.has("OSSAccessKeyId") || query.has("Signature") => {
            v1::presigned(request).map(Some)
        }
        None => Ok(None),
    }
}

impl Validity {
    fn check(self, now: i64) -> Result<(), Error> {
        match self {
            Self::Around(at) if at.abs_diff(now) > SKEW_MAX_S as u64 => {
                let message =
                    "The difference between the request time and the current time is too large.";
                let error = Error::new(Code::RequestTimeTooSkewed, message);
                Err(error
                    .with("RequestTime", time::iso(at.saturating_mul(1000)))
                    .with("ServerTime", time::iso(now.saturating_mul(1000))))
            }
            Self::Until(end) if end < now => Err(Error::denied("Request has expired.")
                .with("Expires", time::iso(end.saturating_mul(1000)))
                .with("ServerTime", time::iso(now.saturating_mul(1000)))),
            _ => Ok(()),
        }
    }
}

impl Seal {
    fn is_of(&self, string: &str, secret: &str) -> bool {
        let secret = secret.as_bytes();
        match self {
            Self::Sha1(seal) => {
                let mac = Hmac::<Sha1>::new_from_slice(secret);
                mac.is_ok_and(|mac| mac.chain_update(string).verify_slice(seal).is_ok())
            }
            Self::Sha256(seal) => sealed_by(secret, string, seal),
            Self::Derived { scope, seal } => {
                let first = [b"aliyun_v4", secret].concat();
                let key = scope.iter().try_fold(first, |key, part| {
                    let mac = Hmac::<Sha256>::new_from_slice(&key).ok()?;
                    Some(mac.chain_update(part).finalize().into_bytes().to_vec())
                });
                key.is_some_and(|key| sealed_by(&key, string, seal))
            }
        }
    }
}

fn sealed_by(key: &[u8], string: &str, seal: &[u8]) -> bool {
    let mac = Hmac::<Sha256>::new_from_slice(key);
    mac.is_ok_and(|mac| mac.chain_update(string).verify_slice(seal).is_ok())
}

/// Compares in a time that depends on the lengths alone.
fn same(a: &str, b: &str) -> bool {
    let bytes = a.bytes().zip(b.bytes());
    a.len() == b.len() && bytes.fold(0, |all, (a, b)| all | (a ^ b)) == 0
}

/// The bytes of a signature; in a URL that somebody wrote by hand its plus has become a space.
fn base64(text: &str) -> Result<Vec<u8>, Error> {
    let text = text.replace(' ', "+");
    BASE64_STANDARD.decode(text).map_err(|_| mismatch("", None))
}

/// A header's value, or nothing.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// `name:value` and a line end for each header that `wanted` wants, sorted by name.
fn canonical_headers(headers: &HeaderMap, wanted: impl Fn(&str) -> bool) -> String {
    let names = headers.keys().map(|name| name.as_str());
    let mut names: Vec<_> = names.filter(|name| wanted(name)).collect();
    names.sort_unstable();
    let line = |name: &&str| format!("{name}:{}\n", header(headers, name).trim());
    names.iter().map(line).collect()
}

/// The number of seconds that a query parameter holds.
fn unix_seconds(request: Request<'_>, name: &'static str) -> Result<i64, Error> {
    let text = request.target.query.get(name).unwrap_or_default();
    text.parse()
        .map_err(|_| Error::denied(format!("{name} is not a number of seconds.")))
}

fn malformed() -> Error {
    let message =
        "The authorization of this request is in none of the forms OSS, OSS2 and OSS4-HMAC-SHA256.";
    Error::new(Code::InvalidArgument, message)
}

fn mismatch(key_id: &str, string: Option<&String>) -> Error {
    let message = "The request signature we calculated does not match the signature you provided. Check your key and signing method.";
    let error = Error::new(Code::SignatureDoesNotMatch, message);
    match string {
        Some(string) => error
            .with("OSSAccessKeyId", key_id)
            .with("StringToSign", string),
        None => error,
    }
}

impl fmt::Debug for AccessKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests;
