#!/usr/bin/env bash
# The store is killed, hangs, is slow, and fails a third of all requests, for 60 s each, while 20
# channels are pushed (about seven minutes). Other numbers: scripts/outage-test.sh CHANNELS SECONDS
# Prints for each what memory did and how long the uploads took afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."
export MILLSTREAM_OUTAGE_CHANNELS="${1:-20}" MILLSTREAM_OUTAGE_SECONDS="${2:-60}"
cargo test --test e2e outage::a_store_that -- --nocapture --test-threads 1
