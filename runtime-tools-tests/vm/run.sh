#!/usr/bin/env bash
# Runs a command as root in a throw-away virtual machine:
#   run.sh [--systemd|--hybrid] [--share DIR] [--timeout SECONDS] [--memory MB] [--cpus N] [--icount]
#     [--append KERNEL-ARGUMENTS] [--suite trixie|sid] -- COMMAND [ARG...]
# DIR appears read-only as /share. The guest has cgroup v2 alone and AppArmor; with --hybrid cgroup v1 beside v2, and SELinux
# (permissive, with the policy of guest/policy.cil). With --systemd that is process 1, else a small script. Standard output,
# standard error and the exit status are the command's own; 124: the time is over, 125: the guest died. The image is made
# when missing.
# With --icount there is one processor, each instruction of which takes a nanosecond of the guest's clocks.
# Rules: no KVM and no network are needed; nothing of a run is kept; a guest that dies before the command has begun is
# started once more, one that dies later never.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mode=init share='' timeout=600 memory=1024 cpus=2 append='' icount=() suite=trixie
while [ $# -gt 0 ]; do
    case $1 in
    --systemd | --hybrid) mode=${1#--} ;;
    --share) share=$2 && shift ;;
    --timeout) timeout=$2 && shift ;;
    --memory) memory=$2 && shift ;;
    --cpus) cpus=$2 && shift ;;
    --icount) cpus=1 icount=(-icount 'shift=0,sleep=off,align=off') ;;
    --append) append=$2 && shift ;;
    --suite) suite=$2 && shift ;;
    --) shift && break ;;
    *) sed -n '2,9p' "$0" >&2 && exit 2 ;;
    esac
    shift
done
[ $# -gt 0 ] || { sed -n '2,9p' "$0" >&2 && exit 2; }
IMAGE=$("$HERE/image.sh" "$suite")

work=$(mktemp -d)
pid=
# shellcheck disable=SC2317 # the trap calls it
cleanup() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

lsm=landlock,lockdown,yama,apparmor,bpf
[ "$mode" != hybrid ] || lsm=landlock,lockdown,yama,selinux,bpf

# What this run adds to the initrd: the guest's side of this script, and the command.
mkdir -p "$work/initrd/vm" "$work/empty"
cp "$HERE"/guest/{agent,pid1,policy.cil} "$work/initrd/vm/"
{
    echo "date -u -s @$(date +%s) >/dev/null"
    printf '%q ' "$@"
} >"$work/initrd/vm/command"
(cd "$work/initrd" && find . | cpio --quiet -o -H newc -R 0:0) >"$work/added"
cat "$IMAGE/initrd" "$work/added" >"$work/initrd.img"
share=${share:-$work/empty}
mkfs.ext4 -q -F -O ^has_journal,^resize_inode -m 0 -d "$share" "$work/share.img" \
    "$(($(du -s --apparent-size -BM "$share" | cut -dM -f1) * 5 / 4 + 32))M" >/dev/null

# Two bugs of qemu 7.2's emulation kill guests: cmpxchg16b spoils flags, and threads race. Hence -cx16 and thread=single.
# shellcheck disable=SC2054 # the commas are qemu's
qemu=(qemu-system-x86_64 -accel tcg,thread=single,tb-size=256 -cpu max,-cx16 -smp "$cpus" "${icount[@]}" -m "$memory"
    -nodefaults -no-user-config -display none -no-reboot -nic none
    -drive "file=$IMAGE/root.ext4,format=raw,if=none,id=root,snapshot=on,cache=unsafe" -device virtio-blk-pci,drive=root
    -drive "file=$work/share.img,format=raw,if=none,id=share,readonly=on,cache=unsafe" -device virtio-blk-pci,drive=share
    -device virtio-serial-pci
    -chardev file,id=out,path=/proc/self/fd/8,append=on -device virtserialport,chardev=out,name=vm.out
    -chardev file,id=err,path=/proc/self/fd/9,append=on -device virtserialport,chardev=err,name=vm.err
    -chardev "file,id=status,path=$work/status" -device virtserialport,chardev=status,name=vm.status
    -chardev "file,id=console,path=$work/console" -serial chardev:console
    -kernel "$IMAGE/vmlinux" -initrd "$work/initrd.img"
    -append "console=ttyS0 panic=-1 oops=panic quiet no_timer_check mitigations=off nokaslr lsm=$lsm vm.mode=$mode $append")
# Pipes of our own: qemu opens its files by path, which a socket in the place of our standard output would not stand.
exec 8> >(exec cat) 9> >(exec cat >&2)
for attempt in 1 2; do
    : >"$work/status"
    timeout -k 5 "$timeout" "${qemu[@]}" </dev/null >"$work/qemu" 2>&1 &
    pid=$!
    code=0
    wait $pid || code=$?
    pid=
    status=$(sed -n 's/^EXIT //p' "$work/status")
    if [ -n "$status" ] || [ "$attempt" = 2 ] || [ "$code" = 124 ] || grep -q START "$work/status"; then break; fi
done
exec 8>&- 9>&-
wait
[ -z "$status" ] || exit "$status"
{ tail -n 40 "$work/console" && cat "$work/qemu"; } >&2 || true
if [ "$code" = 124 ]; then
    echo "run.sh: no end after $timeout s" >&2
    exit 124
fi
echo 'run.sh: the guest has died' >&2
exit 125
