# shellcheck shell=bash disable=SC2154 # sourced by `tests`
# The workspace's own tests, on pure cgroup v2.
case $mode in
init)
    scenarios ' v2'
    suite verbs
    suite config
    suite lifecycle
    suite exec
    ;;
systemd)
    scenarios {joins-and-removes,limits-read-back,kill-all-leaves-none,freezes-and-thaws,memory-limit-kills}' v2'
    suite verbs pause:: update::
    suite run
    ;;
esac
