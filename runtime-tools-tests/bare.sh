#!/usr/bin/env bash
# What the README promises, where nothing is installed: a fresh Debian 12 with git, make and ca-certificates alone, made by
# mmdebstrap, and in it `make run`, `make lint`, the unit tests, and `make guard`, with Debian's own Rust. Called by
# `make test-bare` and all.sh. Adds its counts to TALLY. DEADLINE bounds it, in seconds.
# Rules: the root is a directory below .cache, entered by pivot_root in namespaces of its own (mounts, processes), and removed at
# the end; the sources are those that git knows, as they are now. From the host come its name servers and its certificates, and,
# so that nothing is fetched or made twice, the crates that it has and the image of the virtual machine.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/.."
if [ "${1:-}" = --enter ]; then # in namespaces of its own: --enter ROOT
    root=$2
    mount --make-rprivate /
    mount --bind "$root" "$root"
    mount -t proc proc "$root/proc"
    mount --rbind /dev "$root/dev"
    mount --rbind /sys "$root/sys"
    mount -t tmpfs tmpfs "$root/run"
    for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt; do
        [ ! -e "$file" ] || { touch "$root$file" && mount --bind "$file" "$root$file"; }
    done
    if [ -e .cache/vm/key ]; then
        mkdir -p "$root/src/.cache/vm"
        mount --bind .cache/vm "$root/src/.cache/vm"
    fi
    if [ -d "${CARGO_HOME:-$HOME/.cargo}/registry" ]; then
        mkdir -p "$root/root/.cargo/registry"
        mount --bind "${CARGO_HOME:-$HOME/.cargo}/registry" "$root/root/.cargo/registry"
    fi
    cd "$root"
    pivot_root . .
    umount -l .
    exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb CI=true \
        LC_ALL=C.UTF-8 bash /src/runtime-tools-tests/bare.sh --inside
fi

step() { # step NAME COMMAND...
    local name=$1 begin=$SECONDS
    shift
    if "$@" >/tmp/step 2>&1; then
        echo "ok - bare: $name ($((SECONDS - begin)) s)"
        grep -E '^(SKIP|skip) ' /tmp/step | sed 's/^skip/SKIP/; s/^SKIP \(- \)\?/SKIP - bare: /' || true
    else
        tail -n 60 /tmp/step | sed 's/^/    # /'
        echo "not ok - bare: $name"
    fi
}

# The last part of a release build, from the library of the package on, has one thread: then, and not before, the other
# processor builds for the tests.
build_tests() {
    until compgen -G "target/*/release/deps/liboci_runtime-*.rlib" >/dev/null || [ -e /tmp/run-has-ended ]; do sleep 1; done
    unit_tests --jobs 1 --no-run >/dev/null 2>&1 || true
}
unit_tests() {
    # Code that is not optimised moves large values over the stack.
    RUST_MIN_STACK=$((16 << 20)) CARGO_BUILD_TARGET=$(rustc -vV | sed -n 's/^host: //p') cargo test --quiet --locked --workspace --lib "$@"
}
linked_by_lld() { readelf -p .comment target/*/release/nucleus | grep 'Linker: .*LLD'; }

if [ "${1:-}" = --inside ]; then
    cd /src
    # The tests run for seconds and are built for minutes; what they look at, `make run` builds as it always does.
    export CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_PROFILE_DEV_DEBUG=0
    ! command -v cargo gcc python3 || { echo 'not ok - bare: there are tools in the root' && exit 1; }
    build_tests &
    step 'make run' make run
    touch /tmp/run-has-ended
    step 'the linker is one that obeys the list of hot functions' linked_by_lld
    step 'make lint' make lint
    wait
    step 'unit tests' unit_tests
    step 'make guard' make guard
    exit
fi

tally() { [ -z "${TALLY:-}" ] || echo "$1 $2 $3" >>"$TALLY"; }
start=$SECONDS
work=.cache/bare
mkdir -p "$work"
work=$(mktemp -d "$PWD/$work/XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"
if ! mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --include=git,make,ca-certificates bookworm "$work/root" >"$work/log" 2>&1; then
    sed 's/^/    # /' "$work/log"
    echo 'SKIP - bare: A ROOT OF DEBIAN 12 CANNOT BE MADE (above), so nothing is shown about a machine where nothing is installed'
    tally 0 0 1
    exit
fi
mkdir "$work/root/src"
git ls-files -z --cached --others --exclude-standard | tar -c --null --files-from=- | tar -x -C "$work/root/src"
status=0
timeout --kill-after=10 "${DEADLINE:-2400}" unshare --mount --pid --fork --kill-child "$0" --enter "$work/root" </dev/null 2>&1 \
    | tee "$work/out" || status=$?
count() { grep -c "^$1 - bare: " "$work/out" || true; }
failed=$(count 'not ok')
[ "$status" = 0 ] || failed=$((failed + 1))
[ "$status" = 0 ] || echo "not ok - bare: ended with status $status"
echo "# bare: $(count ok) passed, $failed failed, $(count SKIP) skipped in $((SECONDS - start)) s"
tally "$(count ok)" "$failed" "$(count SKIP)"
[ "$failed" = 0 ]
