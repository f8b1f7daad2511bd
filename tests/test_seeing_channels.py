"""Every way to speak of what is seen: each has its shapes, and learns."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pictures import (
    BATCH,
    VOCAB,
    bank_of,
    batch_of,
    config_of,
    game_of,
    gradients_of,
    pair_of,
    play_of,
    source_of,
)

from emcom_jax.checks import check

# --- every channel --------------------------------------------------------------------------------

WAYS = {
    'reinforce': {
        'channel.kind': 'categorical',
        'loss.speaker.name': 'reinforce',
        'speaker.head': 'policy_value',
    },
    'policy_gradient': {
        'channel.kind': 'categorical',
        'loss.speaker.name': 'policy_gradient',
        'speaker.head': 'policy_q_value',
    },
    'gumbel': {},
    'gumbel_scheduled': {'channel.temperature_mode': 'scheduled'},
    'gumbel_learned': {'channel.temperature_mode': 'learned'},
    'gumbel_st': {'channel.kind': 'gumbel_st'},
    'continuous': {'channel.kind': 'continuous'},
}
REGULARISED = {'loss.speaker.entropy': 0.01, 'loss.speaker.kl': 0.5}
TASKS = {
    'one_symbol': {},
    'three_symbols': {'channel.length': 3},
    'variable': {'channel.length': 3, 'channel.variable_length': True},
    'classification': {
        'loss.listener.name': 'classification',
        'evaluation.best_metric': 'accuracy',
    },
    'multi_classification': {
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.best_metric': 'accuracy',
    },
    'sampled': {'loss.listener.num_distractors': 3},
    'noisy': {'channel.noise': 0.5},
}


def settings():
    for number, (way, changes) in enumerate(WAYS.items()):
        regularised = {} if way == 'continuous' else REGULARISED
        for task, more in TASKS.items():
            if way in ('reinforce', 'gumbel') or task in ('one_symbol', 'three_symbols'):
                sight = ('shared', 'own')[number % 2]
                yield f'{way}-{task}-{sight}', sight, regularised | changes | more


@pytest.mark.parametrize(
    ('sight', 'changes'), [s[1:] for s in settings()], ids=[s[0] for s in settings()]
)
def test_every_way_to_speak_of_images_has_its_shapes(sight, changes):
    check(config_of(sight, changes), source_of(sight), 1)
    game, batch = game_of(sight, changes), batch_shapes(sight)
    pair = jax.eval_shape(partial(pair_of, game), batch)
    # Nothing is computed.
    gradients, (episode, after, terms) = jax.eval_shape(partial(gradients_of, game), pair, batch)
    params = (pair.speaker.params, pair.listener.params, pair.shared.params, pair.target)
    assert jax.tree.map(jnp.shape, gradients) == jax.tree.map(jnp.shape, params)
    assert jax.tree.map(jnp.shape, after) == jax.tree.map(jnp.shape, pair)
    length = changes.get('channel.length', 1)
    assert episode.utterance.log_policy.shape == (BATCH, length, VOCAB)
    assert {term.value.shape for term in terms.values()} == {(BATCH,)}


@cache
def batch_shapes(sight):
    return jax.eval_shape(lambda: batch_of(bank_of(sight)))


@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('task', ['one_symbol', 'three_symbols', 'classification'])
@jax.disable_jit()
def test_every_way_to_speak_learns(way, task):
    changes = ({} if way == 'continuous' else REGULARISED) | WAYS[way] | TASKS[task]
    game, batch = game_of('features', changes), batch_of(bank_of('features'))
    pair = pair_of(game, batch)
    gradients, (episode, after, terms) = gradients_of(game, pair, batch)
    chex.assert_tree_all_finite((gradients, episode, after, terms))
    still = {
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradients[:2])
        if not np.any(leaf)
    }
    assert not still
    value = episode.utterance.value
    assert (value is None) == (game.kind == 'continuous' or way.startswith('gumbel'))
    moved = jax.tree.map(lambda w, g: w - 0.01 * g, pair.speaker.params, gradients[0])
    loss, _ = play_of(game, pair, batch, (moved, pair.listener.params, {}))
    assert np.isfinite(loss)
