"""Situations that users of OCI runtimes have reported, in the form of situations.py, which adds them to its own."""
import json

from configs import base, bind, mount

HOST = '/run/judge/host/'
BUNDLE = '/run/judge/bundle/'
PAUSE = {'process.args': ['/probe', 'pause']}
USER = {'process.user': {'uid': 1000, 'gid': 1000}}


def look(*paths):
    """The program reports these paths as well."""
    return {'process.args': ['/probe', *(word for path in paths for word in ('-p', path))]}


def hook(script):
    return {'path': '/bin/sh', 'args': ['sh', '-c', script], 'env': ['PATH=/usr/sbin:/usr/bin:/sbin:/bin']}


def namespace(kind, path):
    """One of the base's namespaces, joined by path."""
    return {'linux.namespaces': [{**one, 'path': path} if one['type'] == kind else one for one in base()['linux']['namespaces']]}


def mounts_but(prefix, *more):
    return {'mounts': [one for one in base()['mounts'] if not one['destination'].startswith(prefix)] + list(more)}


def file_of(text, name):
    """A command that writes this text to a file of the bundle."""
    return f"cat >{name} <<'END'\n{text}\nEND"


OVERLAY = ['mkdir up wk ov', 'mount -t tmpfs o wk', 'mkdir wk/up wk/wk', 'mount -t overlay o -o lowerdir=rootfs,upperdir=wk/up,workdir=wk/wk ov']
ROOT = {
    'root-link': ({'root.path': 'link'}, {'prepare': ['ln -s rootfs link']}),
    'root-dots': ({'root.path': 'sub/../rootfs'}, {'prepare': ['mkdir sub']}),
    'root-slashes': ({'root.path': './/rootfs/'}, {}),
    'root-absolute': ({'root.path': BUNDLE + 'rootfs'}, {}),
    'root-below-link': ({'root.path': '/run/judge/self/bundle/rootfs'}, {'prepare': ['ln -s /run/judge /run/judge/self']}),
    'root-missing': ({'root.path': 'nowhere'}, {}),
    'root-file': ({'root.path': 'config.json'}, {}),
    'root-medium': ({'root.readonly': True, 'mounts+': [mount('/mnt'), bind('/run/judge/host/plain/inside.txt', '/text', 'bind', 'ro')]}, {
        'prepare': ['mkdir rootfs/dev/pts rootfs/dev/shm rootfs/dev/mqueue', 'mount --bind rootfs rootfs', 'mount -o remount,ro,bind rootfs']}),
    'root-medium-missing': ({'root.readonly': True, 'mounts+': [mount('/missing/there')]}, {
        'prepare': ['mount --bind rootfs rootfs', 'mount -o remount,ro,bind rootfs']}),
    'root-locked': ({'root.readonly': True}, {'kinds': ['root', 'userns', 'rootless'], 'prepare': [
        'mount --bind rootfs rootfs', 'mount -o remount,bind,nosuid,nodev,noatime rootfs']}),
    'root-ramfs': ({'root.path': 'ram'}, {'prepare': ['mkdir ram', 'mount -t ramfs r ram', 'cp -a rootfs/. ram']}),
    'root-ramfs-no-pivot': ({'root.path': 'ram'}, {'flags': ['--no-pivot'], 'prepare': [
        'mkdir ram', 'mount -t ramfs r ram', 'cp -a rootfs/. ram']}),
    'root-overlay': ({'root.path': 'ov'}, {'kinds': ['root', 'userns'], 'prepare': [*OVERLAY, 'chown -R 100000:100000 ov']}),
    'root-of-the-host': ({'root': {'path': '/', 'readonly': True}, 'process.args': ['/run/judge/probe', '-o', '/run/judge/out/view'],
                          'linux.maskedPaths': [], 'linux.readonlyPaths': [], 'mounts': [mount('/proc', 'proc')]},
                         {'after': 'ls -l --time-style=+ /dev; grep -c . /proc/self/mountinfo'}),
    'state-noexec': ({}, {'prepare': ['mount -t tmpfs -o noexec,nosuid,nodev,mode=700 s /run/judge/state']}),
    'state-readonly': ({}, {'prepare': ['mount -t tmpfs -o ro,mode=700 s /run/judge/state']}),
    'state-full': ({}, {'prepare': ['mount -t tmpfs -o size=64k,mode=700 s /run/judge/state',
                                    'head -c 70000 /dev/zero >/run/judge/state/full 2>/dev/null || true']}),
    'state-no-inodes': ({}, {'prepare': ['mount -t tmpfs -o nr_inodes=4,mode=700 s /run/judge/state', 'cd /run/judge/state; touch a b c']}),
}

COPIED = ['ln -s /nix/store/$(printf x%.0s $(seq 200)) rootfs/masked/long', 'mkdir -m 2750 rootfs/masked/sub', 'touch rootfs/masked/sub/f',
          'chown 12:34 rootfs/masked/sub', 'chmod 4711 rootfs/masked/inside', 'mkfifo rootfs/masked/pipe', 'chmod 1733 rootfs/masked']
ODD_PATHS = ['mkdir -p rootfs/m/d rootfs/m/e', 'echo s | tee rootfs/m/f rootfs/m/d/x >rootfs/m/e/x', 'ln -s /m/f rootfs/m/lf', 'ln -s /gone rootfs/m/gone']
MOUNTS = {
    'tmpfs-below-link': ({'mounts+': [mount('/link/stack', 'tmpfs', 'noexec'), mount('/dangling/deep')]}, {'after': 'ls -d /nowhere /data 2>&1'}),
    'tmpfs-copyup-all': ({'mounts+': [mount('/masked', 'tmpfs', 'tmpcopyup', 'rw')], **look(
        *('/masked/' + name for name in ('long', 'sub', 'sub/f', 'inside', 'pipe')))}, {'prepare': COPIED}),
    'tmpfs-options-more': ({'mounts+': [mount('/new', 'tmpfs', 'iversion', 'mand', 'lazytime', 'dirsync', 'silent')]}, {}),
    'tmpfs-options-off': ({'mounts+': [mount('/new', 'tmpfs', 'noiversion', 'nomand', 'nolazytime', 'async', 'loud')]}, {}),
    'bind-medium-rw': ({'mounts+': [bind(HOST + 'medium', '/data', 'bind', 'rw', 'nosuid', 'nodev')]}, {'prepare': [
        'mkdir /run/judge/host/medium', 'mount -t tmpfs m /run/judge/host/medium', 'echo data >/run/judge/host/medium/inside.txt',
        'mount -o remount,ro /run/judge/host/medium']}),
    'bind-readonly-rw': ({'mounts+': [bind(HOST + 'readonly', '/data', 'bind', 'rw')]}, {'kinds': ['root', 'userns']}),
    'bind-type-none': ({'mounts+': [{**bind(HOST + 'locked', '/data', 'bind'), 'type': 'none'}]}, {}),
    'bind-type-empty': ({'mounts+': [{**bind(HOST + 'locked', '/data', 'bind'), 'type': ''}]}, {}),
    'bind-no-option': ({'mounts+': [bind(HOST + 'locked', '/data')]}, {}),
    'bind-in-bundle': ({'mounts+': [bind('own', '/data', 'bind')]}, {'prepare': ['mkdir own', 'echo own >own/inside.txt']}),
    'bind-dots': ({'mounts+': [bind(HOST + 'locked', '/data/../data/', 'bind')]}, {}),
    'bind-above': ({'mounts+': [bind(HOST + 'locked', '/../../new', 'bind')]}, {}),
    'bind-no-links': ({'mounts+': [bind(HOST + 'locked', '/data', 'bind', 'nosymfollow')]}, {}),
    'bind-many-options': ({'mounts+': [bind(HOST + 'locked/inside.txt', '/text', 'bind', 'ro', 'nosuid', 'relatime', 'private')]}, {}),
    'mount-below-file': ({'mounts+': [mount('/text/below')]}, {}),
    'propagation-unknown': ({'linux.rootfsPropagation': 'bogus'}, {}),
    'propagation-runbindable': ({'linux.rootfsPropagation': 'runbindable'}, {}),
    'proc-hidepid': ({'mounts.0.options': ['hidepid=2', 'gid=5', 'nosuid']}, {}),
    'proc-subset': ({'mounts.0.options': ['subset=pid'], **USER}, {}),
    'proc-second': ({'mounts+': [mount('/p2', 'proc', 'ro', 'nosuid')]}, {}),
    'proc-hidden': ({'mounts+': [mount('/proc')]}, {}),
    'no-proc': ({**mounts_but('/proc'), 'linux.maskedPaths': [], 'linux.readonlyPaths': []}, {'ways': ['create', 'exec'], 'prepare': ['rmdir rootfs/proc']}),
    'mount-cgroup2': ({'mounts+': [mount('/sys/fs/cgroup', 'cgroup2', 'ro')]}, {'layouts': ['v1', 'v2']}),
    'masked-odd': ({'linux.maskedPaths+': ['/nope', '/m/f/below', '/m/f', '/m/d', '/m/gone', '/m/d/x', '/m/f'],
                    'linux.readonlyPaths+': ['/fake', '/m/e', '/m/e', '/m/f/below2', '/m/gone', '/proc/nothere/x'],
                    **look('/m/f', '/m/lf', '/m/d/x', '/m/e/x')}, {'prepare': ODD_PATHS}),
    'masked-relative': ({'linux.maskedPaths': ['masked']}, {}),
    'idmap-bind': ({'mounts+': [{**bind(HOST + 'locked', '/data', 'rbind', word), 'uidMappings': [{'containerID': 0, 'hostID': 5000, 'size': 1000}],
                                 'gidMappings': [{'containerID': 0, 'hostID': 5000, 'size': 1000}]} for word in ('idmap', 'ridmap')],
                    **look('/data/sub', '/data/sub/inside.txt')}, {}),
    'idmap-bind-one': ({'mounts+': [{**bind(HOST + 'locked', '/data', 'rbind', 'idmap'), 'uidMappings': [{'containerID': 0, 'hostID': 5000, 'size': 1000}],
                                     'gidMappings': [{'containerID': 0, 'hostID': 5000, 'size': 1000}]}],
                        **look('/data/sub', '/data/sub/inside.txt')}, {}),
}

TUN = {'type': 'c', 'major': 1, 'minor': 5}

DEVICES = {
    'no-dev': ({**mounts_but('/dev')}, {'ways': ['create', 'exec']}),
    'no-dev-plain-null': ({**mounts_but('/dev')}, {'prepare': ['echo plain >rootfs/dev/null']}),
    'no-dev-link-null': ({**mounts_but('/dev')}, {'prepare': ['echo precious >/run/judge/victim', 'ln -s /run/judge/victim rootfs/dev/null'],
                                                  'after': 'ls -l --time-style=+ /run/judge/victim; cat /run/judge/victim'}),
    'no-dev-link': ({**mounts_but('/dev')}, {'prepare': ['rmdir rootfs/dev', 'ln -s /etc rootfs/dev']}),
    'no-dev-terminal': ({**mounts_but('/dev'), 'process.terminal': True, 'process.args': ['/probe', '-o', '/run/judge/out/view']}, {}),
    'no-dev-terminal-readonly': ({**mounts_but('/dev'), 'root.readonly': True, 'process.terminal': True,
                                  'process.args': ['/probe', '-o', '/run/judge/out/view']}, {}),
    'dev-bind': ({**mounts_but('/dev', bind(HOST + 'dev', '/dev', 'rbind', 'rprivate'))}, {
        'prepare': ['mkdir -p /run/judge/host/dev/pts /run/judge/host/dev/shm', 'cp -a /dev/null /dev/zero /run/judge/host/dev',
                    'chmod 640 /run/judge/host/dev/zero', 'ln -s pts/other /run/judge/host/dev/ptmx'],
        'after': "ls -lAR --time-style=+ /run/judge/host/dev | sed 's/^total .*//'"}),
    'terminal': ({'process.terminal': True, 'process.consoleSize': {'height': 17, 'width': 133},
                  'process.args': ['/probe', '-o', '/run/judge/out/view']}, {'kinds': ['root', 'userns', 'rootless']}),
    'terminal-user': ({'process.terminal': True, **USER, 'process.args': ['/probe', '-o', '/run/judge/out/view']}, {}),
    'exec-tty': (PAUSE, {'ways': ['exec'], 'exec': ['--tty']}),
    'device-block': ({'linux.devices': [{'path': '/dev/blk', 'type': 'b', 'major': 7, 'minor': 0, 'fileMode': 0o600}], **look('/dev/blk')}, {}),
    'device-deep-owner': ({'linux.devices': [{**TUN, 'path': '/dev/sub/deep/z', 'fileMode': 0o640, 'uid': 1000, 'gid': 5}], **look('/dev/sub/deep/z')}, {}),
    'device-outside-dev': ({'linux.devices': [{**TUN, 'path': '/odd/full'}], **look('/odd', '/odd/full')}, {}),
    'device-default-again': ({'linux.devices': [{'path': '/dev/null', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 0o666, 'uid': 0, 'gid': 0}]}, {}),
    'device-unbuffered': ({'linux.devices': [{**TUN, 'path': '/dev/zero2', 'type': 'u'}]}, {}),
    'device-relative': ({'linux.devices': [{**TUN, 'path': 'dev/rel'}], **look('/dev/rel', '/dev/dev/rel')}, {}),
    'device-kind-unknown': ({'linux.devices': [{**TUN, 'path': '/dev/x', 'type': 'q'}]}, {}),
    'device-no-number': ({'linux.devices': [{'path': '/dev/x', 'type': 'c'}], **look('/dev/x')}, {}),
}

SECTION = {'args': ['/probe'], 'cwd': '/'}
CAPABILITY = ("python3 -c \"import os, struct; os.setxattr('rootfs/bin/probe', 'security.capability', "
              "struct.pack('<IIIII', 0x02000001, 1 << 10, 0, 0, 0))\"")
CALLS = ['/probe', 'then', '/bin/probe']
PROGRAMS = {
    'args-noexec': ({'mounts+': [bind(HOST + 'noexec', '/data', 'bind', 'noexec')], 'process.args': ['/data/probe']},
                    {'ways': ['create', 'run'], 'prepare': ['cp /run/judge/probe /run/judge/host/noexec/probe']}),
    'args-below-file': ({'process.args': ['/text/x']}, {'ways': ['create', 'run']}),
    'args-dots': ({'process.args': ['..']}, {}),
    'args-slash': ({'process.args': ['/']}, {}),
    'args-empty': ({'process.args': ['']}, {}),
    'exec-noexec': ({'mounts+': [bind(HOST + 'noexec', '/data', 'bind', 'noexec')], **PAUSE},
                    {'ways': ['exec'], 'command': ['/data/probe'], 'prepare': ['cp /run/judge/probe /run/judge/host/noexec/probe']}),
    'env-large': ({'process.env': ['PATH=/bin', 'BIG=' + 'x' * 4000, *(f'V{n}={"y" * 40}' for n in range(500))]}, {}),
    'env-too-large': ({'process.env': ['PATH=/bin', 'BIG=' + 'x' * 140000]}, {'ways': ['create', 'run']}),
    'env-too-much': ({'process.env': ['PATH=/bin', *(f'V{n}={"y" * 100000}' for n in range(70))]}, {'ways': ['create', 'run']}),
    'cwd-dots': ({'process.cwd': '/data/../tmp/.'}, {}),
    'cwd-outward': ({'process.cwd': '/outward'}, {}),
    'cwd-below-file': ({'process.cwd': '/text/x'}, {}),
    'cwd-empty': ({'process.cwd': ''}, {}),
    'cwd-own': ({**USER, 'process.cwd': '/mine', 'process.capabilities': {}}, {'prepare': ['mkdir -m 700 rootfs/mine', 'chown 1000:1000 rootfs/mine']}),
    'exec-cwd-own': ({**USER, 'process.cwd': '/mine', 'process.capabilities': {}, **PAUSE}, {
        'ways': ['exec'], 'exec': ['--user', '0:0'], 'prepare': ['mkdir -m 700 rootfs/mine', 'chown 1000:1000 rootfs/mine']}),
    'exec-cwd-link': (PAUSE, {'ways': ['exec'], 'exec': ['--cwd', '/link']}),
    'exec-cwd-outward': (PAUSE, {'ways': ['exec'], 'exec': ['--cwd', '/outward']}),
    'user-uid-alone': ({'process.user': {'uid': 1000}}, {}),
    **{f'exec-process-{name}': (PAUSE, {'ways': ['exec'], 'exec': ['--process', BUNDLE + 'process.json'], 'command': [],
                                        'prepare': [file_of(json.dumps(section), 'process.json')]}) for name, section in {
        'little': SECTION, 'empty-user': {**SECTION, 'user': {}}, 'uid-alone': {**SECTION, 'user': {'uid': 1000}},
        'no-cwd': {'args': ['/probe']}, 'no-args': {'cwd': '/'}}.items()},
    **{f'file-caps{suffix}': ({**USER, 'process.noNewPrivileges': bool(suffix), 'process.args': args}, {'prepare': [CAPABILITY]})
       for suffix, args in {'': ['/bin/probe'], '-no-new-privileges': ['/bin/probe']}.items()},
    'file-caps-later': ({**USER, 'process.noNewPrivileges': False, 'process.args': CALLS}, {'prepare': [CAPABILITY]}),
    **{f'suid{suffix}': ({**USER, 'process.noNewPrivileges': bool(suffix), 'process.args': ['/bin/probe']}, {'prepare': ['chmod 4755 rootfs/bin/probe']})
       for suffix in ('', '-no-new-privileges')},
    'rlimit-infinity': ({'process.rlimits': [{'type': 'RLIMIT_CORE', 'hard': 2 ** 64 - 1, 'soft': 0}]}, {'ways': ['create', 'exec']}),
    'rlimit-beyond': ({'process.rlimits': [{'type': 'RLIMIT_NOFILE', 'hard': 2 ** 40, 'soft': 1024}]}, {}),
    'oom-score-lower': ({'process.oomScoreAdj': -500}, {}),
    'keyring-quota': ({'linux.namespaces+': [{'type': 'user'}], 'linux.uidMappings': [{'containerID': 0, 'hostID': 234560, 'size': 10}],
                       'linux.gidMappings': [{'containerID': 0, 'hostID': 234560, 'size': 10}], 'mounts.2.options': ['newinstance']},
                      {'prepare': ['chown -R 234560:234560 rootfs', '/run/judge/probe fill-keys 234560 >keys 2>/dev/null &',
                                   'for i in $(seq 100); do [ -s keys ] && exit; sleep 0.1; done; exit 1']}),
}

PASSWD = {
    'no-newline': "printf '# comment\\n+::::::\\nbad line\\nx:x:abc:1::/bad:\\nuser:x:1000:1000::/home/one:/bin/sh'",
    'long-line': "printf 'long:x:5:5:%s:/l:\\nu:x:1000:1000::/home/two:/bin/sh\\n' $(head -c 100000 /dev/zero | tr '\\0' g)",
    'twice': "printf 'a:x:1000:1000::/first:\\nb:x:1000:1000::/second:\\n'",
    'empty-home': "printf 'a:x:1000:1000:::/bin/sh\\n'",
    'relative-home': "printf 'a:x:1000:1000::rel:/bin/sh\\n'",
    'crlf': "printf 'a:x:1000:1000::/home/x:/bin/sh\\r\\n'",
    'binary': "printf '\\000\\377binary:x:1000:1000::/bin\\n'",
}
PROGRAMS.update({f'passwd-{name}': (USER, {'prepare': [command + ' >rootfs/etc/passwd']}) for name, command in PASSWD.items()})


def wrapped(script):
    return ['sh', '-c', script + '; exec "$@"', 'sh']


CLOSED = 'case " $* " in *" create "*|*" run "*|*" exec "*) exec "$@" <&- >&- 2>&-;; esac'
CREATE_AND_MORE = ['create', 'run', 'exec']
CALLERS = {
    'caller-blocked': ({}, {'ways': CREATE_AND_MORE, 'wrapped': ['env', '--block-signal']}),
    'caller-sigchld': ({'hooks.createRuntime': [hook('exit 0')]}, {'ways': CREATE_AND_MORE, 'wrapped': ['env', '--ignore-signal=CHLD']}),
    'caller-umask': ({'mounts+': [mount('/new', 'tmpfs', 'mode=755'), mount('/made/deep')], **look('/made/deep')},
                     {'ways': ['create', 'exec'], 'wrapped': wrapped('umask 777')}),
    'caller-files': ({}, {'ways': ['create', 'exec'], 'wrapped': ['prlimit', '--nofile=30:20000']}),
    'caller-no-new-privileges': ({'process.noNewPrivileges': False}, {'wrapped': ['setpriv', '--no-new-privs']}),
    'caller-stack': ({}, {'wrapped': ['prlimit', '--stack=262144:']}),
    'caller-processes': ({}, {'wrapped': ['prlimit', '--nproc=10000:10000']}),
    'caller-no-environment': ({}, {'ways': ['create', 'exec'], 'wrapped': ['env', '-i']}),
    'caller-no-directory': ({}, {'ways': ['create', 'exec'], 'wrapped': wrapped('mkdir /tmp/judged.$$; cd /tmp/judged.$$; rmdir /tmp/judged.$$')}),
    'caller-nice': ({}, {'wrapped': ['nice', '-n', '7']}),
    'caller-affinity': ({}, {'ways': ['create', 'exec'], 'wrapped': ['taskset', '-c', '0']}),
    'caller-descriptors': ({'hooks.createRuntime': [{'path': '/run/judge/probe', 'args': ['probe', 'hook', '/run/judge/out', 'hook-createRuntime'],
                                                     'env': ['A=1']}]},
                           {'ways': CREATE_AND_MORE, 'wrapped': ['bash', '-c', 'exec 7</etc/hostname 19</etc/hostname 250</etc/hostname; exec "$@"', 'bash']}),
    'caller-closed': ({'process.args': ['/probe', '-o', '/run/judge/out/view']}, {
        'ways': ['create', 'run'], 'wrapped': wrapped(CLOSED)}),
}

NET_BY_PATH = ['touch /run/judge/net', 'unshare --net=/run/judge/net ip link add br.77 type bridge']
NAMESPACES = {
    'network-by-path': (namespace('network', '/run/judge/net'), {'prepare': ['touch /run/judge/net', 'unshare --net=/run/judge/net true']}),
    'namespace-of-another-kind': (namespace('network', '/proc/self/ns/uts'), {}),
    'namespace-plain-file': (namespace('network', BUNDLE + 'config.json'), {}),
    'namespace-missing': (namespace('network', '/nowhere'), {}),
    'hostname-long': ({'hostname': 'h' * 65}, {}),
    'sysctl-hostname': ({'linux.sysctl': {'kernel.hostname': 'h'}}, {}),
    'sysctl-ipc-host': ({'linux.namespaces': [one for one in base()['linux']['namespaces'] if one['type'] != 'ipc'],
                         'linux.sysctl': {'kernel.shm_rmid_forced': '0'}, **mounts_but('/dev/mqueue')}, {}),
    'sysctl-net-joined': ({**namespace('network', '/proc/1/ns/net'), 'linux.sysctl': {'net.ipv4.ip_forward': '0'}}, {}),
    'sysctl-climbs': ({'linux.sysctl': {'net/../vm/swappiness': '60'}}, {}),
    'sysctl-dots': ({'linux.sysctl': {'net.ipv4...kernel.panic': '0'}}, {}),
    'sysctl-missing': ({'linux.sysctl': {'net.ipv4.tcp_nosuchthing': '0'}}, {}),
    **{f'sysctl-{name}': ({**namespace('network', '/run/judge/net'), 'linux.sysctl': {key: '1'},
                           **look('/proc/sys/net/ipv4/conf/br.77/forwarding')}, {'prepare': NET_BY_PATH})
       for name, key in {'dotted': 'net/ipv4/conf/br.77/forwarding', 'dotted-mixed': 'net.ipv4.conf.br/77.forwarding'}.items()},
    'time-realtime': ({'linux.namespaces+': [{'type': 'time'}], 'linux.timeOffsets': {'realtime': {'secs': 1}}}, {}),
    'time-offsets-alone': ({'linux.timeOffsets': {'boottime': {'secs': 5, 'nanosecs': 0}}}, {}),
    'rootless-no-mappings': ({'linux.uidMappings-': None, 'linux.gidMappings-': None}, {'kinds': ['rootless']}),
    'rootless-no-user': ({'linux.uidMappings-': None, 'linux.gidMappings-': None, 'without': ['user']}, {'kinds': ['rootless']}),
    'rootless-not-root': ({'process.user': {'uid': 1000, 'gid': 1000}, 'process.capabilities': {},
                           'linux.uidMappings': [{'containerID': 1000, 'hostID': 1000, 'size': 1}],
                           'linux.gidMappings': [{'containerID': 1000, 'hostID': 1000, 'size': 1}]}, {'kinds': ['rootless']}),
}


def group(path, **more):
    return {'linux.cgroupsPath': path, 'without': ['cgroup'], **more}


def limits(**sections):
    return {f'linux.resources.{name}': value for name, value in sections.items()}


GROUPS = {
    **{f'cgroup-{name}': (group(path), {'layouts': ['v1', 'v2']}) for name, path in {
        'deep': '/pods/a/b/c/judged', 'colons': '/judged:x:y', 'space': '/with space/judged', 'slashes': '/pods//judged/', 'dot': '/pods/./judged',
        'slices': '/kubepods.slice/kubepods-pod1.slice/judged.scope', 'above': '/../../../judged', 'dots': '/pods/../judged'}.items()},
    'cgroup-taken': ({}, {'layouts': ['v1', 'v2'], 'prepare': [
        'sleep 1000 >/dev/null 2>&1 & for d in $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -exec dirname {} \\;); do mkdir $d/judged; '
        '[ ! -e $d/cpuset.cpus ] || { cat $d/cpuset.cpus >$d/judged/cpuset.cpus; cat $d/cpuset.mems >$d/judged/cpuset.mems; }; '
        'echo $! >$d/judged/cgroup.procs; done']}),
    'cgroup-below-threaded': ({'linux.cgroupsPath': '/parent/judged', 'without': ['cgroup']}, {'layouts': ['v2'], 'prepare': [
        'mkdir -p /sys/fs/cgroup/parent/t', 'echo threaded >/sys/fs/cgroup/parent/t/cgroup.type']}),
    'sections-empty': (limits(blockIO={}, network={}, rdma={}, hugepageLimits=[], unified={}, cpu={}, memory={}, pids={'limit': 0}), {'layouts': ['v1', 'v2']}),
    'hugepage-odd': (limits(hugepageLimits=[{'pageSize': '3MB', 'limit': 4096}]), {}),
    'cpu-realtime': (limits(cpu={'realtimePeriod': 1000000, 'realtimeRuntime': 100}), {}),
    'rdma': (limits(rdma={'mlx5_1': {'hcaHandles': 3}}), {}),
    'intel-rdt': ({'linux.intelRdt': {'closID': 'x', 'l3CacheSchema': 'L3:0=f'}}, {}),
    'unified-missing': (limits(unified={'memory.nosuch': '1'}), {'layouts': ['v1', 'v2']}),
    'unified-climbs': (limits(unified={'../../x': '1'}), {'layouts': ['v1', 'v2']}),
    'throttle-missing': (limits(blockIO={'throttleReadBpsDevice': [{'major': 250, 'minor': 250, 'rate': 1000}]}), {}),
    'cpus-missing': (limits(cpu={'cpus': '999'}), {}),
}


def profile(rules, **more):
    return {'linux.seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'architectures': ['SCMP_ARCH_X86_64'], 'syscalls': rules, **more}}


def rule(name, errno, *conditions):
    keys = ('index', 'value', 'op', 'valueTwo')
    return {'names': [name], 'action': 'SCMP_ACT_ERRNO', 'errnoRet': errno, 'args': [dict(zip(keys, one)) for one in conditions]}


BEFORE_EXEC = ['seccomp', 'acct', 'chdir', 'fchdir', 'mkdir', 'mkdirat', 'keyctl', 'setsid', 'clone3', 'capset', 'setgroups']
NOTIFY = [{'names': ['mkdir', 'mkdirat'], 'action': 'SCMP_ACT_NOTIFY'}]
EQUAL = 'SCMP_CMP_EQ'
SECCOMP = {
    'seccomp-arguments': (profile([
        rule('getpriority', 12, (0, 1 << 32, EQUAL)), rule('getpriority', 13, (0, 1, EQUAL)),
        rule('dup3', 11, (0, 77, EQUAL), (1, 78, EQUAL)), rule('flock', 15, (0, 605, EQUAL), (0, 606, EQUAL)),
        rule('umask', 16, (0, 0x30, 'SCMP_CMP_MASKED_EQ', 0x10)),
        {'names': ['no_such_call', 'bpf'], 'action': 'SCMP_ACT_ERRNO'}]), {}),
    'seccomp-before-exec': ({**profile([{'names': BEFORE_EXEC, 'action': 'SCMP_ACT_ERRNO'}]), **USER}, {'ways': ['create', 'exec']}),
    'seccomp-before-exec-privileges': ({**profile([{'names': BEFORE_EXEC[:9], 'action': 'SCMP_ACT_ERRNO'}]), **USER,
                                        'process.noNewPrivileges': False, 'process.capabilities': {}}, {'ways': ['create', 'exec']}),
    'seccomp-flags': (profile(NOTIFY[:0], flags=['SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW']), {}),
    'seccomp-flag-unknown': (profile(NOTIFY[:0], flags=['SECCOMP_FILTER_FLAG_BOGUS']), {}),
    'seccomp-action-unknown': (profile([{'names': ['mkdir'], 'action': 'SCMP_ACT_BOGUS'}]), {}),
    'seccomp-kills': ({**profile([{'names': ['exit_group'], 'action': 'SCMP_ACT_KILL_PROCESS'}]), 'process.args': ['/probe', 'exit', '3']}, {'ways': ['create', 'run']}),
    'seccomp-notify': (profile(NOTIFY), {}),
    'seccomp-notify-nobody': (profile(NOTIFY, listenerPath='/run/judge/nobody'), {}),
    'seccomp-notify-file': (profile(NOTIFY, listenerPath=BUNDLE + 'config.json'), {}),
}

INSIDE = ("pid=$(grep -o '\"pid\": *[0-9]*' | grep -o '[0-9]*'); nsenter -m -t $pid sh -c "
          "'test -e /run/judge/bundle/rootfs/proc/version && touch /run/judge/bundle/rootfs/by-{0}'")
HOOKS = {
    'hooks-before-readonly': ({'root.readonly': True, 'hooks': {
        'prestart': [hook(INSIDE.format('prestart'))], 'createRuntime': [hook(INSIDE.format('createRuntime'))],
        'createContainer': [hook('cd /run/judge/bundle/rootfs; test -e proc/version && test -d dev/pts && touch by-createContainer')]},
        **look('/by-prestart', '/by-createRuntime', '/by-createContainer')}, {}),
    'hook-loud': ({'hooks.createRuntime': [hook('exec 0<&-; head -c 300000 /dev/zero | tee /dev/stderr')]}, {}),
    'hook-loud-failing': ({'hooks.createRuntime': [hook('head -c 3000000 /dev/zero | tr "\\0" y >&2; exit 3')]}, {}),
    'hook-timeout': ({'hooks.createRuntime': [{**hook('exec sleep 62'), 'timeout': 1}]}, {'ways': ['create', 'run']}),
}

# What becomes of config.json before the runtime reads it.
DAMAGE = {
    'null': 'echo null >config.json', 'list': "echo '[]' >config.json", 'empty': ': >config.json', 'braces': "echo '{}' >config.json",
    'bom': "printf '\\357\\273\\277' | cat - config.json >x; mv x config.json",
    'crlf': "python3 -m json.tool config.json | sed 's/$/\\r/' >x; mv x config.json",
    'duplicate': "sed -i 's/\"hostname\"/\"hostname\": \"one\", \"hostname\"/' config.json",
    'comment': "sed -i '1s/{/{ \\/\\/ c/' config.json", 'trailing': 'echo garbage >>config.json', 'trailing-comma': "sed -i 's/}$/,}/' config.json",
    'cut': 'head -c 500 config.json >x; mv x config.json', 'directory': 'rm config.json; mkdir config.json', 'fifo': 'rm config.json; mkfifo config.json',
    'device': 'ln -sf /dev/zero config.json', 'link': 'mv config.json x; ln -s x config.json', 'loop': 'rm config.json; ln -s config.json config.json',
    'missing': 'rm config.json', 'deep': "head -c 200000 /dev/zero | tr '\\0' '[' >config.json",
    **{name: f"sed -i 's/\"uid\": 0/\"uid\": {value}/' config.json" for name, value in {
        'float': '0.0', 'exponent': '1e0', 'minus': '-1', 'too-large': '4294967296', 'string': '\\"0\\"'}.items()},
}
DAMAGED = {f'config-{name}': ({}, {'prepare': [command]}) for name, command in DAMAGE.items()}

ROWS = {**ROOT, **MOUNTS, **DEVICES, **PROGRAMS, **CALLERS, **NAMESPACES, **GROUPS, **SECCOMP, **HOOKS, **DAMAGED}
