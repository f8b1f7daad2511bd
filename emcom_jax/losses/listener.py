"""What a listener learns from: one equation, one function."""

import chex
import jax
import jax.numpy as jnp

from emcom_jax import draws
from emcom_jax.types import Array, Key


def cosine_scores(predictions: Array, targets: Array, temperature: float = 1.0) -> Array:
    """Cosine similarity over temperature, [B, D] and [M, D] -> [B, M]: normalise, then one matmul.

    The `2 cos - 2` of the released code of Chaabouni et al. (2022) is temperature 0.5, up to a
    constant that the softmax ignores.
    """
    chex.assert_rank([predictions, targets], 2)
    return _normalise(predictions) @ _normalise(targets).T / temperature


def info_nce(
    predictions: Array,
    targets: Array,
    temperature: float = 1.0,
    axis_name: str | None = None,
    memory: Array | None = None,
) -> tuple[Array, Array]:
    """InfoNCE: the other items of the batch are the distractors (van den Oord et al. 2018, eq. 4).

    Args:
      predictions: [B, D], of the local batch.
      targets: [B, D], row i belongs to prediction i.
      temperature: divides the cosine.
      axis_name: if given, the items of all devices along this mapped axis are candidates; the
        gradient flows through the gathering, so that it is that of the one large batch.
      memory: [M, D], targets of earlier steps, more distractors for everyone (the queue of He et
        al. 2020, Momentum contrast); rows of zeros are left out.

    Returns:
      per-example loss [B] in nats; scores [B, C], C being B, or B * devices, and M.
    """
    chex.assert_equal_shape([predictions, targets])
    targets, position = _gather(targets, axis_name)
    scores = cosine_scores(predictions, targets, temperature)
    if memory is not None:
        earlier = cosine_scores(predictions, jax.lax.stop_gradient(memory), temperature)
        filled = jnp.any(memory != 0, axis=1)[None]
        scores = jnp.concatenate([scores, jnp.where(filled, earlier, -1e9)], axis=1)
    return classification(scores, position), scores


def nt_xent(
    first: Array, second: Array, temperature: float = 1.0, axis_name: str | None = None
) -> tuple[Array, Array]:
    """NT-Xent (Chen et al. 2020, equation 1): each view of an item is to be told from those of all
    other items, by the other view of the same.

    Args:
      first, second: [B, D], two views of the items of the local batch.
      temperature, axis_name: as in `info_nce`. With B items over all devices, each of the 2B views
        has 2B - 2 negatives.

    Returns:
      per-item loss [B] in nats, the mean over its two views (so the mean over items is the paper's
      loss); scores of the second views for each first one, as of `info_nce`.
    """
    chex.assert_equal_shape([first, second])
    firsts, position = _gather(first, axis_name)
    seconds, _ = _gather(second, axis_name)
    itself = position[:, None] == jnp.arange(firsts.shape[0])[None]

    def from_one(view: Array, same: Array, other: Array) -> tuple[Array, Array]:
        scores = cosine_scores(view, other, temperature)
        others = jnp.where(itself, -jnp.inf, cosine_scores(view, same, temperature))
        return classification(jnp.concatenate([scores, others], axis=1), position), scores

    loss, scores = from_one(first, firsts, seconds)
    back, _ = from_one(second, seconds, firsts)
    return (loss + back) / 2, scores


def sampled_info_nce(
    predictions: Array,
    targets: Array,
    num_distractors: int,
    key: Key,
    index: Array,
    temperature: float = 1.0,
    axis_name: str | None = None,
) -> tuple[Array, Array]:
    """InfoNCE against `num_distractors` others, drawn without replacement for each example.

    Args:
      predictions, targets, temperature, axis_name: as in `info_nce`.
      num_distractors: K, less than the number of candidates.
      key, index: the draw of example i depends on its position `index[i]` in the global batch only.

    Returns:
      per-example loss [B] in nats; scores [B, 1 + K], the target's first.

    Raises:
      ValueError: there are not so many others.
    """
    chex.assert_equal_shape([predictions, targets])
    targets, position = _gather(targets, axis_name)
    size = targets.shape[0]
    if not 0 < num_distractors < size:
        raise ValueError(
            f'loss.listener.num_distractors={num_distractors} must lie between 1 and {size - 1}: '
            f'there are {size} candidates in a batch'
        )
    places = jnp.arange(num_distractors)
    # Element j of a random order of the others; skipping over the target itself.
    others = jax.vmap(lambda k: draws.permuted(k, places, size - 1))(draws.example_keys(key, index))
    others = others + (others >= position[:, None])
    # Scoring all and picking is cheaper than gathering [B, K, D] vectors.
    scores = cosine_scores(predictions, targets, temperature)
    chosen = jnp.concatenate([position[:, None], others], axis=1)
    scores = jnp.take_along_axis(scores, chosen, axis=1)
    return classification(scores, jnp.zeros_like(position)), scores


def dot_scores(predictions: Array, candidates: Array, temperature: float = 1.0) -> Array:
    """Dot product of every prediction [B, D] with every candidate [C, D], over the temperature:
    [B, C]."""
    chex.assert_rank([predictions, candidates], 2)
    return predictions @ candidates.T / temperature


def inner_products(
    predictions: Array, targets: Array, size: int | None = None, axis_name: str | None = None
) -> tuple[Array, Array]:
    """Scores of the candidates of each game, and where the target stands.

    Args:
      predictions, targets: [B, D], row i belongs to prediction i.
      size: C, so many examples in a row are a game, whose targets are the candidates; divides B.
        None: all of the batch are one.
      axis_name: without a size, the targets of all devices are candidates, as in `info_nce`.

    Returns:
      scores [B, C], position of the target int32 [B].
    """
    chex.assert_equal_shape([predictions, targets])
    if size is None:
        targets, position = _gather(targets, axis_name)
        return predictions @ targets.T, position
    games = [x.reshape(-1, size, x.shape[-1]) for x in (predictions, targets)]
    scores = jnp.einsum('gid,gjd->gij', *games).reshape(-1, size)
    return scores, jnp.arange(scores.shape[0]) % size


def hinge(scores: Array, target: Array, reduction: str = 'mean') -> Array:
    """Multi-class hinge (Mihai and Hare 2021, Learning to draw, equation 3): the target's score is
    to be 1 more than that of each other candidate, [B, C] and int [B] -> [B].

        sum over j != y of max(0, 1 - s_y + s_j)

    reduction: 'sum' as in the paper; 'mean' divides by C, as the published code does.
    """
    chex.assert_rank([scores, target], [2, 1])
    own = jnp.take_along_axis(scores, target[:, None], axis=1)
    others = jnp.arange(scores.shape[1])[None] != target[:, None]
    short = jnp.where(others, jnp.maximum(0.0, 1 - own + scores), 0.0)
    return {'sum': jnp.sum, 'mean': jnp.mean}[reduction](short, axis=1)


def classification(logits: Array, labels: Array) -> Array:
    """Cross-entropy in nats, [B, n] and int [B] -> [B]."""
    chex.assert_rank([logits, labels], [2, 1])
    return -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]


def multi_classification(logits: Array, labels: Array) -> Array:
    """Mean over the A attributes of their cross-entropies, [B, A, n] and int [B, A] -> [B].

    Chaabouni et al. (2022), section 2.1, the reconstruction of attributes.
    """
    chex.assert_rank([logits, labels], [3, 2])
    return jax.vmap(classification, 1, 1)(logits, labels).mean(axis=1)


def is_correct(scores: Array, position: Array) -> Array:
    """1 where `position` int [...] has the highest of scores [..., C], else 0; float32 [...].

    A tie for the highest counts as one over the number tied, what guessing among them would give:
    a listener that cannot tell candidates apart scores chance wherever the target stands.
    """
    best = jnp.max(scores, axis=-1, keepdims=True)
    target = jnp.take_along_axis(scores, position[..., None], axis=-1)
    tied = jnp.sum(scores == best, axis=-1)
    return jnp.where((target == best)[..., 0], 1.0 / jnp.maximum(tied, 1), 0.0)


def _normalise(x: Array) -> Array:
    # The floor keeps the gradient of a zero vector finite.
    return x * jax.lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), 1e-12))


def _gather(targets: Array, axis_name: str | None) -> tuple[Array, Array]:
    """Returns the candidates of all devices [M, D], and where those of this device stand [B]."""
    position = jnp.arange(targets.shape[0])
    if axis_name is None:
        return targets, position
    offset = jax.lax.axis_index(axis_name) * targets.shape[0]
    return jax.lax.all_gather(targets, axis_name, tiled=True), position + offset
