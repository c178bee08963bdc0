//! Headers that declare more than there is.

use datasets::decode::{DecodeError, decode};

use crate::files::tagged_png;
use crate::fuzz::with_checksums;
use crate::{alone, measured};

/// The error and the most memory of decoding `bytes` as an image of `size` pixels.
fn refused(bytes: &[u8], size: usize) -> (DecodeError, usize) {
    let mut out = vec![0; 3 * size * size];
    let (result, memory) = measured(|| decode(bytes, size, &mut out));
    (result.unwrap_err(), memory)
}

/// What is declared would take gigabytes as pixels. Sizes are refused by our own check, after everything that the decoders
/// check in a header was right.
#[test]
fn a_hostile_header_costs_no_memory() {
    const MOST: usize = 1 << 20;
    let _alone = alone();
    let mut png = tagged_png(8, 9);
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let (error, memory) = refused(&with_checksums(png), 8);
    let (width, height) = (0x7fff_ffff, 0x7fff_ffff);
    assert_eq!(error, DecodeError::Size { format: "PNG", width, height, expected: 8 });
    assert!(memory < MOST, "PNG: {memory} bytes");

    // Height and width in the frame header of a baseline and of a progressive JPEG (marker, length 17, precision 8).
    let jpegs = [
        (&include_bytes!("../data/quadrants.jpg")[..], 0xc0),
        (include_bytes!("../data/quadrants-progressive-420.jpg"), 0xc2),
    ];
    for (jpeg, marker) in jpegs {
        let frame = jpeg.windows(5).position(|w| w == [0xff, marker, 0, 17, 8]).unwrap();
        let declaring = |side: u16| {
            let mut bytes = jpeg.to_vec();
            bytes[frame + 5..frame + 7].copy_from_slice(&side.to_be_bytes());
            bytes[frame + 7..frame + 9].copy_from_slice(&side.to_be_bytes());
            bytes
        };
        let (error, memory) = refused(&declaring(16_000), 16);
        let (width, height) = (16_000, 16_000);
        assert_eq!(error, DecodeError::Size { format: "JPEG", width, height, expected: 16 });
        assert!(memory < MOST, "JPEG: {memory} bytes");
        // The decoder's own limit comes before ours.
        let (error, memory) = refused(&declaring(u16::MAX), 16);
        assert!(matches!(error, DecodeError::Damaged { .. }), "{error}");
        assert!(memory < MOST, "JPEG: {memory} bytes");
    }
}
