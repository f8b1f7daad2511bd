"""Losses: values of an independent origin, identities, and unbiased estimates."""

import itertools
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from conftest import drawn_pair, tiny_game

from emcom_jax import channels, losses
from emcom_jax.config import base
from emcom_jax.types import Batch, Guess

GOLDEN = np.load(Path(__file__).parent / 'golden' / 'loss_vectors.npz')


# --- golden values --------------------------------------------------------------------------------


@pytest.fixture
def golden():
    """The golden values in double precision."""
    with jax.enable_x64(True):
        yield {name: jnp.asarray(GOLDEN[name]) for name in GOLDEN}


@pytest.mark.parametrize('case', ['case0', 'case1'])
def test_info_nce_is_that_of_the_published_code_at_temperature_one_half(golden, case):
    predictions, targets = golden[f'{case}/predictions'], golden[f'{case}/targets']
    loss, scores = losses.info_nce(predictions, targets, temperature=0.5)
    np.testing.assert_allclose(loss, golden[f'{case}/cpc_loss'], rtol=1e-12)
    np.testing.assert_allclose(jax.nn.softmax(scores), golden[f'{case}/cpc_probs'], rtol=1e-11)
    correct = losses.is_correct(scores, jnp.arange(len(scores)))
    np.testing.assert_array_equal(correct, golden[f'{case}/cpc_accuracy'])


@pytest.mark.parametrize('name', ['reinforce', 'policy_gradient'])
def test_speaker_losses_are_those_of_the_published_code(golden, name):
    reward, value = golden['case0/reward_B'], golden['case0/value_B1T'][:, 0]
    policy, target, q_values = (
        jnp.swapaxes(golden[f'case0/{table}_BVT'], 1, 2)
        for table in ('policy_logits', 'target_policy_logits', 'q_values')
    )
    policy, target = jax.nn.log_softmax(policy), jax.nn.log_softmax(target)
    log_prob, q_value = (losses.said(x, golden['case0/action_BT']) for x in (policy, q_values))
    terms = {
        'value_loss': losses.squared_error(value, reward),
        'entropy_loss': -0.01 * losses.entropy(policy),
    }
    if name == 'reinforce':
        terms['policy_loss'] = losses.reinforce(log_prob, reward, value)
        terms['kl_target_loss'] = 0.5 * losses.kl_divergence(policy, target)
    else:
        terms['policy_loss'] = losses.policy_gradient(log_prob, q_value, value, mask=None)
        terms['action_value_loss'] = losses.squared_error(q_value, reward)
    terms['speaker_loss'] = sum(terms.values())
    for term, values in terms.items():
        # Theirs is summed over the batch and averaged over the symbols; ours is summed over them.
        ours, theirs = (
            values.sum() / log_prob.shape[1],
            golden[f'case0/{name}_sum_over_batch/{term}'],
        )
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, err_msg=term)


# --- identities -----------------------------------------------------------------------------------


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def random_policy(rng, *shape):
    return jnp.asarray(scipy.special.log_softmax(rng.standard_normal(shape), -1), jnp.float32)


def test_reinforce_is_the_advantage_times_the_log_probability(rng):
    log_prob, baseline = rng.standard_normal((2, 8, 3))
    reward, mask = rng.standard_normal(8), rng.integers(0, 2, (8, 3))
    expected = -((reward[:, None] - baseline) * log_prob * mask).sum(1)
    arrays = [jnp.asarray(x, jnp.float32) for x in (log_prob, reward, baseline, mask)]
    np.testing.assert_allclose(losses.reinforce(*arrays), expected, rtol=1e-5)
    # Only through the log-probability: the advantage is a constant.
    gradients = jax.grad(lambda *args: losses.reinforce(*args).sum(), (0, 1, 2))(*arrays)
    np.testing.assert_allclose(gradients[0], -(reward[:, None] - baseline) * mask, rtol=1e-5)
    assert not gradients[1].any() and not gradients[2].any()


def test_without_baseline_or_mask_they_are_0_and_1(rng):
    log_prob = jnp.asarray(rng.standard_normal((8, 3)), jnp.float32)
    reward = jnp.arange(8.0)
    full = losses.reinforce(log_prob, reward, jnp.zeros((8, 3)), jnp.ones((8, 3)))
    np.testing.assert_array_equal(losses.reinforce(log_prob, reward), full)


def test_policy_gradient_with_a_perfect_critic_is_reinforce(rng):
    log_prob, value = jnp.asarray(rng.standard_normal((2, 8, 3)), jnp.float32)
    reward = jnp.arange(8.0)
    critic = jnp.broadcast_to(reward[:, None], (8, 3))
    np.testing.assert_array_equal(
        losses.policy_gradient(log_prob, critic, value, None),
        losses.reinforce(log_prob, reward, value),
    )


def test_entropy_of_a_uniform_policy_is_log_v_for_each_symbol_that_counts():
    uniform = jnp.full((2, 3, 5), -jnp.log(5.0))
    mask = jnp.array([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(losses.entropy(uniform, mask), [3 * np.log(5), np.log(5)], rtol=1e-6)


def test_kl_divergence_to_itself_is_0_and_to_the_uniform_is_the_lack_of_entropy(rng):
    policy = random_policy(rng, 8, 3, 5)
    uniform = jnp.full(policy.shape, -jnp.log(5.0))
    np.testing.assert_array_equal(losses.kl_divergence(policy, policy), np.zeros(8))
    lack = 3 * np.log(5) - losses.entropy(policy)
    np.testing.assert_allclose(losses.kl_divergence(policy, uniform), lack, rtol=1e-5)
    assert (lack > 0).all()


def test_kl_divergence_sends_no_gradient_to_the_target(rng):
    policy, target = random_policy(rng, 2, 8, 3, 5)
    both = jax.grad(lambda *args: losses.kl_divergence(*args).sum(), (0, 1))(policy, target)
    assert both[0].any() and not both[1].any()


def test_cross_entropy_counts_only_what_the_mask_lets(rng):
    policy, symbols = random_policy(rng, 8, 3, 5), rng.integers(0, 5, (8, 3))
    mask = jnp.asarray(np.arange(3) < rng.integers(1, 4, (8, 1)), jnp.float32)
    spoken = np.take_along_axis(np.asarray(policy), symbols[..., None], -1)[..., 0]
    expected = -(spoken * mask).sum(1)
    np.testing.assert_allclose(
        losses.cross_entropy(policy, jnp.asarray(symbols), mask), expected, rtol=1e-6
    )


def test_classification_is_the_cross_entropy(rng):
    logits, labels = rng.standard_normal((8, 2, 4)), rng.integers(0, 4, (8, 2))
    log_probs = scipy.special.log_softmax(logits, -1)
    expected = -np.take_along_axis(log_probs, labels[..., None], -1)[..., 0]
    logits, labels = jnp.asarray(logits, jnp.float32), jnp.asarray(labels)
    one = losses.classification(logits[:, 0], labels[:, 0])
    np.testing.assert_allclose(one, expected[:, 0], rtol=1e-5)
    both = losses.multi_classification(logits, labels)
    np.testing.assert_allclose(both, expected.mean(1), rtol=1e-5)


def test_a_tie_counts_as_a_guess_among_the_tied():
    scores = jnp.array([[3.0, 1.0, 2.0], [3.0, 3.0, 2.0], [1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    expected = [1.0, 0.5, 0.0, 1 / 3]
    np.testing.assert_allclose(losses.is_correct(scores, jnp.zeros(4, int)), expected, rtol=1e-6)


# --- discrimination -------------------------------------------------------------------------------


@pytest.fixture
def vectors(rng):
    return jnp.asarray(rng.standard_normal((2, 8, 6)), jnp.float32)


def test_scores_are_cosines_over_the_temperature(vectors):
    predictions, targets = vectors
    scores = losses.cosine_scores(predictions, targets, 0.1)
    norms = np.linalg.norm(vectors, axis=-1)
    expected = np.einsum('id,jd->ij', *vectors) / np.outer(*norms) / 0.1
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_a_vector_of_zeros_leaves_the_gradient_finite(vectors):
    predictions = vectors[0].at[0].set(0.0)
    gradient = jax.grad(lambda p: losses.info_nce(p, vectors[1], 0.1)[0].sum())(predictions)
    assert jnp.isfinite(gradient).all() and gradient[0].any()


def test_all_others_as_sampled_distractors_are_the_whole_batch(vectors):
    full, _ = losses.info_nce(*vectors, 0.1)
    args = (7, jax.random.key(0), jnp.arange(8), 0.1)
    sampled, _ = losses.sampled_info_nce(*vectors, *args)
    np.testing.assert_allclose(sampled, full, rtol=1e-5)


def test_where_all_others_are_asked_for_nothing_is_drawn(vectors):
    config = base().loss.listener.unlock()
    guess = Guess(*vectors, {})

    def judged(count):
        config.num_distractors = count
        function = losses.LISTENER_LOSSES['info_nce'].function

        def of(key):
            return function(guess, batch, config, key, None)

        batch = Batch(*vectors, {}, jnp.arange(8), jnp.ones(8))
        return of(jax.random.key(0)), str(jax.make_jaxpr(of)(jax.random.key(0)))

    (every, _), (seven, program), (_, drawing) = judged(None), judged(7), judged(6)
    for one, other in zip(every, seven, strict=True):
        np.testing.assert_array_equal(one, other)
    assert 'random' not in program and 'random' in drawing


@pytest.mark.parametrize('count', [1, 4])
def test_sampled_distractors_are_distinct_others_all_equally_often(count):
    # Candidates on a circle: a score tells which one it belongs to.
    angles = jnp.linspace(0.0, 3.0, 8)
    targets = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=1)
    predictions = jnp.tile(jnp.array([[1.0, 0.0]]), (8, 1))

    @jax.jit
    @jax.vmap
    def pick(key):
        _, scores = losses.sampled_info_nce(predictions, targets, count, key, jnp.arange(8))
        return jnp.argmin(jnp.abs(scores[..., None] - jnp.cos(angles)[None, None]), axis=-1)

    picks = np.asarray(pick(jax.random.split(jax.random.key(0), 400)))
    np.testing.assert_array_equal(picks[..., 0], np.tile(np.arange(8), (400, 1)))
    assert (np.diff(np.sort(picks, axis=-1), axis=-1) > 0).all()
    for target in range(8):
        counts = np.bincount(picks[:, target, 1:].ravel(), minlength=8)
        assert counts[target] == 0
        assert scipy.stats.chisquare(np.delete(counts, target)).pvalue > 1e-3


@pytest.mark.parametrize('count', [0, 8])
def test_more_distractors_than_others_are_refused(vectors, count):
    with pytest.raises(ValueError, match=f'num_distractors={count} must lie between 1 and 7'):
        losses.sampled_info_nce(*vectors, count, jax.random.key(0), jnp.arange(8))


# --- estimators -----------------------------------------------------------------------------------


@pytest.fixture(scope='module', params=[False, True], ids=['fixed_length', 'variable_length'])
def enumerated(request, batch):
    """Of all M messages of two symbols out of three: the probability, the gradient of the expected
    loss (minus the reward), and REINFORCE's estimate of it from each message, [M, ...], with three
    baselines."""
    words = np.array(list(itertools.product(range(3), repeat=2)))
    message = channels.make_message(jnp.asarray(words), None, request.param)
    _, distinct = np.unique(message.symbols, axis=0, return_index=True)
    message = jax.tree.map(lambda leaf: leaf[distinct], message)
    changes = {'channel.vocab_size': 3, 'channel.length': 2, 'loss.speaker.kl': 0.0}
    game = tiny_game(changes | {'channel.variable_length': request.param})
    same = jax.tree.map(lambda leaf: jnp.repeat(leaf[:1], len(distinct), axis=0), batch)
    pair = drawn_pair(game, batch)
    # Far from 0, so that a baseline helps.
    reward = jnp.asarray(10 + np.random.default_rng(0).standard_normal(len(distinct)), jnp.float32)

    def account(params):
        spoken = pair._replace(speaker=pair.speaker._replace(params=params))
        utterance = game.play(spoken, jax.random.key(0), same, 0, message)[0].utterance
        log_prob = losses.said(utterance.log_policy, message.symbols)
        baselines = {'none': None, 'value': utterance.value, 'mean': jnp.full_like(log_prob, 10.0)}
        return jnp.exp((log_prob * message.mask).sum(1)), {
            name: losses.reinforce(log_prob, reward, baseline, message.mask)
            for name, baseline in baselines.items()
        }

    call = jax.jit(lambda params: (account(params)[0], jax.jacrev(account)(params)))
    probability, (slopes, estimates) = jax.device_get(call(pair.speaker.params))
    return probability, jax.tree.map(lambda leaf: np.tensordot(-reward, leaf, 1), slopes), estimates


def test_probabilities_of_all_messages_add_to_1(enumerated):
    np.testing.assert_allclose(enumerated[0].sum(), 1.0, rtol=1e-6)


@pytest.mark.parametrize('baseline', ['none', 'value', 'mean'])
def test_reinforce_averages_to_the_gradient_of_the_expected_reward(enumerated, baseline):
    probability, exact, estimates = enumerated
    average = jax.tree.map(lambda leaf: np.tensordot(probability, leaf, 1), estimates[baseline])
    chex.assert_trees_all_close(average, exact, rtol=1e-3, atol=1e-5)
    assert sum(np.any(leaf) for leaf in jax.tree.leaves(exact)) > 6


def test_a_baseline_lowers_the_variance(enumerated):
    probability, exact, estimates = enumerated

    def variance(baseline):
        deviations = jax.tree.map(np.subtract, estimates[baseline], exact)
        return sum(
            (probability @ (d**2).reshape(len(d), -1)).sum() for d in jax.tree.leaves(deviations)
        )

    assert variance('mean') < 0.1 * variance('none')
