//! What a request already has and what it can read: entity tags (RFC 9110 §13) and encodings
//! (§12.5.3).

use hyper::HeaderMap;
use hyper::header::{ACCEPT_ENCODING, HeaderName, IF_MATCH, IF_NONE_MATCH, IF_RANGE, RANGE};

/// Whether the client has the representation with this tag already: 304.
pub(super) fn has_it(headers: &HeaderMap, etag: &str) -> bool {
    // Weak comparison (§13.1.2): a proxy that compressed on the way may have weakened the tag.
    list(headers, &IF_NONE_MATCH)
        .any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// Whether the client wants another representation than the one with this tag: 412.
pub(super) fn wants_other(headers: &HeaderMap, etag: &str) -> bool {
    headers.contains_key(IF_MATCH) && !list(headers, &IF_MATCH).any(|tag| tag == "*" || tag == etag)
}

/// The range header, if it applies to the representation with this tag: there is one, and no
/// If-Range with another tag or with a date, which we do not give out (§13.1.5).
pub(super) fn range<'a>(headers: &'a HeaderMap, etag: &str) -> Option<&'a str> {
    let mut ranges = headers.get_all(RANGE).iter();
    let (range, more) = (ranges.next()?.to_str().ok()?, ranges.next());
    let same = headers.get(IF_RANGE).is_none_or(|tag| tag == etag);
    (more.is_none() && same).then_some(range)
}

/// Whether gzip is welcome, and no less so than plain bytes.
pub(super) fn prefers_gzip(headers: &HeaderMap) -> bool {
    let quality = |coding| {
        let mut offers = list(headers, &ACCEPT_ENCODING).filter_map(offer);
        offers.find_map(|(name, q)| name.eq_ignore_ascii_case(coding).then_some(q))
    };
    let any = quality("*");
    let gzip = quality("gzip").or(quality("x-gzip")).or(any).unwrap_or(0.0);
    let plain = quality("identity").unwrap_or(0.0); // unnamed, it is what is left
    gzip > 0.0 && gzip >= plain
}

/// A coding and its weight; `None` if the weight is not a number.
fn offer(item: &str) -> Option<(&str, f32)> {
    let (name, parameter) = item.split_once(';').unwrap_or((item, "q=1"));
    let (q, weight) = parameter.split_once('=')?;
    let weight: f32 = weight.trim().parse().ok()?;
    let known = q.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&weight);
    known.then_some((name.trim(), weight))
}

fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn headers(rows: &[(HeaderName, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(name, HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn gzip_by_quality() {
        let check = |value, expected| {
            let headers = headers(&[(ACCEPT_ENCODING, value)]);
            assert_eq!(prefers_gzip(&headers), expected, "{value:?}");
        };
        check("gzip", true);
        check("gzip, deflate, br, zstd", true);
        check("GZIP;q=0.5", true);
        check("x-gzip", true);
        check("*", true);
        check("identity;q=0, *", true);
        check("gzip;q=1.0, identity; q=0.5, *;q=0", true);
        check("gzip;q=0.5, identity;q=0.5", true);
        check("", false);
        check("br", false);
        check("gzip;q=0", false);
        check("gzip;q=0, *", false);
        check("gzip;q=0.2, identity;q=0.5", false);
        check("gzip;q=x", false);
        check("gzip;level=1", false);
        assert!(!prefers_gzip(&HeaderMap::new()));
    }

    #[test]
    fn tags_are_compared() {
        let tag = "\"a\"";
        let check = |name, value, expected: (bool, bool)| {
            let headers = headers(&[(name, value)]);
            let found = (has_it(&headers, tag), wants_other(&headers, tag));
            assert_eq!(found, expected, "{value:?}");
        };
        check(IF_NONE_MATCH, "\"a\"", (true, false));
        check(IF_NONE_MATCH, "\"b\", W/\"a\"", (true, false));
        check(IF_NONE_MATCH, "*", (true, false));
        check(IF_NONE_MATCH, "\"b\"", (false, false));
        check(IF_NONE_MATCH, "a", (false, false));
        check(IF_MATCH, "\"a\"", (false, false));
        check(IF_MATCH, "*", (false, false));
        check(IF_MATCH, "W/\"a\"", (false, true));
        check(IF_MATCH, "\"b\"", (false, true));
    }

    #[test]
    fn a_range_holds_for_one_representation() {
        let check = |rows: &[(HeaderName, &'static str)], expected| {
            assert_eq!(range(&headers(rows), "\"a\""), expected, "{rows:?}");
        };
        let asked = (RANGE, "bytes=0-1");
        check(&[], None);
        check(std::slice::from_ref(&asked), Some("bytes=0-1"));
        check(&[asked.clone(), (IF_RANGE, "\"a\"")], Some("bytes=0-1"));
        check(&[asked.clone(), (IF_RANGE, "W/\"a\"")], None);
        check(
            &[asked.clone(), (IF_RANGE, "Fri, 21 Nov 2025 04:40:00 GMT")],
            None,
        );
        check(&[asked.clone(), asked], None);
    }
}
