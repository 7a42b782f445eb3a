//! What a request names: bucket and object, from its host and its path.
//!
//! ```text
//! virtual host   Host: BUCKET.DOMAIN    /KEY
//! own domain     Host: CNAME            /KEY
//! path style     Host: anything else    /BUCKET/KEY
//! ```
//!
//! The path is decoded whole before it is split: a C client on an IP address sends `/BUCKET%2FKEY`.

use super::query::Query;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;

/// By which names this service goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    /// The name of which `BUCKET.` is put in front.
    pub(super) domain: String,
    /// Other hosts, lower case, and the bucket that each stands for.
    pub(super) cnames: BTreeMap<String, String>,
}

/// How a request names its bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// In its host.
    Host,
    /// In its path.
    Path,
}

/// Where a request goes. Nothing of it is checked against any rule for names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) style: Style,
    /// Host and port as the client wrote them.
    pub(super) host: String,
    /// Empty for a request to the service itself.
    pub(super) bucket: String,
    /// Empty for the bucket itself.
    pub(super) key: String,
    /// The path, decoded.
    path: String,
    pub(super) query: Query,
}

/// Path or query are not UTF-8, or the query has too many pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotText;

impl Names {
    /// Which bucket a host stands for.
    pub(super) fn bucket_of(&self, host: &str) -> Option<String> {
        let host = without_port(host).to_ascii_lowercase();
        let below = host.strip_suffix(&self.domain);
        let bucket = below.and_then(|below| below.strip_suffix('.'));
        match bucket.filter(|bucket| !bucket.is_empty()) {
            Some(bucket) => Some(bucket.to_owned()),
            None => self.cnames.get(&host).cloned(),
        }
    }
}

impl Target {
    /// Reads host (with its port), raw path and raw query of a request.
    pub(super) fn parse(
        names: &Names,
        host: &str,
        path: &str,
        query: &str,
    ) -> Result<Self, NotText> {
        let query = Query::parse(query).ok_or(NotText)?;
        let decoded = percent_decode_str(path).decode_utf8();
        let path = decoded.map_err(|_| NotText)?.into_owned();
        let inside = path.strip_prefix('/').unwrap_or(&path);
        let (style, bucket, key) = match names.bucket_of(host) {
            Some(bucket) => (Style::Host, bucket, inside.to_owned()),
            None => {
                let (bucket, key) = inside.split_once('/').unwrap_or((inside, ""));
                (Style::Path, bucket.to_owned(), key.to_owned())
            }
        };
        Ok(Self {
            style,
            host: host.to_owned(),
            bucket,
            key,
            path,
            query,
        })
    }

    /// `/BUCKET/KEY`, or `/` for the service, as signatures name the resource in every style.
    pub(super) fn resource(&self) -> String {
        match self.bucket.is_empty() {
            true => "/".to_owned(),
            false => format!("/{}/{}", self.bucket, self.key),
        }
    }

    /// The decoded path where that is not the resource: a C client on an IP address signs `/BUCKET`.
    pub(super) fn path_as_resource(&self) -> Option<&str> {
        let differs = self.style == Style::Path && self.path != self.resource();
        differs.then_some(&self.path)
    }
}

/// A host without its port; the port of `[::1]:80` stands behind the bracket.
pub(super) fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') && !name.is_empty() => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            domain: "oss.localhost".to_owned(),
            cnames: [("live.example".to_owned(), "demo-bucket".to_owned())].into(),
        }
    }

    #[test]
    fn every_style_names_the_same_object() {
        let check = |host: &str, path: &str, expected: (&str, &str), signed: &str| {
            let target = Target::parse(&names(), host, path, "live").expect("UTF-8");
            let found = (target.bucket.as_str(), target.key.as_str());
            assert_eq!(found, expected, "{host} {path}");
            assert_eq!(target.resource(), signed, "{host} {path}");
        };
        check("b.oss.localhost:9000", "/cam", ("b", "cam"), "/b/cam");
        check("B.OSS.localhost", "/cam", ("b", "cam"), "/b/cam");
        check("b.oss.localhost", "/", ("b", ""), "/b/");
        check("oss.localhost:9000", "/b/cam", ("b", "cam"), "/b/cam");
        check("oss.localhost:9000", "/b/", ("b", ""), "/b/");
        check("oss.localhost:9000", "/", ("", ""), "/");
        check("127.0.0.1:9000", "/b/cam", ("b", "cam"), "/b/cam");
        check("127.0.0.1:9000", "/b%2Fcam", ("b", "cam"), "/b/cam");
        check("127.0.0.1:9000", "/b", ("b", ""), "/b/");
        check("[::1]:9000", "/b/cam", ("b", "cam"), "/b/cam");
        check("[::1]", "/b/cam", ("b", "cam"), "/b/cam");
        check(
            "localhost",
            "/b/cam%2Fv.m3u8",
            ("b", "cam/v.m3u8"),
            "/b/cam/v.m3u8",
        );
        check(
            "live.example:80",
            "/cam%2Fv.m3u8",
            ("demo-bucket", "cam/v.m3u8"),
            "/demo-bucket/cam/v.m3u8",
        );
        check("notoss.localhost", "/b/cam", ("b", "cam"), "/b/cam");
        check(".oss.localhost", "/b/cam", ("b", "cam"), "/b/cam");
    }

    #[test]
    fn a_path_is_signed_as_it_was_sent() {
        let target = |host, path| Target::parse(&names(), host, path, "").expect("UTF-8");
        assert_eq!(target("127.0.0.1", "/b").path_as_resource(), Some("/b"));
        assert_eq!(target("127.0.0.1", "/b/").path_as_resource(), None);
        assert_eq!(target("127.0.0.1", "/b%2Fcam").path_as_resource(), None);
        assert_eq!(target("b.oss.localhost", "/cam").path_as_resource(), None);
    }

    #[test]
    fn what_is_no_text_is_refused() {
        let parse = |path, query| Target::parse(&names(), "b.oss.localhost", path, query);
        assert_eq!(parse("/%ff", ""), Err(NotText));
        assert_eq!(parse("/", "a=%ff"), Err(NotText));
    }
}
