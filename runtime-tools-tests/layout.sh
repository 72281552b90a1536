#!/usr/bin/env bash
# Finds out which functions the hot verbs execute, and writes them to crates/oci-runtime/hot-text.ld, by which the linker
# puts them side by side: layout.sh. Called by `make layout`, after changes that `make bench` shows as more page faults.
# The kernel maps a program in pieces of 64 KiB; hot functions that lie scattered over 5 MiB make it map nearly all.
# Rules: the file says where functions lie and nothing else: a name that is no longer there is passed over, one that is
# missing costs a page fault. Names stand without what changes with each compiler (the hash of a crate). Needs rustc's
# own linker (the map of GNU's has another form), root, and a cgroup2 hierarchy.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/.."
OUT=crates/oci-runtime/hot-text.ld
target=$(rustc -vV | sed -n 's/^host: //p')
export CARGO_BUILD_TARGET=$target

if [ "${1:-}" = --record ]; then # in mount namespaces of its own: --record LAYOUT DIRECTORY
    mode=$2 dir=$3
    if [ "$mode" = v2 ]; then
        umount -R /sys/fs/cgroup
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
    fi
    mount -t tmpfs tmpfs /run
    R=$PWD/target/$target/release
    run() { "$R/nucleus" --root /run/layout "$@"; }
    steps() { "$R/examples/steps" "$R/nucleus" --root /run/layout "$@" </dev/null >>"$dir/$mode"; }
    id=layout-$$
    trap 'run delete --force $id' EXIT
    steps run --bundle "$dir/true" "$id"
    # As people and some engines do it: in the bundle, and the state's root is there already.
    (cd "$dir/true" && steps run "$id")
    steps create --bundle "$dir/sleep" "$id"
    steps state "$id"
    steps start "$id"
    steps exec "$id" true
    steps kill "$id" KILL
    until [ "$(run state "$id" | jq -r .status)" = stopped ]; do sleep 0.05; done
    steps delete "$id"
    exit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo build --release --locked --package nucleus-sys --example steps
cargo rustc --release --locked --package oci-runtime --bin nucleus -- -C link-arg=-Wl,-Map,"$work/map"
export RUNTIME=$PWD/target/$target/release/nucleus
"$HERE/bundle.sh" "$work/true" true
"$HERE/bundle.sh" "$work/sleep" sleep 1000
# A profile, so that its path is among the hot ones; the second time it comes from the cache, as with engines.
jq '.linux.seccomp = {defaultAction: "SCMP_ACT_ALLOW", syscalls: [{names: ["add_key"], action: "SCMP_ACT_ERRNO"}]}' \
    "$work/sleep/config.json" >"$work/config.json"
mv "$work/config.json" "$work/sleep/config.json"
for mode in v2 host; do
    unshare --mount --propagation private "$0" --record "$mode" "$work"
done

python3 - "$work/map" "$work/v2" "$work/host" >"$work/hot-text.ld" <<'PYTHON'
import bisect, re, sys
# Columns: VMA LMA Size Align Out In Symbol; the sections of input files stand in the column In.
row = re.compile(r'\s*([0-9a-f]+) +[0-9a-f]+ +([0-9a-f]+) +\d+ {9}(\S.*):\((\.text[^)]*)\)$')
sections = sorted((int(m[1], 16), int(m[2], 16), m[3], m[4]) for m in map(row.match, open(sys.argv[1])) if m)
starts = [section[0] for section in sections]
patterns = {}
for line in (int(text, 16) for name in sys.argv[2:] for text in open(name) if re.fullmatch('[0-9a-f]+', text.strip())):
    # A line is of the last section that begins in it or before.
    start, size, file, name = sections[bisect.bisect_right(starts, line + 15) - 1]
    if line >= start + size:
        continue
    member = re.search(r'(lib[a-z_]+)[-.0-9]*\.a\(([^)]+\.o)\)$', file)
    function = re.fullmatch(r'\.text\.(?:unlikely\.)?(_R.*|nucleus_start)', name)
    if function:
        plain = re.sub(r'Cs[0-9A-Za-z]{4,14}_', 'Cs*_', re.sub(r'\.(llvm\.)?\d+$', '*', function[1]))
        patterns[f'*(.text*.{plain})'] = True  # .text.NAME, .text.unlikely.NAME
    elif file.endswith('crt1.o'):
        patterns[f'*crt1.o({name})'] = True
    elif member:
        patterns[f'*{member[1]}*.a:{member[2]}({name})'] = True
if len(patterns) < 300:
    sys.exit(f'layout.sh: only {len(patterns)} functions were seen: nothing is written')
print('/* What create, run, exec, start, state, kill and delete execute, in the order of first use. Written by `make layout`. */')
print('SECTIONS { .text.hot : {')
print('*(.iplt)') # the way to memcpy and its kin
print('\n'.join(patterns))
print('} } INSERT BEFORE .text;')
PYTHON
mv "$work/hot-text.ld" "$OUT"
echo "layout.sh: $OUT: $(grep -c '^\*' "$OUT") functions"
