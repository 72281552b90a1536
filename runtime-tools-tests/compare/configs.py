"""config.json: the base that situations change, and the changes.

A change is a dictionary of paths: {'process.user.uid': 1000, 'mounts+': [..], 'hostname-': None}; `+` at the end appends, `-` removes,
and `without` lists kinds of namespaces to leave out.
"""
import copy

CAPABILITIES = ['CAP_CHOWN', 'CAP_DAC_OVERRIDE', 'CAP_FOWNER', 'CAP_FSETID', 'CAP_KILL', 'CAP_SETGID', 'CAP_SETUID', 'CAP_SETPCAP',
                'CAP_NET_BIND_SERVICE', 'CAP_NET_RAW', 'CAP_SYS_CHROOT', 'CAP_MKNOD', 'CAP_AUDIT_WRITE', 'CAP_SETFCAP']
OUT = {'destination': '/run/judge/out', 'type': 'bind', 'source': '/run/judge/out', 'options': ['bind', 'rw']}


def mount(destination, kind='tmpfs', *options, source=None):
    return {'destination': destination, 'type': kind, 'source': source or kind, 'options': list(options)}


def bind(source, destination, *options):
    return {'destination': destination, 'type': 'bind', 'source': source, 'options': list(options)}


def base():
    return {
        'ociVersion': '1.0.2', 'hostname': 'judged',
        'process': {
            'terminal': False, 'user': {'uid': 0, 'gid': 0}, 'args': ['/probe'], 'cwd': '/',
            'env': ['PATH=/usr/bin:/bin', 'TERM=xterm'], 'noNewPrivileges': True,
            'capabilities': {name: list(CAPABILITIES) for name in ('bounding', 'effective', 'permitted')},
            'rlimits': [{'type': 'RLIMIT_NOFILE', 'hard': 1024, 'soft': 1024}]},
        'root': {'path': 'rootfs', 'readonly': False},
        'mounts': [
            mount('/proc', 'proc'),
            mount('/dev', 'tmpfs', 'nosuid', 'strictatime', 'mode=755', 'size=65536k'),
            mount('/dev/pts', 'devpts', 'nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'),
            mount('/dev/shm', 'tmpfs', 'nosuid', 'noexec', 'nodev', 'mode=1777', 'size=65536k', source='shm'),
            mount('/dev/mqueue', 'mqueue', 'nosuid', 'noexec', 'nodev'),
            mount('/sys', 'sysfs', 'nosuid', 'noexec', 'nodev', 'ro'), OUT],
        'linux': {
            'cgroupsPath': '/judged', 'resources': {'devices': [{'allow': False, 'access': 'rwm'}]},
            'namespaces': [{'type': name} for name in ('pid', 'network', 'ipc', 'uts', 'mount', 'cgroup')],
            'maskedPaths': ['/proc/acpi', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list',
                            '/proc/timer_stats', '/proc/sched_debug', '/proc/scsi', '/sys/firmware'],
            'readonlyPaths': ['/proc/asound', '/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger']}}


MAPPINGS = {'userns': (100000, 65536), 'rootless': (1000, 1)}


def of_kind(config, kind):
    """The base as an engine writes it for a user namespace, or for a caller without rights."""
    if kind not in MAPPINGS:
        return config
    first, size = MAPPINGS[kind]
    linux = config['linux']
    linux['namespaces'].append({'type': 'user'})
    linux['uidMappings'] = [{'containerID': 0, 'hostID': first, 'size': size}]
    linux['gidMappings'] = [{'containerID': 0, 'hostID': first, 'size': size}]
    if kind == 'rootless':
        del linux['cgroupsPath'], linux['resources']
        for one in config['mounts']:
            one['options'] = [option for option in one['options'] if option != 'gid=5']
    return config


def change(config, changes):
    for path, value in changes.items():
        if path == 'without':
            listed = config['linux']['namespaces']
            config['linux']['namespaces'] = [one for one in listed if one['type'] not in value]
            continue
        keys = path.rstrip('+-').split('.')
        place = config
        for key in keys[:-1]:
            if isinstance(place, list):
                place = place[int(key)]
                continue
            if not isinstance(place.get(key), (dict, list)):
                place[key] = {}
            place = place[key]
        last = keys[-1]
        value = copy.deepcopy(value)
        if path.endswith('-'):
            place.pop(last, None)
        elif path.endswith('+'):
            place[last] = (place.get(last) or []) + value
        else:
            place[last] = value
    return config
