"""Many steps in one compiled call."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from emcom_jax.types import Array, Bank, Batch, Key, Population, Tree
from emcom_jax.updates import Scalars, Update

# Multiplications that one call should not exceed, so that it takes a second or two: in the middle
# of a call there is no progress to show, and nobody can stop the run.
_CALL = {'cpu': 2e11, 'gpu': 2e13, 'tpu': 2e13}


def repeat(
    communicate: Update,
    imitate: Update | None,
    imitate_every: int | None,
    draw: Callable[[Bank, Key, Array], Batch],
) -> Callable[[Population, Bank, Key, Array, Array], tuple[Population, Array, Scalars]]:
    """Makes the function that does many steps: (population, bank, key, start, count) ->
    (population, steps done, scalars).

    `count` is traced, so one compiled program serves every number of steps. The loop ends at a
    step whose loss or gradient is not finite; then fewer than `count` steps are done. What a step
    draws depends on the run's key and the step's number alone, so a run that was interrupted goes
    on as it would have.

    The scalars are [S, L]: of speaker s and listener l, the mean over the steps in which they met,
    nan where they did not. `speaker_accuracy` [S] and `listener_accuracy` [L] are the agents'
    moving averages; `imitation_loss` is nan where no step imitated.
    """

    def step_once(
        members: Population, bank: Bank, keys: tuple[Key, Key], step: Array
    ) -> tuple[Population, Scalars, tuple[Array, Array]]:
        """Returns the population; the sum of each scalar by pair, and of one for each meeting; the
        loss of an imitation, and whether there was one."""
        batch = draw(bank, keys[0], step)
        play_key, imitate_key = jax.random.split(jax.random.fold_in(keys[1], step))
        members, scalars = communicate(play_key, step, members, batch)
        met = (scalars.pop('speaker'), scalars.pop('listener'))
        sizes = (members.speakers.updates.shape[0], members.listeners.updates.shape[0])
        scalars['meetings'] = jnp.ones(met[0].shape)
        sums = {name: jnp.zeros(sizes).at[met].add(each) for name, each in scalars.items()}
        none = (jnp.zeros(()), jnp.zeros(()))
        if imitate is None or imitate_every is None:
            return members, sums, none

        def learn_from_each_other(now: Population) -> tuple[Population, tuple[Array, Array]]:
            now, scalars = imitate(imitate_key, step, now, batch)
            return now, (scalars['imitation_loss'], jnp.ones(()))

        due = (step + 1) % imitate_every == 0
        members, imitated = jax.lax.cond(
            due, learn_from_each_other, lambda now: (now, none), members
        )
        return members, sums, imitated

    def many(
        members: Population, bank: Bank, key: Key, start: Array, count: Array
    ) -> tuple[Population, Array, Scalars]:
        data_key, step_key = jax.random.split(key)

        def go_on(carry: Any) -> Array:
            done, finite, *_ = carry
            return (done < count) & finite

        def body(carry: Any) -> Any:
            done, _, members, sums = carry
            members, scalars, imitated = step_once(
                members, bank, (data_key, step_key), start + done
            )
            finite = jnp.isfinite(scalars['loss'] + scalars['gradient_norm']).all()
            sums = jax.tree.map(jnp.add, sums, (scalars, imitated))
            return done + finite, finite, members, sums

        shapes = jax.eval_shape(step_once, members, bank, (data_key, step_key), start)[1:]
        zeros = jax.tree.map(lambda one: jnp.zeros(one.shape, one.dtype), shapes)
        carry = (jnp.zeros_like(count), jnp.array(True), members, zeros)
        done, _, members, (sums, imitated) = jax.lax.while_loop(go_on, body, carry)
        meetings = sums.pop('meetings')
        scalars = {name: each / meetings for name, each in sums.items()}
        scalars['speaker_accuracy'] = members.speakers.accuracy
        scalars['listener_accuracy'] = members.listeners.accuracy
        if imitate is not None:
            scalars['imitation_loss'] = imitated[0] / imitated[1]
        return members, done, scalars

    return many


def most_per_call(asked: int, pairs: int, batch_size: int, length: int, agents: Tree) -> int:
    """Returns how many of the `asked` steps one call should make, at least 1.

    Args:
      pairs: that play in a step.
      batch_size: of one device.
      length: symbols of a message, for each of which an agent's parameters are used.
      agents: the parameters of one speaker and one listener.
    """
    size = sum(leaf.size for leaf in jax.tree.leaves(agents))
    step = 3 * pairs * batch_size * length * size  # Forward, and twice that backward.
    return max(1, min(asked, int(_CALL[jax.default_backend()] / step)))
