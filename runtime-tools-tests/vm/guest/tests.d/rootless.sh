# shellcheck shell=bash disable=SC2317,SC2154 # sourced by `tests`; `check` calls functions by name
# Rootless, with a delegated part of the tree. (With systemd's delegation: systemd.sh.)
guest init || return 0

# A user without any rights, who was given a part of the tree (cgroup-v2.rst, "Delegation"), limits containers in it.
rootless() {
    local top=/sys/fs/cgroup/delegated home=/home/tester bad=0 said
    mkdir -p "$top"/shell
    chown tester "$top" "$top"/{cgroup.procs,cgroup.subtree_control,cgroup.threads} "$top"/shell "$top"/shell/cgroup.procs
    install -d -m 700 -o tester /run/user/1000 "$home/bundle"
    bundle "$home/bundle" && rm "$home/bundle/config.json" || return 1
    chown -R tester "$home/bundle"
    as_tester() {
        sh -c 'echo $$ >'"$top"'/shell/cgroup.procs; cd '"$home"'/bundle; exec "$@"' sh \
            setpriv --reuid tester --regid tester --clear-groups env -i XDG_RUNTIME_DIR=/run/user/1000 PATH="$PATH" "$@"
    }
    as_tester /share/nucleus spec --rootless || return 1
    jq '.process.terminal = false | .process.args = ["sleep", "1000"] | del(.linux.cgroupsPath)
        | .linux.resources = { "memory": { "limit": 33554432 }, "pids": { "limit": 21 } }' \
        "$home/bundle/config.json" >/tmp/config && cat /tmp/config >"$home/bundle/config.json"
    as_tester /share/nucleus run --detach box >/tmp/output 2>&1 </dev/null || { cat /tmp/output; return 1; }
    [ "$(cat "$top"/box/memory.max)" = 33554432 ] || bad=1
    [ "$(cat "$top"/box/pids.max)" = 21 ] || bad=1
    as_tester /share/nucleus update --pids-limit 22 box || bad=1
    [ "$(cat "$top"/box/pids.max)" = 22 ] || bad=1
    as_tester /share/nucleus pause box || bad=1
    said=$(as_tester /share/nucleus state box | jq -r .status)
    [ "$said" = paused ] || { echo "the status is '$said'" && bad=1; }
    as_tester /share/nucleus events --stats box | jq -e '.data.pids.limit == 22' || bad=1
    as_tester /share/nucleus delete --force box || bad=1
    [ ! -e "$top"/box ] || { echo "$top/box is left" && bad=1; }
    rmdir "$top"/shell "$top"
    return "$bad"
}

check 'rootless with a delegated cgroup' rootless
