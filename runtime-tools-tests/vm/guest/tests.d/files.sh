# shellcheck shell=bash disable=SC2317 # sourced by `tests`; `check` calls functions by name
# The control files of a container, read from the kernel.
guest init systemd || return 0

# The kernel's own view of a container that nucleus has made, file by file.
files_of_a_container() {
    local bundle=/tmp/bundle cgroup=/sys/fs/cgroup/vm-test/files got
    bundle "$bundle" '.process.args = ["sleep", "1000"] | .linux.cgroupsPath = "/vm-test/files"
        | .linux.resources += '"$1" || return 1
    /share/nucleus run --detach --bundle "$bundle" files >/tmp/output 2>&1 </dev/null || { cat /tmp/output; return 1; }
    shift
    local bad=0
    while [ $# -gt 0 ]; do
        got=$(cat "$cgroup/$1")
        [ "$got" = "$2" ] || { echo "$1 has '$got', not '$2'" && bad=1; }
        shift 2
    done
    /share/nucleus delete --force files || bad=1
    [ ! -e "$cgroup" ] || { echo "$cgroup is left" && bad=1; }
    rmdir /sys/fs/cgroup/vm-test 2>/dev/null
    return "$bad"
}

check 'control files of a container' files_of_a_container '{
    "memory": { "limit": 67108864, "swap": 100663296, "reservation": 33554432 },
    "cpu": { "shares": 2048, "quota": 30000, "period": 60000, "cpus": "0-1", "mems": "0" },
    "pids": { "limit": 42 },
    "hugepageLimits": [{ "pageSize": "2MB", "limit": 4194304 }],
    "blockIO": { "throttleReadBpsDevice": [{ "major": 254, "minor": 0, "rate": 2097152 }] },
    "unified": { "memory.high": "60000000", "cgroup.max.descendants": "9" } }' \
    memory.max 67108864 memory.swap.max 33554432 memory.low 33554432 memory.high 59998208 \
    cpu.weight 174 cpu.max '30000 60000' cpuset.cpus 0-1 cpuset.mems 0 pids.max 42 \
    hugetlb.2MB.max 4194304 hugetlb.2MB.rsvd.max 4194304 cgroup.max.descendants 9 \
    io.max '254:0 rbps=2097152 wbps=max riops=max wiops=max'
