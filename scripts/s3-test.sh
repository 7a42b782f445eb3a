#!/usr/bin/env bash
# Runs the conformance suite of stores against SeaweedFS, a real S3 server, which it starts and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
# Free ports; SeaweedFS adds 10000 to each for gRPC.
read -r master volume filer s3 < <(python3 - <<'PY'
import socket
ports, held = [], []
while len(ports) < 4:
    one, other = socket.socket(), socket.socket()
    one.bind(("127.0.0.1", 0))
    port = one.getsockname()[1]
    try:
        other.bind(("127.0.0.1", port + 10000))
    except (OSError, OverflowError):
        continue
    ports.append(port)
    held += [one, other]
print(*ports)
PY
)
export S3_BUCKET=conformance S3_ENDPOINT=http://127.0.0.1:$s3 S3_KEY=test-key S3_SECRET=test-secret

folder=$(mktemp -d)
cat >"$folder/s3.json" <<EOF
{"identities":[{"name":"test","credentials":[{"accessKey":"$S3_KEY","secretKey":"$S3_SECRET"}],"actions":["Admin","Read","Write","List"]}]}
EOF
tests/.tools/weed -logtostderr=true server -ip=127.0.0.1 -dir="$folder" -filer -s3 -s3.config="$folder/s3.json" \
    -master.port="$master" -volume.port="$volume" -filer.port="$filer" -s3.port="$s3" \
    -s3.port.iceberg=0 -s3.port.lance=0 -volume.max=50 -master.volumeSizeLimitMB=64 2>"$folder/log" &
weed=$!
trap 'kill $weed 2>/dev/null; wait $weed || true; rm -rf "$folder"' EXIT

request() { curl -s -o /dev/null -w '%{http_code}' --aws-sigv4 aws:amz:us-east-1:s3 --user "$S3_KEY:$S3_SECRET" "$@"; }
for _ in $(seq 120); do
    request -X PUT "$S3_ENDPOINT/$S3_BUCKET" >/dev/null || true
    [ "$(request -T Makefile "$S3_ENDPOINT/$S3_BUCKET/first")" = 200 ] && break
    sleep 0.5
done
cargo test --lib s3_conforms -- --ignored
