//! Computes the analyses that are missing and stores them, one process a file.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use claims::{Attempt, Claims};
use nn::Network;
use random::Stream;
use results::analysis::{Analysis, Cost};
use results::record;

use super::inputs::{Inputs, spread};
use super::pieces::Piece;
use super::probes::Probes;
use super::{diversity, jacobian, perturbations, remainder};
use crate::interrupt;
use crate::model;
use crate::plan::{self, duration, run_dir};
use crate::train::record as written;
use crate::train::run::{self, Session};

/// Test images on which Jacobians are compared.
pub const JACOBIAN_IMAGES: usize = 256;

/// Test images on which the first-order remainder is measured.
pub const REMAINDER_IMAGES: usize = 64;

/// How long to wait before looking again at what others hold.
const PAUSE: Duration = Duration::from_millis(300);

/// Computes and stores those of `pieces` that are not stored when their turn comes. Where it is interrupted, it says how many
/// there are.
///
/// # Errors
/// Models that are missing or do not fit; failures of device and disk; a signal, the end of the time.
pub fn store(session: &Session<'_>, pieces: &[Piece]) -> anyhow::Result<()> {
    let folder = session.out.join(session.resolved.folder());
    store_missing(session, pieces, &folder).inspect_err(|error| {
        if error.is::<interrupt::Interrupted>() {
            let stored = pieces.iter().filter(|piece| piece.path(&folder).is_file()).count();
            eprintln!(
                "{}: {stored} of {} missing analyses are stored",
                session.resolved.folder(),
                pieces.len()
            );
        }
    })
}

fn store_missing(session: &Session<'_>, pieces: &[Piece], folder: &Path) -> anyhow::Result<()> {
    let mut claims = Claims::default();
    let mut left: Vec<(usize, &Piece)> = pieces.iter().enumerate().collect();
    // None is stored in parts: one begins only where the longest so far would still be done in time.
    let mut longest = Duration::ZERO;
    while !left.is_empty() {
        let before = left.len();
        let mut later = Vec::new();
        for (index, piece) in left {
            interrupt::check_before(longest)?;
            match claims.take(&piece.claim_dir(folder))? {
                Attempt::Taken(_) if piece.is_stored(folder)? => {}
                Attempt::Taken(claim) => {
                    let start = Instant::now();
                    let label = format!("{}/seed-{}", piece.row(), piece.seed);
                    let analysis =
                        compute(session, piece).with_context(|| format!("cannot analyse {label}"))?;
                    claim.verify()?;
                    analysis.write(&piece.path(folder))?;
                    interrupt::progressed();
                    longest = longest.max(start.elapsed());
                    let took = duration(start.elapsed().as_secs_f64());
                    eprintln!("[{}/{}] {label}  analysed, {took}", index + 1, pieces.len());
                }
                Attempt::Held(_) => later.push((index, piece)),
            }
        }
        if later.len() == before {
            std::thread::sleep(PAUSE);
        }
        left = later;
    }
    Ok(())
}

/// The arrays of one row and seed.
///
/// # Errors
/// Models that are missing or do not fit; failures of the device; a signal.
pub fn compute(session: &Session<'_>, piece: &Piece) -> anyhow::Result<Analysis> {
    let config = &session.resolved.config;
    let folder = session.out.join(session.resolved.folder());
    let plain = model::spec(config)?;
    // What is not the models of the records is not read as such.
    let models = written::models(&folder, piece.seed, piece.rows())?;
    let teachers = run::teachers(session, piece.seed, &piece.teachers, &plain)?;
    let inputs = Inputs::new(session, &teachers, piece.seed)?;
    let test = &session.splits.test;
    let probes = Probes::new(plain.classes, Stream::new(piece.seed, "jacobian").draws(0, 0).next_u64());
    let mut analysis = Analysis {
        row: piece.row(),
        seed: piece.seed,
        cost: Cost { forward_flops: 0, parameters: 0 },
        models,
        perturbations: Default::default(),
        diversity: Default::default(),
        confidence: None,
        transfer: None,
        remainder: None,
        jacobian: None,
    };
    match &piece.student {
        None => {
            let by_ods = perturbations::ods(config)?;
            let rows = spread(test.len(), REMAINDER_IMAGES);
            analysis.cost = cost(&teachers)?;
            analysis.diversity = diversity::of_teachers(&teachers, &inputs)?;
            analysis.confidence = Some(diversity::confidence(&teachers, &inputs)?);
            analysis.transfer = diversity::transfer(&teachers, &inputs)?;
            analysis.remainder =
                Some(remainder::measure(&teachers, test, &rows, &by_ods, piece.seed, &probes)?);
        }
        Some(row) => {
            let student = student(session, row, piece.seed)?;
            let rows = spread(test.len(), JACOBIAN_IMAGES);
            analysis.cost = cost(std::slice::from_ref(&student))?;
            analysis.diversity = diversity::of_student(&student, &inputs)?;
            analysis.jacobian = Some(jacobian::compare(&student, &teachers, test, rows, &probes)?);
        }
    }
    // One network by itself is seen through no perturbation.
    if piece.student.is_none() || !analysis.diversity.is_empty() {
        analysis.perturbations = perturbations::settings(config)?;
    }
    Ok(analysis)
}

/// The network that a student's record keeps.
fn student(session: &Session<'_>, row: &plan::Row, seed: u64) -> anyhow::Result<Network> {
    let config = &session.resolved.config;
    let method = plan::method(config, row.method())?;
    let spec = method.student(&model::spec(config)?, config.members);
    let trained = Network::new(&spec, 0, &session.device.device)?;
    let network = method.inference(&trained)?.unwrap_or(trained);
    let folder = session.out.join(session.resolved.folder());
    network.load(&run_dir(&folder, row, seed).join(record::MODEL))?;
    Ok(network)
}

/// What it costs to run all of `networks`.
fn cost(networks: &[Network]) -> anyhow::Result<Cost> {
    let mut cost = Cost { forward_flops: 0, parameters: 0 };
    for network in networks {
        cost.forward_flops += 2 * network.spec().multiply_adds()? * network.members() as u64;
        cost.parameters += network.layout().parameter_count() as u64;
    }
    Ok(cost)
}
