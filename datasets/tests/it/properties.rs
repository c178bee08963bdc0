//! What must hold for every seed, size and number of threads.

use datasets::augment::CropFlip;
use datasets::catalog::SplitRows;
use datasets::split::{balanced_subset, train_val};
use datasets::{Batch, Dataset, Id, LoadOptions, Loader, Source, load};
use proptest::prelude::*;
use random::Stream;

fn image(size: usize, seed: u64) -> Vec<u8> {
    let mut draws = Stream::new(seed, "test-image").draws(0, 0);
    (0..3 * size * size).map(|_| draws.next_u32() as u8).collect()
}

fn dataset(n: usize, size: usize) -> Dataset {
    let images = (0..n).flat_map(|i| image(size, i as u64)).collect();
    Dataset { images, labels: (0..n as u32).map(|i| i % 3).collect(), classes: 3, size, posterior: None }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().map(|v| (v * 255.0).round() as u8).collect()
}

fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(work)
}

proptest! {
    #[test]
    fn flip_is_an_involution(size in 1_usize..12, seed: u64) {
        let image = image(size, seed);
        let flip = CropFlip { top: 0, left: 0, flip: true };
        let mut once = vec![0.0; image.len()];
        flip.apply(&image, size, 0, &mut once);
        let mut twice = vec![0.0; image.len()];
        flip.apply(&bytes(&once), size, 0, &mut twice);
        prop_assert_eq!(bytes(&twice), image);
    }

    #[test]
    fn a_crop_shows_the_padded_image_and_nothing_else(size in 1_usize..10, pad in 0_usize..5, seed: u64, epoch: u32) {
        let image = image(size, seed);
        let crop = CropFlip::draw(pad, &mut Stream::new(seed, "augment").draws(epoch, 7));
        prop_assert!(crop.top <= 2 * pad && crop.left <= 2 * pad);
        let mut out = vec![-1.0; image.len()];
        crop.apply(&image, size, pad, &mut out);
        // Against an image that is really padded.
        let side = size + 2 * pad;
        let mut padded = vec![0_u8; 3 * side * side];
        for (i, &value) in image.iter().enumerate() {
            let (plane, y, x) = (i / (size * size), i / size % size, i % size);
            padded[(plane * side + y + pad) * side + x + pad] = value;
        }
        for (i, found) in out.into_iter().enumerate() {
            let (plane, y, x) = (i / (size * size), i / size % size, i % size);
            let x = if crop.flip { size - 1 - x } else { x };
            let expected = f32::from(padded[(plane * side + y + crop.top) * side + x + crop.left]) / 255.0;
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn splits_are_disjoint_and_complete(labels in prop::collection::vec(0_u32..5, 1..200), seed: u64, sort: bool) {
        let mut labels = labels;
        if sort {
            labels.sort_unstable();
        }
        for protocol in [SplitRows { train: 100, val: 20, test: 1 }, SplitRows { train: labels.len() - 1, val: 1, test: 1 }] {
            let split = train_val(&labels, 5, protocol, seed);
            prop_assert!(split.train.is_sorted() && split.val.is_sorted());
            let mut all = [split.train, split.val].concat();
            all.sort_unstable();
            prop_assert_eq!(all, (0..labels.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn subsets_have_their_size_and_no_row_twice(labels in prop::collection::vec(0_u32..5, 0..200), count in 0_usize..250, seed: u64) {
        let rows = balanced_subset(&labels, 5, count, seed, "train");
        prop_assert_eq!(rows.len(), count.min(labels.len()));
        prop_assert!(rows.is_sorted_by(|a, b| a < b) && rows.iter().all(|&row| row < labels.len()));
        // No class falls behind another by more than one row unless it has no more.
        let count_of = |rows: &mut dyn Iterator<Item = u32>| rows.fold([0_usize; 5], |mut n, label| { n[label as usize] += 1; n });
        let taken = count_of(&mut rows.iter().map(|&row| labels[row]));
        let there = count_of(&mut labels.iter().copied());
        let most = taken.iter().copied().max().unwrap_or(0);
        prop_assert!((0..5).all(|k| taken[k] + 1 >= most || taken[k] == there[k]), "{taken:?} of {there:?}");
    }
}

#[test]
fn an_epoch_shows_every_example_once_and_keeps_the_last_batch() {
    let data = dataset(23, 5);
    let loader = Loader::new(&data, 8, 4, None);
    let batches: Vec<Batch> = loader.epoch(2).collect();
    assert_eq!(batches.iter().map(|b| b.labels.len()).collect::<Vec<_>>(), [8, 8, 7]);
    let mut rows: Vec<usize> = batches.iter().flat_map(|b| b.rows.clone()).collect();
    assert_ne!(rows, (0..23).collect::<Vec<_>>());
    assert_ne!(loader.order(2), loader.order(3));
    assert_eq!(loader.order(2), rows);
    for batch in &batches {
        for (i, &row) in batch.rows.iter().enumerate() {
            assert_eq!(batch.labels[i], data.labels[row]);
            assert_eq!(bytes(&batch.images[i * 75..(i + 1) * 75]), data.image(row));
        }
    }
    rows.sort_unstable();
    assert_eq!(rows, (0..23).collect::<Vec<_>>());
}

#[test]
fn augmentation_depends_on_run_epoch_and_example_alone() {
    let data = dataset(40, 8);
    let loader = Loader::new(&data, 16, 4, Some(4));
    let epoch = |threads, epoch| with_threads(threads, || loader.epoch(epoch).collect::<Vec<_>>());
    assert_eq!(epoch(1, 3), epoch(4, 3));
    // An example looks the same whatever batch it is in, and different in another epoch or run.
    let of = |loader: &Loader<'_>, epoch, rows: &[usize], i: usize| {
        loader.gather(epoch, rows).images[i * 192..(i + 1) * 192].to_vec()
    };
    assert_eq!(of(&loader, 3, &[5, 9], 1), of(&loader, 3, &[9], 0));
    let other = Loader::new(&data, 7, 5, Some(4));
    let differs =
        |a: &dyn Fn(usize) -> Vec<f32>, b: &dyn Fn(usize) -> Vec<f32>| (0..40).any(|row| a(row) != b(row));
    assert!(differs(&|row| of(&loader, 3, &[row], 0), &|row| of(&loader, 4, &[row], 0)));
    assert!(differs(&|row| of(&loader, 3, &[row], 0), &|row| of(&other, 3, &[row], 0)));
}

#[test]
fn synthetic_data_does_not_depend_on_threads() {
    let options =
        LoadOptions { train_rows: Some(64), val_rows: Some(8), test_rows: Some(8), ..LoadOptions::default() };
    let make =
        |threads| with_threads(threads, || load(Id::Synthetic, &Source::Synthetic(3), &options).unwrap());
    assert_eq!(make(1), make(3));
}
