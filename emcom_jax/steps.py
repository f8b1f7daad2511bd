"""Many steps of several replicas in one compiled call."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from emcom_jax.stacks import averages
from emcom_jax.types import Array, Bank, Batch, Key, Members, Tree
from emcom_jax.updates import Scalars, Update, When, unrolled

# Multiplications that one call should not exceed, so that it takes a second or two: in the middle
# of a call there is no progress to show, and nobody can stop the run.
_CALL = {'cpu': 2e11, 'gpu': 2e13, 'tpu': 2e13}


class Periodic(NamedTuple):
    """An update that comes after those steps of which `due` is true; its scalars are single
    numbers."""

    due: When
    update: Update


def after_every(count: int) -> When:
    """Says that an update is due after every `count` steps."""
    return lambda step: (step + 1) % count == 0


def in_step_after(count: int) -> When:
    """Says that an update is due in the step that follows every `count` steps: in between, what
    these have left can be evaluated."""
    return lambda step: (step > 0) & (step % count == 0)


class Steps(NamedTuple):
    """What `make_steps` makes.

    many: (population, bank, keys, start, count) -> (population, steps done, scalars).
    one: (population, bank, keys, start, now) -> the same of one step, without a loop in it.
    conditions: step -> `now`, the truth of what happens in that step alone; `one` is compiled for
        each that occurs.
    """

    many: Callable[[Members, Bank, Key, Array, Array], tuple[Members, Array, Scalars]]
    one: Callable[[Members, Bank, Key, Array, tuple[bool, ...]], tuple[Members, Array, Scalars]]
    conditions: Callable[[Array], tuple[Any, ...]]


def make_steps(
    communicate: Update,
    periodic: Sequence[Periodic],
    draw: Callable[[Bank, Key, Array], Batch],
    execution: str,
    plays: When | None = None,
) -> Steps:
    """Makes the function that does many steps, and that which does one.

    The population is a stack of R replicas, and each has its key, [R]: what a replica draws depends
    on its key and the step's number alone, so a run that was interrupted goes on as it would have,
    and replicas know nothing of each other. `execution` says how they are computed: 'vmap' all at
    once, 'map' or 'unroll' one after the other.

    `plays` says in which steps pairs meet at all (None: in all of them).

    `count` is traced, so one compiled program serves every number of steps. The loop ends at a
    step whose loss or gradient is not finite; then fewer than `count` steps are done.

    The scalars are [R, S, L]: of speaker s and listener l, the mean over the steps in which they
    met, nan where they did not. `speaker_accuracy` [R, S] and `listener_accuracy` [R, L] are the
    agents' moving averages. Those of periodic updates [R] are means over the steps that had one,
    nan if none had.
    """

    def conditions(step: Array) -> tuple[Any, ...]:
        return (True if plays is None else plays(step), *(due(step) for due, _ in periodic))

    def step_once(
        members: Members, bank: Bank, key: Key, step: Array, now: tuple[Any, ...]
    ) -> tuple[Members, tuple[Scalars, list[Scalars]]]:
        """One replica. Returns the population; the sum of each scalar by pair, with 1 for each
        meeting; of each periodic update the scalars, with 1 if it was due."""
        data_key, step_key = jax.random.split(key)
        step_key = jax.random.fold_in(step_key, step)
        batch = draw(bank, data_key, step)
        play_key = jax.random.fold_in(step_key, 0)

        def meet(members: Members) -> tuple[Members, Scalars]:
            members, scalars = communicate(play_key, step, members, batch)
            return members, scalars | {'meetings': jnp.ones(scalars['speaker'].shape)}

        members, scalars = if_due(now[0], meet, members)
        met = (scalars.pop('speaker'), scalars.pop('listener'))
        sizes = tuple(each.shape[0] for each in averages(members))
        sums = {name: jnp.zeros(sizes).at[met].add(each) for name, each in scalars.items()}
        rest = []
        for number, (_, update) in enumerate(periodic, start=1):
            key = jax.random.fold_in(step_key, number)

            def update_now(members: Members, update: Update = update, key: Key = key) -> Any:
                members, scalars = update(key, step, members, batch)
                return members, scalars | {'count': jnp.ones(())}

            members, scalars = if_due(now[number], update_now, members)
            rest.append(scalars)
        return members, (sums, rest)

    def all_once(
        members: Members, bank: Bank, keys: Key, step: Array, now: tuple[Any, ...]
    ) -> tuple[Members, Any, Array]:
        """All replicas; returns besides whether all is finite."""

        def replica(members: Members, key: Key) -> tuple[Members, Any]:
            return step_once(members, bank, key, step, now)

        members, new = over_replicas(replica, execution)(members, keys)
        # A trunk's gradient is in no scalar, but it would be in the trunk.
        trunk = sum(jnp.sum(leaf) for leaf in jax.tree.leaves(members.shared.agent.params))
        return members, new, jnp.isfinite(new[0]['loss'] + new[0]['gradient_norm'] + trunk).all()

    def many(
        members: Members, bank: Bank, keys: Key, start: Array, count: Array
    ) -> tuple[Members, Array, Scalars]:
        def next_step(members: Members, step: Array) -> tuple[Members, Any, Array]:
            return all_once(members, bank, keys, step, conditions(step))

        def go_on(carry: Any) -> Array:
            done, finite, *_ = carry
            return (done < count) & finite

        def body(carry: Any) -> Any:
            done, _, members, sums = carry
            members, new, finite = next_step(members, start + done)
            return done + finite, finite, members, jax.tree.map(jnp.add, sums, new)

        zeros = _zeros(jax.eval_shape(next_step, members, start)[1])
        carry = (jnp.zeros_like(count), jnp.array(True), members, zeros)
        done, _, members, sums = jax.lax.while_loop(go_on, body, carry)
        return members, done, _means(members, sums)

    def one(
        members: Members, bank: Bank, keys: Key, start: Array, now: tuple[bool, ...]
    ) -> tuple[Members, Array, Scalars]:
        members, sums, finite = all_once(members, bank, keys, start, now)
        return members, finite.astype(jnp.int32), _means(members, sums)

    return Steps(many, one, conditions)


def _means(members: Members, sums: tuple[Scalars, list[Scalars]]) -> Scalars:
    by_pair, rest = sums
    meetings = by_pair.pop('meetings')
    scalars = {name: each / meetings for name, each in by_pair.items()}
    scalars['speaker_accuracy'], scalars['listener_accuracy'] = averages(members)
    for each in rest:
        times = each.pop('count')
        scalars |= {name: total / times for name, total in each.items()}
    return scalars


def over_replicas(function: Callable[..., Any], execution: str) -> Callable[..., Any]:
    """Makes of a function of one replica's trees that of stacks of replicas, leaves [R, ...]."""

    def of_all(*stacks: Tree) -> Any:
        if jax.tree.leaves(stacks)[0].shape[0] == 1:  # A product in a batch of one is slower.
            one = function(*jax.tree.map(lambda leaf: leaf[0], stacks))
            return jax.tree.map(lambda leaf: leaf[None], one)
        if execution == 'vmap':
            return jax.vmap(function)(*stacks)
        loop = jax.lax.scan if execution == 'map' else unrolled
        return loop(lambda _, each: (None, function(*each)), None, stacks)[1]

    return of_all


def most_per_call(asked: int, pairs: int, batch_size: int, length: int, agents: Tree) -> int:
    """Returns how many of the `asked` steps one call should make, at least 1.

    Args:
      pairs: that play in a step, of all replicas.
      batch_size: of one device.
      length: symbols of a message, for each of which an agent's parameters are used.
      agents: the parameters of one speaker and one listener.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(agents))
    step = 3 * pairs * batch_size * length * size  # Forward, and twice that backward.
    return max(1, min(asked, int(_CALL[jax.default_backend()] / step)))


def if_due(
    condition: Array | bool, update: Callable[[Any], tuple[Any, Any]], members: Any
) -> tuple[Any, Any]:
    """The update where the condition holds; else the same population, and zeros for the rest."""
    if condition is True:
        return update(members)
    none = _zeros(jax.eval_shape(update, members)[1])
    if condition is False:
        return members, none
    return jax.lax.cond(condition, update, lambda members: (members, none), members)


def _zeros(shapes: Tree) -> Tree:
    return jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
