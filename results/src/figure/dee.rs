//! Deep-ensemble equivalent: where the students are on the curve of the ensembles' calibrated likelihood (Ashukha et
//! al. 2020), and how sure that is over seeds.

use super::canvas::{Canvas, POINT, Rect, WIDTH};
use super::legend::{self, Key};
use super::listing::{Listing, names_width};
use super::panel::{Axes, BELOW, Panel, across};
use super::scale::{extent, padded};
use super::sources::Sources;
use super::{Drawing, Figure, Id, ends, estimate, seeds, style};
use crate::check::claims::{Relation, compare_dee};
use crate::{Column, rows};

pub(super) fn figure(sources: &Sources) -> Figure {
    let claim = compare_dee(
        "ODS has more DEE than plain distillation",
        Relation::More,
        &sources.experiment,
        ["be-kd-ods", "be-kd"],
    );
    let number = ["be-kd-conf-ods", "be-kd-ods", "be-kd"]
        .into_iter()
        .chain(sources.others())
        .filter_map(|row| Some(format!("{row} {}", estimate(sources.cell(row, Column::Dee)?, 2))))
        .collect::<Vec<_>>()
        .join(", ");
    Figure {
        id: Id::Dee,
        drawing: draw(sources),
        number: if number.is_empty() { number } else { format!("DEE: {number}") },
        sentence: format!(
            "Above, calibrated NLL of ensembles of n teachers and of the students, each at its DEE; below, with the students' names, the DEE: how \
             many independently trained networks are as good. {}",
            seeds(sources.seeds())
        ),
        claim,
    }
}

fn draw(sources: &Sources) -> Result<Drawing, String> {
    let most = sources.experiment.ensemble();
    if most < 2 {
        return Err(
            "The curve needs at least two teachers in a seed, and these records do not have them.".into()
        );
    }
    let curve: Vec<_> = (1..=most)
        .filter_map(|n| Some((n as f64, sources.cell(&rows::ensemble(n), Column::Cnll)?)))
        .collect();
    let students: Vec<_> = sources
        .students()
        .filter_map(|row| Some((row, sources.cell(row, Column::Dee)?, sources.cell(row, Column::Cnll)?)))
        .collect();
    let values = curve.iter().map(|(_, cell)| cell).chain(students.iter().map(|(.., cell)| cell));
    let range = extent(values.flat_map(|cell| [ends(*cell).0, ends(*cell).1])).unwrap_or((0.0, 1.0));

    let mut canvas = Canvas::default();
    let ensembles = style::of_row("de-1");
    let top = legend::draw(&mut canvas, 2.0, &[(ensembles, Key::PointOnLine, "ensembles DE-n")]);

    let names: Vec<&str> = students.iter().map(|(row, ..)| *row).collect();
    let left = names_width(names.iter().copied());
    let frame = Rect { x: left, y: top + 10.0, w: WIDTH - left - 12.0, h: 150.0 };
    let n = (0.8, most as f64 + 0.2);
    let upper = Panel::linear(frame, n, padded(range, 0.06));
    upper.draw_without_x(&mut canvas, Axes { y: "calibrated NLL, nats", y_numbers: true, ..Axes::default() });
    let places: Vec<_> = curve.iter().map(|(n, cell)| upper.at(*n, cell.mean)).collect();
    canvas.thread(ensembles, &places);
    for (n, cell) in &curve {
        if cell.std.is_some() {
            canvas.spread(ensembles, upper.at(*n, ends(*cell).0), upper.at(*n, ends(*cell).1));
        }
        let title = format!("de-{n}: cNLL {}", estimate(*cell, 3));
        canvas.point(ensembles, upper.at(*n, cell.mean), POINT, true, &title);
    }
    for (row, dee, cnll) in &students {
        let title = format!("{row}: DEE {}, cNLL {}", estimate(*dee, 2), estimate(*cnll, 3));
        canvas.point(sources.style(row), upper.at(dee.mean, cnll.mean), POINT, true, &title);
    }

    let lower = Listing::new(across(frame), frame.y + frame.h + 14.0, n, students.len());
    lower.draw(&mut canvas, "", "DEE, networks", &names, most);
    for (line, (row, dee, _)) in students.iter().enumerate() {
        let style = sources.style(row);
        if dee.std.is_some() {
            canvas.spread(style, lower.at(ends(*dee).0, line), lower.at(ends(*dee).1, line));
        }
        let title = format!("{row}: DEE {}", estimate(*dee, 2));
        canvas.point(style, lower.at(dee.mean, line), POINT, true, &title);
    }
    Ok(Drawing::new(canvas, lower.bottom() + BELOW))
}
