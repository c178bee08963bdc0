//! `divkd bench`: how fast training steps are, and where their time goes.

use nn::profile::{self, Counted};
use results::{sheet, timing};
use serde_json::{Value, json};

use super::table::format;

use crate::bench::{self, Measured, StepBench, peak_mib};
use crate::device::Chosen;
use crate::output::{out, outln};
use crate::{cli, device, model};

/// Times the steps and prints a table by kind of operator, or a JSON line a method, for which a device's table goes to standard
/// error; prints what epochs took.
///
/// # Errors
/// Unknown methods, networks, devices and formats; failures of the device; damaged records.
pub fn run(args: &cli::Bench) -> anyhow::Result<()> {
    let settings = match &args.what {
        Some(cli::BenchWhat::Epochs(epochs)) => {
            let format = format(&epochs.format)?;
            out!("{}", sheet::render(&timing::sheets(&epochs.runs)?, format))?;
            return Ok(());
        }
        Some(cli::BenchWhat::Step(step)) => step.clone(),
        None => cli::BenchStep::default(),
    };
    let chosen = settings.compute.choose()?;
    let bench = StepBench {
        config: bench::settings(&settings.experiment)?,
        network: settings.network.clone(),
        batch: settings.batch,
        classes: settings.classes,
        members: settings.members,
        image: settings.image,
        warmup: settings.warmup,
        steps: settings.steps,
        precision: chosen.precision,
        micro_batch: chosen.micro_batch,
    };
    for method in &settings.methods {
        model::method(method)?;
    }
    bench.spec()?;
    let on_gpu = chosen.device.is_cuda();
    // On a CPU what the table needs takes time that programs that read JSON have no use for.
    let has_table = on_gpu || !settings.json;
    let show = |table: String| match (has_table, settings.json) {
        (true, true) => {
            eprint!("{table}");
            Ok(())
        }
        (true, false) => out!("{table}"),
        (false, _) => Ok(()),
    };
    let (peak, bandwidth) = if has_table { device::ceilings(&chosen)? } else { (0.0, None) };
    let output =
        Output { bench: &bench, chosen: &chosen, threads: rayon::current_num_threads(), peak, bandwidth };
    show(output.head())?;
    for method in &settings.methods {
        let measured = bench.run(method, &chosen.device, has_table)?;
        if settings.json {
            outln!("{}", output.json(method, &measured))?;
        }
        show(output.step(method, &measured) + &output.kinds(&measured))?;
    }
    profile::enable(false);
    show(timed() + &trials())
}

/// What the measurements of a method are shown with.
struct Output<'a> {
    bench: &'a StepBench,
    chosen: &'a Chosen,
    threads: usize,
    /// 10^9 operations a second of a matrix multiplication, and bytes a second of a copy on a CUDA device.
    peak: f64,
    bandwidth: Option<f64>,
}

impl Output<'_> {
    fn images_per_s(&self, measured: &Measured) -> f64 {
        self.bench.batch as f64 / measured.seconds
    }

    fn json(&self, method: &str, measured: &Measured) -> Value {
        let Self { bench, chosen, threads, .. } = self;
        json!({
            "method": method,
            "network": bench.network,
            "device": chosen.name,
            "dtype": chosen.precision.to_string(),
            "batch": bench.batch,
            "threads": threads,
            "step_ms": round(measured.seconds * 1e3, 2),
            "images_per_s": round(self.images_per_s(measured), 1),
            "gflops": round(gflops(measured), 1),
            "peak_mib": peak_mib(),
            "device_peak_mib": measured.device_peak_mib,
            "gbytes": measured.bytes.map(|bytes| round(bytes / 1e9, 3)),
            "matmul_gflops": chosen.device.is_cuda().then(|| round(self.peak, 0)),
            "bandwidth_gb_per_s": self.bandwidth.map(|rate| round(rate, 0)),
        })
    }

    fn head(&self) -> String {
        let Self { bench, chosen, threads, peak, bandwidth } = self;
        let memory = bandwidth.map_or(String::new(), |rate| format!(", {rate:.0} GB/s"));
        let (network, name) = (&bench.network, &chosen.name);
        format!(
            "{network} on {name}, {threads} threads, measured peak {peak:.0} GFLOP/s{memory}\n\
             operations are counted as the definitions have them; a convolution in Winograd's form needs fewer\n"
        )
    }

    /// A step as a whole.
    fn step(&self, method: &str, measured: &Measured) -> String {
        let (batch, images_per_s, gflops) = (self.bench.batch, self.images_per_s(measured), gflops(measured));
        let (step, share) = (measured.seconds * 1e3, 100.0 * gflops / self.peak);
        let mut lines = format!(
            "\n{method}, batch {batch}: {step:.1} ms a step, {images_per_s:.1} images/s, {gflops:.0} GFLOP/s, \
             {share:.0}% of the peak\n"
        );
        if let Some(mib) = measured.device_peak_mib.or_else(peak_mib) {
            lines += &format!("  peak memory so far {mib} MiB\n");
        }
        if let (Some(bytes), Some(bandwidth)) = (measured.bytes, self.bandwidth) {
            let rate = bytes / measured.seconds / 1e9;
            let (moved, share) = (bytes / 1e9, 100.0 * rate / bandwidth);
            lines += &format!(
                "  {moved:.2} GB moved by its kernels: {rate:.0} GB/s, {share:.0}% of the bandwidth\n"
            );
        }
        lines
    }

    /// Where its time goes, by kind of operator.
    fn kinds(&self, measured: &Measured) -> String {
        let on_gpu = self.chosen.device.is_cuda();
        let mut lines = String::new();
        if on_gpu {
            lines +=
                &format!("  by kind, in steps that wait for each kernel: {:.1} ms\n", measured.mean * 1e3);
        }
        let workers = if on_gpu { 1 } else { self.threads };
        let line = |name: &str, seconds: f64, bytes: u64| {
            let rate = match bytes as f64 / self.bench.steps as f64 / seconds / 1e9 {
                rate if bytes > 0 => format!("  {rate:6.0} GB/s"),
                _ => String::new(),
            };
            let share = 100.0 * seconds / measured.mean;
            format!("  {name:<26} {:8.1} ms  {share:5.1}%{rate}\n", seconds * 1e3)
        };
        let mut rest = measured.mean;
        for Counted { kind, time, bytes } in profile::counted() {
            let busy = time.as_secs_f64() / self.bench.steps as f64 / workers as f64;
            rest -= busy;
            lines += &line(kind.name(), busy, bytes);
        }
        lines += &line("everything else", rest, 0);
        let loading = self.bench.loading_seconds();
        let share = 100.0 * loading / measured.mean;
        let loading = loading * 1e3;
        lines + &format!("  {:<26} {loading:8.2} ms  {share:5.2}%  (not in the step)\n", "crop, flip, gather")
    }
}

/// 10^9 operations a second.
fn gflops(measured: &Measured) -> f64 {
    measured.operations / measured.seconds / 1e9
}

/// How long recorded passes took in each manner.
#[cfg(feature = "cuda")]
fn trials() -> String {
    let trials = nn::cuda::take_trials();
    if trials.is_empty() {
        return String::new();
    }
    let mut lines = "\nrecorded passes, in ms: the manner that is taken first\n".to_owned();
    for nn::cuda::Trial { what, times } in trials {
        let times: Vec<String> = times.iter().map(|(manner, time)| format!("{time:.3} {manner}")).collect();
        lines += &format!("  {what}: {}\n", times.join(", "));
    }
    lines
}

#[cfg(not(feature = "cuda"))]
fn trials() -> String {
    String::new()
}

/// What the choice between cuDNN's convolutions and this project's was decided by.
#[cfg(feature = "cudnn")]
fn timed() -> String {
    let timed = nn::cuda::take_timed();
    if timed.is_empty() {
        return String::new();
    }
    let mut lines =
        "\nconvolutions, in ms: cuDNN's fastest, this project's where there is one (* where it is taken)\n"
            .to_owned();
    for nn::cuda::Timed { what, library, by, own, is_own } in timed {
        let own = own.map_or_else(String::new, |own| format!("{own:.4}"));
        let mark = if is_own { "*" } else { " " };
        lines += &format!("  {library:8.4} {own:>8}{mark} {what}; {by}\n");
    }
    lines
}

#[cfg(not(feature = "cudnn"))]
fn timed() -> String {
    String::new()
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}
