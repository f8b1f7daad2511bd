"""A sketching game so small that it can be played from pixels: what its tests share."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from conftest import drawn
from ml_collections import ConfigDict

from emcom_jax import config as config_lib
from emcom_jax.data.bank import class_label, make_bank, partner_label
from emcom_jax.data.batches import draw
from emcom_jax.games import GAMES
from emcom_jax.games.sketching import Sketching
from emcom_jax.types import Agent, Bank, Batch, Episode, Message, Pair, Source, Split

BATCH, GAME, STROKES, SIDE, COUNT, CLASSES = 8, 4, 3, 16, 48, 6
LATENT, SPACE = 5, 4
KEY, STEP = jax.random.key(0), jnp.array(50)
ROLES = ('speaker', 'listener', 'shared')
TINY = {
    'training_steps': 100,
    'data.name': 'tiny',
    'data.batch_size': BATCH,
    'data.channels': 'plain',
    'game.name': 'sketching',
    'game.views': 'same_class',
    'game.distractors': 'one_of_each',
    'game.together': GAME,
    'game.latent_size': LATENT,
    'channel.kind': 'drawing',
    'channel.vocab_size': 0,
    'channel.length': STROKES,
    'channel.sigma2': 0.05,
    'speaker.trunk.name': 'small_cnn',
    'speaker.trunk.width': 2,
    'speaker.head_sizes': (6,),
    'speaker.hidden_size': 6,
    'speaker.embed_size': 4,
    'listener.projection_sizes': (6, SPACE),
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.listener.name': 'hinge',
    'loss.listener.num_distractors': GAME - 1,
    'loss.listener.temperature': 1.0,
    'loss.perceptual.weights': (1.0, 0.5, 0.0, 2.0),
    'population.updates_per_call': 1,
    'evaluation.num_candidates': (GAME,),
    'evaluation.distractors': 'hard',
    'evaluation.redraws': 2,
    'evaluation.batch_size': 9,
    'evaluation.best_metric': f'accuracy@{GAME}',
    'evaluation.metrics': ('accuracy',),
    # Adam makes whole steps of rounding errors.
    **{f'optimizer.{role}.name': 'sgd' for role in ROLES},
    **{f'optimizer.{role}.schedule': 'constant' for role in ROLES},
    **{f'optimizer.{role}.learning_rate': 0.1 for role in ROLES},
}
FROZEN = {'speaker.trunk.frozen': True}
LIKENESS = FROZEN | {'loss.perceptual.coefficient': 0.5}
APART = {'game.shared_projection': False}
OWN = APART | {
    'game.shared_trunk': False,
    'listener.trunk.name': 'small_cnn',
    'listener.trunk.width': 2,
}
GATES = {'channel.gates': True, 'loss.speaker.length_cost': 0.1}
SETTINGS: dict[str, dict[str, Any]] = {
    'shared': {},
    'frozen': FROZEN,
    'likeness': LIKENESS,
    'apart': APART | LIKENESS,
    'own': OWN,
    'own-likeness': OWN | LIKENESS | {'listener.trunk.frozen': True},
    'gates': GATES | {'channel.stroke': 'quadratic', 'loss.listener.name': 'cross_entropy'},
    'attention': APART | GATES | {'speaker.attention': 4, 'channel.stroke': 'catmull_rom'},
    'original': {
        'game.views': 'same',
        'game.distractors': 'random',
        'evaluation.distractors': 'random',
        'loss.listener.num_distractors': None,
        'loss.listener.reduction': 'sum',
        'channel.sigma2_end': 0.01,
    },
}


def config_of(changes: Mapping[str, Any]) -> ConfigDict:
    """A locked config of tiny agents, with changes {'group.key': value}."""
    return config_lib.recipe('tiny', {'tiny': TINY | dict(changes)})


@cache
def source_of() -> Source:
    """48 random images of six classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (COUNT, SIDE, SIDE, 3)).astype(np.uint8)
    split = Split(images, {'class': np.arange(COUNT, dtype=np.int32) % CLASSES})
    return Source('tiny', dict.fromkeys(('train', 'valid', 'test'), split), {'class': CLASSES})


def game_of(changes: Mapping[str, Any], axis: str | None = None) -> Sketching:
    game: Any = GAMES['sketching'].make(config_of(changes), source_of(), axis)
    return game


def bank_of(changes: Mapping[str, Any]) -> Bank:
    group = config_of(changes).game
    labels = (partner_label(group), None, class_label(group))
    scaling = (np.full(3, 0.5, np.float32), np.full(3, 0.5, np.float32))
    return make_bank(source_of().splits['train'], 'float32', (scaling, None), *labels)


def batch_of(changes: Mapping[str, Any]) -> Batch:
    return draw(bank_of(changes), KEY, jnp.array(0), BATCH, 0.0, None, together=GAME)


def pair_of(game: Sketching, batch: Batch) -> Pair:
    """A pair with drawn parameters, and running averages as at the start."""
    shapes = jax.eval_shape(
        lambda: (
            game.init_speaker(KEY, batch),
            game.init_listener(KEY, batch),
            game.init_shared(KEY, batch),
        )
    )
    speaker, listener, shared = (Agent(drawn(a.params), _averages(a.state)) for a in shapes)
    return Pair(speaker, listener, speaker.params, shared)


def _averages(state: Any) -> Any:
    rng = np.random.default_rng(1)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.uniform(0.5, 1.5, leaf.shape), leaf.dtype), state
    )


def play_of(
    game: Sketching, pair: Pair, batch: Batch, forced: Message | None = None, step: Any = STEP
) -> tuple[Any, tuple[Episode, Pair, Any]]:
    """(loss, (episode, pair with new states, terms)) of a play."""
    episode, after = game.play(pair, KEY, batch, step, forced)
    terms = game.terms(episode, KEY, batch, None)
    loss = sum(term.coefficient * term.value.mean() for term in terms.values())
    return loss, (episode, after, terms)


def gradients_of(game: Sketching, pair: Pair, batch: Batch) -> tuple[Any, Any]:
    """Of the loss with respect to speaker, listener and trunk; and what `play_of` tells."""

    def loss(params: Any) -> Any:
        changes = {
            role: getattr(pair, role)._replace(params=own)
            for role, own in zip(ROLES, params, strict=True)
        }
        return play_of(game, pair._replace(**changes), batch)

    params = tuple(getattr(pair, role).params for role in ROLES)
    return jax.grad(loss, has_aux=True)(params)
