//! The kernels through NVIDIA's compilers, where they are: by nvcc to machine code for the architectures that are trained on,
//! and by nvrtc as when a device is opened, which refuses some texts that nvcc takes. Neither needs a device.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::process::Command;
use std::ptr::{null, null_mut};

use libloading::{Library, Symbol};

use super::{available, kernel_names};
use crate::ops::cuda::{Element, source};

/// The compiler that NVCC names, or that is found on the path. A stand-in is none.
fn nvcc() -> Result<PathBuf, String> {
    let named = std::env::var_os("NVCC").map(PathBuf::from);
    let beside = std::env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc"));
    let path =
        [named, beside].into_iter().flatten().find(|path| path.is_file()).unwrap_or_else(|| "nvcc".into());
    let output = Command::new(&path).arg("--version").output();
    let output = output.map_err(|error| format!("{}: {error}", path.display()))?;
    match String::from_utf8_lossy(&output.stdout).contains("stand-in") {
        true => Err(format!("{} is a stand-in", path.display())),
        false => Ok(path),
    }
}

#[test]
fn kernels_compile_for_ampere_and_hopper() {
    let found = nvcc();
    let Some(nvcc) = available("nvcc", found.as_ref()) else { return };
    let folder = tempfile::tempdir().unwrap();
    for element in [Element::F32, Element::Bf16] {
        let text = source(element);
        let file = folder.path().join(format!("{element:?}.cu"));
        std::fs::write(&file, &text).unwrap();
        for architecture in [80, 90] {
            let to = file.with_extension("cubin");
            let output = Command::new(nvcc)
                .args(["-std=c++17", "-Werror", "all-warnings", "-cubin", "-Xptxas", "-v"])
                .arg(format!("-arch=sm_{architecture}"))
                .args([&file, std::path::Path::new("-o"), &to])
                .output()
                .unwrap();
            let report = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "sm_{architecture} {element:?}: {report}");
            for name in kernel_names(&text) {
                assert!(report.contains(&format!("'{name}'")), "sm_{architecture}: no {name} in {report}");
            }
            let spills = report
                .lines()
                .find(|line| line.contains("bytes spill stores") && !line.contains(" 0 bytes spill stores"));
            assert_eq!(spills, None, "sm_{architecture} {element:?}");
        }
    }
}

type Program = *mut c_void;

/// NVIDIA's library, where the loader finds it. A stand-in has no version.
fn nvrtc() -> Result<Library, String> {
    // SAFETY: the library's initialisers need nothing.
    let library = unsafe { Library::new("libnvrtc.so.13") }.map_err(|error| error.to_string())?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the function's type is that of NVIDIA's header.
    let status = unsafe {
        let version: Symbol<'_, unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int> =
            library.get(b"nvrtcVersion\0").map_err(|error| error.to_string())?;
        version(&mut major, &mut minor)
    };
    if status == 0 && major > 0 { Ok(library) } else { Err("libnvrtc.so.13 is a stand-in".to_owned()) }
}

/// What nvrtc says of a text; `Ok` is the PTX.
///
/// # Safety
/// `library` must be NVIDIA's.
unsafe fn compiled(library: &Library, text: &str, architecture: u32) -> Result<String, String> {
    type Create = unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> c_int;
    type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
    type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
    type Read = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
    let text = CString::new(text).unwrap();
    let option = CString::new(format!("--gpu-architecture=compute_{architecture}")).unwrap();
    let mut program = null_mut();
    // SAFETY: the functions' types are those of NVIDIA's header; the buffers have the sizes that it asks for.
    unsafe {
        let create: Symbol<'_, Create> = library.get(b"nvrtcCreateProgram\0").unwrap();
        let compile: Symbol<'_, Compile> = library.get(b"nvrtcCompileProgram\0").unwrap();
        assert_eq!(create(&mut program, text.as_ptr(), c"divkd.cu".as_ptr(), 0, null(), null()), 0);
        let status = compile(program, 1, [option.as_ptr()].as_ptr());
        let (size, read) = match status {
            0 => (c"nvrtcGetPTXSize", c"nvrtcGetPTX"),
            _ => (c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog"),
        };
        let size: Symbol<'_, Size> = library.get(size.to_bytes_with_nul()).unwrap();
        let read: Symbol<'_, Read> = library.get(read.to_bytes_with_nul()).unwrap();
        let mut bytes = 0;
        assert_eq!(size(program, &mut bytes), 0);
        let mut output = vec![0_u8; bytes + 1];
        assert_eq!(read(program, output.as_mut_ptr().cast()), 0);
        let output = CStr::from_bytes_until_nul(&output).unwrap().to_string_lossy().into_owned();
        if status == 0 { Ok(output) } else { Err(output) }
    }
}

/// A kernel may be started before the one before it has ended: the first statement of each waits for that.
#[test]
fn kernels_wait_for_those_before_them() {
    for element in [Element::F32, Element::Bf16] {
        let text = source(element);
        let mut kernels = text.split("extern \"C\" __global__").skip(1);
        assert!(kernels.all(|kernel| {
            let (_, body) = kernel.split_once('{').unwrap();
            body.trim_start().starts_with("FOLLOW;")
        }));
    }
}

#[test]
fn kernels_compile_as_when_a_device_is_opened() {
    let found = nvrtc();
    let Some(library) = available("nvrtc", found.as_ref()) else { return };
    for element in [Element::F32, Element::Bf16] {
        let text = source(element);
        for architecture in [80, 90] {
            // SAFETY: just checked.
            let ptx = unsafe { compiled(library, &text, architecture) };
            let ptx = ptx.unwrap_or_else(|log| panic!("sm_{architecture} {element:?}: {log}"));
            for name in kernel_names(&text) {
                let entry = ptx.split(".entry ").find(|entry| entry.starts_with(&format!("{name}(")));
                let entry = entry.unwrap_or_else(|| panic!("sm_{architecture}: no {name}"));
                // Of its own body, without what stands behind it.
                let body = entry.split("\n}").next().unwrap();
                let waits = body.find("griddepcontrol.wait");
                assert_eq!(waits.is_some(), architecture >= 90, "{name} on sm_{architecture}");
                let touches = ["ld.global", "st.global", "atom.global", "call"].map(|part| body.find(part));
                let first = touches.into_iter().flatten().min();
                assert!(waits <= first.or(waits), "{name} touches memory before it waits");
            }
        }
    }
}
