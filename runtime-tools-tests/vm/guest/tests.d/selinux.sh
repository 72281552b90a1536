# shellcheck shell=bash disable=SC2317,SC2086 # sourced by `tests`; `check` calls functions by name
# SELinux labels of processes, mounts and keyrings. The policy (guest/policy.cil) permits everything, so labels are looked at.
guest hybrid || return 0

label=system_u:system_r:container_t:s0:c1,c2
other=system_u:system_r:container_t:s0:c2
files=system_u:object_r:container_file_t:s0:c1,c2

is() { [ "$1" = "$2" ] || { echo "'$1' is not '$2'" && return 1; }; }

labels_of_a_container() {
    local bad=0 key pid said
    box '.process.selinuxLabel = "'$label'" | .linux.mountLabel = "'$files'"' || return 1
    pid=$(/share/nucleus state box | jq .pid)
    is "$(tr -d '\0' <"/proc/$pid/attr/current")" $label || bad=1
    is "$(/share/nucleus exec box cat /proc/self/attr/current | tr -d '\0')" $label || bad=1
    is "$(/share/nucleus exec --process-label $other box cat /proc/self/attr/current | tr -d '\0')" $other || bad=1
    # /dev, /dev/pts and /dev/shm, in the kernel's list and on a file.
    said=$(/share/nucleus exec box cat /proc/self/mountinfo | awk '$4 == "/" && /context="'$files'"/ { printf "%s ", $5 }')
    is "$said" '/dev /dev/pts /dev/shm ' || bad=1
    is "$(stat -c %C "/proc/$pid/root/dev/null")" $files || bad=1
    key=$(awk '$8 == "keyring" && /_ses.box:|box:/ { print $1; exit }' /proc/keys)
    is "$(keyctl security "0x$key" | tr -d '\0')" $label || { cat /proc/keys; bad=1; }
    /share/nucleus delete --force box || bad=1
    return $bad
}

unknown_label() {
    bundle /tmp/box ".$1"' = "system_u:system_r:no_such_t:s0" | .linux.cgroupsPath = "/vm-test/none"' || return 1
    refused "$1: $2" /share/nucleus create --bundle /tmp/box box || return 1
    nothing_left
}

check 'SELinux labels of processes, mounts and the keyring' labels_of_a_container
check 'a label that the policy does not know is an error, and nothing is left' unknown_label process.selinuxLabel \
    'SELinux does not take "system_u:system_r:no_such_t:s0"'
