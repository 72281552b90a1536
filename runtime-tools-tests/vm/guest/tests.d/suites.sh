# shellcheck shell=bash disable=SC2154 # sourced by `tests`
# The workspace's own tests, where pure cgroup v2 makes a difference to them: what has no control groups in it, a host shows
# as well.
case $mode in
init)
    check 'an RDMA device' rdma_device
    scenarios ' v2'
    suite verbs
    suite lifecycle
    suite config cgroups:: devices:: scheduling::
    suite exec place:: rights::
    ;;
systemd)
    scenarios {joins-and-removes,limits-read-back,kill-all-leaves-none,freezes-and-thaws,memory-limit-kills}' v2'
    suite verbs pause:: update::
    ;;
esac
