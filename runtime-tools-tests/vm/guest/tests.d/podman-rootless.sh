# shellcheck shell=bash disable=SC2317,SC2086,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# Podman as an ordinary user whose own systemd has controllers to give (image.sh: Delegate=, lingering): limits without root.
guest engines sid || return 0
# shellcheck source=../engines
. /share/engines
tester_tree=/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service
tester_ctl='systemctl --user --machine=tester@.host'

# as_tester COMMAND...: in a service of the user's own systemd, where a login or an engine's client would be.
as_tester() {
    sh -c 'echo 0 >'"$tester_tree"'/app.slice/shell.service/cgroup.procs; cd /home/tester; exec "$@"' sh \
        setpriv --reuid tester --regid tester --init-groups env -i HOME=/home/tester USER=tester PATH="$PATH" \
        XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus "$@"
}
pod() { as_tester podman "$@"; }
mine() { cat /tmp/mine.id; }
mine_scope() { echo "libpod-$(mine).scope"; }
mine_at() { echo "user.slice/user-1000.slice/user@1000.service/user.slice/$(mine_scope)"; }
mine_pid() { find "/sys/fs/cgroup/$(mine_at)" -name cgroup.procs -exec cat {} + | head -n 1; }

tester_up() {
    local config=/home/tester/.config/containers/containers.conf
    documented_file /etc/systemd/system/user@.service.d/delegate.conf \
        | diff - /etc/systemd/system/user@.service.d/delegate.conf && eventually test -S /run/user/1000/bus || return 1
    systemd-run --user --machine=tester@.host --quiet --unit shell sleep 100000 || return 1
    install -d -o tester -g tester /home/tester/.config{,/containers}
    { documented_file /etc/containers/containers.conf.d/nucleus.conf && printf '[containers]\nnetns = "none"\n'; } >$config
    pod load -q -i /share/busybox.tar
}
tester_run() {
    local said status
    said=$(pod run --rm $I sh -c 'cat /proc/self/cgroup; echo $(cat /proc/self/uid_map); exit 7')
    status=$?
    [ "$status $said" = '7 0::/
0 1000 1 1 100000 65536' ] || { echo "$status $said" && return 1; }
}
tester_limits() {
    pod run -d --name mine --memory 64m --memory-swap 96m --cpus 0.5 --cpu-shares 512 --pids-limit 42 --cpuset-cpus 0 \
        $I sleep 1000 >/tmp/mine.id && files "$(mine_at)" memory.max=67108864 memory.swap.max=33554432 pids.max=42 \
        'cpu.max=50000 100000' 'cpu.weight=@(59|20)' cpuset.cpus=0
}
tester_properties() {
    properties "$tester_ctl" "$(mine_scope)" MemoryMax=67108864 TasksMax=42 CPUQuotaPerSecUSec=500ms AllowedCPUs=0 \
        Slice=user.slice Delegate=yes
}
tester_process() { # it is the user's outside
    is 'the user outside' tester stat -c %U "/proc/$(mine_pid)" \
        && is 'the record' "$(mine)" find /run/user/1000 -maxdepth 2 -name "$(mine)" -printf %f
}
tester_exec() { is 'what exec prints' '0::/ b' pod exec -e A=b mine sh -c 'echo $(cat /proc/self/cgroup) $A'; }
tester_update() {
    pod update --memory 48m --memory-swap 48m --cpus 0.25 --pids-limit 43 mine \
        && files "$(mine_at)" memory.max=50331648 'cpu.max=25000 100000' pids.max=43 cpuset.cpus=0 \
        && properties "$tester_ctl" "$(mine_scope)" MemoryMax=50331648 CPUQuotaPerSecUSec=250ms TasksMax=43
}
tester_stats() { says ' / 50.33MB 1$' pod stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' mine; }
tester_pause() {
    pod pause mine && files "$(mine_at)" cgroup.freeze=1 && is status paused pod inspect -f '{{.State.Status}}' mine \
        && pod unpause mine && files "$(mine_at)" cgroup.freeze=0
}
tester_kill() { pod kill mine && is 'exit code' 137 pod wait mine && pod rm mine && mine_gone; }
mine_gone() { no_units "$tester_ctl" 'libpod*' && no_cgroups "libpod-*$(mine)*"; }
tester_oom() {
    local status=0
    pod run --name oom "${MUCH_AND_STAY[@]}" || status=$?
    is 'the exit status' 3 echo $status && is 'out of memory' true pod inspect -f '{{.State.OOMKilled}}' oom && pod rm oom
}
tester_pod() {
    local slice bad=0
    pod pod create --name pod --memory 128m --infra-image $I --infra-command 'sleep 1000000' >/tmp/pod.id \
        && pod run -d --name mine --pod pod --memory 64m $I sleep 1000 >/tmp/mine.id || return 1
    slice=user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_$(cat /tmp/pod.id).slice
    files "$slice" memory.max=134217728 && files "$slice/libpod-$(mine).scope" memory.max=67108864 || bad=1
    pod pod rm -f -t 0 pod && mine_gone && no_cgroups "user-libpod_pod_*" || bad=1
    return $bad
}
tester_network() {
    local bad=0
    modprobe tun && eventually chmod 666 /dev/net/tun || return 1
    pod run -d --name web --network pasta -p 8081:8080 $I \
        sh -c 'echo served >/tmp/index.html; exec httpd -f -p 8080 -h /tmp' || return 1
    eventually is 'its page' served curl -s http://127.0.0.1:8081/index.html || bad=1
    pod rm -f -t 0 web || bad=1
    return $bad
}
nothing_of_tester_is_left() {
    is containers '' pod ps -aq && no_units "$tester_ctl" 'libpod*' && no_cgroups '*libpod*' \
        && no_records /run/user/1000/{nucleus,crun,runc}
}

check 'rootless podman: loads an image' tester_up
check 'rootless podman: info names runtime and driver' is info 'nucleus true systemd v2' \
    pod info -f '{{.Host.OCIRuntime.Name}} {{.Host.Security.Rootless}} {{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
check 'rootless podman: run; output, exit status, user namespace' tester_run
check 'rootless podman: limits, in the kernel' tester_limits
check "rootless podman: limits are properties of the user's scope" tester_properties
check "rootless podman: the process is the user's" tester_process
check 'rootless podman: exec' tester_exec
check 'rootless podman: update, in the kernel and in systemd' tester_update
check 'rootless podman: stats' tester_stats
check 'rootless podman: pause, unpause' tester_pause
check 'rootless podman: kill, rm; nothing is left' tester_kill
check 'rootless podman: out of memory is told' tester_oom
check 'rootless podman: a pod, with limits' tester_pod
check 'rootless podman: a published port' tester_network
check 'rootless podman: nothing is left' nothing_of_tester_is_left
