//! Whole data sets from a folder in the hub's layout, and the synthetic ones.

use std::path::Path;
use std::sync::{Arc, Mutex};

use datasets::{Error, HashCheck, Id, LoadOptions, OnProgress, Progress, Source, load, look, verify};
use tempfile::TempDir;

use crate::support::{good_rows, png, tagged_planes, write_table};

/// A small CIFAR-10: `train` and `test` rows with tags that count up.
fn cifar10(folder: &Path, train: usize, test: usize) {
    let hub = Id::Cifar10.spec().hub.as_ref().unwrap();
    let at = |path: &str| folder.join(hub.repo).join(path);
    write_table(&at(hub.train.path), "img", "label", &good_rows(train, 32, 10, 0), 64);
    write_table(&at(hub.test.path), "img", "label", &good_rows(test, 32, 10, 100), 64);
}

fn source(folder: &TempDir) -> Source {
    Source::Folder(folder.path().to_owned())
}

#[test]
fn a_partial_folder_loads_split_and_with_its_hashes() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 200, 30);
    let splits = load(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap();
    assert_eq!((splits.train.len(), splits.val.len(), splits.test.len()), (180, 20, 30));
    for class in 0..10 {
        assert_eq!(splits.val.labels.iter().filter(|&&label| label == class).count(), 2);
    }
    // The blue plane is the row's tag, the label its row modulo 10: image and label stayed together.
    for split in [&splits.train, &splits.val, &splits.test] {
        for (row, &label) in split.labels.iter().enumerate() {
            let tag = split.image(row)[2 * 32 * 32];
            assert_eq!(split.image(row), tagged_planes(32, tag));
            assert_eq!(u32::from(tag) % 10, label);
        }
    }
    let provenance = splits.provenance;
    assert_eq!((provenance.source.as_str(), provenance.revision), ("folder", None));
    let file = folder.path().join("uoft-cs/cifar10/plain_text/test-00000-of-00001.parquet");
    let reports = verify(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap();
    assert_eq!(reports[1].path.as_deref(), Some(file.as_path()));
    assert_eq!(reports[1].sha256, provenance.sha256["plain_text/test-00000-of-00001.parquet"]);
    assert_eq!((reports[1].rows, reports[1].expected_rows), (30, 10_000));
    assert_eq!(reports[1].check, Some(HashCheck::Unlike));
    assert!(provenance.note.contains("200 rows are not the full protocol's"), "{}", provenance.note);
    assert!(!provenance.note.contains("class-balanced subset"), "{}", provenance.note);
}

#[test]
fn reduced_presets_take_balanced_rows_and_smaller_images() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 200, 100);
    let options = LoadOptions {
        train_rows: Some(50),
        val_rows: Some(10),
        test_rows: Some(20),
        image: Some(16),
        ..LoadOptions::default()
    };
    let splits = load(Id::Cifar10, &source(&folder), &options).unwrap();
    assert_eq!((splits.train.size, splits.train.images.len()), (16, 50 * 3 * 16 * 16));
    let subsets = "class-balanced subsets of 50 of 180 train rows, 10 of 20 val rows, 20 of 100 test rows drawn with seed 0";
    assert!(splits.provenance.note.contains(subsets), "{}", splits.provenance.note);
    for (split, each) in [(&splits.train, 5), (&splits.val, 1), (&splits.test, 2)] {
        for class in 0..10 {
            assert_eq!(split.labels.iter().filter(|&&label| label == class).count(), each);
        }
    }
    assert_eq!(splits, load(Id::Cifar10, &source(&folder), &options).unwrap());
    let other = load(Id::Cifar10, &source(&folder), &LoadOptions { seed: 1, ..options }).unwrap();
    assert_ne!(splits.train.images, other.train.images);
}

/// What can be told at once: that files are missing, and that they are partial where they must not be.
#[test]
fn a_look_finds_partial_files() {
    let folder = TempDir::new().unwrap();
    let missing = look(Id::Cifar10, &source(&folder), false).unwrap_err();
    assert!(matches!(missing, Error::MissingFile { .. }), "{missing}");
    cifar10(folder.path(), 200, 30);
    let there = look(Id::Cifar10, &source(&folder), false).unwrap().unwrap();
    assert_eq!(load(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap().rows(), there);
    let partial = look(Id::Cifar10, &source(&folder), true).unwrap_err();
    assert!(matches!(partial, Error::Partial { found: 200, expected: 50_000, .. }), "{partial}");
}

#[test]
fn only_what_was_reduced_is_said_to_be() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 200, 30);
    let note = |train: usize, val: usize, test: usize| {
        let [train_rows, val_rows, test_rows] = [train, val, test].map(Some);
        let options = LoadOptions { train_rows, val_rows, test_rows, ..LoadOptions::default() };
        load(Id::Cifar10, &source(&folder), &options).unwrap().provenance.note
    };
    // All that there are, or more, as an experiment of the full protocol asks for.
    for (train, val, test) in [(180, 20, 30), (45_000, 5_000, 10_000)] {
        assert!(!note(train, val, test).contains("class-balanced subset"), "{}", note(train, val, test));
    }
    let some = note(180, 10, 10_000);
    assert!(some.contains("class-balanced subsets of 10 of 20 val rows drawn with seed 0"), "{some}");
}

#[test]
fn a_file_that_is_not_the_hubs_is_said_to_be_another() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 200, 30);
    let said = Arc::new(Mutex::new(Vec::new()));
    let heard = said.clone();
    let progress = OnProgress::new(move |progress| {
        if let Progress::Note(text) = progress {
            heard.lock().unwrap().push((*text).to_owned());
        }
    });
    let options = LoadOptions { progress: Some(progress), ..LoadOptions::default() };
    let note = load(Id::Cifar10, &source(&folder), &options).unwrap().provenance.note;
    let words = "unlike the hub's (a data folder): rows may lie in another order";
    assert!(note.contains(words), "{note}");
    let lines = std::mem::take(&mut *said.lock().unwrap());
    assert!(
        matches!(&lines[..], [line] if line.contains(words) && line.contains("train-00000")),
        "{lines:?}"
    );

    // Where no hash is published there is nothing to differ from.
    let hub = Id::TinyImagenet.spec().hub.as_ref().unwrap();
    for (path, rows) in [(hub.train.path, 400), (hub.test.path, 200)] {
        let at = folder.path().join(hub.repo).join(path);
        write_table(&at, "image", "label", &good_rows(rows, 64, 200, rows), 150);
    }
    let note = load(Id::TinyImagenet, &source(&folder), &options).unwrap().provenance.note;
    assert!(note.contains("recorded, not compared (a data folder; none is published)"), "{note}");
    assert_eq!(*said.lock().unwrap(), [""; 0]);
}

#[test]
fn impossible_requests_say_what_is_possible() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 40, 20);
    let fails = |id: Id, source: &Source, options: LoadOptions, words: &[&str]| {
        let text = load(id, source, &options).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(text.contains(word), "no `{word}` in: {text}"));
    };
    let from = source(&folder);
    let plain = LoadOptions::default;
    fails(Id::Cifar10, &from, LoadOptions { require_full: true, ..plain() }, &["40 rows", "50000", "laptop"]);
    fails(Id::Cifar10, &from, LoadOptions { image: Some(15), ..plain() }, &["15", "4, 8, 16, 32"]);
    fails(Id::Cifar10, &from, LoadOptions { image: Some(0), ..plain() }, &["down to 0"]);
    fails(Id::Cifar10, &from, LoadOptions { val_rows: Some(0), ..plain() }, &["0 val rows"]);
    fails(Id::Cifar100, &from, plain(), &["uoft-cs/cifar100", "no such file", "--data-dir"]);
    fails(Id::Cifar10, &Source::Synthetic(1), plain(), &["cifar10", "synthetic"]);
    fails(Id::Synthetic, &Source::Hub, plain(), &["seed"]);
    cifar10(folder.path(), 2, 20);
    fails(Id::Cifar10, &from, plain(), &["too few rows"]);
}

#[test]
fn a_file_given_twice_is_found() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 40, 20);
    let hub = Id::Cifar10.spec().hub.as_ref().unwrap();
    let at = |path: &str| folder.path().join(hub.repo).join(path);
    std::fs::copy(at(hub.train.path), at(hub.test.path)).unwrap();
    let error = load(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap_err();
    assert!(matches!(error, Error::SameFile { .. }), "{error}");
    let reports = verify(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap();
    assert!(matches!(reports[1].problem, Some(Error::SameFile { .. })), "{reports:?}");
}

#[test]
fn verify_finds_what_load_would_stumble_over() {
    let folder = TempDir::new().unwrap();
    cifar10(folder.path(), 40, 20);
    let hub = Id::Cifar10.spec().hub.as_ref().unwrap();
    let train = folder.path().join(hub.repo).join(hub.train.path);
    let bytes = std::fs::read(&train).unwrap();
    std::fs::write(&train, &bytes[..bytes.len() / 2]).unwrap();
    std::fs::remove_file(folder.path().join(hub.repo).join(hub.test.path)).unwrap();
    let reports = verify(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap();
    assert!(matches!(reports[0].problem, Some(Error::Parquet { .. })), "{reports:?}");
    assert!(matches!(reports[1].problem, Some(Error::MissingFile { .. })), "{reports:?}");
}

/// A training file with all rows of the protocol whose images are not the catalog's; fewer rows are not held to it.
#[test]
fn verify_holds_the_images_to_the_catalogs_channels() {
    let folder = TempDir::new().unwrap();
    let spec = Id::Cifar10.spec();
    let hub = spec.hub.as_ref().unwrap();
    // A chessboard of mean - std and mean + std has that mean and deviation, to the rounding of its levels.
    let image = |mean: [f32; 3]| {
        let level =
            |channel: usize, sign: f32| (255.0 * (mean[channel] + sign * spec.std[channel])).round() as u8;
        let pixel = |at: usize| {
            [0, 1, 2].map(|channel| level(channel, if at.is_multiple_of(2) { -1.0 } else { 1.0 }))
        };
        let samples: Vec<u8> = (0..32 * 32).flat_map(pixel).collect();
        png(32, png::ColorType::Rgb, png::BitDepth::Eight, &samples)
    };
    let reports = |mean: [f32; 3], train: usize, test: usize| {
        for (path, count, mean) in [(hub.train.path, train, mean), (hub.test.path, test, [0.5; 3])] {
            let image = image(mean);
            let rows: Vec<_> = (0..count).map(|row| (Some(image.clone()), Some((row % 10) as i64))).collect();
            write_table(&folder.path().join(hub.repo).join(path), "img", "label", &rows, 5_000);
        }
        verify(Id::Cifar10, &source(&folder), &LoadOptions::default()).unwrap()
    };
    let right = reports(spec.mean, 50_000, 100);
    assert!(right.iter().all(|report| report.problem.is_none()), "{right:?}");
    assert!(right[0].is_full() && !right[1].is_full());
    let found = right[0].channels.unwrap();
    for (found, expected) in found.mean.iter().zip(spec.mean).chain(found.std.iter().zip(spec.std)) {
        assert!((found - f64::from(expected)).abs() < 0.5 / 255.0, "{found} {expected}");
    }

    let [red, green, blue] = spec.mean;
    let swapped = [blue, green, red];
    let wrong = reports(swapped, 50_000, 100);
    let Some(problem @ Error::Statistics { .. }) = &wrong[0].problem else { panic!("{wrong:?}") };
    let text = problem.to_string();
    assert!(text.contains("the catalog says channel means 0.4915, 0.4821, 0.4464"), "{text}");
    assert!(wrong[1].problem.is_none());
    // A part may have other statistics.
    let part = reports(swapped, 1_000, 100);
    assert!(part[0].problem.is_none() && part[0].channels.is_some(), "{part:?}");
}

#[test]
fn synthetic_images_come_from_their_seed_and_labels_from_their_posterior() {
    let options = LoadOptions {
        train_rows: Some(2000),
        val_rows: Some(100),
        test_rows: Some(100),
        ..LoadOptions::default()
    };
    let splits = load(Id::Synthetic, &Source::Synthetic(5), &options).unwrap();
    assert_eq!(splits, load(Id::Synthetic, &Source::Synthetic(5), &options).unwrap());
    let other = load(Id::Synthetic, &Source::Synthetic(6), &options).unwrap();
    assert_ne!(splits.train.images, other.train.images);
    assert_ne!(splits.train.image(0), splits.test.image(0));
    let longer = LoadOptions { train_rows: Some(2001), ..options.clone() };
    let longer = load(Id::Synthetic, &Source::Synthetic(5), &longer).unwrap();
    assert_eq!(longer.train.images[..splits.train.images.len()], splits.train.images);

    let posterior = splits.train.posterior.as_ref().unwrap();
    let (mut larger, mut agree) = (0.0, 0.0);
    for (p, &label) in posterior.chunks_exact(10).zip(&splits.train.labels) {
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6 && p.iter().all(|&p| (0.0..=1.0).contains(&p)));
        assert!(p[label as usize] > 0.0);
        let most = p.iter().copied().fold(0.0, f32::max);
        larger += f64::from(most);
        agree += f64::from(u8::from(p[label as usize] == most));
    }
    // Labels are drawn from the posterior: the more likely class is drawn as often as it says, within five standard errors.
    assert!((larger - agree).abs() < 5.0 * (2000.0_f64 * 0.08 * 0.92).sqrt(), "{larger} against {agree}");
    assert!((1700.0..1960.0).contains(&agree), "{agree} of 2000 labels are the likelier class");
}

/// The smallest images that the harness accepts have fewer pixels than a pattern has cells.
#[test]
fn synthetic_images_of_every_size_that_divides_are_made() {
    for size in [4, 8, 16, 32] {
        let options = LoadOptions {
            image: Some(size),
            train_rows: Some(20),
            val_rows: Some(10),
            test_rows: Some(10),
            ..LoadOptions::default()
        };
        let splits = load(Id::Synthetic, &Source::Synthetic(5), &options).unwrap();
        assert_eq!(splits.train.image(0).len(), 3 * size * size);
    }
}

#[test]
fn synthetic_images_that_are_too_small_or_too_many_are_refused() {
    for size in [2, 3, 257] {
        let options = LoadOptions { image: Some(size), ..LoadOptions::default() };
        let text = load(Id::Synthetic, &Source::Synthetic(1), &options).unwrap_err().to_string();
        assert!(text.contains(&format!("{size}x{size}: their size must be 4 to 256")), "{text}");
    }
    let huge = LoadOptions { train_rows: Some(usize::MAX), ..LoadOptions::default() };
    assert!(load(Id::Synthetic, &Source::Synthetic(1), &huge).is_err());
}
