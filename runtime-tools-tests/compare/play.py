"""Plays one situation with one runtime, inside the surroundings of sandbox.py: the situation as JSON on standard input, what was
seen as JSON (field: value) on standard output. Called by judge.py.
"""
import contextlib
import ctypes
import json
import os
import re
import subprocess
import sys
import time

import configs
import sandbox
from terminal import Terminal

ID = 'judged'
LIMIT = 20
RT_SIGACTION, MASK_BYTES = 13, 8

# What engines branch on, in the order in which they look (docs/engines.md).
TEXTS = ['executable file not found', 'no such file or directory', 'permission denied', 'operation not permitted',
         'is a directory', 'not a directory', 'exec format error', 'invalid argument', 'does not exist', 'file exists']


class Player:
    def __init__(self, situation, runtime):
        self.situation = situation
        self.runtime = runtime
        self.seen = {}

    def command(self, *words):
        command = [*self.situation.get('wrapped', []), self.runtime, '--root', sandbox.WORK + '/state', *words]
        if self.situation['kind'] == 'rootless':
            user = str(sandbox.USER)
            command = ['setpriv', '--reuid', user, '--regid', user, '--clear-groups', 'env', 'HOME=/tmp', *command]
        return command

    def call(self, step, *words):
        """Runs a verb; its streams are files, as an engine's are pipes that outlive it."""
        out, errors = sandbox.WORK + '/stdout', sandbox.WORK + '/stderr'
        with open(out, 'a', encoding='utf-8') as stdout, open(errors, 'w', encoding='utf-8') as stderr:
            stdin = open(self.situation.get('stdin', '/dev/null'), encoding='utf-8')
            try:
                done = subprocess.run(self.command(*words), stdin=stdin, stdout=stdout, stderr=stderr, timeout=LIMIT, cwd='/tmp')
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = 'hangs'
            finally:
                stdin.close()
        with open(errors, encoding='utf-8', errors='replace') as file:
            text = file.read()
        self.seen[f'code.{step}'] = str(code)
        if code != 0:
            lower = text.lower()
            self.seen[f'text.{step}'] = next((known for known in TEXTS if known in lower), 'other')
            # For people: not compared.
            self.seen[f'#stderr.{step}'] = text.strip()[-400:]
        return code

    def play(self):
        way = self.situation['way']
        bundle = ['--bundle', sandbox.BUNDLE, *self.situation.get('flags', [])]
        terminal = None
        if way != 'run' and self.situation.get('terminal'):
            terminal = Terminal(sandbox.WORK + '/console')
            bundle += ['--console-socket', terminal.path]
        pid_file = sandbox.OUT + '/pid'
        if way == 'run':
            self.call('run', 'run', *bundle, ID)
        elif way == 'create':
            if self.call('create', 'create', *bundle, '--pid-file', pid_file, ID) == 0:
                self.seen['state.created'] = self.status()
                if self.call('start', 'start', ID) == 0:
                    self.wait_for_end()
                self.seen['state.ended'] = self.status()
                self.call('delete', 'delete', ID)
        else:
            if self.call('run', 'run', '--detach', *bundle, '--pid-file', pid_file, ID) == 0:
                with contextlib.suppress(FileNotFoundError):
                    os.truncate(sandbox.WORK + '/stdout', 0)
                self.call('exec', 'exec', *self.situation.get('exec', []), ID, *self.situation.get('command', ['/probe']))
                self.seen['state.running'] = self.status()
                self.call('delete', 'delete', '--force', ID)
        if terminal:
            self.seen.update(terminal.seen())
        self.pid_file(pid_file)
        self.output()
        self.hooks()
        if 'after' in self.situation:
            self.seen['after'] = subprocess.run(['sh', '-c', self.situation['after']], capture_output=True, text=True, check=False).stdout
        self.left_behind()
        return self.seen

    def status(self):
        done = subprocess.run(self.command('state', ID), capture_output=True, text=True, timeout=LIMIT, check=False)
        try:
            return json.loads(done.stdout)['status']
        except (ValueError, KeyError):
            return f'none ({done.returncode})'

    def wait_for_end(self):
        for _ in range(200):
            if self.status() != 'running':
                return
            time.sleep(0.05)

    def pid_file(self, path):
        with contextlib.suppress(FileNotFoundError):
            with open(path, encoding='utf-8') as file:
                text = file.read()
            self.seen['pid-file'] = 'digits' if text.isdigit() else repr(re.sub(r'\d+', 'N', text))

    def output(self):
        text = b''
        for path in (sandbox.WORK + '/stdout', sandbox.OUT + '/view'):
            with contextlib.suppress(FileNotFoundError):
                with open(path, 'rb') as file:
                    text += file.read()
        for number, line in enumerate(text.decode(errors='replace').splitlines()):
            name, tab, value = line.partition('\t')
            name = 'in.' + name if tab else f'output.{number}'
            self.seen[name] = self.seen[name] + '\n' + value if name in self.seen else (value if tab else line)

    def hooks(self):
        for name in sorted(os.listdir(sandbox.OUT)):
            if name.startswith('hook-'):
                with open(f'{sandbox.OUT}/{name}', encoding='utf-8', errors='replace') as file:
                    for line in file.read().splitlines():
                        field, _, value = line.partition('\t')
                        self.seen[field] = value

    def left_behind(self):
        state = sorted(name for name in os.listdir(sandbox.WORK + '/state') if not name.startswith('.'))
        with open('/proc/self/mountinfo', encoding='utf-8') as file:
            mounts = sorted(line.split()[4] for line in file if f'{sandbox.ROOTFS}' in line.split()[4])
        groups = [os.path.join(top, one) for top, names, _ in os.walk(sandbox.CGROUPS) for one in names if ID in one]
        processes = 0
        for name in os.listdir('/proc'):
            if name.isdigit() and int(name) not in (1, os.getpid()):
                with contextlib.suppress(OSError):
                    with open(f'/proc/{name}/stat', encoding='utf-8') as file:
                        processes += file.read().rsplit(')', 1)[1].split()[0] not in 'ZX'
        self.seen.update({'left.state': ' '.join(state), 'left.mounts': ' '.join(mounts), 'left.groups': str(len(groups)),
                          'left.processes': str(processes)})


def forget_the_caller():
    """The usual umask, and the default action for every signal: what the caller of the tests has is no part of a situation.
    Signals by the system call, as the C library refuses its own two (32 and 33)."""
    os.umask(0o022)
    libc = ctypes.CDLL(None, use_errno=True)
    default = bytes(32)
    for signal in range(1, 65):
        if signal not in (9, 19) and libc.syscall(RT_SIGACTION, signal, default, None, MASK_BYTES) != 0:
            raise OSError(ctypes.get_errno(), f'rt_sigaction of {signal}')


def main():
    forget_the_caller()
    situation = json.load(sys.stdin)
    sandbox.prepare(situation['layout'], situation['probe'])
    config = situation.get('config') or configs.change(configs.of_kind(configs.base(), situation['kind']), situation['changes'])
    situation['terminal'] = bool((config.get('process') or {}).get('terminal'))
    with open(sandbox.BUNDLE + '/config.json', 'w', encoding='utf-8') as file:
        json.dump(config, file)
    for command in situation.get('prepare', []):
        subprocess.run(['sh', '-c', command], check=True, cwd=sandbox.BUNDLE, stdout=subprocess.DEVNULL)
    sandbox.hand_over(situation['layout'], situation['kind'], config)
    host = {name: os.readlink(f'/proc/self/ns/{name}') for name in os.listdir('/proc/self/ns')}
    seen = Player(situation, situation['runtime']).play()
    json.dump({'seen': seen, 'namespaces': host}, sys.stdout)


if __name__ == '__main__':
    main()
