//! Records on disk: what is written is read back, what is wrong is refused with its name.

use std::fs;
use std::path::Path;

use crate::made::Made;
use proptest::prelude::*;
use results::Error;
use results::record::{
    EpochRow, LogRow, METRICS, MODEL, PREDICTIONS, Predictions, RUN, Record, RunInfo, Split, TimingRow,
    folders, scan,
};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

fn run() -> Made {
    Made::new("quick", "smoke", "be-kd", 2)
}

#[test]
fn a_draft_becomes_a_record_that_reads_back() {
    let out = tempfile::tempdir().unwrap();
    let place = run().place();
    assert!(!place.is_finished(out.path()));
    let record = run().write(out.path());
    assert!(place.is_finished(out.path()));
    assert!(!place.draft_dir(out.path()).exists());
    assert_eq!(record.dir(), out.path().join("quick-smoke/be-kd/seed-2"));
    assert_eq!(record.info(), &run().info());
    assert_eq!(record.predictions().unwrap(), run().predictions());
    assert_eq!(record.epochs().unwrap(), Made::epochs());
    assert_eq!(record.timings().unwrap(), [TimingRow { epoch: 1, seconds: 2.5, images_per_s: 40.0 }]);
    assert_eq!(record.model(), None);
    fs::write(record.dir().join(MODEL), "").unwrap();
    assert_eq!(record.model(), Some(record.dir().join(MODEL)));
}

#[test]
fn equal_runs_are_equal_byte_by_byte() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (one, two) = (run().write(one.path()), run().write(two.path()));
    for entry in fs::read_dir(one.dir()).unwrap() {
        let name = entry.unwrap().file_name();
        let read = |record: &Record| fs::read(record.dir().join(&name)).unwrap();
        assert_eq!(read(&one), read(&two), "{name:?}");
    }
}

#[test]
fn a_record_is_never_overwritten() {
    let out = tempfile::tempdir().unwrap();
    let record = run().write(out.path());
    assert!(matches!(run().place().begin(out.path()), Err(Error::Exists { .. })));
    // A second run that began before the first was done must not replace it either.
    let draft = run().place().draft_dir(out.path());
    fs::create_dir(&draft).unwrap();
    for file in ["run.toml", "metrics.csv", "predictions.safetensors"] {
        fs::copy(record.dir().join(file), draft.join(file)).unwrap();
    }
    assert!(matches!(run().place().finish(out.path()), Err(Error::Exists { .. })));
}

#[test]
fn a_path_that_no_record_has_is_named() {
    let out = tempfile::tempdir().unwrap();
    for (dir, is_made) in
        [(out.path().join("quick-smoke/be/seed-1"), false), (out.path().join("quick-smoke"), true)]
    {
        if is_made {
            fs::create_dir_all(&dir).unwrap();
        }
        let error = Record::open(&dir).unwrap_err();
        assert!(matches!(&error, Error::NoRecord { dir: named } if *named == dir), "{error}");
    }
}

#[test]
fn an_interrupted_draft_is_no_record_and_is_begun_anew() {
    let out = tempfile::tempdir().unwrap();
    let draft = run().draft(out.path());
    fs::write(draft.join(".tmp-model.safetensors"), "half").unwrap();
    assert_eq!(scan(out.path()).unwrap(), []);
    let error = run().place().finish(out.path()).unwrap_err();
    assert!(matches!(error, Error::Incomplete { file: PREDICTIONS, .. }), "{error}");
    assert_eq!(run().place().begin(out.path()).unwrap(), draft);
    assert_eq!(fs::read_dir(&draft).unwrap().count(), 0);
}

/// What there is of a damaged record is not given up: its predictions are good.
#[test]
fn a_record_that_lacks_a_file_is_not_to_be_removed() {
    let out = tempfile::tempdir().unwrap();
    let record = run().write(out.path());
    fs::remove_file(record.dir().join(METRICS)).unwrap();
    let error = Record::open(record.dir()).unwrap_err().to_string();
    assert!(error.contains("metrics.csv is missing; put the file back"), "{error}");
    assert!(!error.contains("remove") && !error.contains("delete"), "{error}");
}

#[test]
fn a_draft_must_describe_its_own_run() {
    let out = tempfile::tempdir().unwrap();
    let draft = run().draft(out.path());
    run().predictions().write(&draft.join(PREDICTIONS)).unwrap();
    RunInfo { seed: 3, ..run().info() }.write(&draft.join(RUN)).unwrap();
    let error = run().place().finish(out.path()).unwrap_err();
    assert!(matches!(&error, Error::Mismatch { key: "seed", .. }), "{error}");
}

#[test]
fn a_renamed_record_is_noticed() {
    let out = tempfile::tempdir().unwrap();
    let record = run().write(out.path());
    let moved = record.dir().with_file_name("seed-7");
    fs::rename(record.dir(), &moved).unwrap();
    let error = Record::open(&moved).unwrap_err();
    assert!(error.to_string().contains("seed: expected seed-7, found seed-2"), "{error}");
}

#[test]
fn run_toml_has_one_order() {
    let dir = tempfile::tempdir().unwrap();
    run().info().write(&dir.path().join(RUN)).unwrap();
    insta::assert_snapshot!(fs::read_to_string(dir.path().join(RUN)).unwrap());
}

/// Records from before the machine was recorded.
#[test]
fn a_run_toml_without_a_machine_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(RUN);
    run().info().write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let older = text.replace("machine = \"x86_64-linux avx2\"\n", "");
    assert!(older.len() < text.len(), "{text}");
    fs::write(&path, &older).unwrap();
    let info = RunInfo::read(&path).unwrap();
    assert_eq!(info, RunInfo { machine: None, ..run().info() });
    info.write(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), older);
}

#[test]
fn a_wrong_key_in_run_toml_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(RUN);
    run().info().write(&path).unwrap();
    let text = fs::read_to_string(&path).unwrap().replace("threads = 2", "thraeds = 2");
    fs::write(&path, text).unwrap();
    let Err(Error::Toml { path: named, source, .. }) = RunInfo::read(&path) else { panic!("accepted") };
    assert_eq!(named, path);
    assert!(source.to_string().contains("thraeds"), "{source}");
}

#[test]
fn the_logs_are_the_documented_text() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metrics.csv");
    EpochRow::write_all(&Made::epochs(), &path).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        "epoch,lr,loss,ce,kd,train_acc,val_acc,val_nll\n\
         1,0.05,1.5,1.25,0.3333333333333333,0.5,,\n\
         2,0.0005,1e-7,,,1.0,0.75,0.7\n"
    );
    EpochRow::write_all(&[], &path).unwrap();
    assert_eq!(EpochRow::read_all(&path).unwrap(), []);
}

#[test]
fn a_bad_log_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("timing.csv");
    fs::write(&path, "epoch,seconds\n1,2\n").unwrap();
    let error = TimingRow::read_all(&path).unwrap_err();
    assert!(error.to_string().contains("expected the columns `epoch,seconds,images_per_s`"), "{error}");
    for line in ["1,2.0,fast", "1,2.0", "-1,2.0,3.0"] {
        fs::write(&path, format!("epoch,seconds,images_per_s\n1,2.0,3.0\n{line}\n")).unwrap();
        let Err(Error::Csv { source, .. }) = TimingRow::read_all(&path) else { panic!("{line} accepted") };
        assert!(source.to_string().contains("line: 3"), "{source}");
    }
}

#[test]
fn predictions_have_the_documented_tensors() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(PREDICTIONS);
    run().predictions().write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut found: Vec<_> =
        tensors.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec())).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(
        found,
        [
            ("test.labels".to_owned(), Dtype::I64, vec![60]),
            ("test.logits".to_owned(), Dtype::F32, vec![4, 60, 5]),
            ("val.labels".to_owned(), Dtype::I64, vec![40]),
            ("val.logits".to_owned(), Dtype::F32, vec![4, 40, 5]),
        ]
    );
}

#[test]
fn half_precision_is_read_as_what_is_stored() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(PREDICTIONS);
    let exact = run().predictions();
    exact.write_half(&path).unwrap();
    let half = Predictions::read(&path).unwrap();
    assert_eq!(half.test.labels, exact.test.labels);
    assert_ne!(half.test.logits, exact.test.logits);
    for (stored, logit) in half.test.logits.iter().zip(&exact.test.logits) {
        // 11 bits of significand: half a unit in the last place is 2^-11 of the value.
        assert!((stored - logit).abs() <= logit.abs() / 2048.0 + 1e-7, "{stored} for {logit}");
    }
    let mut large = exact;
    large.val.logits[3] = 1e6;
    let error = large.write_half(&path).unwrap_err();
    assert!(error.to_string().contains("val.logits: expected logits in the range of f16"), "{error}");
}

/// One bit in each tensor in turn, that leaves a number: with the checksum it is damage; a file of before has none.
#[test]
fn a_changed_bit_in_predictions_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(PREDICTIONS);
    run().predictions().write(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    for at in [header, header + 8 * 60, whole.len() / 2, whole.len() - 4] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        let error = Predictions::read(&path).unwrap_err();
        assert!(matches!(error, Error::Checksum { .. }), "byte {at}: {error}");
        assert!(error.to_string().contains("put it back from a copy"), "{error}");
    }
    let without = String::from_utf8_lossy(&whole[..header]).replace("crc32c", "before");
    fs::write(&path, [without.as_bytes(), &whole[header..]].concat()).unwrap();
    assert_eq!(Predictions::read(&path).unwrap(), run().predictions());
}

/// What is wrong with predictions is refused on writing, under the tensor's name.
#[test]
fn wrong_predictions_are_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(PREDICTIONS);
    let refused = |change: &dyn Fn(&mut Predictions), tensor: &str| {
        let mut predictions = run().predictions();
        change(&mut predictions);
        let Err(Error::Tensor { name, .. }) = predictions.write(&path) else { panic!("{tensor} written") };
        assert_eq!(name, tensor);
        assert!(!path.exists());
    };
    refused(&|p| p.val.logits.truncate(7), "val.logits");
    refused(&|p| p.test.labels.truncate(7), "test.labels");
    refused(&|p| p.val.labels[39] = 5, "val.labels");
    refused(&|p| p.test = Split { logits: vec![], labels: vec![], m: 4, n: 0, k: 5 }, "test.logits");
    refused(&|p| p.val.m = usize::MAX, "val.logits");
    refused(&|p| (p.test.m, p.test.k) = (2, 10), "test.logits");
}

#[test]
fn foreign_predictions_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(PREDICTIONS);
    fs::write(&path, "not a tensor").unwrap();
    assert!(matches!(Predictions::read(&path), Err(Error::Safetensors { .. })));
    assert!(matches!(Predictions::read(dir.path().join("none").as_path()), Err(Error::Io { .. })));

    let logits = (Dtype::F32, vec![1, 2, 2], vec![0; 16]);
    let labels = (Dtype::I64, vec![2], vec![0; 16]);
    let negative: Vec<u8> = [0_i64, -1].iter().flat_map(|label| label.to_le_bytes()).collect();
    let error = |val_logits: &Raw, val_labels: Option<&Raw>| {
        let tensors = [
            ("val.logits", Some(val_logits)),
            ("val.labels", val_labels),
            ("test.logits", Some(&logits)),
            ("test.labels", Some(&labels)),
        ];
        let present = tensors.into_iter().filter_map(|(name, raw)| Some((name, raw?)));
        write_raw(&path, present);
        Predictions::read(&path).unwrap_err().to_string()
    };
    for (message, wanted) in [
        (error(&(Dtype::F64, vec![1, 2, 2], vec![0; 32]), Some(&labels)), "val.logits: expected f32 or f16"),
        (
            error(&(Dtype::F32, vec![2, 2], vec![0; 16]), Some(&labels)),
            "val.logits: expected shape (M, N, K)",
        ),
        (error(&logits, Some(&(Dtype::I32, vec![2], vec![0; 8]))), "val.labels: expected i64"),
        (error(&logits, Some(&(Dtype::I64, vec![2, 1], vec![0; 16]))), "val.labels: expected shape (N)"),
        (error(&logits, Some(&(Dtype::I64, vec![3], vec![0; 24]))), "val.labels: expected 2 labels"),
        (error(&logits, Some(&(Dtype::I64, vec![2], negative))), "found -1"),
        (error(&logits, None), "is not the safetensors file that it should be"),
    ] {
        assert!(message.contains(wanted), "{message}");
    }
}

type Raw = (Dtype, Vec<usize>, Vec<u8>);

fn write_raw<'a>(path: &Path, tensors: impl Iterator<Item = (&'a str, &'a Raw)>) {
    let views = tensors
        .map(|(name, (dtype, shape, bytes))| (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn scan_finds_records_at_three_depths_in_order() {
    let out = tempfile::tempdir().unwrap();
    for (row, seed) in [("kd", 10), ("kd", 2), ("teacher-10", 1), ("teacher-2", 1), ("zoo", 1), ("be", 1)] {
        Made::new("quick", "smoke", row, seed).write(out.path());
    }
    Made::new("cifar10", "laptop", "kd", 1).write(out.path());
    Made::new("quick", "smoke", "be-kd", 1).draft(out.path());
    let experiment = out.path().join("quick-smoke");
    fs::write(experiment.join("table.csv"), "").unwrap();
    fs::create_dir(experiment.join("figures")).unwrap();
    fs::create_dir(experiment.join("kd/seed-x")).unwrap();
    fs::create_dir_all(out.path().join(".trash/kd/seed-1")).unwrap();

    let found = |root: &Path| -> Vec<String> {
        let paths = scan(root).unwrap().into_iter();
        paths.map(|at| format!("{}/{}/{}", at.folder, at.row, at.seed)).collect()
    };
    let quick =
        ["teacher-2/1", "teacher-10/1", "kd/2", "kd/10", "be/1", "zoo/1"].map(|s| format!("quick-smoke/{s}"));
    assert_eq!(found(out.path()), [vec!["cifar10-laptop/kd/1".to_owned()], quick.to_vec()].concat());
    assert_eq!(found(&experiment), quick);
    assert_eq!(found(&experiment.join("be/../../quick-smoke")), quick);
    assert_eq!(found(&experiment.join("kd")), quick[2..4]);
    assert_eq!(found(&experiment.join("figures")), Vec::<String>::new());
    assert!(matches!(scan(&out.path().join("none")), Err(Error::NoRecords { .. })));

    let root = out.path().canonicalize().unwrap();
    assert_eq!(folders(&root).unwrap(), ["cifar10-laptop", "quick-smoke"].map(|name| root.join(name)));
    assert_eq!(folders(&experiment.join("kd")).unwrap(), [root.join("quick-smoke")]);
    assert!(matches!(folders(&experiment.join("figures")), Err(Error::NoRecords { .. })));
}

proptest! {
    /// Every number of a log reads back as the same number.
    #[test]
    fn logs_keep_every_bit(
        epoch in any::<u32>(),
        numbers in proptest::array::uniform3(proptest::num::f64::NORMAL | proptest::num::f64::ZERO),
        parts in proptest::array::uniform4(proptest::option::of(proptest::num::f64::NORMAL)),
    ) {
        let ([lr, loss, train_acc], [ce, kd, val_acc, val_nll]) = (numbers, parts);
        let row = EpochRow { epoch, lr, loss, ce, kd, train_acc, val_acc, val_nll };
        let dir = tempfile::tempdir().unwrap();
        EpochRow::write_all(&[row], &dir.path().join("metrics.csv")).unwrap();
        prop_assert_eq!(EpochRow::read_all(&dir.path().join("metrics.csv")).unwrap(), [row]);
    }

    /// Every prediction reads back as the same bits, whatever its sizes.
    #[test]
    fn predictions_keep_every_bit(
        (m, k, val, test) in (1_usize..4, 1_usize..5, 1_usize..6, 1_usize..6),
        values in proptest::collection::vec(proptest::num::f32::NORMAL, 200),
    ) {
        let mut values = values.iter().copied().cycle();
        let mut split = |n: usize| Split {
            logits: values.by_ref().take(m * n * k).collect(),
            labels: (0..n).map(|i| (i % k) as u32).collect(),
            m, n, k,
        };
        let predictions = Predictions { val: split(val), test: split(test) };
        let dir = tempfile::tempdir().unwrap();
        predictions.write(&dir.path().join(PREDICTIONS)).unwrap();
        prop_assert_eq!(Predictions::read(&dir.path().join(PREDICTIONS)).unwrap(), predictions);
    }
}
