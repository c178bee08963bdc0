//! The kernels through NVIDIA's compiler, where it is: every kernel's machine code for the architectures that are trained
//! on. (A device compiles them by nvrtc, which is the same compiler.)

use std::path::PathBuf;
use std::process::Command;

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
