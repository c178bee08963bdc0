//! How wide text is: figures place their labels by the widths of one embedded font, so that a figure is laid out alike
//! on every machine, one without fonts included. DejaVu Sans is wider than the usual faces of browsers, which then
//! leave more room between labels, never less.

use std::sync::LazyLock;

use skrifa::charmap::Charmap;
use skrifa::instance::{LocationRef, Size};
use skrifa::metrics::GlyphMetrics;
use skrifa::{FontRef, MetadataProvider as _};

/// The family's name, for renderers that have it.
pub(super) const FAMILY: &str = "DejaVu Sans";

/// The font file.
pub(super) fn bytes() -> &'static [u8] {
    dejavu::sans::regular()
}

struct Widths {
    glyphs: Charmap<'static>,
    advances: GlyphMetrics<'static>,
}

static WIDTHS: LazyLock<Option<Widths>> = LazyLock::new(|| {
    let font = FontRef::new(bytes()).ok()?;
    let advances = font.glyph_metrics(Size::new(1.0), LocationRef::default());
    Some(Widths { glyphs: font.charmap(), advances })
});

/// The width of `text` at `size`, in the unit of `size`; kerning, which mostly narrows, is left out.
pub(super) fn width(text: &str, size: f64) -> f64 {
    text.chars().map(advance).sum::<f64>() * size
}

/// The advance of a character at size 1; a glyph that the font lacks is taken as wide.
fn advance(c: char) -> f64 {
    let of = |widths: &Widths| widths.advances.advance_width(widths.glyphs.map(c)?).map(f64::from);
    WIDTHS.as_ref().and_then(of).unwrap_or(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Advances of DejaVu Sans in its 2048 units an em: `0` 1303, `.` 651, `m` 1995.
    #[test]
    fn widths_are_the_fonts() {
        assert!((width("0.0", 2048.0) - (2.0 * 1303.0 + 651.0)).abs() < 1e-2);
        assert!((width("m", 2048.0) - 1995.0).abs() < 1e-2);
        assert_eq!(width("", 10.0), 0.0);
    }

    #[test]
    fn every_sign_that_figures_use_has_a_glyph() {
        let widths = WIDTHS.as_ref().expect("the font parses");
        for c in "±−×·…τη‖≥≤→0123456789%–’εΔ".chars() {
            assert!(widths.glyphs.map(c).is_some(), "{c}");
        }
    }
}
