#!/usr/bin/env bash
# Checks a machine with a GPU from the folder that scripts/cuda/bundle makes. Needs a driver and the CUDA and cuDNN
# libraries, for which those of a PyTorch installation serve; `bench` needs that PyTorch too.
#
#   gpu-check.sh tests                  every device test; ends with their counts
#   gpu-check.sh bench ROW PRECISION    one piece of work, divkd and PyTorch in turn; PRECISION is f32, tf32 or bf16
#   gpu-check.sh train [PRECISION]      the experiment `quick` on synthetic images; ends with its table
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

describe() {
    printf 'date %s, commit %s\n' "$(date -u +%FT%TZ)" "$(cat "$here/commit")"
    nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
}

case ${1:-} in
    tests)
        describe
        DIVKD_REQUIRE=cuda DIVKD_ORACLE=$here/oracle timeout "$limit" "$here/device-tests" --format terse
        ;;
    bench)
        row=${2:?which row? see the head of this script}
        precision=${3:?f32, tf32 or bf16?}
        describe
        timeout "$limit" python3 "$here/compare.py" --divkd "$here/divkd" --device cuda:0 --dtype "$precision" \
            --work "$row" --warmup 10 --steps 50
        ;;
    train)
        describe
        out=$(mktemp -d)
        trap 'rm -rf "$out"' EXIT
        timeout "$limit" "$here/divkd" reproduce quick --device cuda:0 --precision "${2:-f32}" --out "$out"
        ;;
    *)
        sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
        exit 64
        ;;
esac
