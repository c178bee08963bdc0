//! The class of a machine: what decides how its floating-point numbers round.

use nn::ops::cpu::simd::Level;

/// Architecture, operating system and instruction set of the kernels, such as `x86_64-linux avx512`.
///
/// Machines of one class have been seen to compute the same bits, and AVX2 and AVX-512 the same as each other; a mathematical
/// library of another version may still round another way.
pub fn class() -> String {
    let level = match Level::detect() {
        Level::Portable => "portable",
        Level::Avx2 => "avx2",
        Level::Avx512 => "avx512",
    };
    format!("{}-{} {level}", std::env::consts::ARCH, std::env::consts::OS)
}
