#!/usr/bin/env python3
"""Times training steps of divkd and of plain PyTorch in turn, in one run, and prints their ratio.

    cargo build --release
    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install torch==2.9.1
    python3 harness/benches/peer/compare.py --python /tmp/peer/bin/python

On a GPU (a binary built with --features cudnn), in the precision that both are to have:

    python3 harness/benches/peer/compare.py --device cuda:0 --dtype bf16 --work wrn-28-10-teacher --warmup 14 --steps 50

Use an otherwise idle machine. For each piece of work the peer's variants (eager or compiled, waiting threads active or
passive) are tried once and the fastest is kept; then both programs run in turn, one method a process, and the
medians are compared. The ratio is ours / PyTorch in images per second: above 1, divkd is faster. On a GPU the breakdown of
divkd's step follows.
"""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
WORK = {
    "resnet-32-teacher": ("resnet-32", "teacher", 128, 32),
    "resnet-32-be-kd": ("resnet-32", "be-kd", 64, 32),
    "resnet-32-be-kd-conf-ods": ("resnet-32", "be-kd-conf-ods", 64, 32),
    "wrn-16-4-teacher": ("wrn-16-4", "teacher", 64, 32),
    "wrn-28-10-teacher": ("wrn-28-10", "teacher", 128, 32),
    "wrn-28-10-be-kd-conf-ods": ("wrn-28-10", "be-kd-conf-ods", 64, 32),
    "resnet-8-teacher": ("resnet-8", "teacher", 128, 16),
    "resnet-8-be-kd": ("resnet-8", "be-kd", 128, 16),
    "resnet-8-be-kd-conf-ods": ("resnet-8", "be-kd-conf-ods", 128, 16),
}


def run(command, threads, **more):
    env = dict(os.environ, OMP_NUM_THREADS=str(threads), RAYON_NUM_THREADS=str(threads), **more)
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{pathlib.Path(command[0]).name} {' '.join(map(str, command[1:]))}: {measured['images_per_s']:.1f} images/s",
          file=sys.stderr, flush=True)
    return measured


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--python", default=sys.executable, help="a Python that has torch")
    a.add_argument("--divkd", default=str((HERE / "../../../target/release/divkd").resolve()))
    on_cpu = [name for name in WORK if not name.startswith("wrn-28")]
    a.add_argument("--work", default=",".join(on_cpu), help=f"comma-separated, of {', '.join(WORK)}")
    a.add_argument("--pairs", type=int, default=3)
    a.add_argument("--steps", type=int, default=6)
    a.add_argument("--warmup", type=int, default=2)
    a.add_argument("--threads", type=int, default=2)
    a.add_argument("--device", default="cpu")
    a.add_argument("--dtype", default="f32", choices=["f32", "tf32", "bf16"])
    a.add_argument("--compile", help="variants of torch.compile to try (none,default; on a GPU none,max-autotune)")
    o = a.parse_args()
    on_gpu = o.device.startswith("cuda")
    memory_of = "device_peak_mib" if on_gpu else "peak_mib"
    o.compile = o.compile or ("none,max-autotune" if on_gpu else "none,default")
    print(f"{'work':26} {'divkd':>9} {'PyTorch':>9} {'ratio':>6}  {'MiB':>6} {'MiB':>6}  PyTorch's best variant", flush=True)
    for name in o.work.split(","):
        network, method, batch, image = WORK[name]
        common = ["--network", network, "--batch", batch, "--image", image, "--steps", o.steps, "--warmup", o.warmup]
        common = [str(word) for word in common] + ["--device", o.device]

        def peer(variant):
            compiled, policy = variant
            more = {"OMP_WAIT_POLICY": "passive"} if policy == "passive" else {}
            command = [o.python, HERE / "torch_step.py", *common, "--dtype", o.dtype, "--compile", compiled]
            return run([*command, "--methods", method.replace("-", "_")], o.threads, **more)

        step = [o.divkd, "bench", "step", "--precision", o.dtype, "--methods", method, *common]

        def ours():
            return run([*step, "--json"], o.threads)

        policies = ["active"] if on_gpu else ["active", "passive"]
        variants = list(itertools.product(o.compile.split(","), policies))
        tried = {variant: peer(variant)["images_per_s"] for variant in variants}
        best = max(tried, key=tried.get)
        pairs = [(ours(), peer(best)) for _ in range(o.pairs)]
        left, right = ([pair[side]["images_per_s"] for pair in pairs] for side in (0, 1))
        keys = (memory_of, "peak_mib")
        memory = [statistics.median(pair[side][keys[side]] for pair in pairs) for side in (0, 1)]
        left, right = statistics.median(left), statistics.median(right)
        variant = f"compile {best[0]}, threads wait {best[1]}"
        print(f"{name:26} {left:9.1f} {right:9.1f} {left / right:6.2f}  {memory[0]:6.0f} {memory[1]:6.0f}  {variant}", flush=True)
        if on_gpu:
            median = lambda key: statistics.median(pair[0][key] for pair in pairs)
            rate, peak, bandwidth = map(median, ("gflops", "matmul_gflops", "bandwidth_gb_per_s"))
            moved = median("gbytes") / median("step_ms") * 1e3
            print(f"  divkd: {rate / 1e3:.1f} TFLOP/s, {100 * rate / peak:.0f}% of the measured matmul rate of "
                  f"{peak / 1e3:.0f} TFLOP/s; its kernels move {moved:.0f} GB/s, {100 * moved / bandwidth:.0f}% of what "
                  f"copies reach, {bandwidth:.0f} GB/s", flush=True)
            # Where its time goes, and what it chose to launch.
            subprocess.run(step, check=True)


if __name__ == "__main__":
    main()
