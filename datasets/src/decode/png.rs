//! PNG through the `png` crate. Checksums stay on: a flipped bit is an error, not another image.

use std::io::Cursor;

use png::{ColorType, Decoder, Limits, Transformations};

use super::{DecodeError, check_size, to_planes};

/// Memory the decoder may take beside the output, for chunks and rows.
const LIMIT: usize = 4 << 20;

pub(super) fn decode(bytes: &[u8], size: usize, out: &mut [u8]) -> Result<(), DecodeError> {
    let damaged = |e: png::DecodingError| DecodeError::Damaged { format: "PNG", problem: e.to_string() };
    let mut decoder = Decoder::new_with_limits(Cursor::new(bytes), Limits { bytes: LIMIT });
    decoder.set_transformations(Transformations::EXPAND | Transformations::STRIP_16);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let header = decoder.read_header_info().map_err(damaged)?;
    check_size("PNG", header.width as usize, header.height as usize, size)?;
    let mut reader = decoder.read_info().map_err(damaged)?;
    let channels = reader.output_color_type().0.samples();
    let mut pixels = vec![0; size * size * channels];
    reader.next_frame(&mut pixels).map_err(damaged)?;
    reader.finish().map_err(damaged)?;
    let has_alpha = matches!(reader.output_color_type().0, ColorType::GrayscaleAlpha | ColorType::Rgba);
    if has_alpha && pixels.chunks_exact(channels).any(|pixel| pixel.last() != Some(&u8::MAX)) {
        return Err(DecodeError::Transparent);
    }
    to_planes(&pixels, channels, out);
    Ok(())
}
