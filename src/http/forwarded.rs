//! Whose request it is, when proxies pass it on: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy adds the address it heard at the end, so the list is read from its end, and only as
//! long as whoever wrote the next entry is trusted. What strangers write in front is not looked at.

use crate::net::Nets;
use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};
use std::net::{IpAddr, SocketAddr};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Proxies in a row that are looked at.
const HOPS_MAX: usize = 16;

/// The client's address: `peer`, or what trusted proxies say. Its port is unknown then, and 0.
pub(super) fn client(peer: SocketAddr, headers: &HeaderMap, trusted: &Nets) -> SocketAddr {
    if !trusted.contain(peer.ip()) {
        return peer;
    }
    let named = match headers.contains_key(FORWARDED) {
        true => list(headers, &FORWARDED, forwarded_for),
        false => list(headers, &X_FORWARDED_FOR, address),
    };
    let mut client = peer;
    for hop in named.into_iter().take(HOPS_MAX) {
        // Who hides the address (`unknown`, `_secret`) ends what can be known.
        let Some(hop) = hop else { break };
        client = SocketAddr::new(hop, 0);
        if !trusted.contain(hop) {
            break;
        }
    }
    client
}

/// The entries of a header, the last one first.
fn list(
    headers: &HeaderMap,
    name: &HeaderName,
    parse: fn(&str) -> Option<IpAddr>,
) -> Vec<Option<IpAddr>> {
    let mut entries = Vec::new();
    for value in headers.get_all(name) {
        let text = value.to_str().unwrap_or_default();
        entries.extend(text.split(',').map(parse));
    }
    entries.reverse();
    entries
}

/// `for=192.0.2.7;proto=https`, the address perhaps quoted and with a port.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs
        .find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?
        .1;
    address(node.trim().trim_matches('"'))
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(address.ip().to_canonical());
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let address = bare.unwrap_or(text).parse::<IpAddr>().ok()?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = ["10.0.0.0/8", "fd00::/8"].map(|net| net.parse().expect("a network"));
        let trusted = Nets::new(trusted.to_vec());
        let check = |peer: &str, name: &HeaderName, values: &[&str], expected: &str| {
            let peer = SocketAddr::new(peer.parse().expect("an address"), 9);
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(name, HeaderValue::from_str(value).expect("a value"));
            }
            let found = client(peer, &headers, &trusted).ip().to_string();
            assert_eq!(found, expected, "{peer} {values:?}");
        };
        let x = &X_FORWARDED_FOR;
        check("192.0.2.1", x, &["198.51.100.7"], "192.0.2.1");
        check("10.0.0.1", x, &[], "10.0.0.1");
        check("10.0.0.1", x, &["198.51.100.7"], "198.51.100.7");
        check("10.0.0.1", x, &["1.2.3.4, 198.51.100.7"], "198.51.100.7");
        check(
            "10.0.0.1",
            x,
            &["1.2.3.4", "198.51.100.7, 10.0.0.2"],
            "198.51.100.7",
        );
        check("10.0.0.1", x, &["198.51.100.7:4711"], "198.51.100.7");
        check("10.0.0.1", x, &["2001:db8::7"], "2001:db8::7");
        check("10.0.0.1", x, &["nonsense"], "10.0.0.1");
        check(
            "10.0.0.1",
            x,
            &["198.51.100.7, unknown, 10.0.0.2"],
            "10.0.0.2",
        );
        check(
            "10.0.0.1",
            &FORWARDED,
            &["for=198.51.100.7;proto=https"],
            "198.51.100.7",
        );
        check(
            "10.0.0.1",
            &FORWARDED,
            &["For=\"[2001:db8::7]:4711\""],
            "2001:db8::7",
        );
        check(
            "10.0.0.1",
            &FORWARDED,
            &["for=1.2.3.4, for=198.51.100.7;by=_x"],
            "198.51.100.7",
        );
        check("fd00::1", &FORWARDED, &["for=_hidden"], "fd00::1");
    }
}
