#!/usr/bin/env bash
# 2,000 silent connections, 200 slow ones, 64 that declare messages of 16 MB, 50 that come and go and 20
# that send noise, while 50 honest publishers push (about three minutes). A share of it in percent can be
# given: scripts/attack-test.sh 20
set -euo pipefail
cd "$(dirname "$0")/.."
ulimit -n "$(ulimit -Hn)"
MILLSTREAM_ATTACK="${1:-100}" cargo test --release --test e2e attack:: -- --nocapture
