//! A data set that lies on a CUDA device in bytes, and the batches made from it there.

use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, Device, Storage, Tensor};
use random::Stream;

use crate::error::{Error, Result};
use crate::ops::cuda::{device_address, draws, open, tensor_address};

/// Images (N, 3, size, size) and labels (N) on a device.
pub struct Resident {
    images: Tensor,
    labels: Tensor,
    size: usize,
    examples: usize,
    device: CudaDevice,
}

/// An order of examples on the device.
pub struct Order {
    rows: Tensor,
    /// Those that it may name.
    examples: usize,
}

impl Resident {
    /// Copies a data set to the device: planar bytes, and a label an image.
    ///
    /// # Errors
    /// [`Error::Shape`] where there are not 3 * size * size bytes a label; where the device has no memory.
    pub fn new(images: &[u8], labels: &[u32], size: usize, device: &Device) -> Result<Self> {
        if images.len() != labels.len() * 3 * size * size {
            return Err(Error::Shape {
                operation: "resident images",
                expected: format!("{} images of 3 x {size} x {size} bytes", labels.len()),
                found: vec![images.len()],
            });
        }
        Ok(Self {
            images: Tensor::from_slice(images, images.len(), device)?,
            labels: Tensor::from_slice(labels, labels.len(), device)?,
            size,
            examples: labels.len(),
            device: device.as_cuda_device()?.clone(),
        })
    }

    /// Copies an epoch's order of examples to the device, once for all its batches.
    ///
    /// # Errors
    /// [`Error::State`] where the order names an example that does not exist; the device's.
    pub fn order(&self, rows: &[usize]) -> Result<Order> {
        if let Some(row) = rows.iter().find(|row| **row >= self.examples) {
            return Err(Error::State(format!("there is no example {row} among {}", self.examples)));
        }
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let rows = Tensor::from_slice(&rows, rows.len(), &Device::Cuda(self.device.clone()))?;
        Ok(Order { rows, examples: self.examples })
    }

    /// Images (B, 3, size, size) in [0, 1] and labels (B) of the examples `start` .. `start` + `count` of `order`: padded
    /// by `pad`, cropped and mirrored as `stream` draws for each example in `epoch`, or as they are without `pad`.
    ///
    /// # Errors
    /// [`Error::State`] where the order is one of more examples; where it is shorter, or the device fails.
    pub fn batch(
        &self,
        order: &Order,
        (start, count): (usize, usize),
        pad: Option<usize>,
        stream: Stream,
        epoch: u32,
    ) -> Result<(Tensor, Tensor)> {
        if order.examples > self.examples {
            let (of, here) = (order.examples, self.examples);
            return Err(Error::State(format!("an order of {of} examples cannot be that of {here}")));
        }
        let rows = order.rows.narrow(0, start, count)?;
        let of = |tensor: &Tensor, bytes: bool| {
            let (storage, layout) = tensor.storage_and_layout();
            match &*storage {
                Storage::Cuda(storage) if bytes => tensor_address::<u8>((storage, layout)),
                Storage::Cuda(storage) => tensor_address::<u32>((storage, layout)),
                _ => candle_core::bail!("resident images: expected a tensor on CUDA"),
            }
        };
        let (rows_at, images_at, labels_at) =
            (of(&rows, false)?, of(&self.images, true)?, of(&self.labels, false)?);
        let (arena, stream_of_device) = (open::arena(&self.device)?, self.device.cuda_stream());
        let shape = (count, 3, self.size, self.size);
        // SAFETY: the kernels write every value; the rows were checked when the order was made.
        let (images, labels) = unsafe {
            let images = self.device.alloc::<f32>(count * 3 * self.size * self.size)?;
            let labels = self.device.alloc::<u32>(count)?;
            let to = device_address(&images, &stream_of_device);
            let backend = arena.backend();
            draws::augment(backend, (images_at, rows_at, to), (count, self.size), pad, (stream, epoch))?;
            let to = device_address(&labels, &stream_of_device);
            draws::gather_labels(backend, (labels_at, rows_at, to), count)?;
            (images, labels)
        };
        let images = Storage::Cuda(CudaStorage::wrap_cuda_slice(images, self.device.clone()));
        let labels = Storage::Cuda(CudaStorage::wrap_cuda_slice(labels, self.device.clone()));
        Ok((
            Tensor::from_storage(images, shape, BackpropOp::none(), false),
            Tensor::from_storage(labels, count, BackpropOp::none(), false),
        ))
    }
}
