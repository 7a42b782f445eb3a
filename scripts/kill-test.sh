#!/usr/bin/env bash
# Kills the server at 200 random moments of a push, once with a local store and once with SeaweedFS
# (about half an hour). The number can be given: scripts/kill-test.sh 20
set -euo pipefail
cd "$(dirname "$0")/.."
MILLSTREAM_KILLS="${1:-200}" cargo test --release --test e2e kill:: -- --nocapture --test-threads 2
