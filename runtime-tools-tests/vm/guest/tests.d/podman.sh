# shellcheck shell=bash disable=SC2317,SC2086,SC2154,SC2015,SC2016 # sourced by `tests`; `check` calls functions by name
# Podman as root, with systemd's cgroups on pure cgroup v2, as it is installed: what the container sees, what the kernel's
# files and systemd's properties say, and that nothing is left. Each command of podman's costs seconds here: one container
# answers many questions.
guest engines sid || return 0
# shellcheck source=../engines
. /share/engines
volume=/tmp/volume

podman_up() {
    local conf=/etc/containers/containers.conf.d
    mkdir -p $conf $volume
    documented_file /etc/containers/containers.conf.d/nucleus.conf >$conf/nucleus.conf || return 1
    printf '[containers]\nnetns = "none"\n' >$conf/zz-vm.conf # a bridge costs five seconds
    # For --userns=auto; sid's libsubid wants the user as well.
    useradd --system containers && echo containers:1000000:1000000 | tee -a /etc/subuid >>/etc/subgid
    podman load -q -i /share/busybox.tar
}

# start NAME OPTION... [IMAGE COMMAND...]: a container in the background, whose id is in /tmp/NAME.id.
start() { podman run -d --name "$@" >"/tmp/$1.id"; }
id_of() { cat "/tmp/$1.id"; }
scope() { echo "libpod-$(id_of "$1").scope"; }
at() { cd /sys/fs/cgroup && find . -name "$(scope "$1")" | cut -c 3-; } # its cgroup, below /sys/fs/cgroup
pid_of() { find "/sys/fs/cgroup/$(at "$1")" -name cgroup.procs -exec cat {} + | head -n 1; }
status() { # status NAME WORD=VALUE...: what podman says of .State.WORD
    local name=$1 pair template='' wanted=''
    shift
    for pair; do template+="{{.State.${pair%%=*}}} " && wanted+="${pair#*=} "; done
    is "the status of $name" "$wanted" podman inspect -f "$template" "$name"
}
# gone NAME...: no scope, no cgroup, no process's directory, no record of the runtime's.
gone() {
    local name bad=0
    for name; do
        no_units systemctl "libpod-*$(id_of "$name")*" && no_cgroups "libpod-*$(id_of "$name")*" || bad=1
        no_records /run/{nucleus,crun,runc}/"$(id_of "$name")" || bad=1
    done
    return $bad
}

run_and_status() {
    local said status
    said=$(podman run --rm $I sh -c 'cat /proc/self/cgroup; echo $FROM_IMAGE $$; exit 7')
    status=$?
    [ "$status $said" = '7 0::/
yes 1' ] || { echo "$status $said" && return 1; }
}

not_found() {
    ends 127 'executable file .*not found in' podman run --rm $I no-such-command
}

# --- one container with every limit
limits_start() {
    start all --cgroup-parent vm-engines.slice --memory 64m --memory-swap 96m --memory-reservation 32m --cpus 0.5 \
        --cpu-shares 512 --cpuset-cpus 0 --pids-limit 42 --device-read-bps /dev/vda:2mb --oom-score-adj 500 \
        --ulimit nofile=100:200 $I sleep 1000 || return 1
    is 'its cgroup' "vm.slice/vm-engines.slice/$(scope all)" at all
}
limits_memory() { files "$(at all)" memory.max=67108864 memory.swap.max=33554432 memory.low=33554432; }
# 512 shares are a weight of 59, or of 20 for runtimes that still count as before.
limits_cpu() { files "$(at all)" 'cpu.max=50000 100000' 'cpu.weight=@(59|20)' cpuset.cpus=0; }
limits_pids_io() { files "$(at all)" pids.max=42 'io.max=254:0 rbps=2097152 wbps=max riops=max wiops=max'; }
limits_known() {
    properties systemctl "$(scope all)" MemoryMax=67108864 MemorySwapMax=33554432 MemoryLow=33554432 TasksMax=42 \
        CPUQuotaPerSecUSec=500ms 'CPUWeight=@(59|20)' AllowedCPUs=0
}
scope_known() {
    properties systemctl "$(scope all)" Slice=vm-engines.slice Delegate=yes ActiveState=active DevicePolicy=strict \
        && systemctl daemon-reload && limits_cpu && limits_memory
}
process_of_all() {
    local pid
    pid=$(pid_of all)
    grep -q '^containers-default.* (enforce)$' "/proc/$pid/attr/current" || { cat "/proc/$pid/attr/current" && return 1; }
    is seccomp 2 awk '/^Seccomp:/ { print $2 }' "/proc/$pid/status" && is oom_score_adj 500 cat "/proc/$pid/oom_score_adj" \
        && is 'open files' '100 200' awk '/^Max open files/ { print $4, $5 }' "/proc/$pid/limits"
}
stats_of_all() {
    says ' / 67.11MB 1$' podman stats --no-stream --format '{{.MemUsage}} {{.PIDs}}' all
}
top_of_all() { says '^root +1 +sleep 1000' podman top all user,pid,args; }
exec_in_all() {
    local said status
    said=$(echo piped | podman exec -i -e C=d -u 1000 -w /tmp all \
        sh -c 'cat; echo $C $(id -u) $(pwd); cat /proc/self/cgroup; exit 9')
    status=$?
    [ "$status $said" = '9 piped
d 1000 /tmp
0::/' ] || { echo "$status $said" && return 1; }
}
exec_missing() {
    ends 127 'executable file .*not found in' podman exec all no-such-command
}
exec_terminal() {
    ends 5 '^/dev/pts/[0-9]+' typed 'until [ "$(stty size)" = "33 99" ]; do sleep 0.1; done; test -t 2 && tty; exit 5' \
        podman exec -it all sh
}
update_of_all() {
    podman update --memory 48m --memory-swap 48m --cpus 0.25 --pids-limit 43 all || return 1
    files "$(at all)" memory.max=50331648 memory.swap.max=0 'cpu.max=25000 100000' pids.max=43 \
        cpuset.cpus=0 memory.low=33554432 # the last two as they were
}
update_known() {
    properties systemctl "$(scope all)" MemoryMax=50331648 MemorySwapMax=0 CPUQuotaPerSecUSec=250ms TasksMax=43 AllowedCPUs=0
}
pause_of_all() {
    local bad=0
    podman pause all && files "$(at all)" cgroup.freeze=1 && status all Status=paused || bad=1
    refused 'running containers' podman exec all true || bad=1
    podman unpause all && files "$(at all)" cgroup.freeze=0 || bad=1
    return $bad
}
checkpoint_is_refused() {
    refused criu podman container checkpoint all && status all Status=running
}
removed() { podman rm -f -t 0 all && gone all; }

# --- signals, the log, the journal of events
signals() {
    start deaf $I sh -c 'trap "echo usr1" USR1; trap "echo bye; exit 42" TERM; echo up; while :; do sleep 100 & wait; done' \
        && sleep 1 && podman kill -s USR1 deaf && sleep 1 && podman stop -t 20 deaf && status deaf Status=exited ExitCode=42
}
logged() { is 'the log, in the journal' 'up
usr1
bye' podman logs deaf; }
events() {
    is events 'create init start kill died' eval "
        podman events --stream=false --filter container=deaf --format '{{.Status}}' | grep -xE 'create|init|start|kill|died' | uniq | xargs"
}
stopped_removed() { podman rm deaf && gone deaf; }

memory_runs_out() {
    ends 3 '' podman run --name oom --cidfile /tmp/oom.id "${MUCH_AND_STAY[@]}" \
        && status oom OOMKilled=true ExitCode=3 || return 1
    is 'failed units' '' systemctl list-units --failed --plain --no-legend 'libpod-*' && podman rm oom && gone oom
}

# --- one container, many options: what it says of itself, a line for each
options_run() {
    echo outside >$volume/in && chmod 777 $volume || return 1
    podman run --rm --init --read-only --tmpfs /w:size=1m,mode=1777 -v $volume:/v -v $volume:/r:ro -v named:/n \
        --user 1000:1000 --cap-drop all --security-opt no-new-privileges \
        --hostname inner --sysctl kernel.msgmax=4321 --device /dev/fuse $I sh -c '
        echo init $(tr "\0" " " </proc/1/cmdline)
        echo root $(touch /x 2>/dev/null || echo refused) $(touch /w/x && echo written)
        echo volumes $(cat /r/in; echo inside >/v/out && echo written; touch /r/x 2>/dev/null || echo refused; ls -d /n)
        echo rights $(grep -E "CapEff|CapBnd|NoNewPrivs" /proc/self/status) $(id -u)
        echo kernel $(hostname) $(cat /proc/sys/kernel/msgmax) $(stat -c %t:%T /dev/fuse)' >/tmp/options
}
option() { is "$1" "$2" sed -n "s/^$1 //p" /tmp/options; }
init_of_options() { grep -Eq '^init .*(catatonit|podman-init) -- sh ' /tmp/options || { ! cat /tmp/options; }; }
volumes_of_options() {
    option volumes 'outside written refused /n' && is 'the file' inside cat $volume/out && podman volume rm named
}

own_range() {
    says '^0 1[0-9]{6} 4096 0 0 0::/$' podman run --rm --userns=auto:size=4096 $I \
        sh -c 'touch /f; echo $(cat /proc/self/uid_map; id -u; stat -c %u /f; cat /proc/self/cgroup)'
}

# --- a pod: a slice of its own
pod_start() {
    podman pod create --name pod --memory 128m --infra-image $I --infra-command 'sleep 1000000' >/tmp/pod.id \
        && start one --pod pod --memory 64m $I sleep 1000 && start two --pod pod $I sh -c 'sleep 1000 & wait' || return 1
}
pod_slice() { echo "machine.slice/machine-libpod_pod_$(cat /tmp/pod.id).slice"; }
pod_slices() {
    is 'the cgroup of one' "$(pod_slice)/$(scope one)" at one && is 'the cgroup of two' "$(pod_slice)/$(scope two)" at two \
        && files "$(pod_slice)" memory.max=134217728 && files "$(pod_slice)/$(scope one)" memory.max=67108864 \
        && properties systemctl "$(scope one)" "Slice=$(basename "$(pod_slice)")" MemoryMax=67108864
}
pod_shares() {
    local ns bad=0
    for ns in net ipc uts; do
        is "$ns" "$(readlink "/proc/$(pid_of one)/ns/$ns")" readlink "/proc/$(pid_of two)/ns/$ns" || bad=1
    done
    [ "$(readlink "/proc/$(pid_of one)/ns/mnt")" != "$(readlink "/proc/$(pid_of two)/ns/mnt")" ] && return $bad
}
pod_pause() {
    podman pod pause pod \
        && files "$(pod_slice)/$(scope one)" cgroup.freeze=1 && files "$(pod_slice)/$(scope two)" cgroup.freeze=1 \
        && podman pod unpause pod && files "$(pod_slice)/$(scope two)" cgroup.freeze=0
}
pod_removed() {
    podman pod rm -f -t 0 pod && gone one two && no_cgroups "$(basename "$(pod_slice)")"
}
kube_play() {
    local bad=0
    cat >/tmp/web.yaml <<-END
	apiVersion: v1
	kind: Pod
	metadata: { name: web }
	spec:
	  terminationGracePeriodSeconds: 0
	  containers:
	  - { name: c, image: $I, imagePullPolicy: Never, command: [sleep, "1000"], resources: { limits: { memory: 64Mi, cpu: 500m } } }
	END
    podman kube play /tmp/web.yaml && podman kube generate web >/tmp/again.yaml \
        && podman inspect -f '{{.Id}}' web-c >/tmp/web.id || return 1
    grep -q 'memory: 64Mi' /tmp/again.yaml || { cat /tmp/again.yaml && bad=1; }
    files "$(at web)" memory.max=67108864 'cpu.max=50000 100000' || bad=1
    properties systemctl "$(scope web)" MemoryMax=67108864 CPUQuotaPerSecUSec=500ms || bad=1
    podman kube down /tmp/web.yaml || bad=1
    gone web || bad=1
    return $bad
}

# --- what systemd starts
health() {
    local bad=0
    start health --health-cmd 'test -e /tmp/well' --health-retries 1 --health-interval 5s $I sleep 1000 || return 1
    is 'timers' 1 eval "systemctl list-units --plain --no-legend --type timer '$(id_of health)*' | wc -l" || bad=1
    podman healthcheck run health && bad=1
    status health Health.Status=unhealthy || bad=1
    podman exec health touch /tmp/well || bad=1
    eventually status health Health.Status=healthy || bad=1 # by the timer
    podman rm -f -t 0 health && gone health && no_units systemctl "$(id_of health)*" || bad=1
    return $bad
}

# The program itself says that it is ready, with the host's systemd-notify: conmon passes it on.
quadlet() {
    local bad=0 at
    rm -f /etc/systemd/system-generators/podman-system-generator # image.sh switches all of them off
    mkdir -p /etc/containers/systemd
    echo '/usr/lib/*/ld-linux-x86-64.so.2 /usr/bin/systemd-notify --ready --status=here || exit
trap "exit 0" TERM
sleep 1000 &
wait' >$volume/told
    cat >/etc/containers/systemd/told.container <<-END
	[Container]
	Image=$I
	ContainerName=told
	Notify=true
	Volume=/usr:/usr:ro
	Volume=$volume:/v
	PodmanArgs=--memory=64m
	Exec=/bin/busybox sh /v/told
	[Service]
	TimeoutStartSec=60
	END
    systemctl daemon-reload && systemctl start told.service || { systemctl status --no-pager -n 20 told.service; bad=1; }
    properties systemctl told.service Type=notify StatusText=here ActiveState=active || bad=1
    at=$(cd /sys/fs/cgroup && echo system.slice/told.service/libpod-payload-*)
    files "$at" memory.max=67108864 || bad=1
    systemctl stop told.service || bad=1
    properties systemctl told.service ActiveState=inactive Result=success || bad=1
    no_cgroups 'libpod-payload-*' && is containers '' podman ps -aq --filter name=told || bad=1
    return $bad
}

bridge() {
    local bad=0 ip
    start web --network podman -p 8080:80 $I sh -c 'echo served >/tmp/index.html; exec httpd -f -p 80 -h /tmp' || return 1
    ip=$(nsenter -t "$(pid_of web)" -n ip -4 -o addr show eth0 | awk '{ sub("/.*", "", $4); print $4 }')
    eventually is 'its page' served curl -s --max-time 5 "http://$ip/index.html" || bad=1
    is 'its page, at the published port' served curl -s --max-time 10 http://127.0.0.1:8080/index.html || bad=1
    podman rm -f -t 0 web && gone web || bad=1
    return $bad
}

nothing_of_podman_is_left() {
    local bad=0
    is containers '' podman ps -aq || bad=1
    no_units systemctl '*libpod*' && no_cgroups '*libpod*' && no_records /run/{nucleus,crun,runc} || bad=1
    ! pgrep -l 'conmon|nucleus' || bad=1
    return $bad
}

check 'podman: loads an image' podman_up
check 'podman: info names runtime and driver' is info "nucleus $NUCLEUS systemd v2" \
    podman info -f '{{.Host.OCIRuntime.Name}} {{.Host.OCIRuntime.Path}} {{.Host.CgroupManager}} {{.Host.CgroupsVersion}}'
check 'podman: run; output, exit status' run_and_status
check 'podman: a command that is not there is 127' not_found
check 'podman: a container with every limit, in a slice of its own' limits_start
check 'podman: memory, in the kernel' limits_memory
check 'podman: cpu and cpuset, in the kernel' limits_cpu
check 'podman: processes and i/o, in the kernel' limits_pids_io
check 'podman: the limits are properties of the scope' limits_known
check 'podman: the scope outlives a reload of systemd, with its limits' scope_known
check 'podman: AppArmor, seccomp, rlimits and oom_score_adj of the process' process_of_all
check 'podman: stats' stats_of_all
check 'podman: top' top_of_all
check 'podman: exec; input, environment, user, exit status' exec_in_all
check 'podman: exec of what is not there is 127' exec_missing
check 'podman: exec -it, a terminal' exec_terminal
check 'podman: update, in the kernel' update_of_all
check 'podman: update, in the properties of the scope' update_known
check 'podman: pause, unpause' pause_of_all
check 'podman: checkpoint is refused, the container lives on' checkpoint_is_refused
check 'podman: rm -f leaves no scope, no cgroup, no record' removed
check 'podman: kill USR1, stop; both are honoured' signals
check 'podman: logs' logged
check 'podman: events' events
check 'podman: rm of a stopped one' stopped_removed
check 'podman: a container out of memory is told as such' memory_runs_out
check 'podman: a container with many options' options_run
check 'podman: --init' init_of_options
check 'podman: --read-only, --tmpfs' option root 'refused written'
check 'podman: volumes, read-only, named' volumes_of_options
check 'podman: --user, --cap-drop, no-new-privileges' option rights \
    'CapEff: 0000000000000000 CapBnd: 0000000000000000 NoNewPrivs: 1 1000'
check 'podman: --hostname, --sysctl, --device' option kernel 'inner 4321 a:e5'
check 'podman: --userns=auto' own_range
check 'podman: a pod of two' pod_start
check 'podman: a pod has a slice, with its limits' pod_slices
check 'podman: a pod shares namespaces' pod_shares
check 'podman: pod pause, unpause' pod_pause
check 'podman: pod rm leaves nothing' pod_removed
# podman's own work, and the longest: once is enough.
[ "$mode" = sid ] || check 'podman: kube play, with limits; generate, down' kube_play
check 'podman: health, by a timer of systemd' health
check 'podman: a quadlet that tells systemd when it is ready' quadlet
check 'podman: bridge network, a published port' bridge
check 'podman: nothing is left' nothing_of_podman_is_left
