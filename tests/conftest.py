"""What tests share: strict JAX on the CPU, and a world so small that compiling it is the cost."""

from collections.abc import Mapping
from typing import Any

import jax

# Before anything compiles. Optimising a program takes longer than running one of this size.
jax.config.update('jax_platforms', 'cpu')
jax.config.update('jax_numpy_rank_promotion', 'raise')
jax.config.update('jax_disable_most_optimizations', True)

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import pytest  # noqa: E402
from ml_collections import ConfigDict  # noqa: E402

from emcom_jax import config as config_lib  # noqa: E402
from emcom_jax.data.bank import look_at, make_bank  # noqa: E402
from emcom_jax.games import GAMES, Game  # noqa: E402
from emcom_jax.types import Bank, Batch, Source, Split, Tree  # noqa: E402

BATCH, LENGTH, VOCAB, SIZE = 8, 3, 5, 6  # B, T, V, and D = H = E.

TINY = {
    'training_steps': 100,
    'data.batch_size': BATCH,
    'channel.vocab_size': VOCAB,
    'channel.length': LENGTH,
    **{
        f'{role}.{key}': value
        for role in ('speaker', 'listener')
        for key, value in {'core': 'gru', 'hidden_size': SIZE, 'embed_size': SIZE}.items()
    },
    'speaker.num_heads': 2,
    'listener.num_heads': 2,
    'listener.projection_sizes': (SIZE,),
    'evaluation.num_candidates': (4, 16),
    'evaluation.redraws': 3,
    'evaluation.best_metric': 'accuracy@16',
}


def tiny_config(changes: Mapping[str, Any] | None = None) -> ConfigDict:
    """A locked config of tiny agents, with changes {'group.key': value}."""
    return config_lib.recipe('tiny', {'tiny': TINY | dict(changes or {})})


def tiny_source() -> Source:
    """64 random referents with a class of four values and two attributes of three."""
    rng = np.random.default_rng(0)
    split = Split(
        rng.standard_normal((64, SIZE)).astype(np.float32),
        {
            'class': rng.integers(0, 4, 64).astype(np.int32),
            'attributes': rng.integers(0, 3, (64, 2)).astype(np.int32),
        },
    )
    splits = {'train': split, 'valid': split, 'test': split}
    return Source('tiny', splits, {'class': 4, 'attributes': 3})


def tiny_game(changes: Mapping[str, Any] | None = None) -> Game:
    """The game that `tiny_config(changes)` describes."""
    config = tiny_config(changes)
    return GAMES[config.game.name].make(config, tiny_source())


def drawn(tree: Tree) -> Tree:
    """Parameters of the shapes in `tree`, drawn without compiling: no bias of them is 0."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.5 * rng.standard_normal(leaf.shape), leaf.dtype), tree
    )


@pytest.fixture(scope='session')
def source() -> Source:
    return tiny_source()


@pytest.fixture(scope='session')
def bank(source: Source) -> Bank:
    return make_bank(source.splits['train'], 'float32')


@pytest.fixture(scope='session')
def batch(bank: Bank) -> Batch:
    """The first examples, which speaker and listener see with noise of their own."""
    rows = jnp.arange(BATCH)
    return look_at(bank, rows, rows, jax.random.key(0), 0.1)
