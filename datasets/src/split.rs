//! Which rows are for training, validation and test: METHODOLOGY.md, section "Data".
//!
//! Where the rows are the protocol's, the first are for training and the tail for validation. Where there are fewer (or more), or
//! they are sorted by class, the validation rows are drawn: one tenth, class-balanced, seeded. Reduced presets draw
//! class-balanced seeded subsets. Rows always come back ascending; all draws come from `random::Stream`.

use random::Stream;

use crate::catalog::SplitRows;

/// How the published training rows were divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The protocol's: the last rows are for validation.
    Tail,
    /// Drawn because the number of rows is not the protocol's.
    DrawnPartial,
    /// Drawn because the rows are sorted by class.
    DrawnSorted,
}

/// Rows of the training file, divided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainVal {
    /// Training rows, ascending.
    pub train: Vec<usize>,
    /// Validation rows, ascending.
    pub val: Vec<usize>,
    /// How they were divided.
    pub rule: Rule,
}

/// Divides the rows of a training file with these `labels`.
///
/// Drawn splits hold out one tenth of the rows (rounded), each class in proportion to its rows; the seed decides which.
pub fn train_val(labels: &[u32], classes: usize, protocol: SplitRows, seed: u64) -> TrainVal {
    let rule = if labels.len() != protocol.train + protocol.val {
        Rule::DrawnPartial
    } else if labels.is_sorted() || labels.is_sorted_by(|a, b| a >= b) {
        Rule::DrawnSorted
    } else {
        let rows = 0..labels.len();
        let (train, val) = rows.partition(|&row| row < protocol.train);
        return TrainVal { train, val, rule: Rule::Tail };
    };
    let mut by_class = shuffled_classes(labels, classes, Stream::new(seed, "split"));
    let counts: Vec<usize> = by_class.iter().map(Vec::len).collect();
    let quotas = proportional(&counts, drawn_val_rows(labels.len()));
    let mut val: Vec<usize> = by_class
        .iter_mut()
        .zip(quotas)
        .flat_map(|(rows, quota)| rows.split_off(rows.len() - quota))
        .collect();
    let mut train = by_class.concat();
    val.sort_unstable();
    train.sort_unstable();
    TrainVal { train, val, rule }
}

/// How many of so many rows of a training file [`train_val`] holds out, unless those of the full protocol are sorted by class.
pub(crate) fn val_rows(rows: usize, protocol: SplitRows) -> usize {
    if rows == protocol.train + protocol.val { protocol.val } else { drawn_val_rows(rows) }
}

fn drawn_val_rows(rows: usize) -> usize {
    (rows + 5) / 10
}

/// `count` of the rows with these `labels`, every class equally often as far as its rows and the remainder allow.
/// Returns positions in `labels`, ascending; all of them where `count` is no smaller. `name` keeps draws for different
/// splits apart.
pub fn balanced_subset(labels: &[u32], classes: usize, count: usize, seed: u64, name: &str) -> Vec<usize> {
    if count >= labels.len() {
        return (0..labels.len()).collect();
    }
    let stream = Stream::new(seed, &format!("subset-{name}"));
    let mut by_class = shuffled_classes(labels, classes, stream);
    // Which classes give one more than the others is drawn, too.
    stream.draws(1, 0).shuffle(&mut by_class);
    let mut rows = Vec::with_capacity(count);
    let deepest = by_class.iter().map(Vec::len).max().unwrap_or(0);
    for turn in 0..deepest {
        rows.extend(by_class.iter().filter_map(|class| class.get(turn)).take(count - rows.len()));
    }
    rows.sort_unstable();
    rows
}

/// Rows by class, each class in an order of its own draws.
fn shuffled_classes(labels: &[u32], classes: usize, stream: Stream) -> Vec<Vec<usize>> {
    let mut by_class = vec![Vec::new(); classes];
    for (row, &label) in labels.iter().enumerate() {
        by_class[label as usize].push(row);
    }
    for (class, rows) in by_class.iter_mut().enumerate() {
        stream.draws(0, class as u64).shuffle(rows);
    }
    by_class
}

/// Shares `total` out in proportion to `counts`, by largest remainder; equal remainders go to the lower index.
fn proportional(counts: &[usize], total: usize) -> Vec<usize> {
    let sum = counts.iter().sum::<usize>().max(1);
    let mut quotas: Vec<usize> = counts.iter().map(|count| count * total / sum).collect();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(counts[i] * total % sum));
    let missing = total - quotas.iter().sum::<usize>();
    for &i in order.iter().take(missing) {
        quotas[i] += 1;
    }
    quotas
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOL: SplitRows = SplitRows { train: 90, val: 10, test: 20 };

    fn interleaved(n: usize, classes: u32) -> Vec<u32> {
        (0..n as u32).map(|i| i % classes).collect()
    }

    #[test]
    fn full_unsorted_rows_are_cut_at_the_tail() {
        let split = train_val(&interleaved(100, 5), 5, PROTOCOL, 3);
        assert_eq!(split.rule, Rule::Tail);
        assert_eq!(split.train, (0..90).collect::<Vec<_>>());
        assert_eq!(split.val, (90..100).collect::<Vec<_>>());
    }

    #[test]
    fn sorted_rows_are_drawn_with_every_class_in_both_parts() {
        let labels: Vec<u32> = (0..100).map(|i| i / 20).collect();
        for labels in [labels.clone(), labels.into_iter().rev().collect()] {
            let split = train_val(&labels, 5, PROTOCOL, 3);
            assert_eq!(split.rule, Rule::DrawnSorted);
            for class in 0..5 {
                assert_eq!(split.val.iter().filter(|&&row| labels[row] == class).count(), 2);
                assert_eq!(split.train.iter().filter(|&&row| labels[row] == class).count(), 18);
            }
        }
    }

    #[test]
    fn partial_rows_are_drawn_in_proportion_and_by_seed() {
        // 60 of class 0, 20 of class 1: of 8 validation rows 6 and 2.
        let labels: Vec<u32> = (0..80).map(|i| u32::from(i % 4 == 3)).collect();
        let split = train_val(&labels, 2, PROTOCOL, 1);
        assert_eq!(split.rule, Rule::DrawnPartial);
        assert_eq!(split.val.iter().filter(|&&row| labels[row] == 0).count(), 6);
        assert_eq!(split.val.len(), 8);
        assert_eq!(split, train_val(&labels, 2, PROTOCOL, 1));
        assert_ne!(split, train_val(&labels, 2, PROTOCOL, 2));
    }

    #[test]
    fn a_subset_is_balanced_even_where_the_rows_are_not() {
        let labels: Vec<u32> = (0..100).map(|i| if i < 70 { 0 } else { 1 + i % 3 }).collect();
        let rows = balanced_subset(&labels, 4, 21, 9, "train");
        let counts: Vec<usize> =
            (0..4).map(|class| rows.iter().filter(|&&row| labels[row] == class).count()).collect();
        assert_eq!(counts.iter().sum::<usize>(), 21);
        assert!(counts.iter().all(|&count| count == 5 || count == 6), "{counts:?}");
        assert_ne!(rows, balanced_subset(&labels, 4, 21, 9, "val"));
        assert_eq!(balanced_subset(&labels, 4, 100, 9, "train").len(), 100);
    }

    #[test]
    fn largest_remainders_get_what_is_left() {
        // By hand: 10 * (5, 3, 3) / 11 = 4.54, 2.72, 2.72: the two of .72 are served before the one of .54.
        assert_eq!(proportional(&[5, 3, 3], 10), [4, 3, 3]);
        assert_eq!(proportional(&[0, 4], 2), [0, 2]);
    }
}
