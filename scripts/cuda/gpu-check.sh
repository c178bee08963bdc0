#!/usr/bin/env bash
# Checks a machine with a GPU from the folder that scripts/cuda/bundle makes. Needs a driver and the CUDA and cuDNN
# libraries, for which those of a PyTorch installation serve; `all` and `bench` need that PyTorch too.
#
#   gpu-check.sh all RESULTS            what a machine that is at hand for ten minutes should be asked: tests, every row against
#                                       PyTorch eager, training, epochs, what determinism costs, each for a share of the time that
#                                       is left; all that they say goes to files in RESULTS too, and a table ends it
#   gpu-check.sh run COMMAND..          a command with the libraries that `divkd` needs, such as ./divkd bench step --device cuda:0
#   gpu-check.sh tests [FILTER]         every device test, or those whose names have FILTER; ends with their counts
#   gpu-check.sh manners                the tests of recorded passes, in each manner in which they are launched
#   gpu-check.sh sanitize TOOL FILTER   the device tests whose names have FILTER, under compute-sanitizer's memcheck or racecheck
#   gpu-check.sh bench ROW PRECISION [OPTIONS..]
#                                       one piece of work, divkd and PyTorch in turn; PRECISION is f32, tf32 or bf16; options
#                                       are those of compare.py, such as --compile none --pairs 1
#   gpu-check.sh epochs [PRECISION]     a step of every method on ResNet-32, and what the protocol on CIFAR-10 costs by these
#   gpu-check.sh deterministic          a step in f32 with cuDNN's deterministic convolutions, and with any
#   gpu-check.sh train [PRECISION]      the experiment `quick` on synthetic images; ends with its table
#   gpu-check.sh plan PARTS OPTIONS..   `reproduce OPTIONS` from the parts in PARTS, where there are any, for as long as one
#                                       call may take; its progress goes back to PARTS in at most 8 files of 16 MiB, so
#                                       that another call on another machine goes on (exit code 75: not finished)
#
# Rows: resnet-32-teacher, resnet-32-be-kd-conf-ods, wrn-28-10-teacher, wrn-28-10-be-kd-conf-ods.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
limit=${GPU_CHECK_SECONDS:-530}

libraries=$(python3 -c 'import nvidia; print(list(nvidia.__path__)[0])' 2>/dev/null || true)
if [ -n "$libraries" ]; then
    for folder in "$libraries"/*/lib; do
        LD_LIBRARY_PATH=${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}$folder
    done
fi
export LD_LIBRARY_PATH=${LD_LIBRARY_PATH:-}:/usr/local/nvidia/lib64:/usr/local/nvidia/lib:/usr/local/cuda/lib64
# Where the driver and divkd keep what they compile, so that the next process need not.
export CUDA_CACHE_PATH=${CUDA_CACHE_PATH:-${TMPDIR:-/tmp}/divkd-cuda-cache} CUDA_CACHE_MAXSIZE=${CUDA_CACHE_MAXSIZE:-1073741824}
mkdir -p "$CUDA_CACHE_PATH"
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-${TMPDIR:-/tmp}/divkd-inductor-cache} TORCHINDUCTOR_FX_GRAPH_CACHE=1

describe() {
    printf 'date %s, commit %s\n' "$(date -u +%FT%TZ)" "$(cat "$here/commit")"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
    local missing
    missing=$(ldd "$here/divkd" | grep 'not found' || true)
    if [ -n "$missing" ]; then
        printf 'libraries are missing that divkd needs (the driver has libcuda, pip install torch brings the others):\n%s\n' "$missing" >&2
        exit 69
    fi
}

# within SECONDS COMMAND..: runs it for so long at most, and no longer than what is left of the limit.
within() {
    local most=$1 left=$((limit - SECONDS)) status=0
    shift
    most=$((most < left ? most : left))
    # What does not hear the first signal, such as a process that waits for a kernel without end, is killed.
    timeout -k 10 "$((most > 1 ? most : 1))" "$@" || status=$?
    if [ "$status" = 124 ] || [ "$status" = 137 ]; then
        printf '\nstopped after %s s (GPU_CHECK_SECONDS is %s): what is above is not all\n' "$most" "$limit"
    fi
    return "$status"
}

# Tells each test as it ends, so that what was seen before the limit is not lost.
device_tests() {
    local most=$1
    shift
    DIVKD_REQUIRE=cuda DIVKD_ORACLE=$here/oracle within "$most" "$here/device-tests" --format pretty "$@"
}

# compare SECONDS ROW PRECISION [OPTIONS..]: what does not end in time is left out of the row.
compare() {
    within "$1" python3 "$here/compare.py" --divkd "$here/divkd" --device cuda:0 --work "$2" --dtype "$3" \
        --warmup 14 --steps 50 --deadline "$(($1 > 4 ? $1 - 3 : 1))" "${@:4}"
}

# epochs SECONDS PRECISION
epochs() {
    local end=$((SECONDS + $1)) measured batch methods times=()
    measured=$(mktemp)
    while read -r batch methods; do
        within $((end - SECONDS)) "$here/divkd" bench step --device cuda:0 --precision "$2" --network resnet-32 --batch "$batch" \
            --methods "$methods" --warmup 14 --steps 50 --json </dev/null 2>"$measured.said" >>"$measured" || {
            printf 'no steps of %s:\n' "$methods"
            tail -qn 3 "$measured" "$measured.said"
            return 1
        }
    done <<BATCHES
128 teacher,kd
64 be,be-kd,be-kd-gaussian,be-kd-ods,be-kd-conf-ods
BATCHES
    mapfile -t times < <(python3 - "$measured" <<'PYTHON'
import json, sys
for step in map(json.loads, open(sys.argv[1])):
    print("--step", f"{step['method']}={step['step_ms'] / 1e3}", sep="\n")
PYTHON
    )
    rm "$measured" "$measured.said"
    "$here/divkd" plan cifar10 --preset paper "${times[@]}"
    "$here/divkd" plan cifar10 --preset paper-short "${times[@]}"
}

# deterministic SECONDS
deterministic() {
    local end=$((SECONDS + $1)) kernels
    for kernels in cudnn any; do
        printf 'convolutions: %s\n' "$kernels"
        DIVKD_CUDA_CONVOLUTIONS=$kernels within $((end - SECONDS)) "$here/divkd" bench step --device cuda:0 --network resnet-32 \
            --batch 128 --methods teacher --warmup 14 --steps 50 2>&1 </dev/null | grep -E '^teacher|no deterministic' || return 1
    done
}

# train SECONDS PRECISION
train() {
    local out status=0
    out=$(mktemp -d)
    within "$1" "$here/divkd" reproduce quick --device cuda:0 --precision "$2" --out "$out" || status=$?
    rm -rf "$out"
    return "$status"
}

# tests_in_turn SECONDS FILTERS..: those of each filter, in a process of their own, all within so many seconds.
tests_in_turn() {
    local end=$((SECONDS + $1)) status=0 filter
    for filter in "${@:2}"; do
        printf '\n== %s\n' "$filter"
        # shellcheck disable=SC2086
        device_tests $((end - SECONDS)) $filter || status=1
    done
    return "$status"
}

# Every device test, some beside others, and in several processes, so that one that the device spoils leaves the rest: SECONDS
# RESULTS.
tests_apart() {
    local rest='--skip ::bf16 --skip ::f32 --skip ::tf32 --skip recorded:: --skip repeats::' failed=0 lane lanes=()
    tests_in_turn "$1" ::bf16 >"$2/tests-1.txt" 2>&1 &
    lanes+=($!)
    tests_in_turn "$1" ::f32 ::tf32 >"$2/tests-2.txt" 2>&1 &
    lanes+=($!)
    tests_in_turn "$1" recorded:: repeats:: "$rest" >"$2/tests-3.txt" 2>&1 &
    lanes+=($!)
    for lane in "${lanes[@]}"; do
        wait "$lane" || failed=1
    done
    cat "$2"/tests-?.txt | tee "$2/tests.txt"
    rm "$2"/tests-?.txt
    return "$failed"
}

# share WEIGHT: the part of what is left of the limit that the next of `all` may take, by its weight among those to come.
share() {
    seconds=$(((limit - SECONDS) * $1 / weights))
    weights=$((weights - $1))
}

# all RESULTS: no part takes another's time, what one leaves goes to those behind it, and one that fails stops none.
all() {
    local results=$1 failed=0 weight row precision options seconds weights=52 watch
    mkdir -p "$results"
    describe 2>&1 | tee "$results/device.txt"
    # The driver may shut a device down that nobody has open, and needs seconds to start it again for the next process.
    nvidia-smi dmon -d 60 >/dev/null 2>&1 &
    watch=$!
    # From the disk now, not within the first row; and the kernels compiled once, not by each of the first tests.
    python3 -c 'import torch' >/dev/null 2>&1 &
    if [ -n "$libraries" ]; then
        cat "$libraries"/cudnn/lib/*.so* >/dev/null 2>&1 &
    fi
    within 60 "$here/divkd" bench step --device cuda:0 --network resnet-8 --batch 8 --image 16 --methods teacher --warmup 0 --steps 1 \
        </dev/null >/dev/null 2>&1 || true
    # What cuDNN refuses, with its reasons: a file for each process.
    share 16
    CUDNN_LOGLEVEL_DBG=1 CUDNN_LOGDEST_DBG=$results/cudnn-%i.txt tests_apart "$seconds" "$results" || failed=1
    if compgen -G "$results/cudnn-*.txt" >/dev/null; then
        cat "$results"/cudnn-*.txt >"$results/cudnn.txt"
        rm "$results"/cudnn-*.txt
    fi
    while read -r weight row precision options; do
        share "$weight"
        # shellcheck disable=SC2086
        compare "$seconds" "$row" "$precision" $options --compile none --pairs 1 --record "$results/rows.jsonl" \
            </dev/null 2>&1 | tee -a "$results/rows.txt" || failed=1
    done <<ROWS
6 wrn-28-10-teacher bf16 --steps 15
10 wrn-28-10-be-kd-conf-ods bf16 --steps 15
3 resnet-32-teacher bf16
3 resnet-32-be-kd-conf-ods bf16
3 resnet-32-teacher tf32
3 resnet-32-be-kd-conf-ods tf32
ROWS
    share 3
    epochs "$seconds" tf32 2>&1 | tee "$results/epochs.txt" || failed=1
    share 2
    deterministic "$seconds" 2>&1 | tee -a "$results/epochs.txt" || failed=1
    share 3
    train "$seconds" bf16 2>&1 | tee "$results/train.txt" || failed=1
    {
        cat "$results/device.txt"
        # Of each process; a test that fails has said why before its name.
        grep -E '^==|^test .*FAILED|^test result|stopped after' "$results/tests.txt" || true
        [ ! -f "$results/rows.jsonl" ] || python3 "$here/compare.py" --table "$results/rows.jsonl"
    } | tee "$results/summary.md"
    kill "$watch" 2>/dev/null || true
    return "$failed"
}

case ${1:-} in
    all)
        all "${2:?which folder for the results? see the head of this script}"
        ;;
    run)
        exec "${@:2}"
        ;;
    tests)
        shift
        describe
        device_tests "$limit" "$@"
        ;;
    manners)
        describe
        status=0
        for manner in straight branching overlapping; do
            if [ "$manner" = overlapping ] && nvidia-smi --query-gpu=compute_cap --format=csv,noheader | grep -qv '^9\|^1[0-9]'; then
                echo 'overlapping: not on this device'
                continue
            fi
            echo "$manner:"
            DIVKD_CUDA_GRAPHS=$manner device_tests "$limit" recorded:: || status=$?
        done
        exit "$status"
        ;;
    sanitize)
        tool=${2:?memcheck or racecheck?}
        filter=${3:?which tests? a whole name, for many take too long: such as network::resnet-8::train::f32}
        PATH=$PATH:/usr/local/cuda/bin
        describe
        if ! command -v compute-sanitizer >/dev/null; then
            echo "compute-sanitizer is not on the path: it is part of a CUDA toolkit" >&2
            exit 69
        fi
        DIVKD_REQUIRE=cuda DIVKD_ORACLE=$here/oracle DIVKD_CUDA_GRAPHS=off within "$limit" compute-sanitizer --tool "$tool" \
            --error-exitcode 1 "$here/device-tests" --format pretty --test-threads 1 "$filter"
        ;;
    bench)
        row=${2:?which row? see the head of this script}
        precision=${3:?f32, tf32 or bf16?}
        shift 3
        describe
        compare "$limit" "$row" "$precision" "$@"
        ;;
    epochs)
        describe
        epochs "$limit" "${2:-tf32}"
        ;;
    deterministic)
        describe
        deterministic "$limit"
        ;;
    train)
        describe
        train "$limit" "${2:-f32}"
        ;;
    plan)
        parts=${2:?which folder of parts? see the head of this script}
        shift 2
        describe
        out=$(mktemp -d)
        trap 'rm -rf "$out"' EXIT
        if [ -n "$(ls -A "$parts" 2>/dev/null)" ]; then
            "$here/divkd" unpack "$parts" --out "$out/runs"
        fi
        status=0
        # What is left, but for the packing.
        left=$((limit - SECONDS - 20))
        within $((left + 10)) "$here/divkd" reproduce "$@" --out "$out/runs" --time-limit "${left}s" || status=$?
        if [ "$status" != 0 ] && [ "$status" != 75 ]; then
            exit "$status"
        fi
        "$here/divkd" pack "$out/runs" --out "$out/parts"
        # The old parts go once the new ones are all there.
        rm -rf "$parts.new"
        cp -r "$out/parts" "$parts.new"
        rm -rf "$parts"
        mv "$parts.new" "$parts"
        exit "$status"
        ;;
    *)
        sed -n '2,22s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 64
        ;;
esac
