#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/: fuzz.sh SECONDS [TARGET...], for that long, all at the same time. Called by `make fuzz` and
# all.sh.
# Rules: no nightly compiler and no cargo-fuzz is needed, as the flags are those that cargo-fuzz passes, but for the
# sanitizer; an input that fails is kept in .cache/fuzz/ and printed.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:?seconds}
shift
[ $# -gt 0 ] || set -- config inputs

# Set here, RUSTFLAGS takes the place of what .cargo/config.toml says: libFuzzer is C++ and linked dynamically.
export LIBSECCOMP_LINK_TYPE=dylib
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares"
CARGO_BUILD_TARGET=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_BUILD_TARGET
nice -n 19 cargo build --quiet --locked --release --manifest-path fuzz/Cargo.toml --target-dir target/fuzz

seeds() { # seeds TARGET DIRECTORY: where the target begins
    local configs=crates/oci-runtime/tests/configs file name
    for file in "$configs"/*.json; do
        name=$(basename "$file" .json)
        case $1 in
        config) cp "$file" "$2/$name" ;;
        inputs)
            { printf p && jq -c .process "$file"; } >"$2/$name-process"
            { printf r && jq -c '.linux.resources // {}' "$file"; } >"$2/$name-resources"
            ;;
        esac
    done
    if [ "$1" = inputs ]; then
        printf 's{"id":"a","status":"created","bundle":"/b","init":{"pid":7,"start_time":1,"boot_id":"x"}}' >"$2/state"
        printf 'cfno such file' >"$2/failed" && printf 'cr' >"$2/ready" && printf 'cp\1\0\0\0' >"$2/pid"
    fi
}

corpus=$(mktemp -d)
trap 'rm -rf "$corpus"' EXIT
mkdir -p .cache/fuzz
fuzz() {
    local target=$1 file log=$corpus/$1.log
    mkdir "$corpus/$target"
    seeds "$target" "$corpus/$target"
    if ! "target/fuzz/$CARGO_BUILD_TARGET/release/$target" "$corpus/$target" -max_total_time="$seconds" -max_len=65536 \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix=".cache/fuzz/$target-" >"$log" 2>&1; then
        file=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
        grep -aA 3 -e 'panicked at' -e '^==.*ERROR' "$log" | cut -c 1-1000 | head -n 20
        [ -z "$file" ] || { echo "the input that fails is kept in $file; it begins:" && head -c 4000 "$file" && echo; }
        return 1
    fi
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") inputs in $seconds s, none fails"
}
running=()
for target; do
    fuzz "$target" &
    running+=($!)
done
failed=0
for one in "${running[@]}"; do wait "$one" || failed=1; done
exit $failed
