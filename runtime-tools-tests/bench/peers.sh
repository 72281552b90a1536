#!/usr/bin/env bash
# Finds the runtimes to compare with: peers.sh DIR prints a line for each, `peer NAME=PATH` or `absent NAME=REASON`.
# Called by bench.sh. Debian's own runc and crun come from PATH; sid's are unpacked below DIR (once; remove DIR for newer
# ones) and started without any wrapper: copies whose interpreter and library path are sid's, so that the runtime is the
# process that is measured and may re-execute itself. They lie in the page cache as they were unpacked, as installed ones do;
# crun-sid-copy is the same crun as a copy, its libraries, too (copy.sh). MIRROR names another mirror; YOUKI=1 builds youki
# with cargo.
# Rule: what cannot be had is told and fails nothing.
set -u
mkdir -p "${1:?usage: peers.sh DIR}"
# Absolute: the copies name their interpreter and libraries by it.
dir=$(realpath "$1")

# The host's own mirror, if it is Debian's.
mirror() {
    local found
    # shellcheck disable=SC2016 # for apt-get
    found=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$')
    echo "${MIRROR:-${found:-http://deb.debian.org/debian}}"
}

debian() { # debian NAME
    local path
    if path=$(command -v "$1"); then
        echo "peer $1-debian=$path"
    else
        echo "absent $1-debian=no $1 on PATH"
    fi
}

unpack_sid() {
    local tree=$dir/sid
    [ ! -e "$tree/done" ] || return 0
    rm -rf "$tree"
    mkdir -p "$dir/tmp"
    TMPDIR=$dir/tmp timeout 300 mmdebstrap --quiet --mode=root --variant=extract --include=crun,runc,libc6 \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='Acquire::Retries "1"' \
        --aptopt='Acquire::http::Timeout "20"' sid "$tree" "$(mirror)" >"$dir/sid.log" 2>&1 || return 1
    local name
    for name in crun runc; do
        cp "$(find "$tree/usr/bin" "$tree/usr/sbin" -name $name -type f | head -n 1)" "$tree/$name" || return 1
        start_with "$(libraries)" "$tree/$name" 2>>"$dir/sid.log" || return 1
    done
    touch "$tree/done"
}

# The directory of sid's libraries, the loader among them.
libraries() { dirname "$(find "$dir/sid" -name 'ld-linux-*.so.*' -path '*-linux-gnu/*' | head -n 1)"; }

# start_with LIBRARIES PROGRAM: the program uses these. A path of the old kind: the libraries' own libraries are looked up by
# it too.
start_with() { patchelf --set-interpreter "$(echo "$1"/ld-linux-*.so.*)" --force-rpath --set-rpath "$1" "$2"; }

# crun and its libraries once more, copied anew.
copy_sid() {
    local copies=$dir/copies/sid copy file
    copy=$(dirname "$0")/copy.sh
    rm -rf "$copies"
    mkdir -p "$copies"
    for file in "$(libraries)"/*.so*; do "$copy" "$file" "$copies/$(basename "$file")" || return 1; done
    cp "$dir/sid/crun" "$copies/crun" && start_with "$copies" "$copies/crun" && "$copy" "$copies/crun" "$copies/crun"
}

sid() {
    local name reason
    if unpack_sid; then
        for name in crun runc; do echo "peer $name-sid=$dir/sid/$name"; done
        if reason=$(copy_sid 2>&1); then
            echo "peer crun-sid-copy=$dir/copies/sid/crun"
        else
            echo "absent crun-sid-copy=cannot be copied: ${reason%%$'\n'*}"
        fi
        return
    fi
    reason=$({ grep '^E' "$dir/sid.log" || tail -n 1 "$dir/sid.log"; } 2>/dev/null | head -n 1)
    rm -rf "$dir/sid"
    for name in crun runc; do echo "absent $name-sid=cannot be unpacked from $(mirror): $reason"; done
}

youki() {
    if [ "${YOUKI:-}" != 1 ]; then
        echo 'absent youki=not asked for (YOUKI=1 builds it)'
    elif [ -x "$dir/youki/bin/youki" ] \
        || env -u CARGO_BUILD_TARGET timeout 1200 cargo install --quiet --locked --root "$dir/youki" youki >"$dir/youki.log" 2>&1; then
        echo "peer youki=$dir/youki/bin/youki"
    else
        echo "absent youki=cannot be built: $(grep -m 1 '^error' "$dir/youki.log")"
    fi
}

sid
debian crun
debian runc
youki
