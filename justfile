# Short forms of the project's commands. `just` alone lists them. Where there is a GPU and a CUDA toolkit, the program is built
# for it (scripts/cuda/features).

_list:
    @just --list --unsorted

# Train what is missing of an experiment and print its table: `just reproduce cifar10 --preset laptop`.
reproduce experiment='quick' *options:
    cargo run --release $(scripts/cuda/features) -- reproduce {{experiment}} {{options}}

# Print the table of stored records: `just table results/runs --format md`.
table *arguments:
    cargo run --release $(scripts/cuda/features) -- table {{arguments}}

# Write the page of stored records: `just report runs -o report.html --figures figures`.
report *arguments:
    cargo run --release $(scripts/cuda/features) -- report {{arguments}}

# Make the committed page, its figures and the tables beside it again, after the records, scores or drawings have changed.
report-committed records='results/runs/cifar10-laptop':
    cargo run --release $(scripts/cuda/features) -- report {{records}} -o {{records}}/report.html --figures {{records}}/figures
    cargo run --release $(scripts/cuda/features) -- table {{records}} --format csv > {{records}}/table.csv
    cargo run --release $(scripts/cuda/features) -- table {{records}} --format md > {{records}}/table.md

# Compare with recorded cases of the authors' implementation.
oracle cases='harness/tests/data/oracle' *options:
    cargo run --release $(scripts/cuda/features) -- oracle {{cases}} {{options}}

# Run every test.
test *options:
    cargo test --workspace {{options}}

# Check format and lints, as the continuous integration does.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Time training steps and show where their time goes: `just bench step --network resnet-32 --batch 64`.
bench *arguments:
    cargo run --release $(scripts/cuda/features) -- bench {{arguments}}

# Hold the smoke run to results/golden, or stored records to claims: `just gate runs`, `just gate --golden --bless`.
gate *arguments='--golden':
    cargo run -- check {{arguments}}

# Add a method that starts as plain distillation, or as another one: `just add-method my-probe be-kd-ods`.
add-method name like="be-kd":
    scripts/add-method {{name}} {{like}}

# Make the folder that a machine with a GPU needs: binary, device tests, recorded cases, peer (docs/CUDA.md).
cuda-bundle:
    scripts/cuda/bundle

# Run the device tests on a CUDA device that the host plays: needs g++, nothing of CUDA (docs/CUDA.md).
test-emulated *options='--test-threads 2':
    scripts/cuda/standin target/cuda-standin
    . target/cuda-standin/env.sh && \
        LD_LIBRARY_PATH=$PWD/target/cuda-standin/emulated-runtime DIVKD_REQUIRE=cuda \
        cargo test -p harness --features cudnn --test device -- {{options}}

# Run the tests of numbers and methods, and the smoke run against its golden, for aarch64 under qemu: needs
# gcc-aarch64-linux-gnu, qemu-user and the Rust target.
test-aarch64:
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target/aarch64}" && \
    cargo test --target aarch64-unknown-linux-gnu -p random -p metrics -p nn -p methods -p results -- \
        --skip ops::cuda --skip engine::cuda && \
    rm -rf target/aarch64-runs && \
    cargo run --target aarch64-unknown-linux-gnu -- reproduce quick --preset smoke --out target/aarch64-runs && \
    cargo run --target aarch64-unknown-linux-gnu -- table target/aarch64-runs/quick-smoke --format csv \
        | cmp - results/golden/quick-smoke/table.csv

# Run the CPU engine's tests under AddressSanitizer, its unsafe code's check: needs a nightly toolchain.
sanitize:
    RUSTFLAGS=-Zsanitizer=address CARGO_TARGET_DIR=target/sanitized \
        cargo +nightly test -p nn --target x86_64-unknown-linux-gnu -- --skip ops::cuda --skip engine::cuda
