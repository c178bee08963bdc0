//! Convolutions by the plain kernels and by those for tensor cores, against their definition in f64.

use half::bf16;
use proptest::prelude::*;
use random::Stream;

use super::kernels::{devices, distance, normals, transposed};
use crate::ops::cpu::geometry::ConvShape;
use crate::ops::cpu::tests::naive;
use crate::ops::cuda::backend::{Arena, Buffer, Element};
use crate::ops::cuda::convolution::{Call, Epilogue, Pass, direct};
use crate::ops::cuda::implicit_gemm;

/// A convolution of some members' rows.
#[derive(Clone, Copy, Debug)]
struct Case {
    shape: ConvShape,
    members: usize,
    batch: usize,
    /// Whether all members read the same rows.
    is_shared: bool,
    element: Element,
    tf32: bool,
}

impl Case {
    /// A value as memory holds it.
    fn stored(&self, value: f32) -> f32 {
        match self.element {
            Element::F32 => value,
            Element::Bf16 => bf16::from_f32(value).to_f32(),
        }
    }

    /// A value as a factor: to eleven significant bits in TF32.
    fn factor(&self, value: f32) -> f64 {
        let value = f64::from(self.stored(value));
        let unit = 2.0_f64.powi(value.abs().log2().floor() as i32 - 10);
        if self.tf32 { (value / unit).round() * unit } else { value }
    }

    fn write(&self, arena: &Arena, values: &[f32]) -> Buffer {
        match self.element {
            Element::F32 => arena.values(values).unwrap(),
            Element::Bf16 => {
                let bytes: Vec<u8> =
                    values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
                let buffer = arena.take(bytes.len()).unwrap();
                arena.backend().upload(&bytes, buffer.at()).unwrap();
                buffer
            }
        }
    }

    fn read(&self, buffer: &Buffer, len: usize) -> Vec<f32> {
        match self.element {
            Element::F32 => buffer.read(len).unwrap(),
            Element::Bf16 => {
                let words = buffer.read(len.div_ceil(2)).unwrap();
                let halves =
                    words.iter().flat_map(|word| [word.to_bits() as u16, (word.to_bits() >> 16) as u16]);
                halves.take(len).map(|bits| bf16::from_bits(bits).to_f32()).collect()
            }
        }
    }

    /// How far the results, which are all given channels last, are from `expected`, at most and as a whole.
    fn compare(&self, what: &str, found: &[f32], expected: &[f64]) -> Result<(), String> {
        let off = match self.element {
            Element::F32 => distance(found, expected) / 2e-6,
            // Each is the nearest bf16 of a sum in f32.
            Element::Bf16 => {
                let size = expected.iter().map(|v| v * v).sum::<f64>() / expected.len() as f64;
                let room = |value: f64| value.abs() * f64::from(bf16::EPSILON) / 2.0 + size.sqrt() * 1e-5;
                let each = found.iter().zip(expected).map(|(f, e)| (f64::from(*f) - e).abs() / room(*e));
                each.fold(0.0, |most, off| if off > most || off.is_nan() { off } else { most })
            }
        };
        if off <= 1.0 {
            Ok(())
        } else {
            Err(format!("{what} is off by {off} times what it may be: {self:?}"))
        }
    }

    /// The three sums, with a gradient that is added to what is there, and a folded norm's epilogue where the kernels have
    /// one for these maps; by `run`.
    fn check(&self, seed: u64, run: impl Fn(&Arena, &Call)) -> Result<(), String> {
        let ConvShape { channels_in, channels_out, kernel, stride, height, width } = self.shape;
        let definition = naive::Shape { channels_in, channels_out, kernel, stride, height, width };
        let (members, batch) = (self.members, self.batch);
        let rows = members * batch;
        let input_rows = if self.is_shared { batch } else { rows };
        let (in_len, out_len, each) = (definition.in_len(), definition.out_len(), definition.weight_len());
        let mut draws = Stream::new(seed, "convolution").draws(0, 0);
        let x = normals(&mut draws, input_rows * in_len);
        let weight = normals(&mut draws, members * each);
        let [grad, skip] = [(); 2].map(|()| normals(&mut draws, rows * out_len));
        let (before, bias) = (normals(&mut draws, rows * in_len), normals(&mut draws, channels_out));

        let planar = |values: &[f32], channels: usize, inner: usize| -> Vec<f64> {
            let factors: Vec<f64> = values.iter().map(|value| self.factor(*value)).collect();
            transposed(&factors, channels, inner)
        };
        let (taps, in_pixels, out_pixels) = (kernel * kernel, height * width, out_len / channels_out);
        let planar_x = planar(&x, channels_in, in_pixels);
        let planar_grad = planar(&grad, channels_out, out_pixels);
        let planar_weight = planar(&weight, channels_in, taps);
        let (mut output, mut data, mut filter) = (Vec::new(), Vec::new(), vec![0.0; members * each]);
        for row in 0..rows {
            let of_member = row / batch * each..(row / batch + 1) * each;
            let x = &planar_x[row % input_rows * in_len..][..in_len];
            let grad = &planar_grad[row * out_len..][..out_len];
            output.extend(naive::forward(definition, &planar_weight[of_member.clone()], x));
            data.extend(naive::grad_input(definition, &planar_weight[of_member.clone()], grad));
            let sums = naive::grad_weight(definition, x, grad);
            filter[of_member].iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
        }
        let output = transposed(&output, out_pixels, channels_out);
        let mut data = transposed(&data, in_pixels, channels_in);
        data.iter_mut().zip(&before).for_each(|(to, before)| *to += f64::from(self.stored(*before)));
        let filter = transposed(&filter, taps, channels_in);
        let stored = |value: f32| f64::from(self.stored(value));
        let finished = |with_skip: bool| -> Vec<f64> {
            let skipped = |at: usize| if with_skip { stored(skip[at]) } else { 0.0 };
            let each = output.iter().enumerate();
            each.map(|(at, y)| (y + stored(bias[at % channels_out]) + skipped(at)).max(0.0)).collect()
        };

        for arena in devices() {
            let fresh = |len: usize| arena.take(len * self.element.bytes()).unwrap();
            let [x, weight, grad, skip, before, bias] =
                [&x, &weight, &grad, &skip, &before, &bias].map(|values| self.write(&arena, values));
            let (y, dw) = (fresh(rows * out_len), fresh(members * each));
            let call = Call {
                pass: Pass::Forward,
                shape: self.shape,
                element: self.element,
                tf32: self.tf32,
                members,
                batch,
                input_rows,
                input: x.at(),
                weight: weight.at(),
                output: y.at(),
                bias: 0,
                bias_of_members: false,
                epilogue: None,
                linear: false,
            };
            run(&arena, &call);
            self.compare("forward", &self.read(&y, rows * out_len), &output)?;
            for with_skip in [false, true] {
                let skip = if with_skip { skip.at() } else { 0 };
                run(&arena, &Call { epilogue: Some(Epilogue { bias: bias.at(), skip }), ..call });
                // Where the epilogue is a pass of its own, the sum is rounded before it and after it.
                if self.element == Element::F32 || implicit_gemm::fits(&call) {
                    self.compare("epilogue", &self.read(&y, rows * out_len), &finished(with_skip))?;
                }
            }
            let call = Call { output: grad.at(), ..call };
            run(&arena, &Call { pass: Pass::Filter, weight: dw.at(), ..call });
            self.compare("by weight", &self.read(&dw, members * each), &filter)?;
            let data_pass = Pass::Data { accumulate: true };
            run(&arena, &Call { pass: data_pass, input: before.at(), input_rows: rows, ..call });
            self.compare("by input", &self.read(&before, rows * in_len), &data)?;
        }
        Ok(())
    }
}

fn shapes() -> impl Strategy<Value = ConvShape> {
    let kernels = prop_oneof![Just(1_usize), Just(3), Just(5)];
    (1..40_usize, 1..9_usize, kernels, 1..=2_usize, 1..8_usize, 1..8_usize).prop_map(
        |(channels_in, channels_out, kernel, stride, height, width)| ConvShape {
            channels_in,
            channels_out,
            kernel,
            stride,
            height,
            width,
        },
    )
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        rng_seed: proptest::test_runner::RngSeed::Fixed(1),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(24))]

    #[test]
    fn plain_kernels(shape in shapes(), is_shared in any::<bool>(), seed in any::<u64>()) {
        let case = Case { shape, members: 2, batch: 2, is_shared, element: Element::F32, tf32: false };
        // SAFETY: the memory is of the call's sizes.
        prop_assert_eq!(case.check(seed, |arena, call| unsafe { direct(arena.backend(), call) }.unwrap()), Ok(()));
    }
}

/// By the kernels for tensor cores.
fn check_gemm(case: Case, seed: u64) -> Result<(), String> {
    case.check(seed, |arena, call| {
        assert!(implicit_gemm::fits(call), "{case:?}");
        // SAFETY: the memory is of the call's sizes; it fits.
        unsafe { implicit_gemm::run(arena, call) }.unwrap();
    })
}

proptest! {
    #![proptest_config(config(12))]

    /// Images from a pixel to several blocks' pixels, so that blocks begin and end within images and rows.
    #[test]
    fn tensor_core_kernels(
        (channels_in, channels_out) in (1..=3_usize, 1..=3_usize),
        (height, width) in (1..=14_usize, 1..=14_usize),
        (members, batch) in (1..=3_usize, 1..=4_usize),
        (is_shared, is_bf16) in any::<(bool, bool)>(),
        seed in any::<u64>(),
    ) {
        let shape = ConvShape {
            channels_in: 16 * channels_in,
            channels_out: 16 * channels_out,
            kernel: 3,
            stride: 1,
            height,
            width,
        };
        let element = if is_bf16 { Element::Bf16 } else { Element::F32 };
        let case = Case { shape, members, batch, is_shared, element, tf32: !is_bf16 };
        prop_assert_eq!(check_gemm(case, seed), Ok(()));
    }
}

/// The widest rows; and so many pixels that blocks take twice as many of them, or 32 output channels, and a filter's parts more
/// than one run of pixels.
#[test]
fn tensor_core_kernels_of_large_maps() {
    for (element, tf32) in [(Element::Bf16, false), (Element::F32, true)] {
        for (channels_in, channels_out, height, width, members, batch) in
            [(16, 16, 5, 64, 1, 1), (16, 32, 32, 32, 4, 8), (16, 16, 32, 32, 4, 17)]
        {
            let shape = ConvShape { channels_in, channels_out, kernel: 3, stride: 1, height, width };
            let case = Case { shape, members, batch, is_shared: false, element, tf32 };
            assert_eq!(check_gemm(case, 3), Ok(()));
        }
    }
}
