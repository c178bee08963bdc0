//! Figure 6: whether perturbations that one teacher makes raise the diversity of others.

use super::source::Source;
use super::{deviation, mean, spread, verdict};
use crate::analysis::{TEACHERS, Transfer};
use crate::rows;
use crate::sheet::{Sheet, full};

/// A line for each perturbing teacher and one for clean images, a column for each teacher: its diversity in nats over
/// seeds ([`Transfer`]); and own against foreign means with the verdict of the 95% interval over seeds.
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

/// Own, foreign and clean means with what their differences within a seed say.
fn notes(seeds: &[&Transfer]) -> Vec<String> {
    let clean: Vec<f64> = seeds.iter().filter_map(|seed| mean_of(seed.clean.iter())).collect();
    let (own, foreign): (Vec<f64>, Vec<f64>) = seeds.iter().filter_map(|seed| own_and_foreign(seed)).unzip();
    let minus = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<f64>>();
    let mut notes = vec![
        "Diversity of a teacher: the mean KL, in nats, over training images and over the ordered pairs of different \
         teachers that it is in; means over seeds."
            .to_owned(),
    ];
    if own.is_empty() {
        return notes;
    }
    notes.push(format!(
        "Own perturbation {}, foreign {}, clean {}. Foreign against clean: {} ({}). Own against foreign: {} ({}).",
        spread(&own, 4),
        spread(&foreign, 4),
        spread(&clean, 4),
        spread(&minus(&foreign, &clean), 4),
        verdict(&minus(&foreign, &clean), "ODS carries over", "ODS lowers the diversity of others"),
        spread(&minus(&own, &foreign), 4),
        verdict(&minus(&own, &foreign), "more with its own", "less with its own"),
    ));
    notes
}

/// The means of the diagonal and of the rest.
fn own_and_foreign(transfer: &Transfer) -> Option<(f64, f64)> {
    let members = transfer.clean.len();
    let on_diagonal = |own: bool| {
        let values = transfer.values.values().iter().enumerate();
        let of = values.filter(move |(index, _)| (index / members == index % members) == own);
        of.map(|(_, value)| value)
    };
    Some((mean_of(on_diagonal(true))?, mean_of(on_diagonal(false))?))
}

fn mean_of<'a>(values: impl Iterator<Item = &'a f32>) -> Option<f64> {
    mean(&values.map(|value| f64::from(*value)).collect::<Vec<_>>())
}
