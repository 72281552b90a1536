# shellcheck shell=bash disable=SC2317,SC2016,SC2086,SC2034 # sourced by `tests`; `check` calls functions by name
# What limits do to a container that goes beyond them, not only what is written.
guest init || return 0
cgroup=/sys/fs/cgroup/vm-test/box

# bounded JSON WORD...: starts the container `box` with these `linux.resources`, to run these words.
bounded() {
    local resources=$1
    shift
    bundle /tmp/box '.linux.cgroupsPath = "/vm-test/box" | .linux.resources += '"$resources"' | .process.args = $ARGS.positional' \
        "$@" || return 1
    /share/nucleus create --bundle /tmp/box box >/tmp/output 2>&1 </dev/null || { cat /tmp/output && return 1; }
}

counted() { # counted FILE WORD: the counter of that name is not zero
    grep -q "^$2 [1-9]" "$cgroup/$1" || { ! cat "$cgroup/$1"; }
}

memory() {
    local bad=0
    bounded '{ "memory": { "limit": 16777216, "swap": 16777216 } }' \
        sh -c 'while :; do dd if=/dev/zero of=/dev/null bs=64M count=1; sleep 1; done' || return 1
    /share/nucleus events box >/tmp/events 2>&1 &
    /share/nucleus start box || bad=1
    eventually grep -q '"type":"oom"' /tmp/events || { cat /tmp/events && bad=1; }
    counted memory.events oom_kill || bad=1
    /share/nucleus delete --force box || bad=1
    wait
    return $bad
}

tasks() {
    local bad=0
    bounded '{ "pids": { "limit": 20 } }' sh -c 'bomb() { bomb | bomb & }; bomb; sleep 1000' || return 1
    /share/nucleus start box || bad=1
    eventually counted pids.events max >/dev/null || { cat $cgroup/pids.* && bad=1; }
    [ "$(cat $cgroup/pids.peak)" -le 20 ] || { cat $cgroup/pids.* && bad=1; }
    /share/nucleus delete --force box || bad=1
    nothing_left || bad=1
    return $bad
}

processor() {
    local bad=0
    bounded '{ "cpu": { "quota": 2000, "period": 20000 } }' sh -c 'while :; do :; done' || return 1
    /share/nucleus start box || bad=1
    eventually counted cpu.stat nr_throttled >/dev/null || { cat $cgroup/cpu.stat && bad=1; }
    /share/nucleus events --stats box | jq -e '.data.cpu.throttling.throttledPeriods > 0' || bad=1
    /share/nucleus delete --force box || bad=1
    return $bad
}

# 1:11 is kmsg, which is not among the default devices.
devices() {
    local rules said wanted bad=0
    for rules in '[]' '[{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" }]' \
        '[{ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "w" }]'; do
        bundle /tmp/box '.process.capabilities |= map_values(. + ["CAP_MKNOD"]) | .root.readonly = false
            | .linux.resources.devices += '"$rules"' | .process.args = $ARGS.positional' \
            sh -c 'mknod /d c 1 11; echo x >/d && echo written; rm /d' || return 1
        ln -sf busybox /tmp/box/rootfs/bin/mknod && ln -sf busybox /tmp/box/rootfs/bin/rm
        said=$(/share/nucleus run --bundle /tmp/box box </dev/null 2>&1)
        case $rules in
        *'"w"'*) wanted=written ;;
        *) wanted='Operation not permitted' ;;
        esac
        [[ $said = *"$wanted" ]] || { echo "with $rules it said: $said" && bad=1; }
    done
    return $bad
}

check 'memory over the limit is told by events, and costs a life' memory
check 'a fork bomb ends at the limit' tasks
check 'a busy loop is throttled' processor
check 'device rules permit and deny, for each kind of access' devices
