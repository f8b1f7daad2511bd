"""What happens to a population now and then: agents imitate each other, are reset, give way to
the next generation.

Updates as `updates.communicate` makes them: pure functions (key, step, population, batch) ->
(population, scalars), whose scalars are single numbers.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import updates
from emcom_jax.games.base import Game
from emcom_jax.optimizers import Optimizer
from emcom_jax.population import Optimizers, init_population, put, take
from emcom_jax.steps import Periodic, after_every, in_step_after
from emcom_jax.types import Agent, Array, Batch, Key, Learner, Message, Population, Tree
from emcom_jax.updates import Results, Scalars, Update, When, sum_over_devices, unrolled


def make_periodic(
    game: Game,
    optimizers: Optimizers,
    config: ConfigDict,
    axis_name: str | None,
    speeds: Array | None = None,
) -> list[Periodic]:
    """Makes the updates that `config` (the group `updates`) gives a period, in their order.

    speeds: [S], the factor of each speaker's learning rate, as of `population.Pace`; None: 1.
    """
    periodic = []
    if config.imitate.every is not None:
        update = imitate(game, optimizers, config.imitate, axis_name, speeds)
        periodic.append(Periodic(after_every(config.imitate.every), update))
    if config.reset.every is not None:
        update = reset(game, optimizers, config.reset.who)
        # Who is fresh is not evaluated before it has played: validations, and the end, come after
        # whole periods, too.
        periodic.append(Periodic(in_step_after(config.reset.every), update))
    phases = make_phases(config.generations)
    if phases is not None:
        periodic += [
            Periodic(phases.succeeds, succeed(game, optimizers)),
            Periodic(phases.transmits, transmit(game, optimizers, axis_name, speeds)),
            Periodic(phases.transmitted, finish_transmission),
        ]
    return periodic


class Phases(NamedTuple):
    """What is done in which steps of iterated learning.

    succeeds: the first of a generation, in which it takes the place of the last one.
    transmits: the next, in which fresh speakers learn from those before them.
    transmitted: the last of those.
    plays: all others. speaks: those of them in which speakers learn too.
    """

    succeeds: When
    transmits: When
    transmitted: When
    plays: When
    speaks: When


def make_phases(config: ConfigDict) -> Phases | None:
    """Makes the phases of `updates.generations`; None without generations. The first generation
    plays from the beginning."""
    if config.every is None:
        return None
    transmit_steps = config.transmit_steps

    def later(step: Array) -> Array:
        return step >= config.every

    def place(step: Array) -> Array:
        return step % config.every

    def plays(step: Array) -> Array:
        return ~later(step) | (place(step) > transmit_steps)

    return Phases(
        # Not after the last step of the one before, which may be evaluated in between.
        succeeds=lambda step: later(step) & (place(step) == 0),
        transmits=lambda step: ~plays(step) & (place(step) > 0),
        transmitted=lambda step: later(step) & (place(step) == transmit_steps),
        plays=plays,
        speaks=lambda step: ~later(step) | (place(step) > transmit_steps + config.listen_steps),
    )


def last_generation(config: ConfigDict, training_steps: int) -> int:
    """The number of steps before the last generation of `updates.generations`; 0 without them."""
    return 0 if config.every is None else (training_steps - 1) // config.every * config.every


def imitate(
    game: Game,
    optimizers: Optimizers,
    config: ConfigDict,
    axis_name: str | None,
    speeds: Array | None = None,
) -> Update:
    """Makes the update in which students learn the greedy messages of a teacher (Chaabouni et al.
    2022, section 2.3): of `num_students + 1` speakers drawn, the teacher has the best (or worst)
    average accuracy, or is any; with one speaker it imitates itself.

    The students use their own optimisers, at their own speeds; listeners and EMA targets stay.
    """
    optimizer = optimizers.speaker
    assert optimizer is not None  # Checked with the config.

    def update(
        key: Key, step: Array, population: Population, batch: Batch
    ) -> tuple[Population, Scalars]:
        speakers = population.speakers
        batch = game.look(population.shared.agent, batch)
        total = speakers.updates.shape[0]
        drawn = jax.random.permutation(key, total)[: config.num_students + 1]
        # Who never played teaches only where nobody drawn did.
        unknown = {'best': -jnp.inf, 'worst': jnp.inf, 'random': 0.0}[config.teacher]
        skill = jnp.nan_to_num(speakers.accuracy[drawn], nan=unknown)
        rank = {'best': jnp.argmax(skill), 'worst': jnp.argmin(skill), 'random': jnp.array(0)}
        first = rank[config.teacher]
        teacher = take(speakers, drawn[first])
        # The teacher's place is taken by the first drawn, so that all after it are students.
        others = jnp.where(jnp.arange(drawn.shape[0]) == first, drawn[0], drawn)[1:]
        students = drawn if total == 1 else others
        message = game.say_greedy(teacher.agent, batch)

        def learn(one: tuple[Learner, Array | None]) -> tuple[Learner, Array]:
            student, speed = one
            return _learn_message(game, optimizer, student, message, step, batch, axis_name, speed)

        # One after the other: students are few, and their agents may be large.
        learned, values = _one_by_one(game, learn, take((speakers, speeds), students))
        speakers = put(speakers, students, learned)
        return population._replace(speakers=speakers), {'imitation_loss': values.mean()}

    return update


def reset(game: Game, optimizers: Optimizers, who: str) -> Update:
    """Makes the update that replaces agents by fresh ones, with fresh optimisers (Li & Bowling
    2019; Chaabouni et al. 2022, appendix B.4).

    who: 'speaker' or 'listener', one drawn at random; 'pair', one of each, drawn apart; 'all'.
    A fresh speaker's EMA target is a copy of it.
    """

    def update(
        key: Key, step: Array, population: Population, batch: Batch
    ) -> tuple[Population, Scalars]:
        del step
        sizes = (population.speakers.updates.shape[0], population.listeners.updates.shape[0])
        *draw_keys, init_key = jax.random.split(key, 3)
        counts = sizes if who == 'all' else (1, 1)
        two = jax.tree.map(lambda leaf: leaf[:2], batch)
        fresh = init_population(game, optimizers, init_key, two, *counts)
        if who == 'all':
            return fresh._replace(shared=population.shared), {}
        speaker, listener = (
            jax.random.randint(draw_key, (1,), 0, size)
            for draw_key, size in zip(draw_keys, sizes, strict=True)
        )
        if who in ('speaker', 'pair'):
            population = population._replace(
                speakers=put(population.speakers, speaker, fresh.speakers),
                targets=put(population.targets, speaker, fresh.targets),
            )
        if who in ('listener', 'pair'):
            listeners = put(population.listeners, listener, fresh.listeners)
            population = population._replace(listeners=listeners)
        return population, {}

    return update


def succeed(game: Game, optimizers: Optimizers) -> Update:
    """Makes the update that begins the next generation (Kirby 2001; Ren et al. 2020): all agents
    are fresh, and the speakers before them stay in the place of the EMA targets, as teachers.

    Fresh speakers begin with the states of those before (statistics of a batch norm), by which the
    teachers speak; they move as soon as pairs play.
    """
    refresh = reset(game, optimizers, 'all')

    def update(
        key: Key, step: Array, population: Population, batch: Batch
    ) -> tuple[Population, Scalars]:
        fresh, scalars = refresh(key, step, population, batch)
        teachers = population.speakers.agent
        pupils = fresh.speakers._replace(agent=fresh.speakers.agent._replace(state=teachers.state))
        return fresh._replace(speakers=pupils, targets=teachers.params), scalars

    return update


def transmit(
    game: Game, optimizers: Optimizers, axis_name: str | None, speeds: Array | None = None
) -> Update:
    """Makes the update in which each speaker learns the greedy messages of its teacher, which
    lies in the place of its EMA target."""
    optimizer = optimizers.speaker
    assert optimizer is not None  # Checked with the config.

    def update(
        key: Key, step: Array, population: Population, batch: Batch
    ) -> tuple[Population, Scalars]:
        del key
        batch = game.look(population.shared.agent, batch)

        def learn(pair: tuple[Learner, Tree, Array | None]) -> tuple[Learner, Array]:
            student, teacher, speed = pair
            message = game.say_greedy(Agent(teacher, student.agent.state), batch)
            return _learn_message(game, optimizer, student, message, step, batch, axis_name, speed)

        both = (population.speakers, population.targets, speeds)
        speakers, values = _one_by_one(game, learn, both)
        return population._replace(speakers=speakers), {'transmission_loss': values.mean()}

    return update


def finish_transmission(
    key: Key, step: Array, population: Population, batch: Batch
) -> tuple[Population, Scalars]:
    """Gives the speakers EMA targets of their own again, which start as copies."""
    del key, step, batch
    targets = jax.tree.map(jnp.copy, population.speakers.agent.params)
    return population._replace(targets=targets), {}


def _one_by_one(game: Game, function: Callable[[Tree], Any], stack: Tree) -> Any:
    """Applies a function to each of a stack; without a loop where it differentiates trunks (see
    `updates.unrolled`)."""
    loop = unrolled if game.trunks == 'own' else jax.lax.scan
    return loop(lambda _, each: (None, function(each)), None, stack)[1]


def _learn_message(
    game: Game,
    optimizer: Optimizer,
    student: Learner,
    message: Message,
    step: Array,
    batch: Batch,
    axis_name: str | None,
    speed: Array | None,
) -> tuple[Learner, Array]:
    """One supervised update of a speaker; its training accuracy stays. Returns the loss besides."""

    def loss(params: Tree) -> Array:
        values = game.imitation_loss(student.agent._replace(params=params), message, batch)
        weight = sum_over_devices(batch.weight.sum(), axis_name)
        return (values * batch.weight).sum() / weight

    value, grads = jax.value_and_grad(loss)(student.agent.params)
    value, grads = sum_over_devices((value, grads), axis_name)
    results = Results(grads, student.agent.state, student.accuracy, jnp.array(True), speed)
    learned = updates.learn(optimizer, student, results, step)
    return learned._replace(accuracy=student.accuracy), value
