"""What a dialogue is worth to those who held it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.losses import dialogue as equations
from emcom_jax.types import Array, Episode

Terms = dict[str, tuple[Array, float]]


class _Actor(NamedTuple):
    """What is decided at each turn by chance, of a channel of samples.

    name: what the names of its terms begin with.
    actions, logits: [B, K, n], bits and their log-odds.
    mask: [B, K], turns in which they matter.
    value: [B, K], the reward that its agent expects.
    entropy: the coefficient of the entropy.
    """

    name: str
    actions: Array
    logits: Array
    mask: Array
    value: Array | None
    entropy: float


def exchange_terms(
    episode: Episode,
    config: ConfigDict,
    channel: ConfigDict,
    loss: Array,
    correct: Array,
    length: Array,
    weight: Array,
    axis_name: str | None,
) -> Terms:
    """The terms of the loss besides the listener's: name -> (value [B], coefficient).

    Of sampled bits (Evtimova et al. 2018): the speaker's bits, the answers but the last, which
    nobody hears, and (with `channel.variable_length`) the decisions to go on are reinforced by one
    reward, which comes at the end; each agent predicts it as its baseline. Of channels that can be
    differentiated, what the reward would lose is added to the loss.

    Args:
      config, channel: those groups.
      loss, correct: [B], of the listener.
      length: [B], turns, in expectation where they are differentiated through.
      weight: [B].
    """
    assert episode.exchange is not None
    exchange, message = episode.exchange, episode.utterance.message
    played, learns = message.mask, config.speaker.name != 'none'
    assert message.relaxed is not None
    cost = jnp.zeros_like(loss)
    if config.speaker.length_cost:
        cost += losses.length_cost(correct, weight, config.speaker, axis_name) * length
    if config.speaker.bit_cost:
        cost += config.speaker.bit_cost * (message.relaxed.sum(-1) * played).sum(1)
    reward = -loss if config.speaker.reward == 'log_likelihood' else correct
    reward = jax.lax.stop_gradient(reward - cost)
    # The last answer is never heard.
    heard = jnp.concatenate([played[:, 1:], jnp.zeros_like(played[:, :1])], axis=1)
    actors = [
        _Actor(
            'answer_',
            exchange.answers,
            exchange.answer_logits,
            heard,
            exchange.answer_value,
            config.listener.entropy,
        )
    ]
    if learns:
        said = (message.relaxed, exchange.said_logits, played, exchange.said_value)
        actors.append(_Actor('', *said, config.speaker.entropy))
    if channel.variable_length:
        decided = (exchange.goes_on[..., None], exchange.go_logits[..., None], played)
        rate = config.listener.stop_entropy
        actors.append(_Actor('stop_', *decided, exchange.answer_value, rate))

    def mean(values: Array, mask: Array) -> Array:
        return equations.of_turns(values, mask, weight, axis_name)

    terms: Terms = {}
    for name, actions, logits, mask, value, rate in actors:
        terms[f'{name}entropy'] = (mean(equations.bit_entropy(logits), mask), -rate)
        if channels.BITS[channel.kind]:
            continue
        baseline = value if config.speaker.baseline else None
        gain = equations.advantage(reward, baseline, mask, weight, axis_name)
        policy_loss = -gain * equations.log_likelihood(actions, logits)
        terms[f'{name}policy_loss'] = (mean(policy_loss, mask), 1.0)
        if baseline is not None and name != 'stop_':  # Whose baseline is that of the answers.
            squares = (baseline - reward[:, None]) ** 2
            terms[f'{name}value_loss'] = (mean(squares, played), 1.0)
    if channels.BITS[channel.kind] and (config.speaker.length_cost or config.speaker.bit_cost):
        terms['cost'] = (cost, 1.0)
    return terms
