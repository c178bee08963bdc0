//! The predictions of one seed's records, and the rows of a table that they give.

use metrics::Probs;
use rayon::prelude::*;

use crate::record::{PREDICTIONS, Predictions, Record, Split};
use crate::{Error, Result, rows};

/// The predictions of one seed.
pub(crate) struct Predicted<'a> {
    /// Every record with its predictions.
    records: Vec<(&'a Record, Predictions)>,
    /// How many teachers there are from `teacher-1` without a gap.
    teachers: usize,
    /// Member-major logits of these teachers end to end: their beginning is the ensemble DE-n.
    val: Vec<f32>,
    test: Vec<f32>,
}

impl<'a> Predicted<'a> {
    /// Reads the predictions of `records`, all of one seed, and holds them to one split of one data set, and teachers to
    /// one member.
    pub(crate) fn read(records: &'a [Record]) -> Result<Self> {
        let records = read(records)?;
        let teachers: Vec<&Predictions> = (1..).map_while(|n| of(&records, &rows::teacher(n))).collect();
        let together = |split: fn(&Predictions) -> &Split| {
            teachers.iter().flat_map(|one| split(one).logits.iter().copied()).collect()
        };
        let (val, test) = (together(|one| &one.val), together(|one| &one.test));
        Ok(Self { teachers: teachers.len(), val, test, records })
    }

    /// How many teachers there are from `teacher-1` without a gap.
    pub(crate) fn teachers(&self) -> usize {
        self.teachers
    }

    /// These teachers, each by itself.
    pub(crate) fn alone(&self) -> impl Iterator<Item = Candidate<'_>> {
        (1..=self.teachers).filter_map(|n| {
            let row = rows::teacher(n);
            let Predictions { val, test } = of(&self.records, &row)?;
            Some(Candidate { val: val.into(), test: test.into(), row })
        })
    }

    /// The rows: `de-1` .. `de-<teachers>`, then the students.
    pub(crate) fn candidates(&self) -> Vec<Candidate<'_>> {
        let one = of(&self.records, &rows::teacher(1));
        let ensembles = one.into_iter().flat_map(|one| {
            (1..=self.teachers).map(move |n| Candidate {
                row: rows::ensemble(n),
                val: Members {
                    logits: &self.val[..n * one.val.logits.len()],
                    m: n,
                    ..Members::from(&one.val)
                },
                test: Members {
                    logits: &self.test[..n * one.test.logits.len()],
                    m: n,
                    ..Members::from(&one.test)
                },
            })
        });
        let students =
            self.records.iter().filter(|(record, _)| rows::teacher_index(&record.info().row).is_none());
        let students = students.map(|(record, predictions)| Candidate {
            row: record.info().row.clone(),
            val: Members::from(&predictions.val),
            test: Members::from(&predictions.test),
        });
        ensembles.chain(students).collect()
    }
}

/// The predictions of `row`.
fn of<'p>(records: &'p [(&Record, Predictions)], row: &str) -> Option<&'p Predictions> {
    records.iter().find(|(record, _)| record.info().row == row).map(|(_, predictions)| predictions)
}

/// The predictions of every record, of one split of one data set.
fn read(records: &[Record]) -> Result<Vec<(&Record, Predictions)>> {
    let predictions = records
        .par_iter()
        .map(|record| Ok((record, record.predictions()?)))
        .collect::<Result<Vec<(&Record, Predictions)>>>()?;
    for (record, own) in &predictions {
        for (name, split) in [("validation", &own.val), ("test", &own.test)] {
            if split.logits.iter().any(|logit| !logit.is_finite()) {
                let what = format!("{}, {name} images", record.dir().join(PREDICTIONS).display());
                split.probs().map_err(|source| Error::Score { what, source })?;
            }
        }
        let wrong = |key, expected, found| Error::Mismatch {
            path: record.dir().join(PREDICTIONS),
            key,
            expected,
            found,
            advice: "a table compares runs of one seed on the same examples: run this record again",
        };
        if rows::teacher_index(&record.info().row).is_some() && own.test.m != 1 {
            return Err(wrong("members of a teacher", "1".into(), own.test.m.to_string()));
        }
        let Some((first, expected)) = predictions.first() else { continue };
        if own.test.k != expected.test.k {
            return Err(wrong("classes", expected.test.k.to_string(), own.test.k.to_string()));
        }
        for (key, own, expected) in [
            ("val.labels", &own.val.labels, &expected.val.labels),
            ("test.labels", &own.test.labels, &expected.test.labels),
        ] {
            if own != expected {
                let expected = format!("the labels of {}", first.dir().display());
                return Err(wrong(key, expected, "other labels".into()));
            }
        }
    }
    Ok(predictions)
}

/// A row to be scored.
pub(crate) struct Candidate<'a> {
    /// `de-<n>` or a student.
    pub(crate) row: String,
    pub(crate) val: Members<'a>,
    pub(crate) test: Members<'a>,
}

/// The logits (M, N, K) of one split with its labels (N).
#[derive(Clone, Copy)]
pub(crate) struct Members<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) labels: &'a [u32],
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
}

impl<'a> From<&'a Split> for Members<'a> {
    fn from(split: &'a Split) -> Self {
        Self { logits: &split.logits, labels: &split.labels, m: split.m, n: split.n, k: split.k }
    }
}

impl Members<'_> {
    /// The members' averaged probabilities.
    pub(crate) fn probs(&self) -> metrics::Result<Probs> {
        Probs::mean_of_members(self.logits, self.m, self.n, self.k)
    }
}
