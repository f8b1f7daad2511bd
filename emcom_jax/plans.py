"""Who meets whom in a population of several architectures: how many of each combination, and who.

The numbers are known when a step is compiled, up to one more or less.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.optimize
from ml_collections import ConfigDict

from emcom_jax import architectures, population
from emcom_jax.population import Meetings, Pace
from emcom_jax.types import Array, Key

# (key, counts [G, H]) -> (g, h) -> (speakers, listeners), numbers in their groups: the first
# `counts[g, h]` of them are those of the combination (g, h) that meet.
Draw = Callable[[Key, Array], Callable[[int, int], tuple[Array, Array]]]


class Plan(NamedTuple):
    """Who meets whom in a population of G groups of speakers and H of listeners.

    counts: int [M, G, H], the pairs of each combination of groups; step n takes those of n mod M.
        The numbers of one combination differ by 1 at most.
    draw: see `Draw`.
    meetings: [G][H], the rules of each combination; their `draw` is not read.
    spans: of speakers and of listeners, the numbers of the agents in each group.
    """

    counts: np.ndarray
    draw: Draw
    meetings: tuple[tuple[Meetings, ...], ...]
    spans: tuple[tuple[range, ...], tuple[range, ...]]

    @property
    def disjoint(self) -> bool:
        """As of `Meetings`; of the pairs of one combination."""
        return all(each.disjoint for row in self.meetings for each in row)


def make_meetings(config: ConfigDict) -> Meetings | Plan:
    """Makes what `population.make_meetings` makes, or the plan of a population of groups.

    matching: permutations of each group; each combination has its share of the pairs, over a few
        steps exactly.
    fixed: the listed pairs, those of one combination after those of another.
    """
    meetings = population.make_meetings(config.population)
    if not architectures.has_groups(config):
        return meetings
    rows, columns = (architectures.spans(config, role) for role in architectures.ROLES)
    listed = _listed(config.population)
    if listed is None:
        sizes = [np.array([len(span) for span in role]) for role in (rows, columns)]
        counts = _shares(sizes[0], sizes[1], config.population.pairs_per_step)
        draw = _permutations(sizes[0], sizes[1])
    else:
        cells = [[_within(listed, row, column) for column in columns] for row in rows]
        counts = np.array([[[len(cell) for cell in of_row] for of_row in cells]])
        draw = _constant(cells)

    def rules(g: int, h: int) -> Meetings:
        paces = _paces(meetings.paces, rows[g], columns[h])
        disjoint = listed is None or population.is_disjoint(
            cells[g][h], paces[0].learns, paces[1].learns
        )
        return meetings._replace(disjoint=disjoint, everyone=False, paces=paces)

    table = tuple(tuple(rules(g, h) for h in range(len(columns))) for g in range(len(rows)))
    return Plan(counts, draw, table, (rows, columns))


def _listed(config: ConfigDict) -> np.ndarray | None:
    """The pairs [P, 2] that meet in every step, or None if they are drawn."""
    if config.pairing == 'fixed':
        return np.asarray(config.pairs, np.int32)
    if config.structure == 'isolated':
        return np.stack([np.arange(config.num_speakers, dtype=np.int32)] * 2, axis=1)
    return None


def _paces(paces: tuple[Pace, Pace], row: range, column: range) -> tuple[Pace, Pace]:
    """Those of the agents of one combination of groups."""

    def of(pace: Pace, span: range) -> Pace:
        chance, speed = (None if x is None else x[list(span)] for x in pace[1:])
        return Pace(pace.learns[np.ix_(row, column)], chance, speed)

    return of(paces[0], row), of(paces[1], column)


def _within(pairs: np.ndarray, row: range, column: range) -> np.ndarray:
    """Of the pairs [P, 2] those of one combination, by their numbers in the groups."""
    inside = np.isin(pairs[:, 0], row) & np.isin(pairs[:, 1], column)
    return pairs[inside] - np.array([row.start, column.start], np.int32)


def _constant(of_cells: Sequence[Sequence[np.ndarray]]) -> Draw:
    def draw(key: Key, counts: Array) -> Callable[[int, int], tuple[Array, Array]]:
        del key, counts
        return lambda g, h: (jnp.asarray(of_cells[g][h][:, 0]), jnp.asarray(of_cells[g][h][:, 1]))

    return draw


def _permutations(speakers: np.ndarray, listeners: np.ndarray) -> Draw:
    """Deals the agents of each group, in an order drawn, to its combinations."""

    def draw(key: Key, counts: Array) -> Callable[[int, int], tuple[Array, Array]]:
        speaker_key, listener_key = jax.random.split(key)

        def order(key: Key, group: int, size: int) -> Array:
            # Twice, so that slices at the end are not moved.
            drawn = jax.random.permutation(jax.random.fold_in(key, group), size)
            return jnp.concatenate([drawn, drawn])

        def of_cell(g: int, h: int) -> tuple[Array, Array]:
            said = order(speaker_key, g, speakers[g])
            heard = order(listener_key, h, listeners[h])
            return (
                jax.lax.dynamic_slice_in_dim(said, counts[g, :h].sum(), speakers[g]),
                jax.lax.dynamic_slice_in_dim(heard, counts[:g, h].sum(), listeners[h]),
            )

        return of_cell

    return draw


def _shares(speakers: np.ndarray, listeners: np.ndarray, pairs: int) -> np.ndarray:
    """How many pairs of each combination of groups meet in each of M steps, [M, G, H].

    Each pair of agents meets equally often: the mean over the steps is S_g L_h / (S L) of the
    pairs. In each step that share is rounded up or down, as are those of whole groups. That this
    can be is a theorem on balanced colourings of the edges of bipartite graphs (de Werra 1971).

    speakers, listeners: the sizes of the groups, [G] and [H].
    """
    products, total = np.outer(speakers, listeners), speakers.sum() * listeners.sum()
    steps = total // np.gcd.reduce([total, *(pairs * products).ravel()])
    rest, counts = products * pairs * steps // total, []
    row, column = np.indices(products.shape).reshape(2, -1)
    wholes = [
        *(row == g for g in range(len(speakers))),
        *(column == h for h in range(len(listeners))),
    ]
    sums = np.concatenate([np.eye(products.size), wholes, np.ones((1, products.size))])
    for left in range(steps, 0, -1):
        wanted = sums @ rest.ravel()
        low, high = wanted // left, -(-wanted // left)
        within = scipy.optimize.LinearConstraint(sums, low, high)
        found = scipy.optimize.milp(-rest.ravel(), constraints=within, integrality=1)
        counts.append(np.rint(found.x).astype(int).reshape(products.shape))
        rest = rest - counts[-1]
    return np.stack(counts)
