//! Golden pixels: encoded images whose every pixel is known.

use datasets::decode::{DecodeError, decode};
use png::{BitDepth, ColorType};

use crate::support::{png, tagged_planes, tagged_png};

fn decoded(bytes: &[u8], size: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; 3 * size * size];
    decode(bytes, size, &mut out).map(|()| out)
}

#[test]
fn a_png_is_neither_transposed_nor_channel_swapped() {
    let planes = decoded(&tagged_png(8, 200), 8).unwrap();
    assert_eq!(planes, tagged_planes(8, 200));
    // The same said by hand: red counts rows, green counts columns, blue is the tag; row 2, column 5.
    assert_eq!([planes[2 * 8 + 5], planes[64 + 2 * 8 + 5], planes[128 + 2 * 8 + 5]], [2, 5, 200]);
}

#[test]
fn jpeg_quadrants_have_their_colours_in_their_corners() {
    // Drawn as red, green / blue, white; centres of the quadrants, within what quality 95 may change.
    let expected =
        [((4, 4), [255, 0, 0]), ((4, 12), [0, 255, 0]), ((12, 4), [0, 0, 255]), ((12, 12), [255; 3])];
    for bytes in [
        &include_bytes!("../data/quadrants.jpg")[..],
        &include_bytes!("../data/quadrants-progressive-420.jpg")[..],
    ] {
        let planes = decoded(bytes, 16).unwrap();
        for ((y, x), colour) in expected {
            for (channel, value) in colour.into_iter().enumerate() {
                let found = i32::from(planes[channel * 256 + y * 16 + x]);
                assert!(
                    (found - value).abs() <= 6,
                    "({y}, {x}) channel {channel}: {found}, expected {value}"
                );
            }
        }
    }
}

#[test]
fn one_channel_jpeg_is_grey_in_all_planes() {
    let planes = decoded(include_bytes!("../data/grey-ramp.jpg"), 16).unwrap();
    assert_eq!(planes[..256], planes[256..512]);
    assert_eq!(planes[..256], planes[512..]);
    for x in 0..16 {
        let found = i32::from(planes[7 * 16 + x]);
        assert!((found - 16 * x as i32).abs() <= 6, "column {x}: {found}");
    }
}

#[test]
fn every_kind_of_opaque_png_becomes_three_planes_of_eight_bits() {
    let grey = png(2, ColorType::Grayscale, BitDepth::Eight, &[1, 2, 3, 4]);
    assert_eq!(decoded(&grey, 2).unwrap(), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4]);
    let palette = png(2, ColorType::Indexed, BitDepth::Eight, &[0, 1, 1, 0]);
    assert_eq!(decoded(&palette, 2).unwrap(), [10, 40, 40, 10, 20, 50, 50, 20, 30, 60, 60, 30]);
    let one_bit = png(2, ColorType::Grayscale, BitDepth::One, &[0b0100_0000, 0b1000_0000]);
    assert_eq!(decoded(&one_bit, 2).unwrap()[..4], [0, 255, 255, 0]);
    let deep = png(1, ColorType::Rgb, BitDepth::Sixteen, &[7, 99, 8, 99, 9, 99]);
    assert_eq!(decoded(&deep, 1).unwrap(), [7, 8, 9]);
    let opaque = png(1, ColorType::Rgba, BitDepth::Eight, &[7, 8, 9, 255]);
    assert_eq!(decoded(&opaque, 1).unwrap(), [7, 8, 9]);
    let clear = png(1, ColorType::Rgba, BitDepth::Eight, &[7, 8, 9, 254]);
    assert_eq!(decoded(&clear, 1), Err(DecodeError::Transparent));
}

#[test]
fn other_colour_spaces_sizes_and_formats_are_refused_by_name() {
    let cmyk = decoded(include_bytes!("../data/cmyk.jpg"), 16).unwrap_err();
    assert!(matches!(cmyk, DecodeError::Colours { .. }), "{cmyk}");
    let size = decoded(&tagged_png(8, 0), 4).unwrap_err();
    assert_eq!(size.to_string(), "PNG of 8x8 pixels, expected 4x4");
    let size = decoded(include_bytes!("../data/quadrants.jpg"), 32).unwrap_err();
    assert_eq!(size.to_string(), "JPEG of 16x16 pixels, expected 32x32");
    for bytes in [&b""[..], b"GIF89a", b"\x89PN"] {
        assert!(matches!(decoded(bytes, 4), Err(DecodeError::UnknownFormat { .. })));
    }
}

#[test]
fn cut_and_flipped_images_are_errors() {
    let whole = tagged_png(8, 9);
    for bytes in
        [&whole[..], include_bytes!("../data/quadrants.jpg"), include_bytes!("../data/grey-ramp.jpg")]
    {
        let size = if bytes[0] == 0x89 { 8 } else { 16 };
        for end in [4, bytes.len() / 2, bytes.len() - 16] {
            assert!(decoded(&bytes[..end], size).is_err(), "cut at {end} of {}", bytes.len());
        }
    }
    // A PNG carries checksums: any flipped bit after the signature is found.
    for i in 8..whole.len() {
        let mut flipped = whole.clone();
        flipped[i] ^= 4;
        assert!(decoded(&flipped, 8).is_err(), "flip in byte {i}");
    }
}
