"""Ease of learning: how fast fresh listeners acquire the language of frozen speakers.

Li & Bowling 2019; Chaabouni et al. 2022.
"""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import metrics
from emcom_jax.architectures import has_groups, spans
from emcom_jax.config import base, get, require
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.metrics.learning import area_under_curve, value_at
from emcom_jax.runtime.run_directory import RunDirectory, flatten
from emcom_jax.runtime.writers import read_lines
from emcom_jax.stacks import agents_of, stacks, with_agents
from emcom_jax.types import Agent, EvalRecord, Groups, Members

# What a run of this kind has in common with the one that its speakers come from, unless it is set.
_SHARED = ('data', 'game', 'channel', 'speaker', 'listener', 'loss.listener', 'evaluation')
_OWN = ('evaluation.every', 'evaluation.patience', 'evaluation.threshold')


class EaseOfLearning(PopulationExperiment):
    """Trains fresh listeners for frozen speakers of another run, all of them in one stacked
    population: `listeners_per_speaker` for each of the first `max_speakers`.

    The curve is the accuracy of each listener on the batches that it learns from, before it does.
    """

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
        """Reads the curves off what was logged; keeps them, and states them in numbers."""
        steps, curves = self._curves()
        self._run.keep_arrays(self._run.directory.learning, steps=steps, accuracy=curves)
        values = [self._state(steps, replica) for replica in np.moveaxis(curves, 1, 0)]
        return {'ease_of_learning': metrics.over_replicas(values)}

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
        return super()._keep(record, replica)

    def _start_from(self, members: Members, run_dir: str) -> Members:
        """The first speakers of the other run; listeners are fresh."""
        theirs = RunDirectory(run_dir).load_config()
        ours = stacks(agents_of(members.speakers))

        def sized(agents: Agent, size: int) -> Agent:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((size, *x.shape[2:]), x.dtype), agents
            )

        like = tuple(map(sized, ours, map(len, spans(theirs, 'speaker'))))
        found = self._read_agents(run_dir, {'speakers': like if has_groups(theirs) else like[0]})
        first = jax.tree.map(lambda x, own: x[:, : own.shape[1]], stacks(found['speakers']), ours)
        if isinstance(members, Groups):
            return members._replace(speakers=with_agents(members.speakers, first))
        return members._replace(speakers=with_agents(members.speakers, first[0]))


def _following(config: ConfigDict, source: ConfigDict) -> dict[str, Any]:
    """What a user does not choose: 'group.key' -> value."""
    speakers = min(config.ease_of_learning.max_speakers, source.population.num_speakers)
    each = config.ease_of_learning.listeners_per_speaker
    pairs = tuple((s, s * each + k) for s in range(speakers) for k in range(each))
    require(
        config,
        'ease_of_learning.max_speakers',
        speakers == source.population.num_speakers or source.speaker.groups is None,
        f'must be at least {source.population.num_speakers}: the speakers of {config.from_run} are '
        'of several groups, which are taken whole',
    )
    return {
        'listener.groups': None,
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


def _check(config: ConfigDict) -> None:
    group: Mapping[str, Any] = config.ease_of_learning
    for key in ('max_speakers', 'listeners_per_speaker'):
        require(config, f'ease_of_learning.{key}', group[key] >= 1, 'must be at least 1')
    fits = 'voting' not in config.evaluation.metrics
    sentence = "has 'voting', but listeners of different speakers do not vote: take it off the list"
    require(config, 'evaluation.metrics', fits, sentence)
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
