//! How close a student's Jacobians are to its teachers' on test images (the paper's section 5.3).
//!
//! Per image: the distance ‖J_S - J_T‖ / ‖J_T‖ and the cosine of J_S and J_T in the Frobenius inner product, at
//! temperature 1. Subnetwork m is compared with teacher m; a student of one network with the ensemble, whose Jacobian is
//! the mean of its teachers'.

use anyhow::ensure;
use candle_core::Tensor;
use datasets::Dataset;
use nn::Network;
use results::analysis::{Against, Estimator, JacobianMatch, Match, MatchError, Matrix, Space};

use super::linearization::Linearization;
use super::probes::Probes;
use crate::interrupt;
use crate::train::evaluate;

/// Images that are differentiated at once: what is kept of a Jacobian grows with it.
const BATCH: usize = 32;

/// Compares `student` with `teachers` on the images `rows` of `data`.
///
/// # Errors
/// A student of several subnetworks that are not as many as the teachers; failures of the device; a signal.
pub fn compare(
    student: &Network,
    teachers: &[Network],
    data: &Dataset,
    rows: Vec<usize>,
    probes: &Probes,
) -> anyhow::Result<JacobianMatch> {
    let against = if student.members() == 1 { Against::Ensemble } else { Against::OneToOne };
    ensure!(
        student.members() == 1 || student.members() == teachers.len(),
        "{} subnetworks cannot be compared with {} teachers one to one",
        student.members(),
        teachers.len()
    );
    let members =
        (0..student.members()).map(|index| student.member(index)).collect::<nn::Result<Vec<_>>>()?;
    // [space][member], image by image.
    let mut found = [Space::Logits, Space::Probs].map(|_| vec![Vec::new(); members.len()]);
    for rows in rows.chunks(BATCH) {
        let images = evaluate::gather(data, rows, student.device())?;
        for (index, member) in members.iter().enumerate() {
            let teachers = match against {
                Against::OneToOne => &teachers[index..=index],
                Against::Ensemble => teachers,
            };
            let own = sketches(std::slice::from_ref(member), &images, rows, probes)?;
            let theirs = sketches(teachers, &images, rows, probes)?;
            for (found, (own, theirs)) in found.iter_mut().zip(own.iter().zip(&theirs)) {
                found[index].extend(similarities(own, theirs, rows.len(), probes.estimator()));
            }
        }
    }
    let spaces = Space::ALL.into_iter().zip(found).map(|(space, found)| (space, collected(&found))).collect();
    Ok(JacobianMatch { against, estimator: probes.estimator(), examples: rows, spaces })
}

/// A^T v for every v of the probes, (B, D) each, where A is the mean of the networks' Jacobians.
type Sketch = Vec<Vec<f32>>;

/// One sketch for each of [`Space::ALL`].
fn sketches(
    networks: &[Network],
    images: &Tensor,
    rows: &[usize],
    probes: &Probes,
) -> anyhow::Result<[Sketch; 2]> {
    let mut sketches = [Sketch::new(), Sketch::new()];
    let share = 1.0 / networks.len().max(1) as f32;
    let mut rounds = interrupt::Rounds::new();
    for (index, network) in networks.iter().enumerate() {
        let network = Linearization::new(network, images)?;
        for (space, sketch) in Space::ALL.into_iter().zip(&mut sketches) {
            for probe in 0..probes.count() {
                rounds.again()?;
                let pulled = network.pull_back(space, &probes.vectors(probe, rows))?;
                match sketch.get_mut(probe).filter(|_| index > 0) {
                    Some(sum) => sum.iter_mut().zip(&pulled).for_each(|(sum, value)| *sum += share * value),
                    None => sketch.push(pulled.into_iter().map(|value| share * value).collect()),
                }
            }
        }
    }
    Ok(sketches)
}

/// Distance and cosine of two Jacobians, with standard errors where they are estimates.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Similarity {
    distance: f64,
    cosine: f64,
    error: Option<(f64, f64)>,
}

/// The similarity of each of `images` images.
fn similarities(own: &Sketch, theirs: &Sketch, images: usize, estimator: Estimator) -> Vec<Similarity> {
    let of_image = |sketch: &Vec<f32>, image: usize| {
        let pixels = sketch.len() / images;
        image * pixels..(image + 1) * pixels
    };
    let similarity = |image| {
        let products: Vec<Products> = own
            .iter()
            .zip(theirs)
            .map(|(own, theirs)| Products::of(&own[of_image(own, image)], &theirs[of_image(theirs, image)]))
            .collect();
        let (distance, cosine) = Products::sum(&products).similarity();
        let error = (estimator != Estimator::Exact).then(|| jackknife(&products));
        Similarity { distance, cosine, error }
    };
    (0..images).map(similarity).collect()
}

/// Inner products of a student's and a teacher's vector.
#[derive(Clone, Copy, Debug, Default)]
struct Products {
    own: f64,
    both: f64,
    theirs: f64,
}

impl Products {
    fn of(own: &[f32], theirs: &[f32]) -> Self {
        let mut products = Self::default();
        for (own, theirs) in own.iter().zip(theirs) {
            let (own, theirs) = (f64::from(*own), f64::from(*theirs));
            products.own += own * own;
            products.both += own * theirs;
            products.theirs += theirs * theirs;
        }
        products
    }

    fn sum<'a>(products: impl IntoIterator<Item = &'a Self>) -> Self {
        products.into_iter().fold(Self::default(), |sum, one| Self {
            own: sum.own + one.own,
            both: sum.both + one.both,
            theirs: sum.theirs + one.theirs,
        })
    }

    fn less(self, one: &Self) -> Self {
        Self { own: self.own - one.own, both: self.both - one.both, theirs: self.theirs - one.theirs }
    }

    /// Relative distance and cosine; NaN where the teacher's Jacobian vanishes. One that vanishes has cosine 0.
    fn similarity(self) -> (f64, f64) {
        if self.theirs <= 0.0 {
            return (f64::NAN, f64::NAN);
        }
        let distance = ((self.own - 2.0 * self.both + self.theirs).max(0.0) / self.theirs).sqrt();
        let norms = (self.own * self.theirs).sqrt();
        let cosine = if norms > 0.0 { (self.both / norms).clamp(-1.0, 1.0) } else { 0.0 };
        (distance, cosine)
    }
}

/// Standard errors of distance and cosine by leaving out one projection at a time.
fn jackknife(products: &[Products]) -> (f64, f64) {
    let sum = Products::sum(products);
    let left: Vec<(f64, f64)> = products.iter().map(|one| sum.less(one).similarity()).collect();
    let count = left.len() as f64;
    let error = |values: Vec<f64>| {
        let mean = values.iter().sum::<f64>() / count;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        (squares * (count - 1.0) / count).sqrt()
    };
    (error(left.iter().map(|one| one.0).collect()), error(left.iter().map(|one| one.1).collect()))
}

/// The similarities of each member, image by image, as matrices.
fn collected(found: &[Vec<Similarity>]) -> Match {
    let columns = found.first().map_or(1, Vec::len);
    let matrix = |value: &dyn Fn(&Similarity) -> f64| {
        Matrix::new(columns, found.iter().flatten().map(|similarity| value(similarity) as f32).collect())
    };
    let has_errors = found.iter().flatten().all(|similarity| similarity.error.is_some());
    let error = |value: &dyn Fn((f64, f64)) -> f64| {
        matrix(&|similarity: &Similarity| similarity.error.map_or(f64::NAN, value))
    };
    Match {
        distance: matrix(&|similarity| similarity.distance),
        cosine: matrix(&|similarity| similarity.cosine),
        error: has_errors
            .then(|| MatchError { distance: error(&|error| error.0), cosine: error(&|error| error.1) }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A = (3, 0), B = (3, 4): |A - B| / |B| = 4/5, cosine 9 / (3 * 5).
    #[test]
    fn distance_and_cosine_by_hand() {
        let products = Products::of(&[3.0, 0.0], &[3.0, 4.0]);
        assert_eq!(products.similarity(), (0.8, 0.6));
        assert!(Products::of(&[1.0], &[0.0]).similarity().0.is_nan());
        assert_eq!(Products::of(&[0.0], &[2.0]).similarity(), (1.0, 0.0));
    }
}
