//! JPEG through the `zune-jpeg` crate, in strict mode: a cut or corrupt stream is an error, not a grey patch.
//!
//! Decoders differ by about one grey level a pixel in how they interpolate chroma: pixels are equal between machines
//! that run this crate, not between this crate and other decoders.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::{DecodeError, check_size, to_planes};

pub(super) fn decode(bytes: &[u8], size: usize, out: &mut [u8]) -> Result<(), DecodeError> {
    let damaged = |problem: String| DecodeError::Damaged { format: "JPEG", problem };
    let options = DecoderOptions::default().set_strict_mode(true);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(|e| damaged(e.to_string()))?;
    let info = decoder.info().ok_or_else(|| damaged("no frame header".to_owned()))?;
    check_size("JPEG", usize::from(info.width), usize::from(info.height), size)?;
    let colours = decoder.input_colorspace().unwrap_or(ColorSpace::Unknown);
    let output = match colours {
        ColorSpace::Luma => ColorSpace::Luma,
        ColorSpace::YCbCr | ColorSpace::RGB => ColorSpace::RGB,
        other => return Err(DecodeError::Colours { format: "JPEG", found: format!("{other:?}") }),
    };
    decoder.set_options(options.jpeg_set_out_colorspace(output));
    let pixels = decoder.decode().map_err(|e| damaged(e.to_string()))?;
    let channels = output.num_components();
    if pixels.len() != size * size * channels {
        return Err(damaged(format!("{} samples instead of {}", pixels.len(), size * size * channels)));
    }
    to_planes(&pixels, channels, out);
    Ok(())
}
