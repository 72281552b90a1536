# shellcheck shell=bash
# What the scripts that use podman's storage and configuration share: podman.sh, podman-rootless.sh and build.sh.
# shellcheck disable=SC2154,SC2034,SC2317 # here, WORK: lib.sh; the settings are for common.sh and the callers

E=podman
I=localhost/busybox
default_caps=00000000800405fb
remove() { podman rm -f -t 0 "$@"; }

# The settings that is documented, in FILE, and what this sandbox needs beside them: no journal and no systemd.
podman_config() { # FILE [LINE OF [containers]...]
    # Podman's own default limit, where there is nothing to limit with.
    has_limits || set -- "$@" 'pids_limit = 0'
    mkdir -p /etc/containers/containers.conf.d "$(dirname "$1")"
    # shellcheck disable=SC2094 # the first is a name in a document
    documented_file /etc/containers/containers.conf.d/nucleus.conf >"$1"
    printf '%s\n' '[containers]' 'log_driver = "k8s-file"' "${@:2}" '[engine]' 'cgroup_manager = "cgroupfs"' \
        'events_logger = "file"' '[network]' 'network_backend = "netavark"' >/etc/containers/containers.conf.d/zz-judge.conf
}

# Rootful podman, with all that it keeps in the sandbox. It asks for limits that not every host may grant.
podman_rootful() {
    local files procs
    files=$(ulimit -Hn)
    procs=$(ulimit -Hu)
    [ "$procs" != unlimited ] && [ "$procs" -lt 32768 ] || procs=32768
    podman_config /etc/containers/containers.conf.d/nucleus.conf \
        "default_ulimits = [\"nofile=$files:$files\", \"nproc=$procs:$procs\"]"
    printf '[storage]\ndriver = "overlay"\ngraphroot = "%s"\nrunroot = "%s"\n' "$WORK/storage" "$WORK/runroot" \
        >/etc/containers/storage.conf
    echo 'containers:1000000:1000000' >>/etc/subuid # for --userns auto
    echo 'containers:1000000:1000000' >>/etc/subgid
    "$here/images.sh" "$WORK/busybox.tar"
    podman load -q -i "$WORK/busybox.tar"
    podman run --rm "$I" true # makes podman's own mounts
}

clear_all() {
    podman pod rm -f -t 0 -a
    podman rm -f -t 0 -a
}

# The directory `build` that the documents mention: two stages, a mount, a user.
containerfile() {
    mkdir -p build
    cat >build/Containerfile <<-END
	FROM $I AS first
	RUN id -u >/built && mkdir /made
	ENV A=b
	WORKDIR /made
	RUN --mount=type=tmpfs,target=/scratch pwd >where && touch /scratch/x && echo \$A >>where
	USER tester
	RUN id -un >/tmp/who
	FROM $I
	COPY --from=first /built /made/where /tmp/who /
	CMD cat /built /where /who
	END
}

# A pod without the pause image, which podman would build.
infra=(--infra-image localhost/busybox --infra-command 'sleep 1000000')

step_pod() {
    local ns
    podman pod create --name pod --hostname podhost "${infra[@]}"
    podman run -d --pod pod --name one "$I" sh -c 'echo served >/tmp/index.html; exec httpd -f -p 8080 -h /tmp'
    podman run -d --pod pod --name two "$I" sleep 1000
    until_true 20 podman exec two wget -q -O - http://127.0.0.1:8080/index.html
    want "$(podman exec two hostname)" podhost
    for ns in net ipc uts; do
        want "$(podman exec one readlink "/proc/self/ns/$ns")" "$(podman exec two readlink "/proc/self/ns/$ns")" "$ns"
    done
    differ "$(podman exec one readlink /proc/self/ns/mnt)" "$(podman exec two readlink /proc/self/ns/mnt)"
    podman pod stop -t 0 pod
    want "$(state one Status)" exited
    podman pod start pod
    want "$(state two Status)" running
    podman pod rm -f -t 0 pod
    all_gone
}
