//! `onMetaData`: what an encoder says of itself.
//!
//! For information only. Tracks, sizes and rates come from the bitstream, because encoders
//! announce AVC while sending HEVC, sizes of 0 and rates of infinity. Reads AMF0 (Adobe, 2007) with
//! bounds of its own and forgives whatever it does not understand.

/// What the encoder claims. Numbers are finite and positive, texts short and printable.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metadata {
    /// The software that sends, for example `obs-output module (libobs version 30.0.2)`.
    pub encoder: Option<String>,
    /// Claimed width in pixels.
    pub width: Option<u32>,
    /// Claimed height in pixels.
    pub height: Option<u32>,
    /// Claimed frames per second.
    pub frame_rate: Option<f64>,
    /// Claimed video rate in kbit/s.
    pub video_kbps: Option<f64>,
    /// Claimed audio rate in kbit/s.
    pub audio_kbps: Option<f64>,
    /// Claimed length in seconds, of a file.
    pub duration_s: Option<f64>,
    /// Claimed size in bytes, of a file.
    pub file_size: Option<u64>,
}
