//! Encoded image bytes to planar `u8`: (3, size, size), red plane first, rows from the top.
//!
//! PNG (8 and 16 bits, palette, grey, with alpha where it is opaque) and baseline or progressive JPEG (colour or one-channel
//! grey). Grey is repeated over the three planes; 16-bit samples keep their high byte. The declared size is compared
//! with the expected one before anything is allocated for pixels, so a hostile header costs no memory.

mod jpeg;
mod png;

/// Why the bytes of one image cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Neither a PNG nor a JPEG signature.
    #[error("{length} bytes that are neither PNG nor JPEG (they start with {start:02x?})")]
    UnknownFormat {
        /// Length of the encoded image in bytes.
        length: usize,
        /// Its first bytes, at most four.
        start: Vec<u8>,
    },
    /// The image declares another size than the data set has.
    #[error("{format} of {width}x{height} pixels, expected {expected}x{expected}")]
    Size {
        /// "PNG" or "JPEG".
        format: &'static str,
        /// Declared width.
        width: usize,
        /// Declared height.
        height: usize,
        /// Height and width that the data set has.
        expected: usize,
    },
    /// Pixels with transparency have no one colour.
    #[error("PNG with transparent pixels; only opaque images have a defined colour")]
    Transparent,
    /// A colour space other than grey or colour in three channels.
    #[error("{format} in colour space {found}, expected grey, RGB or YCbCr")]
    Colours {
        /// "PNG" or "JPEG".
        format: &'static str,
        /// What the decoder called it.
        found: String,
    },
    /// The decoder gave up: truncated, bit-flipped, or a feature that it does not have.
    #[error("{format} cannot be decoded: {problem}")]
    Damaged {
        /// "PNG" or "JPEG".
        format: &'static str,
        /// What the decoder said.
        problem: String,
    },
}

/// Decodes one PNG or JPEG of `size` x `size` pixels into `out`, planar (3, size, size).
///
/// # Panics
/// Where `out` does not hold 3 * size * size values.
pub fn decode(bytes: &[u8], size: usize, out: &mut [u8]) -> Result<(), DecodeError> {
    assert_eq!(out.len(), 3 * size * size, "the output holds one planar image");
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png::decode(bytes, size, out),
        [0xff, 0xd8, 0xff, ..] => jpeg::decode(bytes, size, out),
        _ => Err(DecodeError::UnknownFormat {
            length: bytes.len(),
            start: bytes.iter().take(4).copied().collect(),
        }),
    }
}

/// Compares a declared size with the expected one.
fn check_size(format: &'static str, width: usize, height: usize, expected: usize) -> Result<(), DecodeError> {
    if (width, height) == (expected, expected) {
        Ok(())
    } else {
        Err(DecodeError::Size { format, width, height, expected })
    }
}

/// Interleaved pixels of `channels` samples each into three planes; one or two channels are grey (and alpha), repeated.
fn to_planes(pixels: &[u8], channels: usize, out: &mut [u8]) {
    let plane = out.len() / 3;
    let (red, rest) = out.split_at_mut(plane);
    let (green, blue) = rest.split_at_mut(plane);
    let (g, b) = if channels < 3 { (0, 0) } else { (1, 2) };
    for (i, pixel) in pixels.chunks_exact(channels).take(plane).enumerate() {
        red[i] = pixel[0];
        green[i] = pixel[g];
        blue[i] = pixel[b];
    }
}
