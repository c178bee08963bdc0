//! Figure 6: whether perturbations that one teacher makes raise the diversity of others.

use super::source::Source;
use super::{deviation, mean, spread, verdict};
use crate::analysis::{TEACHERS, Transfer};
use crate::rows;
use crate::sheet::{Sheet, full};

/// A line for each perturbing teacher and one for clean images, a column for each teacher: its diversity in nats over
/// seeds ([`Transfer`]); and the pairs without the perturbing teacher against clean images and against those with it, with
/// the verdict of the 95% interval over seeds.
pub fn transfer(source: &Source) -> Sheet {
    let stored: Vec<&Transfer> = source.of(TEACHERS).filter_map(|one| one.transfer.as_ref()).collect();
    let members = stored.first().map_or(0, |first| first.clean.len());
    // A seed with another number of teachers has another table.
    let seeds: Vec<&Transfer> = stored.iter().copied().filter(|one| one.clean.len() == members).collect();
    let (mut lines, mut csv) = (Vec::new(), Vec::new());
    for by in 0..=members {
        let name = if by < members { rows::teacher(by + 1) } else { "clean".to_owned() };
        let of = |seed: &Transfer, on: usize| {
            let values = if by < members { seed.values.rows().nth(by) } else { Some(&seed.clean[..]) };
            values.map(|values| f64::from(values[on]))
        };
        let mut line = vec![name.clone()];
        for on in 0..members {
            let values: Vec<f64> = seeds.iter().filter_map(|seed| of(seed, on)).collect();
            line.push(spread(&values, 4));
            let labels =
                [source.folder.clone(), name.clone(), rows::teacher(on + 1), values.len().to_string()];
            csv.push(labels.into_iter().chain([mean(&values), deviation(&values)].map(full)).collect());
        }
        let means =
            seeds.iter().map(|seed| mean(&(0..members).filter_map(|on| of(seed, on)).collect::<Vec<_>>()));
        line.push(spread(&means.flatten().collect::<Vec<_>>(), 4));
        lines.push(line);
    }
    let headings = std::iter::once("perturbed by".to_owned())
        .chain((1..=members).map(rows::teacher))
        .chain(["mean".to_owned()]);
    Sheet {
        title: format!("{}: ODS of one teacher on the others (figure 6)", source.folder),
        labels: 1,
        headings: headings.collect(),
        lines: if members > 0 { lines } else { Vec::new() },
        notes: notes(&seeds),
        csv_header: "experiment,by,on,seeds,kl,kl_std",
        csv: if members > 0 { csv } else { Vec::new() },
    }
}

/// Means of own, foreign and clean pairs with what their differences within a seed say.
fn notes(seeds: &[&Transfer]) -> Vec<String> {
    let mut notes = vec![
        "Diversity of a teacher: the mean KL, in nats, over training images and over the ordered pairs of different \
         teachers that it is in; means over seeds. Every value of a line but the clean one holds a pair with the perturbing \
         teacher; whether ODS carries over is asked of the pairs without it (foreign), whose mean follows from the line."
            .to_owned(),
    ];
    let all = |seed: &&Transfer| Some((seed.clean_mean()?, seed.foreign()?, seed.own()?));
    let found: Vec<(f64, f64, f64)> = seeds.iter().filter_map(all).collect();
    if found.is_empty() {
        if !seeds.is_empty() {
            notes.push(
                "With two teachers there is no pair without the perturbing one: nothing is said about transfer."
                    .to_owned(),
            );
        }
        return notes;
    }
    let of = |value: fn(&(f64, f64, f64)) -> f64| found.iter().map(value).collect::<Vec<f64>>();
    let carried = of(|(clean, foreign, _)| foreign - clean);
    let more = of(|(_, foreign, own)| own - foreign);
    notes.push(format!(
        "Pairs with the perturbing teacher (own) {}, pairs without it (foreign) {}, clean {}. Foreign against clean: {} ({}). \
         Own against foreign: {} ({}).",
        spread(&of(|found| found.2), 4),
        spread(&of(|found| found.1), 4),
        spread(&of(|found| found.0), 4),
        spread(&carried, 4),
        verdict(&carried, "ODS carries over", "ODS lowers the diversity of others"),
        spread(&more, 4),
        verdict(&more, "more with its own", "less with its own"),
    ));
    notes
}
