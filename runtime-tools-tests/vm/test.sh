#!/usr/bin/env bash
# The tests that need a pure cgroup v2 with every controller, v1 controllers that no host mounts, systemd, AppArmor, SELinux
# or rights that test hosts lack: builds them, runs them in virtual machines (run.sh: plain, --systemd, --hybrid; engines: with
# systemd, podman and containerd; sid: the same with Debian's newest) and what the verbs cost in a further one (icount.sh); as
# many at a time as there are processors, and counts. Called by `make test-vm` and all.sh. RUNTIME is the binary under test
# (default: a debug build, which is not measured), VM_GUESTS the guests (default: all), VM_ONLY the subjects of
# guest/tests.d (default: all).
# Rules: reports in a form of its own, and adds its counts to the file TALLY if that is set; a machine that cannot have
# qemu skips all of it, and says so; so does a guest whose image cannot be made, if it is of sid.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$HERE/../.."
counted=
count() {
    counted=yes
    [ -z "${TALLY:-}" ] || echo "$1 $2 $3" >>"$TALLY"
}
work=$(mktemp -d)
# shellcheck disable=SC2317 # the trap calls it
at_exit() {
    rm -rf "$work"
    [ -n "$counted" ] || { echo 'not ok - the virtual machines: there is nothing to run' && count 0 1 0; }
}
trap at_exit EXIT
if ! "$HERE/../deps.sh" vm; then
    echo 'SKIP - the virtual machines: QEMU CANNOT BE INSTALLED, so nothing is shown about cgroup v2, systemd, AppArmor, SELinux'
    count 0 0 1
    exit
fi
start=$SECONDS
read -r -a only <<<"${VM_ONLY:-}"
read -r -a guests <<<"${VM_GUESTS:-sid engines systemd init ${RUNTIME:+icount} hybrid}"
[ -n "${RUNTIME:-}" ] || echo 'SKIP - what the verbs cost: only a release build is measured (RUNTIME)'

# --- what goes into the guests: static programs, all of them
programs() { # programs TARGET...: builds tests and prints "NAME PATH" of each
    local target flags=()
    for target; do flags+=(--test "$target"); done
    # --workspace: as `cargo test` of everything builds them.
    cargo test --quiet --locked --workspace "${flags[@]}" --no-run --message-format json \
        | jq -r 'select(.executable != null and .profile.test) | "\(.target.name) \(.executable)"'
}
share=$work/share
mkdir -p "$share"
with_sid() { [[ " ${guests[*]} " == *' sid '* ]]; }
sid_image=
if with_sid; then
    "$HERE/image.sh" sid >"$work/image" 2>&1 &
    sid_image=$!
fi
if [ -z "${RUNTIME:-}" ]; then
    RUNTIME=$(cargo build --quiet --locked --workspace --bin nucleus --message-format json \
        | jq -r 'select(.executable != null and .target.name == "nucleus") | .executable')
fi
cp "$RUNTIME" "$share/nucleus"
programs cgroups verbs config lifecycle exec | while read -r name path; do
    cp "$path" "$share/$name"
done
cp -r "$HERE"/guest/{tests,tests.d,engines} README.md docs/engines.md runtime-tools-tests/engines/documents.sh "$share/"
runtime-tools-tests/engines/images.sh "$share/busybox.tar"
runtime-tools-tests/engines/images.sh "$share/pause.tar" localhost/pause sleep 1000000
strip --strip-debug "$share"/{nucleus,cgroups,verbs,config,lifecycle,exec}
"$HERE/image.sh" >/dev/null
if with_sid && ! wait "$sid_image"; then
    sed 's/^/    # /' "$work/image"
    echo 'SKIP - the guest sid: ITS IMAGE CANNOT BE MADE (above), so nothing is shown about the newest kernel, systemd, engines'
    count 0 0 1
    read -r -a guests <<<"$(printf '%s\n' "${guests[@]}" | grep -vx sid | xargs)"
fi
echo "# test-vm: ready to run after $((SECONDS - start)) s"

# --- the guests: each has one thread. The longest come first, so that all processors have work until the end.
guest() {
    local mode=$1 flag=() begin=$SECONDS
    case $mode in
    init) ;;
    engines) flag=(--systemd --memory 2048) ;;
    sid) flag=(--systemd --memory 2048 --suite sid) ;;
    *) flag=("--$mode") ;;
    esac
    local command=("$HERE/run.sh" "${flag[@]}" --share "$share" --timeout "${VM_TIMEOUT:-900}" -- /share/tests "$mode" "${only[@]}")
    [ "$mode" != icount ] || command=(env RUNTIME="$RUNTIME" "$HERE/icount.sh")
    "${command[@]}" >"$work/$mode.out" 2>"$work/$mode.err" && echo 0 >"$work/$mode.rc" || echo $? >"$work/$mode.rc"
    echo $((SECONDS - begin)) >"$work/$mode.seconds"
}
for mode in "${guests[@]}"; do
    [ "$(jobs -rp | wc -l)" -lt "$(nproc)" ] || wait -n
    guest "$mode" &
done
wait

# --- the counts: lines "ok NAME", "not ok NAME" (and what it said, after "# "), "skip NAME: why"
bad=0
for mode in "${guests[@]}"; do
    passed=$(grep -c '^ok ' "$work/$mode.out" || true)
    failed=$(grep -c '^not ok ' "$work/$mode.out" || true)
    skipped=$(grep -c '^skip ' "$work/$mode.out" || true)
    grep -v '^ok ' "$work/$mode.out" | sed "s/^/$mode: /" || true
    # The tests' verdict is the exit status, too: a guest that ends before its last line is a failure of its own.
    if [ "$(cat "$work/$mode.rc")" != 0 ] && [ "$failed" = 0 ] || { [ "$passed" = 0 ] && [ -z "${VM_ONLY:-}" ]; }; then
        sed "s/^/$mode: # /" "$work/$mode.err"
        echo "$mode: not ok the virtual machine (status $(cat "$work/$mode.rc"))"
        failed=$((failed + 1))
    fi
    echo "# test-vm $mode: passed $passed, failed $failed, skipped $skipped in $(cat "$work/$mode.seconds") s"
    count "$passed" "$failed" "$skipped"
    [ "$failed" = 0 ] || bad=1
done
echo "# test-vm: $((SECONDS - start)) s"
exit $bad
