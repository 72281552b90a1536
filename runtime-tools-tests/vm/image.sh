#!/usr/bin/env bash
# Makes the guest of the virtual machine: image.sh [trixie|sid] -> vmlinux, initrd, root.ext4, packages.txt, in a directory
# of the suite's own that it prints. Called by run.sh and test.sh. sid has the newest kernel, systemd and engines.
# Debian packages only, nothing is installed on the host and nothing is mounted in a loop: mmdebstrap fills a tmpfs,
# mkfs.ext4 -d turns it into an image, the kernel is unpacked and not installed.
# Rule: an image is made again when anything that goes into it has changed, and replaces the old one only when it is whole.
set -euo pipefail
umask 022
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SUITE=${1:-trixie}
OUT=${VM_IMAGE:-$(realpath -m "$HERE/../../.cache/vm")}
[ "$SUITE" = trixie ] || OUT+=-$SUITE
PACKAGES=systemd,systemd-sysv,dbus,dbus-user-session,libpam-systemd,systemd-container,udev,kmod,procps,iproute2
PACKAGES+=,busybox-static,util-linux,passwd,login,e2fsprogs,jq,apparmor,secilc,keyutils${VM_PACKAGES:+,$VM_PACKAGES}
# The engines (crun is the measure of guest/icount, too), and with protobuf-compiler and curl what speaks containerd's CRI.
PACKAGES+=,podman,crun,conmon,catatonit,netavark,aardvark-dns,nftables,passt,uidmap,containerd,protobuf-compiler,curl
[ "$SUITE" = trixie ] || PACKAGES+=,containernetworking-plugins # the networks of pods
KERNEL=linux-image-amd64 # the cloud kernel, a third in size, has no RDMA device of software

key=$(cat "$HERE/image.sh" "$HERE/guest/init" "$HERE/guest/services" - <<<"$SUITE $PACKAGES" | sha256sum | cut -c1-16)
echo "$OUT"
[ "$(cat "$OUT/key" 2>/dev/null)" = "$key" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "image.sh: needs root" >&2; exit 1; }
mkdir -p "$OUT"
work=$(mktemp -d)
trap 'umount "$work" 2>/dev/null; rm -rf "$work"' EXIT
mount -t tmpfs -o size=4g,mode=755 tmpfs "$work" || echo "image.sh: no tmpfs, this takes longer" >&2
mkdir -p "$work/tmp" "$work/out" "$work/kernel"
root=$work/root
start=$SECONDS

# The mirror that this machine uses, if it uses Debian.
# shellcheck disable=SC2016 # apt's own placeholders
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m 1 '/debian/\?$' || true)
# The kernel's package, newer ones are in parts; and one of which a single file is wanted, the definition of the CRI.
cat >"$work/download" <<'HOOK'
#!/bin/sh -e
needs() { chroot "$root" apt-cache depends "$1" | sed -n 's/.*Depends: \(linux-[a-z]*-[0-9].*\)/\1/p'; }
root=$1
image=$(needs "$KERNEL" | grep linux-image)
chroot "$root" sh -c 'cd /var/cache/apt/archives && apt-get download -q "$@"' sh "$image" $(needs "$image") \
    golang-github-kubernetes-cri-api-dev
mv "$root"/var/cache/apt/archives/linux-*-[0-9]*.deb "${0%/*}/kernel/"
mv "$root"/var/cache/apt/archives/golang-github-kubernetes-cri-api-dev_*.deb "${0%/*}/cri.deb"
HOOK
chmod 755 "$work/download"
if ! KERNEL=$KERNEL TMPDIR=$work/tmp mmdebstrap --quiet --mode=root --variant=minbase --components=main --include="$PACKAGES" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' --aptopt='APT::Sandbox::User "root"' \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
    --customize-hook="$work/download" \
    "$SUITE" "$root" "${mirror:-http://deb.debian.org/debian}" >"$work/log" 2>&1; then
    tail -n 30 "$work/log" >&2
    exit 1
fi
chroot "$root" dpkg-query -W >"$work/out/packages.txt"

dpkg --fsys-tarfile "$work/cri.deb" | tar -x --to-stdout --wildcards '*/runtime/v1/api.proto' | grep -v gogo >"$root/usr/share/cri.proto"

# --- the kernel and those of its modules that a virtual machine can use
for package in "$work"/kernel/*.deb; do dpkg -x "$package" "$work/kernel/tree"; done
modules=$(echo "$work"/kernel/tree/{usr/,}lib/modules/* | tr ' ' '\n' | grep -v '\*' | head -n 1)
version=${modules##*/}
(
    cd "$modules/kernel"
    for unit in arch block crypto lib fs/{ext4,jbd2,mbcache*,overlayfs,fuse,crypto} drivers/{virtio,block} \
        drivers/char/{virtio_console*,hw_random} drivers/net/{veth*,tun*,dummy*,macvlan*,ipvlan} drivers/infiniband/{core,sw} \
        net/{core,ipv4,ipv6,bridge,netfilter,802,8021q,llc,sched}; do
        [ ! -e "$unit" ] || { mkdir -p "$root/usr/lib/modules/$version/kernel/$(dirname "$unit")" \
            && cp -a "$unit" "$root/usr/lib/modules/$version/kernel/$unit"; }
    done
)
cp "$modules"/modules.{order,builtin,builtin.modinfo} "$root/usr/lib/modules/$version/"
chroot "$root" depmod "$version"
# Qemu starts an uncompressed kernel at once (PVH); to unpack it in the emulated processor would take a second.
python3 - "$(find "$work/kernel/tree" -name 'vmlinuz*' -type f)" "$work/out/vmlinux" <<'PYTHON'
import struct, subprocess, sys
image = open(sys.argv[1], 'rb').read()
offset, length = struct.unpack_from('<II', image, 0x248)  # payload_offset and _length: Documentation/arch/x86/boot.rst
at = ((image[0x1f1] or 4) + 1) * 512 + offset
payload = image[at:at + length]
tools = {b'\xfd7zX': ['xz', '-dc', '--single-stream'], b'\x28\xb5\x2f\xfd': ['zstd', '-dc'], b'\x02!L\x18': ['lz4', '-dc']}
plain = subprocess.run(tools[payload[:4]], input=payload[:-4], stdout=subprocess.PIPE).stdout
assert plain[:4] == b'\x7fELF', 'no kernel in the payload'
open(sys.argv[2], 'wb').write(plain)
PYTHON

# --- the guest's configuration
echo vm >"$root/etc/hostname"
printf '127.0.0.1 localhost vm\n::1 localhost\n' >"$root/etc/hosts"
: >"$root/etc/fstab"
echo uninitialized >"$root/etc/machine-id"
chroot "$root" useradd -m -s /bin/bash -u 1000 tester
echo tester:100000:65536 | tee "$root/etc/subuid" >"$root/etc/subgid"
mkdir -p "$root"/var/lib/systemd/linger "$root"/share "$root"/etc/systemd/{system.conf.d,journald.conf.d,system-generators} \
    "$root"/etc/systemd/system/{user@.service.d,vm.target.wants}
touch "$root/var/lib/systemd/linger/tester"
printf '[Service]\nDelegate=cpu cpuset io memory pids\n' >"$root/etc/systemd/system/user@.service.d/delegate.conf"
printf '[Manager]\nDefaultTimeoutStartSec=300\nShowStatus=no\n' >"$root/etc/systemd/system.conf.d/vm.conf"
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=16M\n' >"$root/etc/systemd/journald.conf.d/vm.conf"
cat >"$root/etc/systemd/system/vm-run.service" <<'UNIT'
[Unit]
Description=the command that run.sh was given
After=basic.target dbus.socket

[Service]
ExecStart=/run/vm/agent
KillMode=process
Delegate=yes
OOMPolicy=continue
TasksMax=infinity
LimitNOFILE=1048576
LimitMEMLOCK=infinity
UNIT
cat >"$root/etc/systemd/system/vm.target" <<'UNIT'
[Unit]
Description=the virtual machine for tests
Requires=basic.target
After=basic.target
AllowIsolate=yes
Wants=systemd-logind.service dbus.socket
UNIT
ln -s ../vm-run.service "$root/etc/systemd/system/vm.target.wants/vm-run.service"
ln -sf vm.target "$root/etc/systemd/system/default.target"
# Each unit that starts costs up to two seconds of emulation: none that a throw-away guest has no use for.
grep -v '^#' "$HERE/guest/services" | while read -r unit; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
for generator in "$root"/usr/lib/systemd/system-generators/*; do
    ln -sf /dev/null "$root/etc/systemd/system-generators/${generator##*/}"
done
# The profiles of Debian's apparmor would take twelve seconds to load: what profiles include is kept.
find "$root/etc/apparmor.d" -mindepth 1 -maxdepth 1 ! -name abi ! -name abstractions ! -name tunables -exec rm -rf {} +
rm -rf "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* "$root"/var/log/* "$root"/tmp/*

# --- the initrd: busybox, and the drivers for the disks and the serial ports
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,sys,run,root,modules}
cp "$root/usr/bin/busybox" "$initrd/bin/busybox"
cp "$HERE/guest/init" "$initrd/init"
chmod 755 "$initrd/init"
for module in virtio_pci virtio_blk ext4 virtio_console; do
    chroot "$root" modprobe -S "$version" --show-depends "$module" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
done | awk '!seen[$0]++' | while read -r file; do
    name=$(basename "${file%.[xz]*}")
    case $file in
    *.xz) xz -dc "$root$file" >"$initrd/modules/$name" ;;
    *.zst) zstd -qdc "$root$file" >"$initrd/modules/$name" ;;
    *) cp "$root$file" "$initrd/modules/$name" ;;
    esac
    echo "$name" >>"$initrd/modules/order"
done
(cd "$initrd" && find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) | gzip -9n >"$work/out/initrd"
truncate -s %4 "$work/out/initrd" # what run.sh appends must begin at a multiple of four

megabytes=$(du -s --apparent-size -BM "$root" | cut -dM -f1)
mkfs.ext4 -q -F -O ^has_journal,^metadata_csum,^resize_inode -m 0 -i 8192 -L root -d "$root" "$work/out/root.ext4" \
    "$((megabytes + 1024))M" >&2
rm -f "$OUT/key"
cp --sparse=always "$work"/out/* "$OUT/"
echo "$key" >"$OUT/key"
echo "image.sh: $OUT: kernel $version, $megabytes MB, in $((SECONDS - start)) s" >&2
