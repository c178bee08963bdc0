//! Accuracy against what a prediction costs: operations of one test image, and stored parameters.

use super::canvas::{Canvas, POINT, Rect, WIDTH};
use super::legend::{self, Key};
use super::panel::{Axes, BELOW, Grid, Panel};
use super::scale::{extent, padded};
use super::sources::Sources;
use super::style::Style;
use super::{Drawing, Figure, Id, ends, estimate, over_seeds, seeds, style};
use crate::check::claims::{Relation, compare};
use crate::table::{Cell, Row};
use crate::{Column, rows};

/// Distance between points of one cost.
const ASIDE: f64 = 7.0;

/// A row with its accuracy in percent and its costs: forward passes of one network, and stored parameters in its size.
struct Point<'a> {
    row: &'a str,
    style: Style,
    acc: Cell,
    passes: f64,
    parameters: Option<f64>,
}

pub(super) fn figure(sources: &Sources) -> Figure {
    let ensemble = sources.ensemble();
    let points = points(sources);
    let number = kept(sources, &ensemble).map_or_else(String::new, |kept| {
        let parameters =
            points.iter().find(|point| point.row == "be-kd-ods").and_then(|point| point.parameters);
        let cost = match parameters {
            Some(parameters) => format!(", with {parameters:.2} times the parameters of one network"),
            None => String::new(),
        };
        format!(
            "be-kd-ods keeps {} % of the accuracy that {ensemble} gains over de-1{cost}",
            estimate(kept, 0)
        )
    });
    Figure {
        id: Id::Cost,
        drawing: draw(&points),
        number,
        sentence: format!(
            "Accuracy of every row against the operations of one prediction and against the stored parameters, both in \
             units of one network. A BatchEnsemble saves parameters, not operations; points of nearly equal cost stand side by side on a grey ground. {}",
            seeds(sources.seeds())
        ),
        claim: compare(
            "The student with ODS is more accurate than one network",
            Relation::More,
            &sources.by_seed("be-kd-ods", Column::Acc),
            &sources.by_seed("de-1", Column::Acc),
        ),
    }
}

/// What part of the ensemble's gain in accuracy over one network the student with ODS has, in percent by seed.
fn kept(sources: &Sources, ensemble: &str) -> Option<Cell> {
    let [one, all, student] = ["de-1", ensemble, "be-kd-ods"].map(|row| sources.by_seed(row, Column::Acc));
    let part = |(seed, student): (&u64, &f64)| {
        let (one, all) = (one.get(seed)?, all.get(seed)?);
        (all > one).then(|| (*seed, 100.0 * (student - one) / (all - one)))
    };
    over_seeds(&student.iter().filter_map(part).collect())
}

fn points(sources: &Sources) -> Vec<Point<'_>> {
    // The teachers' analysis is of M networks together.
    let one = sources.teachers().next().map(|teachers| teachers.cost);
    let members = sources.members() as f64;
    let costs = |row: &Row| -> Option<(f64, Option<f64>)> {
        if let Some(n) = rows::ensemble_index(&row.name) {
            return Some((n as f64, one.map(|_| n as f64)));
        }
        let cost = sources.analyses(&row.name).next().map(|analysis| analysis.cost);
        match (cost, one) {
            (Some(cost), Some(one)) => Some((
                cost.forward_flops as f64 * members / one.forward_flops as f64,
                Some(cost.parameters as f64 * members / one.parameters as f64),
            )),
            // A BatchEnsemble computes each of its members: as many passes.
            _ => Some((sources.tested(&row.name).next()?.members as f64, None)),
        }
    };
    sources
        .experiment
        .rows
        .iter()
        .filter_map(|row| {
            let (passes, parameters) = costs(row)?;
            let acc = row.cell(Column::Acc)?;
            let acc = Cell { mean: 100.0 * acc.mean, std: acc.std.map(|std| 100.0 * std), ..acc };
            Some(Point { row: &row.name, style: sources.style(&row.name), acc, passes, parameters })
        })
        .collect()
}

fn draw(points: &[Point<'_>]) -> Result<Drawing, String> {
    if points.is_empty() {
        return Err("These records have no row with an accuracy.".into());
    }
    let mut canvas = Canvas::default();
    let de = |row: &str| rows::ensemble_index(row).is_some();
    let ensembles = points.iter().any(|point| de(point.row));
    let entries =
        ensembles.then_some((style::of_row("de-1"), Key::PointOnLine, "ensembles DE-n")).into_iter();
    let students = points.iter().filter(|point| !de(point.row));
    let students = students.map(|point| (point.style, Key::Point, point.row));
    let top = legend::draw(&mut canvas, 2.0, &entries.chain(students).collect::<Vec<_>>()) + 10.0;

    let has_parameters = points.iter().all(|point| point.parameters.is_some());
    let count = 1 + usize::from(has_parameters);
    let grid = Grid {
        left: 46.0,
        top,
        right: WIDTH - 8.0,
        columns: 1,
        height: if has_parameters { 150.0 } else { 190.0 },
        gap: (0.0, BELOW + 14.0),
    };
    let acc = extent(points.iter().flat_map(|point| <[f64; 2]>::from(ends(point.acc)))).unwrap_or((0.0, 1.0));
    type Cost = fn(&Point<'_>) -> f64;
    let costs: [(&str, Cost); 2] = [
        ("operations of a prediction, forward passes of one network", |point| point.passes),
        ("stored parameters, networks", |point| point.parameters.unwrap_or(0.0)),
    ];
    for (at, (label, cost)) in costs.into_iter().take(count).enumerate() {
        let range = extent(points.iter().map(cost)).unwrap_or((0.0, 1.0));
        // Room for the points that stand side by side at the ends.
        let frame = grid.frame(at);
        let (low, high) = (range.0, range.1.max(range.0 + 1.0));
        // Where they are very many, half of the width.
        let reserved = (ASIDE * points.len() as f64).min(frame.w / 2.0);
        let aside = reserved / 2.0 / (frame.w - reserved) * (high - low);
        let panel = Panel::linear(frame, (low - aside, high + aside), padded(acc, 0.06));
        panel.draw(
            &mut canvas,
            Axes { x: label, y: "accuracy, %", x_numbers: true, y_numbers: true, ..Axes::default() },
        );
        let groups = groups(&panel, points, cost);
        for group in groups.iter().filter(|group| group.members.len() > 1) {
            let (left, right) =
                extent(group.members.iter().map(|(_, x)| *x)).unwrap_or((group.cost, group.cost));
            canvas.ground(Rect { x: left - ASIDE, y: frame.y, w: right - left + 2.0 * ASIDE, h: frame.h });
        }
        let mut places: Vec<(usize, f64)> = groups.into_iter().flat_map(|group| group.members).collect();
        places.sort_by_key(|(at, _)| *at);
        let ensembles = places.iter().filter(|(at, _)| de(points[*at].row));
        let thread: Vec<_> = ensembles.map(|(at, x)| (*x, panel.y.at(points[*at].acc.mean))).collect();
        canvas.thread(style::of_row("de-1"), &thread);
        for (at, x) in places {
            let (point, style) = (&points[at], points[at].style);
            if point.acc.std.is_some() {
                let (low, high) = ends(point.acc);
                canvas.spread(style, (x, panel.y.at(low)), (x, panel.y.at(high)));
            }
            let title = format!("{}: {} % at {:.2}", point.row, estimate(point.acc, 2), cost(point));
            canvas.point(style, (x, panel.y.at(point.acc.mean)), POINT, true, &title);
        }
    }
    Ok(Drawing::new(canvas, grid.bottom(count) + BELOW))
}

/// Points of nearly one cost, and where they stand: ensembles at their cost, students side by side around it.
struct Group {
    /// Where the cost is: that of the ensemble, if there is one, else of the first.
    cost: f64,
    /// Indices of the points with their places.
    members: Vec<(usize, f64)>,
}

/// The groups of points, by their costs on the axis.
fn groups(panel: &Panel, points: &[Point<'_>], cost: fn(&Point<'_>) -> f64) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let (ensembles, students): (Vec<usize>, Vec<usize>) =
        (0..points.len()).partition(|at| rows::ensemble_index(points[*at].row).is_some());
    for at in ensembles.iter().chain(&students) {
        let x = panel.x.at(cost(&points[*at]));
        match groups.iter_mut().find(|group| (group.cost - x).abs() < 2.0 * ASIDE) {
            Some(group) => group.members.push((*at, group.cost)),
            None => groups.push(Group { cost: x, members: vec![(*at, x)] }),
        }
    }
    for group in &mut groups {
        // The middle is an ensemble's, where the group has one.
        let (fixed, free): (Vec<_>, Vec<_>) =
            group.members.iter().partition(|(at, _)| ensembles.contains(at));
        let middle = (free.len() as f64 - 1.0) / 2.0;
        let shift = |rank: usize| match (fixed.is_empty(), rank < free.len() / 2) {
            (true, _) => rank as f64 - middle,
            (false, true) => rank as f64 - (free.len() / 2) as f64,
            (false, false) => (rank + 1 - free.len() / 2) as f64,
        };
        let free = free.iter().enumerate().map(|(rank, (at, _))| (*at, group.cost + ASIDE * shift(rank)));
        group.members = fixed.iter().copied().chain(free).collect();
    }
    groups
}
