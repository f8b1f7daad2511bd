"""The stacks of a population, of which a role has one, or a tuple of one for each group."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from emcom_jax.types import Array, Learner, Members, Tree


def stacks(role: Any) -> tuple[Any, ...]:
    """The groups of a role, such as `members.speakers`: one, where it is not a tuple of them."""
    # The records of stacks are tuples as well, with names.
    return role if type(role) is tuple else (role,)


def sizes(role: Any) -> tuple[int, ...]:
    """How many agents each group of a role has."""
    return tuple(jax.tree.leaves(stack)[0].shape[0] for stack in stacks(role))


def joined(parts: Sequence[Tree]) -> Tree:
    """What came of each group, one after another along the first axis."""
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


def agents_of(role: Any) -> Any:
    """The agents of a stack, or a tuple of those of each stack of a role."""
    return jax.tree.map(lambda x: x.agent, role, is_leaf=_is_stack)


def with_agents(role: Any, agents: Any) -> Any:
    """The same stacks with other agents, in the place of `agents_of(role)`."""
    return jax.tree.map(lambda x, new: x._replace(agent=new), role, agents, is_leaf=_is_stack)


def _is_stack(tree: Tree) -> bool:
    return isinstance(tree, Learner)


def averages(members: Members) -> tuple[Array, Array]:
    """The average accuracies of all speakers [..., S] and of all listeners [..., L]."""
    speakers, listeners = (
        jnp.concatenate([stack.accuracy for stack in stacks(role)], axis=-1)
        for role in (members.speakers, members.listeners)
    )
    return speakers, listeners
