//! Runs the kernels on the host: the same `.cu` text, compiled as C++ by g++.
//!
//! Evidence that the kernels compute what they should and keep within their memory, on machines without a device. It says
//! nothing of speed or of races between warps; `ptx` asks NVIDIA's compilers what they make of the text.

mod columns;
mod convolutions;
mod kernels;
mod losses;
mod ptx;
mod sums;

use std::alloc::{Layout, alloc, dealloc};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, c_void};
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use libloading::{Library, Symbol};

use super::backend::{Arena, Arg, Backend, Elapsed, Launch, Manner, Recording, THREADS};
use super::convolution::{self, Call};
use super::{Element, implicit_gemm, source};
use crate::error::{Error, Result};

/// Bytes before and after each allocation that nobody may write; what a guard and fresh memory hold is a NaN in each type.
const GUARD: usize = 256;
const FILL: u8 = 0xff;

type Launcher = unsafe extern "C" fn(*mut *mut c_void, *const u32, *const u32, u32, bool) -> u32;

/// The names of all kernels in a module's text.
fn kernel_names(source: &str) -> Vec<String> {
    let mut names = Vec::new();
    let name = |text: &str| text.split(|c: char| !c.is_alphanumeric() && c != '_').next().map(str::to_owned);
    for (macro_of, suffixes) in [("\nBY_LANES(", [1, 4, 8]), ("\nBY_TILES(", [1, 2, 4])] {
        for part in source.split(macro_of).skip(1) {
            names.extend(name(part).into_iter().flat_map(|name| suffixes.map(|of| format!("{name}_{of}"))));
        }
    }
    for part in source.split("\nextern \"C\" __global__ void __launch_bounds__(THREADS)\n").skip(1) {
        names.extend(name(part.trim_start()));
    }
    names
}

/// Compiles the module for one type of maps and loads it; `Err` says why it could not.
fn compile(element: Element) -> std::result::Result<Library, String> {
    let text = source(element);
    let exports: String = kernel_names(&text).iter().map(|name| format!("EXPORT({name})\n")).collect();
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let (file, library) = (folder.path().join("kernels.cpp"), folder.path().join("kernels.so"));
    std::fs::write(&file, [include_str!("shim.h"), &text, &exports].concat())
        .map_err(|error| error.to_string())?;
    let output = Command::new("g++")
        .args([
            "-std=c++17",
            "-O2",
            "-ffp-contract=off",
            "-fno-strict-aliasing",
            "-fPIC",
            "-shared",
            "-Wl,-Bsymbolic",
            "-w",
        ])
        .args([&file, std::path::Path::new("-o"), &library])
        .output()
        .map_err(|error| format!("g++: {error}"))?;
    assert!(output.status.success(), "g++: {}", String::from_utf8_lossy(&output.stderr));
    // SAFETY: the library's initialisers are those of plain C++ globals.
    unsafe { Library::new(&library) }.map_err(|error| error.to_string())
}

fn library(element: Element) -> &'static std::result::Result<Library, String> {
    static F32: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
    static BF16: OnceLock<std::result::Result<Library, String>> = OnceLock::new();
    let place = match element {
        Element::F32 => &F32,
        Element::Bf16 => &BF16,
    };
    place.get_or_init(|| compile(element))
}

/// What was found, or `None` after a line `skipped: <what>: <reason>`; a failure where DIVKD_REQUIRE names it.
pub(crate) fn available<T>(what: &str, found: std::result::Result<T, &String>) -> Option<T> {
    match found {
        Ok(found) => Some(found),
        Err(reason) => {
            let required = std::env::var("DIVKD_REQUIRE").unwrap_or_default();
            assert!(!required.split(',').any(|name| name == what), "{what} is required: {reason}");
            // Past the capture of the test's output.
            let _ = writeln!(std::io::stderr(), "skipped: {what}: {reason}");
            None
        }
    }
}

/// The host as a device.
pub(crate) struct Emulated {
    processor: Processor,
    sizes: Mutex<HashMap<u64, usize>>,
    /// What is being recorded, while something is.
    recorded: Mutex<Option<Notes>>,
    /// Recordings so far, and how many of the first are to fail.
    recordings: AtomicUsize,
    spoilt: usize,
    /// The manner whose recordings say that they are the fastest.
    fastest: Manner,
    /// A manner in which no launch can be recorded.
    refused: Option<Manner>,
    /// A manner in which recordings cannot be launched.
    dead: Option<Manner>,
    /// Launches of recordings in each.
    replayed: Arc<Mutex<BTreeMap<Manner, usize>>>,
    /// Bytes of all launches by kernel, as they say.
    moved: Mutex<BTreeMap<&'static str, usize>>,
}

/// What runs kernels.
#[derive(Clone, Copy)]
struct Processor {
    libraries: [&'static Library; 2],
    /// Whether blocks and threads run from the last to the first.
    reverse: bool,
}

/// A launch with its arguments.
struct Noted {
    kernel: &'static str,
    lanes: Option<usize>,
    element: Element,
    grid: [usize; 3],
    args: Vec<Arg>,
}

/// What was noted so far.
#[derive(Default)]
struct Notes {
    launches: Vec<Noted>,
    /// What was given aside and must have run by the next [`Backend::rejoin`]: it runs no sooner, as on a device it might.
    aside: Vec<Noted>,
    is_aside: bool,
    manner: Option<Manner>,
}

/// Launches that were recorded.
struct Replay {
    processor: Processor,
    launches: Vec<Noted>,
    manner: Manner,
    is_dead: bool,
    /// Milliseconds, as it says.
    takes: f32,
    replayed: Arc<Mutex<BTreeMap<Manner, usize>>>,
}

impl Processor {
    /// # Safety
    /// As [`Backend::launch`].
    unsafe fn run(&self, launch: &Launch<'_>) -> Result<()> {
        let library = self.libraries[usize::from(launch.element == Element::Bf16)];
        let name = launch.name();
        let symbol = CString::new(format!("host_{name}")).unwrap();
        let mut words: Vec<u64> = launch.args.iter().map(|arg| arg.word()).collect();
        let mut args: Vec<*mut c_void> =
            words.iter_mut().map(|word| std::ptr::from_mut(word).cast()).collect();
        let grid = launch.grid.map(|blocks| blocks as u32);
        assert!(
            grid[1].max(grid[2]) < 1 << 16,
            "grid {grid:?} of kernel {name}: a device has no more blocks than that"
        );
        let threads = [THREADS as u32, 1, 1];
        // SAFETY: the launcher's type is that of EXPORT in shim.h; the arguments are the caller's.
        unsafe {
            let launcher: Symbol<'_, Launcher> = library
                .get(symbol.as_bytes_with_nul())
                .map_err(|_| Error::State(format!("no kernel {name}")))?;
            let count = launcher(std::ptr::null_mut(), grid.as_ptr(), threads.as_ptr(), 0, self.reverse);
            assert_eq!(count as usize, args.len(), "arguments of kernel {name}");
            launcher(args.as_mut_ptr(), grid.as_ptr(), threads.as_ptr(), 0, self.reverse);
        }
        Ok(())
    }
}

impl Recording for Replay {
    fn replay(&self) -> Result<()> {
        if self.is_dead {
            return Err(Error::State("a recording cannot be launched".to_owned()));
        }
        *self.replayed.lock().unwrap_or_else(PoisonError::into_inner).entry(self.manner).or_default() += 1;
        for Noted { kernel, lanes, element, grid, args } in &self.launches {
            let launch = Launch { kernel, lanes: *lanes, element: *element, grid: *grid, args, bytes: 0 };
            // SAFETY: the arguments are those of the recorded launch, whose memory its arena still has.
            unsafe { self.processor.run(&launch)? };
        }
        Ok(())
    }

    fn timed(&self) -> Result<Elapsed> {
        let takes = self.takes;
        self.replay().map(|()| -> Elapsed { Box::new(move || Ok(takes)) })
    }
}

impl Emulated {
    /// `None`, after a line that says so, where there is no g++ and the environment variable DIVKD_REQUIRE does not name it.
    pub(crate) fn new(reverse: bool) -> Option<Self> {
        let load = |element| available("g++", library(element).as_ref());
        let libraries = [load(Element::F32)?, load(Element::Bf16)?];
        let processor = Processor { libraries, reverse };
        Some(Self {
            processor,
            sizes: Mutex::default(),
            recorded: Mutex::default(),
            recordings: AtomicUsize::new(0),
            spoilt: 0,
            fastest: Manner::Straight,
            refused: None,
            dead: None,
            replayed: Arc::default(),
            moved: Mutex::default(),
        })
    }

    /// The same, whose first `count` recordings fail.
    pub(crate) fn that_spoils(self, count: usize) -> Self {
        Self { spoilt: count, ..self }
    }

    /// The same, on which this manner is the fastest.
    pub(crate) fn that_is_for(self, fastest: Manner) -> Self {
        Self { fastest, ..self }
    }

    /// The same, which records no launch in this manner.
    pub(crate) fn that_refuses(self, refused: Manner) -> Self {
        Self { refused: Some(refused), ..self }
    }

    /// The same, which launches no recording in this manner.
    pub(crate) fn that_launches_no(self, dead: Manner) -> Self {
        Self { dead: Some(dead), ..self }
    }

    /// How often recordings in this manner were launched.
    pub(crate) fn replayed(&self, manner: Manner) -> usize {
        *self.replayed.lock().unwrap_or_else(PoisonError::into_inner).get(&manner).unwrap_or(&0)
    }

    /// Recordings so far, those that failed included.
    pub(crate) fn recordings(&self) -> usize {
        self.recordings.load(Ordering::Relaxed)
    }

    /// Bytes that the launches of each kernel move, as they say, since this was last asked for.
    pub(crate) fn take_moved(&self) -> BTreeMap<&'static str, usize> {
        std::mem::take(&mut *self.moved.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What a device refuses while it records.
    fn refuse_in_recording(&self, what: &str) -> Result<()> {
        match *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(_) => Err(Error::State(format!("{what} in a recording"))),
            None => Ok(()),
        }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes + 2 * GUARD, 256).unwrap()
    }
}

impl Backend for Emulated {
    fn allocate(&self, bytes: usize) -> Result<u64> {
        self.refuse_in_recording("an allocation")?;
        // SAFETY: the layout is not empty; all of it is written.
        let start = unsafe {
            let start = alloc(Self::layout(bytes));
            assert!(!start.is_null());
            start.write_bytes(FILL, bytes + 2 * GUARD);
            start as u64 + GUARD as u64
        };
        self.sizes.lock().unwrap_or_else(PoisonError::into_inner).insert(start, bytes);
        Ok(start)
    }

    fn free(&self, address: u64, bytes: usize) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!(sizes.remove(&address), Some(bytes), "memory that was not allocated so");
        let start = (address - GUARD as u64) as *mut u8;
        // SAFETY: just checked to be an allocation of this length.
        unsafe {
            let all = std::slice::from_raw_parts(start, bytes + 2 * GUARD);
            let intact = |guard: &[u8]| guard.iter().all(|byte| *byte == FILL);
            let kept = intact(&all[..GUARD]) && intact(&all[GUARD + bytes..]);
            dealloc(start, Self::layout(bytes));
            assert!(kept, "a kernel wrote outside of its memory");
        }
    }

    fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<()> {
        self.refuse_in_recording("a copy")?;
        // SAFETY: both are host memory of allocations that the caller knows the lengths of.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, to as *mut u8, bytes) };
        Ok(())
    }

    fn upload(&self, bytes: &[u8], to: u64) -> Result<()> {
        self.refuse_in_recording("an upload")?;
        // SAFETY: `to` is host memory of an allocation that the caller knows the length of.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to as *mut u8, bytes.len()) };
        Ok(())
    }

    fn download(&self, from: u64, bytes: &mut [u8]) -> Result<()> {
        self.refuse_in_recording("a download")?;
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(from as *const u8, bytes.as_mut_ptr(), bytes.len()) };
        Ok(())
    }

    unsafe fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        *moved.entry(launch.kernel).or_default() += launch.bytes;
        drop(moved);
        if let Some(recorded) = &mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            let Launch { kernel, lanes, element, grid, args, .. } = *launch;
            if recorded.manner == self.refused {
                return Err(Error::State("a launch cannot be recorded so".to_owned()));
            }
            let to = if recorded.is_aside { &mut recorded.aside } else { &mut recorded.launches };
            to.push(Noted { kernel, lanes, element, grid, args: args.to_vec() });
            return Ok(());
        }
        // SAFETY: the caller's.
        unsafe { self.processor.run(launch) }
    }

    unsafe fn convolve(&self, arena: &Arena, call: &Call) -> Result<()> {
        // SAFETY: the caller's.
        unsafe {
            if implicit_gemm::fits(call) {
                implicit_gemm::run(arena, call)
            } else {
                convolution::direct(self, call)
            }
        }
    }

    fn at_a_time(&self, _: &'static str, _: Option<usize>, _: Element) -> Result<usize> {
        Ok(12)
    }

    fn manners(&self) -> &'static [Manner] {
        &[Manner::Straight, Manner::Branching, Manner::Overlapping]
    }

    fn record(&self, manner: Manner, work: &mut dyn FnMut() -> Result<()>) -> Result<Box<dyn Recording>> {
        let recorded = || self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
        *recorded() = Some(Notes { manner: Some(manner), ..Notes::default() });
        let ended = work();
        let Notes { launches, aside, .. } = recorded().take().unwrap_or_default();
        ended?;
        assert!(aside.is_empty(), "a branch was not joined");
        if self.recordings.fetch_add(1, Ordering::Relaxed) < self.spoilt {
            return Err(Error::State("a recording was spoilt".to_owned()));
        }
        let takes = if manner == self.fastest { 1.0 } else { 2.0 };
        Ok(Box::new(Replay {
            processor: self.processor,
            launches,
            manner,
            is_dead: self.dead == Some(manner),
            takes,
            replayed: Arc::clone(&self.replayed),
        }))
    }

    fn aside(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<bool> {
        let set = |is_aside: bool| match &mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(notes) => {
                notes.is_aside = is_aside && notes.manner > Some(Manner::Straight);
                notes.is_aside
            }
            None => true,
        };
        let is_to_be_kept = set(true);
        let ended = work();
        set(false);
        ended.map(|()| is_to_be_kept)
    }

    fn rejoin(&self) -> Result<()> {
        if let Some(notes) = &mut *self.recorded.lock().unwrap_or_else(PoisonError::into_inner) {
            notes.launches.append(&mut notes.aside);
        }
        Ok(())
    }
}
