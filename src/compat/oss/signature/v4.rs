//! Version 4: HMAC-SHA256 with a key derived by date and region, over a digest of the request.

use super::super::query::{encode, encode_path};
use super::super::time;
use super::{Error, canonical_headers, header as value_of, malformed, unix_seconds};
use super::{Request, Seal, Signed, TOKEN_HEADER, Validity};
use sha2::{Digest, Sha256};

/// The name of the scheme, in the header and in the query.
pub(super) const SCHEME: &str = "OSS4-HMAC-SHA256";
const SIGNATURE: &str = "x-oss-signature";
const PAYLOAD: &str = "UNSIGNED-PAYLOAD";
/// A presigned URL is good for a week at most.
const EXPIRES_MAX_S: i64 = 7 * 86_400;

/// Behind `OSS4-HMAC-SHA256 `, in any order: `Credential=…, AdditionalHeaders=a;b, Signature=…`.
pub(super) fn header<'a>(request: Request<'a>, rest: &'a str) -> Result<Signed<'a>, Error> {
    let part = |name: &str| {
        let mut parts = rest
            .split(',')
            .filter_map(|part| part.trim().split_once('='));
        parts.find_map(|(key, value)| (key == name).then_some(value))
    };
    let date = value_of(request.headers, "x-oss-date");
    let token = value_of(request.headers, TOKEN_HEADER);
    let shown = Shown {
        credential: part("Credential").ok_or_else(malformed)?,
        date,
        additional: part("AdditionalHeaders").unwrap_or_default(),
        signature: part("Signature").ok_or_else(malformed)?,
        token: (!token.is_empty()).then_some(token),
    };
    shown.signed(request, Validity::Around)
}

/// `x-oss-signature-version=OSS4-HMAC-SHA256` and its companions in the query.
pub(super) fn presigned(request: Request<'_>) -> Result<Signed<'_>, Error> {
    let query = &request.target.query;
    let parameter = |name| {
        let missing = || Error::denied(format!("A presigned URL needs {name}."));
        query.filled(name).ok_or_else(missing)
    };
    let lasts = unix_seconds(request, "x-oss-expires")?;
    if !(1..=EXPIRES_MAX_S).contains(&lasts) {
        let message = format!("x-oss-expires is 1 to {EXPIRES_MAX_S} seconds.");
        return Err(Error::denied(message));
    }
    let shown = Shown {
        credential: parameter("x-oss-credential")?,
        date: parameter("x-oss-date")?,
        additional: query.get("x-oss-additional-headers").unwrap_or_default(),
        signature: parameter(SIGNATURE)?,
        token: query.filled(TOKEN_HEADER),
    };
    shown.signed(request, |at| Validity::Until(at.saturating_add(lasts)))
}

/// The parts of a signature, wherever they stood.
struct Shown<'a> {
    credential: &'a str,
    date: &'a str,
    additional: &'a str,
    signature: &'a str,
    token: Option<&'a str>,
}

impl<'a> Shown<'a> {
    fn signed(
        self,
        request: Request<'_>,
        validity: impl Fn(i64) -> Validity,
    ) -> Result<Signed<'a>, Error> {
        let at = time::of_compact(self.date);
        let at = at.ok_or_else(|| Error::denied("x-oss-date is missing or no date."))?;
        let (key_id, scope) = self.credential.split_once('/').ok_or_else(malformed)?;
        let parts: Vec<String> = scope.split('/').map(str::to_owned).collect();
        let [day, region, product, end] =
            <[String; 4]>::try_from(parts).map_err(|_| malformed())?;
        if !self.date.starts_with(&day) || day.len() != 8 || end != "aliyun_v4_request" {
            return Err(malformed());
        }
        let digest = hex(&Sha256::digest(canonical(request, self.additional)?));
        let date = self.date;
        Ok(Signed {
            key_id,
            validity: validity(at),
            token: self.token,
            strings: vec![format!("{SCHEME}\n{date}\n{scope}\n{digest}")],
            seal: Seal::Derived {
                scope: [day, region, product, end],
                seal: from_hex(self.signature).ok_or_else(malformed)?,
            },
        })
    }
}

fn canonical(request: Request<'_>, additional: &str) -> Result<String, Error> {
    let mut names: Vec<_> = additional
        .split(';')
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    let headers = canonical_headers(request.headers, |name| {
        let always = name.starts_with("x-oss-") || matches!(name, "content-type" | "content-md5");
        always || names.contains(&name)
    });
    let payload = value_of(request.headers, "x-oss-content-sha256");
    if !matches!(payload, "" | PAYLOAD) {
        let message = format!("x-oss-content-sha256 is {PAYLOAD} in every version so far.");
        return Err(Error::argument(
            "x-oss-content-sha256",
            payload,
            "",
            message,
        ));
    }
    let target = request.target;
    let (method, path) = (request.method, encode_path(&target.resource()));
    let query = target.query.canonical(|name| name != SIGNATURE, encode);
    let names = names.join(";");
    Ok(format!(
        "{method}\n{path}\n{query}\n{headers}\n{names}\n{PAYLOAD}"
    ))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let byte = |at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}
