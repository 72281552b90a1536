# shellcheck shell=bash disable=SC2317,SC2016 # sourced by `tests`; `check` calls functions by name
# AppArmor profiles of the container and of exec, seen and felt from inside.
guest init || return 0

for profile in vm-test vm-other; do
    echo "profile $profile flags=(attach_disconnected,mediate_deleted) {
        file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,
        deny /bin/$profile r,
    }"
done >/tmp/profiles
check 'AppArmor takes two profiles' apparmor_parser --replace --skip-cache /tmp/profiles

# confined WORD COMMAND...: the command, in the container, is under the profile WORD, and cannot read its file.
confined() {
    local profile=$1 other=vm-other said
    shift
    [ "$profile" = vm-test ] || other=vm-test
    said=$("$@" sh -c 'read -r line </proc/self/attr/current; echo "$line"; cat "/bin/$1" || cat "/bin/$2"' sh "$profile" "$other" 2>&1)
    [ "$said" = "$profile (enforce)
cat: can't open '/bin/$profile': Permission denied
file of $other" ] || { echo "it said: $said" && return 1; }
}

run_box() { # run_box COMMAND...
    bundle /tmp/box '.process.apparmorProfile = "vm-test" | .process.args = $ARGS.positional' "$@" || return 1
    /share/nucleus run --bundle /tmp/box box </dev/null
}

files_to_deny() {
    bundle /tmp/box || return 1
    for profile in vm-test vm-other; do echo "file of $profile" >"/tmp/box/rootfs/bin/$profile"; done
}

exec_box() {
    local bad=0
    box '.process.apparmorProfile = "vm-test"' || return 1
    confined vm-test /share/nucleus exec box || bad=1
    confined vm-other /share/nucleus exec --apparmor vm-other box || bad=1
    refused 'process.apparmorProfile: AppArmor does not take "not-loaded" (is it loaded?): no such file or directory' \
        /share/nucleus exec --apparmor not-loaded box true || bad=1
    [ "$(/share/nucleus ps box | wc -l)" = 2 ] || { echo "the refused exec has left a process" && bad=1; }
    /share/nucleus delete --force box || bad=1
    return $bad
}

not_loaded() {
    bundle /tmp/box '.process.apparmorProfile = "not-loaded" | .linux.cgroupsPath = "/vm-test/none"' || return 1
    refused 'process.apparmorProfile: AppArmor does not take "not-loaded" (is it loaded?): no such file or directory' \
        /share/nucleus create --bundle /tmp/box box || return 1
    nothing_left
}

files_to_deny
check 'AppArmor confines the program of a container' confined vm-test run_box
check 'AppArmor confines what exec adds, by its own profile where it names one' exec_box
check 'a profile that is not loaded is an error, and nothing is left' not_loaded
