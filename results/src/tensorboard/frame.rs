//! The framing of an event file (TFRecord): for each event its length (u64), the length's masked CRC, the event, and the
//! event's masked CRC (u32), all little-endian.

use crc32c::crc32c;
use prost::Message as _;

use super::event::Event;

/// What a masked CRC has added to it, so that a CRC over data that hold CRCs stays good.
const MASK: u32 = 0xa282_ead8;

/// The events as a file.
pub(super) fn file(events: &[Event]) -> Vec<u8> {
    events.iter().flat_map(|event| framed(&event.encode_to_vec())).collect()
}

fn framed(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut out = Vec::with_capacity(data.len() + 16);
    out.extend(length);
    out.extend(masked(&length).to_le_bytes());
    out.extend(data);
    out.extend(masked(data).to_le_bytes());
    out
}

/// CRC-32C of `data`, rotated right by 15 bits, plus a constant.
fn masked(data: &[u8]) -> u32 {
    crc32c(data).rotate_right(15).wrapping_add(MASK)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CRC-32C of `123456789` is 0xe3069283, the check value of its catalogue entry (CRC-32/ISCSI); RFC 3720, B.4 has
    /// 0x8a9136aa for 32 zeros. Masked by hand: rotated right by 15, plus the constant, modulo 2^32.
    #[test]
    fn crcs_are_the_known_ones() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(b"123456789"), 0x2507_c60d_u32.wrapping_add(MASK));
        assert_eq!(masked(&[0; 32]), 0x6d55_1522_u32.wrapping_add(MASK));
    }

    #[test]
    fn a_frame_has_four_parts() {
        let frame = framed(b"123456789");
        assert_eq!(frame.len(), 8 + 4 + 9 + 4);
        assert_eq!(frame[..8], 9_u64.to_le_bytes());
        assert_eq!(frame[12..21], *b"123456789");
        assert_eq!(frame[21..], 0x2507_c60d_u32.wrapping_add(MASK).to_le_bytes());
        assert_eq!(file(&[]), b"");
    }
}
