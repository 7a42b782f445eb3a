//! `Range: bytes=…` (RFC 9110 §14).

use std::ops::Range;

/// What a range header asks of a representation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Ranged {
    /// All of it: the header is not one we follow.
    Whole,
    /// These bytes, which exist.
    Part(Range<u64>),
    /// Bytes that do not exist: 416.
    Unsatisfiable,
}

/// Reads the header for a representation of `len` bytes. A header that is not well formed, another
/// unit, and several ranges at once all give the whole, as §14.2 allows: players ask for one.
pub(super) fn parse(header: &str, len: u64) -> Ranged {
    match single(header) {
        None => Ranged::Whole,
        Some((Some(first), last)) if first < len => {
            let end = last.map_or(len, |last| last.saturating_add(1).min(len));
            Ranged::Part(first..end)
        }
        Some((None, Some(suffix))) if suffix > 0 && len > 0 => {
            Ranged::Part(len.saturating_sub(suffix)..len)
        }
        Some(_) => Ranged::Unsatisfiable,
    }
}

/// First and last position; a suffix has only the last, which is its length.
fn single(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, set) = header.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    let (first, last) = (position(first)?, position(last)?);
    let in_order = match (first, last) {
        (None, None) => false,
        (Some(first), Some(last)) => first <= last,
        _ => true,
    };
    (unit.trim().eq_ignore_ascii_case("bytes") && in_order).then_some((first, last))
}

/// A position, or its absence; `None` if it is neither. One too large to count is past any end.
fn position(digits: &str) -> Option<Option<u64>> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_to_what_exists() {
        let check =
            |header, len, expected| assert_eq!(parse(header, len), expected, "{header} of {len}");
        check("bytes=0-0", 10, Ranged::Part(0..1));
        check("bytes=0-", 10, Ranged::Part(0..10));
        check("bytes=3-5", 10, Ranged::Part(3..6));
        check("bytes=9-9", 10, Ranged::Part(9..10));
        check("bytes=3-99", 10, Ranged::Part(3..10));
        check("bytes=3-99999999999999999999999", 10, Ranged::Part(3..10));
        check("bytes=-5", 10, Ranged::Part(5..10));
        check("bytes=-50", 10, Ranged::Part(0..10));
        check("Bytes=0-0", 10, Ranged::Part(0..1));
        check("bytes=10-", 10, Ranged::Unsatisfiable);
        check("bytes=10-12", 10, Ranged::Unsatisfiable);
        check("bytes=99999999999999999999999-", 10, Ranged::Unsatisfiable);
        check("bytes=-0", 10, Ranged::Unsatisfiable);
        check("bytes=0-0", 0, Ranged::Unsatisfiable);
        check("bytes=-5", 0, Ranged::Unsatisfiable);
        for malformed in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=1",
            "bytes=0-0,2-3",
            "lines=0-1",
            "bytes=1--2",
            "bytes 0-1",
        ] {
            check(malformed, 10, Ranged::Whole);
        }
    }
}
