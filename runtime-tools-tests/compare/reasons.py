"""The tables of reasons: expected.tsv for runc, expected-PEER.tsv for others, and docs/differences.md, which has to know those of
nucleus. Called by judge.py.
"""
import fnmatch
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
DIFFERENCES = os.path.join(HERE, '../../docs/differences.md')
# `runc`: nucleus does as runc does, and the other peer differs from both.
SIDES = {'nucleus', 'peer', 'host', 'both', 'runc'}


def table_of(peer):
    return os.path.join(HERE, 'expected.tsv' if peer == 'runc' else f'expected-{peer}.tsv')


class Row:
    def __init__(self, number, situation, field, side, why):
        self.number, self.situation, self.field, self.side, self.why, self.uses = number, situation, field, side, why, 0


class Reasons:
    def __init__(self, peer):
        self.path = table_of(peer)
        self.name = os.path.basename(self.path)
        self.rows = []
        with open(self.path, encoding='utf-8') as file:
            for number, line in enumerate(file, 1):
                if line.strip() and not line.startswith('#'):
                    cells = line.rstrip('\n').split('\t')
                    if len(cells) != 4 or cells[2] not in SIDES or not cells[3]:
                        sys.exit(f'{self.path}:{number}: needs situation, field, one of {sorted(SIDES)}, and a reason')
                    self.rows.append(Row(number, *cells))

    def explains(self, situation, field, counts=True):
        found = [row for row in self.rows if fnmatch.fnmatchcase(situation, row.situation) and fnmatch.fnmatchcase(field, row.field)]
        for row in found if counts else []:
            row.uses += 1
        return bool(found)

    def unused(self):
        return [row for row in self.rows if not row.uses]

    def undocumented(self):
        """Rows where nucleus is right, and docs/differences.md has no row with these words."""
        known = documented()
        return [row for row in self.rows if row.side == 'nucleus' and not is_documented(row.why, known)]


def documented():
    """(matter, what nucleus does) of each row of the tables in docs/differences.md."""
    with open(DIFFERENCES, encoding='utf-8') as file:
        lines = [line.strip() for line in file if line.startswith('| ')]
    rows = [[cell.strip() for cell in line.strip('|').split(' | ')] for line in lines]
    return [(row[0], row[2]) for row in rows if len(row) >= 3]


def is_documented(why, known):
    """`MATTER: BEHAVIOUR` names a row by its first cell, and says the beginning of its third."""
    return any(why.startswith(matter + ': ') and behaviour.startswith(why[len(matter) + 2:]) for matter, behaviour in known)
