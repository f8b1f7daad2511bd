"""A discrimination game so small that it can be played from pixels: what its tests share."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from conftest import drawn
from ml_collections import ConfigDict

from emcom_jax import config as config_lib
from emcom_jax import updates
from emcom_jax.data.bank import make_bank, standard_of
from emcom_jax.data.batches import look_at
from emcom_jax.experiments import trunks
from emcom_jax.games import GAMES, Game, is_frozen
from emcom_jax.optimizers import Optimizer, make_optimizer
from emcom_jax.population import Optimizers, make_meetings
from emcom_jax.runtime.checkpoints import Checkpointer
from emcom_jax.runtime.files import strict, write_json
from emcom_jax.types import (
    Agent,
    Array,
    Bank,
    Batch,
    Learner,
    Message,
    Pair,
    Population,
    Source,
    Split,
)

BATCH, VOCAB, SIDE, COUNT = 8, 5, 16, 24
WIDTH, SPACE = 2, 4  # Of the trunk, which sees 8 WIDTH features; of the listener.

KEY, STEP = jax.random.key(0), jnp.array(50)
ROLES = ('speaker', 'listener', 'shared')
TINY = {
    'training_steps': 100,
    'data.name': 'tiny',
    'data.batch_size': BATCH,
    'game.name': 'discrimination',
    'channel.kind': 'gumbel',
    'channel.length': 1,
    'channel.vocab_size': VOCAB,
    'speaker.head': 'policy',
    'speaker.core': 'gru',
    'speaker.hidden_size': 6,
    'listener.core': 'gru',
    'listener.hidden_size': 6,
    'listener.projection_sizes': (6, SPACE),
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'population.updates_per_call': 1,
    'evaluation.num_candidates': (4,),
    'evaluation.redraws': 2,
    'evaluation.batch_size': 9,
    'evaluation.best_metric': 'accuracy@4',
    'evaluation.metrics': ('accuracy',),
    # Adam makes whole steps of rounding errors.
    **{f'optimizer.{role}.name': 'sgd' for role in ROLES},
    **{f'optimizer.{role}.schedule': 'constant' for role in ROLES},
    **{f'optimizer.{role}.learning_rate': 0.1 for role in ROLES},
}


def trunk_of(role: str) -> dict[str, Any]:
    return {f'{role}.trunk.name': 'small_cnn', f'{role}.trunk.width': WIDTH}


# What is seen with: features; images through one trunk; images, each agent through its own.
SIGHTS: dict[str, dict[str, Any]] = {
    'features': {},
    'shared': trunk_of('speaker'),
    'own': {'game.shared_trunk': False} | trunk_of('speaker') | trunk_of('listener'),
}


def config_of(sight: str, changes: Mapping[str, Any] | None = None) -> ConfigDict:
    """A locked config of tiny agents, with changes {'group.key': value}."""
    return config_lib.recipe('tiny', {'tiny': TINY | SIGHTS[sight] | dict(changes or {})})


def source_of(sight: str) -> Source:
    """24 random referents with six classes of four, twelve objects of two, and two attributes."""
    rng = np.random.default_rng(0)
    shape = (COUNT, 6) if sight == 'features' else (COUNT, SIDE, SIDE, 3)
    labels = {
        'class': np.arange(COUNT, dtype=np.int32) % 6,
        'object': np.arange(COUNT, dtype=np.int32) % 12,
        'attributes': rng.integers(0, 3, (COUNT, 2)).astype(np.int32),
    }
    values = rng.standard_normal(shape).astype(np.float32)
    if sight != 'features':
        values = rng.integers(0, 256, shape).astype(np.uint8)
    split = Split(values, labels)
    splits = dict.fromkeys(('train', 'valid', 'test'), split)
    return Source('tiny', splits, {'class': 6, 'object': 12, 'attributes': 3})


def game_of(sight: str, changes: Mapping[str, Any] | None = None, axis: str | None = None) -> Game:
    return GAMES['discrimination'].make(config_of(sight, changes), source_of(sight), axis)


def bank_of(sight: str, partners: str | None = None, rivals: str | None = None) -> Bank:
    split = source_of(sight).splits['train']
    return make_bank(split, 'float32', standard_of(split), partners, rivals)


def batch_of(bank: Bank, noise: float = 0.0) -> Batch:
    """The first examples."""
    rows = jnp.arange(BATCH)
    return look_at(bank, rows, rows, jax.random.key(0), noise)


def pair_of(game: Game, batch: Batch) -> Pair:
    """A pair with drawn parameters, and with running averages that are not those of the start."""
    key = jax.random.key(0)
    shapes = jax.eval_shape(
        lambda: (
            game.init_speaker(key, batch),
            game.init_listener(key, batch),
            game.init_shared(key, batch),
        )
    )
    speaker, listener, shared = (Agent(drawn(a.params), _moved(a.state)) for a in shapes)
    target = jax.tree.map(lambda leaf: 0.9 * leaf, speaker.params)
    return Pair(speaker, listener, target, shared)


def _moved(state: Any) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), state
    )


def optimizers_of(sight: str, changes: Mapping[str, Any] | None = None) -> Optimizers:
    """Those that an experiment makes of the config: none for who is frozen."""
    config = config_of(sight, changes)
    frozen = (
        is_frozen(config, 'speaker'),
        is_frozen(config, 'listener'),
        not game_of(sight, changes).trunk_learns,
    )
    return Optimizers(
        *(
            None if stays else make_optimizer(trunks.frozen_in(config, role), 100, BATCH)
            for role, stays in zip(ROLES, frozen, strict=True)
        )
    )


def population_of(pairs: Sequence[Pair], optimizers: Optimizers) -> Population:
    """A population of these pairs, speaker i and listener i of pair i; the trunk of the first."""

    def learner(agent: Agent, optimizer: Optimizer | None) -> Learner:
        state = {} if optimizer is None else optimizer.init(agent.params)
        return Learner(agent, state, jnp.full((), jnp.nan), jnp.zeros((), jnp.int32))

    def stack(*learners: Any) -> Any:
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *learners)

    return Population(
        stack(*(learner(pair.speaker, optimizers.speaker) for pair in pairs)),
        stack(*(learner(pair.listener, optimizers.listener) for pair in pairs)),
        {} if optimizers.speaker is None else stack(*(pair.target for pair in pairs)),
        learner(pairs[0].shared, optimizers.shared),
    )


def pairs_of(game: Game, batch: Batch, count: int) -> list[Pair]:
    """Pairs that differ."""
    first = pair_of(game, batch)
    return [jax.tree.map(lambda leaf, n=n: (1 + n / 4) * leaf, first) for n in range(count)]


def step_of(
    sight: str,
    changes: Mapping[str, Any] | None = None,
    axis: str | None = None,
    execution: str = 'unroll',
    pairs: int = 1,
    same: bool = True,
) -> tuple[Population, Batch, Callable[[Population, Batch], Any]]:
    """A population before a step in which speaker i meets listener i, a batch, and the step.

    same: whether both agents see one array, as in a batch that was just drawn.
    """
    meet = {
        'population.num_speakers': pairs,
        'population.num_listeners': pairs,
        'population.pairs_per_step': pairs,
        'population.pairing': 'fixed',
        'population.pairs': tuple((n, n) for n in range(pairs)),
    }
    changes = meet | dict(changes or {})
    config, game = config_of(sight, changes), game_of(sight, changes, axis)
    batch, optimizers = batch_of(bank_of(sight)), optimizers_of(sight, changes)
    members = population_of(pairs_of(game, batch, pairs), optimizers)
    update = updates.communicate(
        game, optimizers, make_meetings(config.population), execution, 0.9, axis
    )

    def step(members: Population, batch: Batch) -> Any:
        if same:
            batch = batch._replace(listener_inputs=batch.speaker_inputs)
        return update(KEY, STEP, members, batch)

    return members, batch, step


class _Snapshot:
    """What a checkpoint is made of."""

    best_step = 3

    def __init__(self, members: Population):
        self._members = members

    def snapshot_state(self) -> dict[str, Any]:
        return {'population': jax.tree.map(lambda leaf: leaf[None], self._members)}


def run_of(path: Path, members: Population, config: ConfigDict) -> str:
    """A run directory with a checkpoint of that population."""
    path.mkdir()
    checkpointer = Checkpointer(path / 'checkpoints')
    state = checkpointer.get_experiment_state('latest')
    state.global_step, state.train_step_rng = 3, None
    state.experiment_module = _Snapshot(members)
    checkpointer.save()
    write_json(path / 'config.json', strict(config.to_dict()))
    return str(path)


def play_of(
    game: Game, pair: Pair, batch: Batch, params: Any = None, forced: Message | None = None
) -> tuple[Array, Any]:
    """(loss, (episode, pair with new states, terms)) of a play by a pair with these parameters."""
    if params is not None:
        changes = {
            role: getattr(pair, role)._replace(params=own)
            for role, own in zip(ROLES, params, strict=False)
        }
        if len(params) == 4:
            changes['target'] = params[3]
        pair = pair._replace(**changes)
    episode, after = game.play(pair, KEY, batch, STEP, forced)
    terms = game.terms(episode, KEY, batch, None)
    loss = sum(term.coefficient * term.value.mean() for term in terms.values())
    return loss, (episode, after, terms)


def gradients_of(game: Game, pair: Pair, batch: Batch) -> tuple[Any, Any]:
    """Of the loss with respect to speaker, listener, trunk and target; and what `play_of` tells."""
    params = (pair.speaker.params, pair.listener.params, pair.shared.params, pair.target)
    return jax.grad(lambda params: play_of(game, pair, batch, params), has_aux=True)(params)


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    norms = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)
    return x @ y.T / norms
