#!/usr/bin/env bash
# Fuzzes every target for a minute each, or for FUZZ_SECONDS; or only those that are named:
# FUZZ_SECONDS=600 scripts/fuzz.sh session pipeline
#
# Ends with a table of what was run; fails with the first input that breaks a target, which is then in
# fuzz/artifacts. The toolchain is the stable one: RUSTC_BOOTSTRAP lets it instrument, and sanitizers stay
# off, for the code has no unsafe.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh fuzz
export RUSTC_BOOTSTRAP=1

targets=("$@")
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(cargo fuzz list)
logs=fuzz/artifacts/logs
mkdir -p "$logs"
for target in "${targets[@]}"; do
    # The first lines of a run tell the coverage of the seeds, the last ones what it came to.
    cargo fuzz run --sanitizer none "$target" -- -max_total_time="${FUZZ_SECONDS:-60}" -max_len=16384 \
        -timeout=20 -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1 2>&1 | tee "$logs/$target"
done

# From lines like "#4096 DONE cov: 1234 ft: 2345 corp: 99/12Kb …" and "stat::number_of_executed_units: 4096".
echo "| target | seconds | executions | edges: seeds | edges: now | inputs kept |"
echo "| --- | --- | --- | --- | --- | --- |"
for target in "${targets[@]}"; do
    awk -v target="$target" '
        function after(word,  i) { for (i = 1; i < NF; i++) if ($i == word) return $(i + 1) }
        /INITED/ { seeds = after("cov:") }
        /\tDONE/ { edges = after("cov:"); kept = after("corp:"); sub("/.*", "", kept) }
        /^Done / { seconds = after("in") }
        /number_of_executed_units/ { executions = $2 }
        END { printf "| `%s` | %s | %s | %s | %s | %s |\n", target, seconds, executions, seeds, edges, kept }
    ' "$logs/$target"
done
