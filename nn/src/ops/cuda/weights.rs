//! Launches that bring all layers' weights into the convolutions' order, and their gradients back.

use super::backend::{Arena, Arg, Backend, Buffer, Element, Launch, THREADS};
use crate::error::Result;

/// No such parameter (`NONE` in weights.cu).
const NONE: u32 = u32::MAX;
/// Pairs of an output and an input channel that a block works on (`PAIRS` in weights.cu).
const PAIRS: usize = THREADS / 2;
/// Output channels that a block of `s_grads` works on (`S_TILE` in weights.cu).
const S_TILE: usize = THREADS / 32;
/// Input channels that a block of `r_grads` works on (`R_TILE` in weights.cu).
const R_TILE: usize = 32;

/// One layer's weights: places among the parameters, and among the packed weights of its kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layer {
    pub weight: usize,
    /// s (M, O) and r (M, I).
    pub fast: Option<(usize, usize)>,
    pub packed: usize,
    pub out: usize,
    pub input: usize,
    pub taps: usize,
    /// First float of the table of the norm that a frozen network has in these weights.
    pub norm: Option<usize>,
}

impl Layer {
    /// Weights of one member.
    pub(crate) fn len(&self) -> usize {
        self.out * self.input * self.taps
    }

    fn words(&self) -> [u32; 8] {
        let word = |value: usize| value as u32;
        let (s, r) = self.fast.map_or((NONE, NONE), |(s, r)| (word(s), word(r)));
        let norm = self.norm.map_or(NONE, word);
        [word(self.weight), s, r, word(self.packed), word(self.out), word(self.input), word(self.taps), norm]
    }
}

/// The blocks of a launch: two words each, the layer and the part of it.
struct Work {
    blocks: Buffer,
    count: usize,
}

impl Work {
    fn new(arena: &Arena, layers: &[Layer], parts: impl Fn(&Layer) -> usize) -> Result<Self> {
        let mut words = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            words.extend((0..parts(layer)).flat_map(|part| [index as u32, part as u32]));
        }
        Ok(Self { count: words.len() / 2, blocks: arena.words(&words)? })
    }
}

/// The weights of all layers of one kind: those over maps, or the classifiers, which stay f32.
pub(crate) struct Layers {
    element: Element,
    members: usize,
    table: Buffer,
    pairs: Work,
    s: Work,
    r: Work,
    /// Weights before the members' scales.
    plain_len: usize,
    /// Packed weights, of all members, and the gaps between layers.
    pub(crate) packed_len: usize,
}

impl Layers {
    /// Sends the tables to the device. `layers` lie behind one another in the packed weights, each with all members.
    pub(crate) fn new(arena: &Arena, layers: &[Layer], members: usize, element: Element) -> Result<Self> {
        let fast = |layer: &Layer, parts: usize| if layer.fast.is_some() { parts } else { 0 };
        let words: Vec<u32> = layers.iter().flat_map(Layer::words).collect();
        Ok(Self {
            element,
            members,
            table: arena.words(&words)?,
            pairs: Work::new(arena, layers, |layer| (layer.out * layer.input).div_ceil(PAIRS))?,
            s: Work::new(arena, layers, |layer| fast(layer, (members * layer.out).div_ceil(S_TILE)))?,
            r: Work::new(arena, layers, |layer| fast(layer, members * layer.input.div_ceil(R_TILE)))?,
            plain_len: layers.iter().map(Layer::len).sum(),
            packed_len: layers.iter().map(|layer| layer.packed + layer.len() * members).max().unwrap_or(0),
        })
    }

    /// Memory for the packed weights or their gradients.
    pub(crate) fn buffer(&self, arena: &Arena) -> Result<Buffer> {
        arena.take(self.packed_len * self.element.bytes())
    }

    /// The address of a packed weight.
    pub(crate) fn address(&self, packed: &Buffer, start: usize) -> u64 {
        packed.at() + (start * self.element.bytes()) as u64
    }

    /// W o (s r^T) of every layer and member; with the tables of all norms at `norms`, times the scale of the layer's norm
    /// where that is folded. 0 folds none.
    pub(crate) fn pack(&self, backend: &dyn Backend, params: u64, norms: u64, packed: &Buffer) -> Result<()> {
        let args = [Arg::At(params), Arg::At(norms), Arg::At(packed.at()), self.members.into()];
        self.launch(backend, "pack_weights", &self.pairs, &args)
    }

    /// The gradients of W, s and r of every layer from those of the packed weights.
    pub(crate) fn grads(
        &self,
        backend: &dyn Backend,
        params: u64,
        packed: &Buffer,
        grads: u64,
    ) -> Result<()> {
        let args = [Arg::At(params), Arg::At(packed.at()), Arg::At(grads)];
        let all = [&args[..], &[self.members.into()]].concat();
        self.launch(backend, "weight_grads", &self.pairs, &all)?;
        self.launch(backend, "s_grads", &self.s, &all)?;
        self.launch(backend, "r_grads", &self.r, &args)
    }

    fn launch(&self, backend: &dyn Backend, kernel: &'static str, work: &Work, args: &[Arg]) -> Result<()> {
        if work.count == 0 {
            return Ok(());
        }
        let args = [&[Arg::At(self.table.at()), Arg::At(work.blocks.at())][..], args].concat();
        // SAFETY: the tables name places within the parameters and the packed weights of this network.
        unsafe {
            backend.launch(&Launch {
                kernel,
                lanes: None,
                element: self.element,
                grid: [work.count, 1, 1],
                args: &args,
                bytes: self.plain_len * 4 + self.packed_len * self.element.bytes(),
            })
        }
    }
}

/// The gradient of a bias (sets, channels): sums over each set's consecutive `rows` rows of `grad` (f32).
pub(crate) fn bias_grad(
    backend: &dyn Backend,
    grad: u64,
    to: u64,
    (sets, rows, channels): (usize, usize, usize),
) -> Result<()> {
    let args = [Arg::At(grad), Arg::At(to), rows.into(), channels.into()];
    let launch = Launch {
        kernel: "bias_grad",
        lanes: None,
        element: Element::F32,
        grid: [channels, sets, 1],
        args: &args,
        bytes: sets * (rows + 1) * channels * 4,
    };
    // SAFETY: the kernel's own arguments; `grad` holds sets * rows rows of `channels`.
    unsafe { backend.launch(&launch) }
}
