//! The handshake (§5.2), plain and with the digests that Flash-era peers verify.
//!
//! C2 is awaited and not looked at: ffmpeg and others do not echo S1 in it.

use super::error::ErrorKind;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// Length of C1, C2, S1 and S2.
const PACKET_LEN: usize = 1536;
/// The only version there is in the open.
const VERSION: u8 = 3;
const DIGEST_LEN: usize = 32;
/// Bytes among which a digest lies: four that say where, then 760 that hold it.
const BLOCK_LEN: usize = 764;
/// Version that S1 shows when it is signed; never shown otherwise, as players then verify it.
const SIGNED_VERSION: [u8; 4] = [4, 5, 0, 1];

/// What every client signs with.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
/// What a server signs S1 with; S2 is signed with [`KEY_TAIL`] appended.
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
const KEY_TAIL: [u8; 32] = [
    0xf0, 0xee, 0xc2, 0x4a, 0x80, 0x68, 0xbe, 0xe8, 0x2e, 0x00, 0xd0, 0xd1, 0x02, 0x9e, 0x7e, 0x57,
    0x6e, 0xec, 0x5d, 0x2d, 0x29, 0x80, 0x6f, 0xab, 0x93, 0xb8, 0xe6, 0x36, 0xcf, 0xeb, 0x31, 0xae,
];

/// The server's side of one handshake.
pub(super) struct Handshake {
    seed: [u8; 32],
    /// C0 and C1 as far as they arrived; empty afterwards.
    hello: BytesMut,
    /// Bytes of C2 still to come, once the answer is out.
    awaited: Option<usize>,
}

impl Handshake {
    pub(super) fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            hello: BytesMut::new(),
            awaited: None,
        }
    }

    /// Takes its share of `input` and appends the answer to `out`. `true`: the rest of `input` is chunks.
    pub(super) fn handle(
        &mut self,
        input: &mut Bytes,
        out: &mut BytesMut,
    ) -> Result<bool, ErrorKind> {
        let awaited = match self.awaited {
            Some(awaited) => awaited,
            None => {
                let missing = (PACKET_LEN.saturating_add(1)).saturating_sub(self.hello.len());
                self.hello
                    .extend_from_slice(&input.split_to(missing.min(input.len())));
                check_start(&self.hello)?;
                let hello = self.hello.get(1..).unwrap_or_default();
                let Ok(c1) = <&[u8; PACKET_LEN]>::try_from(hello) else {
                    return Ok(false);
                };
                answer(c1, &self.seed, out);
                self.hello = BytesMut::new();
                PACKET_LEN
            }
        };
        let taken = awaited.min(input.len());
        input.advance(taken);
        let awaited = awaited.saturating_sub(taken);
        self.awaited = Some(awaited);
        Ok(awaited == 0)
    }
}

/// Tells what else speaks on this port, from as few bytes as it takes.
fn check_start(hello: &[u8]) -> Result<(), ErrorKind> {
    match *hello {
        [] | [VERSION, ..] | [b'P'] => Ok(()),
        [0x16, ..] => Err(ErrorKind::Tls),
        // PROXY, in text (version 1) and in binary (version 2: CR LF CR LF NUL …)
        [b'P', b'R', ..] | [b'\r', ..] => Err(ErrorKind::Proxy),
        // GET, HEAD, POST PUT PATCH, DELETE, OPTIONS, CONNECT, TRACE
        [b'G' | b'H' | b'P' | b'D' | b'O' | b'C' | b'T', ..] => Err(ErrorKind::Http),
        [version, ..] => Err(ErrorKind::Version { version }),
    }
}

/// Appends S0, S1 and S2.
fn answer(c1: &[u8; PACKET_LEN], seed: &[u8; 32], out: &mut BytesMut) {
    let mut s1 = [0; PACKET_LEN];
    let (_, random) = s1.split_at_mut(8);
    expand(seed, b"S1", random);
    // S2 echoes C1 unless C1 is signed.
    let mut s2 = *c1;
    if let Some((schema, digest)) = client_digest(c1) {
        if let Some(signed) = signed_s2(&digest, seed).filter(|_| sign_s1(&mut s1, schema)) {
            s2 = signed;
        } else {
            s1.iter_mut().skip(4).take(4).for_each(|byte| *byte = 0);
        }
    }
    out.reserve(PACKET_LEN.saturating_mul(2).saturating_add(1));
    out.put_u8(VERSION);
    out.put_slice(&s1);
    out.put_slice(&s2);
}

/// Which of the two 764-byte blocks after time and version holds the digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Schema {
    /// The second (key first).
    Second,
    /// The first (digest first).
    First,
}

impl Schema {
    const fn block(self) -> usize {
        match self {
            Self::First => 8,
            Self::Second => BLOCK_LEN.saturating_add(8),
        }
    }

    /// Splits a packet into what lies before the digest, the digest, and what lies behind it.
    fn split(self, packet: &[u8; PACKET_LEN]) -> Option<(&[u8], &[u8; DIGEST_LEN], &[u8])> {
        let (head, block) = packet.split_at_checked(self.block())?;
        let (place, _) = block.split_first_chunk::<4>()?;
        let place = place.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        // 728 places of 32 bytes each fit behind the four.
        let at = head
            .len()
            .saturating_add(4)
            .saturating_add(place.checked_rem(728)?);
        let (before, rest) = packet.split_at_checked(at)?;
        let (digest, after) = rest.split_first_chunk()?;
        Some((before, digest, after))
    }
}

/// The digest of a signed C1, and where it lay. `None`: plain, or signed with something else (ffmpeg
/// shows a version and signs only if asked to).
fn client_digest(c1: &[u8; PACKET_LEN]) -> Option<(Schema, [u8; DIGEST_LEN])> {
    if c1.get(4..8)? == [0; 4] {
        return None;
    }
    [Schema::Second, Schema::First]
        .into_iter()
        .find_map(|schema| {
            let (before, digest, after) = schema.split(c1)?;
            (sign(CLIENT_KEY, &[before, after])? == *digest).then_some((schema, *digest))
        })
}

/// Puts version and digest into S1. `false`: it is as it was, except for the version.
fn sign_s1(s1: &mut [u8; PACKET_LEN], schema: Schema) -> bool {
    if let Some(version) = s1.get_mut(4..8) {
        version.copy_from_slice(&SIGNED_VERSION);
    }
    let Some((at, digest)) = schema
        .split(s1)
        .and_then(|(before, _, after)| Some((before.len(), sign(SERVER_KEY, &[before, after])?)))
    else {
        return false;
    };
    let place = s1.get_mut(at..).and_then(|rest| rest.first_chunk_mut());
    place.map(|place| *place = digest).is_some()
}

/// S2 for a signed C1: random bytes, signed with a key that is made of C1's digest.
fn signed_s2(digest: &[u8; DIGEST_LEN], seed: &[u8; 32]) -> Option<[u8; PACKET_LEN]> {
    let mut s2 = [0; PACKET_LEN];
    let (random, signature) = s2.split_last_chunk_mut::<DIGEST_LEN>()?;
    expand(seed, b"S2", random);
    let key = sign(&[SERVER_KEY, &KEY_TAIL].concat(), &[digest])?;
    *signature = sign(&key, &[random])?;
    Some(s2)
}

fn sign(key: &[u8], parts: &[&[u8]]) -> Option<[u8; DIGEST_LEN]> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).ok()?;
    parts.iter().for_each(|part| mac.update(part));
    Some(mac.finalize().into_bytes().into())
}

/// Fills `to` with bytes that look random and follow from `seed`.
fn expand(seed: &[u8; 32], label: &[u8], to: &mut [u8]) {
    for (block, counter) in to.chunks_mut(DIGEST_LEN).zip(0u64..) {
        let bytes = Sha256::new()
            .chain_update(seed)
            .chain_update(label)
            .chain_update(counter.to_be_bytes())
            .finalize();
        block
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = from);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: [u8; 32] = [7; 32];

    fn run(hello: &[u8]) -> Result<(bool, Vec<u8>), ErrorKind> {
        let mut out = BytesMut::new();
        let mut input = Bytes::copy_from_slice(hello);
        let done = Handshake::new(SEED).handle(&mut input, &mut out)?;
        Ok((done, out.to_vec()))
    }

    fn plain_c1() -> [u8; PACKET_LEN] {
        let mut c1 = [0; PACKET_LEN];
        expand(&[1; 32], b"C1", &mut c1[8..]);
        c1
    }

    fn signed_c1(schema: Schema) -> [u8; PACKET_LEN] {
        let mut c1 = plain_c1();
        c1[4..8].copy_from_slice(&[9, 0, 0x7c, 2]);
        let (before, _, after) = schema.split(&c1).unwrap();
        let at = before.len();
        let digest = sign(CLIENT_KEY, &[before, after]).unwrap();
        c1[at..at + DIGEST_LEN].copy_from_slice(&digest);
        c1
    }

    #[test]
    fn a_plain_client_gets_its_bytes_back() {
        let c1 = plain_c1();
        let (done, out) = run(&[&[3], &c1[..]].concat()).unwrap();
        assert!(!done);
        assert_eq!(out.len(), 1 + 2 * PACKET_LEN);
        assert_eq!(out[0], 3);
        assert_eq!(out[1..9], [0; 8], "an unsigned S1 shows no version");
        assert_eq!(out[1 + PACKET_LEN..], c1);
    }

    #[test]
    fn a_signed_client_gets_signatures() {
        for schema in [Schema::First, Schema::Second] {
            let c1 = signed_c1(schema);
            let (_, out) = run(&[&[3], &c1[..]].concat()).unwrap();
            let s1: &[u8; PACKET_LEN] = out[1..=PACKET_LEN].try_into().unwrap();
            assert_eq!(s1[4..8], SIGNED_VERSION);
            let (before, digest, after) = schema.split(s1).unwrap();
            assert_eq!(sign(SERVER_KEY, &[before, after]).unwrap(), *digest);
            let (_, digest, _) = schema.split(&c1).unwrap();
            let (random, signature) = out[1 + PACKET_LEN..].split_last_chunk::<32>().unwrap();
            let key = sign(&[SERVER_KEY, &KEY_TAIL].concat(), &[digest]).unwrap();
            assert_eq!(sign(&key, &[random]).unwrap(), *signature);
        }
    }

    /// ffmpeg's C1 shows version 9.0.124.2 and carries no digest that a server could validate.
    #[test]
    fn ffmpeg_shows_a_version_and_signs_nothing() {
        for schema in [Schema::First, Schema::Second] {
            let mut c1 = signed_c1(schema);
            c1[1535] ^= 1;
            let (_, out) = run(&[&[3], &c1[..]].concat()).unwrap();
            assert_eq!(out[1..9], [0; 8]);
            assert_eq!(out[1 + PACKET_LEN..], c1);
        }
    }

    #[test]
    fn c2_is_awaited_and_not_looked_at() {
        let mut handshake = Handshake::new(SEED);
        let mut out = BytesMut::new();
        let bytes = [&[3], &plain_c1()[..], &[0; PACKET_LEN], b"rest"].concat();
        let mut fed = 0;
        for byte in &bytes {
            fed += 1;
            let mut input = Bytes::copy_from_slice(&[*byte]);
            if handshake.handle(&mut input, &mut out).unwrap() {
                break;
            }
        }
        assert_eq!(fed, 1 + 2 * PACKET_LEN);
        let mut input = Bytes::from(bytes);
        assert!(Handshake::new(SEED).handle(&mut input, &mut out).unwrap());
        assert_eq!(input, b"rest"[..]);
    }

    #[test]
    fn other_protocols_are_named() {
        let check = |start: &[u8], expected: ErrorKind| {
            assert_eq!(run(start).unwrap_err(), expected, "{start:?}");
        };
        check(b"\x16\x03\x01", ErrorKind::Tls);
        for method in [
            "GET /", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE",
        ] {
            check(method.as_bytes(), ErrorKind::Http);
        }
        check(b"PROXY TCP4 ", ErrorKind::Proxy);
        check(b"\r\n\r\n\0\r\nQUIT\n", ErrorKind::Proxy);
        check(b"\x06", ErrorKind::Version { version: 6 });
        check(b"\x80", ErrorKind::Version { version: 0x80 });
        assert!(run(b"P").is_ok(), "one byte does not tell HTTP from PROXY");
    }
}
