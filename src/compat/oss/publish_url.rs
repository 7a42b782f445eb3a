//! Signed RTMP URLs: which channel a publisher names, and whether it may.
//!
//! ```text
//! rtmp://BUCKET.DOMAIN/live/CHANNEL?playlistName=…&OSSAccessKeyId=…&Expires=…&Signature=…
//! rtmp://HOST/BUCKET/live/CHANNEL?…
//! ```
//!
//! The signature is always HMAC-SHA1, whatever version the client signs its HTTP requests with.

use super::address::Names;
use super::error::Error;
use super::query::Query;
use super::signature::AccessKeys;
use super::signature::Caller;

/// The application that every publish URL has.
pub(super) const APP: &str = "live";
const PLAYLIST: &str = "playlistName";
const TOKEN: &str = "security-token";
/// The parameters that are not signed.
const UNSIGNED: [&str; 4] = ["OSSAccessKeyId", "Expires", "Signature", "SecurityToken"];

/// What a publisher asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct PublishUrl {
    pub(super) bucket: String,
    pub(super) channel: String,
    query: Query,
}

impl PublishUrl {
    /// Reads host, app, stream name and query; `None` if the app is none of this API.
    pub(super) fn parse(
        names: &Names,
        host: Option<&str>,
        app: &str,
        channel: &str,
        query: Query,
    ) -> Option<Self> {
        let bucket = match host.and_then(|host| names.bucket_of(host)) {
            Some(bucket) => (app == APP).then_some(bucket)?,
            None => app.strip_suffix(APP)?.strip_suffix('/')?.to_owned(),
        };
        Some(Self {
            bucket,
            channel: channel.to_owned(),
            query,
        })
    }

    /// The playlist that this push is to be listed in, instead of the configured one.
    pub(super) fn playlist(&self) -> Option<&str> {
        self.query.filled(PLAYLIST)
    }

    /// Who publishes, at `now` in Unix seconds. The time counts here only: a push that has begun
    /// goes on when it has passed.
    pub(super) fn publisher<'k>(
        &self,
        keys: &'k AccessKeys,
        now: i64,
    ) -> Result<Caller<'k>, Error> {
        let (key_id, signature) = match (
            self.query.get("OSSAccessKeyId"),
            self.query.get("Signature"),
        ) {
            (None, None) => return Ok(Caller::Anonymous),
            (Some(key_id), Some(signature)) => (key_id, signature),
            _ => {
                return Err(Error::denied(
                    "OSSAccessKeyId, Expires and Signature go together.",
                ));
            }
        };
        let expires = self.query.get("Expires").unwrap_or_default();
        let until: i64 = { expires.parse() }
            .map_err(|_| Error::denied("Expires is not a number of seconds."))?;
        if until < now {
            return Err(Error::denied("Request has expired."));
        }
        let token = self
            .query
            .get(TOKEN)
            .or_else(|| self.query.get("SecurityToken"));
        // Go's SDK sends a token and leaves it out of what it signs.
        let strings = [self.string(expires, true), self.string(expires, false)];
        let limits = keys.sealed(key_id, token, &strings, signature)?;
        Ok(Caller::Key(limits))
    }

    fn string(&self, expires: &str, with_token: bool) -> String {
        let pairs = self.query.iter();
        let signed = |name: &str| !UNSIGNED.contains(&name) && (with_token || name != TOKEN);
        let mut pairs: Vec<_> = pairs.filter(|(name, _)| signed(name)).collect();
        pairs.sort_unstable();
        let lines = pairs
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"));
        let lines: String = lines.collect();
        format!("{expires}\n{lines}/{}/{}", self.bucket, self.channel)
    }
}

#[cfg(test)]
mod tests {
    use super::super::error::Code;
    use super::super::signature::OWNER;
    use super::*;

    const EXPIRES: i64 = 1_795_229_517;

    fn names() -> Names {
        Names {
            domain: "oss.localhost".to_owned(),
            cnames: [("live.localhost".to_owned(), "demo-bucket".to_owned())].into(),
        }
    }

    /// For as long as the tests run: answers refer to them.
    fn keys(token: Option<&str>) -> &'static AccessKeys {
        let pair = |value: &str| [("testak".to_owned(), value.to_owned())].into();
        let tokens = token.map(pair).unwrap_or_default();
        let keys = AccessKeys::new(&pair("testsk"), &tokens, &Default::default());
        Box::leak(Box::new(keys))
    }

    fn url(query: &str) -> PublishUrl {
        let query = Query::parse(query).expect("UTF-8");
        PublishUrl::parse(&names(), None, "demo-bucket/live", "cam1", query).expect("a URL")
    }

    #[test]
    fn the_bucket_is_in_the_host_or_in_the_app() {
        let check = |host: Option<&str>, app: &str, expected: Option<&str>| {
            let found = PublishUrl::parse(&names(), host, app, "cam1", Query::default());
            let found = found.map(|url| url.bucket);
            assert_eq!(found.as_deref(), expected, "{host:?} {app}");
        };
        let b = Some("demo-bucket");
        check(Some("demo-bucket.oss.localhost:9000"), "live", b);
        check(Some("live.localhost:9000"), "live", b);
        check(Some("127.0.0.1:9000"), "demo-bucket/live", b);
        check(Some("oss.localhost"), "demo-bucket/live", b);
        check(None, "demo-bucket/live", b);
        check(Some("demo-bucket.oss.localhost"), "other", None);
        check(Some("127.0.0.1"), "live", None);
        check(None, "demo-bucketlive", None);
    }

    #[test]
    fn signatures_of_the_reference_hold() {
        let check = |parameters: &str, signature: &str| {
            let url = url(&format!(
                "{parameters}&OSSAccessKeyId=testak&Expires={EXPIRES}&Signature={signature}"
            ));
            let at = |now| url.publisher(keys(None), now);
            assert_eq!(at(EXPIRES), Ok(OWNER), "{parameters}");
            let late = at(EXPIRES + 1).expect_err("late");
            assert_eq!(late.code, Code::AccessDenied);
        };
        check("", "XHcY2EeRwGjQ009JALwbf5nhdkc%3D");
        check("playlistName=vod.m3u8", "eN05KW2FnZpEiuqvfByxLR7doP4%3D");
        let with_token = "playlistName=vod.m3u8&security-token=TOK%2B%2F%3D";
        check(with_token, "vPBnYPTE1CzjkujrUqOCKc4KvL4%3D");
        // The same token beside the signature, as Go's SDK has it.
        check(with_token, "eN05KW2FnZpEiuqvfByxLR7doP4%3D");
    }

    #[test]
    fn every_url_that_the_sdk_signs_is_known() {
        let urls = super::super::recorded::rtmp_urls();
        assert!(urls.len() >= 10, "{}", urls.len());
        for url in urls {
            let (address, query) = url.split_once('?').expect("a query");
            let address = address.strip_prefix("rtmp://").expect("RTMP");
            let (host, path) = address.split_once('/').expect("a path");
            let (app, name) = path.rsplit_once('/').expect("an app");
            let query = Query::parse(query).expect("UTF-8");
            let until = query.get("Expires").and_then(|text| text.parse().ok());
            let until: i64 = until.expect("a time");
            let found = PublishUrl::parse(&names(), Some(host), app, name, query).expect(url);
            assert_eq!(
                (&*found.bucket, &*found.channel),
                ("demo-bucket", "cam"),
                "{url}"
            );
            assert_eq!(found.playlist(), Some("vod.m3u8"), "{url}");
            let token = url.contains("security-token").then_some("TOK+/=");
            assert_eq!(found.publisher(keys(token), until), Ok(OWNER), "{url}");
        }
    }

    #[test]
    fn whoever_has_not_signed_is_told_so() {
        let check = |query: &str, token: Option<&str>, expected: Result<Caller, Code>| {
            let found = url(query).publisher(keys(token), EXPIRES);
            assert_eq!(found.map_err(|error| error.code), expected, "{query}");
        };
        let good = "XHcY2EeRwGjQ009JALwbf5nhdkc%3D";
        let of = |id: &str, signature: &str| {
            format!("OSSAccessKeyId={id}&Expires={EXPIRES}&Signature={signature}")
        };
        check("", None, Ok(Caller::Anonymous));
        check("playlistName=a.m3u8", None, Ok(Caller::Anonymous));
        check("OSSAccessKeyId=testak", None, Err(Code::AccessDenied));
        check("Signature=x", None, Err(Code::AccessDenied));
        check(&of("testak", good), None, Ok(OWNER));
        check(&of("nobody", good), None, Err(Code::InvalidAccessKeyId));
        check(&of("testak", ""), None, Err(Code::SignatureDoesNotMatch));
        check(
            &of("testak", "XHcY"),
            None,
            Err(Code::SignatureDoesNotMatch),
        );
        check(&of("testak", "!!"), None, Err(Code::SignatureDoesNotMatch));
        check(
            &of("testak", good),
            Some("T"),
            Err(Code::InvalidSecurityToken),
        );
        check(
            &format!("{}&playlistName=x.m3u8", of("testak", good)),
            None,
            Err(Code::SignatureDoesNotMatch),
        );
    }
}
