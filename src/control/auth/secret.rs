//! Secrets that are made here, their digests, and signatures by them.

use crate::clock;
use hmac::digest::Key;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use std::fmt;

/// Random bytes in a key: 120 bits, in 24 characters.
const KEY_BYTES: usize = 15;

/// SHA-256 of a secret: what is kept of it.
#[derive(Clone, Copy)]
pub struct Fingerprint([u8; 32]);

/// A secret that was made just now, to be shown once.
pub struct FreshKey(String);

/// What URLs are signed by.
#[derive(Clone)]
pub(super) struct Signer([u8; 32]);

impl Fingerprint {
    /// Of a secret that is shown.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret.as_bytes()).into())
    }

    /// From its hexadecimal form.
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(bytes(text)?))
    }

    /// Whether both are of one secret; takes as long wherever they differ.
    pub fn is(&self, other: &Self) -> bool {
        let differs = self.0.iter().zip(&other.0);
        differs.fold(0, |all, (a, b)| all | (a ^ b)) == 0
    }
}

/// In hexadecimal, as the catalog keeps it. It is no secret, but nobody needs to see it either.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexadecimal(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fingerprint")
    }
}

impl FreshKey {
    /// A key that nobody can guess.
    pub fn random() -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
        let bits = clock::random::<KEY_BYTES>()
            .into_iter()
            .flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1));
        let bits: Vec<u8> = bits.collect();
        let letter = |five: &[u8]| {
            five.iter()
                .fold(0_usize, |all, bit| all << 1 | usize::from(*bit))
        };
        Self(
            bits.chunks(5)
                .map(|five| char::from(ALPHABET[letter(five)]))
                .collect(),
        )
    }

    /// The same with a word before it that tells people and scanners what it is.
    pub(super) fn random_after(word: &str) -> Self {
        Self(format!("{word}{}", Self::random().0))
    }

    /// The key: to be shown, never to be logged.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.0)
    }
}

impl Signer {
    pub(super) fn random() -> Self {
        Self(clock::random())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(Self(bytes(text)?))
    }

    /// As the catalog keeps it.
    pub(super) fn to_text(&self) -> String {
        hexadecimal(&self.0)
    }

    /// The signature of `text`, in hexadecimal.
    pub(super) fn sign(&self, text: &str) -> String {
        hexadecimal(&self.mac(text).finalize().into_bytes())
    }

    /// Whether `signature` is that of `text`; takes as long wherever it is wrong.
    pub(super) fn verifies(&self, text: &str, signature: &str) -> bool {
        let Some(signature) = bytes::<32>(signature) else {
            return false;
        };
        self.mac(text).verify_slice(&signature).is_ok()
    }

    fn mac(&self, text: &str) -> Hmac<Sha256> {
        // A key of one block, filled up with zeros as HMAC does with a shorter one (RFC 2104 §2).
        let mut block = Key::<Hmac<Sha256>>::default();
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block);
        mac.update(text.as_bytes());
        mac
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}
