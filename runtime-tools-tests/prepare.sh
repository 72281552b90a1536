#!/usr/bin/env bash
# What the tests need and the build does not: the tools of all stages, the images of the virtual machines, the validation
# programs, the peers. Called by `make test`, which builds at the same time: a great part of a release build has one thread.
# Rule: it fails only if the tools cannot be installed. What else is missing afterwards the stage makes that needs it, or it
# says why it cannot.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
cd "$HERE/.."
start=$SECONDS
"$HERE/deps.sh" lint fuzz guard engines conformance compare bare
mkdir -p .cache
try() { # try COMMAND...: what it says is kept
    "$@" >>.cache/prepare.log 2>&1 || echo "prepare: not made: $*, see .cache/prepare.log"
}
: >.cache/prepare.log
if "$HERE/deps.sh" vm; then
    try "$HERE/vm/image.sh"
    try "$HERE/vm/image.sh" sid
fi
try "$HERE/conformance/fetch-build.sh" .cache/conformance
try "$HERE/bench/peers.sh" .cache/peers
echo "# prepare: $((SECONDS - start)) s"
