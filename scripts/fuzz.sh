#!/usr/bin/env bash
# Fuzzes every target for a minute each, or for FUZZ_SECONDS; or only those that are named:
# FUZZ_SECONDS=600 scripts/fuzz.sh session pipeline
#
# Needs cargo-fuzz (installed if it is missing) and a C++ compiler. The toolchain is the stable one:
# RUSTC_BOOTSTRAP lets it instrument, and sanitizers stay off, for the code has no unsafe.
set -euo pipefail
cd "$(dirname "$0")/.."
command -v c++ >/dev/null || { echo "fuzz: missing: a C++ compiler; please run: apt-get install g++" >&2; exit 1; }
cargo fuzz --version >/dev/null 2>&1 || cargo install cargo-fuzz --locked
export RUSTC_BOOTSTRAP=1

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
# Where mutation begins; what it finds is added beside it and stays out of git.
cargo test --quiet --test fuzz seeds_are_written -- --ignored
for target in "${targets[@]}"; do
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -max_len=16384 \
        -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1
done
