"""Losses: the equations, and the two tables from which a config chooses.

A listener loss is `(guess, batch, config, key, axis_name) -> Outcome`; a speaker loss is
`(utterance, target_log_policy, reward, length_cost, config) -> {term: (value [B], coefficient)}`,
where `config` is the loss's group. Each entry also says what it cannot do without, so that a config
is refused before anything compiles.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from emcom_jax import channels
from emcom_jax.losses.listener import (
    classification,
    cosine_scores,
    dot_scores,
    hinge,
    info_nce,
    inner_products,
    is_correct,
    multi_classification,
    nt_xent,
    sampled_info_nce,
)
from emcom_jax.losses.perceptual import perceptual
from emcom_jax.losses.speaker import (
    cross_entropy,
    entropy,
    kl_divergence,
    policy_gradient,
    reinforce,
    said,
    squared_error,
)
from emcom_jax.types import Array, Batch, Guess, Key, Utterance

__all__ = [
    'LISTENER_LOSSES',
    'SPEAKER_LOSSES',
    'classification',
    'cosine_scores',
    'cross_entropy',
    'dot_scores',
    'entropy',
    'hinge',
    'info_nce',
    'inner_products',
    'is_correct',
    'kl_divergence',
    'length_cost',
    'multi_classification',
    'nt_xent',
    'perceptual',
    'policy_gradient',
    'reinforce',
    'said',
    'sampled_info_nce',
    'squared_error',
]


class Outcome(NamedTuple):
    """loss: [B] nats. correct: [B] in [0, 1], whether (attributes: how much of) it was right."""

    loss: Array
    correct: Array


class ListenerLoss(NamedTuple):
    """labels: rank of the label that the listener must name (1 class, 2 attributes; 0: none, it
    picks the referent among candidates). scores: of a candidate. chooses: whether
    `num_distractors` says among how many."""

    function: Callable[[Guess, Batch, ConfigDict, Key, str | None], Outcome]
    labels: int
    scores: Callable[[Array, Array, float], Array] = cosine_scores
    chooses: bool = False


class SpeakerLoss(NamedTuple):
    """heads: speaker heads that have what it reads. differentiable: whether it is for channels that
    carry the listener's gradient to the speaker; None: for all."""

    function: Callable[..., dict[str, tuple[Array, Any]]]
    heads: tuple[str, ...]
    differentiable: bool | None


def _discriminate(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    assert guess.prediction is not None and guess.candidates is not None
    axis = axis_name if config.across_devices else None
    others = guess.candidates.shape[0] * (1 if axis is None else jax.lax.axis_size(axis)) - 1
    if config.num_distractors in (None, others):  # Of all there is nothing to draw.
        return _among_all(partial(info_nce, memory=guess.memory), guess, config, axis)
    loss, scores = sampled_info_nce(
        guess.prediction,
        guess.candidates,
        config.num_distractors,
        key,
        batch.position,
        config.temperature,
        axis,
    )
    return Outcome(loss, is_correct(scores, jax.numpy.zeros(loss.shape[0], int)))


def _contrast(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    del batch, key
    return _among_all(nt_xent, guess, config, axis_name if config.across_devices else None)


def _among_all(
    function: Callable[..., tuple[Array, Array]], guess: Guess, config: ConfigDict, axis: str | None
) -> Outcome:
    loss, scores = function(guess.prediction, guess.candidates, config.temperature, axis)
    offset = 0 if axis is None else jax.lax.axis_index(axis) * loss.shape[0]
    return Outcome(loss, is_correct(scores, jax.numpy.arange(loss.shape[0]) + offset))


def _by_margin(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    del batch, key
    scores, own = _scores(guess, config, axis_name)
    return Outcome(hinge(scores, own, config.reduction), is_correct(scores, own))


def _by_likelihood(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    del batch, key
    scores, own = _scores(guess, config, axis_name)
    return Outcome(classification(scores, own), is_correct(scores, own))


def _scores(guess: Guess, config: ConfigDict, axis_name: str | None) -> tuple[Array, Array]:
    """Inner products with the candidates of the game: `num_distractors` + 1 examples in a row."""
    assert guess.prediction is not None and guess.candidates is not None
    axis = axis_name if config.across_devices else None
    size = None if config.num_distractors is None else config.num_distractors + 1
    scores, own = inner_products(guess.prediction, guess.candidates, size, axis)
    return scores / config.temperature, own


def _name_class(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    del key, axis_name
    logits, labels = guess.logits[config.label], batch.labels[config.label]
    return Outcome(classification(logits, labels), is_correct(logits, labels))


def _name_attributes(
    guess: Guess, batch: Batch, config: ConfigDict, key: Key, axis_name: str | None
) -> Outcome:
    del key, axis_name
    logits, labels = guess.logits[config.label], batch.labels[config.label]
    return Outcome(multi_classification(logits, labels), is_correct(logits, labels).mean(axis=1))


LISTENER_LOSSES: dict[str, ListenerLoss] = {
    'info_nce': ListenerLoss(_discriminate, labels=0, chooses=True),
    'nt_xent': ListenerLoss(_contrast, labels=0),
    'hinge': ListenerLoss(_by_margin, labels=0, scores=dot_scores, chooses=True),
    'cross_entropy': ListenerLoss(_by_likelihood, labels=0, scores=dot_scores, chooses=True),
    'classification': ListenerLoss(_name_class, labels=1),
    'multi_classification': ListenerLoss(_name_attributes, labels=2),
}


def length_cost(correct: Array, weight: Array, config: ConfigDict, axis_name: str | None) -> Array:
    """What a symbol costs: `length_cost` times the accuracy of the batch to `length_cost_power`.

    With a high power speakers become lazy once they are understood (Rita et al. 2020:
    alpha(accuracy) = accuracy^beta_1 / beta_2, with beta_1 = 45 and beta_2 = 10). No gradient.

    Args:
      correct, weight: [B].
      axis_name: the accuracy is that of all devices along this mapped axis.
    """
    sums = jax.numpy.stack([(correct * weight).sum(), weight.sum()])
    if axis_name is not None:
        sums = jax.lax.psum(sums, axis_name)
    accuracy = jax.lax.stop_gradient(sums[0] / sums[1])
    return config.length_cost * accuracy**config.length_cost_power


Terms = dict[str, tuple[Array, float]]


def _reinforce(
    utterance: Utterance, target: Array | None, reward: Array, cost: Array, config: ConfigDict
) -> Terms:
    message, mask = utterance.message, utterance.message.mask
    reward = reward - cost * channels.message_length(message)
    log_prob = said(utterance.log_policy, message.symbols)
    terms = _regularise(utterance, target, config)
    baseline = utterance.value if config.baseline else None
    terms['policy_loss'] = (reinforce(log_prob, reward, baseline, mask), 1.0)
    if baseline is not None:
        terms['value_loss'] = (squared_error(baseline, reward, mask), 1.0)
    return terms


def _policy_gradient(
    utterance: Utterance, target: Array | None, reward: Array, cost: Array, config: ConfigDict
) -> Terms:
    assert utterance.q_values is not None and utterance.value is not None
    message, mask = utterance.message, utterance.message.mask
    reward = reward - cost * channels.message_length(message)
    log_prob = said(utterance.log_policy, message.symbols)
    q_value = said(utterance.q_values, message.symbols)
    terms = _regularise(utterance, target, config)
    terms['policy_loss'] = (policy_gradient(log_prob, q_value, utterance.value, mask), 1.0)
    terms['action_value_loss'] = (squared_error(q_value, reward, mask), 1.0)
    terms['value_loss'] = (squared_error(utterance.value, reward, mask), 1.0)
    return terms


def _pathwise(
    utterance: Utterance, target: Array | None, reward: Array, cost: Array, config: ConfigDict
) -> Terms:
    """The listener's loss reaches the speaker through the message itself; the rest is added."""
    del reward
    terms = _regularise(utterance, target, config)
    if config.length_cost:
        terms['length_loss'] = (cost * channels.message_length(utterance.message), 1.0)
    return terms


def _nothing(
    utterance: Utterance, target: Array | None, reward: Array, cost: Array, config: ConfigDict
) -> Terms:
    """The speakers are frozen."""
    del utterance, target, reward, cost, config
    return {}


def _regularise(utterance: Utterance, target: Array | None, config: ConfigDict) -> Terms:
    mask = utterance.message.mask
    terms: Terms = {'entropy': (entropy(utterance.log_policy, mask), -config.entropy)}
    if target is not None:
        terms['kl'] = (kl_divergence(utterance.log_policy, target, mask), config.kl)
    return terms


_ALL = ('policy', 'policy_value', 'policy_q_value')
SPEAKER_LOSSES: dict[str, SpeakerLoss] = {
    'reinforce': SpeakerLoss(_reinforce, ('policy', 'policy_value'), differentiable=False),
    'policy_gradient': SpeakerLoss(_policy_gradient, ('policy_q_value',), differentiable=False),
    'pathwise': SpeakerLoss(_pathwise, _ALL, differentiable=True),
    'none': SpeakerLoss(_nothing, _ALL, differentiable=None),
}
