//! A door for the fuzz targets, which see only what the crate exports.

use super::proxy::{self, Found};
use std::net::SocketAddr;

/// Reads a PROXY preface: its length and whose connection it is; `None` while it is none, or not
/// whole. An error is told as text.
pub fn preface(bytes: &[u8]) -> Result<Option<(usize, Option<SocketAddr>)>, String> {
    match proxy::read(bytes) {
        Ok(Found::Whole(preface)) => Ok(Some((preface.len, preface.client))),
        Ok(Found::None | Found::Begun) => Ok(None),
        Err(malformed) => Err(malformed.to_string()),
    }
}
