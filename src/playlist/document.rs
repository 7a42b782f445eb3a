//! A finished text and what HTTP says about it: made once per change, shared by all readers.

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::sync::{Arc, OnceLock};

/// Above this a text is compressed fast rather than well: a day's playlist is repetitive enough.
const LARGE: usize = 256 * 1024;

/// How long a copy of a document may be used without asking.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// It changes all the time.
    Live {
        /// Seconds; at most half a target duration. Zero means that every use asks.
        max_age_s: u32,
    },
    /// It does not change unless something is removed or renamed.
    Settled,
}

/// A text with its validators. Cheap to clone.
#[derive(Clone)]
pub struct Document(Arc<Inner>);

struct Inner {
    text: Bytes,
    gzip: OnceLock<Bytes>,
    etag: String,
    etag_gzip: String,
    freshness: Freshness,
}

impl Document {
    /// A document of this text.
    pub fn new(text: String, freshness: Freshness) -> Self {
        let mut hasher = DefaultHasher::new(); // its keys are constant: every node gives one tag
        hasher.write(text.as_bytes());
        let tag = format!("{:016x}-{:x}", hasher.finish(), text.len());
        Self(Arc::new(Inner {
            etag: format!("\"{tag}\""),
            etag_gzip: format!("\"{tag}-gzip\""),
            // It may be kept for long: without the room that rendering left.
            text: text.into_boxed_str().into_boxed_bytes().into(),
            gzip: OnceLock::new(),
            freshness,
        }))
    }

    /// The text.
    pub fn text(&self) -> &Bytes {
        &self.0.text
    }

    /// The same playlist with `query` at the end of every URI that it names.
    pub fn with_query(&self, query: &str) -> Self {
        let text = String::from_utf8_lossy(&self.0.text);
        let mut with = String::with_capacity(text.len().saturating_mul(2));
        for line in text.lines() {
            with.push_str(line);
            if !line.is_empty() && !line.starts_with('#') {
                with.push('?');
                with.push_str(query);
            }
            with.push('\n');
        }
        Self::new(with, self.0.freshness)
    }

    /// The text compressed: by the first who asks, while all others wait for it. Takes tens of
    /// milliseconds for a day's playlist, so ask for [`Document::is_slow_to_compress`] first.
    pub fn gzip(&self) -> &Bytes {
        self.0.gzip.get_or_init(|| compress(&self.0.text))
    }

    /// Whether [`Document::gzip`] belongs on a thread where it may take its time.
    pub fn is_slow_to_compress(&self) -> bool {
        self.0.text.len() > LARGE && self.0.gzip.get().is_none()
    }

    /// Strong entity tag of the text, in its quotes (RFC 9110 §8.8.3).
    pub fn etag(&self) -> &str {
        &self.0.etag
    }

    /// Strong entity tag of the compressed text: other bytes, another tag.
    pub fn etag_gzip(&self) -> &str {
        &self.0.etag_gzip
    }

    /// How long a copy may be used.
    pub fn freshness(&self) -> Freshness {
        self.0.freshness
    }
}

fn compress(text: &Bytes) -> Bytes {
    let level = if text.len() > LARGE {
        Compression::fast()
    } else {
        Compression::default()
    };
    let mut encoder = GzEncoder::new(
        Vec::with_capacity((text.len() / 8).saturating_add(64)),
        level,
    );
    // Writing to memory cannot fail.
    let _ = encoder.write_all(text);
    encoder.finish().unwrap_or_default().into()
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.0;
        let (etag, freshness) = (&inner.etag, inner.freshness);
        write!(
            f,
            "Document {etag} {} bytes {freshness:?}",
            inner.text.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn bytes_and_tags_change_together() {
        let document = |text: &str| Document::new(text.to_owned(), Freshness::Settled);
        let (one, same, other) = (document("one"), document("one"), document("two"));
        assert_eq!(one.etag(), same.etag());
        assert_ne!(one.etag(), other.etag());
        assert_ne!(one.etag(), one.etag_gzip());
        assert!(one.etag().starts_with('"') && one.etag().ends_with('"'));
    }

    #[test]
    fn gzip_reads_back() {
        for text in ["", "#EXTM3U\n", &"0000/00000001.ts\n".repeat(50_000)] {
            let document = Document::new(text.to_owned(), Freshness::Live { max_age_s: 1 });
            let mut back = String::new();
            flate2::read::GzDecoder::new(&document.gzip()[..])
                .read_to_string(&mut back)
                .expect("our own gzip");
            assert_eq!(back, text);
            assert!(!document.is_slow_to_compress(), "it is there now");
        }
    }
}
