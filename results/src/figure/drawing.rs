//! A finished drawing, as part of a page and as files.

use std::sync::Arc;

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, fontdb};

use super::canvas::{Canvas, WIDTH, escaped, number};
use super::{font, style};
use crate::{Error, Result};

/// Pixels of a PNG for each unit: about 300 to the inch in a column of a paper.
const SCALE: f32 = 3.0;

/// A drawing whose marks have been counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    body: String,
    height: f64,
    /// How many marks it has: elements of the class `mark`.
    pub marks: usize,
}

impl Drawing {
    /// What `canvas` has, down to `height`.
    pub(super) fn new(canvas: Canvas, height: f64) -> Self {
        let (body, marks) = canvas.finish();
        Self { body, height: height.ceil(), marks }
    }

    /// The element for a page that has the figures' style sheet and gives the font.
    pub fn inline(&self, label: &str) -> String {
        let (width, height, label) = (number(WIDTH), number(self.height), escaped(label));
        format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{label}\">\n{}</svg>",
            self.body
        )
    }

    /// A file of its own, on white.
    pub fn svg(&self, label: &str) -> String {
        let (width, height, label) = (number(WIDTH), number(self.height), escaped(label));
        let (sheet, family) = (style::sheet(style::light), font::FAMILY);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" font-family=\"{family}, Verdana, sans-serif\">\n\
             <title>{label}</title>\n<style>{sheet}</style>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{}</svg>\n",
            self.body
        )
    }

    /// The file as pixels, three for each unit. Its text is set in the embedded font alone: every machine gives the
    /// same picture.
    ///
    /// # Errors
    /// Where the picture cannot be drawn, which none of this crate's causes.
    pub fn png(&self, label: &str) -> Result<Vec<u8>> {
        let wrong = |what: String| Error::Picture { label: label.to_owned(), what };
        let mut fonts = fontdb::Database::new();
        fonts.load_font_data(font::bytes().to_vec());
        let options = usvg::Options { fontdb: Arc::new(fonts), ..usvg::Options::default() };
        let tree =
            usvg::Tree::from_str(&self.svg(label), &options).map_err(|error| wrong(error.to_string()))?;
        let size = tree.size().to_int_size().scale_by(SCALE);
        let pixels = size.and_then(|size| Pixmap::new(size.width(), size.height()));
        let mut pixels = pixels.ok_or_else(|| wrong(format!("{} units high", self.height)))?;
        resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut pixels.as_mut());
        pixels.encode_png().map_err(|error| wrong(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::canvas::{Anchor, LABEL};
    use super::*;

    /// A picture's pixels that are not white.
    fn inked(drawing: &Drawing) -> usize {
        let pixels = Pixmap::decode_png(&drawing.png("a picture").unwrap()).unwrap();
        assert_eq!((pixels.width(), pixels.height()), (1080, 60));
        pixels.pixels().iter().filter(|pixel| pixel.red() < 128).count()
    }

    /// The fonts of the system are not looked at: text is set in the font that the crate carries.
    #[test]
    fn text_is_drawn_without_a_font_of_the_system() {
        let mut canvas = Canvas::default();
        assert_eq!(inked(&Drawing::new(canvas.clone(), 20.0)), 0);
        canvas.text((10.0, 15.0), Anchor::Start, LABEL, "DEE");
        assert!(inked(&Drawing::new(canvas, 20.0)) > 200);
    }

    #[test]
    fn colours_of_classes_are_drawn() {
        let mut canvas = Canvas::default();
        let rect = super::super::canvas::Rect { x: 0.0, y: 0.0, w: 100.0, h: 20.0 };
        canvas.bar(style::of_row("be-kd"), rect, "a bar");
        let drawing = Drawing::new(canvas, 20.0);
        let pixels = Pixmap::decode_png(&drawing.png("a bar").unwrap()).unwrap();
        let pixel = pixels.pixel(150, 30).unwrap();
        assert_eq!([pixel.red(), pixel.green(), pixel.blue()], [0x00, 0x72, 0xb2]);
        assert_eq!(drawing.marks, 1);
    }
}
