"""Agents that converse talk longer about what is harder; a price of turns makes dialogues short at
little loss; where nothing asks for more turns, all is told in the first.

Evtimova, Drozdov, Kiela & Cho, Emergent communication in a multi-modal, multi-step referential
game, ICLR 2018.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from sklearn.neighbors import KNeighborsClassifier

from benchmarks.reproductions import claim
from emcom_jax.metrics import records
from emcom_jax.metrics.dialogue import LABEL, dialogues_of
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.types import EvalRecord

RECIPE = '--config=configs/dialogue.py:clusters'
REPLICAS = 3
COSTS = (0.0, 0.01, 0.05)
# Classes that look alike can be told apart, in the first world and its control, by whoever says
# enough of them (.97 right at best), in the other one often not (.80).
WORLDS = {
    'clear': [],
    'permuted': ['--config.data.cluster_permuted=True'],
    'noisy': ['--config.data.feature_noise=1.0'],
}
# What is hard for those who say all at once: in the bits of one of 8 turns, or in those of all.
AT_ONCE = {'one turn': 3, 'one long turn': 24}
LONG = '24 bits'  # The first world, of those who need no second turn, but have it.
# Who learns to talk and to stop at once stops too soon: all turns are played at first.
ALL, START = 'all turns', f'cost {COSTS[-1]} from the start'
PRICED_STEPS = 2000
NEIGHBOURS = 15


class _Talks(NamedTuple):
    """What is read off the test records of a run.

    wrong, turns: [R, D], share of wrong guesses and mean number of turns of each class.
    known: [R, K], bits that the listener knows of the target after each turn.
    told: [R, K], how often the target is guessed from what was said until then (`_told`).
    looks, said: [D], size of the cluster that a class looks like, and of that which its description
        tells of.
    """

    wrong: np.ndarray
    turns: np.ndarray
    known: np.ndarray
    told: np.ndarray
    looks: np.ndarray
    said: np.ndarray


def runs(root: Path) -> dict[Path, list[str]]:
    """In each world those who say all at once; those who play all turns, and from there on may
    stop, at each cost of a turn; in the first world, those too who had to pay from the start."""
    found = {}
    for world, flags in (WORLDS | {LONG: ['--config.channel.vocab_size=24']}).items():
        common = [RECIPE, f'--config.replicas={REPLICAS}', '--config.random_seed=1', *flags]
        alike = [
            '--config.channel.variable_length=False',
            '--config.loss.listener.stop_entropy=0.0',
        ]
        for name, bits in AT_ONCE.items() if world in WORLDS else ():
            found[_run(root, world, name)] = [
                *common,
                *alike,
                f'--config.channel.vocab_size={bits}',
                '--config.channel.length=1',
            ]
        found[_run(root, world, ALL)] = [*common, *alike]
        for cost in COSTS:
            found[_run(root, world, _at(cost))] = [
                *common,
                f'--config.loss.speaker.length_cost={cost}',
                f'--config.from_run={_run(root, world, ALL)}',
                f'--config.training_steps={PRICED_STEPS}',
            ]
    start = [RECIPE, f'--config.replicas={REPLICAS}', '--config.random_seed=1']
    steps = f'--config.training_steps={4000 + PRICED_STEPS}'
    cost = f'--config.loss.speaker.length_cost={COSTS[-1]}'
    return found | {_run(root, 'clear', START): [*start, steps, cost]}


def conclude(root: Path) -> tuple[Figure, str]:
    """What a turn's cost does; length beside difficulty, over classes; both by size of cluster; and
    what is told in which turn."""
    paid = [_at(cost) for cost in COSTS]
    names = {world: (*AT_ONCE, ALL, *paid) for world in WORLDS} | {LONG: (ALL, *paid)}
    names['clear'] += (START,)
    found = {
        world: {name: _read(_run(root, world, name)) for name in of} for world, of in names.items()
    }
    priced, related, by_size, by_turn = [], [], [], []
    for world, talks in found.items():
        free = talks[paid[0]]
        for name in names[world]:
            these = talks[name]
            line = [claim.mean(these.turns.mean(axis=1)), claim.mean(1 - these.wrong.mean(axis=1))]
            if name in paid[1:]:
                line.append(claim.mean((these.turns - free.turns).mean(axis=1)))
                line.append(claim.mean((free.wrong - these.wrong).mean(axis=1)))
            priced.append([world, name, *line, *[''] * (4 - len(line))])
            if name not in AT_ONCE:
                for what, values in (('told', these.told), ('known, bits', these.known)):
                    by_turn.append([world, name, what, *map(claim.mean, values.T)])
    for world in WORLDS:
        talks = found[world]
        hard = [talks[name].wrong.mean(axis=0) for name in AT_ONCE]
        looks, said = talks[ALL].looks, talks[ALL].said
        for name in names[world][3:]:
            turns = talks[name].turns
            together = turns.mean(axis=0)
            related.append([
                world,
                name,
                *(claim.mean(_rho(turns, other)) for other in (*hard, looks, said)),
                claim.correlation(together, hard[1]) if np.ptp(together) > 0 else 'all alike',
            ])  # fmt: skip
        for place, size in enumerate(np.unique(looks)):
            columns = [talks[name].wrong for name in (*AT_ONCE, ALL)]
            columns += [of for name in paid for of in (talks[name].turns, talks[name].wrong)]
            by_size.append([world, size])
            by_size[-1] += [claim.mean(_by(values, looks)[:, place]) for values in columns]
    once = [f'wrong, {name}' for name in AT_ONCE]
    each = [f'{what}, {name}' for name in paid for what in ('turns', 'wrong')]
    sizes = ['size of cluster, by looks', 'by description', f'seeds together, {once[1]}']
    last = range(1, free.known.shape[1] + 1)
    less = ['turns less cost 0', 'accuracy less cost 0']
    text = '\n\n'.join([
        claim.table(['world', 'agents', 'turns', 'accuracy', *less], priced),
        claim.table(['Spearman of turns', 'agents', *once, *sizes], related),
        claim.table(['world', 'size of cluster', *once, f'wrong, {ALL}', *each], by_size),
        claim.table(['until turn', 'agents', 'what', *last], by_turn),
    ])  # fmt: skip
    return _draw(found), text


def _draw(found: dict[str, dict[str, _Talks]]) -> Figure:
    """Errors and turns by size of cluster; what is told by turn."""
    figure, panels = claim.figure(3 + len(WORLDS))
    for world in WORLDS:
        talks = found[world]['one long turn']
        claim.line(panels[0], np.unique(talks.looks), _by(talks.wrong, talks.looks), world)
    claim.style(panels[0], 'wrong, said at once')
    for ax, world in zip(panels[1:-2], WORLDS, strict=True):
        for cost in COSTS:
            talks = found[world][_at(cost)]
            claim.line(ax, np.unique(talks.looks), _by(talks.turns, talks.looks), _at(cost))
        claim.style(ax, f'turns, {world}')
    for ax in panels[:-2]:
        ax.set_xscale('log', base=2)
        ax.set_xticks(np.unique(talks.looks), np.unique(talks.looks))
        ax.set_xlabel('classes that look alike', fontsize=8)
    for ax, world, bits in ((panels[-2], 'clear', 3), (panels[-1], LONG, 24)):
        for name in (ALL, *map(_at, COSTS)):
            told = found[world][name].told
            claim.line(ax, 1 + np.arange(told.shape[1]), told, name)
        claim.style(ax, f'guessed from what was said, {bits} bits')
        ax.set_xlabel('until turn', fontsize=8)
    for ax in panels:
        ax.legend(fontsize=7, frameon=False)
    return figure


def _read(run: Path) -> _Talks:
    wrong, turns, known, told = [], [], [], []
    for replica in range(REPLICAS):
        record = records.load(RunDirectory(run).record('test', replica))
        labels = record.labels[LABEL]
        wrong.append(_by(1 - record.correct[-1].mean(axis=(0, 1))[None], labels)[0])
        turns.append(_by(record.lengths.mean(axis=0)[None], labels)[0])
        known.append(dialogues_of(record)['information_by_turn'])
        told.append(_told(record))
    # The clusters of one example of each class.
    clusters = (
        np.array([record.labels[name][labels == one][0] for one in np.unique(labels)])
        for name in ('cluster', 'described')
    )
    looks, said = (np.bincount(each)[each] for each in clusters)
    return _Talks(*map(np.array, (wrong, turns, known, told)), looks, said)


def _told(record: EvalRecord) -> list[float]:
    """How often classes are guessed from all bits that were said until a turn (zeros after the end)
    by their nearest neighbours in the other half: what was told, whether or not the listener made
    anything of it. (What it believes before it ever ends a dialogue it need not learn.)"""
    labels, turns = record.labels[LABEL], record.messages.shape[2]
    played = np.arange(turns) < record.lengths[0][:, None]
    said = record.messages[0] * played[..., None]
    half = len(labels) // 2
    right = []
    for turn in range(1, turns + 1):
        bits = said[:, :turn].reshape(len(labels), -1)
        near = KNeighborsClassifier(min(NEIGHBOURS, half), algorithm='brute')
        near.fit(bits[:half], labels[:half])
        right.append(near.score(bits[half:], labels[half:]))
    return right


def _by(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Means of values [R, n] over each kind, int [n] -> [R, kinds]."""
    return np.stack([values[:, kinds == kind].mean(axis=1) for kind in np.unique(kinds)], axis=1)


def _rho(turns: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation of [R, D] with [D] for each replica, [R]; 0 where dialogues
    are equally long for all classes, and so not longer for some."""
    return np.array([
        stats.spearmanr(each, other).statistic if np.ptp(each) > 0 else 0.0 for each in turns
    ])  # fmt: skip


def _at(cost: float) -> str:
    return f'cost {cost}'


def _run(root: Path, *names: str) -> Path:
    return root / '-'.join(names).replace(' ', '_')


CLAIM = claim.Claim(runs, conclude)
