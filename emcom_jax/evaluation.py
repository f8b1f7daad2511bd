"""Cross-play on a split: every speaker with every listener, greedy -> EvalRecord -> metrics."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import losses
from emcom_jax.data.bank import look_at
from emcom_jax.games.base import Game
from emcom_jax.types import Agent, Array, Bank, EvalRecord, Guess, Key, Message, Pair, Population

Judged = tuple[Array, Array, Array]  # correct [Q, L, N], loss [Q, L, N], vote [Q, N].


class Evaluator:
    """Evaluates populations of one game; compiles once for each size of split.

    The draws of candidates depend on a seed alone, so that two evaluations of one split with one
    seed play with the same candidates.
    """

    def __init__(self, game: Game, config: ConfigDict):
        self._game = game
        self._config = config.evaluation
        self._cross_play = jax.jit(self._play_all, static_argnums=2)

    def num_candidates(self, size: int) -> tuple[int, ...]:
        """The numbers of candidates for a split of `size` examples: one above it becomes it."""
        if not self._game.has_candidates:
            return (0,)
        return tuple(sorted({min(count, size) for count in self._config.num_candidates}))

    def __call__(
        self, population: Population, bank: Bank, split: str, step: int, seed: int
    ) -> EvalRecord:
        """Evaluates a population (one replica, on one device) on the bank of a split."""
        counts = self.num_candidates(bank.inputs.shape[0])
        key = jax.random.fold_in(jax.random.key(seed), 0)
        played = self._cross_play(population, bank, counts, key)
        messages, lengths, judged = jax.device_get(played)
        correct, loss, vote = judged
        return EvalRecord(
            split=split,
            step=step,
            kind=self._game.kind,
            vocab_size=self._game.vocab_size,
            messages=messages,
            lengths=lengths,
            meanings=np.asarray(bank.inputs, np.float32),
            labels={name: np.asarray(values) for name, values in bank.labels.items()},
            num_candidates=counts,
            correct=np.moveaxis(correct, 0, 1),
            loss=np.moveaxis(loss, 0, 1),
            vote=np.moveaxis(vote, 0, 1),
        )

    def _play_all(
        self, population: Population, bank: Bank, counts: tuple[int, ...], key: Key
    ) -> Any:
        inputs_key, channel_key, candidates_key = jax.random.split(key, 3)
        listeners = population.listeners.agent
        shared = population.shared.agent

        def of_speaker(speaker: Agent) -> Any:
            """One speaker with all listeners; speakers come one after the other, since what all
            listeners make of its messages, [L, N, D], is as much as should lie in memory."""

            def play(listener: Agent, rows: Array) -> tuple[Message, Guess]:
                noise = self._config.channel_noise
                batch = look_at(bank, rows, rows, inputs_key, self._config.input_noise)
                pair = Pair(speaker, listener, None, shared)
                episode = self._game.play_greedy(pair, channel_key, batch, noise)
                return episode.utterance.message, episode.guess

            def of_rows(rows: Array) -> tuple[Message, Guess]:
                return jax.vmap(play, (0, None))(listeners, rows)

            message, guess = _in_chunks(of_rows, bank.inputs.shape[0], self._config.batch_size)
            message = jax.tree.map(lambda leaf: leaf[0], message)
            spoken = message.symbols if self._game.kind == 'symbols' else message.relaxed
            lengths = message.mask.sum(axis=1).astype(jnp.int32)
            return spoken, lengths, self._judge(guess, bank, counts, candidates_key)

        return jax.lax.map(of_speaker, population.speakers.agent)

    def _judge(self, guess: Guess, bank: Bank, counts: tuple[int, ...], key: Key) -> Judged:
        if not self._game.has_candidates:
            return _judge_names(guess, bank)
        keys = jax.random.split(key, self._config.redraws)

        def with_count(count: int) -> Judged:
            drawn = jax.lax.map(lambda key: self._judge_draw(guess, key, count), keys)
            correct, loss, vote = jax.tree.map(lambda leaf: leaf.mean(axis=0), drawn)
            return correct, loss, vote

        judged = [with_count(count) for count in counts]
        correct, loss, vote = (jnp.stack(parts) for parts in zip(*judged, strict=True))
        return correct, loss, vote

    def _judge_draw(self, guess: Guess, key: Key, count: int) -> Judged:
        """One draw of candidates: the split falls at random into groups, whose members are the
        candidates of each other. The last group is filled up with members of the first, who are
        candidates there but not judged a second time; so every choice is among `count`."""
        assert guess.prediction is not None and guess.candidates is not None
        prediction, candidates = guess.prediction, guess.candidates
        size = prediction.shape[1]
        order = jax.random.permutation(key, size)
        groups = -(-size // count)
        members = order[jnp.arange(groups * count) % size].reshape(groups, count)
        position = jnp.arange(count)

        def judge_group(rows: Array) -> Judged:
            scores = jax.vmap(self._game.scores)(prediction[:, rows], candidates[:, rows])
            own = jnp.broadcast_to(position, scores.shape[:2])
            correct = losses.is_correct(scores, own)
            loss = jax.vmap(losses.classification)(scores, own)
            together = jax.nn.softmax(scores).mean(axis=0)
            return correct, loss, losses.is_correct(together, position)

        correct, loss, vote = jax.lax.map(judge_group, members)  # [G, L, C], [G, L, C], [G, C]
        back = jnp.argsort(order)  # Where each example was judged.

        def restore(leaf: Array) -> Array:
            flat = jnp.moveaxis(leaf, 0, -2).reshape(*leaf.shape[1:-1], groups * count)
            return flat[..., back]

        return restore(correct), restore(loss), restore(vote)


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


def _in_chunks(function: Callable[[Array], Any], size: int, chunk: int) -> Any:
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
