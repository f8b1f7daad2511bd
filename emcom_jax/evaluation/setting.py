"""What the config of a run is about, data and game, and the agents that the run has trained."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import data
from emcom_jax.architectures import combinations, has_groups, spans
from emcom_jax.checks import check
from emcom_jax.checks.population import check_shared_trunk
from emcom_jax.data.bank import (
    Standard,
    class_label,
    make_bank,
    partner_label,
    rival_label,
    scaling_of,
    standard_of,
)
from emcom_jax.data.batches import look_at
from emcom_jax.games import AXIS, GAMES, Game, Games
from emcom_jax.runtime.checkpoints import read_checkpoint
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.tables import look_up
from emcom_jax.types import Agent, Bank, Batch, Key, Sight, Source, Split, Tree


class Setting:
    """The data and the game of a config, which is checked against them.

    games: of each group of speakers with each group of listeners, [G][H]; `game` is the first, with
        all that they have in common.

    Raises:
      ValueError, OSError: for a config or data that cannot be used.
    """

    def __init__(
        self, config: ConfigDict, source: Source | None = None, num_devices: int | None = None
    ):
        """Args:
        config: of a run.
        source: its data, if they are loaded already.
        num_devices: over which a batch is divided in training; None: nothing is trained.
        """
        self.config = config
        self.source = data.load(config.data) if source is None else source
        check(config, self.source, num_devices)
        make = look_up(GAMES, config.game.name, 'game').make
        axis = None if num_devices is None else AXIS
        self.games: Games = tuple(
            tuple(make(one, self.source, axis) for one in row) for row in combinations(config)
        )
        self.game: Game = self.games[0][0]
        if num_devices is not None and self.game.trunk_learns:
            check_shared_trunk(config)

    def bank(self, split: str, source: Source | None = None) -> Bank:
        """A split on the device; `source`: of other data, which agents see as they see their own
        (less the mean of their own training split, over its deviation)."""
        chosen = look_up((source or self.source).splits, split, 'split')
        game = self.config.game
        dtype = self.config.data.dtype
        labels = (partner_label(game), rival_label(game), class_label(game))
        bank = make_bank(chosen, dtype, self.standard, *labels)
        if not self.game.converses:
            return bank
        return bank._replace(among=jnp.asarray(self._among(chosen)))

    def _among(self, split: Split) -> np.ndarray:
        """The classes among which listeners choose on a split, bool [D]: those of training; those
        that the split shows where some of these are others."""
        label = self.config.loss.listener.label

        def shown(split: Split) -> np.ndarray:
            classes = np.arange(self.source.num_values[label])
            return np.isin(classes, split.labels[label])

        trained, here = shown(self.source.splits['train']), shown(split)
        return trained if (trained | ~here).all() else here

    @functools.cached_property
    def standard(self) -> Standard | None:
        """How agents see what is stored, of whatever split; see `make_bank`."""
        config = self.config.data
        if not config.standardize:
            return None
        if config.channels == 'own' or self.source.splits['train'].inputs.ndim == 2:
            return standard_of(self.source.splits['train'])
        scaling = scaling_of(config)
        return None if scaling is None else Standard(scaling)

    def shapes(self) -> dict[str, Tree]:
        """The stacks of 'speakers' [S, ...] and 'listeners' [L, ...], and a 'shared' trunk if there
        is one, without their values; of several groups a tuple of stacks, as in a population."""

        def shared(key: Key, batch: Batch) -> dict[str, Tree]:
            if self.game.trunks != 'shared':
                return {}
            return {'shared': self.game.init_shared(key, batch)}

        def agents() -> dict[str, Tree]:
            key, rows = jax.random.key(0), jnp.arange(2)
            train = self.source.splits['train']
            heard = train.listener_inputs
            bank = Bank(
                _shapes_of(train.inputs.shape[1:]),
                {},
                None if heard is None else _shapes_of(heard.shape[1:]),
            )
            batch = look_at(bank, rows, rows, key, 0.0)
            return shared(key, batch) | {
                'speakers': [row[0].init_speaker(key, batch) for row in self.games],
                'listeners': [game.init_listener(key, batch) for game in self.games[0]],
            }

        found: dict[str, Tree] = {}
        for role, shapes in jax.eval_shape(agents).items():
            if role == 'shared':
                found[role] = shapes
                continue
            counts = map(len, spans(self.config, role.removesuffix('s')))
            groups = tuple(map(_stack, shapes, counts))
            found[role] = groups if has_groups(self.config) else groups[0]
        return found


def _shapes_of(shape: tuple[int, ...]) -> Sight:
    """What is seen of two examples of that shape, whatever it is."""
    zeros, ones = jnp.zeros(shape[-1:]), jnp.ones(shape[-1:])
    return Sight(jnp.zeros((2, *shape)), ones, zeros, ones)


def _stack(agent: Agent, count: int) -> Agent:
    def more(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((count, *leaf.shape), leaf.dtype)

    stack: Agent = jax.tree.map(more, agent)
    return stack


def read_agents(run_dir: str | Path, like: dict[str, Tree]) -> tuple[int, dict[str, Tree]]:
    """Reads agents from the best checkpoint of a run.

    Args:
      run_dir: the run directory.
      like: which ones, as they are in one replica: stacks of 'speakers' and 'listeners' (`Agent`)
        and 'targets' (parameters), 'shared' (one `Agent`), or some of them; of several groups
        tuples of stacks. Only names, shapes and dtypes count.

    Returns:
      The step, and NumPy arrays like those, with an axis [R] of the run's replicas before.

    Raises:
      RunDirectoryError, ValueError: there is no run, or none of such agents.
    """
    replicas = RunDirectory(run_dir).load_config().replicas

    def whole(x: Tree) -> Tree:
        return {'agent': x} if isinstance(x, Agent) else x

    def wanted(x: Tree, found: Tree) -> Tree:
        return found['agent'] if isinstance(x, Agent) else found

    def is_agent(x: Tree) -> bool:
        return isinstance(x, Agent)

    saved = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((replicas, *leaf.shape), leaf.dtype),
        jax.tree.map(whole, like, is_leaf=is_agent),
    )
    step, tree = read_checkpoint(run_dir, {'population': saved})
    return step, jax.tree.map(wanted, like, tree['population'], is_leaf=is_agent)
