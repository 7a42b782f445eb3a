//! Time as this API writes and reads it.

use chrono::{DateTime, NaiveDateTime};

/// `2031-04-01T05:00:00.000Z`: the SDK's pattern wants exactly these three zeros.
pub(super) fn iso(unix_ms: i64) -> String {
    let at = DateTime::from_timestamp(unix_ms.div_euclid(1000), 0).unwrap_or_default();
    at.format("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

/// Seconds of `Sat, 21 Nov 2026 01:49:45 GMT`, the format of HTTP (RFC 9110 §5.6.7).
pub(super) fn of_http(text: &str) -> Option<i64> {
    seconds(text, "%a, %d %b %Y %H:%M:%S GMT")
}

/// Seconds of `20261121T015039Z`, the format of signature version 4.
pub(super) fn of_compact(text: &str) -> Option<i64> {
    seconds(text, "%Y%m%dT%H%M%SZ")
}

fn seconds(text: &str, format: &str) -> Option<i64> {
    let at = NaiveDateTime::parse_from_str(text, format).ok()?;
    Some(at.and_utc().timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_shape_that_clients_parse() {
        assert_eq!(iso(1_763_696_695_987), "2025-11-21T03:44:55.000Z");
        assert_eq!(
            of_http("Fri, 21 Nov 2025 03:44:55 GMT"),
            Some(1_763_696_695)
        );
        assert_eq!(of_compact("20251121T034455Z"), Some(1_763_696_695));
        assert_eq!(of_http("Fri, 21 Nov 2025 03:44:55 CET"), None);
        assert_eq!(of_compact("2025-11-21T03:44:55Z"), None);
    }
}
