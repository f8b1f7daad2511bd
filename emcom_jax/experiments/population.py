"""Training a population under jaxline: data-parallel over the local devices, everything that
repeats inside one compiled call."""

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxline.experiment import AbstractExperiment
from ml_collections import ConfigDict

from emcom_jax import dynamics, groups, metrics, plans, population, steps
from emcom_jax.data.bank import is_streamed
from emcom_jax.data.batches import draw, draw_all, make_augmentation
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.interventions import Interventions
from emcom_jax.evaluation.noise_ladder import NoiseLadder
from emcom_jax.evaluation.setting import Setting, read_agents
from emcom_jax.experiments import trunks
from emcom_jax.experiments.feed import Feed
from emcom_jax.experiments.validation import Validation
from emcom_jax.games import AXIS, is_frozen
from emcom_jax.optimizers import make_optimizer
from emcom_jax.runtime import pod
from emcom_jax.runtime.devices import bcast_local_devices, first
from emcom_jax.runtime.run import Preempted, Run
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.stacks import agents_of, stacks, with_agents
from emcom_jax.types import Array, Bank, EvalRecord, Key, Members

_take = jax.jit(population.take)


class PopulationExperiment(AbstractExperiment):
    """Trains the population of a config, validates it as it goes, and keeps the best.

    Trains as many replicas of it as the config says, a stack in one program. What replica r draws
    comes from the seed `random_seed + r` alone (jaxline's keys are not read), so it is what the run
    with that seed alone would be. Which step is best, and when to stop, is of their mean.

    best_step: the step of the checkpoint with the best validation, -1 before there is one.
    stopped: why training ended before `training_steps`, or ''.
    """

    _own_listeners = False  # In evaluation: whether a speaker is asked by its own listeners alone.

    def __init__(self, mode: str, init_rng: Array, config: ConfigDict, run: Run):
        super().__init__(mode=mode, init_rng=init_rng)
        self._mode = mode
        self._config = config
        self._run = run
        num_devices = jax.device_count() if mode == 'train' else None
        self._setting = Setting(config, num_devices=num_devices)
        run.describe(self._setting.source)
        self._game = self._setting.game
        self._evaluator = Evaluator(self._setting.games, config, self._own_listeners)
        self._interventions = Interventions(self._setting.games, config)
        self._ladder = NoiseLadder(self._setting.games, config, self._own_listeners)
        self._splits = self._setting.source.splits
        self._banks: dict[str, Bank] = {}
        # The split of which agents see two examples before training.
        self._shown = 'valid' if is_streamed(config, self._setting.source) else 'train'
        frozen = {
            **{role: is_frozen(config, role) for role in ('speaker', 'listener')},
            'shared': not self._game.trunk_learns,
        }
        optimizers = {
            role: make_optimizer(
                trunks.frozen_in(config, role), config.training_steps, config.data.batch_size
            )
            for role in ('speaker', 'listener', 'shared')
        }
        self._optimizers = population.Optimizers(
            **{role: None if frozen.get(role) else each for role, each in optimizers.items()}
        )
        self._seeds = config.random_seed + np.arange(config.replicas)
        init_keys, self._keys = jax.vmap(lambda i: jax.random.split(jax.random.key(i)))(
            jnp.asarray(self._seeds)
        ).T
        if mode == 'train':  # Before anything compiles, for the sake of what it may refuse.
            self._meetings = plans.make_meetings(config)
            self._execution, self._over_replicas = self._choose_execution(init_keys[0])
        examples = self._bank(self._shown)
        members = jax.jit(jax.vmap(self._init, (0, None)))(init_keys, examples)
        if mode == 'train' and not run.checkpointer.can_be_restored():
            members = trunks.with_weights(members, config, self._game)
            if config.from_run is not None:
                members = self._start_from(members, config.from_run)
        self._population = bcast_local_devices(members)
        self._validation = Validation(
            config.evaluation,
            len(self._splits['valid'].inputs),
            since=dynamics.last_generation(config.updates.generations, config.training_steps),
        )
        if mode == 'train':
            # It may be the larger part of a device's memory.
            self._feed = Feed(self._setting, self._banks.pop('train', None))
            self._many = self._compile()
            self._steps_per_call = self._most_per_call()
            self._say_decaying()
        self._say_replaced()

    @classmethod
    def resolve(cls, config: ConfigDict) -> ConfigDict:
        """Returns the config that is run and kept, of that which was asked for."""
        return config

    def conclude(self) -> dict[str, Any]:
        """Returns what else the summary of a run should have, by the names of its sections."""
        return self._on_noise()

    def _on_noise(self) -> dict[str, Any]:
        """The section of the noise ladder, if it was asked for."""
        if not self._config.evaluation.noise_ladder:
            return {}
        replicas, bank, values = first(self._population), self._bank('test'), []
        for number, seed in enumerate(self._seeds.tolist()):
            record = self._ladder(_take(replicas, np.int32(number)), bank, seed)
            values.append(metrics.noise_of(record, self._run.read_record('valid', number)))
        return {'noise': metrics.over_replicas(values)}

    @property
    def best_step(self) -> int:
        return self._validation.best_step

    @property
    def stopped(self) -> str:
        return self._validation.stopped

    # --- jaxline's interface ---

    def snapshot_state(self) -> Mapping[str, Any]:
        """Everything that training depends on, besides jaxline's step and key."""
        return {
            'population': first(self._population),
            'validation': self._validation.snapshot(),
        }

    def restore_from_snapshot(self, snapshot_state: Mapping[str, Any]) -> None:
        self._population = bcast_local_devices(snapshot_state['population'])
        self._validation.restore(snapshot_state['validation'])

    def step(self, *, global_step: Array, rng: Key, writer: Any) -> dict[str, Any]:
        """One step by itself (jaxline's own loop); `train_loop` makes many in one call."""
        del rng, writer
        return self._advance(int(global_step[0]), 1)

    def evaluate(self, *, global_step: Array, rng: Key, writer: Any) -> dict[str, Any]:
        """Evaluates on the split that the mode names: eval_valid or eval_test."""
        del rng, writer
        split = self._mode.removeprefix('eval_')
        return self.evaluate_on(split, int(global_step[0]))

    def train_loop(
        self,
        config: ConfigDict,
        state: Any,
        periodic_actions: Sequence[Any],
        writer: Any = None,
    ) -> None:
        """Trains to the end, in calls that stop exactly where something is to be done."""
        del config, writer
        ours, run = self._config, self._run
        # At step 0 nothing that was written counts: the validation there is made again.
        run.begin(state.global_step or -1)
        saved = time.time()
        watch = run.watch(state.global_step)
        with contextlib.closing(self._feed), watch as (progress, preemption):
            if state.global_step == 0:
                self._validate(0, progress.print)
            else:
                progress.print(f'going on from step {state.global_step}')
            members = first(self._population)  # With the trunk that was restored, if any.
            # A loss that reads images needs them beside their features.
            apart = self._feed.streams and self._game.reads_images
            if trunks.sees_once(ours, self._game, members) and not apart:
                if self._feed.streams:
                    folder = run.directory.features
                    split = trunks.seen_in_files(self._setting, members, folder)
                    self._feed.replace_split(split)
                else:
                    bank = first(self._feed.at(0))
                    self._feed.replace(trunks.seen_once(ours, self._game, members, bank))
            del members
            while state.global_step < ours.training_steps and not self.stopped:
                count = self._steps_until_something(state.global_step)
                scalars = self._advance(state.global_step, count)
                state.global_step += count
                step = state.global_step
                progress.update(step, scalars)
                for action in periodic_actions:
                    action(time.time(), step, scalars)
                every = ours.evaluation.every
                last = step == ours.training_steps
                improved = False
                if last or (every and step % every == 0):
                    improved = self._validate(step, progress.print)
                due = step % ours.save_checkpoint_interval == 0
                if ours.interval_type == 'secs':
                    due = time.time() - saved >= ours.save_checkpoint_interval
                signal = preemption.asked()
                if due or improved or last or self.stopped or signal:
                    # The lines of this step come first: what is saved has been written.
                    for action in periodic_actions:
                        action.wait_to_finish()
                    run.checkpointer.save()
                    saved = time.time()
                if signal and not (last or self.stopped):
                    raise Preempted(signal, step)

    # --- evaluation ---

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits to evaluate on at the end."""
        train = self._config.evaluation.train
        return tuple(name for name in self._splits if name != 'train' or train)

    def evaluate_on(self, split: str, step: int, validates: bool = False) -> dict[str, Any]:
        """Evaluates each replica on a split, and keeps the records; returns the listed metrics, and
        what interventions did, unless this is but a validation."""
        replicas, values = first(self._population), []
        for number, seed in enumerate(self._seeds.tolist()):
            members = _take(replicas, np.int32(number))
            record = self._evaluator(members, self._bank(split), split, step, seed)
            record = record._replace(synsets=self._setting.source.synsets or {})
            self._run.keep_record(record, number)
            values.append(_measure(record, self._config))
            if self._config.evaluation.interventions and not validates:
                tampered = self._interventions(members, self._bank(split), seed)
                values[-1] |= metrics.listening_of(tampered)
        together = metrics.over_replicas(values)
        # Constants, the same for all replicas: said once, at the end.
        return together if validates else together | metrics.bounds_of(record)

    def _validate(self, step: int, show: Callable[[str], None]) -> bool:
        """Validates, and shows it; returns whether this is the best so far."""
        values = self.evaluate_on('valid', step, validates=True)
        self._run.log(step, 'valid', values)
        value = pod.agreed(self._validation.read(values))
        show(f'valid  step {step}: {self._validation.metric} {value:.3f}')
        if step == 0:  # An untrained population is no result.
            if self._config.from_run is None:
                self._run.keep_untrained()
            return False
        improved = self._validation.update(step, value)
        if self.stopped:
            show(f'stopping early: {self.stopped}')
        return improved

    # --- training ---

    def _say_replaced(self) -> None:
        """Says which numbers of candidates are larger than a split."""
        for split in self.splits:
            size = len(self._splits[split].inputs)
            asked = self._config.evaluation.num_candidates
            if self._game.has_candidates and max(asked) > size:
                larger = ', '.join(str(count) for count in asked if count > size)
                print(
                    f'evaluation.num_candidates: {larger} is more than the {size} examples of '
                    f'{split}; {size} stands for it'
                )

    def _say_decaying(self) -> None:
        """Says which learning rates are low when later generations come."""
        config = self._config
        decaying = [
            f'optimizer.{role}.schedule={config.optimizer[role].schedule!r}'
            for role in ('speaker', 'listener')
            if config.optimizer[role].schedule != 'constant'
        ]
        if decaying and config.updates.generations.every is not None:
            print(
                f'{" and ".join(decaying)}: over all of training, not anew for each of '
                "updates.generations, so that later ones hardly learn; 'constant' lets them"
            )

    def _bank(self, split: str) -> Bank:
        if split not in self._banks:
            self._banks[split] = self._setting.bank(split)
        return self._banks[split]

    def _init(self, key: Key, bank: Bank) -> Members:
        init_key, batch_key = jax.random.split(key)
        batch = draw(bank, batch_key, jnp.zeros((), int), 2, 0.0, None)
        return groups.init_members(
            self._setting.games, self._optimizers, init_key, batch, self._config
        )

    def _start_from(self, members: Members, run_dir: str) -> Members:
        """Takes agents and EMA targets from another run; optimisers begin anew."""
        roles = ('speakers', 'listeners')
        wanted = {role: agents_of(getattr(members, role)) for role in roles}
        wanted['targets'] = members.targets
        if self._game.trunks == 'shared':
            wanted['shared'] = members.shared.agent
        one = jax.eval_shape(lambda: _take(wanted, jnp.zeros((), int)))
        found = self._read_agents(run_dir, one)
        taken = {role: with_agents(getattr(members, role), found[role]) for role in roles}
        if 'shared' in found:
            taken['shared'] = members.shared._replace(agent=found['shared'])
        return members._replace(targets=found['targets'], **taken)

    def _read_agents(self, run_dir: str, like: dict[str, Any]) -> dict[str, Any]:
        """Reads agents of another run, for each replica those of its own there, or of the only one
        there; `like` as in `read_agents`."""
        theirs, ours = RunDirectory(run_dir).load_config().replicas, self._config.replicas
        if theirs not in (1, ours):
            raise ValueError(
                f'replicas={ours}, but {run_dir} has {theirs}: as many are needed, or 1 there'
            )
        _, found = read_agents(run_dir, like)
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (ours, *x.shape[1:])), found)

    def _compile(self) -> Callable[..., Any]:
        config, games = self._config, self._setting.games
        phases = dynamics.make_phases(config.updates.generations)
        communicate = groups.make_communicate(
            games,
            self._optimizers,
            self._meetings,
            self._execution,
            config.optimizer.target_ema,
            AXIS,
            None if phases is None else (phases.speaks, phases.plays),
        )
        periodic = groups.make_periodic(
            games, self._optimizers, config.updates, AXIS, self._meetings
        )
        together = 1 if config.game.distractors == 'random' else config.game.together
        draw_batch = partial(
            draw_all if self._feed.streams else partial(draw, together=together),
            batch_size=config.data.batch_size,
            noise=config.game.input_noise,
            axis_name=AXIS,
            augmentation=make_augmentation(config.game),
        )
        plays = None if phases is None else phases.plays
        made = steps.make_steps(communicate, periodic, draw_batch, self._over_replicas, plays)
        axes = (0, 0, None, None, None)
        if self._game.trunks == 'none' or config.population.updates_per_call > 1:
            return jax.pmap(made.many, AXIS, in_axes=axes, donate_argnums=0)
        # On a CPU the gradient of a convolution is 50 times slower in a loop (jax issue 12868).
        one = jax.pmap(made.one, AXIS, in_axes=axes, donate_argnums=0, static_broadcasted_argnums=4)

        def one_step(members: Any, bank: Any, keys: Key, start: Any, count: Any) -> Any:
            assert count == 1
            return one(members, bank, keys, start, tuple(map(bool, made.conditions(start))))

        return one_step

    def _choose_execution(self, key: Key) -> tuple[str, str]:
        """Returns how the pairs of a step are executed, and how replicas are."""
        config = self._config.population
        members = jax.eval_shape(self._init, key, self._bank(self._shown))
        size, agents = self._batch_of_device(), _params(members.speakers)
        trunks = self._game.trunks
        return (
            population.choose_execution(config, size, self._meetings.disjoint, agents, trunks),
            population.choose_replicas(config, size, agents, trunks),
        )

    def _batch_of_device(self) -> int:
        return self._config.data.batch_size // jax.device_count()

    def _most_per_call(self) -> int:
        config, members = self._config, first(self._population)
        if self._game.trunks != 'none':
            return config.population.updates_per_call
        # Of several groups the mean would do in place of the sum: calls are all the shorter.
        agents = (_params(members.speakers), _params(members.listeners))
        return steps.most_per_call(
            config.population.updates_per_call,
            config.population.pairs_per_step * config.replicas,
            self._batch_of_device(),
            config.channel.length,
            jax.eval_shape(lambda: jax.tree.map(lambda x: x[0, 0], agents)),  # One of each.
        )

    def _advance(self, step: int, count: int) -> dict[str, Any]:
        """Makes `count` steps from `step` in one compiled call."""
        self._population, done, scalars = self._many(
            self._population, self._feed.at(step), self._keys, np.int32(step), np.int32(count)
        )
        done, scalars = jax.device_get(
            jax.tree.map(lambda x: x.addressable_data(0)[0], (done, scalars))
        )
        if done < count:
            raise FloatingPointError(
                f'the loss or its gradient is not finite at step {step + int(done)}; '
                f'nothing of it was saved to {self._run.directory.checkpoints}'
            )
        return scalars

    def _steps_until_something(self, step: int) -> int:
        config = self._config
        intervals = [self._steps_per_call, config.evaluation.every]
        if config.interval_type == 'steps':
            intervals += [config.log_train_data_interval, config.save_checkpoint_interval]
        stops = [(step // every + 1) * every for every in intervals[1:] if every]
        return min(intervals[0], config.training_steps - step, *(stop - step for stop in stops))


def _params(role: Any) -> list[Any]:
    """The parameters of each stack of a role."""
    return [stack.agent.params for stack in stacks(role)]


def _measure(record: EvalRecord, config: ConfigDict) -> dict[str, Any]:
    options = metrics.limited(config.evaluation.metrics, config.evaluation.max_examples)
    return metrics.compute(record, config.evaluation.metrics, options)
