//! Convolution and its gradients by their definition, one product at a time, in f64.

/// A square convolution with kernel / 2 zeros on each side; images (C, H, W), weights (O, I, k, k).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) channels_in: usize,
    pub(crate) channels_out: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Shape {
    pub(crate) fn out_height(&self) -> usize {
        (self.height + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    pub(crate) fn out_width(&self) -> usize {
        (self.width + 2 * (self.kernel / 2) - self.kernel) / self.stride + 1
    }

    pub(crate) fn in_len(&self) -> usize {
        self.channels_in * self.height * self.width
    }

    pub(crate) fn out_len(&self) -> usize {
        self.channels_out * self.out_height() * self.out_width()
    }

    pub(crate) fn weight_len(&self) -> usize {
        self.channels_out * self.channels_in * self.kernel * self.kernel
    }

    /// Calls `product(out, weight, input)` with the three indices of every product of the sum.
    fn products(&self, mut product: impl FnMut(usize, usize, usize)) {
        let (rows, cols, pad) = (self.out_height(), self.out_width(), self.kernel / 2);
        // The input coordinate that tap k of output coordinate y reads, where it lies inside of the image.
        let inside =
            |y: usize, k: usize, size: usize| (y * self.stride + k).checked_sub(pad).filter(|y| *y < size);
        for o in 0..self.channels_out {
            for i in 0..self.channels_in {
                for ky in 0..self.kernel {
                    for kx in 0..self.kernel {
                        let weight = ((o * self.channels_in + i) * self.kernel + ky) * self.kernel + kx;
                        for y in 0..rows {
                            let Some(in_y) = inside(y, ky, self.height) else { continue };
                            for x in 0..cols {
                                let Some(in_x) = inside(x, kx, self.width) else { continue };
                                let input = (i * self.height + in_y) * self.width + in_x;
                                product((o * rows + y) * cols + x, weight, input);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// (O, H', W') of an image.
pub(crate) fn forward(shape: Shape, weight: &[f64], input: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; shape.out_len()];
    shape.products(|o, w, i| out[o] += weight[w] * input[i]);
    out
}

/// Gradient by the image.
pub(crate) fn grad_input(shape: Shape, weight: &[f64], grad_out: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; shape.in_len()];
    shape.products(|o, w, i| grad[i] += weight[w] * grad_out[o]);
    grad
}

/// Gradient by the weights.
pub(crate) fn grad_weight(shape: Shape, input: &[f64], grad_out: &[f64]) -> Vec<f64> {
    let mut grad = vec![0.0; shape.weight_len()];
    shape.products(|o, w, i| grad[w] += input[i] * grad_out[o]);
    grad
}

/// How far f32 sums may lie from `expected`, as a share of the sum of the products' magnitudes: rounding is a few units
/// in the last place of that, a wrong product is about 1 / (number of products), at least ten times this.
pub(crate) const TOLERANCE: f64 = 2e-6;

/// Checks f32 sums against the f64 ones; `magnitude` is the same sums over absolute values.
///
/// # Errors
/// The first element that is too far off.
pub(crate) fn compare(what: &str, found: &[f32], expected: &[f64], magnitude: &[f64]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{what}: {} elements, expected {}", found.len(), expected.len()));
    }
    for (n, ((found, expected), magnitude)) in found.iter().zip(expected).zip(magnitude).enumerate() {
        let distance = (f64::from(*found) - expected).abs();
        if distance.is_nan() || distance > TOLERANCE * magnitude {
            return Err(format!("{what}[{n}]: {found}, expected {expected} (terms add up to {magnitude})"));
        }
    }
    Ok(())
}
