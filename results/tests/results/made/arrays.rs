//! Stored analyses with the shapes of the layout and random numbers.

use std::collections::BTreeMap;

use random::Stream;
use results::analysis::{
    Against, Analysis, Cost, Curve, Direction, Diversity, Estimator, JacobianMatch, Match, MatchError,
    Matrix, Remainder, Set, Space, TEACHERS, Transfer,
};

pub(crate) fn uniforms(name: &str, len: usize) -> Vec<f32> {
    let mut draws = Stream::new(5, name).draws(0, 0);
    (0..len).map(|_| draws.uniform()).collect()
}

fn matrix(name: &str, rows: usize, columns: usize) -> Matrix {
    Matrix::new(columns, uniforms(name, rows * columns))
}

/// Arrays of random numbers: a row's diversity alone.
pub(crate) fn analysis(row: &str, seed: u64) -> Analysis {
    let diversity = |set: &Set| Diversity {
        confidence: uniforms(&format!("{row} {seed} {} confidence", set.name()), 20),
        kl: uniforms(&format!("{row} {seed} {} kl", set.name()), 20),
    };
    let models = ["teacher-1", "teacher-2"].into_iter().chain((row != TEACHERS).then_some(row));
    Analysis {
        row: row.to_owned(),
        seed,
        cost: Cost { forward_flops: 123_456_789_012, parameters: 1_000 },
        models: models.map(|row| (row.to_owned(), "00ff".to_owned())).collect(),
        perturbations: BTreeMap::new(),
        diversity: Set::PAPER.map(|set| (set.clone(), diversity(&set))).into(),
        confidence: None,
        transfer: None,
        remainder: None,
        jacobian: None,
    }
}

/// All arrays of two teachers.
pub(crate) fn teachers_analysis(seed: u64) -> Analysis {
    let mut curves = BTreeMap::new();
    for direction in Direction::ALL {
        for space in Space::ALL {
            let name = format!("{seed} {} {}", direction.name(), space.name());
            let curve = Curve { change: matrix(&name, 3, 8), rest: matrix(&(name.clone() + " rest"), 3, 8) };
            curves.insert((direction, space), curve);
        }
    }
    Analysis {
        confidence: Some(matrix(&format!("{seed} confidence"), 2, 20)),
        transfer: Some(Transfer {
            values: matrix(&format!("{seed} transfer"), 2, 2),
            clean: uniforms(&format!("{seed} clean"), 2),
        }),
        remainder: Some(Remainder { norm: vec![0.01, 0.02, 0.04], training_norm: 0.062_745_098, curves }),
        ..analysis(TEACHERS, seed)
    }
}

/// All arrays of a student of two subnetworks.
pub(crate) fn student_analysis(row: &str, seed: u64, estimator: Estimator) -> Analysis {
    let matches = |space: Space| {
        let of = |what: &str| matrix(&format!("{row} {seed} {} {what}", space.name()), 2, 4);
        let error = match estimator {
            Estimator::Exact => None,
            Estimator::Projections(_) => {
                Some(MatchError { distance: of("distance error"), cosine: of("cosine error") })
            }
        };
        Match { distance: of("distance"), cosine: of("cosine"), error }
    };
    let spaces = Space::ALL.map(|space| (space, matches(space))).into();
    Analysis {
        jacobian: Some(JacobianMatch {
            against: Against::OneToOne,
            estimator,
            examples: vec![0, 3, 5, 9],
            spaces,
        }),
        ..analysis(row, seed)
    }
}
