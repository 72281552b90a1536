#!/usr/bin/env bash
# Measures RUNTIME beside its peers and the floor; see docs/benchmarks.md. Called by `make bench`, which has built all.
#   ROUNDS=50                 how often each command is measured; below 10 it is a quick look that changes no file
#   CASES=a,b LAYOUTS=v1,v2   only these (all cases are in the tables of docs/benchmarks.md)
#   BINARIES="name=path ..."  further runtimes beside the usual ones
#   PEERS=no                  only those
#   OUT=DIR                   where the result goes (docs/benchmarks; OUT= for nowhere)
set -euo pipefail
cd "$(dirname "$0")/../.."
: "${RUNTIME:?}" "${BENCH:?}" "${FLOOR:?}"
ROUNDS=${ROUNDS:-50}
copies=$PWD/.cache/bench/copies
mkdir -p "$copies"
runtime-tools-tests/bench/copy.sh "$RUNTIME" "$copies/nucleus"
runtime-tools-tests/bench/copy.sh "$FLOOR" "$copies/floor"
arguments=(--rounds "$ROUNDS" --configs crates/oci-runtime/tests/configs --floor "$copies/floor" --peer "nucleus=$copies/nucleus")
for one in ${BINARIES:-}; do arguments+=(--peer "$one"); done
if [ "${PEERS:-}" != no ]; then
    while read -r kind what; do arguments+=("--$kind" "$what"); done < <(runtime-tools-tests/bench/peers.sh "$PWD/.cache/bench")
fi
[ -z "${CASES:-}" ] || arguments+=(--cases "$CASES")
[ -z "${LAYOUTS:-}" ] || arguments+=(--layouts "$LAYOUTS")
if [ "$ROUNDS" -lt 10 ]; then
    arguments+=(--containers "${CONTAINERS:-100}")
    OUT=${OUT-}
else
    arguments+=(--containers "${CONTAINERS:-1000}")
fi
out=${OUT-docs/benchmarks}
if [ -n "$out" ]; then
    arguments+=(--out "$out")
    # The page shows what lies beside it, and only a whole run.
    if [ "$out" = docs/benchmarks ] && [ -z "${CASES:-}${LAYOUTS:-}" ]; then arguments+=(--page docs/benchmarks.md); fi
fi
exec "$BENCH" run "${arguments[@]}"
