"""Situations from whole configs that engines wrote (crates/oci-runtime/tests/configs): the config, with what only the engine's host
had replaced. `adapted` lists each replacement as (what, how), and judge.py prints it. Read by situations.py.
"""
import glob
import json
import os

import sandbox
from configs import OUT

HERE = os.path.dirname(os.path.abspath(__file__))
CONFIGS = os.path.join(HERE, '../../crates/oci-runtime/tests/configs')
ENGINES = ('buildah-', 'containerd-', 'docker-', 'podman-', 'runc-spec')
OPENED = {'network': 'net', 'ipc': 'ipc', 'uts': 'uts'}
JOINED = '/run/judge/joined-'
# The nodes and directories of sandbox.device_nodes.
DEVICES = [f'/dev/{name}' for name in ('null', 'zero', 'full', 'random', 'urandom', 'tty', 'fuse', 'net/tun', 'shm', 'mqueue', 'pts')]
FILES = ('hosts', 'hostname', 'resolv.conf', '.containerenv', 'docker-init', 'one-file', 'init', 'termination-log', 'passwd')
CAPABILITIES = ['CAP_' + name for name in (
    'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE NET_BROADCAST '
    'NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE '
    'SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM '
    'BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE').split()]
OPEN_FILES = 20000


def own_capabilities():
    with open('/proc/self/status', encoding='utf-8') as file:
        bits = int(next(line for line in file if line.startswith('CapBnd')).split()[1], 16)
    return {name for number, name in enumerate(CAPABILITIES) if bits >> number & 1}


def own_score():
    with open('/proc/self/oom_score_adj', encoding='utf-8') as file:
        return int(file.read())


def controllers_of_v2():
    for mount, kind, _ in sandbox.hierarchies():
        if kind == 'cgroup2':
            with open(mount + '/cgroup.controllers', encoding='utf-8') as file:
                return file.read().split()
    return []


class Adapted:
    """One config for one layout, and what was changed in it."""

    def __init__(self, path, layout):
        with open(path, encoding='utf-8') as file:
            self.config = json.load(file)
        self.layout, self.lines, self.prepare = layout, [], ['mkdir /run/judge/host/alone']
        self.process()
        self.linux()
        self.namespaces()
        self.mounts()
        self.replace(self.config['root'], 'root.path', 'path', 'rootfs')
        self.remove(self.config, '', 'hooks')

    def adapt(self, what, how):
        self.lines.append((what, how))

    def replace(self, section, name, key, value):
        if section.get(key) != value:
            self.adapt(name, f'{section.get(key)!r} is {value!r}')
            section[key] = value

    def remove(self, section, prefix, *keys):
        for key in keys:
            if section.get(key):
                self.adapt(prefix + key, 'is removed')
            section.pop(key, None)

    def process(self):
        process = self.config['process']
        program = ['/probe', '-o', '/run/judge/out/view'] if process.get('terminal') else ['/probe']
        self.replace(process, 'process.args', 'args', program)
        self.remove(process, 'process.', 'apparmorProfile', 'selinuxLabel')
        limits = process.get('rlimits') or []
        for limit in limits:
            if limit['hard'] > OPEN_FILES:
                self.adapt(f'process.rlimits {limit["type"]}', f'{limit["hard"]} is removed: root of the tests may not raise it')
        process['rlimits'] = [limit for limit in limits if limit['hard'] <= OPEN_FILES]
        lacking = set().union(*(process.get('capabilities') or {}).values()) - own_capabilities()
        if lacking:
            self.adapt('process.capabilities ' + ' '.join(sorted(lacking)), 'removed: root of the tests lacks them')
            process['capabilities'] = {name: [one for one in names if one not in lacking] for name, names in process['capabilities'].items()}
        if (process.get('oomScoreAdj') or 0) < own_score():
            self.replace(process, 'process.oomScoreAdj', 'oomScoreAdj', own_score())

    def linux(self):
        linux = self.config['linux']
        self.remove(linux, 'linux.', 'mountLabel', 'intelRdt')
        if linux.get('cgroupsPath'):
            self.replace(linux, 'linux.cgroupsPath', 'cgroupsPath', '/judged')
        if self.layout == 'v2' and 'memory' not in controllers_of_v2():
            resources = linux.get('resources') or {}
            self.remove(resources, 'linux.resources.', *(key for key in list(resources) if key != 'devices'))
        if self.layout == 'v1':
            self.remove(linux.get('resources') or {}, 'linux.resources.', 'unified')

    def namespaces(self):
        for one in self.config['linux'].get('namespaces') or []:
            path = one.pop('path', None)
            if not path:
                continue
            if one['type'] in OPENED:
                one['path'] = JOINED + one['type']
                self.prepare += [f'touch {one["path"]}', f'unshare --{OPENED[one["type"]]}={one["path"]} true']
                self.adapt(f'linux.namespaces {one["type"]}', f'of {path} is one made for this')
            else:
                self.adapt(f'linux.namespaces {one["type"]}', f'of {path} is a new one')

    def mounts(self):
        kept = []
        for one in self.config.get('mounts') or []:
            where, options, source = one['destination'], one.get('options') or [], one.get('source') or ''
            if one.get('type') == 'overlay':
                self.adapt(f'mounts {where}', 'of an overlay is a bind mount')
                one.update(type='bind', source='/run/judge/host/alone', options=['bind'])
            elif one.get('type') != 'bind' and not {'bind', 'rbind'} & set(options):
                pass
            elif source in DEVICES or source.startswith(('/proc', '/sys')) and not source.startswith('/sys/fs/cgroup/'):
                pass
            elif source.startswith('/sys/fs/cgroup/') and self.layout == 'v1':
                pass
            elif source.startswith(('/dev/', '/sys/')):
                self.adapt(f'mounts {where}', f'of {source} is removed')
                continue
            else:
                file = os.path.basename(source) in FILES or os.path.basename(where) in FILES
                self.replace(one, f'mounts {where}', 'source', '/run/judge/host/plain/inside.txt' if file else '/run/judge/host/alone')
            kept.append(one)
        self.config['mounts'] = [*kept, OUT]


def situations():
    for path in sorted(glob.glob(CONFIGS + '/*.json')):
        name = os.path.basename(path)[:-len('.json')]
        if not name.startswith(ENGINES):
            continue
        for layout in ('v1', 'v2'):
            adapted = Adapted(path, layout)
            kind = 'userns' if any(one['type'] == 'user' for one in adapted.config['linux'].get('namespaces') or []) else 'root'
            yield {'name': f'golden-{name}/create/{kind}/{layout}', 'way': 'create', 'kind': 'golden', 'layout': layout,
                   'config': adapted.config, 'prepare': adapted.prepare, 'adapted': adapted.lines}
