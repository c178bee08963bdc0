//! A run's training batches on its device. On the CPU the loader makes them; a CUDA device has the whole data set in bytes
//! and makes them itself, from the same draws.

use candle_core::{Device, Tensor};
use datasets::Loader;
use methods::Batch;

/// Makes the batches of any epoch.
pub struct Batches<'a> {
    loader: Loader<'a>,
    device: &'a Device,
    #[cfg(feature = "cuda")]
    resident: Option<nn::resident::Resident>,
}

impl<'a> Batches<'a> {
    /// The loader's batches on `device`.
    ///
    /// # Errors
    /// Where the device has no memory for the data set.
    pub fn new(loader: Loader<'a>, device: &'a Device) -> anyhow::Result<Self> {
        Ok(Self {
            #[cfg(feature = "cuda")]
            resident: match device {
                Device::Cpu => None,
                device => {
                    let data = loader.dataset();
                    Some(nn::resident::Resident::new(&data.images, &data.labels, data.size, device)?)
                }
            },
            loader,
            device,
        })
    }

    /// Batches in an epoch.
    pub fn per_epoch(&self) -> usize {
        self.loader.batches_per_epoch()
    }

    /// The batches of `epoch` after the first `done`, in order.
    ///
    /// # Errors
    /// Where the device fails.
    pub fn epoch(
        &self,
        epoch: u32,
        done: usize,
    ) -> anyhow::Result<Box<dyn Iterator<Item = anyhow::Result<Batch>> + '_>> {
        #[cfg(feature = "cuda")]
        if let Some(resident) = &self.resident {
            let (examples, size) = (self.loader.dataset().len(), self.loader.batch_size());
            let order = resident.order(&self.loader.order(epoch))?;
            let (pad, stream) = self.loader.augmentation();
            return Ok(Box::new((done..self.per_epoch()).map(move |index| {
                let start = index * size;
                let rows = (start, size.min(examples - start));
                let (images, labels) = resident.batch(&order, rows, pad, stream, epoch)?;
                Ok(Batch { images, labels })
            })));
        }
        let (size, order) = (self.loader.dataset().size, self.loader.order(epoch));
        let all = self.loader.batch_size();
        Ok(Box::new((done..self.per_epoch()).map(move |index| {
            let rows = &order[index * all..order.len().min((index + 1) * all)];
            let batch = self.loader.gather(epoch, rows);
            let rows = rows.len();
            Ok(Batch {
                images: Tensor::from_vec(batch.images, (rows, 3, size, size), self.device)?,
                labels: Tensor::from_vec(batch.labels, rows, self.device)?,
            })
        })))
    }
}
