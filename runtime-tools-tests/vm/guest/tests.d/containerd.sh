# shellcheck shell=bash disable=SC2317,SC2086,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# containerd's shim, driven by ctr, with systemd's cgroups on pure cgroup v2; at the end once with cgroupfs.
guest engines sid || return 0
# shellcheck source=../engines
. /share/engines
C=$I:latest
scope_of() { echo "ctr-$1.scope"; }
run=(ctr run --runc-binary "$NUCLEUS" --runc-systemd-cgroup)

listen() { # for what is told while the others run
    containerd_up && { ctr events >/tmp/events 2>&1 & } && echo $! >/tmp/events.pid
}
pid_of() { ctr task ls | awk -v id="$1" '$1 == id { print $2 }'; }
status_of() { ctr task ls | awk -v id="$1" '$1 == id { print $3 }'; }
# ended NAME: deleted, with nothing left.
ended() { no_units systemctl "$(scope_of "$1")" && no_cgroups "$(scope_of "$1")"; }

output_and_status() {
    local said status
    # ctr loses what a task has written that ends before ctr has opened its FIFO; and makes no cgroup namespace.
    said=$("${run[@]}" --rm --cgroup machine.slice:ctr:once $C once sh -c 'cat /proc/self/cgroup; echo $$; sleep 1; exit 7')
    status=$?
    [ "$status $said" = '7 0::/machine.slice/ctr-once.scope
1' ] || { echo "$status $said" && return 1; }
    ended once
}
not_found() { ends 1 'executable file not found in' "${run[@]}" --rm --cgroup machine.slice:ctr:no $C no missing && ended no; }

box() {
    "${run[@]}" -d --cgroup vm-ctr.slice:ctr:box --memory-limit 67108864 --cpus 0.5 --env A=b --seccomp $C box sleep 1000 \
        && pid_of box >/tmp/box.pid \
        && is 'its cgroup' "0::/vm.slice/vm-ctr.slice/$(scope_of box)" cat "/proc/$(cat /tmp/box.pid)/cgroup"
}
box_files() { files "vm.slice/vm-ctr.slice/$(scope_of box)" memory.max=67108864 'cpu.max=50000 100000'; }
box_properties() {
    properties systemctl "$(scope_of box)" MemoryMax=67108864 CPUQuotaPerSecUSec=500ms Slice=vm-ctr.slice Delegate=yes \
        && systemctl daemon-reload && box_files
}
box_exec() {
    local said status
    said=$(ctr task exec --exec-id e1 --user 1000 --cwd /tmp box \
        sh -c 'echo $A $(id -u) $(pwd); cat /proc/self/cgroup; sleep 1; exit 9')
    status=$?
    [ "$status $said" = '9 b 1000 /tmp
0::/vm.slice/vm-ctr.slice/ctr-box.scope' ] || { echo "$status $said" && return 1; }
}
box_terminal() {
    says '^/dev/pts/' typed 'test -t 0 && tty; sleep 1; exit' ctr task exec -t --exec-id e2 box sh
}
box_metrics() {
    says . ctr task metrics --format json box \
        && jq -e '.memory.usage_limit == 67108864 and .pids.current == 1 and .cpu.usage_usec > 0' /tmp/output
}
box_ps() { says "^$(cat /tmp/box.pid) " ctr task ps box; }
box_pause() {
    local bad=0 at
    at="vm.slice/vm-ctr.slice/$(scope_of box)"
    ctr task pause box && files "$at" cgroup.freeze=1 && is status PAUSED status_of box || bad=1
    refused '' ctr task exec --exec-id e3 box true || bad=1
    ctr task resume box && files "$at" cgroup.freeze=0 && is status RUNNING status_of box || bad=1
    return $bad
}
box_killed() {
    ctr task kill -s KILL box && eventually is status STOPPED status_of box || return 1
    refused 'process already finished' ctr task kill box || refused 'not found' ctr task kill box || return 1
    ctr task rm box 2>&1 | grep -q 'exit code 137' && ctr container rm box && ended box
}

signals() {
    "${run[@]}" -d --cgroup machine.slice:ctr:deaf --log-uri file:///tmp/deaf.log $C deaf \
        sh -c 'trap "echo usr1" USR1; trap "exit 42" TERM; echo up; while :; do sleep 100 & wait; done' || return 1
    eventually grep -q up /tmp/deaf.log && ctr task kill -s USR1 deaf && eventually grep -q usr1 /tmp/deaf.log \
        && ctr task kill deaf && eventually is status STOPPED status_of deaf \
        && ctr task rm deaf 2>&1 | grep -q 'exit code 42' && ctr container rm deaf && ended deaf
}
memory_runs_out() {
    ends 3 '' "${run[@]}" --rm --cgroup machine.slice:ctr:oom --memory-limit 16777216 $C oom \
        sh -c "$MUCH" && eventually grep -q /tasks/oom /tmp/events && ended oom
}
told() {
    local topic bad=0
    for topic in create start paused resumed exec-added exec-started oom exit delete; do
        grep -q "/tasks/$topic " /tmp/events || { echo "no $topic" && bad=1; }
    done
    kill "$(cat /tmp/events.pid)"
    [ $bad = 0 ] || cat /tmp/events
    return $bad
}
cgroupfs() {
    local bad=0
    ctr run -d --runc-binary "$NUCLEUS" --cgroup /vm-ctr/plain --memory-limit 67108864 $C plain sleep 1000 || return 1
    is 'its cgroup' 0::/vm-ctr/plain cat "/proc/$(pid_of plain)/cgroup" && files vm-ctr/plain memory.max=67108864 || bad=1
    ctr task rm -f plain >/dev/null; ctr container rm plain || bad=1
    no_cgroups plain || bad=1
    rmdir /sys/fs/cgroup/vm-ctr
    return $bad
}
nothing_of_containerd_is_left() {
    no_units systemctl 'ctr-*' && no_cgroups 'ctr-*' && no_records /run/containerd/runc/k8s.io \
        && eventually is shims '' pgrep -fa containerd-shim
}

check 'containerd: starts with the documented file, takes images' listen
check 'containerd: run; output, exit status' output_and_status
check 'containerd: a command that is not there is told' not_found
check 'containerd: a container with limits, in a slice of its own' box
check 'containerd: the limits, in the kernel' box_files
check 'containerd: the limits are properties of the scope' box_properties
check 'containerd: exec; environment, user, directory, exit status' box_exec
check 'containerd: exec with a terminal' box_terminal
check 'containerd: metrics' box_metrics
check 'containerd: ps' box_ps
check 'containerd: pause, resume' box_pause
check 'containerd: kill, delete; nothing is left' box_killed
check 'containerd: USR1, TERM; both are honoured' signals
check 'containerd: out of memory is told' memory_runs_out
check 'containerd: events' told
check 'containerd: with the cgroupfs driver' cgroupfs
check 'containerd: nothing is left' nothing_of_containerd_is_left
