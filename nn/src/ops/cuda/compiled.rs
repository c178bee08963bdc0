//! The kernels' PTX, compiled once for each architecture: in a process, and between processes in a folder of the user's, for
//! each compilation takes seconds.

use std::env::var_os;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use candle_core::cuda::cudarc::nvrtc::sys::nvrtcVersion;
use candle_core::cuda::cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts};

use super::device::{failed, lock};
use super::{Element, source};
use crate::error::Result;

/// The PTX of the kernels on maps of `element` for an `architecture` such as `compute_90`.
///
/// # Errors
/// Where they do not compile.
pub(super) fn compiled(element: Element, architecture: &str) -> Result<String> {
    static COMPILED: [Mutex<Vec<(String, String)>>; 2] = [const { Mutex::new(Vec::new()) }; 2];
    let mut all = lock(&COMPILED[usize::from(element == Element::Bf16)]);
    if let Some((_, ptx)) = all.iter().find(|(of, _)| of == architecture) {
        return Ok(ptx.clone());
    }
    let (source, options) = (source(element), vec![format!("--gpu-architecture={architecture}")]);
    let file = file(&source, &options);
    let ptx = match file.as_deref().and_then(read) {
        Some(ptx) => ptx,
        None => {
            let ptx = compile(element, &source, options)?;
            if let Some(file) = &file {
                keep(file, &ptx);
            }
            ptx
        }
    };
    all.push((architecture.to_owned(), ptx.clone()));
    Ok(ptx)
}

fn compile(element: Element, source: &str, options: Vec<String>) -> Result<String> {
    let name = Some(format!("divkd-{element:?}.cu"));
    let options = CompileOptions { options, name, ..CompileOptions::default() };
    let ptx = compile_ptx_with_opts(source, options);
    Ok(ptx.map_err(|error| failed("compiling the kernels", format!("{error:?}")))?.to_src())
}

/// The file of what this compiler makes of a source: in `CUDA_CACHE_PATH`, where the driver keeps what it compiles itself, or in
/// the user's folder of caches. None where there is no such folder, and with `CUDA_CACHE_DISABLE=1`, as for the driver.
fn file(source: &str, options: &[String]) -> Option<PathBuf> {
    let set = |name: &str| var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if var_os("CUDA_CACHE_DISABLE").is_some_and(|value| value == "1") {
        return None;
    }
    let of_user = || Some(set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?.join("divkd"));
    let folder = set("CUDA_CACHE_PATH").or_else(of_user)?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: both are written to, and nothing else.
    unsafe { nvrtcVersion(&mut major, &mut minor) }.result().ok()?;
    Some(folder.join(format!("divkd-{:016x}.ptx", hash(&(source, options, major, minor)))))
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// What was kept; none where it is not there or damaged.
fn read(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let (first, ptx) = text.split_once('\n')?;
    (first == seal(ptx)).then(|| ptx.to_owned())
}

/// The names of the kernels of a PTX text.
pub(super) fn entries(ptx: &str) -> impl Iterator<Item = &str> {
    let names = ptx.lines().filter_map(|line| line.split_once(".entry ").map(|(_, name)| name));
    names.filter_map(|name| name.split(|c: char| c == '(' || c.is_whitespace()).next())
}

/// Where it cannot be kept the next process compiles again.
fn keep(file: &Path, ptx: &str) {
    let draft = file.with_extension(format!("{}-{:?}", std::process::id(), std::thread::current().id()));
    let kept = file.parent().map_or(Ok(()), fs::create_dir_all);
    let kept = kept.and_then(|()| fs::write(&draft, format!("{}\n{ptx}", seal(ptx))));
    if kept.and_then(|()| fs::rename(&draft, file)).is_err() {
        let _ = fs::remove_file(&draft);
    }
}

/// The first line of a file, by which a damaged one is told.
fn seal(ptx: &str) -> String {
    format!("// {:016x}", hash(&ptx))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_found_in_a_text() {
        let ptx = ".version 8.0\n\t// .globl\tone_4\n.visible .entry one_4(\n\t.param .u64 a\n)\n{\n}\n.visible .entry two()\n";
        assert_eq!(entries(ptx).collect::<Vec<_>>(), ["one_4", "two"]);
    }

    #[test]
    fn what_is_kept_is_read_back_unless_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("new/kernels.ptx");
        assert_eq!(read(&file), None);
        keep(&file, ".version 8.0\n.target sm_90\n");
        assert_eq!(read(&file).as_deref(), Some(".version 8.0\n.target sm_90\n"));
        assert_eq!(fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "no draft is left");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, &text[..text.len() - 3]).unwrap();
        assert_eq!(read(&file), None);
        // A folder that cannot be made.
        keep(&file.join("x/kernels.ptx"), "");
    }
}
