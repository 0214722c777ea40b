# `make test` needs nothing but a Rust toolchain and Debian: it installs the rest and says so.

.PHONY: test tools stacks lint check soak bench bench-mesh bench-sites bench-eviction bench-counts bench-telemetry fuzz

## Install what the tests need and is missing.
tools:
	@sh scripts/tools.sh

## Everything that finds regressions: what CI runs.
test: tools
	cargo test --locked

## The stacks of docker-compose.yml with the static binary that goes into images; `make test` has them with its own.
stacks: tools
	static=$$(sh scripts/image.sh binary) && MESHSTORE_IMAGE_BINARY=$$static cargo test --locked --test container compose::

## Formatting, lints, documentation; warnings are errors.
lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

## The fast part of the above, while working.
check:
	cargo check --locked --all-targets

## The long runs: hundreds of kills, and the crowds of docs/faults.md in full.
soak: tools
	MESHSTORE_KILL_ROUNDS=200 MESHSTORE_FLIP_ROUNDS=100 MESHSTORE_IDLE_CONNECTIONS=10000 \
	MESHSTORE_PUSHES=500 MESHSTORE_PUSHES_BUDGET_MIB=512 cargo test --locked --release --test container -- --nocapture

## The container beside Redis, nginx and others; `make bench ROWS=http-1k,push-disk` takes a selection, and
## `make bench BENCH=--quick` tries them. See docs/benchmarks.md.
bench:
	@sh scripts/tools.sh benchmarks
	cargo build -q --locked --release
	cargo run -q --locked --release --manifest-path benches/peers/Cargo.toml --target-dir target -- $(BENCH) $(ROWS)

## Those of its rows that go over a nats-server, or stand beside JetStream.
bench-mesh:
	@$(MAKE) --no-print-directory bench ROWS=nats-1,nats-64,kv-1,kv-64,kv-nats-1,kv-nats-64,catalog,peer-10m,peer-100m,peer-bus-10m,peer-bus-100m

## Sites on a test bed of network namespaces, 25 ms from each other; needs root. See docs/benchmarks.md.
bench-sites: tools
	cargo test --locked --test container far::figures -- --ignored --nocapture --test-threads 1

## Instructions that the hot paths take, counted by valgrind, beside those of the run before; see docs/benchmarks.md.
bench-counts:
	@sh scripts/tools.sh counts
	cd benches/counts && GUNGRAUN_RUNNER=$(CURDIR)/target/tools/bin/gungraun-runner cargo bench -q --target-dir ../../target

## What telemetry takes of the processor time of a pull, sampled by perf; fails above its target. See docs/benchmarks.md.
bench-telemetry:
	@sh scripts/tools.sh telemetry
	cargo build -q --locked --profile lines
	cargo run -q --locked --release --manifest-path benches/telemetry/Cargo.toml --target-dir target -- target/lines/meshstore

## Arbitrary bytes at everything that reads what others wrote: `make fuzz TARGETS=frame FUZZ_SECONDS=30`.
fuzz:
	@TARGETS="$(TARGETS)" FUZZ_SECONDS="$(FUZZ_SECONDS)" sh scripts/fuzz.sh

## Hit ratios beside those of other caches, and what the policies' books take; see docs/benchmarks.md.
bench-eviction:
	cargo run -q --manifest-path benches/eviction/Cargo.toml --target-dir target
