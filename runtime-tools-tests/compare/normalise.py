"""What two runs of one runtime would show differently anyway, taken out: numbers of mounts, namespaces, and processes. Called by
judge.py for each run.
"""
import json
import re

# Lines of /proc/self/status that say what the kernel measured, not what the runtime set up.
STATUS = ('Cap', 'SigBlk', 'SigIgn', 'SigCgt', 'Shd', 'NoNewPrivs', 'Seccomp', 'Groups', 'Umask', 'CoreDumping', 'THP_enabled')


def mounts(text):
    """mountinfo, a field for each mount point: where in the source, options, propagation, type, options of the superblock."""
    seen = {}
    for line in text.split('\n'):
        words = line.split(' ')
        dash = words.index('-') if '-' in words else len(words)
        # A program that was killed may have been in the middle of a line.
        if len(words) < dash + 4:
            continue
        root, point, options = words[3:6]
        propagation = ' '.join(sorted(re.sub(r':\d+', '', word) for word in words[6:dash]))
        kind, source = words[dash + 1:dash + 3]
        value = f'{kind} {source} {re.sub(r"/judged[^ ]*", "/judged", root)} {options} [{propagation}] {words[dash + 3]}'
        name = f'mount.{point}'
        while name in seen:
            name += "'"
        seen[name] = value
    return seen


def state(name, text):
    """The state that a hook reads, a field for each key."""
    try:
        # The program writes control characters as \xNN; those of a pretty document are between its words.
        document = json.loads(text.replace('\\x0a', ' ').replace('\\x09', ' '))
    except ValueError:
        return {name: text}
    document['pid'] = 'a number' if isinstance(document.get('pid'), int) else document.get('pid')
    return {f'{name}.{key}': str(value) for key, value in document.items() if value}


def normalise(seen, namespaces):
    fields = {}
    for name, value in seen.items():
        if name == 'in.mountinfo':
            fields.update(mounts(value))
        elif name.startswith('in.namespace.'):
            fields[name] = 'of the host' if namespaces.get(name.rsplit('.', 1)[1]) == value else 'own'
        elif name.startswith('in.status.'):
            if name[len('in.status.'):].startswith(STATUS):
                fields[name] = value
        elif name.startswith('hook-') and name.endswith('.state'):
            fields.update(state(name, value))
        elif name == 'in.cgroup':
            # Another test of this host may mount the hierarchies of packets at any time.
            lines = (line.split(':', 1)[1] for line in value.split('\n') if ':' in line)
            fields[name] = '\n'.join(sorted(line for line in lines if not line.startswith(('net_cls', 'net_prio'))))
        elif name.startswith('in.path./sys/fs/cgroup/'):
            continue
        else:
            fields[name] = value
    return fields
