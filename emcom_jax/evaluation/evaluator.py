"""A population on a split: every speaker with every listener, greedy -> EvalRecord -> metrics."""

from collections.abc import Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.data.bank import look_at
from emcom_jax.evaluation.judging import Draws, Judge, in_chunks, make_draws
from emcom_jax.games.base import Game, Games, table_of
from emcom_jax.stacks import agents_of, joined, sizes, stacks
from emcom_jax.types import Agent, Array, Bank, EvalRecord, Guess, Members, Message, Pair


class Evaluator:
    """Evaluates populations of one game (or of those of a population's groups, [G][H]); compiles
    once for each size of split.

    The draws of candidates depend on a seed alone, so that two evaluations of one split with one
    seed play with the same candidates.
    """

    def __init__(self, game: Game | Games, config: ConfigDict, own: bool = False):
        """own: each of the S speakers is asked by its own K listeners alone, in their order; the
        record's L is K. Listeners are then of one group."""
        self._games = table_of(game)
        self._game = self._games[0][0]  # What all of them have in common.
        self._own = own
        self._config = config.evaluation
        self._judge = Judge(self._game, config.evaluation)
        self._cross_play = jax.jit(self._play_all, static_argnums=2)

    def __call__(
        self, population: Members, bank: Bank, split: str, step: int, seed: int
    ) -> EvalRecord:
        """Evaluates a population (one replica, on one device) on the bank of a split."""
        counts = self._judge.num_candidates(bank.inputs.shape[0])
        played = self._cross_play(population, bank, counts, make_draws(seed))
        messages, lengths, judged = jax.device_get(played)
        correct, loss, vote = judged
        return EvalRecord(
            split=split,
            step=step,
            kind=self._game.kind,
            vocab_size=self._game.vocab_size,
            variable_length=self._game.variable_length,
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
        self, population: Members, bank: Bank, counts: tuple[int, ...], draws: Draws
    ) -> Any:
        speakers, listeners = (
            stacks(agents_of(role)) for role in (population.speakers, population.listeners)
        )
        shared = population.shared.agent

        def of_speaker(games: Sequence[Game], speaker: Agent, *listeners: Agent) -> Any:
            """One speaker with its listeners; speakers come one after the other, since what all
            listeners make of its messages, [L, N, D], is as much as should lie in memory."""

            def play(game: Game, listener: Agent, rows: Array) -> tuple[Message, Guess]:
                noise = self._config.channel_noise
                batch = look_at(bank, rows, rows, draws.inputs, self._config.input_noise)
                pair = Pair(speaker, listener, None, shared)
                episode = game.play_greedy(pair, draws.channel, batch, noise)
                return episode.utterance.message, episode.guess

            def of_rows(rows: Array) -> tuple[Message, Guess]:
                played = [
                    jax.vmap(partial(play, game), (0, None))(stack, rows)
                    for game, stack in zip(games, listeners, strict=True)
                ]
                return played[0][0], _together([guess for _, guess in played])

            message, guess = in_chunks(of_rows, bank.inputs.shape[0], self._config.batch_size)
            message = jax.tree.map(lambda leaf: leaf[0], message)
            spoken = message.symbols if self._game.kind == 'symbols' else message.relaxed
            lengths = message.mask.sum(axis=1).astype(jnp.int32)
            return spoken, lengths, self._judge(guess, bank, counts, draws.candidates)

        def of_group(games: Sequence[Game], first: int, group: Agent) -> Any:
            if not self._own:
                return jax.lax.map(lambda one: of_speaker(games, one, *listeners), group)
            (everyone,) = listeners
            count, total = sizes(group)[0], sum(sizes(speakers))

            def own(leaf: Array) -> Array:
                return leaf.reshape(total, -1, *leaf.shape[1:])[first : first + count]

            both = (group, jax.tree.map(own, everyone))
            return jax.lax.map(lambda both: of_speaker(games, *both), both)

        firsts = accumulate(sizes(speakers), initial=0)
        return joined(list(map(of_group, self._games, firsts, speakers)))


def _together(guesses: Sequence[Guess]) -> Guess:
    """The guesses [L, ...] of all listeners, whose spaces may have different dimensions: a smaller
    one is a subspace of the largest, where distances and angles are the same."""

    def join(*leaves: Array) -> Array:
        most = max(leaf.shape[-1] for leaf in leaves)
        widths = [[(0, 0)] * (leaf.ndim - 1) + [(0, most - leaf.shape[-1])] for leaf in leaves]
        return jnp.concatenate(list(map(jnp.pad, leaves, widths)))

    together: Guess = jax.tree.map(join, *guesses)
    return together
