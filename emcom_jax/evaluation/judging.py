"""Judging what listeners made of messages, and what an evaluation draws by chance."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import losses
from emcom_jax.games.base import Game
from emcom_jax.types import Array, Bank, Guess, Key

Judged = tuple[Array, Array, Array]  # correct [Q, L, N], loss [Q, L, N], vote [Q, N].


class Draws(NamedTuple):
    """The keys of an evaluation: of the noise of the inputs, that of the channel, and of the
    candidates."""

    inputs: Key
    channel: Key
    candidates: Key


def make_draws(seed: int) -> Draws:
    """The keys depend on a seed alone: two evaluations of one split with one seed play with the
    same candidates and the same noise."""
    return Draws(*jax.random.split(jax.random.fold_in(jax.random.key(seed), 0), 3))


class Judge:
    """Judges the guesses of listeners of one game."""

    def __init__(self, game: Game, config: ConfigDict):
        """config: the evaluation group; read are `num_candidates` and `redraws`."""
        self._game = game
        self._config = config

    def num_candidates(self, size: int) -> tuple[int, ...]:
        """The numbers of candidates for a split of `size` examples: one above it becomes it."""
        if not self._game.has_candidates:
            return (0,)
        return tuple(sorted({min(count, size) for count in self._config.num_candidates}))

    def rivals(self, bank: Bank, rows: Array) -> Array | None:
        """Which group of distractors each of the referents [N] of a bank is of, int [N], for
        `in_groups`; None: they are drawn."""
        if self._config.distractors == 'context':
            return jnp.argsort(context_order(len(rows)))  # All apart: that order it is.
        if self._config.distractors == 'random' or bank.rivals is None:
            return None
        return bank.rivals.group[rows]

    def classes(self, bank: Bank, rows: Array) -> Array | None:
        """The class of each of those referents, int [N], of which the candidates are to differ; or
        None."""
        if self._config.distractors == 'random' or bank.classes is None:
            return None
        return bank.classes.number[rows]

    def __call__(self, guess: Guess, bank: Bank, counts: tuple[int, ...], key: Key) -> Judged:
        if not self._game.has_candidates:
            return _judge_names(guess, bank)
        keys = jax.random.split(key, self._config.redraws)
        groups = self._groups(guess, bank)

        def with_count(count: int) -> Judged:
            drawn = jax.lax.map(lambda key: self._judge_draw(guess, key, count, *groups), keys)
            correct, loss, vote = jax.tree.map(lambda leaf: leaf.mean(axis=0), drawn)
            return correct, loss, vote

        judged = [with_count(count) for count in counts]
        correct, loss, vote = (jnp.stack(parts) for parts in zip(*judged, strict=True))
        return correct, loss, vote

    def choices(self, guess: Guess, bank: Bank, count: int, key: Key) -> tuple[Array, Array, Array]:
        """The first of the draws that are judged: the candidates of each referent, rows [N, C];
        which of them it is itself, [N]; and which of them listeners pick, [L, N]."""
        assert guess.prediction is not None and guess.candidates is not None
        prediction, candidates = guess.prediction, guess.candidates

        def of_group(rows: Array) -> tuple[Array, Array, Array]:
            scores = jax.vmap(self._game.scores)(prediction[:, rows], candidates[:, rows])
            among = jnp.broadcast_to(rows[:, None], (count, count))
            return among, jnp.arange(count), jnp.argmax(scores, axis=-1)

        first = jax.random.split(key, self._config.redraws)[0]
        groups = self._groups(guess, bank)
        among, own, picked = in_groups(of_group, first, prediction.shape[1], count, *groups)
        return among.T, own, picked

    def _groups(self, guess: Guess, bank: Bank) -> tuple[Array | None, Array | None]:
        """Of all referents of a bank, for `in_groups`."""
        assert guess.prediction is not None
        rows = jnp.arange(guess.prediction.shape[1])
        return self.rivals(bank, rows), self.classes(bank, rows)

    def _judge_draw(
        self, guess: Guess, key: Key, count: int, rivals: Array | None, classes: Array | None
    ) -> Judged:
        """One draw of candidates, see `in_groups`."""
        assert guess.prediction is not None and guess.candidates is not None
        prediction, candidates = guess.prediction, guess.candidates
        position = jnp.arange(count)

        def judge_group(rows: Array) -> Judged:
            scores = jax.vmap(self._game.scores)(prediction[:, rows], candidates[:, rows])
            own = jnp.broadcast_to(position, scores.shape[:2])
            correct = losses.is_correct(scores, own)
            loss = jax.vmap(losses.classification)(scores, own)
            together = jax.nn.softmax(scores).mean(axis=0)
            return correct, loss, losses.is_correct(together, position)

        judged: Judged = in_groups(judge_group, key, prediction.shape[1], count, rivals, classes)
        return judged


def context_order(size: int) -> Array:
    """The order of `size` referents in which those that follow each other are a game, of which
    speakers see all candidates. Always the same, as a speaker is asked but once of a referent."""
    return jnp.asarray(np.random.default_rng(0).permutation(size))


def in_groups(
    function: Callable[[Array], Any],
    key: Key,
    size: int,
    count: int,
    rivals: Array | None = None,
    classes: Array | None = None,
) -> Any:
    """Applies a function of rows [count], leaves [..., count], to groups of all of range(size).

    The split falls at random into groups, whose members are the candidates of each other. The last
    group is filled up with members of the first, who are candidates there but not judged a second
    time; so every choice is among `count`. Returns leaves [..., size].

    rivals: int [size]; those with the same number fall into the same groups, as far as possible.
    classes: int [size], in range(size); those with the same number fall into different groups, as
        far as possible: always, if classes are equally large and not fewer than `count`.
    """
    order = jax.random.permutation(key, size)
    if rivals is not None:
        order = order[jnp.argsort(rivals[order])]
    if classes is not None:
        order = order[_in_turn(classes[order])]
    groups = -(-size // count)
    members = order[jnp.arange(groups * count) % size].reshape(groups, count)
    outputs = jax.lax.map(function, members)  # leaves [G, ..., count]
    back = jnp.argsort(order)  # Where each example was judged.

    def restore(leaf: Array) -> Array:
        flat = jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], groups * count)
        return flat[..., back]

    return jax.tree.map(restore, outputs)


def _in_turn(classes: Array) -> Array:
    """An order [N] in which classes, int [N], take turns: those of the same size always the same
    turns, larger ones more of them."""
    places = jnp.arange(len(classes))
    count = jnp.zeros_like(places).at[classes].add(1)
    earliest = jnp.full_like(places, len(places)).at[classes].min(places)
    by_class = jnp.argsort(classes, stable=True)
    rank = places - (jnp.cumsum(count) - count)[classes[by_class]]
    when = jnp.zeros(len(places)).at[by_class].set(rank / count[classes[by_class]])
    return jnp.lexsort((earliest[classes], when))


def in_chunks(function: Callable[[Array], Any], size: int, chunk: int) -> Any:
    """Applies a function of rows [chunk], batched on axis 1 of its outputs, to all of range(size).

    The last chunk is filled up with the first rows, whose second outputs are dropped.
    """
    chunk = min(chunk, size)
    count = -(-size // chunk)
    rows = (jnp.arange(count * chunk) % size).reshape(count, chunk)
    outputs = jax.lax.map(function, rows)  # leaves [count, L, chunk, ...]

    def join(leaf: Array) -> Array:
        leaf = jnp.moveaxis(leaf, 0, 1)
        return leaf.reshape(leaf.shape[0], count * chunk, *leaf.shape[3:])[:, :size]

    return jax.tree.map(join, outputs)


def _judge_names(guess: Guess, bank: Bank) -> Judged:
    """Listeners that name a class or attributes; several labels count equally."""
    parts = []
    for name, logits in guess.logits.items():  # [L, N, n] or [L, N, A, n]
        labels = bank.labels[name]
        own = jnp.broadcast_to(labels, logits.shape[:-1])
        log_probs = jax.nn.log_softmax(logits)
        loss = -jnp.take_along_axis(log_probs, own[..., None], axis=-1)[..., 0]
        vote = losses.is_correct(jnp.exp(log_probs).mean(axis=0), labels)
        over = (losses.is_correct(logits, own), loss, vote[None])
        parts.append([x if x.ndim == 2 else x.mean(axis=-1) for x in over])
    correct, loss, vote = (sum(part) / len(parts) for part in zip(*parts, strict=True))
    return correct[None], loss[None], vote
