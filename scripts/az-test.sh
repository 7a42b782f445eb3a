#!/usr/bin/env bash
# Runs the conformance suite of stores against Azurite, Microsoft's emulator of Azure's blobs, which it
# installs into tests/.tools (npm, 190 MB), starts and ends.
set -euo pipefail
cd "$(dirname "$0")/.."
tool=tests/.tools/azurite
[ -d "$tool/node_modules/azurite" ] || npm install --silent --no-audit --no-fund --prefix "$tool" azurite@3
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export AZURITE_BLOB_STORAGE_URL=http://127.0.0.1:$port AZURE_STORAGE_USE_EMULATOR=true
node "$tool/node_modules/.bin/azurite-blob" --blobHost 127.0.0.1 --blobPort "$port" \
    --inMemoryPersistence --skipApiVersionCheck --disableTelemetry --silent >/dev/null &
azurite=$!
trap 'kill $azurite 2>/dev/null; wait $azurite || true' EXIT

# A container, signed by the key that every such emulator has.
python3 - "$port" <<'PY'
import base64, email.utils, hashlib, hmac, sys, time, urllib.error, urllib.request
account, container = "devstoreaccount1", "conformance"
key = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
for attempt in range(120):
    date = email.utils.formatdate(usegmt=True)
    fields = {"x-ms-date": date, "x-ms-version": "2021-12-02"}
    text = "PUT" + "\n" * 12 + "".join(f"{k}:{v}\n" for k, v in fields.items())
    text += f"/{account}/{account}/{container}\nrestype:container"
    signature = base64.b64encode(hmac.new(key, text.encode(), hashlib.sha256).digest()).decode()
    fields |= {"Authorization": f"SharedKey {account}:{signature}", "Content-Length": "0"}
    url = f"http://127.0.0.1:{sys.argv[1]}/{account}/{container}?restype=container"
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="PUT", headers=fields))
        break
    except urllib.error.HTTPError:
        raise
    except OSError:
        time.sleep(0.5)
else:
    sys.exit("Azurite does not answer")
PY
STORE_URL=az://conformance/archive cargo test --lib another_cloud_conforms -- --ignored
