//! Random draws and batches that are made on the device.

use candle_core::{Device, Tensor};
use datasets::{Dataset, Loader};
use harness::train::batches::Batches;
use libtest_mimic::Failed;
use nn::draws::{self, Keyed};
use random::Stream;

use crate::compare::{failed, same, values};
use crate::opened;

/// Uniforms have the CPU's bits, normals are within rounding.
pub(crate) fn random_draws() -> Result<(), Failed> {
    let device = opened()?;
    let keyed = Keyed { stream: Stream::new(3, "ods"), epoch: 2, first: 5 << 32 };
    for shape in [vec![128, 10], vec![3, 3, 32, 32], vec![1, 1]] {
        let draw = |device: &Device| -> anyhow::Result<(Tensor, Tensor)> {
            let uniform = draws::uniform(keyed, (-1.0, 1.0), &shape, device)?;
            Ok((uniform, draws::normal(keyed, &shape, device)?))
        };
        let (found, expected) = (draw(&device).map_err(failed)?, draw(&Device::Cpu).map_err(failed)?);
        same("uniform", &values(&found.0)?, &values(&expected.0)?)?;
        for (found, expected) in values(&found.1)?.iter().zip(values(&expected.1)?) {
            let is_near = (found - expected).abs() <= 1e-6 * expected.abs().max(1e-3);
            if !is_near {
                return Err(format!("normal: {found}, on the CPU {expected}").into());
            }
        }
    }
    Ok(())
}

/// The batches of the device's own copy of the data are the loader's, bit by bit, from the middle of an epoch too.
pub(crate) fn batches() -> Result<(), Failed> {
    let (size, examples) = (8, 50);
    let mut draws = Stream::new(2, "device").draws(0, 0);
    let data = Dataset {
        images: (0..examples * 3 * size * size).map(|_| draws.next_u32() as u8).collect(),
        labels: (0..examples).map(|_| draws.below(10)).collect(),
        classes: 10,
        size,
        posterior: None,
    };
    let device = opened()?;
    for pad in [None, Some(4)] {
        for done in [0, 2] {
            let all = |device: &Device| -> anyhow::Result<Vec<(Vec<f32>, Vec<u32>)>> {
                let batches = Batches::new(Loader::new(&data, 16, 11, pad), device)?;
                let values = batches.epoch(3, done)?.map(|batch| {
                    let batch = batch?;
                    Ok((batch.images.flatten_all()?.to_vec1()?, batch.labels.to_vec1()?))
                });
                values.collect()
            };
            if all(&device).map_err(failed)? != all(&Device::Cpu).map_err(failed)? {
                return Err(format!("pad {pad:?}, from batch {done}").into());
            }
        }
    }
    #[cfg(feature = "cuda")]
    order_of_another_set(&data, &device)?;
    Ok(())
}

/// An order that may name examples which a smaller data set does not have is none of that set's.
#[cfg(feature = "cuda")]
fn order_of_another_set(data: &Dataset, device: &Device) -> Result<(), Failed> {
    let first = |count: usize| {
        let images = &data.images[..count * 3 * data.size * data.size];
        nn::resident::Resident::new(images, &data.labels[..count], data.size, device).map_err(failed)
    };
    let order = first(data.len())?.order(&[data.len() - 1]).map_err(failed)?;
    match first(data.len() - 1)?.batch(&order, (0, 1), None, Stream::new(1, "augment"), 1) {
        Err(error) if error.to_string().contains("cannot be that of") => Ok(()),
        Err(error) => Err(failed(error)),
        Ok(_) => Err("an order of a larger data set is accepted".into()),
    }
}
