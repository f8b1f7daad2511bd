"""Ease of learning: how fast fresh listeners acquire the language of frozen speakers.

Li & Bowling 2019; Chaabouni et al. 2022.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import metrics
from emcom_jax.config import base, get, require
from emcom_jax.evaluation import Evaluator
from emcom_jax.evaluation.setting import Setting
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.metrics.accuracy import with_interval
from emcom_jax.metrics.learning import (
    area_under_curve,
    co_adaptation,
    information_loss,
    value_at,
)
from emcom_jax.runtime.run import Run
from emcom_jax.runtime.run_directory import RunDirectory, flatten
from emcom_jax.runtime.writers import read_lines
from emcom_jax.types import Agent, Array, EvalRecord, Learner, Population

# What a run of this kind has in common with the one that its speakers come from, unless it is set.
_SHARED = ('data', 'game', 'channel', 'speaker', 'listener', 'loss.listener', 'evaluation')
_OWN = ('evaluation.every', 'evaluation.patience', 'evaluation.threshold')


class EaseOfLearning(PopulationExperiment):
    """Trains fresh listeners for frozen speakers of another run, all of them in one stacked
    population: `listeners_per_speaker` for each of the first `max_speakers`.

    The curve is the accuracy of each listener on the batches that it learns from, before it does.
    """

    def __init__(self, mode: str, init_rng: Array, config: ConfigDict, run: Run):
        super().__init__(mode, init_rng, config, run)
        # By split and replica: losses [S, K, N] in the last evaluation, and among how many.
        self._fresh: dict[tuple[str, int], tuple[np.ndarray, int]] = {}
        self._own: Any = None  # The other run's agents, and what evaluates them.

    @classmethod
    def resolve(cls, config: ConfigDict) -> ConfigDict:
        """Takes from the run of the speakers what is left at its default here."""
        require(config, 'from_run', config.from_run is not None, 'must name a run directory')
        source = RunDirectory(config.from_run).load_config()
        _check(config)
        default, ours, theirs = (flatten(each.to_dict()) for each in (base(), config, source))
        taken = [
            key
            for key in default
            if key.startswith(tuple(f'{group}.' for group in _SHARED)) and key not in _OWN
        ]
        resolved = ConfigDict(config.to_dict())
        for key in (*taken, 'replicas'):
            if ours[key] == default[key]:
                *group, name = key.rsplit('.', 1)
                (get(resolved, group[0]) if group else resolved)[name] = theirs[key]
        for key, value in _following(config, source).items():
            # Set to what follows it may be, as in the command that a report prints.
            left = ours[key] in (default[key], value)
            sentence = (
                'must be left alone: it follows from ease_of_learning and the run of from_run'
            )
            require(config, key, left, sentence)
            *group, name = key.rsplit('.', 1)
            get(resolved, group[0])[name] = value
        return resolved.lock()

    def conclude(self) -> dict[str, Any]:
        """Reads the curves off what was logged; keeps them, and states them in numbers, with the
        losses of fresh listeners and those of the speakers' own in the end."""
        steps, curves = self._curves()
        self._run.keep_arrays(self._run.directory.learning, steps=steps, accuracy=curves)
        values = [self._state(steps, replica) for replica in np.moveaxis(curves, 1, 0)]
        for split in self.splits:
            own = self._own_losses(split)
            for replica, found in enumerate(values):
                fresh, count = self._fresh[split, replica]
                name = f'{split}@{count}' if count else split
                found |= with_interval(f'information_loss_{name}', information_loss(fresh))
                if own is not None:
                    both = co_adaptation(own[replica], fresh)
                    found |= with_interval(f'co_adaptation_{name}', both)
        return {'ease_of_learning': metrics.over_replicas(values)}

    def _own_losses(self, split: str) -> list[np.ndarray] | None:
        """Losses [S, M, N] of the speakers' own listeners for each replica, nan for a listener that
        did not learn from a speaker, with the candidates of `_fresh`; None if they learnt another
        task, or did not learn."""
        theirs = RunDirectory(self._config.from_run).load_config()
        learnt = _learnt(theirs.population)[: self._config.population.num_speakers]
        if not _same_task(self._config, theirs) or not learnt.any(axis=1).all():
            return None
        if self._own is None:
            setting = Setting(theirs, self._setting.source)
            agents = self._read_agents(self._config.from_run, setting.shapes())
            self._own = Evaluator(setting.game, self._config), agents
        evaluator, agents = self._own
        losses = []
        for replica, seed in enumerate(self._seeds.tolist()):
            one = jax.tree.map(lambda leaf, r=replica: leaf[r], agents)
            speakers = jax.tree.map(lambda leaf: leaf[: len(learnt)], one['speakers'])
            members = Population(
                speakers=_no_learner(speakers),
                listeners=_no_learner(one['listeners']),
                targets={},
                shared=_no_learner(Agent({}, {})),
            )
            record = evaluator(members, self._bank(split), split, 0, seed)
            losses.append(np.where(learnt[..., None], record.loss[-1], np.nan))
        return losses

    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps [M] and accuracy [M, R, S, K] of each speaker's listeners."""
        lines = [
            line for line in read_lines(self._run.directory.metrics) if line['split'] == 'train'
        ]
        steps = np.array([line['step'] for line in lines])
        accuracy = np.array([line['accuracy'] for line in lines], float)  # None, a nan, is nan.
        rows, columns = np.array(self._config.population.pairs).T
        own = accuracy[:, :, rows, columns]
        return steps, own.reshape(*own.shape[:2], self._config.population.num_speakers, -1)

    def _state(self, steps: np.ndarray, curves: np.ndarray) -> dict[str, float | list[float]]:
        """curves: [M, S, K], of one replica."""
        flat = curves.reshape(len(steps), -1)
        found = {'area_under_curve': area_under_curve(steps, flat)}
        for step in self._config.ease_of_learning.steps:
            if step <= steps[-1]:
                found[f'accuracy_at_{step}'] = value_at(steps, flat, step)
        values: dict[str, float | list[float]] = {}
        for name, each in found.items():
            values[name] = float(each.mean())
            if each.size > 1:
                values[f'{name}_ci95'] = metrics.bootstrap_interval(each, 1000, seed=0)
        return values

    def _keep(self, record: EvalRecord, replica: int) -> EvalRecord:
        """Only a speaker's own listeners are asked: L becomes K."""
        speakers, listeners = record.correct.shape[1:3]
        own = np.arange(listeners).reshape(speakers, -1)
        rows = np.arange(speakers)[:, None]
        record = record._replace(
            correct=record.correct[:, rows, own], loss=record.loss[:, rows, own]
        )
        self._fresh[record.split, replica] = record.loss[-1], record.num_candidates[-1]
        return super()._keep(record, replica)

    def _start_from(self, members: Population, run_dir: str) -> Population:
        """The first speakers of the other run; listeners are fresh."""
        size = RunDirectory(run_dir).load_config().population.num_speakers
        ours = members.speakers.agent
        like = jax.tree.map(lambda x: jax.ShapeDtypeStruct((size, *x.shape[2:]), x.dtype), ours)
        found = self._read_agents(run_dir, {'speakers': like})['speakers']
        found = jax.tree.map(lambda x, own: x[:, : own.shape[1]], found, ours)
        return members._replace(speakers=members.speakers._replace(agent=found))


def _following(config: ConfigDict, source: ConfigDict) -> dict[str, Any]:
    """What a user does not choose: 'group.key' -> value."""
    speakers = min(config.ease_of_learning.max_speakers, source.population.num_speakers)
    each = config.ease_of_learning.listeners_per_speaker
    pairs = tuple((s, s * each + k) for s in range(speakers) for k in range(each))
    return {
        'population.num_speakers': speakers,
        'population.num_listeners': speakers * each,
        'population.pairs_per_step': len(pairs),
        'population.pairing': 'fixed',
        'population.pairs': pairs,
        'population.graph': None,
        'population.structure': 'mixing',
        'population.speaker_learns': (),
        'population.listener_learns': None,
        'loss.speaker.name': 'none',
        'loss.speaker.entropy': 0.0,
        'loss.speaker.kl': 0.0,
        'loss.speaker.length_cost': 0.0,
        'loss.speaker.length_cost_power': 0.0,
    }


def _no_learner(agent: Agent) -> Learner:
    """Agents that are only evaluated."""
    nothing = jnp.zeros(())
    return Learner(agent, (), nothing, nothing)


def _same_task(config: ConfigDict, source: ConfigDict) -> bool:
    """Whether listeners of both runs are asked the same about the same messages."""
    ours, theirs = (flatten(each.to_dict()) for each in (config, source))
    groups = ('data.', 'game.', 'channel.', 'loss.listener.')
    return all(
        theirs.get(key) == value
        for key, value in ours.items()
        if key.startswith(groups) and key not in ('data.batch_size', 'data.path')
    )


def _learnt(group: ConfigDict) -> np.ndarray:
    """Which listeners learnt from games with which speakers, by a population group: bool [S, L]."""
    learnt = np.ones((group.num_speakers, group.num_listeners), bool)
    if group.structure != 'mixing':
        learnt = np.eye(group.num_speakers, dtype=bool)
    for name in ('pairs', 'graph', 'listener_learns'):
        if group[name] is not None:
            listed = np.zeros_like(learnt)
            for speaker, listener in group[name]:
                listed[speaker, listener] = True
            learnt &= listed
    return learnt


def _check(config: ConfigDict) -> None:
    group: Mapping[str, Any] = config.ease_of_learning
    for key in ('max_speakers', 'listeners_per_speaker'):
        require(config, f'ease_of_learning.{key}', group[key] >= 1, 'must be at least 1')
    fits = 'voting' not in config.evaluation.metrics
    sentence = "has 'voting', but listeners of different speakers do not vote: take it off the list"
    require(config, 'evaluation.metrics', fits, sentence)
    off = not config.evaluation.interventions
    sentence = 'must be False: listeners are asked by their own speakers alone'
    require(config, 'evaluation.interventions', off, sentence)
    whole = all(type(step) is int and step >= 1 for step in group['steps'])
    require(config, 'ease_of_learning.steps', whole, 'must hold whole numbers of at least 1')
    # The curve is what is logged.
    by_steps = config.interval_type == 'steps'
    require(config, 'interval_type', by_steps, "must be 'steps': the curve is logged by steps")
    logged = config.log_train_data_interval <= config.training_steps
    sentence = (
        f'must be at most training_steps={config.training_steps}: the curve is what is logged'
    )
    require(config, 'log_train_data_interval', logged, sentence)
