# shellcheck shell=bash disable=SC2317,SC2016 # sourced by `tests`; `check` calls functions by name
# What needs rights that containers and many test hosts lack: CAP_SYS_NICE and CAP_SYS_RESOURCE, every capability.
guest init || return 0

# inside FILTER COMMAND...: what the command says in a container whose config.json the filter has changed.
inside() {
    local filter=$1
    shift
    bundle /tmp/box "$filter"' | .process.args = $ARGS.positional' "$@" && /share/nucleus run --bundle /tmp/box box </dev/null
}

scheduler() { # scheduler JSON EXPECTED...: sched_getattr(2) of the sleeping program, asked from outside; and from inside
    local bad=0 said pid
    box ".process.scheduler = $1" || return 1
    pid=$(/share/nucleus state box | jq .pid)
    said=$(chrt -p "$pid" | sed 's/.*: //' | tr '\n' ' ')
    [ "$said" = "$2 " ] || { echo "it has '$said', not '$2'" && bad=1; }
    /share/nucleus delete --force box || bad=1
    return $bad
}

# The kernel's own word about process 1, in the container: policy 2 is SCHED_RR, and its priority p is shown as 99 - p.
scheduler_inside() {
    local said
    said=$(inside '.process.scheduler = { "policy": "SCHED_RR", "priority": 17 }' cat /proc/1/sched | awk '
        $1 == "policy" || $1 == "prio" { printf "%s ", $3 }')
    [ "$said" = '2 82 ' ] || { echo "it has '$said'" && return 1; }
}

limits_inside() {
    local said
    said=$(inside '.process.rlimits = [{ "type": "RLIMIT_NOFILE", "soft": 900000, "hard": 1000000 },
        { "type": "RLIMIT_MEMLOCK", "soft": 1073741824, "hard": 1073741824 }]' \
        sh -c 'echo $(ulimit -Sn) $(ulimit -Hn) $(ulimit -Hl)')
    [ "$said" = '900000 1000000 1048576' ] || { echo "it has '$said', and we $(ulimit -Hn)" && return 1; }
}

every_capability() {
    local said all
    all=$(/share/nucleus features | jq -c .linux.capabilities)
    said=$(inside ".process.capabilities = { bounding: $all, effective: $all, permitted: $all, inheritable: $all, ambient: $all }" \
        grep Cap /proc/self/status | awk '{ print $2 }' | sort -u)
    [ "$said" = 000001ffffffffff ] || { echo "it has $said" && return 1; }
}

check 'SCHED_FIFO' scheduler '{ "policy": "SCHED_FIFO", "priority": 42 }' 'SCHED_FIFO 42'
check 'SCHED_RR' scheduler '{ "policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }' \
    'SCHED_RR|SCHED_RESET_ON_FORK 1'
check 'SCHED_DEADLINE' scheduler \
    '{ "policy": "SCHED_DEADLINE", "runtime": 1000000, "deadline": 20000000, "period": 30000000 }' \
    'SCHED_DEADLINE 0 1000000/20000000/30000000'
check 'the policy, asked by the program' scheduler_inside
check 'limits above those of the runtime' limits_inside
check 'every capability' every_capability
