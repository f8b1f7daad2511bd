"""Cross-play: every speaker with every listener, also of populations that have never met.

Every speaker is asked once, and what it says is heard by all listeners. Those of its own population
are its in-group, all others its out-group: strangers, who understand it only as far as languages
that were learnt apart have something in common.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.evaluation.judging import Draws, Judge, make_draws
from emcom_jax.evaluation.playing import converse, for_each, hear, say, see, show
from emcom_jax.games.base import Game, Games, table_of
from emcom_jax.metrics import bootstrap_interval
from emcom_jax.stacks import joined, sizes, stacks
from emcom_jax.types import Agent, Array, Bank, Message

_RESAMPLES = 1_000


class Group(NamedTuple):
    """A population whose members have met each other and nobody else.

    name: such as 'lewis', or 'lewis#1' for a replica.
    game: by which its agents speak and hear, or, of several architectures, a table as of
        `Evaluator`; populations of the same ones share one object, for which everything is compiled
        once.
    bank: the N referents as its agents see them, in the same order for all groups.
    speakers, listeners: stacks [S, ...] and [L, ...]; of several architectures tuples of stacks.
    shared: the trunk of the population.
    kinds: what is different in each speaker and in each listener, or '' if they are alike.
    """

    name: str
    game: Game | Games
    bank: Bank
    speakers: Agent | tuple[Agent, ...]
    listeners: Agent | tuple[Agent, ...]
    shared: Agent = Agent({}, {})
    kinds: tuple[Sequence[str], Sequence[str]] = ((), ())

    @property
    def sizes(self) -> tuple[int, int]:
        """S and L."""
        return sum(sizes(self.speakers)), sum(sizes(self.listeners))

    @property
    def labels(self) -> tuple[list[str], list[str]]:
        """The names of the speakers and of the listeners, as 'lewis/0' or 'lewis/0 (gru)'."""
        speakers, listeners = (
            [
                f'{self.name}/{k}' + (f' ({kind})' if kind else '')
                for k, kind in enumerate(kinds or [''] * size)
            ]
            for size, kinds in zip(self.sizes, self.kinds, strict=True)
        )
        return speakers, listeners


class Outcome(NamedTuple):
    """Who understood whom; S speakers and L listeners are those of all groups, one after another.

    num_candidates: the Q numbers of candidates, largest last; (0,) for a task without.
    speaker_groups, listener_groups: int [S], [L], the number of the group that each is of.
    accuracy: [Q, S, L] float64, mean over the referents.
    in_group: [Q, N] float64, mean over all pairs of one group, for each referent.
    out_group: [Q, N] float64, mean over all pairs of strangers; nan where there are none.
    best: int [Q, 2], the speaker and the listener of the highest accuracy.
    best_accuracy: [Q, N] float32, their accuracy for each referent.
    best_strangers, best_strangers_accuracy: the same among strangers; -1 and nan if there are none.
    """

    num_candidates: tuple[int, ...]
    speaker_groups: np.ndarray
    listener_groups: np.ndarray
    accuracy: np.ndarray
    in_group: np.ndarray
    out_group: np.ndarray
    best: np.ndarray
    best_accuracy: np.ndarray
    best_strangers: np.ndarray
    best_strangers_accuracy: np.ndarray


def cross_play(
    groups: Sequence[Group],
    config: ConfigDict,
    seed: int,
    tell: Callable[[int], None] = lambda pairs: None,
) -> Outcome:
    """Lets every speaker of every group talk with every listener of every group, greedily.

    The block of one group is what `Evaluator` finds for it with that seed.

    Args:
      groups: who plays; they have the same referents and messages of the same kind.
      config: the evaluation group; read are `num_candidates, redraws, batch_size, input_noise,
        channel_noise`.
      seed: of the candidates and the noise, which are alike for all pairs.
      tell: is told after each compiled call how many pairs are done.
    """
    draws, tables = make_draws(seed), {}
    games = [table_of(group.game) for group in groups]
    for game in (game for table in games for row in table for game in row):
        if game not in tables:
            tables[game] = _Table(game, config)

    def said_by(group: Group, table: Games) -> Message:
        said = [
            tables[row[0]].say(speakers, group.shared, group.bank, draws)
            for row, speakers in zip(table, stacks(group.speakers), strict=True)
        ]
        messages: Message = joined(said)
        return messages

    def heard_by(group: Group, table: Games, messages: Message) -> np.ndarray:
        correct = [
            tables[game].hear(listeners, messages, group.shared, group.bank, draws)
            for game, listeners in zip(table[0], stacks(group.listeners), strict=True)
        ]
        return np.concatenate(jax.device_get(correct), axis=2)

    def conversed(i: int, j: int) -> np.ndarray:
        one, other = groups[i], groups[j]
        correct = [
            [
                tables[hearing].converse(
                    row[0],
                    (speakers, one.shared, one.bank),
                    (listeners, other.shared, other.bank),
                    draws,
                )
                for hearing, listeners in zip(games[j][0], stacks(other.listeners), strict=True)
            ]
            for row, speakers in zip(games[i], stacks(one.speakers), strict=True)
        ]
        rows = [np.concatenate(jax.device_get(row), axis=2) for row in correct]
        return np.concatenate(rows)

    def heard(i: int, j: int) -> np.ndarray:
        if games[j][0][0].converses:
            return conversed(i, j)
        return heard_by(groups[j], games[j], said[i])

    said: list[Any] = []
    if not games[0][0][0].converses:
        said = [said_by(group, table) for group, table in zip(groups, games, strict=True)]
    counts = Judge(games[0][0][0], config).num_candidates(len(groups[0].bank.inputs))
    speakers, listeners = np.array([group.sizes for group in groups]).T
    tally = _Tally(speakers, listeners, counts)
    for i, j in itertools.product(range(len(groups)), repeat=2):
        tell(tally.add(i, j, heard(i, j)))
    return tally.outcome()


class _Table:
    """Speaking and hearing by one game under one condition; compiled once for each shape.

    Agents of one stack come one after the other where what all make of it would not fit in memory,
    as in `Evaluator`.
    """

    def __init__(self, game: Game, config: ConfigDict):
        self._game = game
        self._config = config
        self._judge = Judge(game, config)
        self.say = jax.jit(self._say)
        self.hear = jax.jit(self._hear)
        self.converse = jax.jit(self._converse, static_argnums=0)

    def _say(self, speakers: Agent, shared: Agent, bank: Bank, draws: Draws) -> Message:
        """What speakers [S, ...] say of each referent; leaves [S, N, ...]."""
        views = see(self._game, self._config, 'speaker', speakers, shared, bank, draws)
        messages: Message = for_each(partial(say, self._game, self._config), speakers, views)
        return messages

    def _hear(
        self, listeners: Agent, messages: Message, shared: Agent, bank: Bank, draws: Draws
    ) -> Array:
        """How well listeners [L, ...] understand messages [S, N, ...]: [S, Q, L, N]."""
        counts = self._judge.num_candidates(len(bank.inputs))
        views = see(self._game, self._config, 'listener', listeners, shared, bank, draws)

        def of_speaker(message: Message) -> Array:
            shown = show(self._game, self._config, shared, message)
            guess = hear(self._game, self._config, listeners, views, shown, draws)
            correct, _, _ = self._judge(guess, bank, counts, draws.candidates)
            return correct

        return jax.lax.map(of_speaker, messages)

    def _converse(
        self,
        game: Game,
        speaking: tuple[Agent, Agent, Bank],
        hearing: tuple[Agent, Agent, Bank],
        draws: Draws,
    ) -> Array:
        """How well listeners [L, ...] understand speakers [S, ...] of another game (or the same)
        in dialogues: [S, Q, L, N]. Of both sides their agents, what these share, and their bank."""
        counts = self._judge.num_candidates(hearing[2].size)
        view = see(game, self._config, 'speaker', *speaking, draws)
        views = see(self._game, self._config, 'listener', *hearing, draws)
        among = hearing[2].among

        def of_speaker(speaker: Agent, view: Array) -> Array:
            games, listeners = (game, self._game), hearing[0]
            _, guess, _ = converse(
                games, self._config, speaker, view, listeners, views, among, draws
            )
            correct, _, _ = self._judge(guess, hearing[2], counts, draws.candidates)
            return correct

        correct: Array = for_each(of_speaker, speaking[0], view)
        return correct


class _Tally:
    """Adds up what all pairs of groups bring, and keeps no more of it than is read."""

    def __init__(
        self, speakers: np.ndarray, listeners: np.ndarray, num_candidates: tuple[int, ...]
    ):
        """speakers, listeners: the sizes of the groups, [P] each."""
        self._num_candidates = num_candidates
        self._groups = tuple(np.repeat(np.arange(len(n)), n) for n in (speakers, listeners))
        self._accuracy = np.full((len(num_candidates), speakers.sum(), listeners.sum()), np.nan)
        self._sums: dict[bool, Any] = {True: 0.0, False: 0.0}  # In-group? -> [Q, N]
        self._pairs = {True: 0, False: 0}
        # Of all, and of strangers: for each of Q the accuracy, the pair, and [N].
        self._best: dict[str, list[tuple[float, tuple[int, int], np.ndarray]]] = {}

    def add(self, i: int, j: int, correct: np.ndarray) -> int:
        """Adds the block [S, Q, L, N] of the speakers of group i with the listeners of group j.

        Returns how many pairs there are by now."""
        correct = np.moveaxis(correct, 1, 0)  # [Q, S, L, N]
        accuracy = correct.mean(axis=-1, dtype=np.float64)
        rows, columns = (
            np.flatnonzero(own == k) for own, k in zip(self._groups, (i, j), strict=True)
        )
        self._accuracy[:, rows[:, None], columns] = accuracy
        self._sums[i == j] = self._sums[i == j] + correct.sum(axis=(1, 2), dtype=np.float64)
        self._pairs[i == j] += accuracy[0].size
        found = []
        for values, each in zip(accuracy, correct, strict=True):
            s, k = np.unravel_index(values.argmax(), values.shape)
            found.append((float(values[s, k]), (int(rows[s]), int(columns[k])), each[s, k].copy()))
        for whose in ('all',) if i == j else ('all', 'strangers'):
            both = zip(self._best.get(whose, found), found, strict=True)
            self._best[whose] = [max(two, key=lambda x: x[0]) for two in both]
        return sum(self._pairs.values())

    def outcome(self) -> Outcome:
        """What all blocks together say."""
        none = np.full_like(self._sums[True], np.nan)
        strangers = self._pairs[False]
        nobody = [(np.nan, (-1, -1), each) for each in none]
        best, best_strangers = (self._best.get(whose, nobody) for whose in ('all', 'strangers'))
        return Outcome(
            num_candidates=self._num_candidates,
            speaker_groups=self._groups[0],
            listener_groups=self._groups[1],
            accuracy=self._accuracy,
            in_group=self._sums[True] / self._pairs[True],
            out_group=self._sums[False] / strangers if strangers else none,
            best=np.array([pair for _, pair, _ in best]),
            best_accuracy=np.stack([each for _, _, each in best]),
            best_strangers=np.array([pair for _, pair, _ in best_strangers]),
            best_strangers_accuracy=np.stack([each for _, _, each in best_strangers]),
        )


def blocks(outcome: Outcome) -> np.ndarray:
    """Mean accuracy [Q, P, P] of the speakers of one of P groups with the listeners of another."""
    number = np.arange(outcome.speaker_groups.max() + 1)[:, None]
    share = [number == own for own in (outcome.speaker_groups, outcome.listener_groups)]
    speakers, listeners = (own / own.sum(axis=1, keepdims=True) for own in share)
    return speakers @ outcome.accuracy @ listeners.T


def summarize(outcome: Outcome, names: tuple[Sequence[str], Sequence[str]]) -> dict[str, Any]:
    """States an outcome in numbers: 'accuracy@C' -> means with their 95 % bootstrap intervals.

    Intervals resample referents, not agents or populations. That of the difference resamples each
    referent together in and out of group; those of the best pairs do not know that they were
    chosen. Of a single group, `out_group`, `difference` and `best_strangers` are nan.

    names: of the S speakers and the L listeners.
    """
    values = {}
    for q, count in enumerate(outcome.num_candidates):
        inside, outside = outcome.in_group[q], outcome.out_group[q]
        found: dict[str, Any] = {'matrix': outcome.accuracy[q], 'blocks': blocks(outcome)[q]}
        for name, each in (
            ('in_group', inside),
            ('out_group', outside),
            ('difference', inside - outside),
            ('best_pair', outcome.best_accuracy[q]),
            ('best_strangers', outcome.best_strangers_accuracy[q]),
        ):
            found[name] = float(each.mean(dtype=np.float64))
            found[f'{name}_ci95'] = bootstrap_interval(each, _RESAMPLES, seed=0)
        for prefix, (speaker, listener) in (
            ('best', outcome.best[q]),
            ('best_strangers', outcome.best_strangers[q]),
        ):
            if speaker >= 0:
                found[f'{prefix}_speaker'] = names[0][speaker]
                found[f'{prefix}_listener'] = names[1][listener]
        values[_name(count)] = found
    return values


def summarize_drop(clean: Outcome, noisy: Outcome) -> dict[str, Any]:
    """States what noise costs: 'accuracy@C' -> the relative drop of the means in and out of group
    with their 95 % bootstrap intervals, of the matrix and of the blocks.

    The intervals resample each referent together without noise and with it.
    """

    def of_means(means: np.ndarray) -> np.ndarray:
        return relative_drop(means[..., 0], means[..., 1])

    pair = (clean, noisy)
    values = {}
    for q, count in enumerate(clean.num_candidates):
        found: dict[str, Any] = {
            'matrix': relative_drop(*(one.accuracy[q] for one in pair)),
            'blocks': relative_drop(*(blocks(one)[q] for one in pair)),
        }
        for name in ('in_group', 'out_group'):
            each = np.stack([getattr(one, name)[q] for one in pair], axis=-1)
            found[name] = float(of_means(each.mean(axis=0)))
            found[f'{name}_ci95'] = bootstrap_interval(each, _RESAMPLES, 0, of_means)
        values[_name(count)] = found
    return values


def _name(count: int) -> str:
    return f'accuracy@{count}' if count else 'accuracy'


def relative_drop(clean: Any, noisy: Any) -> np.ndarray:
    """(clean - noisy) / clean: the share of an accuracy that noise costs; nan where there was none.

    Chaabouni et al. 2022 ('robustness')."""
    clean, noisy = np.asarray(clean, np.float64), np.asarray(noisy, np.float64)
    drop = np.full(clean.shape, np.nan)
    np.divide(clean - noisy, clean, out=drop, where=clean != 0)
    return drop
