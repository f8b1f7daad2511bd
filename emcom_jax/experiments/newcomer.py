"""Newcomers: what it costs a fresh agent to join a population that has learnt to communicate."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import metrics, population, steps, updates
from emcom_jax.config import one_of, require
from emcom_jax.data.batches import draw
from emcom_jax.evaluation.setting import Setting
from emcom_jax.experiments.ease_of_learning import FROZEN_SPEAKERS, EaseOfLearning, check_curve
from emcom_jax.metrics.learning import first_step_at
from emcom_jax.runtime.run_directory import RunDirectory, flatten
from emcom_jax.runtime.writers import read_lines
from emcom_jax.types import Agent, Learner, Members, Population

_GAMES = 100  # Batches at least that residents play, to see what they reach.


class Newcomer(EaseOfLearning):
    """Ease of learning from a whole population: `count` fresh agents of one role, each alone with
    all residents of the other role, of whom it meets one in each step. Only they learn.

    Their accuracy is set beside that of the residents in games of the same kind, between pairs that
    met in their own run: noise and candidates as in training; newcomers who speak draw their
    messages, and so do the residents then, while beside newcomers who listen both hear greedy ones.
    """

    _own_listeners = False

    @classmethod
    def _following(cls, config: ConfigDict, source: ConfigDict) -> dict[str, Any]:
        count, residents = config.newcomer.count, source.population
        alike = source.speaker.groups is None and source.listener.groups is None
        sentence = (
            'must name a run without speaker.groups and listener.groups: a newcomer meets any '
            'resident in a step, and groups meet in numbers that are known before'
        )
        require(config, 'from_run', alike, sentence)
        follows: dict[str, Any] = {
            'population.pairs_per_step': count,
            'population.pairing': f'every_{config.newcomer.role}',
            'population.pairs': None,
            'population.graph': None,
            'population.structure': 'mixing',
            'speaker.groups': None,
            'listener.groups': None,
            'updates.imitate.every': None,
            'updates.reset.every': None,
            'updates.generations.every': None,
            'loss.listener.name': source.loss.listener.name,
            'loss.listener.label': source.loss.listener.label,
        }
        if config.newcomer.role == 'listener':
            return (
                follows
                | FROZEN_SPEAKERS
                | {
                    'population.num_speakers': residents.num_speakers,
                    'population.num_listeners': count,
                    'population.listener_learns': None,
                    **flatten(source.speaker.to_dict(), 'speaker.'),
                }
            )
        return follows | {
            'population.num_speakers': count,
            'population.num_listeners': residents.num_listeners,
            'population.speaker_learns': None,
            'population.listener_learns': (),
            **flatten(source.listener.to_dict(), 'listener.'),
        }

    @classmethod
    def _check(cls, config: ConfigDict) -> None:
        group: Mapping[str, Any] = config.newcomer
        roles = ('listener', 'speaker')
        require(config, 'newcomer.role', group['role'] in roles, one_of(*roles))
        require(config, 'newcomer.count', group['count'] >= 1, 'must be at least 1')
        good = all(isinstance(x, int | float) and 0 < x <= 1 for x in group['shares'])
        require(config, 'newcomer.shares', good, 'must hold numbers above 0, at most 1')
        check_curve(config)

    def _start_from(self, members: Members, run_dir: str) -> Members:
        """The residents of the other role; newcomers are fresh."""
        assert isinstance(members, Population)  # No groups: see `_following`.
        source = RunDirectory(run_dir).load_config()
        setting = Setting(self._of_residents(source), self._setting.source)
        agents = self._read_agents(run_dir, setting.shapes())
        if 'shared' in agents:
            members = members._replace(shared=members.shared._replace(agent=agents['shared']))
        meetings = population.make_meetings(source.population)
        self._reached = self._play(setting, meetings, agents, members.shared)
        role = 'speakers' if self._config.newcomer.role == 'listener' else 'listeners'
        frozen = getattr(members, role)._replace(agent=agents[role])
        return members._replace(**{role: frozen})

    def _of_residents(self, source: ConfigDict) -> ConfigDict:
        """The config by which the residents of a run play as newcomers and residents do here."""
        config = ConfigDict(self._config.to_dict())
        for group in ('speaker', 'listener', 'population'):
            config[group] = ConfigDict(source[group].to_dict())
        config.loss.speaker.kl = 0.0  # Nobody learns, so there are no targets.
        if config.newcomer.role == 'speaker':
            config.population.update(structure='mixing', listener_learns=())
        return config

    def _play(
        self,
        setting: Setting,
        meetings: population.Meetings,
        agents: dict[str, Agent],
        shared: Learner,
    ) -> np.ndarray:
        """The accuracy [R] of the residents, among whom nobody learns."""
        config = setting.config
        communicate = updates.communicate(
            setting.game,
            population.Optimizers(None, None, None),
            meetings,
            'map',
            config.optimizer.target_ema,
            axis_name=None,
        )
        draw_batch = partial(
            draw, batch_size=config.data.batch_size, noise=config.game.input_noise, axis_name=None
        )
        many = jax.jit(steps.make_steps(communicate, [], draw_batch, self._over_replicas).many)

        def at_rest(agent: Agent) -> Learner:
            zeros = jnp.zeros(jax.tree.leaves(agent)[0].shape[:2])
            return Learner(agent, {}, zeros, zeros)

        members = Population(at_rest(agents['speakers']), at_rest(agents['listeners']), {}, shared)
        count = -(-_GAMES // config.population.pairs_per_step)
        bank = self._bank('train')
        _, _, scalars = many(members, bank, self._keys, np.int32(0), np.int32(count))
        return np.nanmean(scalars['accuracy'], axis=(1, 2))

    def _validate(self, step: int, show: Callable[[str], None]) -> bool:
        if step == 0:
            self._run.log(0, 'residents', {'accuracy': self._reached})
            show(f'residents  accuracy {self._reached.mean():.3f} in training')
        return super()._validate(step, show)

    def conclude(self) -> dict[str, Any]:
        """As of ease of learning, and what newcomers paid for what the residents reach."""
        lines = read_lines(self._run.directory.metrics)
        (residents,) = (line for line in lines if line['split'] == 'residents')
        self._reached = np.array(residents['accuracy'], float)
        return self._on_noise() | {'newcomer': metrics.over_replicas(self._stated())}

    def _own_curves(self, accuracy: np.ndarray) -> np.ndarray:
        """Of each newcomer, the mean over the residents that it met [M, R, 1, K]."""
        residents = 2 if self._config.newcomer.role == 'listener' else 3
        return np.nanmean(accuracy, axis=residents)[:, :, None]

    def _state(self, steps: np.ndarray, curves: np.ndarray, replica: int) -> metrics.Values:
        level, cost, reached = float(self._reached[replica]), {}, {}
        for share in self._config.newcomer.shares:
            found = first_step_at(steps, curves[:, 0], share * level)
            cost[f'updates_to_{100 * share:g}%'] = found
            reached[f'newcomers_at_{100 * share:g}%'] = float(np.isfinite(found).mean())
        return (
            super()._state(steps, curves, replica)
            | {'residents_accuracy': level}
            | metrics.means(cost)
            | reached
        )
