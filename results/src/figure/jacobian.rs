//! Section 5.3: how close the students' Jacobians are to their teachers', and section 3.2: how well the teachers'
//! linearisation holds at the step of training.

use std::collections::BTreeMap;

use super::canvas::{Canvas, DOT, Rect, WIDTH};
use super::legend::{self, Key};
use super::listing::{Listing, names_width};
use super::panel::{Axes, BELOW, Grid, Panel, across, up};
use super::scale::{Scale, extent, padded};
use super::sources::Sources;
use super::style::Style;
use super::{Drawing, Figure, Id, NO_ANALYSES, estimate, over_seeds, seeds, style};
use crate::analysis::tables::quantile;
use crate::analysis::{Against, Curve, Direction, Estimator, JacobianMatch, Match, Matrix, Remainder, Space};
use crate::check::claims::{Relation, compare};

/// What is compared: its name, and where it is stored.
type Measure = (&'static str, fn(&Match) -> &Matrix);

const MEASURES: [Measure; 2] =
    [("cosine similarity", |found| &found.cosine), ("relative distance", |found| &found.distance)];

pub(super) fn figure(sources: &Sources) -> Figure {
    let students: Vec<&str> =
        sources.students().filter(|row| matches(sources, row).next().is_some()).collect();
    let cosine = |row: &str| seed_medians(sources, row, Space::Probs, |found| &found.cosine);
    let text = |row: &str| Some(format!("{row} {}", estimate(over_seeds(&cosine(row))?, 3)));
    let papers = ["be-kd", "be-kd-gaussian", "be-kd-ods", "be-kd-conf-ods"].into_iter();
    let number = papers.chain(sources.others()).filter_map(text);
    let number = number.collect::<Vec<_>>().join(", ");
    let one_to_one = |row: &str| matches(sources, row).all(|(_, found)| found.against == Against::OneToOne);
    let best = students
        .iter()
        .filter(|row| one_to_one(row))
        .filter_map(|row| Some((*row, over_seeds(&cosine(row))?.mean)))
        .max_by(|one, other| one.1.total_cmp(&other.1));
    let best = best.map_or_else(String::new, |(row, _)| {
        format!(" Of the students with a teacher for each member, {row} is the closest by this median.")
    });
    let distances = |space: Space| {
        let medians = |row: &&str| over_seeds(&seed_medians(sources, row, space, |found| &found.distance));
        students.iter().filter_map(medians).any(|cell| cell.mean > 1.0)
    };
    let shrinkage = match [Space::Probs, Space::Logits].into_iter().any(distances) {
        true => {
            " Closeness is the cosine's alone: some median distances are above 1, where a Jacobian of zeros would be, so that \
             a smaller distance may be a smaller Jacobian."
        }
        false => "",
    };
    Figure {
        id: Id::Jacobian,
        drawing: if students.is_empty() { Err(NO_ANALYSES.to_owned()) } else { Ok(draw(sources, &students)) },
        number: match number.is_empty() {
            true => number,
            false => format!("Median cosine of the probabilities' Jacobians by the image: {number}"),
        },
        sentence: format!(
            "Jacobians of each student and its teacher (of the ensemble, for a student of one network) on test images: \
             quartiles, with whiskers to 5% and 95%.{best}{shrinkage}{} Below, medians of how much the teachers' outputs change along a \
             step (open) and of what a linearisation leaves (filled); the upright line is the step of training. {}",
            estimator(sources),
            seeds(if students.is_empty() { 0..=0 } else { sources.seeds() })
        ),
        claim: compare(
            "Distillation with ODS matches the teachers' Jacobians (cosine, probabilities) better than without",
            Relation::More,
            &cosine("be-kd-ods"),
            &cosine("be-kd"),
        ),
    }
}

/// The stored comparisons of a row with their seeds.
fn matches<'a>(sources: &'a Sources, row: &'a str) -> impl Iterator<Item = (u64, &'a JacobianMatch)> {
    sources.analyses(row).filter_map(|analysis| Some((analysis.seed, analysis.jacobian.as_ref()?)))
}

/// A row's median over members and images by seed; images where the teacher's Jacobian vanishes are left out.
fn seed_medians(sources: &Sources, row: &str, space: Space, of: fn(&Match) -> &Matrix) -> BTreeMap<u64, f64> {
    let median = |(seed, found): (u64, &JacobianMatch)| {
        let Quantiles([_, _, median, ..]) = Quantiles::of(of(found.spaces.get(&space)?).finite())?;
        Some((seed, median))
    };
    matches(sources, row).filter_map(median).collect()
}

/// How the Jacobians were computed, where they are estimates.
fn estimator(sources: &Sources) -> String {
    let all = || sources.source.analyses.iter().filter_map(|analysis| analysis.jacobian.as_ref());
    let projections = all().find_map(|found| match found.estimator {
        Estimator::Exact => None,
        Estimator::Projections(count) => Some(count),
    });
    let Some(count) = projections else { return String::new() };
    let errors = all().flat_map(|found| found.spaces.values()).filter_map(|found| found.error.as_ref());
    let errors: Vec<f64> = errors.flat_map(|error| error.cosine.finite()).collect();
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    format!(
        " Inner products are estimated from {count} random projections; a cosine's standard error is {mean:.3}."
    )
}

fn draw(sources: &Sources, students: &[&str]) -> Drawing {
    let mut canvas = Canvas::default();
    let (left, right, gap) = (names_width(students.iter().copied()), WIDTH - 12.0, 16.0);
    let middle = (left + right) / 2.0;
    let mut top = 20.0;
    for space in [Space::Probs, Space::Logits] {
        let mut bottom = top;
        for (column, (measure, of)) in MEASURES.into_iter().enumerate() {
            let boxes: Vec<Option<Quantiles>> =
                students.iter().map(|row| Quantiles::of(pooled(sources, row, space, of))).collect();
            let ends = boxes.iter().flatten().flat_map(|found| [found.0[0], found.0[4]]);
            let sides = if column == 0 { (left, middle - gap / 2.0) } else { (middle + gap / 2.0, right) };
            // Distances have a long tail; none is zero but by accident.
            let listing = if column == 0 {
                let (low, high) = padded(extent(ends).unwrap_or((0.0, 1.0)), 0.04);
                Listing::new(sides, top, (low.min(0.0), high), students.len())
            } else {
                let range = extent(ends.filter(|end| *end > 0.0)).unwrap_or((0.1, 1.0));
                Listing::logarithmic(sides, top, range, students.len())
            };
            let names = if column == 0 { students } else { &[] };
            listing.draw(&mut canvas, name(space), measure, names, 4);
            for (line, (row, found)) in students.iter().zip(&boxes).enumerate() {
                if let Some(found) = found {
                    found.draw(&mut canvas, &listing, line, (row, sources.style(row)));
                }
            }
            bottom = listing.bottom();
        }
        top = bottom + BELOW + 24.0;
    }
    let remainders: Vec<&Remainder> =
        sources.teachers().filter_map(|teachers| teachers.remainder.as_ref()).collect();
    let height =
        if remainders.is_empty() { top - 20.0 } else { remainder(&mut canvas, top - 8.0, &remainders) };
    Drawing::new(canvas, height)
}

fn name(space: Space) -> &'static str {
    match space {
        Space::Probs => "probabilities",
        Space::Logits => "logits",
    }
}

/// Every member, image and seed of a row.
fn pooled(sources: &Sources, row: &str, space: Space, of: fn(&Match) -> &Matrix) -> Vec<f64> {
    matches(sources, row)
        .filter_map(|(_, found)| Some(of(found.spaces.get(&space)?).finite()))
        .flatten()
        .collect()
}

/// 5%, 25%, 50%, 75% and 95% of some values lie below these.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quantiles([f64; 5]);

impl Quantiles {
    fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let [low, first, median, third, high] =
            [0.05, 0.25, 0.5, 0.75, 0.95].map(|part| quantile(&values, part));
        Some(Self([low?, first?, median?, third?, high?]))
    }

    fn draw(&self, canvas: &mut Canvas, listing: &Listing, line: usize, (row, style): (&str, Style)) {
        let [low, first, median, third, high] = self.0.map(|value| listing.x.at(value));
        let (y, half) = (listing.y(line), 5.0);
        let class = format!("thin c{}", style.color);
        canvas.rule(&class, (low, y), (first, y));
        canvas.rule(&class, (third, y), (high, y));
        let rect = Rect { x: first, y: y - half, w: (third - first).max(1.0), h: 2.0 * half };
        let [low, first, middle, third, high] = self.0;
        let title = format!(
            "{row}: median {middle:.3}, quartiles {first:.3} and {third:.3}, 5% {low:.3}, 95% {high:.3}"
        );
        canvas.quartiles(style, rect, &title);
        canvas.rule(&format!("line c{}", style.color), (median, y - half), (median, y + half));
    }
}

/// Medians by the length of the step, along a direction; whether they are of the remainder, or of the whole change.
type Steps = (Direction, bool, Vec<(f64, f64)>);

/// The two panels of the first-order remainder; returns the height of the figure.
fn remainder(canvas: &mut Canvas, top: f64, remainders: &[&Remainder]) -> f64 {
    let style = |direction| match direction {
        Direction::Gaussian => style::of_row("be-kd-gaussian"),
        Direction::Ods => style::of_row("be-kd-ods"),
    };
    let keys: Vec<(Style, Key, &str)> = vec![
        (style(Direction::Gaussian), Key::OpenPoint, "change, Gaussian step"),
        (style(Direction::Gaussian), Key::PointOnLine, "remainder"),
        (style(Direction::Ods), Key::OpenPoint, "change, ODS step"),
        (style(Direction::Ods), Key::PointOnLine, "remainder"),
    ];
    let top = legend::draw(canvas, top, &keys) + 24.0;
    let grid = Grid { left: 48.0, top, right: WIDTH - 12.0, columns: 2, height: 130.0, gap: (44.0, 0.0) };
    for (column, space) in [Space::Probs, Space::Logits].into_iter().enumerate() {
        let curves: Vec<Steps> = Direction::ALL
            .into_iter()
            .flat_map(|direction| {
                let change = medians(remainders, direction, space, |curve| &curve.change);
                let rest = medians(remainders, direction, space, |curve| &curve.rest);
                [(direction, false, change), (direction, true, rest)]
            })
            .collect();
        let points = || curves.iter().flat_map(|(.., points)| points);
        let (Some(x), Some(y)) =
            (extent(points().map(|point| point.0)), extent(points().map(|point| point.1)))
        else {
            continue;
        };
        let frame = grid.frame(column);
        let panel =
            Panel { frame, x: Scale::logarithmic(x, across(frame)), y: Scale::logarithmic(y, up(frame)) };
        let title = &format!("change of {} (L2)", name(space));
        let x = "length of the step (L2)";
        panel.draw(canvas, Axes { title, x, x_numbers: true, y_numbers: true, ..Axes::default() });
        for norm in remainders.iter().map(|remainder| remainder.training_norm).take(1) {
            if panel.x.holds(norm) {
                let x = panel.x.at(norm);
                canvas.rule("axis", (x, frame.y), (x, frame.y + frame.h));
            }
        }
        for (direction, is_rest, points) in &curves {
            let places: Vec<_> = points.iter().map(|(x, y)| panel.at(*x, *y)).collect();
            if *is_rest {
                canvas.thread(style(*direction), &places);
            }
            let what = if *is_rest { "remainder" } else { "change" };
            for ((x, y), place) in points.iter().zip(&places) {
                let title = format!("{}, {} step of {x:.3}: {what} {y:.2e}", name(space), direction.name());
                canvas.point(style(*direction), *place, DOT, *is_rest, &title);
            }
        }
    }
    grid.bottom(1) + BELOW
}

/// The median over teachers, images and seeds at each length of the step; lengths at which it is zero are left out.
fn medians(
    remainders: &[&Remainder],
    direction: Direction,
    space: Space,
    of: fn(&Curve) -> &Matrix,
) -> Vec<(f64, f64)> {
    let Some(first) = remainders.first() else { return Vec::new() };
    let median = |(at, norm): (usize, &f32)| {
        let values = remainders.iter().filter(|remainder| remainder.norm.get(at) == Some(norm));
        let values =
            values.filter_map(|remainder| of(remainder.curves.get(&(direction, space))?).rows().nth(at));
        let Quantiles([_, _, median, ..]) = Quantiles::of(values.flatten().map(|v| f64::from(*v)).collect())?;
        (median > 0.0).then_some((f64::from(*norm), median))
    };
    first.norm.iter().enumerate().filter_map(median).collect()
}
