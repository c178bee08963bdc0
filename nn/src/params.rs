//! Named parameters and buffers in a fixed order, each group in one flat vector.
//!
//! Parameters carry the names of the official PyTorch implementation (`backbone.layers.3.conv1.weight`, `alpha_be` = r,
//! `gamma_be` = s, `ensemble_bias`), so its checkpoints load without a table of names.

use random::Stream;

/// The end of the name of a BatchEnsemble layer's r.
pub const R: &str = ".alpha_be";

/// The end of the name of its s.
pub const S: &str = ".gamma_be";

/// The end of the name of a BatchEnsemble classifier's bias.
pub const BIAS: &str = ".ensemble_bias";

/// Who updates a tensor, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Slow weights: convolution, classifier, norm and bias.
    Slow,
    /// Fast weights r and s of a BatchEnsemble: half the rate and no weight decay in the paper's recipe.
    Fast,
    /// Running statistics: changed by the forward pass in train mode, never by the optimiser.
    Buffer,
}

/// How a tensor starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// N(mean, std^2).
    Normal {
        /// Mean.
        mean: f32,
        /// Standard deviation.
        std: f32,
    },
    /// U(-bound, bound).
    Uniform {
        /// Half the width.
        bound: f32,
    },
}

/// One named tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Official PyTorch name.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Slow, fast or buffer.
    pub group: Group,
    /// How it starts.
    pub init: Init,
    /// First element in the flat vector of parameters, or of buffers.
    pub offset: usize,
}

impl Entry {
    pub(crate) fn new(name: String, shape: Vec<usize>, group: Group, init: Init) -> Self {
        Self { name, shape, group, init, offset: 0 }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry's elements in its flat vector.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The tensors of a network in the order in which its layers were added.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    entries: Vec<Entry>,
    parameters: usize,
    buffers: usize,
}

impl Layout {
    /// Appends a tensor and returns its offset.
    pub(crate) fn add(&mut self, mut entry: Entry) -> usize {
        let total = if entry.group == Group::Buffer { &mut self.buffers } else { &mut self.parameters };
        entry.offset = *total;
        *total += entry.len();
        let offset = entry.offset;
        self.entries.push(entry);
        offset
    }

    /// Every tensor, in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Trained scalars.
    pub fn parameter_count(&self) -> usize {
        self.parameters
    }

    /// Running statistics, in scalars.
    pub fn buffer_count(&self) -> usize {
        self.buffers
    }

    /// Fresh parameters and buffers: entry i draws from stream "init" of `seed` at index i.
    pub fn initialize(&self, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let stream = Stream::new(seed, "init");
        let mut parameters = vec![0.0; self.parameters];
        let mut buffers = vec![0.0; self.buffers];
        for (index, entry) in self.entries.iter().enumerate() {
            let to = if entry.group == Group::Buffer { &mut buffers } else { &mut parameters };
            let mut draws = stream.draws(0, index as u64);
            for value in &mut to[entry.range()] {
                *value = match entry.init {
                    Init::Constant(constant) => constant,
                    Init::Normal { mean, std } => mean + std * draws.normal(),
                    Init::Uniform { bound } => draws.uniform_in(-bound, bound),
                };
            }
        }
        (parameters, buffers)
    }
}
