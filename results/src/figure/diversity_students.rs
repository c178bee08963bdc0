//! The paper's figure 3 (b): diversity of the BatchEnsemble students by confidence, on the images that the teachers'
//! diversity is shown on.

use super::canvas::{Anchor, Canvas, DOT, LABEL, POINT, Rect, WIDTH};
use super::diversity::{BINS, Diversity, Images, OfBin, name, range, words};
use super::font::width;
use super::legend::{self, Key};
use super::panel::{Axes, BELOW, Grid, Panel, across, up};
use super::scale::{Scale, extent};
use super::sources::Sources;
use super::style::Style;
use super::{Drawing, Figure, Id, ends, estimate, seeds};
use crate::Column;
use crate::check::claims::{Relation, compare};
use crate::table::Cell;

/// From one line of a label to the next.
const LINE: f64 = 13.0;

/// Between the labels of two groups.
const GAP: f64 = 5.0;

/// A student with its look, and its diversity on the images of each panel that it has.
type Student<'a> = ((&'a str, Style), Vec<(Images, Diversity)>);

pub(super) fn figure(sources: &Sources) -> Figure {
    let all = Images::of(&sources.source.analyses);
    let of = |row| {
        let with = |images: &Images| Some((images.clone(), Diversity::of(sources, row, images)?));
        all.iter().filter_map(with).collect()
    };
    let students: Vec<Student<'_>> =
        sources.students().map(|row| ((row, sources.style(row)), of(row))).collect();
    let students: Vec<_> =
        students.into_iter().filter(|(_, found): &Student<'_>| !found.is_empty()).collect();
    let number = of_rows(sources, Column::Kld, 3).join(", ");
    let disagreement = of_rows(sources, Column::Dis, 1);
    let disagreement = match disagreement.is_empty() {
        true => String::new(),
        false => format!(
            " The KL grows with how sure the members are, too; the share of test images on which two of them name different \
             classes, in %, does not: {}.",
            disagreement.join(", ")
        ),
    };
    let has_training =
        students.iter().flat_map(|(_, found)| found).any(|(images, _)| *images != Images::Test);
    let missing = match has_training || students.is_empty() {
        true => "",
        false => " The training images are missing: these records lack the arrays that they are drawn from.",
    };
    Figure {
        id: Id::DiversityStudents,
        drawing: match students.is_empty() {
            true => Err("These records have no student with several members.".into()),
            false => Ok(draw(&students, &all)),
        },
        number: if number.is_empty() { number } else { format!("Mean KLD on test images: {number}") },
        sentence: format!(
            "Above, the mean pairwise KL of each student's subnetworks; below, the same in ten bins of its confidence, and \
             each bin's share of the images; of a seed with fewer than 0.1% of its images in a bin that bin has no KL.{missing}{disagreement} {}",
            seeds(sources.seeds())
        ),
        claim: compare(
            "ODS raises the student's KLD on test images over plain distillation",
            Relation::More,
            &sources.by_seed("be-kd-ods", Column::Kld),
            &sources.by_seed("be-kd", Column::Kld),
        ),
    }
}

/// A column of the table for the students of the claim and those that are not of the paper, as text.
fn of_rows(sources: &Sources, column: Column, decimals: usize) -> Vec<String> {
    let text = |row: &str| {
        let cell = sources.cell(row, column)?;
        let scaled =
            Cell { mean: column.scale() * cell.mean, std: cell.std.map(|std| column.scale() * std), ..cell };
        Some(format!("{row} {}", estimate(scaled, decimals)))
    };
    ["be-kd", "be-kd-ods", "be-kd-conf-ods"].into_iter().chain(sources.others()).filter_map(text).collect()
}

fn draw(students: &[Student<'_>], all: &[Images]) -> Drawing {
    let mut canvas = Canvas::default();
    let entries: Vec<_> = students.iter().map(|((row, style), _)| (*style, Key::PointOnLine, *row)).collect();
    let top = legend::draw(&mut canvas, 2.0, &entries) + 10.0;
    let has =
        |images: &&Images| students.iter().any(|(_, found)| found.iter().any(|(own, _)| own == *images));
    let shown: Vec<&Images> = all.iter().filter(has).collect();
    let bottom = means(&mut canvas, top, students, &shown);

    let highest = students
        .iter()
        .flat_map(|(_, found)| found)
        .flat_map(|(_, diversity)| (0..BINS).filter_map(|bin| diversity.kl(bin)))
        .map(|cell| cell.mean);
    let heights = [extent(highest).map_or(1.0, |(_, high)| 1.05 * high), 100.0];
    let grid = Grid {
        left: 44.0,
        top: bottom + 48.0,
        right: WIDTH - 10.0,
        columns: 2,
        height: 70.0,
        gap: (44.0, 26.0),
    };
    for (line, images) in shown.iter().enumerate() {
        let last = line + 1 == shown.len();
        let columns: [(&str, OfBin); 2] =
            [("mean pairwise KL, nats", Diversity::kl), ("share of images, %", Diversity::share)];
        for (column, (heading, of)) in columns.into_iter().enumerate() {
            let panel = Panel::linear(grid.frame(2 * line + column), (0.0, 1.0), (0.0, heights[column]));
            let x = if last { "confidence of the student" } else { "" };
            let title = if column == 0 { name(images) } else { String::new() };
            panel.draw(
                &mut canvas,
                Axes { title: &title, x, x_numbers: last, y_numbers: true, ..Axes::default() },
            );
            if line == 0 {
                let Rect { x, y, w, .. } = panel.frame;
                canvas.muted((x + w / 2.0, y - 25.0), Anchor::Middle, LABEL, heading);
            }
            for ((row, style), found) in students {
                let Some((_, diversity)) = found.iter().find(|(own, _)| own == *images) else { continue };
                let values: Vec<(usize, Cell)> =
                    (0..BINS).filter_map(|bin| Some((bin, of(diversity, bin)?))).collect();
                let place = |bin: usize, cell: Cell| panel.at((bin as f64 + 0.5) / BINS as f64, cell.mean);
                let places: Vec<_> = values.iter().map(|(bin, cell)| place(*bin, *cell)).collect();
                canvas.thread(*style, &places);
                for (bin, cell) in values {
                    let title = format!(
                        "{row}, {}, confidence in {}: {}",
                        name(images),
                        range(bin),
                        estimate(cell, 3)
                    );
                    canvas.point(*style, place(bin, cell), DOT, true, &title);
                }
            }
        }
    }
    Drawing::new(canvas, grid.bottom(2 * shown.len()) + BELOW)
}

/// The mean KLD of every student on every kind of images, side by side; returns where the panel with its labels ends.
fn means(canvas: &mut Canvas, top: f64, students: &[Student<'_>], shown: &[&Images]) -> f64 {
    let cells = students.iter().flat_map(|(_, found)| found).filter_map(|(_, diversity)| diversity.mean());
    let high = extent(cells.map(|cell| ends(cell).1)).map_or(1.0, |(_, high)| 1.05 * high);
    let frame = Rect { x: 44.0, y: top, w: WIDTH - 44.0 - 10.0, h: 110.0 };
    let group = frame.w / shown.len() as f64;
    let panel = Panel {
        frame,
        x: Scale::linear((0.0, shown.len() as f64), across(frame)),
        y: Scale::linear((0.0, high), up(frame)),
    };
    panel.draw_without_x(canvas, Axes { y: "mean KLD, nats", y_numbers: true, ..Axes::default() });
    let labels: Vec<Vec<String>> = shown.iter().map(|images| label(images, group)).collect();
    for (at, images) in shown.iter().enumerate() {
        let middle = frame.x + group * (at as f64 + 0.5);
        for (line, text) in labels[at].iter().enumerate() {
            let y = frame.y + frame.h + LINE * (line + 1) as f64;
            canvas.muted((middle, y), Anchor::Middle, LABEL, text);
        }
        let step = (group * 0.8 / students.len() as f64).min(14.0);
        for (index, ((row, style), found)) in students.iter().enumerate() {
            let of = found.iter().find(|(own, _)| own == *images);
            let Some(mean) = of.and_then(|(_, diversity)| diversity.mean()) else { continue };
            let (style, x) = (*style, middle + step * (index as f64 - (students.len() - 1) as f64 / 2.0));
            if mean.std.is_some() {
                canvas.spread(style, (x, panel.y.at(ends(mean).0)), (x, panel.y.at(ends(mean).1)));
            }
            let title = format!("{row}, {}: mean KLD {}", name(images), estimate(mean, 3));
            canvas.point(style, (x, panel.y.at(mean.mean)), POINT, true, &title);
        }
    }
    let lines = labels.iter().map(Vec::len).max().unwrap_or(0);
    frame.y + frame.h + LINE * lines as f64
}

/// The name of some images in lines that are no wider than a group, where its words are not.
fn label(images: &Images, group: f64) -> Vec<String> {
    let (split, how) = words(images);
    let mut lines = vec![split.to_owned(), String::new()];
    for word in how.trim_end_matches(" noise").split_inclusive('-') {
        match lines.last_mut() {
            Some(line) if width(&format!("{line}{word}"), LABEL) <= group - GAP => line.push_str(word),
            _ => lines.push(word.to_owned()),
        }
    }
    lines.retain(|line| !line.is_empty());
    lines
}
