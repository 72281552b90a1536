#!/usr/bin/env python3
"""Plays every situation with RUNTIME and with peers, and compares what was seen: judge.py --runtime PATH --peer NAME=PATH...

A difference needs a row of the peer's table (reasons.py): situation, field (patterns of fnmatch), who is right, and why. One
without a row fails, and so does a row that explains nothing in a whole run. A reason for which nucleus is right has to stand in
docs/differences.md; otherwise each run fails. `--show NAME` prints all views of one situation. Called by run.sh.
"""
import argparse
import concurrent.futures
import fnmatch
import hashlib
import json
import os
import sys
import time

import normalise
import reasons
import sandbox
import situations

HERE = os.path.dirname(os.path.abspath(__file__))
TIMEOUT = 90
# Files that say what is played and how it is judged. A change of the others may change what a peer answers.
JUDGING = ('judge.py', 'reasons.py', 'situations.py', 'reported.py', 'golden.py')
INSIDE = ('in.', 'mount.')


def play(situation, runtime, probe, number):
    order = {**situation, 'runtime': runtime, 'probe': probe}
    command = [sys.executable, '-B', HERE + '/play.py']
    code, output, errors = sandbox.enclosed(f'compare-{os.getpid()}-{number}', command, json.dumps(order), TIMEOUT)
    if code != 0:
        return {'#broken': f'{code}: {errors.strip()[-1500:]}'}
    answer = json.loads(output)
    return normalise.normalise(answer['seen'], answer['namespaces'])


def surroundings():
    """What a container has of its host and of the caller: kernel, hierarchies of control groups, limits, priorities."""
    seen = [os.uname().release, os.nice(0)]
    for name in ('limits', 'oom_score_adj'):
        with open(f'/proc/self/{name}', encoding='utf-8') as file:
            seen.append(file.read())
    with open('/proc/self/cgroup', encoding='utf-8') as file:
        return seen + sorted(line.split(':')[1] for line in file)


class Peer:
    """A runtime whose answers are kept: they change only with its file, the situation, this directory, and `surroundings`."""

    def __init__(self, name, path, cache):
        self.name, self.path, self.cache = name, os.path.realpath(path), cache
        self.reasons = reasons.Reasons(name)
        # Where nucleus differs from runc with a reason, it may differ from the others as well.
        self.others = [] if name == 'runc' else [reasons.Reasons('runc')]
        self.counts = {'equal': 0, 'explained': 0, 'unexplained': 0, 'not played': 0}
        digest = hashlib.sha256()
        files = [self.path] + [os.path.join(HERE, file) for file in sorted(os.listdir(HERE)) if file.endswith(('.py', '.c'))]
        for file in files:
            if os.path.basename(file) not in JUDGING:
                with open(file, 'rb') as content:
                    digest.update(content.read())
        digest.update(repr(surroundings()).encode())
        self.digest = digest.hexdigest()

    def answer(self, situation, probe, number):
        situation = {key: value for key, value in situation.items() if key != 'adapted'}
        key = hashlib.sha256((self.digest + json.dumps(situation, sort_keys=True)).encode()).hexdigest()[:32]
        file = os.path.join(self.cache, key + '.json')
        if os.path.exists(file):
            with open(file, encoding='utf-8') as kept:
                return json.load(kept)
        seen = play(situation, self.path, probe, f'{number}-{self.name}')
        if '#broken' not in seen:
            with open(file, 'w', encoding='utf-8') as kept:
                json.dump(seen, kept)
        return seen

    def judge(self, name, ours, theirs):
        """Compares, counts, and prints what has no reason."""
        if '#broken' in ours or '#broken' in theirs:
            self.counts['not played'] += 1
            print(f'not ok {name}: cannot be played with {self.name}: {ours.get("#broken")} {theirs.get("#broken")}')
            return
        found = list(differences(ours, theirs))
        unknown = [one for one in found if not self.reasons.explains(name, one[0])
                   and not any(table.explains(name, one[0], counts=False) for table in self.others)]
        self.counts['unexplained' if unknown else 'explained' if found else 'equal'] += 1
        for field, mine, other in unknown:
            print(f'not ok {name} {field}\n    # nucleus: {mine[:300]!r}\n    # {self.name}: {other[:300]!r}')
        if unknown:
            for side, seen in (('nucleus', ours), (self.name, theirs)):
                for field in seen:
                    if field.startswith('#stderr'):
                        print(f'    # {side} {field[1:]}: {seen[field]!r}')


def differences(ours, theirs):
    """Each field with both values. A view that only one of the two programs could report is one difference, `view`."""
    views = [any(field.startswith(INSIDE) for field in seen) for seen in (ours, theirs)]
    if views[0] != views[1]:
        yield ('view', *('reported' if there else '(absent)' for there in views))
        ours, theirs = ({field: value for field, value in seen.items() if not field.startswith(INSIDE)} for seen in (ours, theirs))
    for field in sorted(set(ours) | set(theirs)):
        if not field.startswith('#') and ours.get(field) != theirs.get(field):
            yield field, ours.get(field, '(absent)'), theirs.get(field, '(absent)')


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--runtime', required=True)
    parser.add_argument('--peer', required=True, action='append', help='NAME=PATH; runc is the first')
    parser.add_argument('--probe', required=True)
    parser.add_argument('--cache', required=True)
    parser.add_argument('--only', nargs='*', default=['*'], help='patterns of situations')
    parser.add_argument('--every', type=int, default=1, help='one situation of so many')
    parser.add_argument('--show')
    return parser.parse_args()


def chosen(args):
    patterns = [args.show] if args.show else args.only
    wanted = [one for one in situations.situations() if any(fnmatch.fnmatchcase(one['name'], pattern) for pattern in patterns)]
    return wanted[::args.every]


def judge_all(args, peers, runtime):
    """Plays each situation with all, several at a time; prints what has no reason, or all views."""
    wanted = chosen(args)

    def all_views(number):
        situation = wanted[number]
        views = [peer.answer(situation, args.probe, number) for peer in peers if plays(peer, situation)]
        return situation, play(situation, runtime, args.probe, f'{number}-own'), views

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for situation, ours, views in pool.map(all_views, range(len(wanted))):
            playing = [peer for peer in peers if plays(peer, situation)]
            if args.show:
                print(json.dumps({'adapted': situation.get('adapted', []), 'nucleus': ours, **{peer.name: view for peer, view in zip(playing, views)}}, indent=1, sort_keys=True))
                continue
            if 'adapted' in situation:
                print(f'# {situation["name"]} is adapted: {", ".join(what for what, _ in situation["adapted"])}')
            for peer, theirs in zip(playing, views):
                peer.judge(situation['name'], ours, theirs)
    return len(wanted)


def plays(peer, situation):
    """crun knows no hybrid layout: it takes the host for one with cgroup v1."""
    return not (peer.name == 'crun' and situation['layout'] == 'hybrid')


def report(args, peers, count, seconds):
    """Prints rows without use or without documentation, and the counts; returns whether all is well."""
    good = bad = 0
    whole = args.only == ['*'] and args.every == 1
    for peer in peers:
        for row in peer.reasons.undocumented():
            bad += 1
            print(f'not ok {peer.reasons.name}:{row.number}: docs/differences.md has no row for: {row.why}')
        for row in peer.reasons.unused() if whole else []:
            bad += 1
            print(f'not ok {peer.reasons.name}:{row.number}: {row.situation} {row.field} explains nothing')
        counts = peer.counts
        good += counts['equal'] + counts['explained']
        bad += counts['unexplained'] + counts['not played']
        print(f'# compare with {peer.name}: {sum(counts.values())} situations, {counts["equal"]} equal, {counts["explained"]} with explained '
              f'differences, {counts["unexplained"]} with unexplained ones, {counts["not played"]} not played')
    print(f'# compare: {count} situations in {seconds:.0f} s')
    print(f'{good} {bad} 0')
    return bad == 0


def main():
    args = arguments()
    os.makedirs(args.cache, exist_ok=True)
    peers = [Peer(*one.split('=', 1), args.cache) for one in args.peer]
    start = time.monotonic()
    count = judge_all(args, peers, os.path.realpath(args.runtime))
    return 0 if args.show or report(args, peers, count, time.monotonic() - start) else 1


if __name__ == '__main__':
    sys.exit(main())
