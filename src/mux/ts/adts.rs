//! The header that stands before each AAC frame (ISO 14496-3 §1.A.2.2).

/// Bytes of the header, without checksum.
pub(super) const HEADER_LEN: usize = 7;
/// Largest frame with its header: aac_frame_length has 13 bits.
const LENGTH_MAX: usize = 0x1fff;

/// The header of a frame of `len` bytes; `None` if such a frame cannot be told.
pub(super) fn header(
    object_type: u8,
    frequency_index: u8,
    channel_configuration: u8,
    len: usize,
) -> Option<[u8; HEADER_LEN]> {
    let length = len
        .checked_add(HEADER_LEN)
        .filter(|length| *length <= LENGTH_MAX)
        .and_then(|length| u64::try_from(length).ok())?;
    let bits = 0xfff1 << 40 // syncword, MPEG-4, layer 0, no checksum
        | u64::from(object_type.wrapping_sub(1) & 0b11) << 38
        | u64::from(frequency_index & 0b1111) << 34
        | u64::from(channel_configuration & 0b111) << 30
        | length << 13
        | 0x7ff << 2; // buffer fullness: variable rate; one raw data block
    let [_, header @ ..] = bits.to_be_bytes();
    Some(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_those_of_other_muxers() {
        // ffmpeg 5.1 for AAC-LC 44.1 kHz stereo, a frame of 6 bytes ("21 10 04 60 8c 1c").
        assert_eq!(
            header(2, 4, 2, 6),
            Some([0xff, 0xf1, 0x50, 0x80, 0x01, 0xbf, 0xfc])
        );
        // Main profile, 96 kHz, 7.1.
        assert_eq!(
            header(1, 0, 7, 0x1fff - 7),
            Some([0xff, 0xf1, 0x01, 0xc3, 0xff, 0xff, 0xfc])
        );
        assert_eq!(header(2, 4, 2, 0x1fff - 6), None);
        assert_eq!(header(0, 0xff, 0xff, usize::MAX), None);
    }
}
