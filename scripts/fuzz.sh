#!/bin/sh
# Runs the fuzz targets one after the other, each for FUZZ_SECONDS; see docs/fuzzing.md.
set -eu

seconds=${FUZZ_SECONDS:-600}
targets=${TARGETS:-$(cd fuzz/targets && ls | sed 's/\.rs$//')}

command -v c++ >/dev/null || { echo "error: the fuzzer needs a C++ compiler; install Debian's package g++" >&2; exit 1; }
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing cargo-fuzz (the fuzz targets are built and run by it)"
    cargo install cargo-fuzz --locked
fi

for target in $targets; do
    # What the fuzzer gathers and what it finds stay out of the repository.
    corpus=target/fuzz/corpus/$target artifacts=target/fuzz/artifacts/$target
    mkdir -p "$corpus" "$artifacts"
    echo "fuzzing $target for $seconds s"
    # No sanitizer: the only unsafe code is in src/sys.rs, which no target reaches, and without one the stable
    # compiler builds it, and it runs twice as fast. Overflow checks and debug assertions are on.
    cargo fuzz run -s none --target-dir target/fuzz "$target" "$corpus" "fuzz/corpus/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -artifact_prefix="$artifacts/" -print_final_stats=1
done
