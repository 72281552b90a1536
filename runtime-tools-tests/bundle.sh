#!/usr/bin/env bash
# Makes a small busybox bundle: DIR/rootfs and DIR/config.json (from `RUNTIME spec`, adapted with jq).
#   bundle.sh DIR [COMMAND [ARG...]]    the bundle, running COMMAND (default: a few lines that show the container)
#   bundle.sh --rootfs DIR              only the root filesystem
# Called by `make run`, by engines/images.sh and by hand. RUNTIME names the runtime (default: nucleus).
# Rule: everything comes from Debian's busybox-static; nothing is downloaded. Applet links are relative, so that they
# are also good outside of the container.
set -euo pipefail

rootfs() {
    local root=$1 applet
    mkdir -p "$root"/{bin,dev,etc,home/tester,proc,root,run,sys,tmp,usr,var/tmp}
    chmod 1777 "$root/tmp" "$root/var/tmp"
    install -m 755 "$(command -v busybox)" "$root/bin/busybox"
    for applet in $("$root/bin/busybox" --list); do
        [ "$applet" = busybox ] || ln -sfn busybox "$root/bin/$applet"
    done
    ln -sfn bin "$root/sbin"
    ln -sfn ../bin "$root/usr/bin"
    printf '%s\n' 'root:x:0:0:root:/root:/bin/sh' 'tester:x:1000:1000:tester:/home/tester:/bin/sh' \
        'nobody:x:65534:65534:nobody:/:/bin/false' >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' 'tty:x:5:' 'extra:x:900:tester' 'tester:x:1000:' 'nogroup:x:65534:' >"$root/etc/group"
    chown 1000:1000 "$root/home/tester" 2>/dev/null || [ "$(id -u)" != 0 ] # an unprivileged caller keeps its own ids
}

if [ "${1:-}" = --rootfs ]; then
    rootfs "${2:?bundle.sh: --rootfs needs a directory}"
    exit
fi
dir=${1:?usage: bundle.sh DIR [COMMAND [ARG...]]}
shift
if [ $# = 0 ]; then
    # shellcheck disable=SC2016 # for the shell in the container
    set -- sh -c 'echo "hello from inside: $(uname -sr), host name $(hostname)"; id; echo; ps -o pid,user,comm; echo
        for n in cgroup ipc mnt net pid uts; do echo "$n namespace: $(readlink /proc/self/ns/$n)"; done; echo; mount'
fi
mkdir -p "$dir"
rootfs "$dir/rootfs"
rm -f "$dir/config.json"
(cd "$dir" && "${RUNTIME:-nucleus}" spec)
jq '.process.terminal = false | .process.args = $ARGS.positional' --args -- "$@" \
    <"$dir/config.json" >"$dir/config.json.new"
mv "$dir/config.json.new" "$dir/config.json"
