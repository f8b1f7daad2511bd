"""Ease of learning: how fast fresh listeners acquire the language of frozen speakers.

Li & Bowling 2019; Chaabouni et al. 2022.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import metrics
from emcom_jax.architectures import has_groups, spans
from emcom_jax.config import get, require, taken
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.setting import Setting
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.metrics.learning import (
    area_under_curve,
    co_adaptation,
    information_loss,
    value_at,
)
from emcom_jax.runtime.run_directory import RunDirectory, flatten
from emcom_jax.runtime.writers import read_lines
from emcom_jax.stacks import agents_of, stacks, with_agents
from emcom_jax.types import Agent, Groups, Learner, Members, Population, Tree

# Nothing teaches the speakers.
FROZEN_SPEAKERS = {
    'population.speaker_learns': (),
    'loss.speaker.name': 'none',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.speaker.length_cost': 0.0,
    'loss.speaker.length_cost_power': 0.0,
}


class EaseOfLearning(PopulationExperiment):
    """Trains fresh listeners for frozen speakers of another run, all of them in one stacked
    population: `listeners_per_speaker` for each of the first `max_speakers`.

    The curve is the accuracy of each listener on the batches that it learns from, before it does.
    """

    _own_listeners = True

    @classmethod
    def resolve(cls, config: ConfigDict) -> ConfigDict:
        """Takes from the run of the speakers what is not set here."""
        require(config, 'from_run', config.from_run is not None, 'must name a run directory')
        source = RunDirectory(config.from_run).load_config()
        cls._check(config)
        follows = cls._following(config, source)
        resolved = ConfigDict(config.to_dict())
        for key in dict.fromkeys((*taken(config.experiment), *follows)):
            value = get(config, key)
            if key in follows:
                # Set to what follows it may be, as in the command that a report prints.
                sentence = f'must be left alone: it follows from {config.experiment} and from_run'
                require(config, key, value in (None, follows[key]), sentence)
                value = follows[key]
            elif value is None:
                value = get(source, key)
            resolved.update_from_flattened_dict({key: value})
        return resolved.lock()

    def conclude(self) -> dict[str, Any]:
        """The curves in numbers, the losses of fresh listeners and those of the speakers' own."""
        values = [
            state | losses for state, losses in zip(self._stated(), self._losses(), strict=True)
        ]
        return self._on_noise() | {'ease_of_learning': metrics.over_replicas(values)}

    def _stated(self) -> list[metrics.Values]:
        """Reads the curves off what was logged; keeps them, and states them in numbers, for each
        replica."""
        steps, curves = self._curves()
        path = self._run.directory.learning(self._config.experiment)
        self._run.keep_arrays(path, steps=steps, accuracy=curves)
        return [self._state(steps, curves[:, r], r) for r in range(curves.shape[1])]

    def _losses(self) -> list[metrics.Values]:
        """Of each replica, the loss of fresh listeners and what the speakers' own lose besides."""
        values: list[metrics.Values] = [{} for _ in self._seeds]
        own = self._own_listeners_of_run()
        for split in self.splits:
            for replica, found in enumerate(values):
                record = self._run.read_record(split, replica)
                fresh, count = record.loss[-1], record.num_candidates[-1]
                name = f'{split}@{count}' if count else split
                losses = {f'information_loss_{name}': information_loss(fresh)}
                if own is not None:
                    theirs = own(split, replica)
                    losses[f'co_adaptation_{name}'] = co_adaptation(theirs, fresh)
                found |= metrics.means(losses)
        return values

    def _own_listeners_of_run(self) -> Callable[[str, int], np.ndarray] | None:
        """Makes split, replica -> losses [S, M, N] of the speakers' own listeners, nan for one that
        did not learn from a speaker, with the candidates of the fresh ones; None if they learnt
        another task, or did not learn."""
        theirs = RunDirectory(self._config.from_run).load_config()
        learnt = _learnt(theirs.population)[: self._config.population.num_speakers]
        if not _same_task(self._config, theirs) or not learnt.any(axis=1).all():
            return None
        setting = Setting(theirs, self._setting.source)
        agents = self._read_agents(self._config.from_run, setting.shapes())
        evaluator = Evaluator(setting.games, self._config)

        def losses(split: str, replica: int) -> np.ndarray:
            one = jax.tree.map(lambda leaf: leaf[replica], agents)
            # Of groups, which are taken whole, none has more.
            speakers = jax.tree.map(lambda leaf: leaf[: len(learnt)], one['speakers'])
            make = Groups if has_groups(theirs) else Population
            shared = _no_learner(one.get('shared', Agent({}, {})))
            members = make(_no_learner(speakers), _no_learner(one['listeners']), (), shared)
            seed = int(self._seeds[replica])
            record = evaluator(members, self._bank(split), split, 0, seed)
            return np.where(learnt[..., None], record.loss[-1], np.nan)

        return losses

    def _curves(self) -> tuple[np.ndarray, np.ndarray]:
        """Steps [M] and accuracy [M, R, S, K] of each speaker's listeners."""
        lines = [
            line for line in read_lines(self._run.directory.metrics) if line['split'] == 'train'
        ]
        steps = np.array([line['step'] for line in lines])
        accuracy = np.array([line['accuracy'] for line in lines], float)  # None, a nan, is nan.
        return steps, self._own_curves(accuracy)

    def _own_curves(self, accuracy: np.ndarray) -> np.ndarray:
        """Those of each speaker's listeners [M, R, S, K], of all pairs [M, R, S, L]."""
        rows, columns = np.array(self._config.population.pairs).T
        own = accuracy[:, :, rows, columns]
        return own.reshape(*own.shape[:2], self._config.population.num_speakers, -1)

    def _state(self, steps: np.ndarray, curves: np.ndarray, replica: int) -> metrics.Values:
        """curves: [M, S, K], of one replica."""
        flat = curves.reshape(len(steps), -1)
        found = {'area_under_curve': area_under_curve(steps, flat)}
        for step in self._config[self._config.experiment].steps:
            if step <= steps[-1]:
                found[f'accuracy_at_{step}'] = value_at(steps, flat, step)
        return metrics.means(found)

    def _start_from(self, members: Members, run_dir: str) -> Members:
        """The first speakers of the other run; listeners are fresh."""
        theirs = RunDirectory(run_dir).load_config()
        ours = stacks(agents_of(members.speakers))

        def sized(agents: Agent, size: int) -> Agent:
            return jax.tree.map(
                lambda x: jax.ShapeDtypeStruct((size, *x.shape[2:]), x.dtype), agents
            )

        like = tuple(map(sized, ours, map(len, spans(theirs, 'speaker'))))
        wanted: dict[str, Any] = {'speakers': like if has_groups(theirs) else like[0]}
        if self._game.trunks == 'shared':
            wanted['shared'] = jax.tree.map(lambda x: x[0], members.shared.agent)
        found = self._read_agents(run_dir, wanted)
        if 'shared' in found:
            members = members._replace(shared=members.shared._replace(agent=found['shared']))
        first = jax.tree.map(lambda x, own: x[:, : own.shape[1]], stacks(found['speakers']), ours)
        if isinstance(members, Groups):
            return members._replace(speakers=with_agents(members.speakers, first))
        return members._replace(speakers=with_agents(members.speakers, first[0]))

    @classmethod
    def _following(cls, config: ConfigDict, source: ConfigDict) -> dict[str, Any]:
        """What a user does not choose: 'group.key' -> value."""
        speakers = min(config.ease_of_learning.max_speakers, source.population.num_speakers)
        each = config.ease_of_learning.listeners_per_speaker
        pairs = tuple((s, s * each + k) for s in range(speakers) for k in range(each))
        whole = speakers == source.population.num_speakers or source.speaker.groups is None
        sentence = (
            f'must be at least {source.population.num_speakers}: the speakers of '
            f'{config.from_run} are of several groups, which are taken whole'
        )
        require(config, 'ease_of_learning.max_speakers', whole, sentence)
        return FROZEN_SPEAKERS | {
            'speaker.groups': source.speaker.groups,
            'listener.groups': None,  # Fresh ones are of one kind.
            'population.num_speakers': speakers,
            'population.num_listeners': speakers * each,
            'population.pairs_per_step': len(pairs),
            'population.pairing': 'fixed',
            'population.pairs': pairs,
            'population.graph': None,
            'population.structure': 'mixing',
            'population.listener_learns': None,
        }

    @classmethod
    def _check(cls, config: ConfigDict) -> None:
        group: Mapping[str, Any] = config.ease_of_learning
        for key in ('max_speakers', 'listeners_per_speaker'):
            require(config, f'ease_of_learning.{key}', group[key] >= 1, 'must be at least 1')
        off = not config.evaluation.interventions
        sentence = 'must be False: listeners are asked by their own speakers alone'
        require(config, 'evaluation.interventions', off, sentence)
        check_curve(config)


def _no_learner(agents: Tree) -> Tree:
    """Agents that are only evaluated: a stack, or those of each group."""
    nothing = jnp.zeros(())
    return jax.tree.map(
        lambda agent: Learner(agent, (), nothing, nothing),
        agents,
        is_leaf=lambda x: isinstance(x, Agent),
    )


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


def check_curve(config: ConfigDict) -> None:
    """The curve is what is logged."""
    name = f'{config.experiment}.steps'
    whole = all(type(step) is int and step >= 1 for step in get(config, name))
    require(config, name, whole, 'must hold whole numbers of at least 1')
    by_steps = config.interval_type == 'steps'
    require(config, 'interval_type', by_steps, "must be 'steps': the curve is logged by steps")
    logged = config.log_train_data_interval <= config.training_steps
    sentence = (
        f'must be at most training_steps={config.training_steps}: the curve is what is logged'
    )
    require(config, 'log_train_data_interval', logged, sentence)
