"""Populations of several architectures, as compositions of homogeneous ones.

Each architecture of speakers, and each of listeners, is a group with a stack of its own. A step
draws for each combination of a group of speakers with one of listeners a number of pairs that is
known when it is compiled, or one more; these play and learn as the pairs of the homogeneous
population that the two groups are. What happens now and then (imitation, resets, generations)
happens in each group by itself.

With one group of each role all is as if there were no groups: a `Population`, not `Groups`.
`games` are those of all combinations, [G][H].
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import architectures, dynamics, population, updates
from emcom_jax.games import Games
from emcom_jax.plans import Plan
from emcom_jax.population import Meetings, Optimizers
from emcom_jax.steps import Periodic, if_due
from emcom_jax.types import Array, Batch, Groups, Key, Members, Population, Tree
from emcom_jax.updates import Scalars, Update, When


def init_members(
    games: Games, optimizers: Optimizers, key: Key, batch: Batch, config: ConfigDict
) -> Members:
    """Makes fresh agents. Agent i is what it would be in a population of its kind alone."""
    rows, columns = (architectures.spans(config, role) for role in architectures.ROLES)

    def fresh(g: int, h: int) -> Population:
        sizes, first = (len(rows[g]), len(columns[h])), (rows[g].start, columns[h].start)
        return population.init_population(games[g][h], optimizers, key, batch, *sizes, first)

    parts = [fresh(g, h) for g, h in _diagonal(games)]
    return parts[0] if len(parts) == 1 else _assembled(parts, games)


def part(members: Groups, g: int, h: int) -> Population:
    """The homogeneous population of a group of speakers and one of listeners."""
    return Population(members.speakers[g], members.listeners[h], members.targets[g], members.shared)


def _replace_part(members: Groups, g: int, h: int, new: Population) -> Groups:
    def put(stacks: tuple, index: int, stack: Tree) -> tuple:
        return (*stacks[:index], stack, *stacks[index + 1 :])

    return members._replace(
        speakers=put(members.speakers, g, new.speakers),
        listeners=put(members.listeners, h, new.listeners),
        targets=put(members.targets, g, new.targets),
    )


def _diagonal(games: Games) -> list[tuple[int, int]]:
    """Combinations in which each group of either role occurs, in the order of its role."""
    last = (len(games) - 1, len(games[0]) - 1)
    return [(min(k, last[0]), min(k, last[1])) for k in range(max(last) + 1)]


def _assembled(parts: Sequence[Population], games: Games) -> Groups:
    """The population of which `parts` are the combinations on the diagonal."""
    speakers, listeners = parts[: len(games)], parts[: len(games[0])]
    return Groups(
        speakers=tuple(each.speakers for each in speakers),
        listeners=tuple(each.listeners for each in listeners),
        targets=tuple(each.targets for each in speakers),
        shared=parts[0].shared,
    )


def make_communicate(
    games: Games,
    optimizers: Optimizers,
    plan: Meetings | Plan,
    execution: str,
    target_ema: float,
    axis_name: str | None,
    learns_now: tuple[When, When] | None = None,
) -> Update:
    """Makes what `updates.communicate` makes, for populations of one or of several groups.

    `execution` says how the pairs of one combination of groups are computed; combinations come one
    after the other. A scalar of pairs that do not meet in a step is of the speaker with the number
    S, who does not exist.
    """
    more = (target_ema, axis_name, learns_now)
    if isinstance(plan, Meetings):
        return updates.communicate(games[0][0], optimizers, plan, execution, *more)
    most, pairs = plan.counts.max(axis=0), int(plan.counts[0].sum())
    cells = [(g, h) for g, h in np.ndindex(most.shape) if most[g, h]]
    ends = np.cumsum([most[cell] for cell in cells])
    nobody = plan.spans[0][-1].stop

    def play(
        count: int, cell: tuple[int, int], ids: Any, keys: Key, batch: Batch, step: Array
    ) -> Callable[[Population], tuple[Population, Any]]:
        """Lets the first `count` of the pairs play; returns sums over them, and their scalars with
        zeros for the other pairs."""
        how = execution if count > 1 else 'unroll'
        game, rules = games[cell[0]][cell[1]], plan.meetings[cell[0]][cell[1]]
        some = updates.make_play(game, optimizers, rules, how, *more)

        def played(members: Population) -> tuple[Population, Any]:
            who = (ids[0][:count], ids[1][:count])
            members, grads, state, scalars = some(members, who, keys[:count], batch, step)
            state = jax.tree.map(lambda leaf: leaf * count, state)
            rest = keys.shape[0] - count
            return members, (grads, state, {k: jnp.pad(x, (0, rest)) for k, x in scalars.items()})

        return played

    def update(key: Key, step: Array, members: Groups, batch: Batch) -> tuple[Groups, Scalars]:
        meet_key, play_key = jax.random.split(key)
        counts = jnp.asarray(plan.counts)[step % len(plan.counts)]
        draw = plan.draw(meet_key, counts)
        keys = jnp.split(jax.random.split(play_key, int(ends[-1])), ends[:-1])
        sums, scalars = [], []
        for cell, own in zip(cells, keys, strict=True):
            g, h = cell
            speakers, listeners = (each[: most[cell]] for each in draw(g, h))
            arguments = (cell, (speakers, listeners), own, batch, step)
            before, more_meet = part(members, g, h), counts[cell] == most[cell]
            now = play(int(most[cell]), *arguments)
            if plan.counts[:, g, h].min() == most[cell]:
                after, (grads, state, values) = now(before)
            elif most[cell] == 1:
                after, (grads, state, values) = if_due(more_meet, now, before)
            else:
                fewer = play(int(most[cell]) - 1, *arguments)
                after, (grads, state, values) = jax.lax.cond(more_meet, now, fewer, before)
            members = _replace_part(members, g, h, after)
            sums.append((grads, state, values['accuracy'].sum()))
            meet = jnp.arange(most[cell]) < counts[cell]
            values['speaker'] = jnp.where(meet, speakers + plan.spans[0][g].start, nobody)
            values['listener'] = listeners + plan.spans[1][h].start
            scalars.append(values)
        grads, state, accuracy = jax.tree.map(lambda *leaves: sum(leaves), *sums)
        mean = jax.tree.map(lambda leaf: leaf / pairs, (state, accuracy))
        shared = updates.learn_shared(optimizers, members.shared, (grads, *mean), pairs, step)
        joined = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *scalars)
        return members._replace(shared=shared), joined

    return update


def make_periodic(
    games: Games,
    optimizers: Optimizers,
    config: ConfigDict,
    axis_name: str | None,
    plan: Meetings | Plan | None = None,
) -> list[Periodic]:
    """Makes what `dynamics.make_periodic` makes, of each group by itself.

    plan: of which the speeds of speakers are read; None: all are 1.

    The scalars are means over the groups of speakers.
    """

    def speeds(g: int, h: int) -> Array | None:
        if plan is None:
            return None
        rules = plan if isinstance(plan, Meetings) else plan.meetings[g][h]
        speed = rules.paces[0].speed
        return None if speed is None else jnp.asarray(speed)

    each = [
        dynamics.make_periodic(games[g][h], optimizers, config, axis_name, speeds(g, h))
        for g, h in _diagonal(games)
    ]
    if len(each) == 1:
        return each[0]
    return [
        Periodic(same[0].due, _in_each_group(games, [one.update for one in same]))
        for same in zip(*each, strict=True)
    ]


def _in_each_group(games: Games, each: Sequence[Update]) -> Update:
    """Of updates that do not look at both roles: those of the combinations on the diagonal."""

    def update(key: Key, step: Array, members: Groups, batch: Batch) -> tuple[Groups, Scalars]:
        parts, scalars = [], []
        for number, ((g, h), one) in enumerate(zip(_diagonal(games), each, strict=True)):
            own = jax.random.fold_in(key, number)
            after, values = one(own, step, part(members, g, h), batch)
            parts.append(after)
            scalars.append(values)
        means = jax.tree.map(lambda *x: sum(x) / len(games), *scalars[: len(games)])
        assembled = _assembled(parts, games)
        return assembled._replace(shared=members.shared), means

    return update
