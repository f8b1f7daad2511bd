"""A population on a split: every speaker with every listener, greedy -> EvalRecord -> metrics."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.data.bank import look_at
from emcom_jax.evaluation.judging import Draws, Judge, in_chunks, make_draws
from emcom_jax.games.base import Game
from emcom_jax.types import Agent, Array, Bank, EvalRecord, Guess, Message, Pair, Population


class Evaluator:
    """Evaluates populations of one game; compiles once for each size of split.

    The draws of candidates depend on a seed alone, so that two evaluations of one split with one
    seed play with the same candidates.
    """

    def __init__(self, game: Game, config: ConfigDict, own: bool = False):
        """own: each of the S speakers is asked by its own K listeners alone, in their order; the
        record's L is K."""
        self._game = game
        self._own = own
        self._config = config.evaluation
        self._judge = Judge(game, config.evaluation)
        self._cross_play = jax.jit(self._play_all, static_argnums=2)

    def __call__(
        self, population: Population, bank: Bank, split: str, step: int, seed: int
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
        self, population: Population, bank: Bank, counts: tuple[int, ...], draws: Draws
    ) -> Any:
        speakers, listeners = population.speakers.agent, population.listeners.agent
        shared = population.shared.agent

        def of_speaker(speaker: Agent, listeners: Agent) -> Any:
            """One speaker with its listeners; speakers come one after the other, since what all
            listeners make of its messages, [L, N, D], is as much as should lie in memory."""

            def play(listener: Agent, rows: Array) -> tuple[Message, Guess]:
                noise = self._config.channel_noise
                batch = look_at(bank, rows, rows, draws.inputs, self._config.input_noise)
                pair = Pair(speaker, listener, None, shared)
                episode = self._game.play_greedy(pair, draws.channel, batch, noise)
                return episode.utterance.message, episode.guess

            def of_rows(rows: Array) -> tuple[Message, Guess]:
                return jax.vmap(play, (0, None))(listeners, rows)

            message, guess = in_chunks(of_rows, bank.inputs.shape[0], self._config.batch_size)
            message = jax.tree.map(lambda leaf: leaf[0], message)
            spoken = message.symbols if self._game.kind == 'symbols' else message.relaxed
            lengths = message.mask.sum(axis=1).astype(jnp.int32)
            return spoken, lengths, self._judge(guess, bank, counts, draws.candidates)

        if not self._own:
            return jax.lax.map(lambda speaker: of_speaker(speaker, listeners), speakers)
        count = jax.tree.leaves(speakers)[0].shape[0]
        own = jax.tree.map(lambda leaf: leaf.reshape(count, -1, *leaf.shape[1:]), listeners)
        return jax.lax.map(lambda both: of_speaker(*both), (speakers, own))
