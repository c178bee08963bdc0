//! Images made by our own code from a seed, for experiments that download nothing.
//!
//! # How an image and its label arise
//! Every class owns a few *patterns*: smooth periodic random colour fields of mean 0 and deviation 1. An example takes
//! its main class a in turn (row modulo K, so classes are balanced), another class b != a at random, one pattern of each, shifts both
//! round the borders, and mixes them: (1 - w) * pattern_a + w * pattern_b with w ~ U(0, `mix`). Contrast, a *distractor* (a
//! fresh smooth field of no class) and pixel noise follow:
//!
//! x = 1/2 + amplitude * (contrast * mixture + distractor * field) + noise * z, clipped to [0, 1], rounded to 8 bits.
//!
//! The label is *drawn*: y = a with probability (1 - w)^s / ((1 - w)^s + w^s), s = `sharpness`, otherwise b. These two
//! probabilities are the **true posterior** of the label given how the image was made, kept in [`Dataset::posterior`]. So
//! an image near w = 1/2 has no certain label and a calibrated classifier says so; test accuracy cannot exceed the mean of the
//! larger probability.
//!
//! Why ensembles differ on it: shifts, two patterns at once and the distractor leave many ways to fit a few thousand images,
//! each of which is unique and so can be memorised, wrong labels included. For orientation: with the default settings a resnet-8
//! (16-32-64 channels) fits all of 3,000 images in 30 epochs and classifies about 64% of test images, two such networks averaged
//! about 70%; the distractor's strength is the knob (0.5: 72%, 0.8 with noise 0.06: 45%).

use std::collections::BTreeMap;

use random::{Draws, Stream};
use rayon::prelude::*;

use crate::dataset::{Dataset, Provenance, Splits};
use crate::{Error, Id, LoadOptions, Result, hash};

/// How hard the images are. A record's note of its data names all of it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Settings {
    /// Height and width in pixels.
    size: usize,
    /// Patterns a class: more of them need more examples to be learnt.
    patterns: usize,
    /// Random values along each side of a pattern: more make finer patterns.
    cells: usize,
    /// Largest shift of a pattern in pixels, in each direction.
    shift: usize,
    /// Largest share of the second class.
    mix: f32,
    /// Exponent of the posterior: larger means fewer labels of the second class.
    sharpness: f32,
    /// Strength of the smooth field that belongs to no class, relative to a pattern at full contrast.
    distractor: f32,
    /// Smallest contrast of the mixture; the largest is 1.
    contrast: f32,
    /// Standard deviation of the pixel noise on the [0, 1] scale.
    noise: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            size: 16,
            patterns: 3,
            cells: 5,
            shift: 3,
            mix: 0.5,
            sharpness: 4.0,
            distractor: 0.6,
            contrast: 0.5,
            noise: 0.04,
        }
    }
}

/// Deviation of a pattern on the [0, 1] scale.
const AMPLITUDE: f32 = 0.16;

impl Settings {
    /// Those of images of `size` x `size`.
    fn of_size(size: usize) -> Result<Self> {
        if !(4..=256).contains(&size) {
            let problem = format!("images of {size}x{size}: their size must be 4 to 256");
            return Err(Error::Request { dataset: Id::Synthetic, problem });
        }
        let default = Self::default();
        // Of the smallest images a pattern has a value a pixel.
        Ok(Self { size, cells: default.cells.min(size), ..default })
    }
}

/// Training, validation and test images of one seed; row counts from `options`, else from the catalog. A larger split begins
/// with the rows of a smaller one.
pub(crate) fn splits(seed: u64, options: &LoadOptions) -> Result<Splits> {
    let settings = options.image.map_or_else(|| Ok(Settings::default()), Settings::of_size)?;
    let spec = Id::Synthetic.spec();
    let world = World::new(seed, spec.classes, settings);
    let train = world.examples("train", options.train_rows.unwrap_or(spec.rows.train))?;
    let val = world.examples("val", options.val_rows.unwrap_or(spec.rows.val))?;
    let test = world.examples("test", options.test_rows.unwrap_or(spec.rows.test))?;
    let sha256: BTreeMap<String, String> = [("train", &train), ("val", &val), ("test", &test)]
        .map(|(name, split)| {
            let labels = split.labels.iter().flat_map(|label| label.to_le_bytes());
            (name.to_owned(), hash::of_bytes(&split.images.iter().copied().chain(labels).collect::<Vec<_>>()))
        })
        .into();
    let provenance = Provenance {
        dataset: Id::Synthetic,
        source: "synthetic".to_owned(),
        revision: None,
        sha256,
        note: format!("images made from seed {seed} with {settings:?}; labels drawn from a known posterior"),
    };
    Ok(Splits { train, val, test, provenance })
}

/// The patterns of one seed, from which any example can be made.
struct World {
    seed: u64,
    classes: usize,
    settings: Settings,
    /// One field (3, size, size) each, `settings.patterns` a class.
    patterns: Vec<Vec<f32>>,
}

impl World {
    fn new(seed: u64, classes: usize, settings: Settings) -> Self {
        let stream = Stream::new(seed, "synthetic-patterns");
        let patterns = (0..classes * settings.patterns)
            .map(|index| smooth_field(settings.size, settings.cells, &mut stream.draws(0, index as u64)))
            .collect();
        Self { seed, classes, settings, patterns }
    }

    /// The first `rows` examples of the split `name`.
    fn examples(&self, name: &str, rows: usize) -> Result<Dataset> {
        const MOST: usize = 1 << 31;
        let size = self.settings.size;
        let example = 3 * size * size;
        if rows.checked_mul(example).is_none_or(|bytes| bytes > MOST) {
            let problem = format!("{rows} {name} rows of {size}x{size} need more than {MOST} bytes");
            return Err(Error::Request { dataset: Id::Synthetic, problem });
        }
        let stream = Stream::new(self.seed, &format!("synthetic-{name}"));
        let mut images = vec![0; rows * example];
        let mut posterior = vec![0.0; rows * self.classes];
        let labels = images
            .par_chunks_mut(example)
            .zip(posterior.par_chunks_mut(self.classes))
            .enumerate()
            .map(|(row, (image, posterior))| {
                self.example(row % self.classes, &mut stream.draws(0, row as u64), image, posterior)
            })
            .collect();
        Ok(Dataset { images, labels, classes: self.classes, size, posterior: Some(posterior) })
    }

    /// One example of main class `a`: pixels, posterior, and the label as the return value.
    fn example(&self, a: usize, draws: &mut Draws, image: &mut [u8], posterior: &mut [f32]) -> u32 {
        let s = &self.settings;
        let b = (a + 1 + draws.below(self.classes as u32 - 1) as usize) % self.classes;
        let w = draws.uniform_in(0.0, s.mix);
        let (for_a, for_b) = (power(1.0 - w, s.sharpness), power(w, s.sharpness));
        posterior[a] = for_a / (for_a + for_b);
        posterior[b] = 1.0 - posterior[a];
        let label = if draws.uniform() < posterior[a] { a } else { b };
        let contrast = draws.uniform_in(s.contrast, 1.0);
        let (of_a, shift_a) = self.view(a, draws);
        let (of_b, shift_b) = self.view(b, draws);
        let distractor = smooth_field(s.size, s.cells, draws);
        for (i, pixel) in image.iter_mut().enumerate() {
            let mixture =
                (1.0 - w) * of_a[shifted(i, s.size, shift_a)] + w * of_b[shifted(i, s.size, shift_b)];
            let value = 0.5
                + AMPLITUDE * (contrast * mixture + s.distractor * distractor[i])
                + s.noise * draws.normal();
            *pixel = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
        }
        label as u32
    }

    /// A pattern of `class` and a shift for it.
    fn view(&self, class: usize, draws: &mut Draws) -> (&[f32], (usize, usize)) {
        let s = &self.settings;
        let pattern = draws.below(s.patterns as u32) as usize;
        let places = 2 * s.shift as u32 + 1;
        // Adding size - shift modulo size is the same as a shift of -shift to +shift.
        let mut offset = || draws.below(places) as usize + s.size - s.shift;
        let shift = (offset(), offset());
        (&self.patterns[class * s.patterns + pattern], shift)
    }
}

/// value^exponent, the same on every system.
fn power(value: f32, exponent: f32) -> f32 {
    libm::pow(f64::from(value), f64::from(exponent)) as f32
}

/// The cosine, the same on every system.
fn cosine(angle: f32) -> f32 {
    libm::cos(f64::from(angle)) as f32
}

/// Index of the pixel that lies `shift` rows and columns on, round the borders.
fn shifted(i: usize, size: usize, shift: (usize, usize)) -> usize {
    let (plane, y, x) = (i / (size * size), i / size % size, i % size);
    plane * size * size + (y + shift.0) % size * size + (x + shift.1) % size
}

/// A periodic random field (3, size, size) of mean 0 and deviation 1: a grid of normal draws, `cells` a side and channel,
/// interpolated with a cosine.
fn smooth_field(size: usize, cells: usize, draws: &mut Draws) -> Vec<f32> {
    let grid: Vec<f32> = (0..3 * cells * cells).map(|_| draws.normal()).collect();
    let ease = |t: f32| (1.0 - cosine(std::f32::consts::PI * t)) / 2.0;
    // Of every position along a side: its two neighbours on the grid and the weight of the second.
    let places: Vec<(usize, usize, f32)> = (0..size)
        .map(|i| {
            let at = i as f32 * cells as f32 / size as f32;
            let cell = (at as usize).min(cells - 1);
            (cell, (cell + 1) % cells, ease(at - cell as f32))
        })
        .collect();
    let mut field = Vec::with_capacity(3 * size * size);
    for plane in grid.chunks_exact(cells * cells) {
        for &(y0, y1, wy) in &places {
            field.extend(places.iter().map(|&(x0, x1, wx)| {
                let row = |y: usize| plane[y * cells + x0] * (1.0 - wx) + plane[y * cells + x1] * wx;
                row(y0) * (1.0 - wy) + row(y1) * wy
            }));
        }
    }
    let n = field.len() as f32;
    let mean = field.iter().sum::<f32>() / n;
    let deviation = (field.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n).sqrt().max(1e-6);
    field.iter_mut().for_each(|v| *v = (*v - mean) / deviation);
    field
}
