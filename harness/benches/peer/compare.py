#!/usr/bin/env python3
"""Times training steps of divkd and of plain PyTorch in turn, in one run, and prints their ratio.

    cargo build --release
    python3 -m venv /tmp/peer && /tmp/peer/bin/pip install torch==2.9.1
    python3 harness/benches/peer/compare.py --python /tmp/peer/bin/python

On a GPU (a binary built with --features cudnn), in the precision that both are to have:

    python3 harness/benches/peer/compare.py --device cuda:0 --dtype bf16 --work wrn-28-10-teacher --warmup 14 --steps 50

Use an otherwise idle machine. For each piece of work ours and each of the peer's variants (eager or compiled, waiting threads active
or passive) run once, in turn, and the fastest of these is kept: that is the first pair. The others follow, one method a process, and the
medians are compared. With --deadline SECONDS what does not end in time is left out: variants, pairs, and the peer's half of a row where
none of it ended. The ratio is ours / PyTorch in images per second: above 1, divkd is faster. On a GPU the breakdown of
divkd's step goes to standard error. With --record FILE each row is added to that file as a line of JSON, and `--table FILE` prints them again,
as Markdown.
"""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

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


def run(command, o, **more):
    env = dict(os.environ, OMP_NUM_THREADS=str(o.threads), RAYON_NUM_THREADS=str(o.threads), **more)
    left = o.deadline and max(o.deadline - time.monotonic(), 1)
    try:
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=left)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{' '.join(map(str, command))}: the deadline came first") from None
    if done.returncode:
        # Ours says what is wrong first and Python last, with a trace at the other end.
        said = done.stderr if len(done.stderr) < 3000 else f"{done.stderr[:1500]}\n..\n{done.stderr[-1500:]}"
        raise RuntimeError(f"{' '.join(map(str, command))} failed with {done.returncode}:\n{said}")
    measured = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{pathlib.Path(command[0]).name} {' '.join(map(str, command[1:]))}: {measured['images_per_s']:.1f} images/s",
          file=sys.stderr, flush=True)
    return measured | {"breakdown": done.stderr}


def fastest(variants, measure):
    """The fastest variant of those that run, and what `measure` found."""
    tried = {}
    for variant in variants:
        try:
            tried[variant] = measure(variant)
        except RuntimeError as error:
            print(f"left out: {error}", file=sys.stderr, flush=True)
    best = max(tried, key=lambda variant: tried[variant]["images_per_s"], default=None)
    return best, tried.get(best)


def compare(name, o):
    """Both programs on one piece of work, as the row of a table."""
    on_gpu = o.device.startswith("cuda")
    network, method, batch, image = WORK[name]
    common = ["--network", network, "--batch", batch, "--image", image, "--steps", o.steps, "--warmup", o.warmup]
    common = [str(word) for word in common] + ["--device", o.device]

    def peer(variant):
        compiled, policy = variant
        more = {"OMP_WAIT_POLICY": "passive"} if policy == "passive" else {}
        command = [o.python, HERE / "torch_step.py", *common, "--dtype", o.dtype, "--compile", compiled]
        return run([*command, "--methods", method.replace("-", "_")], o, **more)

    def ours():
        step = [o.divkd, "bench", "step", "--precision", o.dtype, "--methods", method, *common, "--json"]
        measured = run(step, o)
        if on_gpu:
            # Where its time goes, and what it chose to launch: said before the peer may take too long.
            print(measured["breakdown"], file=sys.stderr, flush=True)
        return measured

    policies = ["active"] if on_gpu else ["active", "passive"]
    first = ours()
    best, tried = fastest(list(itertools.product(o.compile.split(","), policies)), peer)
    if tried is None and not o.deadline:
        raise RuntimeError("no variant of the peer runs")
    pairs = [(first, tried)]
    try:
        while tried and len(pairs) < o.pairs:
            pairs.append((ours(), peer(best)))
    except RuntimeError as error:
        if not o.deadline:
            raise
        print(f"left out: {error}", file=sys.stderr, flush=True)

    def median(side, key):
        return statistics.median(pair[side][key] for pair in pairs) if pairs[0][side] else None

    left, right = (median(side, "images_per_s") for side in (0, 1))
    row = {
        "work": name, "device": first["device"], "precision": o.dtype, "pairs": len(pairs),
        "divkd": left, "pytorch": right, "ratio": right and left / right,
        "mib": median(0, "device_peak_mib" if on_gpu else "peak_mib"), "mib_pytorch": median(1, "peak_mib"),
        "variant": f"compile {best[0]}, threads wait {best[1]}" if best else "none ended",
    }
    if on_gpu:
        rate, peak, bandwidth = (median(0, key) for key in ("gflops", "matmul_gflops", "bandwidth_gb_per_s"))
        moved = median(0, "gbytes") / median(0, "step_ms") * 1e3
        row |= {
            "tflops": rate / 1e3, "share_of_matmul": rate / peak, "matmul_tflops": peak / 1e3,
            "gb_per_s": moved, "share_of_copies": moved / bandwidth, "copies_gb_per_s": bandwidth,
            "breakdown": pairs[-1][0]["breakdown"],
        }
    return row


def shown(value, digits):
    return "-" if value is None else f"{value:.{digits}f}"


def show(row):
    print(f"{row['work']:26} {row['divkd']:9.1f} {shown(row['pytorch'], 1):>9} {shown(row['ratio'], 2):>6}  {row['mib']:6.0f} "
          f"{shown(row['mib_pytorch'], 0):>6}  {row['variant']}", flush=True)
    if "tflops" in row:
        print(f"  divkd: {row['tflops']:.1f} TFLOP/s, {row['share_of_matmul']:.0%} of the measured matmul rate of "
              f"{row['matmul_tflops']:.0f} TFLOP/s; its kernels move {row['gb_per_s']:.0f} GB/s, {row['share_of_copies']:.0%} "
              f"of what copies reach, {row['copies_gb_per_s']:.0f} GB/s", flush=True)


def table(path):
    """The rows of a file that --record made, as Markdown."""
    print("| work | device, precision | divkd, images/s | PyTorch | ratio | PyTorch's variant | TFLOP/s | of matmul | GB/s | of copies |")
    print("|---|---|---:|---:|---:|---|---:|---:|---:|---:|")
    for row in map(json.loads, path.read_text().splitlines()):
        device = f"{row['device'].split()[0]}, {row['precision']}"
        cells = [row["work"], device, f"{row['divkd']:.1f}", shown(row["pytorch"], 1), shown(row["ratio"], 2), row["variant"]]
        if "tflops" in row:
            cells += [f"{row['tflops']:.1f}", f"{row['share_of_matmul']:.0%}", f"{row['gb_per_s']:.0f}",
                      f"{row['share_of_copies']:.0%}"]
        else:
            cells += [""] * 4
        print(f"| {' | '.join(cells)} |")


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
    a.add_argument("--compile", help="variants of torch.compile to try (none,default; on a GPU none,reduce-overhead,max-autotune)")
    a.add_argument("--record", type=pathlib.Path, metavar="FILE", help="add each row to this file, as a line of JSON")
    a.add_argument("--deadline", type=float, metavar="SECONDS", help="leave out what does not end within so many seconds")
    a.add_argument("--table", type=pathlib.Path, metavar="FILE", help="print the rows of such a file and measure nothing")
    o = a.parse_args()
    if o.table:
        return table(o.table)
    o.deadline = o.deadline and time.monotonic() + o.deadline
    o.compile = o.compile or ("none,reduce-overhead,max-autotune" if o.device.startswith("cuda") else "none,default")
    print(f"{'work':26} {'divkd':>9} {'PyTorch':>9} {'ratio':>6}  {'MiB':>6} {'MiB':>6}  PyTorch's best variant", flush=True)
    for name in o.work.split(","):
        try:
            row = compare(name, o)
        except RuntimeError as error:
            sys.exit(str(error))
        show(row)
        if o.record:
            with o.record.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
