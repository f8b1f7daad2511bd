"""Conversation: do agents talk longer about what is harder, what does a price of turns do, what are
more turns and bits good for, and does attention help with what was never seen?

Evtimova, Drozdov, Kiela & Cho, Emergent communication in a multi-modal, multi-step referential
game, ICLR 2018.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.reproductions import claim
from emcom_jax.metrics import records
from emcom_jax.metrics.dialogue import LABEL, dialogues_of
from emcom_jax.report.curves import COLORS
from emcom_jax.runtime.run_directory import RunDirectory

RECIPE = '--config=configs/dialogue.py'
REPLICAS = 3
SEEDS = [f'--config.replicas={REPLICAS}', '--config.random_seed=1']

# --- talk_length: 32 classes, some of which are hard to tell apart --------------------------------

COSTS = (0.0, 0.01, 0.05)
WORLDS = {'clusters': [], 'permuted': ['--config.data.cluster_permuted=True']}
# What is hard for those who say all at once: in the bits of one of 8 turns, or in those of all.
AT_ONCE = {'one turn': 3, 'one long turn': 24}


class _Talks(NamedTuple):
    """What is read off the test records of a run.

    wrong, turns: [R, D], share of wrong guesses and mean number of turns of each class.
    known: [R, K], bits that the listener knows of the target after each turn.
    looks, told: [D], size of the cluster that a class looks like, and of that which its description
        tells of.
    """

    wrong: np.ndarray
    turns: np.ndarray
    known: np.ndarray
    looks: np.ndarray
    told: np.ndarray


def length_runs(root: Path) -> dict[Path, list[str]]:
    """In each world those who say all at once, and those who may stop, at each cost of a turn."""
    found = {}
    for world, permuted in WORLDS.items():
        common = [f'{RECIPE}:clusters', *SEEDS, *permuted]
        for name, bits in AT_ONCE.items():
            found[_run(root, world, name)] = [
                *common,
                f'--config.channel.vocab_size={bits}',
                '--config.channel.length=1',
                '--config.channel.variable_length=False',
                '--config.loss.speaker.length_cost=0.0',
            ]
        for cost in COSTS:
            flag = f'--config.loss.speaker.length_cost={cost}'
            found[_run(root, world, f'cost {cost}')] = [*common, flag]
    return found


def length_conclude(root: Path) -> tuple[Figure, str]:
    """What a turn's cost does; length beside difficulty, over classes; both by size of cluster; and
    what is told in which turn."""
    names = [*AT_ONCE, *(f'cost {cost}' for cost in COSTS)]
    found = {world: {name: _read(_run(root, world, name)) for name in names} for world in WORLDS}
    priced, related, by_size, by_turn = [], [], [], []
    for world, talks in found.items():
        hard = [talks[name].wrong.mean(axis=0) for name in AT_ONCE]
        looks, told = talks['one turn'].looks, talks['one turn'].told
        free = talks[f'cost {COSTS[0]}']
        for cost in COSTS:
            these = talks[f'cost {cost}']
            priced.append([world, cost])
            for values, without in (
                (these.turns.mean(axis=1), free.turns.mean(axis=1)),
                (1 - these.wrong.mean(axis=1), 1 - free.wrong.mean(axis=1)),
            ):
                priced[-1] += [claim.mean(values), claim.difference(values, without)]
            over_seeds = these.turns.mean(axis=0)
            related.append([
                world,
                cost,
                *(claim.mean(_rho(these.turns, other)) for other in (*hard, looks, told)),
                claim.correlation(over_seeds, hard[0]) if np.ptp(over_seeds) else '',
            ])  # fmt: skip
            known = these.known
            share = claim.mean(known[:, 0] / known[:, -1])
            by_turn.append([world, cost, *map(claim.mean, known.T), share])
        for place, size in enumerate(np.unique(looks)):
            columns = [talks[name].wrong for name in AT_ONCE]
            for cost in COSTS:
                columns += [talks[f'cost {cost}'].turns, talks[f'cost {cost}'].wrong]
            by_size.append([world, size])
            by_size[-1] += [claim.mean(_by(values, looks)[:, place]) for values in columns]
    costs = [f'{what}, cost {cost}' for cost in COSTS for what in ('turns', 'wrong')]
    once = [f'wrong, {name}' for name in AT_ONCE]
    sizes = ['size of the cluster it looks like', 'size of the cluster it is told to be of']
    turns = range(1, free.known.shape[1] + 1)
    text = '\n\n'.join([
        claim.table(['world', 'cost', 'turns', 'less cost 0', 'accuracy', 'less cost 0'], priced),
        claim.table(['rho of turns with', 'cost', *once, *sizes, 'seeds together'], related),
        claim.table(['world', 'size of cluster', *once, *costs], by_size),
        claim.table(['bits known after', 'cost', *turns, 'share of the first'], by_turn),
    ])  # fmt: skip
    return _draw_length(found), text


def _draw_length(found: dict[str, dict[str, _Talks]]) -> Figure:
    """Errors and turns by size of cluster, what is known by turn."""
    figure, panels = claim.figure(2 + len(found))
    for name in AT_ONCE:
        talks = found['clusters'][name]
        _line(panels[0], np.unique(talks.looks), _by(talks.wrong, talks.looks), name)
    claim.style(panels[0], 'wrong, said at once')
    for ax, (world, all_talks) in zip(panels[1:], found.items(), strict=False):
        for cost in COSTS:
            talks = all_talks[f'cost {cost}']
            _line(ax, np.unique(talks.looks), _by(talks.turns, talks.looks), f'cost {cost}')
        claim.style(ax, f'turns, {world}')
    for ax in panels[:-1]:
        ax.set_xscale('log', base=2)
        ax.set_xlabel('classes that look alike', fontsize=8)
    for cost in COSTS:
        known = found['clusters'][f'cost {cost}'].known
        _line(panels[-1], 1 + np.arange(known.shape[1]), known, f'cost {cost}')
    claim.style(panels[-1], 'bits known of the target')
    panels[-1].set_xlabel('turn', fontsize=8)
    for ax in panels:
        ax.legend(fontsize=7, frameon=False)
    return figure


def _read(run: Path) -> _Talks:
    wrong, turns, known = [], [], []
    for replica in range(REPLICAS):
        record = records.load(RunDirectory(run).record('test', replica))
        labels = record.labels[LABEL]
        wrong.append(_by(1 - record.correct[-1].mean(axis=(0, 1))[None], labels)[0])
        turns.append(_by(record.lengths.mean(axis=0)[None], labels)[0])
        known.append(dialogues_of(record)['information_by_turn'])
    # The clusters of one example of each class.
    clusters = (
        np.array([record.labels[name][labels == one][0] for one in np.unique(labels)])
        for name in ('cluster', 'described')
    )
    looks, told = (np.bincount(each)[each] for each in clusters)
    return _Talks(np.array(wrong), np.array(turns), np.array(known), looks, told)


def _by(values: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Means of values [R, n] over each kind, int [n] -> [R, kinds]."""
    return np.stack([values[:, kinds == kind].mean(axis=1) for kind in np.unique(kinds)], axis=1)


def _rho(turns: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation of [R, D] with [D] for each replica, [R]; 0 where dialogues
    are equally long for all classes, and so not longer for some."""
    return np.array([
        stats.spearmanr(each, other).statistic if np.ptp(each) > 0 else 0.0 for each in turns
    ])  # fmt: skip


# --- talk_bits: turns, bits, and classes that were never seen -------------------------------------

TURNS, BITS = (1, 2, 5, 10), (8, 32)
SPLITS = {'test': 'test', 'ood': 'unseen classes', 'transfer': 'unseen family'}
SCENES = [*SEEDS, '--config.training_steps=4000', '--config.evaluation.every=0']
ALL_TURNS = '--config.channel.variable_length=False'


def bits_runs(root: Path) -> dict[Path, list[str]]:
    """For each number of turns and bits, all of which are played; and those who hear what is said
    of another scene, in training, too."""
    found = {
        root / f'{turns}x{bits}': [
            RECIPE,
            *SCENES,
            ALL_TURNS,
            f'--config.channel.length={turns}',
            f'--config.channel.vocab_size={bits}',
        ]
        for turns in TURNS
        for bits in BITS
    }
    found[root / 'shuffled'] = [RECIPE, *SCENES, ALL_TURNS, '--config.channel.shuffled=True']
    return found


def bits_conclude(root: Path) -> tuple[Figure, str]:
    """Accuracy by turns and bits on what was trained, on new classes, on a new family."""
    few, many = BITS
    rows = {(turns, bits): root / f'{turns}x{bits}' for turns in TURNS for bits in BITS}
    lines = [[*key, *_accuracies(run)] for key, run in rows.items()]
    lines.append(['no communication', '', *_accuracies(root / 'shuffled')])
    lines.append(
        ['constant guess', '', *(f'{_constant(root / "shuffled", s):.3f}' for s in SPLITS)]
    )
    found = {
        split: {key: claim.replicas(run, 'accuracy', split) for key, run in rows.items()}
        for split in SPLITS
    }
    gains = [
        [turns, *(claim.difference(of[turns, many], of[turns, few]) for of in found.values())]
        for turns in TURNS
    ]
    means = {
        bits: [_over(of[turns, bits] for turns in TURNS) for of in found.values()] for bits in BITS
    }
    gains.append(['mean', *map(claim.difference, means[many], means[few])])
    figure, panels = claim.figure(len(SPLITS))
    for ax, (split, of) in zip(panels, found.items(), strict=True):
        for bits in BITS:
            _line(ax, TURNS, np.stack([of[turns, bits] for turns in TURNS], axis=1), f'{bits} bits')
        ax.axhline(_constant(root / 'shuffled', split), color='0.6', linewidth=0.8)
        ax.set_xlabel('turns', fontsize=8)
        claim.style(ax, f'accuracy, {SPLITS[split]}')
    panels[0].legend(fontsize=7, frameon=False)
    head = list(SPLITS.values())
    text = claim.table(['turns', 'bits of a turn', *head], lines)
    text += '\n\n' + claim.table([f'turns: {many} bits less {few}', *head], gains)
    return figure, text


# --- talk_attention: a speaker that looks where it is asked to ------------------------------------

LOOKS = {
    'whole map': [],
    'attention': ['--config.speaker.attention=64'],
    # Its first look is the same everywhere: the mean over places, as published without attention.
    'mean of the map': ['--config.speaker.attention=64', '--config.channel.length=1'],
}


def attention_runs(root: Path) -> dict[Path, list[str]]:
    """The three ways to look at a scene."""
    return {_run(root, name): [RECIPE, *SCENES, ALL_TURNS, *flags] for name, flags in LOOKS.items()}


def attention_conclude(root: Path) -> tuple[Figure, str]:
    """Accuracy on what was trained, on new classes, on a new family."""
    lines = [[name, *_accuracies(_run(root, name))] for name in LOOKS]
    figure, panels = claim.figure(len(SPLITS))
    for ax, (split, title) in zip(panels, SPLITS.items(), strict=True):
        each = {name: claim.replicas(_run(root, name), 'accuracy', split) for name in LOOKS}
        claim.dots(ax, each, f'accuracy, {title}')
        ax.axhline(_constant(_run(root, 'whole map'), split), color='0.6', linewidth=0.8)
    for other in ('whole map', 'mean of the map'):
        pairs = (
            [claim.replicas(_run(root, name), 'accuracy', split) for name in ('attention', other)]
            for split in SPLITS
        )
        lines.append([f'attention less {other}', *(claim.difference(*pair) for pair in pairs)])
    return figure, claim.table(['speaker sees', *SPLITS.values()], lines)


# --- all ------------------------------------------------------------------------------------------


def _run(root: Path, *names: str) -> Path:
    return root / '-'.join(names).replace(' ', '_')


def _accuracies(run: Path) -> list[str]:
    return [claim.mean(claim.replicas(run, 'accuracy', split)) for split in SPLITS]


def _constant(run: Path, split: str) -> float:
    """The accuracy of the best guess of those who hear nothing."""
    summary = RunDirectory(run).read_summary()
    assert summary is not None
    return float(summary[split]['accuracy_constant'])


def _over(values: Iterable[np.ndarray]) -> np.ndarray:
    return np.mean(list(values), axis=0)


def _line(ax: Axes, places: Sequence[int] | np.ndarray, values: np.ndarray, label: str) -> None:
    """Means of values [R, n] at n places, with their intervals."""
    low, high = np.array([claim.interval(column) for column in values.T]).T
    mean, color = values.mean(axis=0), COLORS[len(ax.get_lines()) % len(COLORS)]
    ax.fill_between(places, low, high, color=color, alpha=0.15, linewidth=0)
    ax.plot(places, mean, 'o-', markersize=4, color=color, label=label)


LENGTH = claim.Claim(length_runs, length_conclude)
BITS_AND_TURNS = claim.Claim(bits_runs, bits_conclude)
ATTENTION = claim.Claim(attention_runs, attention_conclude)
