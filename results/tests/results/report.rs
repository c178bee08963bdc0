//! The report from small records: its structure, its marks, its files. Values are chosen so that means can be checked by
//! eye in the snapshot: of seed s the teachers' KLD is s/10 on clean training images, the same with Gaussian noise, three
//! times that with ODS and with ConfODS; under ODS of one of three teachers the pairs without it have twice the clean KLD.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use results::analysis::{
    self, Against, Analysis, Cost, Curve, Direction, Diversity, Estimator, JacobianMatch, Match, Matrix,
    Remainder, Set, Space, TEACHERS, Transfer,
};
use results::check::Verdict;
use results::figure::Id;
use results::record::{EpochRow, LogRow, METRICS};
use results::report::{ReportFile, Section, files, page};
use results::rows::{STUDENTS, teacher};
use results::tensorboard;

use crate::made::Made;

const SEEDS: [u64; 2] = [1, 2];

fn make_records(out: &Path, experiment: &'static str) {
    for seed in SEEDS {
        for n in 1..=4 {
            Made::new(experiment, "laptop", &teacher(n), seed).write(out);
        }
        for (row, signal) in STUDENTS.iter().zip([2.1, 1.4, 1.5, 1.6, 1.8, 2.5]) {
            Made::new(experiment, "laptop", row, seed).signal(signal).write(out);
        }
    }
}

fn make_analyses(folder: &Path) {
    for seed in SEEDS {
        for row in [TEACHERS].into_iter().chain(STUDENTS) {
            made_analysis(row, seed).write(&analysis::path(folder, row, seed)).unwrap();
        }
    }
}

fn made_analysis(row: &str, seed: u64) -> Analysis {
    let is_teachers = row == TEACHERS;
    let kl = seed as f32 / 10.0;
    let diversity = |set| {
        let factor = if matches!(set, Set::Ods | Set::ConfOds) { 3.0 } else { 1.0 };
        (set, Diversity { confidence: vec![0.95, 0.55, 0.999, 1.0], kl: vec![kl * factor; 4] })
    };
    let pairs = |values: [f32; 4]| Matrix::new(2, values.to_vec());
    let curve = || Curve { change: pairs([0.01, 0.02, 0.1, 0.2]), rest: pairs([0.001, 0.002, 0.1, 0.2]) };
    let curves = Direction::ALL.into_iter().flat_map(|direction| Space::ALL.map(|space| (direction, space)));
    let cosine = STUDENTS.iter().position(|student| *student == row).unwrap_or(0) as f32 / 10.0;
    let members = if row == "kd" { 1 } else { 4 };
    let matched = || Match {
        distance: Matrix::new(2, vec![1.0 - cosine; 2 * members]),
        cosine: Matrix::new(2, vec![cosine; 2 * members]),
        error: None,
    };
    Analysis {
        row: row.to_owned(),
        seed,
        cost: Cost {
            forward_flops: if row == "kd" { 1_000 } else { 4_000 },
            parameters: if is_teachers { 400 } else { 110 },
        },
        models: BTreeMap::new(),
        perturbations: BTreeMap::new(),
        diversity: if row == "kd" { BTreeMap::new() } else { Set::PAPER.map(diversity).into() },
        // Three of four above 0.95.
        confidence: is_teachers.then(|| Matrix::new(4, [0.5, 0.96, 0.99, 1.0].repeat(4))),
        transfer: is_teachers.then(|| Transfer {
            values: Matrix::new(3, [4.0, 3.0, 3.0, 3.0, 5.0, 4.0, 3.0, 4.0, 5.0].map(|of| of * kl).to_vec()),
            clean: vec![kl; 3],
        }),
        remainder: is_teachers.then(|| Remainder {
            norm: vec![0.1, 1.0],
            training_norm: 0.2,
            curves: curves.map(|at| (at, curve())).collect(),
        }),
        jacobian: (!is_teachers).then(|| JacobianMatch {
            against: if row == "kd" { Against::Ensemble } else { Against::OneToOne },
            estimator: Estimator::Exact,
            examples: vec![3, 7],
            spaces: Space::ALL.map(|space| (space, matched())).into(),
        }),
    }
}

fn section(folder: &Path) -> Section {
    Section::read(folder).unwrap()
}

/// A page without its style and its drawings' bodies, an element a line.
fn structure(page: &str) -> String {
    let mut text = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("<svg ") {
        let (opening, body) = after.split_once('>').unwrap();
        text += &format!("{before}<svg {opening}>");
        rest = body.split_once("</svg>").unwrap().1;
    }
    text += rest;
    let (before, style) = text.split_once("<style>").unwrap();
    let text = format!("{before}<style>{}", style.split_once("</style>").unwrap().1);
    text.replace("><", ">\n<")
}

/// The figures of a page: id, `data-marks`, and everything up to the figure's end.
fn figures(page: &str) -> Vec<(String, usize, &str)> {
    let attribute = |tag: &str, name: &str| {
        let value = tag.split_once(&format!("{name}=\"")).unwrap().1;
        value.split_once('"').unwrap().0.to_owned()
    };
    let figures = page.split("<figure ").skip(1).map(|figure| figure.split_once("</figure>").unwrap().0);
    figures
        .map(|figure| {
            let tag = figure.split_once('>').unwrap().0;
            (attribute(tag, "id"), attribute(tag, "data-marks").parse().unwrap(), figure)
        })
        .collect()
}

#[test]
fn the_page_is_this() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let folder = out.path().join("quick-laptop");
    make_analyses(&folder);
    let section = section(&folder);
    let page = page(&[section]);
    insta::assert_snapshot!("report_page", structure(&page));
    for (id, marks, figure) in figures(&page) {
        assert!(marks > 0, "{id}");
        assert_eq!(figure.matches("class=\"mark ").count(), marks, "{id}");
    }
    assert_eq!(figures(&page).len(), Id::ALL.len());
    for foreign in ["<script", "http:", "https:", "url(", "@import", "<link", "<img", "NaN", "inf"] {
        let styled = page.replace("arXiv", "");
        assert!(!styled.contains(foreign), "{foreign}");
    }
}

#[test]
fn equal_records_give_equal_bytes_wherever_they_lie() {
    let pages = [(); 2].map(|()| {
        let out = tempfile::tempdir().unwrap();
        make_records(out.path(), "quick");
        page(&[section(&out.path().join("quick-laptop"))])
    });
    assert_eq!(pages[0], pages[1]);
}

#[test]
fn figures_that_the_records_cannot_give_say_why() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let page = page(&[section(&out.path().join("quick-laptop"))]);
    for (id, marks, figure) in figures(&page) {
        let missing = ["confidence", "transfer", "jacobian"].contains(&id.as_str());
        assert_eq!(marks == 0, missing, "{id}");
        assert_eq!(figure.contains("lack the arrays"), missing || id.starts_with("diversity"), "{id}");
        assert_eq!(figure.contains("<svg"), !missing, "{id}");
    }
    // A student alone has neither teachers nor their ensemble.
    let out = tempfile::tempdir().unwrap();
    Made::new("quick", "laptop", "be-kd", 1).write(out.path());
    let page = results::report::page(&[section(&out.path().join("quick-laptop"))]);
    for (id, marks, figure) in figures(&page) {
        let drawn = ["diversity-students", "reliability", "curves", "cost"].contains(&id.as_str());
        assert_eq!(marks > 0, drawn, "{id}");
        assert!(drawn || figure.contains("class=\"absent\""), "{id}");
    }
}

/// With two teachers every pair is with the perturbing one, however much it is raised.
#[test]
fn two_teachers_claim_no_transfer() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let folder = out.path().join("quick-laptop");
    let transfer = |matrix: Matrix, clean| Some(Transfer { values: matrix, clean });
    let claim = |transfer: &dyn Fn(f32) -> Option<Transfer>| {
        for seed in SEEDS {
            let one = Analysis { transfer: transfer(seed as f32), ..made_analysis(TEACHERS, seed) };
            one.write(&analysis::path(&folder, TEACHERS, seed)).unwrap();
        }
        section(&folder).figures.into_iter().find(|figure| figure.id == Id::Transfer).unwrap()
    };
    let three = claim(&|kl| made_analysis(TEACHERS, kl as u64).transfer);
    assert!(three.claim.evidence.starts_with("0.3000 and 0.1500"), "{:?}", three.claim);
    let two = claim(&|kl| transfer(Matrix::new(2, vec![9.0 * kl; 4]), vec![kl; 2]));
    assert_eq!(two.claim.verdict, Verdict::Inconclusive);
    assert_eq!(two.claim.evidence, "no seed has both sides");
    assert!(two.number.contains("no pair without it") && two.drawing.is_ok(), "{}", two.number);
}

/// The network of a run is that of the best validation accuracy, which need not be that of the last epoch.
#[test]
fn teachers_fit_by_the_epoch_that_is_kept() {
    let out = tempfile::tempdir().unwrap();
    let [first, last] = Made::epochs();
    let epochs = [EpochRow { val_acc: Some(0.8), ..first }, last];
    for seed in SEEDS {
        let record = Made::new("quick", "laptop", "teacher-1", seed).write(out.path());
        EpochRow::write_all(&epochs, &record.dir().join(METRICS)).unwrap();
    }
    let figures = section(&out.path().join("quick-laptop")).figures;
    let curves = figures.into_iter().find(|figure| figure.id == Id::Curves).unwrap();
    assert!(curves.claim.evidence.starts_with("0.5000 against 0.99"), "{:?}", curves.claim);
    assert_eq!(curves.claim.verdict, Verdict::Fail);
    assert!(curves.number.contains("50.00"), "{}", curves.number);
}

#[test]
fn several_experiments_have_ids_of_their_own() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    make_records(out.path(), "cifar100");
    let sections = ["cifar100-laptop", "quick-laptop"].map(|folder| section(&out.path().join(folder)));
    let page = page(&sections);
    let ids: Vec<String> = figures(&page).into_iter().map(|(id, ..)| id).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len());
    assert_eq!(ids[0], "confidence");
    assert_eq!(ids[Id::ALL.len()], "quick-laptop-confidence");
    // CIFAR-100 has published numbers, which stand under ours with the difference.
    assert!(page.contains("published") && page.contains("difference"));

    let files = files(&sections).unwrap();
    let has = |path: &str| files.iter().any(|file| file.path == Path::new(path));
    assert!(has("cifar100-laptop/dee.svg") && has("quick-laptop/dee.png"));
}

#[test]
fn figures_and_tables_are_files() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let folder = out.path().join("quick-laptop");
    make_analyses(&folder);
    let files = files(&[section(&folder)]).unwrap();
    let names: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    insta::assert_snapshot!("report_files", names.join("\n"));
    for ReportFile { path, bytes } in &files {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("png") => assert!(bytes.starts_with(b"\x89PNG\r\n"), "{path:?}"),
            Some("svg") => assert!(bytes.starts_with(b"<svg xmlns"), "{path:?}"),
            _ => assert!(std::str::from_utf8(bytes).unwrap().lines().count() > 1, "{path:?}"),
        }
    }
}

/// Rows of other papers have looks of their own, the same in every figure, and stand in the captions.
#[test]
fn rows_outside_the_paper_are_told_apart() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let folder = out.path().join("quick-laptop");
    make_analyses(&folder);
    let others = ["latent-be", "my-probe"];
    for (row, seed) in others.into_iter().flat_map(|row| SEEDS.map(|seed| (row, seed))) {
        Made::new("quick", "laptop", row, seed).members(4).write(out.path());
        made_analysis(row, seed).write(&analysis::path(&folder, row, seed)).unwrap();
    }
    let figures = section(&folder).figures;
    let of = |id: Id| figures.iter().find(|figure| figure.id == id).unwrap();
    for id in [Id::DiversityStudents, Id::Jacobian, Id::Reliability, Id::Dee] {
        let figure = of(id);
        assert!(others.iter().all(|row| figure.number.contains(row)), "{id:?}: {}", figure.number);
    }
    assert!(of(Id::DiversityStudents).sentence.contains("my-probe"));
    for id in [Id::DiversityStudents, Id::Jacobian, Id::Reliability, Id::Curves, Id::Cost, Id::Dee] {
        let svg = of(id).drawing.as_ref().unwrap().svg("a figure");
        let look = |row: &str| -> String {
            let of_row = |line: &&str| {
                let title = line.split_once("<title>").map(|(_, title)| title);
                title.is_some_and(|title| {
                    [":", ","].iter().any(|end| title.starts_with(&format!("{row}{end}")))
                })
            };
            let mark = svg.lines().find(of_row).unwrap_or_else(|| panic!("{id:?} has no mark of {row}"));
            let class = mark.split_once("class=\"").unwrap().1.split_once('"').unwrap().0;
            class.split(' ').find(|name| name.starts_with('c')).unwrap().to_owned()
        };
        assert_eq!([look(others[0]), look(others[1])], ["c7", "c1"], "{id:?}");
        assert_eq!(look("be-kd-ods"), "c3", "{id:?}");
    }
}

/// What a method of one's own perturbs has a panel, a group of marks whose label is no wider than it, and a number.
#[test]
fn perturbations_outside_the_paper_are_shown() {
    const NAME: &str = "be-kd-neighbours-probe";
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let folder = out.path().join("quick-laptop");
    for (row, seed) in [TEACHERS].into_iter().chain(STUDENTS).flat_map(|row| SEEDS.map(|seed| (row, seed))) {
        let mut made = made_analysis(row, seed);
        if let Some(seen) = made.diversity.get(&Set::Ods).cloned() {
            made.diversity.insert(Set::Method(NAME.to_owned()), seen);
        }
        made.write(&analysis::path(&folder, row, seed)).unwrap();
    }
    let figures = section(&folder).figures;
    let of = |id: Id| figures.iter().find(|figure| figure.id == id).unwrap();
    let number = &of(Id::DiversityTeachers).number;
    assert!(number.ends_with(&format!(" with {NAME}")), "{number}");
    let svg = |id: Id| of(id).drawing.as_ref().unwrap().svg("a figure");
    for id in [Id::DiversityTeachers, Id::DiversityStudents] {
        assert!(svg(id).contains(&format!(">training, {NAME}<")), "{id:?}");
    }
    for line in [">be-kd-<", ">neighbours-<", ">probe<"] {
        assert!(svg(Id::DiversityStudents).contains(line), "{line}");
    }
}

#[test]
fn event_files_lie_as_the_records_do() {
    let out = tempfile::tempdir().unwrap();
    make_records(out.path(), "quick");
    let section = section(&out.path().join("quick-laptop"));
    let files = tensorboard::files(&section.sources);
    // Ten records a seed, and the seed's ensembles.
    assert_eq!(files.len(), 2 * 11);
    let of = |start: &str| files.iter().find(|file| file.path.starts_with(start)).unwrap();
    let text = |file: &ReportFile| String::from_utf8_lossy(&file.bytes).into_owned();
    let student = text(of("quick-laptop/be-kd/seed-2"));
    for tag in ["train/loss", "validation/nll", "test/acc", "test/dee", "brain.Event:2"] {
        assert!(student.contains(tag), "{tag}");
    }
    // A teacher is no row of the table; an ensemble has no training of its own.
    assert!(!text(of("quick-laptop/teacher-1/seed-1")).contains("test/acc"));
    let ensembles = text(of("quick-laptop/de/seed-1"));
    assert!(ensembles.contains("test/cnll") && !ensembles.contains("train/loss"));
}
