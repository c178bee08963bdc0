//! How much a row's members disagree on training images, image by image (the paper's figure 3), how sure each teacher is
//! there (figure 1), and whether perturbations of one teacher make others disagree (figure 6).

use std::collections::BTreeMap;

use candle_core::Tensor;
use methods::distill::teacher_logits;
use metrics::Probs;
use nn::{Mode, Network};
use results::analysis::{Diversity, Matrix, Set, Transfer};

use super::inputs::Inputs;

/// The diversity of the subnetworks of `student` on every set; nothing where it is one network.
///
/// # Errors
/// Logits that are not finite; failures of the device; a signal.
pub fn of_student(student: &Network, inputs: &Inputs<'_>) -> anyhow::Result<BTreeMap<Set, Diversity>> {
    match student.members() {
        1 => Ok(BTreeMap::new()),
        _ => measure(inputs, |images| student.frozen_logits(images, Mode::Eval)),
    }
}

/// The diversity of the teachers on every set; nothing for one teacher.
///
/// # Errors
/// As [`of_student`].
pub fn of_teachers(teachers: &[Network], inputs: &Inputs<'_>) -> anyhow::Result<BTreeMap<Set, Diversity>> {
    match teachers.len() {
        1 => Ok(BTreeMap::new()),
        _ => measure(inputs, |images| teacher_logits(teachers, images)),
    }
}

fn measure(
    inputs: &Inputs<'_>,
    predict: impl Fn(&Tensor) -> nn::Result<Tensor>,
) -> anyhow::Result<BTreeMap<Set, Diversity>> {
    let mut found: BTreeMap<Set, Diversity> = BTreeMap::new();
    inputs.for_each_batch(|step, batch| {
        for (set, images) in inputs.sets(step, batch)? {
            let Logits { logits, m, n, k } = Logits::of(&predict(&images)?)?;
            let diversity = found.entry(set.clone()).or_default();
            let confidences = Probs::mean_of_members(&logits, m, n, k)?.confidences();
            diversity.confidence.extend(confidences.into_iter().map(|confidence| confidence as f32));
            let kl = metrics::pairwise_kl(&logits, m, n, k)?;
            diversity.kl.extend(kl.into_iter().map(|kl| kl as f32));
        }
        Ok(())
    })?;
    Ok(found)
}

/// Each teacher's largest probability on clean training images, (M, N).
///
/// # Errors
/// As [`of_student`].
pub fn confidence(teachers: &[Network], inputs: &Inputs<'_>) -> anyhow::Result<Matrix> {
    let mut found = vec![Vec::new(); teachers.len()];
    inputs.for_each_batch(|_, batch| {
        for (teacher, found) in teachers.iter().zip(&mut found) {
            let Logits { logits, m, n, k } = Logits::of(&teacher.frozen_logits(&batch.images, Mode::Eval)?)?;
            let confidences = Probs::mean_of_members(&logits, m, n, k)?.confidences();
            found.extend(confidences.into_iter().map(|confidence| confidence as f32));
        }
        Ok(())
    })?;
    Ok(Matrix::new(inputs.images(), found.concat()))
}

/// The teachers' diversity under ODS that each of them makes in turn; nothing for one teacher.
///
/// # Errors
/// As [`of_student`].
pub fn transfer(teachers: &[Network], inputs: &Inputs<'_>) -> anyhow::Result<Option<Transfer>> {
    let members = teachers.len();
    if members < 2 {
        return Ok(None);
    }
    // The last row is that of clean images.
    let mut sums = vec![0.0; (members + 1) * members];
    inputs.for_each_batch(|step, batch| {
        for (by, sums) in sums.chunks_exact_mut(members).enumerate() {
            let images = if by < members { inputs.ods_by(by, step, batch)? } else { batch.images.clone() };
            let Logits { logits, m, n, k } = Logits::of(&teacher_logits(teachers, &images)?)?;
            for (sum, kl) in sums.iter_mut().zip(metrics::member_kl(&logits, m, n, k)?) {
                *sum += kl * n as f64;
            }
        }
        Ok(())
    })?;
    let mut values: Vec<f32> = sums.iter().map(|sum| (sum / inputs.images() as f64) as f32).collect();
    let clean = values.split_off(members * members);
    Ok(Some(Transfer { values: Matrix::new(members, values), clean }))
}

/// Logits (M, B, K) in host memory, member-major.
struct Logits {
    logits: Vec<f32>,
    m: usize,
    n: usize,
    k: usize,
}

impl Logits {
    fn of(logits: &Tensor) -> nn::Result<Self> {
        let (m, n, k) = logits.dims3()?;
        Ok(Self { logits: logits.flatten_all()?.to_vec1()?, m, n, k })
    }
}
