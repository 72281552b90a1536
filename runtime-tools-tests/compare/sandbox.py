"""The private surroundings of one run: a cgroup subtree, namespaces, /run, /dev and a root filesystem of its own.

`enclosed` starts a program in them (called by judge.py outside); `prepare` finishes them from inside (called by play.py).
Everything has the same path in every run, so two runtimes see the same names. What is left behind ends with the namespaces.
"""
import contextlib
import ctypes
import os
import shutil
import subprocess
import time

WORK = '/run/judge'
BUNDLE = WORK + '/bundle'
ROOTFS = BUNDLE + '/rootfs'
OUT = WORK + '/out'
CGROUPS = '/sys/fs/cgroup'
CLONE_NEWCGROUP = 0x02000000
USER = 1000
# Hooks inherit it: the same for everybody who plays, as the answers of peers are kept.
ENVIRONMENT = {'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME': '/root', 'LANG': 'C.UTF-8', 'TERM': 'xterm'}


def hierarchies():
    """(mount point, file system type, options) of each cgroup hierarchy below /sys/fs/cgroup."""
    with open('/proc/self/mounts', encoding='utf-8') as mounts:
        rows = [line.split() for line in mounts]
    return sorted({(row[1], row[2], row[3]) for row in rows if row[2] in ('cgroup', 'cgroup2') and row[1].startswith(CGROUPS)})


def layouts():
    """The layouts that can be played on this host."""
    kinds = {kind for _, kind, _ in hierarchies()}
    return {'v1': ['cgroup'], 'hybrid': ['cgroup', 'cgroup2'], 'v2': ['cgroup2']}, kinds


def write(path, text):
    with open(path, 'w', encoding='utf-8') as file:
        file.write(text)


def enclosed(name, command, data, timeout):
    """Runs the command in namespaces of its own, with the data on standard input: (exit status or None, output, errors)."""
    mounts = hierarchies()

    def enter():
        for mount, _, _ in mounts:
            write(f'{mount}/{name}/cgroup.procs', str(os.getpid()))
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWCGROUP):
            raise OSError(ctypes.get_errno(), 'unshare')
        # cgroup v2 hands controllers down only from a group without processes.
        for mount, kind, _ in mounts:
            if kind == 'cgroup2':
                write(f'{mount}/{name}/init/cgroup.procs', str(os.getpid()))

    for mount, kind, _ in mounts:
        os.mkdir(f'{mount}/{name}')
        if kind == 'cgroup2':
            os.mkdir(f'{mount}/{name}/init')
        elif os.path.exists(f'{mount}/{name}/cpuset.mems'):
            for file in ('cpuset.cpus', 'cpuset.mems'):
                with open(f'{mount}/{file}', encoding='utf-8') as own:
                    write(f'{mount}/{name}/{file}', own.read())
    unshare = ['unshare', '--mount', '--pid', '--net', '--ipc', '--uts', '--fork', '--kill-child', '--mount-proc',
               '--propagation', 'private', '--']
    try:
        with subprocess.Popen(unshare + command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=enter, text=True, env=ENVIRONMENT) as child:
            try:
                output, errors = child.communicate(data, timeout=timeout)
                return child.returncode, output, errors
            except subprocess.TimeoutExpired:
                child.kill()
                return None, '', f'no end within {timeout} s'
    finally:
        for mount, _, _ in mounts:
            remove_tree(f'{mount}/{name}')


def remove_tree(top):
    """Removes a cgroup and those below; the processes in it are ending."""
    for _ in range(100):
        for directory, _, _ in os.walk(top, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        if not os.path.exists(top):
            return
        time.sleep(0.05)
    raise RuntimeError(f'cannot remove the cgroup {top}')


# ---- inside ----------------------------------------------------------------------------------------------------------


def mount(kind, target, options='', source=None):
    subprocess.run(['mount', '-t', kind, *(['-o', options] if options else []), source or kind, target], check=True)


def prepare(layout, probe):
    mount('tmpfs', '/run', 'mode=755')
    for directory in (WORK, OUT, BUNDLE, WORK + '/state', WORK + '/host'):
        os.mkdir(directory)
    os.chmod(OUT, 0o1777)
    device_nodes()
    cgroup_tree(layout)
    root_filesystem(probe)
    host_directories()


def device_nodes():
    """A /dev that runtimes may damage."""
    new = WORK + '/dev'
    os.mkdir(new)
    mount('tmpfs', new, 'mode=755,nosuid')
    for directory in ('net', 'pts', 'shm', 'mqueue'):
        os.mkdir(f'{new}/{directory}')
    for name, major, minor in (('null', 1, 3), ('zero', 1, 5), ('full', 1, 7), ('random', 1, 8), ('urandom', 1, 9),
                               ('tty', 5, 0), ('fuse', 10, 229), ('net/tun', 10, 200)):
        os.mknod(f'{new}/{name}', 0o020666, os.makedev(major, minor))
        os.chmod(f'{new}/{name}', 0o666)
    mount('devpts', new + '/pts', 'newinstance,ptmxmode=0666,mode=0620,gid=5')
    for name, target in (('ptmx', 'pts/ptmx'), ('fd', '/proc/self/fd'), ('stdin', 'fd/0'), ('stdout', 'fd/1'), ('stderr', 'fd/2')):
        os.symlink(target, f'{new}/{name}')
    subprocess.run(['mount', '--move', new, '/dev'], check=True)
    os.rmdir(new)


def cgroup_tree(layout):
    mounts = hierarchies()
    new = WORK + '/cgroup'
    os.mkdir(new)
    if layout == 'v2':
        mount('cgroup2', new)
    else:
        mount('tmpfs', new, 'mode=755,nosuid,nodev,noexec')
        for path, kind, options in mounts:
            name = os.path.basename(path)
            if kind == 'cgroup2' and layout == 'v1':
                continue
            os.mkdir(f'{new}/{name}')
            named = [o for o in options.split(',') if o.startswith('name=')]
            mount(kind, f'{new}/{name}', '' if kind == 'cgroup2' else 'none,' + named[0] if named else name)
        subprocess.run(['mount', '-o', 'remount,ro', new], check=True)
    subprocess.run(['umount', '-R', CGROUPS], check=True)
    subprocess.run(['mount', '--move', new, CGROUPS], check=True)
    if layout == 'v2':
        with open(CGROUPS + '/cgroup.controllers', encoding='utf-8') as file:
            write(CGROUPS + '/cgroup.subtree_control', ' '.join('+' + name for name in file.read().split()))


def root_filesystem(probe):
    for directory in ('bin', 'dev', 'etc', 'proc', 'sys', 'tmp', 'root', 'home/user', 'masked', 'data', 'run', 'var', 'mnt',
                      'secret', 'run/judge/out'):
        os.makedirs(f'{ROOTFS}/{directory}')
    os.chmod(ROOTFS + '/tmp', 0o1777)
    os.chmod(ROOTFS + '/secret', 0o700)
    for name in ('/probe', '/bin/probe'):
        shutil.copy(probe, ROOTFS + name)
        os.chmod(ROOTFS + name, 0o755)
    shutil.copy(probe, WORK + '/probe')
    files = {
        'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:user:/home/user:/bin/sh\nrel:x:1001:1001::rel:/bin/sh\n',
        'etc/group': 'root:x:0:\ntty:x:5:\nuser:x:1000:\nextra:x:2000:user\n',
        'masked.txt': 'seen\n', 'probe.txt': 'root\n', 'masked/inside': 'seen\n', 'empty': '', 'text': 'no program\n',
        'script': '#!/probe\n', 'script-missing': '#!/missing\n', 'wrong-machine': '\x7fELF\x02\x01\x01' + '\0' * 60,
        'not-executable': '#!/probe\n'}
    for name, text in files.items():
        write(f'{ROOTFS}/{name}', text)
        if name in ('empty', 'text', 'script', 'script-missing', 'wrong-machine'):
            os.chmod(f'{ROOTFS}/{name}', 0o755)
    os.symlink('/data', ROOTFS + '/link')
    os.symlink('/nowhere', ROOTFS + '/dangling')
    os.symlink('../../../../../tmp', ROOTFS + '/outward')
    os.symlink('loop', ROOTFS + '/loop')


# Directories of the "host" that situations bind; `plain` has a second mount below it.
HOST = {'plain': '', 'locked': 'ro,nosuid,nodev,noexec,mode=755', 'noatime': 'noatime,nosuid,mode=755', 'noexec': 'noexec,mode=755',
        'shared': 'mode=755', 'readonly': 'ro,mode=755'}


def host_directories():
    for name, options in HOST.items():
        path = f'{WORK}/host/{name}'
        os.mkdir(path)
        if options:
            mount('tmpfs', path, ','.join(o for o in options.split(',') if o != 'ro'))
        write(path + '/inside.txt', name + '\n')
        os.mkdir(path + '/sub')
        mount('tmpfs', path + '/sub', 'nosuid,mode=750')
        write(path + '/sub/inside.txt', 'below ' + name + '\n')
        if 'ro' in options.split(','):
            subprocess.run(['mount', '-o', f'remount,bind,{options.replace(",mode=755", "")}', path], check=True)
    subprocess.run(['mount', '--make-shared', WORK + '/host/shared'], check=True)


def mapped_root(config):
    """The ids of the host that root of the container has, as chown takes them, or None without a user namespace."""
    ids = []
    for key in ('uidMappings', 'gidMappings'):
        ids += [str(one['hostID']) for one in config.get('linux', {}).get(key) or [] if one['containerID'] == 0]
    return ':'.join(ids) if len(ids) == 2 else None


def hand_over(layout, kind, config):
    """Makes what the situation's user needs his own."""
    if kind == 'golden':
        owner = mapped_root(config)
        if owner is None:
            return
    elif kind == 'userns':
        owner = '100000:100000'
    elif kind == 'rootless':
        owner = f'{USER}:{USER}'
        subprocess.run(['chown', owner, WORK + '/state', BUNDLE], check=True)
        if layout == 'v2':
            subprocess.run(['chown', '-R', owner, CGROUPS], check=True)
    else:
        return
    subprocess.run(['chown', '-R', '-h', owner, ROOTFS], check=True)
