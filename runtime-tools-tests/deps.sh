#!/usr/bin/env bash
# Installs the Debian packages that are missing: deps.sh build|bare|bench|compare|lint|fuzz|guard|engines|conformance|vm [...]. Called by the
# Makefile, the last by vm/test.sh.
# Rules: quiet and without effect when all is there; no daemon is started by an installation; where packages cannot be
# installed (not Debian, not root), it names what is missing and fails.
# Debian 12's own Rust is older than this project's; its `-web` packages (bookworm-security) follow the current one. They
# are taken only if no cargo of RUST_MIN or later is on PATH.
set -euo pipefail
RUST_MIN=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$(dirname "$0")/../Cargo.toml")

recent() { # recent COMMAND...: does it print a version of RUST_MIN or later?
    local v
    v=$("$@" 2>/dev/null | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p') && [ -n "$v" ] \
        && [ "$(printf '%s\n' "$RUST_MIN" "$v" | sort -V | head -n 1)" = "$RUST_MIN" ]
}

wanted=()
for set; do
    case $set in
    build)
        wanted+=(gcc libc6-dev pkg-config libseccomp-dev busybox-static jq ca-certificates)
        recent cargo --version && recent rustc --version || wanted+=(cargo-web rustc-web)
        # Debian's rustc comes without the linker that obeys hot-text.ld.
        [ -e "$(rustc --print sysroot 2>/dev/null)/lib/rustlib/$(rustc -vV 2>/dev/null | sed -n 's/^host: //p')/bin/gcc-ld" ] || wanted+=(lld)
        ;;
    compare) wanted+=(gcc libc6-dev python3 mmdebstrap patchelf util-linux) ;;
    bare) wanted+=(mmdebstrap util-linux) ;;
    bench) wanted+=(runc crun mmdebstrap patchelf util-linux) ;;
    lint)
        wanted+=(shellcheck python3)
        # Packaged and rustup's tools do not mix: these come only with the packaged cargo.
        if [ "$(command -v cargo || echo /usr/bin/cargo)" = /usr/bin/cargo ]; then
            wanted+=(rust-web-clippy rustfmt-web)
        fi
        ;;
    fuzz) # libFuzzer is C++
        wanted+=(g++)
        ;;
    guard) # the tests that look at system calls
        wanted+=(strace)
        ;;
    engines)
        wanted+=(podman buildah conmon netavark catatonit slirp4netns uidmap passwd containerd docker.io runc iptables iproute2
            procps util-linux
            busybox-static jq)
        ;;
    conformance) # the Go libraries that the validation programs import; the first brings most of them
        wanted+=(golang-go golang-github-opencontainers-runtime-tools-dev golang-github-google-uuid-dev
            busybox-static debian-archive-keyring xz-utils iproute2 procps util-linux)
        ;;
    vm) wanted+=(gcc libc6-dev qemu-system-x86 mmdebstrap e2fsprogs cpio zstd xz-utils lz4 python3-minimal jq binutils util-linux) ;;
    *) echo "deps.sh: unknown set '$set'" >&2 && exit 2 ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
echo "installing: ${missing[*]}"
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "deps.sh: only root on Debian can install these; please install them first" >&2
    exit 1
fi

# invoke-rc.d asks policy-rc.d before it starts a service; 101 says no.
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
    trap 'rm -f $policy $log' EXIT
else
    trap 'rm -f $log' EXIT
fi
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
if ! { apt-get update -qq && apt-get install -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    exit 1
fi
