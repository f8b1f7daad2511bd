"""What the config of a run is about, data and game, and the agents that the run has trained."""

from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import data
from emcom_jax.checks import check
from emcom_jax.data.bank import look_at, make_bank
from emcom_jax.games import GAMES, Game
from emcom_jax.runtime.checkpoints import read_checkpoint
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.tables import look_up
from emcom_jax.types import Agent, Bank, Source, Tree


class Setting:
    """The data and the game of a config, which is checked against them.

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
        self.game: Game = look_up(GAMES, config.game.name, 'game').make(config, self.source)

    def bank(self, split: str, source: Source | None = None) -> Bank:
        """A split on the device; `source`: of other data, which agents see as they see their own
        (less the mean of their own training split, over its deviation)."""
        chosen = look_up((source or self.source).splits, split, 'split')
        config = self.config.data
        standard = self.source.splits['train'] if config.standardize else None
        return make_bank(chosen, config.dtype, standard)

    def shapes(self) -> dict[str, Agent]:
        """The stacks of 'speakers' [S, ...] and 'listeners' [L, ...], without their values."""
        counts = self.config.population

        def stacks() -> dict[str, Agent]:
            key, rows = jax.random.key(0), jnp.arange(2)
            size = self.source.splits['train'].inputs.shape[1]
            zeros, ones = jnp.zeros(size), jnp.ones(size)
            batch = look_at(Bank(jnp.zeros((2, size)), {}, ones, zeros, ones), rows, rows, key, 0.0)
            return {
                'speakers': _stack(self.game.init_speaker(key, batch), counts.num_speakers),
                'listeners': _stack(self.game.init_listener(key, batch), counts.num_listeners),
            }

        return jax.eval_shape(stacks)


def _stack(agent: Agent, count: int) -> Agent:
    return jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *leaf.shape)), agent)


def read_agents(run_dir: str | Path, like: dict[str, Tree]) -> tuple[int, dict[str, Tree]]:
    """Reads agents from the best checkpoint of a run.

    Args:
      run_dir: the run directory.
      like: which ones, as they are in one replica: stacks of 'speakers' and 'listeners' (`Agent`)
        and 'targets' (parameters), or some of them; only names, shapes and dtypes count.

    Returns:
      The step, and NumPy arrays like those, with an axis [R] of the run's replicas before.

    Raises:
      RunDirectoryError, ValueError: there is no run, or none of such agents.
    """
    replicas = RunDirectory(run_dir).load_config().replicas
    stacks = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((replicas, *leaf.shape), leaf.dtype),
        {role: {'agent': x} if isinstance(x, Agent) else x for role, x in like.items()},
    )
    step, tree = read_checkpoint(run_dir, {'population': stacks})
    found = tree['population']
    return step, {
        role: found[role]['agent'] if isinstance(x, Agent) else found[role]
        for role, x in like.items()
    }
