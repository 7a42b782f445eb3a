#!/usr/bin/env bash
# A crowd of 100 publishers that come and go, change and jump, and 200 viewers, for 30 minutes.
# The minutes can be given: scripts/soak-test.sh 5
set -euo pipefail
cd "$(dirname "$0")/.."
MILLSTREAM_SOAK_MINUTES="${1:-30}" cargo test --release --test e2e soak:: -- --nocapture
