"""The situations: what of config.json changes, and in which ways, kinds, and layouts each is played. One place, read by judge.py.

A row is NAME: (changes, more). `more` may hold `ways`, `kinds`, `layouts`, and for play.py `stdin`, `prepare`, `wrapped`, `flags` (of
`create` and `run`), `exec` (its flags), `command`, and `after` (a command whose output is compared).
"""
import golden
import reported
from configs import bind, mount

EXEC_ARGS = {'process.args': ['/probe', 'pause']}
HOST = '/run/judge/host/'
CAPS = ('bounding', 'effective', 'permitted', 'inheritable', 'ambient')


def caps(**sets):
    return {f'process.capabilities.{name}': value for name, value in sets.items()}


def without(*kinds):
    return {'without': list(kinds)}


def hook(kind, *extra, **more):
    path = '/probe' if kind == 'startContainer' else '/run/judge/probe'
    return {f'hooks.{kind}': [{'path': path, 'args': ['probe', 'hook', '/run/judge/out', 'hook-' + kind, *extra], **more}]}


def seccomp(action='SCMP_ACT_ERRNO', names=('getcwd',), **more):
    return {'linux.seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [{'names': list(names), 'action': action}], **more}}


ALLOWED = ['read', 'write', 'openat', 'open', 'close', 'fstat', 'newfstatat', 'lstat', 'stat', 'mmap', 'munmap', 'brk', 'exit_group',
           'ioctl', 'fcntl', 'getdents64', 'readlink', 'readlinkat', 'execve', 'prctl', 'rt_sigaction', 'rt_sigprocmask', 'getpid',
           'getrlimit', 'prlimit64', 'getgroups', 'getresuid', 'getresgid', 'getuid', 'getgid', 'uname', 'umask', 'getcwd', 'lseek',
           'futex', 'arch_prctl', 'set_tid_address', 'set_robust_list', 'rseq', 'mprotect', 'getrandom', 'capset', 'capget', 'setuid',
           'setgid', 'setgroups', 'setresuid', 'setresgid', 'chdir', 'clock_gettime', 'getppid', 'getpgrp', 'getsid', 'faccessat',
           'access', 'pread64', 'writev', 'epoll_ctl', 'epoll_pwait', 'epoll_create1', 'nanosleep', 'tgkill', 'gettid', 'clone',
           'sched_yield', 'sched_getaffinity', 'rt_sigreturn', 'sigaltstack', 'pipe2', 'dup3', 'dup2', 'statx', 'fchown', 'eventfd2',
           'madvise', 'wait4', 'poll', 'ppoll', 'sendto', 'recvfrom', 'sendmsg', 'recvmsg', 'fstatfs', 'statfs', 'openat2', 'close_range',
           'faccessat2', 'exit']

ROWS = {
    'plain': ({}, {'kinds': ['root', 'userns', 'rootless'], 'layouts': ['v1', 'hybrid', 'v2'], 'ways': ['create', 'run', 'exec']}),
    # --- users and rights
    'user': ({'process.user': {'uid': 1000, 'gid': 1000}}, {'ways': ['create', 'run', 'exec'], 'kinds': ['root', 'userns']}),
    'user-groups': ({'process.user': {'uid': 1000, 'gid': 1000, 'additionalGids': [5, 2000]}}, {'kinds': ['root', 'userns']}),
    'user-umask': ({'process.user': {'uid': 0, 'gid': 0, 'umask': 0o27}}, {'ways': ['create', 'exec']}),
    'user-unknown': ({'process.user': {'uid': 4711, 'gid': 4712}}, {'ways': ['create', 'exec']}),
    'user-relative-home': ({'process.user': {'uid': 1001, 'gid': 1001}}, {}),
    'user-secret-cwd': ({'process.user': {'uid': 1000, 'gid': 1000}, 'process.cwd': '/secret'}, {}),
    'no-user': ({'process.user-': None}, {}),
    'caps-none': ({'process.capabilities': {}}, {'ways': ['create', 'exec']}),
    'caps-absent': ({'process.capabilities-': None}, {'ways': ['create', 'exec']}),
    'caps-inheritable': (caps(inheritable=['CAP_KILL', 'CAP_CHOWN']), {'ways': ['create', 'exec']}),
    'caps-ambient': ({**caps(inheritable=['CAP_KILL'], ambient=['CAP_KILL']), 'process.user': {'uid': 1000, 'gid': 1000}}, {'ways': ['create', 'exec']}),
    'caps-ambient-alone': (caps(ambient=['CAP_KILL']), {}),
    'caps-bounding-less': (caps(bounding=['CAP_KILL'], effective=['CAP_KILL'], permitted=['CAP_KILL']), {'ways': ['create', 'exec']}),
    'caps-unknown': (caps(bounding=['CAP_KILL', 'CAP_NO_SUCH'], effective=['CAP_KILL'], permitted=['CAP_KILL']), {}),
    'new-privileges': ({'process.noNewPrivileges': False}, {'ways': ['create', 'exec']}),
    'rlimits': ({'process.rlimits': [{'type': 'RLIMIT_CORE', 'hard': 0, 'soft': 0}, {'type': 'RLIMIT_NOFILE', 'hard': 600, 'soft': 500},
                                     {'type': 'RLIMIT_STACK', 'hard': 16777216, 'soft': 8388608}]}, {'ways': ['create', 'exec']}),
    'rlimit-twice': ({'process.rlimits+': [{'type': 'RLIMIT_NOFILE', 'hard': 600, 'soft': 500}]}, {}),
    'rlimit-unknown': ({'process.rlimits': [{'type': 'RLIMIT_NO', 'hard': 1, 'soft': 1}]}, {}),
    'rlimit-soft-above': ({'process.rlimits': [{'type': 'RLIMIT_NOFILE', 'hard': 100, 'soft': 200}]}, {}),
    # --- the program
    'env': ({'process.env': ['PATH=/bin', 'A=1', 'A=2', 'EMPTY=', 'HOME=/somewhere']}, {'ways': ['create', 'exec']}),
    'env-home-empty': ({'process.env': ['PATH=/bin', 'HOME=']}, {'ways': ['create', 'exec']}),
    'env-none': ({'process.env': []}, {}),
    'cwd': ({'process.cwd': '/tmp'}, {'ways': ['create', 'exec']}),
    'cwd-missing': ({'process.cwd': '/made/by/runtime'}, {}),
    'cwd-link': ({'process.cwd': '/link'}, {}),
    'cwd-relative': ({'process.cwd': 'tmp'}, {}),
    'cwd-file': ({'process.cwd': '/text'}, {}),
    'args-path': ({'process.args': ['probe']}, {'ways': ['create', 'run']}),
    'args-missing': ({'process.args': ['/missing']}, {'ways': ['create', 'run']}),
    'args-missing-in-path': ({'process.args': ['missing']}, {'ways': ['create', 'run']}),
    'args-directory': ({'process.args': ['/etc']}, {'ways': ['create', 'run']}),
    'args-not-executable': ({'process.args': ['/not-executable']}, {'ways': ['create', 'run']}),
    'args-script': ({'process.args': ['/script']}, {}),
    'args-script-missing': ({'process.args': ['/script-missing']}, {'ways': ['create', 'run']}),
    'args-wrong-machine': ({'process.args': ['/wrong-machine']}, {'ways': ['create', 'run']}),
    'args-empty-file': ({'process.args': ['/empty']}, {'ways': ['create', 'run']}),
    'args-none': ({'process.args': []}, {}),
    'args-empty-word': ({'process.args': ['/probe', 'echo', '', ' a b ', '']}, {'ways': ['run']}),
    'exit-code': ({'process.args': ['/probe', 'exit', '42']}, {'ways': ['run']}),
    'no-process': ({'process-': None}, {}),
    'exec-missing': (EXEC_ARGS, {'ways': ['exec'], 'command': ['/missing']}),
    'exec-directory': (EXEC_ARGS, {'ways': ['exec'], 'command': ['/etc']}),
    'exec-user': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--user', '1000:1000']}),
    'exec-cwd': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--cwd', '/tmp']}),
    'exec-cwd-missing': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--cwd', '/missing']}),
    'exec-env': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--env', 'A=1', '--env', 'HOME=/x']}),
    'exec-cap': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--cap', 'CAP_NET_ADMIN']}),
    'exec-gids': (EXEC_ARGS, {'ways': ['exec'], 'exec': ['--additional-gids', '2000']}),
    # --- what the caller hands over
    'stdin-file': ({}, {'ways': ['create', 'run', 'exec'], 'stdin': '/etc/hostname'}),
    'stdin-zero': ({'process.user': {'uid': 1000, 'gid': 1000}}, {'stdin': '/dev/zero'}),
    'ignored-signals': ({}, {'ways': ['create', 'run', 'exec'], 'wrapped': ['env', '--ignore-signal=INT,QUIT,USR1', '--block-signal=USR2']}),
    'affinity': ({}, {'ways': ['create', 'exec'], 'wrapped': ['taskset', '-c', '0']}),
    'nice': ({}, {'wrapped': ['nice', '-n', '3']}),
    # --- mounts
    'tmpfs-new': ({'mounts+': [mount('/new')]}, {'kinds': ['root', 'userns'], 'ways': ['create', 'exec']}),
    'tmpfs-deep': ({'mounts+': [mount('/new/deep', 'tmpfs', 'noexec', 'size=1m')]}, {}),
    'tmpfs-over': ({'mounts+': [mount('/secret')]}, {'kinds': ['root', 'userns']}),
    'tmpfs-mode': ({'mounts+': [mount('/new', 'tmpfs', 'mode=0711', 'uid=5', 'gid=6')]}, {}),
    'tmpfs-copyup': ({'mounts+': [mount('/masked', 'tmpfs', 'tmpcopyup')]}, {}),
    'tmpfs-acl': ({'mounts+': [mount('/new', 'tmpfs', 'noacl')]}, {}),
    'tmpfs-options': ({'mounts+': [mount('/new', 'tmpfs', 'ro', 'nosuid', 'nodev', 'noexec', 'noatime', 'nodiratime', 'sync')]}, {}),
    'bind-plain': ({'mounts+': [bind(HOST + 'plain', '/data', 'bind')]}, {'kinds': ['root', 'userns', 'rootless']}),
    'rbind-plain': ({'mounts+': [bind(HOST + 'plain', '/data', 'rbind')]}, {'kinds': ['root', 'userns', 'rootless']}),
    'bind-ro': ({'mounts+': [bind(HOST + 'plain', '/data', 'rbind', 'ro')]}, {'kinds': ['root', 'userns']}),
    'bind-rro': ({'mounts+': [bind(HOST + 'plain', '/data', 'rbind', 'rro')]}, {}),
    'bind-locked': ({'mounts+': [bind(HOST + 'locked', '/data', 'rbind', 'rprivate')]}, {'kinds': ['root', 'userns']}),
    'bind-locked-rw': ({'mounts+': [bind(HOST + 'noexec', '/data', 'rbind', 'rprivate', 'rw')]}, {}),
    'bind-noexec-ro': ({'mounts+': [bind(HOST + 'noexec', '/data', 'rbind', 'rprivate', 'ro')]}, {'kinds': ['root', 'userns']}),
    'bind-noatime': ({'mounts+': [bind(HOST + 'noatime', '/data', 'bind', 'nosuid')]}, {}),
    'bind-shared': ({'mounts+': [bind(HOST + 'shared', '/data', 'rbind')]}, {}),
    'bind-shared-rshared': ({'mounts+': [bind(HOST + 'shared', '/data', 'rbind', 'rshared')]}, {}),
    'bind-shared-rslave': ({'mounts+': [bind(HOST + 'shared', '/data', 'rbind', 'rslave')]}, {}),
    'bind-file': ({'mounts+': [bind(HOST + 'plain/inside.txt', '/text', 'bind', 'ro')]}, {'kinds': ['root', 'userns']}),
    'bind-file-new': ({'mounts+': [bind(HOST + 'plain/inside.txt', '/new', 'bind')]}, {}),
    'bind-dir-on-file': ({'mounts+': [bind(HOST + 'plain', '/text', 'bind')]}, {}),
    'bind-file-on-dir': ({'mounts+': [bind(HOST + 'plain/inside.txt', '/data', 'bind')]}, {}),
    'bind-missing': ({'mounts+': [bind(HOST + 'missing', '/data', 'bind')]}, {'ways': ['create', 'run']}),
    'bind-link': ({'mounts+': [bind(HOST + 'plain', '/link', 'bind')]}, {}),
    'bind-dangling': ({'mounts+': [bind(HOST + 'plain', '/dangling', 'bind')]}, {}),
    'bind-loop': ({'mounts+': [bind(HOST + 'plain', '/loop', 'bind')]}, {}),
    'mount-proc-sys': ({'mounts+': [mount('/proc/sys')]}, {}),
    'mount-root': ({'mounts+': [bind(HOST + 'plain', '/', 'rbind')]}, {}),
    'mount-root-tmpfs': ({'mounts+': [mount('/')]}, {}),
    'mount-unknown': ({'mounts+': [mount('/new', 'nosuchfs')]}, {}),
    'mount-relative': ({'mounts+': [mount('new')]}, {}),
    'mount-option-unknown': ({'mounts+': [mount('/new', 'tmpfs', 'nosuchoption')]}, {}),
    'mount-cgroup': ({'mounts+': [mount('/sys/fs/cgroup', 'cgroup', 'nosuid', 'noexec', 'nodev', 'relatime', 'ro')]},
                     {'layouts': ['v1', 'v2'], 'kinds': ['root', 'userns'], 'ways': ['create', 'exec']}),
    'mount-cgroup-rw': ({'mounts+': [mount('/sys/fs/cgroup', 'cgroup', 'rprivate', 'nosuid', 'noexec', 'nodev', 'rw')]}, {'layouts': ['v1', 'v2']}),
    'mount-cgroup-host': ({**without('cgroup'), 'mounts+': [mount('/sys/fs/cgroup', 'cgroup', 'ro')]}, {'layouts': ['v1', 'v2']}),
    'root-readonly': ({'root.readonly': True}, {'kinds': ['root', 'userns'], 'ways': ['create', 'exec']}),
    'masked-more': ({'linux.maskedPaths': ['/masked', '/masked.txt', '/nowhere', '/proc/kcore']}, {'kinds': ['root', 'userns']}),
    'readonly-more': ({'linux.readonlyPaths': ['/data', '/proc/sys', '/nowhere']}, {}),
    'masked-relative': ({'linux.maskedPaths': ['masked']}, {}),
    'readonly-relative': ({'linux.readonlyPaths': ['data']}, {}),
    'masked-none': ({'linux.maskedPaths': [], 'linux.readonlyPaths': []}, {}),
    **{f'propagation-{word}': ({'linux.rootfsPropagation': word}, {})
       for word in ('private', 'rprivate', 'slave', 'rslave', 'shared', 'rshared', 'unbindable')},
    # --- devices
    'device': ({'linux.devices': [{'path': '/dev/fuse', 'type': 'c', 'major': 10, 'minor': 229, 'fileMode': 0o640, 'uid': 5, 'gid': 6}],
                'linux.resources.devices+': [{'allow': True, 'type': 'c', 'major': 10, 'minor': 229, 'access': 'rwm'}]},
               {'kinds': ['root', 'userns'], 'layouts': ['v1', 'v2']}),
    'device-missing': ({'linux.devices': [{'path': '/dev/missing', 'type': 'c', 'major': 1, 'minor': 3, 'fileMode': 0o640, 'uid': 5, 'gid': 6}]},
                       {'kinds': ['root', 'userns', 'rootless']}),
    'device-deep': ({'linux.devices': [{'path': '/dev/net/tun', 'type': 'c', 'major': 10, 'minor': 200}]}, {}),
    'device-fifo': ({'linux.devices': [{'path': '/dev/pipe', 'type': 'p', 'fileMode': 0o600}]}, {}),
    'device-denied': ({'linux.resources.devices': [{'allow': False, 'access': 'rwm'}, {'allow': False, 'type': 'c', 'major': 1, 'minor': 5, 'access': 'r'}]},
                      {'layouts': ['v1', 'v2']}),
    'device-all': ({'linux.resources.devices': [{'allow': True, 'access': 'rwm'}]}, {'layouts': ['v1', 'v2']}),
    # --- namespaces and names
    **{f'without-{kind}': (without(kind), {}) for kind in ('pid', 'ipc', 'cgroup')},
    'without-network': (without('network'), {'kinds': ['root', 'userns']}),
    'without-uts': ({**without('uts'), 'hostname-': None}, {}),
    'without-uts-hostname': (without('uts'), {}),
    'domainname': ({'domainname': 'judged.example'}, {}),
    'time': ({'linux.namespaces+': [{'type': 'time'}], 'linux.timeOffsets': {'boottime': {'secs': 6048000}, 'monotonic': {'secs': 6048000}}},
             {'ways': ['create', 'exec'], 'kinds': ['root', 'userns', 'rootless']}),
    'namespace-twice': ({'linux.namespaces+': [{'type': 'pid'}]}, {}),
    # --- sysctl, scheduling, scores
    'sysctl': ({'linux.sysctl': {'net.ipv4.ip_forward': '1', 'kernel.msgmax': '65000', 'fs.mqueue.msg_max': '20'}}, {'kinds': ['root', 'userns']}),
    'sysctl-hostname': ({'hostname-': None, 'linux.sysctl': {'kernel.hostname': 'judged'}}, {}),
    'sysctl-domainname': ({'linux.sysctl': {'kernel.domainname': 'judged'}}, {}),
    'sysctl-host': ({'linux.sysctl': {'kernel.panic': '1'}}, {}),
    'sysctl-net-host': ({**without('network'), 'linux.sysctl': {'net.ipv4.ip_forward': '1'}}, {}),
    'oom-score': ({'process.oomScoreAdj': 321}, {'ways': ['create', 'exec'], 'kinds': ['root', 'userns']}),
    'scheduler': ({'process.scheduler': {'policy': 'SCHED_BATCH', 'nice': 5}}, {'ways': ['create', 'exec']}),
    'io-priority': ({'process.ioPriority': {'class': 'IOPRIO_CLASS_BE', 'priority': 6}}, {'ways': ['create', 'exec']}),
    'personality': ({'linux.personality': {'domain': 'LINUX32'}}, {'ways': ['create', 'exec']}),
    # --- seccomp
    'seccomp': (seccomp(), {'ways': ['create', 'exec']}),
    'seccomp-errno': ({'linux.seccomp': {'defaultAction': 'SCMP_ACT_ALLOW', 'syscalls': [
        {'names': ['sethostname'], 'action': 'SCMP_ACT_ERRNO', 'errnoRet': 38}]}}, {}),
    'seccomp-default-errno': (seccomp(names=('sethostname',), defaultErrnoRet=38), {}),
    'seccomp-new-calls': ({'linux.seccomp': {'defaultAction': 'SCMP_ACT_ERRNO', 'architectures': ['SCMP_ARCH_X86_64'],
                                             'syscalls': [{'names': ALLOWED, 'action': 'SCMP_ACT_ALLOW'}]}}, {}),
    'seccomp-unknown': (seccomp(names=('no_such_call',)), {}),
    # --- hooks
    **{f'hook-{kind}': (hook(kind), {'ways': ['create', 'run']}) for kind in
       ('prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop')},
    **{f'hook-env-{kind}': (hook(kind, env=['ONLY=this']), {}) for kind in ('createRuntime', 'startContainer')},
    **{f'hook-fails-{kind}': (hook(kind, 'fail'), {'ways': ['create', 'run']}) for kind in
       ('prestart', 'createRuntime', 'createContainer', 'startContainer', 'poststart', 'poststop')},
    # --- control groups
    'memory': ({'linux.resources.memory': {'limit': 67108864, 'reservation': 33554432}}, {'layouts': ['v1', 'v2']}),
    'pids': ({'linux.resources.pids': {'limit': 55}}, {'layouts': ['v1', 'v2']}),
    'cpu': ({'linux.resources.cpu': {'shares': 512, 'quota': 50000, 'period': 100000}}, {'layouts': ['v1', 'v2']}),
    'cpuset': ({'linux.resources.cpu': {'cpus': '0', 'mems': '0'}}, {'layouts': ['v1', 'v2'], 'ways': ['create', 'exec']}),
    'zeroes': ({'linux.resources.cpu': {'shares': 0, 'quota': 0, 'period': 0}, 'linux.resources.memory': {'limit': 0},
                'linux.resources.blockIO': {'weight': 0}}, {'layouts': ['v1', 'v2']}),
    'cgroup-relative': ({'linux.cgroupsPath': 'judged-relative'}, {'layouts': ['v1', 'v2']}),
    'no-cgroup-path': ({'linux.cgroupsPath-': None}, {'layouts': ['v1', 'v2']}),
    # --- null and unknown
    'nulls': ({'process.capabilities': None, 'process.rlimits': None, 'hooks': None, 'linux.sysctl': None, 'linux.devices': None}, {}),
    'unknown-fields': ({'noSuchField': 1, 'process.noSuchField': True, 'linux.noSuchField': {}}, {}),
    'version-new': ({'ociVersion': '1.9.0'}, {}),
    'version-2': ({'ociVersion': '2.0.0'}, {}),
    'annotations': ({'annotations': {'org.example': 'x'}}, {}),
}


def situations():
    """Each as a dictionary, with a name of its own: NAME/WAY/KIND/LAYOUT."""
    yield from of_rows()
    yield from golden.situations()


def of_rows():
    for name, (changes, more) in {**ROWS, **reported.ROWS}.items():
        for layout in more.get('layouts', ['v1']):
            for kind in more.get('kinds', ['root']):
                for way in more.get('ways', ['create']):
                    rest = {key: value for key, value in more.items() if key not in ('ways', 'kinds', 'layouts')}
                    changed = {**changes, **EXEC_ARGS} if way == 'exec' else changes
                    yield {'name': f'{name}/{way}/{kind}/{layout}', 'way': way, 'kind': kind, 'layout': layout, 'changes': changed, **rest}
