# shellcheck shell=bash disable=SC2317,SC2086,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# The way of Kubernetes: containerd's CRI with `SystemdCgroup = true`.
guest engines sid || return 0
# shellcheck source=../engines
. /share/engines
SLICE=kubepods.slice/kubepods-burstable.slice
SANDBOX='metadata { name: "pod" uid: "pod-uid" namespace: "default" } log_directory: "/tmp/pods" linux {
    cgroup_parent: "kubepods-burstable.slice" security_context { namespace_options { network: NODE } } }'

cri_scope() { echo "cri-containerd-$(id_of "$1").scope"; }
cri_pid() { head -n 1 "/sys/fs/cgroup/$SLICE/$(cri_scope "$1")/cgroup.procs"; }

sandbox_runs() {
    containerd_up && cri RunPodSandbox "config { $SANDBOX }" >/tmp/output || return 1
    field pod_sandbox_id </tmp/output >/tmp/cri.pod
    properties systemctl "$(cri_scope pod)" Slice=kubepods-burstable.slice ActiveState=active \
        && is 'its command' 'sleep 1000000 ' eval 'tr "\0" " " <"/proc/$(cri_pid pod)/cmdline"'
}
# cri_start NAME RESOURCES WORD...: a container of the pod.
cri_start() {
    local name=$1 resources=$2
    shift 2
    cri CreateContainer "pod_sandbox_id: '$(id_of pod)' sandbox_config { $SANDBOX } config {
        metadata { name: '$name' } image { image: '$I:latest' } $(printf 'command: "%s" ' "$@")
        envs { key: 'A' value: 'b' } log_path: '$name.log' linux { resources { $resources } security_context {
            no_new_privs: true seccomp { profile_type: RuntimeDefault } run_as_user { value: 1000 } } } }" >/tmp/output \
        || return 1
    field container_id </tmp/output >"/tmp/cri.$name"
    cri StartContainer "container_id: '$(id_of "$name")'"
}
container_runs() {
    cri_start box 'cpu_period: 100000 cpu_quota: 50000 cpu_shares: 512 memory_limit_in_bytes: 67108864 oom_score_adj: 500
        cpuset_cpus: "0" unified { key: "memory.high" value: "60000000" }' sleep 1000
}
container_limits() {
    files "$SLICE/$(cri_scope box)" memory.max=67108864 memory.high=59998208 'cpu.max=50000 100000' 'cpu.weight=@(59|20)' \
        cpuset.cpus=0 && properties systemctl "$(cri_scope box)" MemoryMax=67108864 MemoryHigh=60000000 \
        CPUQuotaPerSecUSec=500ms AllowedCPUs=0 Slice=kubepods-burstable.slice
}
container_process() {
    local pid
    pid=$(cri_pid box)
    is 'user, privileges, filter' '1000 1 2' \
        awk '/^(Uid|NoNewPrivs|Seccomp):/ { printf "%s%s", s, $2; s = " " }' "/proc/$pid/status" \
        && is oom_score_adj 500 cat "/proc/$pid/oom_score_adj" \
        && is "the pod's IPC" "$(readlink "/proc/$(cri_pid pod)/ns/ipc")" readlink "/proc/$pid/ns/ipc" \
        && is "the host's network" "$(readlink /proc/1/ns/net)" readlink "/proc/$pid/ns/net"
}
container_exec() {
    cri ExecSync "container_id: '$(id_of box)' cmd: 'sh' cmd: '-c' cmd: 'echo \$A; sleep 1; exit 9' timeout: 60" >/tmp/output
    is 'output and exit status' 'b\n 9' echo "$(field stdout </tmp/output) $(field exit_code </tmp/output)"
}
container_update() {
    cri UpdateContainerResources "container_id: '$(id_of box)' linux {
        memory_limit_in_bytes: 50331648 cpu_quota: 25000 cpu_period: 100000 }" || return 1
    files "$SLICE/$(cri_scope box)" memory.max=50331648 'cpu.max=25000 100000' cpuset.cpus=0 \
        && properties systemctl "$(cri_scope box)" MemoryMax=50331648 CPUQuotaPerSecUSec=250ms
}
container_stats() {
    cri ContainerStats "container_id: '$(id_of box)'" >/tmp/output || return 1
    grep -A 3 usage_core_nano_seconds /tmp/output | grep -q 'value: [1-9]' \
        && grep -A 3 working_set_bytes /tmp/output | grep -q 'value: [1-9]' || { ! cat /tmp/output; }
}
container_out_of_memory() {
    cri_start oom 'memory_limit_in_bytes: 16777216' sh -c "$MUCH" \
        && eventually oom_is_told
}
oom_is_told() {
    cri ContainerStatus "container_id: '$(id_of oom)'" >/tmp/output \
        && is 'reason and status' 'OOMKilled 3' echo "$(field reason </tmp/output) $(field exit_code </tmp/output)"
}
all_is_removed() {
    cri StopContainer "container_id: '$(id_of box)'" && cri RemoveContainer "container_id: '$(id_of box)'" \
        && cri StopPodSandbox "pod_sandbox_id: '$(id_of pod)'" && cri RemovePodSandbox "pod_sandbox_id: '$(id_of pod)'" \
        || return 1
    no_units systemctl 'cri-containerd-*' && no_cgroups 'cri-containerd-*' \
        && eventually is shims '' pgrep -fa containerd-shim \
        && no_records /run/containerd/runc/k8s.io
}

check 'cri: a pod, in its slice' sandbox_runs
check 'cri: a container of the pod' container_runs
check 'cri: its limits, in the kernel and in systemd' container_limits
check 'cri: its process' container_process
check 'cri: exec' container_exec
check 'cri: update of the limits' container_update
check 'cri: statistics' container_stats
check 'cri: out of memory is told' container_out_of_memory
check 'cri: stop and remove; nothing is left' all_is_removed
