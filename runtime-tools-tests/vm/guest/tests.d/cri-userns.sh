# shellcheck shell=bash disable=SC2317,SC2086,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# Pods with a user namespace (Kubernetes: `hostUsers: false`) through the CRI of containerd 2. containerd makes the user and the
# network namespace; the runtime joins both by path, for the pod and for each of its containers.
guest sid || return 0
# shellcheck source=../engines
. /share/engines
SLICE=kubepods.slice/kubepods-burstable.slice
IDS='{ container_id: 0 host_id: 100000 length: 65536 }'
MAP='0 100000 65536'
NETWORK=POD # or NODE, the host's; the pod has the same name

# namespaces PID: what kubelet asks for, for a pod and for its containers. PID is POD or CONTAINER.
namespaces() { echo "namespace_options { network: $NETWORK pid: $1 userns_options { mode: POD uids $IDS gids $IDS } }"; }
sandbox() {
    echo "metadata { name: '$NETWORK' uid: '$NETWORK' namespace: 'default' } log_directory: '/tmp/userns-$NETWORK'
        linux { cgroup_parent: 'kubepods-burstable.slice' security_context { $(namespaces CONTAINER) } }"
}
run_pod() {
    cri RunPodSandbox "config { $(sandbox) }" >/tmp/output || return 1
    field pod_sandbox_id </tmp/output >"/tmp/cri.$NETWORK"
}
# start NAME UID PID CONFIG COMMAND: starts a container that runs this in a shell, and then sleeps.
start() {
    cri CreateContainer "pod_sandbox_id: '$(id_of $NETWORK)' sandbox_config { $(sandbox) } config {
        metadata { name: '$1' } image { image: '$I:latest' } log_path: '$1.log' $4
        command: 'sh' command: '-c' command: '$(tr '\n' ' ' <<<"$5"); sleep 1000'
        mounts { container_path: '/volume' host_path: '/tmp/volume' uidMappings $IDS gidMappings $IDS }
        linux { resources { oom_score_adj: 500 } security_context { $(namespaces $3) run_as_user { value: $2 }
            no_new_privs: true seccomp { profile_type: RuntimeDefault } } } }" >/tmp/output || return 1
    field container_id </tmp/output >"/tmp/cri.$1"
    cri StartContainer "container_id: '$(id_of "$1")'"
}
# logged NAME STREAM TEXT: the container has written this, or will.
logged() { eventually is "$2 of $1" "$3" sed -n "s/^[^ ]* $2 F //p" "/tmp/userns-$NETWORK/$1.log"; }
pid_of_pod() { head -n 1 "/sys/fs/cgroup/$SLICE/cri-containerd-$(id_of $NETWORK).scope/cgroup.procs"; }

supported() {
    containerd_up && mkdir -p /etc/cni/net.d || return 1
    # containerd reads this file when it appears.
    echo '{ "cniVersion": "1.0.0", "name": "vm", "plugins": [{ "type": "bridge", "bridge": "cni0", "isGateway": true,
        "ipam": { "type": "host-local", "ranges": [[{ "subnet": "10.99.0.0/24" }]] } }] }' >/etc/cni/net.d/10-vm.conflist
    eventually is_supported
}
is_supported() {
    cri Status '' >/tmp/output && grep -A 1 '"NetworkReady"' /tmp/output | grep -q 'status: true' \
        && grep -A 4 'name: "nucleus"' /tmp/output | grep -q 'user_namespaces: true' || { ! cat /tmp/output; }
}
pod_runs() {
    local proc
    run_pod && proc=/proc/$(pid_of_pod) || return 1
    is uid_map "$MAP" eval 'echo $(cat '$proc'/uid_map)' && is gid_map "$MAP" eval 'echo $(cat '$proc'/gid_map)' \
        && is oom_score_adj -998 cat $proc/oom_score_adj
}
container_runs() {
    mkdir /tmp/volume && touch /tmp/volume/root /tmp/volume/user && chown 1000:1000 /tmp/volume/user || return 1
    start box 0 CONTAINER 'tty: true' 'echo $(cat /proc/self/uid_map), $(cat /proc/self/gid_map); id -u; touch /volume/new;
        test -t 0 && stat -c %u:%g /dev/console /bin/busybox /volume/root /volume/user /volume/new;
        cat /proc/self/oom_score_adj /sys/class/net/eth0/operstate' || return 1
    logged box stdout "$MAP, $MAP
0
0:5
0:0
0:0
1000:1000
0:0
500
up" && is 'owner of a new file, on the host' 0:0 stat -c %u:%g /tmp/volume/new
}
container_exec() {
    cri ExecSync "container_id: '$(id_of box)' cmd: 'sh' cmd: '-c'
        cmd: 'id -un; echo \$(cat /proc/self/uid_map); cat /proc/self/oom_score_adj; sleep 1; exit 9' timeout: 60" >/tmp/output
    is 'output and exit status' "root\\n$MAP\\n500\\n 9" \
        echo "$(field stdout </tmp/output) $(field exit_code </tmp/output)"
}
# In the pod's PID namespace (Kubernetes: shareProcessNamespace).
users_container() {
    start user 1000 POD '' 'id -u; head -c 5 /proc/1/cmdline; echo; echo error >/dev/stderr' || return 1
    logged user stdout '1000
sleep' && logged user stderr error
}
host_network() {
    [ -e /tmp/cri.NODE ] || { ! cat /tmp/output; } || return 1
    start host 0 CONTAINER '' 'echo $(cat /proc/self/uid_map); ls /sys/class/net/cni0/mtu' && logged host stdout "$MAP
/sys/class/net/cni0/mtu"
}
all_is_removed() {
    local pod
    for pod in POD NODE; do
        [ -e /tmp/cri.$pod ] || continue
        cri StopPodSandbox "pod_sandbox_id: '$(id_of $pod)'" && cri RemovePodSandbox "pod_sandbox_id: '$(id_of $pod)'" \
            || return 1
    done
    no_units systemctl 'cri-containerd-*' && no_cgroups 'cri-containerd-*' && no_records /run/containerd/runc/k8s.io \
        && is 'the list of containers' '' $NUCLEUS --root /run/containerd/runc/k8s.io list --quiet \
        && eventually is shims '' pgrep -fa containerd-shim && is mounts '' grep -E 'ovl-idmapped|sandboxes' /proc/mounts
}

check 'cri, user namespaces: containerd finds that the runtime supports them' supported
check 'cri, user namespaces: a pod' pod_runs
check 'cri, user namespaces: a container; ids, terminal, owners of files and of a volume, oom_score_adj, network' container_runs
check 'cri, user namespaces: exec' container_exec
check "cri, user namespaces: another user's process, in the pod's PID namespace, writes to /dev/stderr" users_container
NETWORK=NODE
# Kubernetes 1.35 permits it on request. containerd 2.1 opens the path of a network namespace that such a pod does not have.
name="cri, user namespaces: a pod with the host's network"
if run_pod || ! grep -q 'failed to pin user namespace' /tmp/output; then
    check "$name" host_network
else
    echo "skip $name: containerd refuses it: $(grep -o 'failed to pin .*' /tmp/output | tr -d '\r')"
fi
check 'cri, user namespaces: stop and remove; nothing is left' all_is_removed
