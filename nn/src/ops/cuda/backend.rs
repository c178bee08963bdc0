//! What runs kernels, and memory on it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use super::convolution::Call;
use crate::error::Result;

/// Threads of every block (`THREADS` in prelude.cu).
pub(crate) const THREADS: usize = 256;
/// Blocks of an elementwise launch at most: each block takes more than one part of a larger map.
const BLOCKS: usize = 1 << 14;
/// Vectors that a thread by columns takes at least, before there are more blocks: what it has on the way at a time.
const IN_FLIGHT: usize = 4;

/// What a feature map's values are stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    Bf16,
}

impl Element {
    pub(crate) fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::Bf16 => 2,
        }
    }

    /// Channels that a thread takes at a time, 16 bytes where all these channel counts allow it.
    pub(crate) fn lanes(self, channels: &[usize]) -> usize {
        let widest = 16 / self.bytes();
        [widest, 4, 1].into_iter().find(|lanes| channels.iter().all(|c| c % lanes == 0)).unwrap_or(1)
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Arg {
    /// Device memory; 0 is the null pointer.
    At(u64),
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
}

impl Arg {
    /// The argument's bytes at the lower end of a word: what a pointer to it shows on a little-endian machine.
    pub(crate) fn word(self) -> u64 {
        match self {
            Arg::At(value) | Arg::Long(value) => value,
            Arg::Int(value) => u64::from(value),
            Arg::Float(value) => u64::from(value.to_bits()),
            Arg::Double(value) => value.to_bits(),
        }
    }
}

impl From<usize> for Arg {
    /// Sizes: [`check_size`] holds every map below 2^31 values before anything is launched.
    fn from(value: usize) -> Self {
        Arg::Int(value as u32)
    }
}

/// One launch of blocks of [`THREADS`] threads.
#[derive(Clone, Debug)]
pub(crate) struct Launch<'a> {
    pub kernel: &'static str,
    /// For kernels that there are several of, by lanes or by tiles: which of them.
    pub lanes: Option<usize>,
    pub element: Element,
    pub grid: [usize; 3],
    pub args: &'a [Arg],
    /// Bytes of maps, images and parameters that it reads and writes, each once. Tables and partial sums are not counted.
    pub bytes: usize,
}

impl Launch<'_> {
    /// The kernel's name in the module.
    pub(crate) fn name(&self) -> String {
        kernel_name(self.kernel, self.lanes)
    }
}

/// The name in the module of a kernel that there may be several of, by `lanes`.
pub(crate) fn kernel_name(kernel: &str, lanes: Option<usize>) -> String {
    match lanes {
        Some(lanes) => format!("{kernel}_{lanes}"),
        None => kernel.to_owned(),
    }
}

/// Blocks for an elementwise kernel over `count` items.
pub(crate) fn elementwise(count: usize) -> [usize; 3] {
    [count.div_ceil(THREADS).clamp(1, BLOCKS), 1, 1]
}

/// Blocks for a kernel whose threads keep to a vector column each (`Span` in prelude.cu), over `spans` spans of at most
/// `count` vectors in `columns` columns. No more than the device runs `at_a_time`, where that is possible: a thread's table is
/// worth its loads, and a few blocks more would run after all others.
pub(crate) fn by_columns(count: usize, columns: usize, spans: usize, at_a_time: usize) -> [usize; 3] {
    let blocks = count.div_ceil(THREADS * IN_FLIGHT).clamp(1, (at_a_time / spans).max(1));
    // The fewest blocks whose threads are a multiple of the columns.
    let whole = columns >> columns.trailing_zeros().min(THREADS.trailing_zeros());
    [(blocks / whole * whole).max(whole), spans, 1]
}

/// A device, or what stands in for one in tests. Everything given to it runs in the order in which it was given.
pub(crate) trait Backend: Send + Sync {
    /// Memory with whatever is in it; its address is a multiple of 256.
    fn allocate(&self, bytes: usize) -> Result<u64>;

    /// Gives memory back once what was given so far has run.
    fn free(&self, address: u64, bytes: usize);

    /// Copies on the device, in the order of launches.
    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()>;

    /// Copies to the device.
    fn upload(&self, bytes: &[u8], to: u64) -> Result<()>;

    /// Waits, and copies from the device.
    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()>;

    /// How many blocks of a kernel the device runs at a time.
    fn at_a_time(&self, kernel: &'static str, lanes: Option<usize>, element: Element) -> Result<usize>;

    /// Runs a kernel.
    ///
    /// # Safety
    /// The arguments must be of the kernel's types, and its memory as large as the kernel's text says.
    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// Runs a convolution or one of its gradients.
    ///
    /// # Safety
    /// The call's memory must hold its maps and weights.
    unsafe fn convolve(&self, arena: &Arena, call: &Call) -> Result<()>;

    /// The manners in which [`Backend::record`] is to be tried; none where passes are not recorded.
    fn manners(&self) -> &'static [Manner];

    /// Notes what `work` launches instead of running it. `work` must find all memory in its arena, and copy nothing.
    ///
    /// # Errors
    /// Those of `work`, and where the device refuses something of it; nothing has run then.
    fn record(&self, manner: Manner, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>>;

    /// Runs `work`, which may launch and convolve and no more: in a recording with branches, behind what was given so far and
    /// beside what is given until [`Backend::rejoin`], which must not change what `work` reads. Whether that is to be kept until
    /// then: where it was recorded in line it need not be.
    fn aside(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<bool>;

    /// What is given from now on runs behind all that ran aside.
    fn rejoin(&self) -> Result<()>;

    /// A place beside other work, for [`Backend::beside`].
    fn lane(&self) -> usize {
        0
    }

    /// Runs `work`, which may copy and replay and no more, beside what is given afterwards until [`Backend::join`]: behind what
    /// was given so far, and what the lane was given.
    fn beside(&self, _lane: usize, work: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        work()
    }

    /// What is given from now on runs behind all that runs beside.
    fn join(&self) -> Result<()> {
        Ok(())
    }
}

/// How a recording's launches follow each other. They leave the same bits in each.
#[cfg_attr(not(feature = "cuda"), expect(unreachable_pub, reason = "public with CUDA"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Manner {
    /// One after the other.
    Straight,
    /// Gradients by weights beside the way back.
    Branching,
    /// The same, and a kernel is started before the one before it has ended, for which it waits before it touches memory (`FOLLOW` in
    /// prelude.cu).
    Overlapping,
}

impl fmt::Display for Manner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Straight => "straight",
            Self::Branching => "branching",
            Self::Overlapping => "overlapping",
        })
    }
}

/// Waits for what it measures, and gives its milliseconds.
pub(crate) type Elapsed = Box<dyn FnOnce() -> Result<f32> + Send>;

/// Launches that were noted together.
pub(crate) trait Recording: Send + Sync {
    /// Launches them, on the memory that they named.
    fn replay(&self) -> Result<()>;

    /// The same, and how long they take.
    fn timed(&self) -> Result<Elapsed>;
}

/// Memory that a training step takes back from the step before: by its length, whatever network used it.
#[derive(Clone)]
pub(crate) struct Arena(Arc<Pool>);

struct Pool {
    backend: Arc<dyn Backend>,
    /// Whether a buffer may be larger than what was asked for.
    is_exact: bool,
    free: Mutex<BTreeMap<usize, Vec<u64>>>,
    /// Bytes and address of all counters, each longer than those before, which recordings may still name.
    counters: Mutex<Vec<(usize, u64)>>,
}

impl Pool {
    /// Gives back all memory that nobody has on loan.
    fn trim(&self) {
        let free = std::mem::take(&mut *self.free.lock().unwrap_or_else(PoisonError::into_inner));
        for (bytes, addresses) in free {
            addresses.into_iter().for_each(|address| self.backend.free(address, bytes));
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.trim();
        for (bytes, address) in self.counters.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            self.backend.free(address, bytes);
        }
    }
}

impl Arena {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self(Arc::new(Pool { backend, is_exact: false, free: Mutex::default(), counters: Mutex::default() }))
    }

    /// Memory of the same device that is shared with nobody. The same requests a second time need nothing of the device:
    /// each is given a buffer of just its length.
    pub(crate) fn private(&self) -> Self {
        let backend = Arc::clone(&self.0.backend);
        Self(Arc::new(Pool { backend, is_exact: true, free: Mutex::default(), counters: Mutex::default() }))
    }

    /// Gives back all memory that nobody has on loan.
    #[cfg(feature = "cuda")]
    pub(crate) fn trim(&self) {
        self.0.trim();
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.0.backend
    }

    /// A buffer of at least `bytes` with whatever is in it. One that is up to a quarter larger is as good as another
    /// allocation.
    pub(crate) fn take(&self, bytes: usize) -> Result<Buffer> {
        let bytes = bytes.max(1).next_multiple_of(256);
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        let slack = if self.0.is_exact { 0 } else { bytes / 4 };
        let fitting = free.range_mut(bytes..=bytes + slack).find(|(_, waiting)| !waiting.is_empty());
        let found = fitting.and_then(|(&bytes, waiting)| waiting.pop().map(|address| (address, bytes)));
        drop(free);
        let (address, bytes) = match found {
            Some(found) => found,
            None => (self.0.backend.allocate(bytes)?, bytes),
        };
        Ok(Buffer { address, bytes, arena: self.clone() })
    }

    /// Lets the same requests have the same memory as after the last such call, if all was given back before both.
    pub(crate) fn tidy(&self) {
        let mut free = self.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.values_mut().for_each(|addresses| addresses.sort_unstable());
    }

    /// The address of at least `count` counters of the blocks of a launch, for which those that come last do the rest. Every
    /// launch finds them at 0 and leaves them so. All launches on this arena's memory share them, which are one after the
    /// other: what runs beside other work has an arena of its own.
    pub(crate) fn counters(&self, count: usize) -> Result<u64> {
        let bytes = (4 * count).next_power_of_two().max(256);
        let mut counters = self.0.counters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, address)) = counters.last().filter(|(len, _)| *len >= bytes) {
            return Ok(*address);
        }
        let address = self.0.backend.allocate(bytes)?;
        self.0.backend.upload(&vec![0; bytes], address)?;
        counters.push((bytes, address));
        Ok(address)
    }

    #[cfg(test)]
    pub(crate) fn counter_bytes(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (bytes, address) in &*self.0.counters.lock().unwrap_or_else(PoisonError::into_inner) {
            let mut counters = vec![0; *bytes];
            self.0.backend.download(*address, &mut counters).unwrap();
            all.extend(counters);
        }
        all
    }

    /// A buffer of `count` floats.
    pub(crate) fn floats(&self, count: usize) -> Result<Buffer> {
        self.take(count * 4)
    }

    /// A buffer that holds `words`.
    pub(crate) fn words(&self, words: &[u32]) -> Result<Buffer> {
        let buffer = self.take(words.len() * 4)?;
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.backend().upload(&bytes, buffer.address)?;
        Ok(buffer)
    }

    /// A buffer that holds `values`.
    pub(crate) fn values(&self, values: &[f32]) -> Result<Buffer> {
        let words: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        self.words(&words)
    }
}

/// Device memory on loan from an [`Arena`].
pub(crate) struct Buffer {
    address: u64,
    bytes: usize,
    arena: Arena,
}

impl Buffer {
    pub(crate) fn at(&self) -> u64 {
        self.address
    }

    /// The address of the `index`-th float.
    pub(crate) fn float(&self, index: usize) -> u64 {
        self.address + 4 * index as u64
    }

    /// The first `count` floats, on the host.
    pub(crate) fn read(&self, count: usize) -> Result<Vec<f32>> {
        let mut bytes = vec![0; count * 4];
        self.arena.backend().download(self.address, &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|value| f32::from_le_bytes(*value)).collect())
    }

    /// Overwrites the first floats.
    pub(crate) fn write(&self, values: &[f32]) -> Result<()> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.arena.backend().upload(&bytes, self.address)
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut free = self.arena.0.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.entry(self.bytes).or_default().push(self.address);
    }
}
