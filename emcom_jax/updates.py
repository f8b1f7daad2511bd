"""What changes a population: pure functions (key, step, population, batch) -> (population,
scalars).

They run inside `jax.pmap` (or `shard_map`) over the axis of devices and know only its name.
Parameters are replicated; each device has its part of the batch, and everything that is averaged
over examples is averaged over all devices.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from emcom_jax.games.base import Game
from emcom_jax.optimizers import Optimizer
from emcom_jax.population import Meetings, Optimizers, put, take
from emcom_jax.types import Agent, Array, Batch, Groups, Key, Learner, Pair, Population, Tree

Scalars = dict[str, Array]
When = Callable[[Array], Array]  # Global step [] -> bool [].
M = TypeVar('M', Population, Groups)
Update = Callable[[Key, Array, M, Batch], tuple[M, Scalars]]
# (population, (speakers [P], listeners [P]), keys [P], batch, step) -> (population, gradient of the
# shared trunk (its sum over the pairs), state of the trunk (its mean), scalars [P]).
Play = Callable[[Population, Any, Key, Batch, Array], tuple[Population, Tree, Tree, Scalars]]

ACCURACY_DECAY = 0.99  # Of an agent's training accuracy (Chaabouni et al. 2022, table 3: mu).


class Results(NamedTuple):
    """What came of a play for one agent: gradient, new state, accuracy, whether it learns of it,
    and the factor of what it learns (None: 1)."""

    grads: Tree
    state: Tree
    accuracy: Array
    learns: Array
    speed: Array | None = None


def communicate(
    game: Game,
    optimizers: Optimizers,
    meetings: Meetings,
    execution: str,
    target_ema: float,
    axis_name: str | None,
    learns_now: tuple[When, When] | None = None,
) -> Update:
    """Makes the update in which pairs play the batch and learn from it.

    execution: 'vmap' computes all pairs at once; 'map' (a scan) and 'unroll' (no loop) compute one
    after the other. Where an agent that learns meets twice, each pair starts from what the one
    before left, and 'vmap' is not to be had.

    learns_now: whether speakers, and listeners, learn in a step (None: in all steps).

    Of a frozen role no gradient is computed, and its agents stay as they are.

    The scalars are means over examples, for each pair, [P]; 'speaker' and 'listener' tell whose.
    """
    play = make_play(game, optimizers, meetings, execution, target_ema, axis_name, learns_now)

    def update(
        key: Key, step: Array, population: Population, batch: Batch
    ) -> tuple[Population, Scalars]:
        meet_key, play_key = jax.random.split(key)
        ids = meetings.draw(meet_key)
        count = ids[0].shape[0]
        keys = jax.random.split(play_key, count)
        population, grads, state, scalars = play(population, ids, keys, batch, step)
        accuracy = scalars['accuracy'].mean()
        shared = learn_shared(optimizers, population.shared, (grads, state, accuracy), count, step)
        scalars |= {'speaker': ids[0], 'listener': ids[1]}
        return population._replace(shared=shared), scalars

    return update


def make_play(
    game: Game,
    optimizers: Optimizers,
    meetings: Meetings,
    execution: str,
    target_ema: float,
    axis_name: str | None,
    learns_now: tuple[When, When] | None,
) -> Play:
    """Makes the part of `communicate` in which pairs that were drawn (`meetings.draw` is not read)
    play, and all but the shared trunk learns."""
    frozen = [optimizer is None for optimizer in optimizers]

    def learning(*agents: Agent) -> tuple[Tree, ...]:
        """The parameters of speaker, listener and shared that are differentiated, None for others;
        stacks or not."""
        return tuple(
            None if stays else agent.params for stays, agent in zip(frozen, agents, strict=True)
        )

    def outcome(
        role: int, step: Array, grads: Tree, state: Tree, accuracy: Array, ids: Any, key: Key
    ) -> Results:
        """Of one pair, for its speaker (role 0) or its listener (role 1)."""
        pace = meetings.paces[role]
        learns, speed = jnp.asarray(pace.learns)[ids], None
        if learns_now is not None:
            learns &= learns_now[role](step)
        if pace.chance is not None:
            # The play splits the key, which is to fold in 0 and 1.
            drawn = jax.random.uniform(jax.random.fold_in(key, 2 + role))
            learns &= drawn < jnp.asarray(pace.chance)[ids[role]]
        if pace.speed is not None:
            speed = jnp.asarray(pace.speed)[ids[role]]
        return Results(grads, state, accuracy, learns, speed)

    def objective(
        params: tuple[Tree, Tree, Tree], pair: Pair, key: Key, batch: Batch, step: Array
    ) -> tuple[Array, tuple[Scalars, Pair]]:
        """The loss of one pair: this device's part of it, whose gradients add up over devices."""
        agents = (pair.speaker, pair.listener, pair.shared)
        speaker, listener, shared = (
            agent if stays else agent._replace(params=own)
            for stays, agent, own in zip(frozen, agents, params, strict=True)
        )
        pair = pair._replace(speaker=speaker, listener=listener, shared=shared)
        play_key, loss_key = jax.random.split(key)
        episode, pair = game.play(pair, play_key, batch, step)
        terms = game.terms(episode, loss_key, batch, axis_name)
        loss = jnp.zeros(())
        scalars = {}
        for name, term in terms.items():
            total = sum_over_devices(term.weight.sum(), axis_name)
            part = (term.value * term.weight).sum() / total
            loss += term.coefficient * part
            scalars[name] = sum_over_devices(part, axis_name)
        scalars['loss'] = sum_over_devices(loss, axis_name)
        return loss, (scalars, pair)

    def learn_speaker(
        speaker: Learner, target: Tree, results: Results, step: Array
    ) -> tuple[Learner, Tree]:
        if optimizers.speaker is None:
            return speaker, target
        speaker = learn(optimizers.speaker, speaker, results, step)
        moved = jax.tree.map(
            lambda old, new: target_ema * old + (1 - target_ema) * new, target, speaker.agent.params
        )
        return speaker, _where(results.learns, moved, target)

    def replaced(
        members: Population, ids: Any, speakers: Learner, listeners: Learner, targets: Tree
    ) -> Population:
        """Puts those that learn back where they were taken."""
        if optimizers.speaker is not None:
            members = members._replace(
                speakers=put(members.speakers, ids[0], speakers),
                targets=put(members.targets, ids[0], targets),
            )
        if optimizers.listener is not None:
            members = members._replace(listeners=put(members.listeners, ids[1], listeners))
        return members

    def at_once(
        population: Population, ids: Any, keys: Key, batch: Batch, step: Array
    ) -> tuple[Population, Tree, Tree, Scalars]:
        speakers, listeners, targets, shared = population
        if meetings.everyone:
            # Speaker i is in pair i. Of a listener, only what is read in play goes to its pair, and
            # what came of it goes back: to move its optimiser's state too can take longer than to
            # play.
            reading = take(listeners.agent, ids[1])
        else:
            speakers, targets = take((speakers, targets), ids[0])
            listeners = take(listeners, ids[1])
            reading = listeners.agent

        def total(params: tuple[Tree, Tree, Tree]) -> tuple[Array, tuple[Scalars, Pair]]:
            # The sum is differentiated outside the vmap: one gradient of the trunk, not P copies.
            one = partial(objective, batch=batch, step=step)
            pairs = Pair(speakers.agent, reading, targets, shared.agent)
            axes = ((0, 0, None), Pair._make((0, 0, 0, None)), 0)
            losses, rest = jax.vmap(one, axes)(params, pairs, keys)
            return losses.sum(), rest

        params = learning(speakers.agent, reading, shared.agent)
        grads, (scalars, pairs) = jax.grad(total, has_aux=True)(params)
        grads = sum_over_devices(grads, axis_name)
        accuracy = scalars['accuracy']
        scalars['gradient_norm'] = jax.vmap(_norm, axis_size=len(ids[0]))(grads[:2])
        states = (pairs.speaker.state, pairs.listener.state)
        said, heard = (
            jax.vmap(partial(outcome, role, step))(grads[role], states[role], accuracy, ids, keys)
            for role in (0, 1)
        )
        if meetings.everyone:
            heard = take(heard, jnp.argsort(ids[1]))
        speakers, targets = jax.vmap(partial(learn_speaker, step=step))(speakers, targets, said)
        learn_listener = partial(learn, optimizers.listener, step=step)
        listeners = jax.vmap(learn_listener)(listeners, heard)
        if not meetings.everyone:
            speakers, listeners, targets, _ = replaced(
                population, ids, speakers, listeners, targets
            )
        state = jax.tree.map(lambda leaf: leaf.mean(0), pairs.shared.state)
        return Population(speakers, listeners, targets, shared), grads[2], state, scalars

    def alone(
        learners: tuple[Learner, Learner, Tree],
        ids: Any,
        key: Key,
        shared: Agent,
        batch: Batch,
        step: Array,
    ) -> tuple[tuple[Learner, Learner, Tree], tuple[Tree, Tree, Scalars]]:
        speaker, listener, target = learners
        params = learning(speaker.agent, listener.agent, shared)
        pair = Pair(speaker.agent, listener.agent, target, shared)
        grads, (scalars, pair) = jax.grad(objective, has_aux=True)(params, pair, key, batch, step)
        grads = sum_over_devices(grads, axis_name)
        accuracy = scalars['accuracy']
        scalars['gradient_norm'] = _norm(grads[:2])
        said = outcome(0, step, grads[0], pair.speaker.state, accuracy, ids, key)
        heard = outcome(1, step, grads[1], pair.listener.state, accuracy, ids, key)
        speaker, target = learn_speaker(speaker, target, said, step)
        listener = learn(optimizers.listener, listener, heard, step)
        return (speaker, listener, target), (grads[2], pair.shared.state, scalars)

    def one_by_one(
        population: Population, ids: Any, keys: Key, batch: Batch, step: Array
    ) -> tuple[Population, Tree, Tree, Scalars]:
        shared = population.shared.agent
        loop = jax.lax.scan if execution == 'map' else unrolled

        def taken(members: Population, ids: Any) -> tuple[Learner, Learner, Tree]:
            speakers, targets = take((members.speakers, members.targets), ids[0])
            return speakers, take(members.listeners, ids[1]), targets

        def in_order(members: Population, pair: Any) -> tuple[Population, Any]:
            ids, key = pair
            learners, rest = alone(taken(members, ids), ids, key, shared, batch, step)
            return replaced(members, ids, *learners), rest

        def apart(_: None, pair: Any) -> tuple[None, Any]:
            learners, ids, key = pair
            return None, alone(learners, ids, key, shared, batch, step)

        if meetings.disjoint:
            # The population is no carry of the loop: XLA would copy all of it for each pair.
            _, (learners, rest) = loop(apart, None, (taken(population, ids), ids, keys))
            population = replaced(population, ids, *learners)
        else:
            population, rest = loop(in_order, population, (ids, keys))
        grads, states, scalars = rest
        grads = jax.tree.map(lambda leaf: leaf.sum(0), grads)
        return population, grads, jax.tree.map(lambda leaf: leaf.mean(0), states), scalars

    return at_once if execution == 'vmap' else one_by_one


def learn_shared(
    optimizers: Optimizers,
    shared: Learner,
    outcome: tuple[Tree, Tree, Array],
    count: int,
    step: Array,
) -> Learner:
    """Returns the trunk after one update; outcome: the sum of its gradients over `count` pairs, the
    means of its state and of their accuracy."""
    grads, state, accuracy = outcome
    grads = jax.tree.map(lambda leaf: leaf / count, grads)
    return learn(optimizers.shared, shared, Results(grads, state, accuracy, jnp.array(True)), step)


def learn(optimizer: Optimizer | None, learner: Learner, results: Results, step: Array) -> Learner:
    """Returns the learner after one update, or as it was where it does not learn or is frozen."""
    if optimizer is None:
        return learner
    old = learner.agent.params
    params, opt_state = optimizer.update(results.grads, learner.opt_state, old, step)
    if results.speed is not None:
        params = jax.tree.map(lambda a, b: a + results.speed * (b - a), old, params)
    # The average starts at the first accuracy rather than at 0.
    before = jnp.where(jnp.isnan(learner.accuracy), results.accuracy, learner.accuracy)
    average = ACCURACY_DECAY * before + (1 - ACCURACY_DECAY) * results.accuracy
    learned = Learner(Agent(params, results.state), opt_state, average, learner.updates + 1)
    return _where(results.learns, learned, learner)


def _where(condition: Array, yes: Tree, no: Tree) -> Tree:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), yes, no)


def sum_over_devices(tree: Tree, axis_name: str | None) -> Tree:
    return tree if axis_name is None else jax.lax.psum(tree, axis_name)


def _norm(tree: Tree) -> Array:
    # Rows are summed by a product with ones: on a CPU that is eight times faster than `sum`.
    squares = [jnp.atleast_1d(leaf * leaf) for leaf in jax.tree.leaves(tree)]
    return jnp.sqrt(sum(jnp.sum(leaf @ jnp.ones(leaf.shape[-1])) for leaf in squares))


def unrolled(body: Callable, carry: Tree, xs: Tree) -> tuple[Tree, Tree]:
    """`jax.lax.scan` without a loop: a convolution's gradient inside one is 50 times slower on a
    CPU (jax issue 12868)."""
    outputs = []
    for i in range(jax.tree.leaves(xs)[0].shape[0]):
        carry, out = body(carry, jax.tree.map(lambda leaf, i=i: leaf[i], xs))
        outputs.append(out)
    return carry, jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)
