//! The replicates and the intervals that they give.
//!
//! Seeds and images are drawn independently of each other: the pigeonhole bootstrap of a table of seeds by images (Owen,
//! *The pigeonhole bootstrap*, Annals of Applied Statistics 2007). The variances of seeds and of images enter once, that of
//! what depends on a seed and an image together three times: with the images, with the seeds and with both. So intervals are
//! conservative in that part: rather too wide than too narrow, and where the first two are small, nearly twice as wide.

use random::{Draws, Stream};
use rayon::prelude::*;

use super::scored::{Seed, Values};
use super::{Difference, Verdict};
use crate::check::students_t;
use crate::moments::variance;
use crate::{Column, rows};

/// Every other row against `baseline`, in the tables' order.
pub(super) fn differences(seeds: &[Seed], baseline: &str, replicates: usize) -> Vec<Difference> {
    let mut names: Vec<&str> =
        seeds.iter().flat_map(|seed| seed.rows.iter()).map(|row| row.row.as_str()).collect();
    names.sort_by_cached_key(|row| rows::order(row));
    names.dedup();
    let pairs: Vec<Pairs<'_>> = names
        .into_iter()
        .filter(|row| *row != baseline)
        .map(|row| Pairs::new(seeds, row, baseline))
        .filter(|pairs| !pairs.at.is_empty())
        .collect();

    // Each image once: the scores themselves.
    let whole: Vec<Vec<Values>> = seeds.par_iter().map(|seed| seed.values(&vec![1; seed.images])).collect();
    let bounded: Vec<Vec<bool>> = seeds.iter().map(Seed::bounded).collect();
    let drawn: Vec<Vec<Option<Drawn>>> = (0..replicates)
        .into_par_iter()
        .map(|replicate| {
            let values: Vec<Vec<Values>> =
                seeds.iter().map(|seed| seed.values(&images(seed.images, replicate))).collect();
            pairs.iter().flat_map(|pair| pair.replicate(&values, replicate)).collect()
        })
        .collect();

    let mut found = Vec::new();
    for (at, pair) in pairs.iter().enumerate() {
        for (column, mean) in Column::ALL.into_iter().zip(pair.means(&whole, &pair.all())) {
            let Some([value, baseline]) = mean else { continue };
            let seeds: Vec<u64> = pair.with_both(&whole, column).map(|at| seeds[at.seed].seed).collect();
            let index = at * Column::ALL.len() + column as usize;
            let drawn: Vec<Drawn> = drawn.iter().filter_map(|drawn| drawn[index]).collect();
            let Some(half) = half_width(&drawn, seeds.len()) else { continue };
            let (low, high) = (value - baseline - half, value - baseline + half);
            let is_bound = column == Column::Dee && pair.is_bound(&bounded);
            let verdict = match is_bound {
                true => Verdict::Inconclusive,
                false => Verdict::of(low, high, column, seeds.len()),
            };
            let row = pair.row.to_owned();
            found.push(Difference { row, column, seeds, value, baseline, low, high, is_bound, verdict });
        }
    }
    found
}

/// The difference of two rows in one replicate.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    /// On drawn images, over all seeds.
    images: f64,
    /// On drawn images, over drawn seeds.
    both: f64,
}

/// Half the 95% interval: Student's t times the standard error.
///
/// The variance of `both` is that of the images and that of the seeds. Drawing S seeds out of S makes the latter (S - 1) / S
/// of what it should be; it is scaled up. Degrees of freedom are Welch and Satterthwaite's, those of the images taken as
/// infinite. None with fewer than two replicates.
fn half_width(drawn: &[Drawn], seeds: usize) -> Option<f64> {
    let variance = |of: fn(&Drawn) -> f64| variance(&drawn.iter().map(of).collect::<Vec<_>>());
    let of_images = variance(|drawn| drawn.images)?;
    let of_both = variance(|drawn| drawn.both)?;
    if seeds < 2 {
        return Some(students_t(f64::INFINITY) * of_images.sqrt());
    }
    let free = (seeds - 1) as f64;
    let of_seeds = (of_both - of_images).max(0.0) * seeds as f64 / free;
    let total = of_images + of_seeds;
    let degrees = if of_seeds > 0.0 { free * (total / of_seeds).powi(2) } else { f64::INFINITY };
    Some(students_t(degrees) * total.sqrt())
}

/// How often each of `count` images is drawn in a replicate; the same for every seed.
fn images(count: usize, replicate: usize) -> Vec<u32> {
    let mut counts = vec![0; count];
    let mut draws = draws("bootstrap-images", replicate);
    for _ in 0..count {
        counts[draws.below(count as u32) as usize] += 1;
    }
    counts
}

fn draws(name: &str, replicate: usize) -> Draws {
    Stream::new(0, name).draws(0, replicate as u64)
}

/// A row and the baseline on the seeds that have both.
struct Pairs<'a> {
    row: &'a str,
    at: Vec<At>,
}

/// Indices of a seed, and of the two rows in it.
struct At {
    seed: usize,
    row: usize,
    baseline: usize,
}

impl<'a> Pairs<'a> {
    fn new(seeds: &[Seed], row: &'a str, baseline: &str) -> Self {
        let at = |(seed, rows): (usize, &Seed)| {
            let of = |name: &str| rows.rows.iter().position(|row| row.row == name);
            Some(At { seed, row: of(row)?, baseline: of(baseline)? })
        };
        Self { row, at: seeds.iter().enumerate().filter_map(at).collect() }
    }

    /// Whether either row is, on some seed, among those that are `bounded`.
    fn is_bound(&self, bounded: &[Vec<bool>]) -> bool {
        self.at.iter().any(|at| bounded[at.seed][at.row] || bounded[at.seed][at.baseline])
    }

    /// The seeds on which both rows have a value in `column`, of the `whole` images' values: a DEE takes the seed's teachers.
    fn with_both<'b>(&'b self, whole: &'b [Vec<Values>], column: Column) -> impl Iterator<Item = &'b At> {
        let has = move |seed: usize, row: usize| whole[seed][row][column as usize].is_some();
        self.at.iter().filter(move |at| has(at.seed, at.row) && has(at.seed, at.baseline))
    }

    /// Every seed once, as indices of `at`.
    fn all(&self) -> Vec<usize> {
        (0..self.at.len()).collect()
    }

    /// The differences in each column on the `values` of a replicate, over all seeds and over those that it draws.
    fn replicate(&self, values: &[Vec<Values>], replicate: usize) -> [Option<Drawn>; Column::ALL.len()] {
        let mut draws = draws("bootstrap-seeds", replicate);
        let drawn: Vec<usize> = self.at.iter().map(|_| draws.below(self.at.len() as u32) as usize).collect();
        let (all, drawn) = (self.means(values, &self.all()), self.means(values, &drawn));
        Column::ALL.map(|column| {
            let difference = |means: &[Option<[f64; 2]>]| means[column as usize].map(|[row, own]| row - own);
            Some(Drawn { images: difference(&all)?, both: difference(&drawn)? })
        })
    }

    /// The means over the seeds `drawn` of the row's and of the baseline's values in each column, over those seeds that
    /// have both.
    fn means(&self, values: &[Vec<Values>], drawn: &[usize]) -> [Option<[f64; 2]>; Column::ALL.len()] {
        Column::ALL.map(|column| {
            let both = drawn.iter().filter_map(|index| {
                let At { seed, row, baseline } = self.at[*index];
                let of = |row: usize| values[seed][row][column as usize];
                of(row).zip(of(baseline))
            });
            let (sums, count) = both.fold(([0.0, 0.0], 0.0), |([row, baseline], count), both| {
                ([row + both.0, baseline + both.1], count + 1.0)
            });
            (count > 0.0).then(|| sums.map(|sum| sum / count))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images alone: variance 1 of -1, 1, and t = 2.228 for many degrees. Seeds alone, two of them: variance 1 of `both`
    /// becomes 2 with one degree of freedom.
    #[test]
    fn half_widths_by_hand() {
        let drawn = |images: f64, both: f64| {
            let signs = [1.0, -1.0].map(|sign| Drawn { images: sign * images, both: sign * both });
            signs.into_iter().cycle().take(10_000).collect::<Vec<_>>()
        };
        let close = |found: Option<f64>, expected: f64| (found.unwrap() / expected - 1.0).abs() < 1e-3;
        assert!(close(half_width(&drawn(1.0, 5.0), 1), 2.228));
        assert!(close(half_width(&drawn(1.0, 1.0), 3), 2.228));
        assert!(close(half_width(&drawn(0.0, 1.0), 2), 12.706 * 2.0_f64.sqrt()));
        // Half images, half seeds of three: 1 + 1.5 in all, 2 (2.5 / 1.5)^2 = 5.6 degrees.
        assert!(close(half_width(&drawn(1.0, 2.0_f64.sqrt()), 3), 2.571 * 2.5_f64.sqrt()));
        assert_eq!(half_width(&[], 3), None);
    }

    #[test]
    fn a_replicate_has_as_many_images_as_there_are() {
        let counts = images(500, 3);
        assert_eq!(counts.iter().sum::<u32>(), 500);
        assert_eq!(counts, images(500, 3));
        assert_ne!(counts, images(500, 4));
        // About 1/e of the images are not drawn.
        let left = counts.iter().filter(|count| **count == 0).count();
        assert!((150..220).contains(&left), "{left}");
    }
}
