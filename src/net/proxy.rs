//! The preface with which a load balancer tells whose connection it passes on: PROXY protocol,
//! versions 1 and 2 (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).
//!
//! Bytes in, address out; whom to believe is decided elsewhere.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// The first bytes of version 1.
const TEXT: &[u8] = b"PROXY ";
/// The longest line of version 1 with its end (§2.1).
const LINE_MAX: usize = 107;
/// The first bytes of version 2.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Length of version 2's header before the addresses.
const HEADER: usize = 16;
/// Addresses and what else is told about the connection; real ones have some dozens of bytes, with
/// a client's certificate in them some hundreds.
const REST_MAX: usize = 2048;
/// No preface is longer.
pub(super) const PREFACE_MAX: usize = HEADER + REST_MAX;

/// A preface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Preface {
    /// Its length in bytes.
    pub(super) len: usize,
    /// Whose connection it is; `None`: the proxy's own, or unknown.
    pub(super) client: Option<SocketAddr>,
}

/// What the first bytes of a connection say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Found {
    /// They are no preface.
    None,
    /// They begin like one, and more has to come.
    Begun,
    /// One is complete.
    Whole(Preface),
}

/// Something begins like a preface and is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Malformed {
    /// Version 1 is one line of text.
    #[error("a PROXY line that is not right")]
    Line,
    /// Version 2 has 16 bytes before its addresses.
    #[error("a PROXY header that is not right (version and command {0:#04x})")]
    Header(u8),
    /// Longer than any.
    #[error("a PROXY header of {0} bytes is longer than {PREFACE_MAX}")]
    TooLong(usize),
    /// The family needs more bytes than there are.
    #[error("a PROXY header without its addresses")]
    Addresses,
}

/// Reads the preface at the beginning of `bytes`, if there is one. Takes nothing.
pub(super) fn read(bytes: &[u8]) -> Result<Found, Malformed> {
    if begins(bytes, TEXT) {
        return line(bytes);
    }
    if begins(bytes, BINARY) {
        return binary(bytes);
    }
    Ok(Found::None)
}

/// Whether `bytes` begins like `with`, as far as it goes.
fn begins(bytes: &[u8], with: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().zip(with).all(|(a, b)| a == b)
}

fn line(bytes: &[u8]) -> Result<Found, Malformed> {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else {
        return match bytes.len() < LINE_MAX {
            true => Ok(Found::Begun),
            false => Err(Malformed::Line),
        };
    };
    let len = end.saturating_add(2);
    let text = bytes
        .get(..end)
        .and_then(|line| std::str::from_utf8(line).ok());
    let mut words = text.ok_or(Malformed::Line)?.split(' ').skip(1);
    let client = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(source::<Ipv4Addr>(&mut words)?),
        Some("TCP6") => Some(source::<Ipv6Addr>(&mut words)?),
        _ => return Err(Malformed::Line),
    };
    match len > LINE_MAX {
        true => Err(Malformed::Line),
        false => Ok(Found::Whole(Preface { len, client })),
    }
}

/// Source address, destination address, source port, destination port: exactly these.
fn source<A: FromStr + Into<IpAddr>>(
    words: &mut dyn Iterator<Item = &str>,
) -> Result<SocketAddr, Malformed> {
    let mut word = || words.next().ok_or(Malformed::Line);
    let address = |text: &str| text.parse::<A>().map_err(|_| Malformed::Line);
    let port = |text: &str| text.parse::<u16>().map_err(|_| Malformed::Line);
    let from = address(word()?)?;
    address(word()?)?;
    let from_port = port(word()?)?;
    port(word()?)?;
    match words.next() {
        Some(_) => Err(Malformed::Line),
        None => Ok(SocketAddr::new(from.into(), from_port)),
    }
}

fn binary(bytes: &[u8]) -> Result<Found, Malformed> {
    let Some(&[command, family, high, low]) = bytes
        .get(BINARY.len()..)
        .and_then(|rest| rest.first_chunk::<4>())
    else {
        return Ok(Found::Begun);
    };
    let rest_len = usize::from(u16::from_be_bytes([high, low]));
    let len = HEADER.saturating_add(rest_len);
    if rest_len > REST_MAX {
        return Err(Malformed::TooLong(len));
    }
    let Some(rest) = bytes.get(HEADER..len) else {
        return Ok(Found::Begun);
    };
    let client = match (command, family >> 4) {
        // LOCAL: the proxy's own, a health check; what else it says is not looked at.
        (0x20, _) => None,
        (0x21, 1) => Some(v4(rest).ok_or(Malformed::Addresses)?),
        (0x21, 2) => Some(v6(rest).ok_or(Malformed::Addresses)?),
        // UNSPEC, and sockets of files: nothing that we could name.
        (0x21, _) => None,
        _ => return Err(Malformed::Header(command)),
    };
    Ok(Found::Whole(Preface { len, client }))
}

fn v4(rest: &[u8]) -> Option<SocketAddr> {
    let (&from, rest) = rest.split_first_chunk::<4>()?;
    let (_to, rest) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(Ipv4Addr::from(from).into(), port(rest)?))
}

fn v6(rest: &[u8]) -> Option<SocketAddr> {
    let (&from, rest) = rest.split_first_chunk::<16>()?;
    let (_to, rest) = rest.split_first_chunk::<16>()?;
    Some(SocketAddr::new(Ipv6Addr::from(from).into(), port(rest)?))
}

/// The source's port, the destination's behind it.
fn port(rest: &[u8]) -> Option<u16> {
    let &[high, low, _, _] = rest.first_chunk::<4>()?;
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: Result<Option<&str>, Malformed>) {
        let expected = expected.map(|client| {
            let client = client.map(|text| text.parse().expect("an address"));
            Found::Whole(Preface {
                len: bytes.len(),
                client,
            })
        });
        let more = [bytes, b"\x03rest"].concat();
        for given in [bytes, &more] {
            assert_eq!(
                read(given),
                expected,
                "{:?}",
                String::from_utf8_lossy(given)
            );
        }
        if expected.is_ok() {
            for end in 1..bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(Found::Begun), "{end} bytes");
            }
        }
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let len = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [BINARY, &[command, family], &len, rest].concat()
    }

    #[test]
    fn version_1() {
        let from = Ok(Some("192.0.2.7:56324"));
        check(b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 1935\r\n", from);
        let from = Ok(Some("[2001:db8::7]:56324"));
        check(b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n", from);
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff:f...f 1 2 3\r\n", Ok(None));
        for wrong in [
            "PROXY \r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 56324 1935 7\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 56324 443\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 66324 1935\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 56324 1935\r\n",
        ] {
            check(wrong.as_bytes(), Err(Malformed::Line));
        }
        let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
        assert_eq!(read(&endless), Err(Malformed::Line));
    }

    #[test]
    fn version_2() {
        let v4 = [192, 0, 2, 7, 198, 51, 100, 1, 0xdc, 4, 7, 0x8f];
        check(&binary(0x21, 0x11, &v4), Ok(Some("192.0.2.7:56324")));
        let tlv = [&v4[..], &[3, 0, 4, 1, 2, 3, 4]].concat();
        check(&binary(0x21, 0x11, &tlv), Ok(Some("192.0.2.7:56324")));
        let ip = |last| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let v6 = [&ip(7)[..], &ip(1), &v4[8..]].concat();
        check(&binary(0x21, 0x21, &v6), Ok(Some("[2001:db8::7]:56324")));
        check(&binary(0x20, 0, b""), Ok(None));
        check(&binary(0x21, 0, b""), Ok(None));
        check(&binary(0x21, 0x31, &[0; 216]), Ok(None));
        check(&binary(0x21, 0x11, &v4[..11]), Err(Malformed::Addresses));
        check(&binary(0x21, 0x21, &v6[..35]), Err(Malformed::Addresses));
        check(&binary(0x31, 0x11, &v4), Err(Malformed::Header(0x31)));
        check(&binary(0x22, 0x11, &v4), Err(Malformed::Header(0x22)));
        let long = binary(0x21, 0x11, &[0; 3000]);
        assert_eq!(read(&long), Err(Malformed::TooLong(3016)));
    }

    #[test]
    fn other_protocols_are_no_preface() {
        for bytes in [
            &[3, 0, 0][..],
            b"GET / HTTP/1.1",
            b"PUT / HTTP/1.1",
            b"PRI * HTTP/2.0",
            &[0x16, 3, 1],
            b"",
        ] {
            assert_eq!(read(bytes), Ok(Found::None), "{bytes:?}");
        }
    }
}
