"""Do agents agree about images that mean nothing? They play on the rungs of a ladder of noise.

Bouchacourt & Baroni 2018; Dessì et al. 2021, whose Gaussian blobs are one of the rungs.
"""

from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.data.batches import look_at
from emcom_jax.data.noise import FROM_IMAGES, LADDER
from emcom_jax.draws import example_keys
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.judging import Draws, Judge, make_draws
from emcom_jax.evaluation.playing import see_all
from emcom_jax.games.base import Game, Games, table_of
from emcom_jax.metrics import arguments
from emcom_jax.types import Agent, Array, Bank, Batch, Key, Members, NoiseRecord


class NoiseLadder:
    """Has populations of one game (or of those of a population's groups, [G][H]) play on images of
    `data.noise.LADDER`, rung by rung; compiles once for each number of images.

    A speaker and its listeners get the same image, as it is: it is not normalised, and no noise or
    augmentation is added, whatever the evaluation does to other images. (The images of a split, of
    which the last rungs are made, have been normalised before.) The candidates are images of the
    same rung, drawn at random. All else is as in `Evaluator`.
    """

    def __init__(self, game: Game | Games, config: ConfigDict, own: bool = False):
        """own: as of `Evaluator`."""
        self._game = table_of(game)[0][0]  # What all of them have in common.
        self._config = config.evaluation
        self._evaluator = Evaluator(game, config, own)
        self._judge = Judge(self._game, config.evaluation)
        self._compiled = jax.jit(self._play_rung, static_argnums=6)

    def __call__(self, population: Members, bank: Bank, seed: int) -> NoiseRecord:
        """Plays with a population (one replica, on one device).

        bank: of images, from which the last rungs take at most `noise_images`; the others have as
        many as that.
        """
        # One image for both, and no hard distractors.
        bank = bank._replace(partners=None, rivals=None)
        images = arguments.sample(bank.size, self._config.noise_images, seed=0)
        blank = np.arange(self._config.noise_images) % bank.size  # Only their shape is read.
        counts = self._judge.num_candidates(len(images))
        # A key apart from those of evaluation and interventions.
        key = jax.random.fold_in(jax.random.key(seed), 2)
        correct = {}
        for number, name in enumerate(LADDER):
            rows = images if name in FROM_IMAGES else blank
            played = self._compiled(
                population, bank, rows, np.int32(number), key, make_draws(seed), counts
            )
            correct[name] = np.moveaxis(jax.device_get(played), 0, 1)
        return NoiseRecord(counts, correct)

    def _play_rung(
        self,
        population: Members,
        bank: Bank,
        rows: Array,
        rung: Array,
        key: Key,
        draws: Draws,
        counts: tuple[int, ...],
    ) -> Array:
        """Returns correct [S, Q, L, N]."""
        shared, config = population.shared.agent, self._config
        common = self._game.trunks != 'own'  # What one agent sees, all of them see.

        def look(places: Array) -> Batch:
            return look_at_rung(bank, rows[places], places, jax.random.fold_in(key, rung), rung)

        def sight(game: Game, role: str, agents: Agent) -> Array:
            if common:
                return everyone
            return see_all(game, config, role, agents, shared, look, len(rows))

        if common:
            nobody = Agent({}, {})
            everyone = see_all(self._game, config, 'speaker', nobody, shared, look, len(rows))
        (_, _, (correct, _, _), _), _ = self._evaluator.play(population, sight, bank, counts, draws)
        return correct


def look_at_rung(bank: Bank, rows: Array, position: Array, key: Key, rung: Array) -> Batch:
    """Returns a batch of images of a rung, one and the same for both agents.

    Args:
      bank: of images; both agents see the same ones.
      rows: [B], from which of them the images of the rung are made, if they are made from images.
      position: [B], by which each is drawn, alike whatever stands beside it.
      key: of all images of the rung.
      rung: int32 [], its place in `LADDER`.
    """
    batch = look_at(bank, rows, position, key, 0.0)

    def drawn(function: Any, keys: Key, images: Array) -> Array:
        return jax.vmap(lambda key, image: function(key, image[None])[0])(keys, images)

    branches = [partial(drawn, function) for function in LADDER.values()]
    images = jax.lax.switch(rung, branches, example_keys(key, position), batch.speaker_inputs)
    return batch._replace(speaker_inputs=images, listener_inputs=images)
