#!/usr/bin/env bash
# Fetches and builds the validation programs of opencontainers/runtime-tools: fetch-build.sh DIR. Called by run.sh.
# DIR/suite then has what they expect in their working directory: the programs in validation/, `runtimetest` (which they
# run inside of containers) and the root filesystem as a tarball.
# The source is Debian's original tarball (trixie): Debian 12's packages leave these programs out. Debian's Go compiles
# it with Debian 12's packaged libraries and our own stand-in (tap/) for the only import that no release has.
# Rules: - nothing of the suite is kept in this repository, and the host's apt settings and lists stay as they are;
#        - the tarball is the one whose checksum stands below, which expected.tsv speaks of; apt has checked the index;
#        - exit status 77 means that the tarball cannot be had: to be told, loudly, but no fault of the runtime.
set -euo pipefail
PACKAGE=golang-github-opencontainers-runtime-tools
VERSION=0.9.0.109.ge931285
SHA256=203989a1ea98cf2aaced79155bbda09270b20db19b03376dde91ab12e5e6a0fe
PROGRAMS=58
here=$(cd "$(dirname "$0")" && pwd)
dir=$(realpath -m "${1:?usage: fetch-build.sh DIR}")
tarball=$dir/${PACKAGE}_$VERSION.orig.tar.xz
import=src/github.com/opencontainers/runtime-tools

is_right() { [ -s "$tarball" ] && echo "$SHA256  $tarball" | sha256sum --check --status; }

# apt with a source list, lists and a cache of its own. Its exit status says nothing: the mirrors lack the .dsc, so it
# fails although the tarball has come.
fetch() {
    local apt=$dir/apt options
    mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
    echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) trixie main" >"$apt/sources.list"
    options=(-o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$apt/lists" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root)
    (
        cd "$dir"
        apt-get "${options[@]}" update || true
        apt-get "${options[@]}" source --download-only "$PACKAGE=$VERSION-1" || true
    ) >"$dir/apt.log" 2>&1
    rm -rf "$apt" "$dir"/*.debian.tar.xz
}

# The host's own mirror.
mirror() {
    local found
    # shellcheck disable=SC2016 # for apt-get
    found=$(apt-get indextargets --format '$(SITE)' 2>/dev/null | grep -m 1 '/debian/*$') || true
    echo "${found:-http://deb.debian.org/debian}"
}

build() {
    local path=$dir/gopath out=$dir/suite.new
    rm -rf "$path" "$out" "$dir/suite"
    mkdir -p "$path/$import" "$path/src/github.com/mndrix/tap-go" "$out/validation"
    tar -xf "$tarball" -C "$path/$import" --strip-components=1
    cp "$here/tap/tap.go" "$path/src/github.com/mndrix/tap-go/"
    export GO111MODULE=off GOPATH=$path:/usr/share/gocode GOCACHE=$path/cache GOFLAGS='' CGO_ENABLED=0
    cd "$path/$import"
    nice go build -tags 'netgo osusergo' -ldflags '-s -w' -o "$out/runtimetest" ./cmd/runtimetest
    # shellcheck disable=SC2046 # none of these names has a space
    nice go build -ldflags '-s -w' -o "$out/validation/" $(find validation -mindepth 1 -type d ! -name util -printf './%p ')
    [ "$(find "$out/validation" -type f | wc -l)" = "$PROGRAMS" ] || { echo "not $PROGRAMS programs" >&2; return 1; }
    rootfs "$out"
    stamp >"$out/stamp"
    cd "$dir"
    mv "$out" "$dir/suite"
    chmod -R u+w "$path" && rm -rf "$path"
}

# Of busybox, as the one that the suite brings, but for every architecture. (Hooks run its shell outside of the container.)
rootfs() {
    local root=$1/rootfs
    "$here/../bundle.sh" --rootfs "$root"
    tar -C "$root" --numeric-owner -czf "$1/rootfs-$(go env GOARCH).tar.gz" .
    rm -rf "$root"
}

# What a built suite was made of.
stamp() {
    echo "$SHA256"
    sha256sum "$here/tap/tap.go" "$here/fetch-build.sh" "$here/../bundle.sh" | cut -d ' ' -f 1
    dpkg-query -W -f '${Package} ${Version}\n' golang-go busybox-static
}

mkdir -p "$dir"
if [ -e "$dir/suite/stamp" ] && [ "$(stamp)" = "$(cat "$dir/suite/stamp")" ]; then exit 0; fi
is_right || fetch
if ! is_right; then
    echo "fetch-build.sh: apt has not brought $(basename "$tarball") with the right checksum:" >&2
    tail -n 20 "$dir/apt.log" >&2
    exit 77
fi
build
