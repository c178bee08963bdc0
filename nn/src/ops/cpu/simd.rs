//! Sixteen f32 lanes under three instruction sets, and the choice between them at run time.
//!
//! Every kernel is written once, generic over `Lanes`, and compiled three times by `simd_kernel!`: with AVX-512,
//! with AVX2 and FMA, and with what the target offers by default. Sixteen lanes are one channel block
//! (`BLOCK`), so a vector always holds the channels of one pixel.

use std::sync::OnceLock;

/// The instruction sets that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Whatever the target has by default; plain arrays that the compiler may vectorise.
    Portable,
    /// 256-bit AVX2 with fused multiply-add: a vector is two registers.
    Avx2,
    /// 512-bit AVX-512F: a vector is one register.
    Avx512,
}

impl Level {
    /// The widest level that this processor has.
    pub fn detect() -> Self {
        static LEVEL: OnceLock<Level> = OnceLock::new();
        *LEVEL.get_or_init(|| Self::available().last().copied().unwrap_or(Level::Portable))
    }

    /// Every level that this processor has, narrowest first.
    pub fn available() -> Vec<Self> {
        #[allow(unused_mut)]
        let mut levels = vec![Level::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                levels.push(Level::Avx2);
                if is_x86_feature_detected!("avx512f") {
                    levels.push(Level::Avx512);
                }
            }
        }
        levels
    }
}

/// Sixteen f32 lanes.
///
/// # Safety
/// `load` and `store` touch sixteen floats from the pointer on, of any alignment. The methods of the AVX types may
/// only run where the processor has the instruction set: `simd_kernel!` sees to it.
pub(crate) trait Lanes: Copy {
    /// Sums that the registers hold beside the values that are multiplied, which the tiles of the loops follow.
    const SUMS: usize;

    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    unsafe fn splat(value: f32) -> Self;
    /// self + a * b
    unsafe fn fma(self, a: Self, b: Self) -> Self;
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// max(self, 0), NaN where self is NaN
    unsafe fn relu(self) -> Self;
    /// self where `gate` > 0, else 0
    unsafe fn where_positive(self, gate: Self) -> Self;
}

#[derive(Clone, Copy)]
pub(crate) struct Array([f32; 16]);

impl Array {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        let mut out = [0.0; 16];
        for (o, (a, b)) in out.iter_mut().zip(self.0.iter().zip(&other.0)) {
            *o = f(*a, *b);
        }
        Self(out)
    }
}

impl Array {
    /// Whether `mul_add` is an instruction: else it is a call into libm for every lane.
    const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));
}

impl Lanes for Array {
    // Four registers a vector, of 32 on aarch64 and 16 on x86-64.
    const SUMS: usize = if cfg!(target_arch = "aarch64") { 6 } else { 3 };

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller vouches for sixteen readable floats.
        Self(unsafe { from.cast::<[f32; 16]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller vouches for sixteen writable floats.
        unsafe { to.cast::<[f32; 16]>().write_unaligned(self.0) }
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 16])
    }
    #[inline(always)]
    unsafe fn fma(self, a: Self, b: Self) -> Self {
        let mut out = self.0;
        for (o, (a, b)) in out.iter_mut().zip(a.0.iter().zip(&b.0)) {
            *o = if Self::FUSED { a.mul_add(*b, *o) } else { *o + a * b };
        }
        Self(out)
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn relu(self) -> Self {
        Self(self.0.map(|v| if v < 0.0 { 0.0 } else { v }))
    }
    #[inline(always)]
    unsafe fn where_positive(self, gate: Self) -> Self {
        self.zip(gate, |v, g| if g > 0.0 { v } else { 0.0 })
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) mod x86 {
    use super::Lanes;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512(__m512);

    // SAFETY of every block below: the trait's contract (the caller checked for AVX-512F and vouches for the memory).
    #[expect(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Avx512 {
        // One of 32 registers a vector.
        const SUMS: usize = 16;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(from) })
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self.0) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            // The second operand is returned where one is NaN.
            Self(unsafe { _mm512_max_ps(_mm512_setzero_ps(), self.0) })
        }
        #[inline(always)]
        unsafe fn where_positive(self, gate: Self) -> Self {
            Self(unsafe {
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(gate.0, _mm512_setzero_ps()), self.0)
            })
        }
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256, __m256);

    // SAFETY of every block below: the trait's contract (the caller checked for AVX2 and FMA, vouches for the memory).
    #[expect(clippy::undocumented_unsafe_blocks)]
    impl Lanes for Avx2 {
        // Two of 16 registers a vector.
        const SUMS: usize = 6;

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { Self(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self.0);
                _mm256_storeu_ps(to.add(8), self.1);
            }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { Self(_mm256_set1_ps(value), _mm256_set1_ps(value)) }
        }
        #[inline(always)]
        unsafe fn fma(self, a: Self, b: Self) -> Self {
            unsafe { Self(_mm256_fmadd_ps(a.0, b.0, self.0), _mm256_fmadd_ps(a.1, b.1, self.1)) }
        }
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { Self(_mm256_add_ps(self.0, other.0), _mm256_add_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            unsafe { Self(_mm256_sub_ps(self.0, other.0), _mm256_sub_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            unsafe { Self(_mm256_mul_ps(self.0, other.0), _mm256_mul_ps(self.1, other.1)) }
        }
        #[inline(always)]
        unsafe fn relu(self) -> Self {
            unsafe {
                let zero = _mm256_setzero_ps();
                Self(_mm256_max_ps(zero, self.0), _mm256_max_ps(zero, self.1))
            }
        }
        #[inline(always)]
        unsafe fn where_positive(self, gate: Self) -> Self {
            unsafe {
                let zero = _mm256_setzero_ps();
                Self(
                    _mm256_and_ps(self.0, _mm256_cmp_ps::<_CMP_GT_OQ>(gate.0, zero)),
                    _mm256_and_ps(self.1, _mm256_cmp_ps::<_CMP_GT_OQ>(gate.1, zero)),
                )
            }
        }
    }
}

/// Makes `fn name(level, args..)` of `unsafe fn generic::<V: Lanes>(args..)`: one compiled copy a [`Level`].
///
/// The generic function and all it calls must be `#[inline(always)]`, or it would be compiled without the features.
/// Calling the result is `unsafe` for the generic function's own reasons only: the level is checked by who made it.
macro_rules! simd_kernel {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident($($arg:ident: $ty:ty),* $(,)?) = $generic:ident) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis unsafe fn $name(level: $crate::ops::cpu::simd::Level, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            unsafe fn avx512($($arg: $ty),*) {
                // SAFETY: handed on to the caller of the kernel.
                unsafe { $generic::<$crate::ops::cpu::simd::x86::Avx512>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2($($arg: $ty),*) {
                // SAFETY: as above.
                unsafe { $generic::<$crate::ops::cpu::simd::x86::Avx2>($($arg),*) }
            }
            // SAFETY: levels come from `detect` and `available` alone, so the processor has the instructions; the rest is the
            // caller's.
            unsafe {
                match level {
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::cpu::simd::Level::Avx512 => avx512($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    $crate::ops::cpu::simd::Level::Avx2 => avx2($($arg),*),
                    _ => $generic::<$crate::ops::cpu::simd::Array>($($arg),*),
                }
            }
        }
    };
}
pub(crate) use simd_kernel;
