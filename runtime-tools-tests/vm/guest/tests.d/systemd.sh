# shellcheck shell=bash disable=SC2317,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# The systemd driver, against the systemd that runs the guest: what the kernel's files say, what systemd's properties say,
# and that neither keeps anything.
guest systemd || return 0

sd_bundle=/tmp/systemd/bundle
nucleus() { /share/nucleus --systemd-cgroup "$@"; }

# property SCOPE NAME WANTED, file SCOPE NAME WANTED
property() { is "$2" "$3" systemctl show --property "$2" --value "$1"; }
file() { is "$2" "$3" cat "/sys/fs/cgroup/$1/$2"; }

# gone SCOPE [CTL...]: neither unit nor directory. systemd forgets a unit a moment after it has ended.
gone() {
    local scope=$1 try
    shift
    for try in 1 2 3 4 5 6 7 8 9 10; do
        [ -z "$("${@:-systemctl}" list-units --all --plain --no-legend "$scope" 2>&1)" ] && break
        sleep 0.3
    done
    [ "$try" -lt 10 ] || { "${@:-systemctl}" status --no-pager "$scope"; return 1; }
    [ -z "$(find /sys/fs/cgroup -name "$scope")" ] || { echo "a cgroup of $scope is left"; return 1; }
}

# start ID JQ-FILTER: a container that sleeps.
start() {
    bundle "$sd_bundle" '.process.args = ["sleep", "1000"] | del(.linux.cgroupsPath)
        | .linux.resources.devices = [{ "allow": false, "access": "rwm" }] | '"${2:-.}" || return 1
    nucleus run --detach --bundle "$sd_bundle" "$1" >/tmp/output 2>&1 </dev/null || { cat /tmp/output; return 1; }
}

limits_are_files_and_properties() {
    local scope=sd-all.scope at=a.slice/a-b.slice/sd-all.scope bad=0
    start all '.linux.cgroupsPath = "a-b.slice:sd:all" | .linux.resources += {
        "memory": { "limit": 67108864, "swap": 100663296, "reservation": 33554432 },
        "cpu": { "shares": 2048, "quota": 30000, "period": 60000, "cpus": "0-1", "mems": "0" },
        "pids": { "limit": 42 },
        "blockIO": { "throttleReadBpsDevice": [{ "major": 254, "minor": 0, "rate": 2097152 }] },
        "unified": { "memory.high": "60000000", "memory.oom.group": "1", "cgroup.max.descendants": "9" } }
        | .annotations["org.systemd.property.TimeoutStopSec"] = "uint64 7"
        | .annotations["org.systemd.property.Documentation"] = "[\u0027man:true(1)\u0027]"' || return 1
    for pair in memory.max=67108864 memory.swap.max=33554432 memory.low=33554432 memory.high=59998208 memory.oom.group=1 \
        cpu.weight=174 cpu.max='30000 60000' cpuset.cpus=0-1 cpuset.mems=0 pids.max=42 cgroup.max.descendants=9 \
        io.max='254:0 rbps=2097152 wbps=max riops=max wiops=max'; do
        file "$at" "${pair%%=*}" "${pair#*=}" || bad=1
    done
    for pair in MemoryMax=67108864 MemorySwapMax=33554432 MemoryLow=33554432 MemoryHigh=60000000 CPUWeight=174 \
        CPUQuotaPerSecUSec=500ms CPUQuotaPeriodUSec=60ms AllowedCPUs=0-1 AllowedMemoryNodes=0 TasksMax=42 Delegate=yes \
        Slice=a-b.slice DevicePolicy=strict TimeoutStopUSec=7s Documentation='"man:true(1)"' CollectMode=inactive-or-failed \
        DefaultDependencies=no ControlGroup="/$at" ActiveState=active Description='nucleus container all'; do
        property $scope "${pair%%=*}" "${pair#*=}" || bad=1
    done
    systemctl daemon-reload || bad=1
    file "$at" cpu.max '30000 60000' || bad=1
    is 'the cgroup of init' "0::/$at" cat "/proc/$(nucleus state all | jq .pid)/cgroup" || bad=1
    nucleus update --memory 50331648 --memory-swap 50331648 --pids-limit 43 --cpu-quota 40001 --cpu-share 1024 all || bad=1
    for pair in memory.max=50331648 memory.swap.max=0 pids.max=43 cpu.max='40001 60000' cpu.weight=100; do
        file "$at" "${pair%%=*}" "${pair#*=}" || bad=1
    done
    for pair in MemoryMax=50331648 MemorySwapMax=0 TasksMax=43 CPUQuotaPerSecUSec=670ms CPUQuotaPeriodUSec=60ms CPUWeight=100; do
        property $scope "${pair%%=*}" "${pair#*=}" || bad=1
    done
    # systemd now writes all that it knows once more.
    systemctl set-property --runtime $scope TasksMax=44 || bad=1
    file "$at" memory.max 50331648 && file "$at" memory.swap.max 0 || bad=1
    nucleus update --cpu-idle 1 all && file "$at" cpu.idle 1 && property $scope CPUWeight idle || bad=1
    nucleus update --cpu-idle 0 all && file "$at" cpu.idle 0 && property $scope CPUWeight 100 || bad=1
    nucleus update --memory 4096k --pids-limit -7 all && file "$at" pids.max max && property $scope TasksMax infinity || bad=1
    nucleus delete --force all && gone $scope || bad=1
    return $bad
}

a_refused_update_changes_nothing() {
    local scope=nucleus-back.scope bad=0
    start back '.linux.resources.pids = { "limit": 42 }' || return 1
    ! nucleus update --pids-limit 50 --cpuset-cpus 99 back >/tmp/output 2>&1 || bad=1
    grep -q cpuset.cpus /tmp/output || { cat /tmp/output && bad=1; }
    file system.slice/$scope pids.max 42 && property $scope TasksMax 42 || bad=1
    nucleus delete --force back && gone $scope || bad=1
    return $bad
}

verbs_work() {
    local scope=nucleus-verbs.scope bad=0 pid
    start verbs || return 1
    is 'the status' running eval 'nucleus state verbs | jq -r .status' || bad=1
    is 'the cgroup that exec sees' 0::/ nucleus exec verbs cat /proc/self/cgroup || bad=1
    pid=$(nucleus exec --detach --pid-file /tmp/exec.pid verbs sleep 1000 >/dev/null 2>&1 </dev/null; cat /tmp/exec.pid)
    is 'the cgroup of exec' "0::/system.slice/$scope" cat "/proc/$pid/cgroup" || bad=1
    nucleus pause verbs && file system.slice/$scope cgroup.freeze 1 || bad=1
    is 'the status' paused eval 'nucleus state verbs | jq -r .status' || bad=1
    nucleus resume verbs || bad=1
    is 'ps' 2 eval 'nucleus ps --format json verbs | jq length' || bad=1
    nucleus events --stats verbs | jq -e '.data.pids.current == 2' || bad=1
    nucleus kill --all verbs KILL || bad=1
    nucleus delete --force verbs && gone $scope || bad=1
    return $bad
}

# crun's annotations: the limits count in a group below the scope, and the program manages one below that.
groups_below_the_scope() {
    local scope=nucleus-below.scope at=system.slice/nucleus-below.scope bad=0 pid
    start below '.annotations["run.oci.systemd.subgroup"] = "inner/most" | .linux.resources += { "pids": { "limit": 42 },
        "memory": { "limit": 67108864 } }' || return 1
    pid=$(nucleus state below | jq .pid)
    is 'the cgroup of init' "0::/$at/inner/most" cat "/proc/$pid/cgroup" || bad=1
    is 'its own view' 0::/ nucleus exec below cat /proc/self/cgroup || bad=1
    file $at/inner/most memory.max 67108864 && file $at/inner/most pids.max 42 && property $scope MemoryMax 67108864 || bad=1
    nucleus update --pids-limit 43 below && file $at/inner/most pids.max 43 && property $scope TasksMax 43 || bad=1
    nucleus pause below && is 'the status' paused eval 'nucleus state below | jq -r .status' || bad=1
    nucleus resume below && nucleus delete --force below && gone $scope || bad=1
    start below '.annotations += { "run.oci.systemd.subgroup": "inner", "run.oci.delegate-cgroup": "own" }' || return 1
    pid=$(nucleus state below | jq .pid)
    is 'the cgroup of init' "0::/$at/inner/own" cat "/proc/$pid/cgroup" || bad=1
    is 'its own view' 0::/own nucleus exec below grep 0:: /proc/1/cgroup || bad=1
    is 'ps' 1 eval 'nucleus ps --format json below | jq length' || bad=1
    # The group above holds no process, so that its controllers can be handed down; exec then joins init.
    echo +pids >/sys/fs/cgroup/$at/inner/cgroup.subtree_control || bad=1
    is 'the cgroup of exec' 0::/own nucleus exec below cat /proc/self/cgroup || bad=1
    nucleus delete --force below && gone $scope || bad=1
    bundle "$sd_bundle" 'del(.linux.cgroupsPath) | .annotations["run.oci.systemd.subgroup"] = "../x"' || return 1
    refused 'annotations.run.oci.systemd.subgroup: "../x" is not a path below the scope' below && gone $scope || bad=1
    return $bad
}

memory_that_runs_out_leaves_nothing() {
    local scope=nucleus-oom.scope bad=0
    bundle "$sd_bundle" '.process.args = ["dd", "if=/dev/zero", "of=/dev/null", "bs=200M", "count=1"] | del(.linux.cgroupsPath)
        | .linux.resources += { "memory": { "limit": 16777216, "swap": 16777216 } }' || return 1
    nucleus run --bundle "$sd_bundle" oom >/tmp/output 2>&1 </dev/null
    is 'the exit status' 137 echo $? || { cat /tmp/output && bad=1; }
    gone $scope || bad=1
    is 'failed units' '' systemctl list-units --failed --plain --no-legend "$scope" || bad=1
    return $bad
}

devices_are_bounded() {
    local bad=0 what
    # Two programs are attached: systemd's and ours. Each allows null; neither the disk; only fuse is on the list.
    bundle "$sd_bundle" '.process.args = ["sh", "-c", "
            echo x >/dev/null && echo null; head -c 1 /dev/disk; head -c 1 /dev/two >/dev/null && echo two"]
        | del(.linux.cgroupsPath) | .linux.devices = [
            { "type": "b", "path": "/dev/disk", "major": 254, "minor": 0 },
            { "type": "c", "path": "/dev/two", "major": 1, "minor": 9 }]
        | .linux.resources.devices = [{ "allow": false, "access": "rwm" },
            { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rwm" }]' || return 1
    what=$(nucleus run --bundle "$sd_bundle" devices 2>&1 </dev/null)
    echo "$what" | grep -q '^null$' && echo "$what" | grep -q '^two$' || { echo "$what" && bad=1; }
    echo "$what" | grep -qi 'disk.*not permitted' || { echo "$what" && bad=1; }
    gone nucleus-devices.scope || bad=1
    # Everything but the disk: no list of systemd's kind, so that the kernel alone has it.
    bundle "$sd_bundle" '.process.args = ["sleep", "1000"] | del(.linux.cgroupsPath)
        | .linux.resources.devices = [{ "allow": true, "access": "rwm" },
            { "allow": false, "type": "b", "major": 254, "minor": 0, "access": "rwm" }]' || return 1
    nucleus run --detach --bundle "$sd_bundle" devices >/tmp/output 2>&1 </dev/null || { cat /tmp/output; return 1; }
    property nucleus-devices.scope DevicePolicy auto || bad=1
    nucleus delete --force devices && gone nucleus-devices.scope || bad=1
    return $bad
}

# refused WANTED ID: create fails, says so, and leaves nothing.
refused() {
    local wanted=$1 id=$2
    if nucleus create --bundle "$sd_bundle" "$id" >/tmp/output 2>&1 </dev/null; then
        nucleus delete --force "$id"
        echo 'created' && return 1
    fi
    grep -qF -- "$wanted" /tmp/output || { cat /tmp/output; return 1; }
    [ "$(wc -l </tmp/output)" = 1 ] || { cat /tmp/output; return 1; }
    [ ! -e "/run/nucleus/$id" ] || { echo "the state of $id is left"; return 1; }
}

a_failed_create_leaves_nothing() {
    local bad=0 base='del(.linux.cgroupsPath) | '
    bundle "$sd_bundle" "$base"'.linux.resources += { "unified": { "memory.high": "much" } }' || return 1
    refused 'linux.resources.unified["memory.high"]' bad && gone nucleus-bad.scope || bad=1
    bundle "$sd_bundle" "$base"'.process.args = ["none"]' || return 1
    refused 'none' bad && gone nucleus-bad.scope || bad=1
    bundle "$sd_bundle" "$base"'.hooks.createRuntime = [{ "path": "/bin/false" }]' || return 1
    refused 'createRuntime' bad && gone nucleus-bad.scope || bad=1
    bundle "$sd_bundle" '.linux.cgroupsPath = "/a/b"' || return 1
    refused 'expected cgroupsPath to be of format "slice:prefix:name"' bad || bad=1
    bundle "$sd_bundle" "$base"'.annotations["org.systemd.property.ExecStart"] = "\u0027x\u0027"' || return 1
    refused 'annotations.org.systemd.property.ExecStart' bad && gone nucleus-bad.scope || bad=1
    # Right by name, and of the wrong type: systemd's own word.
    bundle "$sd_bundle" "$base"'.annotations["org.systemd.property.TimeoutStopUSec"] = "\u0027x\u0027"' || return 1
    refused 'cannot start unit nucleus-bad.scope' bad && gone nucleus-bad.scope || bad=1
    is 'failed units' '' systemctl list-units --failed --plain --no-legend 'nucleus-*' || bad=1
    return $bad
}

an_existing_unit_is_left_alone() {
    local bad=0
    systemd-run --quiet --scope --unit=nucleus-taken.scope sleep 1000 >/dev/null 2>&1 </dev/null &
    local sleeper=$!
    for try in 1 2 3 4 5 6 7 8 9 10; do systemctl --quiet is-active nucleus-taken.scope && break; sleep 0.5; done
    bundle "$sd_bundle" 'del(.linux.cgroupsPath)' || return 1
    refused 'nucleus-taken.scope' taken || bad=1
    grep -q 'choose another linux.cgroupsPath' /tmp/output || { cat /tmp/output && bad=1; }
    kill -0 $sleeper && property nucleus-taken.scope ActiveState active || bad=1
    # A runtime that is killed before it has asked knows no better: what lives there is not its own.
    systemctl stop nucleus-taken.scope
    wait $sleeper
    return $bad
}

a_failed_unit_of_the_name_is_no_obstacle() {
    local bad=0
    systemd-run --quiet --unit=nucleus-failed.service false
    systemd-run --quiet --scope --unit=nucleus-again.scope --property=RuntimeMaxSec=1 sleep 1000 >/dev/null 2>&1 </dev/null
    start again || bad=1
    nucleus delete --force again && gone nucleus-again.scope || bad=1
    systemctl reset-failed nucleus-failed.service 2>/dev/null
    return $bad
}

a_killed_runtime_leaves_what_delete_clears() {
    local bad=0 round scope
    # After the scope was made: a hook ends the runtime.
    printf '#!/bin/sh\nkill -9 $PPID\nsleep 5\n' >/tmp/systemd/killer && chmod +x /tmp/systemd/killer
    bundle "$sd_bundle" 'del(.linux.cgroupsPath) | .process.args = ["sleep", "1000"]
        | .hooks.createRuntime = [{ "path": "/tmp/systemd/killer" }]' || return 1
    nucleus create --bundle "$sd_bundle" killed >/tmp/output 2>&1 </dev/null && bad=1
    nucleus delete --force killed && gone nucleus-killed.scope || bad=1
    # At each step (a debug build ends itself there), and anywhere: delete clears it away.
    bundle "$sd_bundle" 'del(.linux.cgroupsPath) | .process.args = ["sleep", "1000"]' || return 1
    for round in 2 3 4 5 6 7 8 9 0.1 0.2 0.3; do
        NUCLEUS_KILL_AT=$round timeout --signal KILL "${round/#[2-9]/20}" \
            /share/nucleus --systemd-cgroup create --bundle "$sd_bundle" "k$round" >/dev/null 2>&1 </dev/null
        scope=nucleus-k$round.scope
        nucleus delete --force "k$round" && gone "$scope" || { echo "at $round" && bad=1; }
    done
    is 'failed units' '' systemctl list-units --failed --plain --no-legend 'nucleus-*' || bad=1
    return $bad
}

delete_works_when_systemd_was_first() {
    local bad=0
    start first || return 1
    systemctl kill --signal=KILL nucleus-first.scope || bad=1
    gone nucleus-first.scope || bad=1
    nucleus delete first || bad=1
    return $bad
}

without_a_bus_there_is_one_clear_line() {
    local bad=0
    bundle "$sd_bundle" 'del(.linux.cgroupsPath)' || return 1
    DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere/bus refused 'cannot reach the system bus at unix:path=/nowhere/bus' no || bad=1
    systemctl stop dbus.socket dbus.service 2>/dev/null
    refused 'cannot reach the system bus' no || bad=1
    systemctl start dbus.socket dbus.service || bad=1
    # The cgroup filesystem's driver does not ask for it.
    DBUS_SYSTEM_BUS_ADDRESS=unix:path=/nowhere/bus /share/nucleus check "$sd_bundle" >/dev/null || bad=1
    return $bad
}

# --- for those who are not root: the user's own systemd, in what the host's has delegated to it
user_home=/home/tester/systemd
user_root=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/user.slice

# In a service of the user's own systemd, as an engine there would be; and from a place that is not the user's to
# command, like a login: init is then moved by the host's systemd, on the user's word.
inside() { systemd-run --user --machine=tester@.host --quiet --wait --pipe --working-directory="$user_home" -- "$@"; }
outside() {
    (cd "$user_home" && setpriv --reuid tester --regid tester --clear-groups env -i HOME=/home/tester \
        XDG_RUNTIME_DIR=/run/user/1000 PATH="$PATH" "$@")
}
user_ctl() { systemctl --user --machine=tester@.host "$@"; }
user_property() { is "$2" "$3" user_ctl show --property "$2" --value "$1"; }

# user_bundle JQ-FILTER. The first one may come before the user's systemd is up.
user_bundle() {
    for _ in {1..100}; do [ -S /run/user/1000/bus ] && break; sleep 0.3; done
    rm -rf "$user_home" && bundle "$user_home" && rm "$user_home/config.json" || return 1
    chown -R tester "$user_home"
    outside /share/nucleus spec --rootless || return 1
    jq '.process.terminal = false | .process.args = ["sleep", "1000"] | del(.linux.cgroupsPath)
        | .linux.resources = { "memory": { "limit": 33554432 }, "pids": { "limit": 21 },
            "cpu": { "quota": 20000, "period": 100000 } } | '"$1" "$user_home/config.json" >/tmp/config || return 1
    cat /tmp/config >"$user_home/config.json"
}

# user_run HOW [COMMAND...]: a container from the outside or the inside; COMMAND... stands before the runtime.
user_run() {
    local how=$1 scope=nucleus-mine.scope at=$user_root/nucleus-mine.scope bad=0
    shift
    local rt=("$how" "$@" /share/nucleus --systemd-cgroup)
    "${rt[@]}" run --detach mine >/tmp/output 2>&1 </dev/null || { cat /tmp/output; return 1; }
    is memory.max 33554432 cat "$at/memory.max" && is pids.max 21 cat "$at/pids.max" || bad=1
    is cpu.max '20000 100000' cat "$at/cpu.max" || bad=1
    user_property $scope MemoryMax 33554432 && user_property $scope TasksMax 21 || bad=1
    user_property $scope Slice user.slice && user_property $scope CPUQuotaPerSecUSec 200ms || bad=1
    "${rt[@]}" update --pids-limit 22 mine && is pids.max 22 cat "$at/pids.max" && user_property $scope TasksMax 22 || bad=1
    "${rt[@]}" pause mine && is cgroup.freeze 1 cat "$at/cgroup.freeze" && "${rt[@]}" resume mine || bad=1
    is 'what exec prints' hello "${rt[@]}" exec mine echo hello || bad=1
    "${rt[@]}" events --stats mine | jq -e '.data.pids.limit == 22' || bad=1
    "${rt[@]}" delete --force mine && gone $scope user_ctl || bad=1
    return $bad
}

from_the_inside() { user_bundle . && user_run inside; }
from_the_outside() { user_bundle . && user_run outside; }

# As podman calls a runtime: root of a user namespace that is there already.
as_root_of_a_namespace() {
    local bad=0 holder
    user_bundle 'del(.linux.uidMappings, .linux.gidMappings) | .linux.namespaces |= map(select(.type != "user"))' || return 1
    outside unshare --user --map-root-user sleep 4711 &
    for _ in 1 2 3 4 5 6 7 8 9 10; do holder=$(pgrep -u tester -x -f 'sleep 4711') && break; sleep 0.5; done
    user_run inside nsenter --target "$holder" --user --preserve-credentials || bad=1
    kill "$holder"
    wait
    return $bad
}

without_the_users_bus() {
    local bad=0
    user_bundle . || return 1
    (cd "$user_home" && setpriv --reuid tester --regid tester --clear-groups env -i PATH="$PATH" \
        /share/nucleus --root /tmp/nobus --systemd-cgroup create x) >/tmp/output 2>&1 </dev/null && bad=1
    grep -q 'the user.s bus cannot be found: set DBUS_SESSION_BUS_ADDRESS or XDG_RUNTIME_DIR' /tmp/output || bad=1
    outside /share/nucleus --systemd-cgroup --rootless=false create x >/tmp/output 2>&1 </dev/null && bad=1
    grep -q 'only root may use the system bus' /tmp/output || bad=1
    [ $bad = 0 ] || cat /tmp/output
    gone nucleus-x.scope || bad=1
    return $bad
}

mkdir -p /tmp/systemd
check 'systemd: limits are files and properties, updates too' limits_are_files_and_properties
check 'systemd: a refused update changes nothing' a_refused_update_changes_nothing
check 'systemd: exec, pause, ps, events, kill' verbs_work
check 'systemd: groups below the scope' groups_below_the_scope
check 'systemd: memory that runs out leaves nothing' memory_that_runs_out_leaves_nothing
check 'systemd: devices are bounded' devices_are_bounded
check 'systemd: a failed create leaves nothing' a_failed_create_leaves_nothing
check 'systemd: an existing unit is left alone' an_existing_unit_is_left_alone
check 'systemd: a failed unit of the name is no obstacle' a_failed_unit_of_the_name_is_no_obstacle
check 'systemd: a killed runtime leaves what delete clears' a_killed_runtime_leaves_what_delete_clears
check 'systemd: delete after systemd has ended it' delete_works_when_systemd_was_first
check 'systemd: a user, from a service of theirs' from_the_inside
check 'systemd: a user, from elsewhere' from_the_outside
check 'systemd: a user who is root of a namespace' as_root_of_a_namespace
check 'systemd: a user without a bus' without_the_users_bus
# The last one: whoever was connected to the bus is no more.
check 'systemd: without a bus there is one clear line' without_a_bus_there_is_one_clear_line
