# make run    builds and starts the server with a demo stream on live/demo
# make test   everything that CI checks: format, lints, tests, docs; installs what the tests need
# make fuzz   a minute of fuzzing for each parser that sees the network; FUZZ_SECONDS changes that
# make setup  only installs what the tests need
# make web    only fetches hls.js for the page at /
# make bench        how long the pieces of the hot path take
# make bench-check  counts their instructions and compares with benches/instructions.json; installs valgrind

# Most end-to-end tests wait for media to pass in real time, so more of them run than there are cores.
export RUST_TEST_THREADS ?= 4

.PHONY: run test fuzz setup web deny bench bench-check

run: web
	cargo build --release
	target/release/millstream serve --demo

test: setup
	cargo fmt --check
	cargo clippy --all-targets -- -D warnings
	cargo test
	scripts/s3-test.sh
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps

fuzz:
	scripts/fuzz.sh

setup:
	scripts/setup.sh tests

web:
	scripts/setup.sh web

# Licences, bans, sources and, for which it needs the network, advisories of the dependencies; builds cargo-deny first.
deny:
	scripts/setup.sh deny
	cargo deny check

bench:
	cargo bench --bench speed

bench-check:
	scripts/setup.sh bench
	benches/check.py
