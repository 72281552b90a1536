#!/usr/bin/env python3
"""Plays every situation with RUNTIME and with a peer, and compares what was seen: judge.py --runtime PATH --peer NAME=PATH.

A difference needs a row of expected.tsv: situation, field (patterns of fnmatch), who is right, and why. One without a row fails,
and so does a row that explains nothing in a whole run, or that users are not told of in docs/differences.md. `--show NAME` prints both views of one situation. Called by run.sh.
"""
import argparse
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import subprocess
import sys
import time

import normalise
import sandbox
import situations

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 90
SIDES = {'nucleus', 'peer', 'host', 'both'}
TOLD = os.path.join(HERE, '../../docs/differences.md')


def play(situation, runtime, probe, number):
    order = {**situation, 'runtime': runtime, 'probe': probe}
    command = [sys.executable, '-B', HERE + '/play.py']
    code, output, errors = sandbox.enclosed(f'compare-{os.getpid()}-{number}', command, json.dumps(order), TIMEOUT)
    if code != 0:
        return {'#broken': f'{code}: {errors.strip()[-1500:]}'}
    answer = json.loads(output)
    return normalise.normalise(answer['seen'], answer['namespaces'])


class Peer:
    """A runtime whose answers are kept: they change only with its file, the situation, this directory, and the host's kernel and
    hierarchies of control groups."""

    def __init__(self, name, path, cache):
        self.name, self.path, self.cache = name, path, cache
        digest = hashlib.sha256()
        files = [path] + [os.path.join(HERE, file) for file in sorted(os.listdir(HERE)) if file.endswith(('.py', '.c'))]
        for file in files:
            if os.path.basename(file) not in ('judge.py', 'situations.py'):
                with open(file, 'rb') as content:
                    digest.update(content.read())
        with open('/proc/self/cgroup', encoding='utf-8') as file:
            digest.update(repr([os.uname().release, sorted(line.split(':')[1] for line in file)]).encode())
        self.digest = digest.hexdigest()

    def answer(self, situation, probe, number):
        key = hashlib.sha256((self.digest + json.dumps(situation, sort_keys=True)).encode()).hexdigest()[:32]
        file = os.path.join(self.cache, key + '.json')
        if os.path.exists(file):
            with open(file, encoding='utf-8') as kept:
                return json.load(kept)
        seen = play(situation, self.path, probe, number)
        if '#broken' not in seen:
            with open(file, 'w', encoding='utf-8') as kept:
                json.dump(seen, kept)
        return seen


class Reasons:
    def __init__(self, path):
        self.rows = []
        with open(TOLD, encoding='utf-8') as file:
            told = {line.split('|')[1].strip() for line in file if line.startswith('| ')}
        with open(path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith('#'):
                    cells = line.rstrip('\n').split('\t')
                    if len(cells) != 4 or cells[2] not in SIDES or not cells[3]:
                        sys.exit(f'{path}:{number}: needs situation, field, one of {sorted(SIDES)}, and a reason')
                    if cells[2] == 'nucleus' and cells[3] not in told:
                        sys.exit(f'{path}:{number}: docs/differences.md has no row {cells[3]!r}')
                    self.rows.append([number, *cells, 0])

    def explains(self, name, field):
        found = False
        for row in self.rows:
            if fnmatch.fnmatchcase(name, row[1]) and fnmatch.fnmatchcase(field, row[2]):
                row[5] += 1
                found = True
        return found

    def unused(self):
        return [row for row in self.rows if not row[5]]


def differences(ours, theirs):
    for field in sorted(set(ours) | set(theirs)):
        if not field.startswith('#') and ours.get(field) != theirs.get(field):
            yield field, ours.get(field, '(absent)'), theirs.get(field, '(absent)')


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--runtime', required=True)
    parser.add_argument('--peer', required=True, help='NAME=PATH')
    parser.add_argument('--probe', required=True)
    parser.add_argument('--cache', required=True)
    parser.add_argument('--only', nargs='*', default=['*'], help='patterns of situations')
    parser.add_argument('--every', type=int, default=1, help='one situation of so many')
    parser.add_argument('--show')
    return parser.parse_args()


def main():
    args = arguments()
    name, _, path = args.peer.partition('=')
    os.makedirs(args.cache, exist_ok=True)
    peer = Peer(name, os.path.realpath(path), args.cache)
    runtime = os.path.realpath(args.runtime)
    reasons = Reasons(HERE + '/expected.tsv')
    patterns = [args.show] if args.show else args.only
    chosen = [one for one in situations.situations() if any(fnmatch.fnmatchcase(one['name'], pattern) for pattern in patterns)]
    chosen = chosen[::args.every]

    def both(number):
        situation = chosen[number]
        return situation, play(situation, runtime, args.probe, f'{number}-a'), peer.answer(situation, args.probe, f'{number}-b')

    equal = explained = unexplained = broken = 0
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for situation, ours, theirs in pool.map(both, range(len(chosen))):
            if args.show:
                print(json.dumps({'nucleus': ours, name: theirs}, indent=1, sort_keys=True))
                continue
            if '#broken' in ours or '#broken' in theirs:
                broken += 1
                print(f'not ok {situation["name"]}: cannot be played: {ours.get("#broken")} {theirs.get("#broken")}')
                continue
            found = [one for one in differences(ours, theirs)]
            unknown = [one for one in found if not reasons.explains(situation['name'], one[0])]
            equal += not found
            explained += bool(found) and not unknown
            unexplained += bool(unknown)
            for field, mine, other in unknown:
                print(f'not ok {situation["name"]} {field}\n    # nucleus: {mine[:300]!r}\n    # {name}: {other[:300]!r}')
            if unknown:
                for side, seen in (('nucleus', ours), (name, theirs)):
                    for field in seen:
                        if field.startswith('#stderr'):
                            print(f'    # {side} {field[1:]}: {seen[field]!r}')
    if args.show:
        return 0
    stale = reasons.unused() if args.only == ['*'] and args.every == 1 else []
    for number, situation, field, *_ in stale:
        print(f'not ok expected.tsv:{number}: {situation} {field} explains nothing')
    print(f'# compare with {name}: {len(chosen)} situations, {equal} equal, {explained} with explained differences, '
          f'{unexplained} with unexplained ones, {broken} not played, in {time.monotonic() - start:.0f} s')
    print(f'{equal + explained} {unexplained + broken + len(stale)} 0')
    return unexplained + broken + len(stale) > 0


if __name__ == '__main__':
    sys.exit(main())
