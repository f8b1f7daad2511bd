"""Linear classifiers on features that stay as they are: multinomial logistic regression, or for
examples of several classes a logistic regression for each.

What is minimised is scikit-learn's objective over its C times the number of examples,

    mean over examples of the cross-entropy + l2 / 2 * (sum of squared weights),

so that l2 = 1 / (C N) there. Biases are not penalised. For l2 > 0 there is one minimum; L-BFGS
(Liu & Nocedal 1989) on all examples at once finds it without chance.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax

from emcom_jax.types import Array

_CHUNK = 1024  # Examples whose logits are in memory at a time.
_TOLERANCE = 1e-5  # Of the largest component of the gradient.


class Classifier(NamedTuple):
    """weights: [D, n]. bias: [n]."""

    weights: Array
    bias: Array


class Fit(NamedTuple):
    """Classifiers of several strengths of l2, in the order in which those were given.

    classifier: leaves [L, ...].
    steps: [L] int32, of the optimiser.
    converged: [L] bool, whether it ended for want of a gradient.
    """

    classifier: Classifier
    steps: Array
    converged: Array


@jax.jit
def scores(classifier: Classifier, features: Array) -> Array:
    """Logits [N, n] of features [N, D]."""
    chex.assert_rank([classifier.weights, features], 2)
    product = jnp.dot(features, classifier.weights, precision=jax.lax.Precision.HIGHEST)
    return product + classifier.bias[None]


def standardise(features: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Features [N, D] of each split less their mean over 'train', over their deviation there. One
    that hardly varies is divided by a tenth of the average deviation, as in `data.bank`."""
    train = features['train']
    shift = train.mean(axis=0, dtype=np.float64)
    scale = train.std(axis=0, dtype=np.float64)
    scale = np.maximum(scale, 0.1 * max(scale.mean(), 1e-6))
    shift, scale = shift.astype(np.float32), scale.astype(np.float32)
    return {split: (x - shift) / scale for split, x in features.items()}


def fit(features: Array, labels: Any, num_classes: int, rows: Any, l2: Any, max_steps: int) -> Fit:
    """Fits a classifier for each strength of l2.

    Args:
      features: [N, D] float32, standardised.
      labels: int [N] in [0, num_classes), or [N, num_classes] of 0 and 1.
      rows: int [M], the examples to learn from, M > 0. A new M compiles nothing.
      l2: [L] strengths, above 0.
      max_steps: of the optimiser for each strength, at most.
    """
    padded = np.zeros(-(-len(features) // _CHUNK) * _CHUNK, np.int32)
    padded[: len(rows)] = rows
    # From the strongest to the weakest, each from where the one before it ended.
    order = np.argsort(l2)[::-1]
    found = _fit(
        features,
        jnp.asarray(labels),
        padded,
        np.int32(len(rows)),
        np.asarray(l2, np.float32)[order],
        np.int32(max_steps),
        num_classes,
    )
    back: Fit = jax.tree.map(lambda leaf: leaf[np.argsort(order)], found)
    return back


@partial(jax.jit, static_argnums=6)
def _fit(
    features: Array,
    labels: Array,
    rows: Array,
    count: Array,
    l2: Array,
    max_steps: Array,
    num_classes: int,
) -> Fit:
    """rows: padded, of which the first `count` are meant. l2: falling."""
    data_loss = _mean_loss(features, labels, rows, count)
    solver = optax.lbfgs()

    def with_strength(start: Classifier, strength: Array) -> tuple[Classifier, Any]:
        def objective(classifier: Classifier) -> Array:
            return data_loss(classifier) + strength / 2 * jnp.sum(classifier.weights**2)

        def goes_on(carry: Any) -> Array:
            _, _, _, gradient, steps = carry
            return (steps < max_steps) & (_largest(gradient) > _TOLERANCE)

        def step(carry: Any) -> Any:
            classifier, state, value, gradient, steps = carry
            updates, state = solver.update(
                gradient, state, classifier, value=value, grad=gradient, value_fn=objective
            )
            classifier = optax.apply_updates(classifier, updates)
            # The line search has looked at this point already.
            value, gradient = (optax.tree.get(state, name) for name in ('value', 'grad'))
            return classifier, state, value, gradient, steps + 1

        value, gradient = jax.value_and_grad(objective)(start)
        first = (start, solver.init(start), value, gradient, jnp.int32(0))
        end, _, _, gradient, steps = jax.lax.while_loop(goes_on, step, first)
        return end, (end, steps, _largest(gradient) <= _TOLERANCE)

    size = features.shape[1]
    zero = Classifier(jnp.zeros((size, num_classes)), jnp.zeros(num_classes))
    return Fit(*jax.lax.scan(with_strength, zero, l2)[1])


def _mean_loss(
    features: Array, labels: Array, rows: Array, count: Array
) -> Callable[[Classifier], Array]:
    """Makes classifier -> mean cross-entropy, which computes its gradient in the same pass, chunk
    by chunk: so memory is that of a chunk, and there may be any number of chunks."""

    def of_chunk(classifier: Classifier, number: Array) -> Array:
        start = number * _CHUNK
        here = jax.lax.dynamic_slice_in_dim(rows, start, _CHUNK)
        logits, truth = scores(classifier, features[here]), labels[here]
        if truth.ndim == 1:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, truth)
        else:
            losses = optax.sigmoid_binary_cross_entropy(logits, truth).sum(axis=1)
        return jnp.sum(jnp.where(start + jnp.arange(_CHUNK) < count, losses, 0.0))

    def value_and_gradient(classifier: Classifier) -> tuple[Array, Classifier]:
        def add(number: Array, total: Any) -> Any:
            return jax.tree.map(jnp.add, total, jax.value_and_grad(of_chunk)(classifier, number))

        nothing = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, classifier))
        total = jax.lax.fori_loop(0, -(-count // _CHUNK), add, nothing)
        mean: tuple[Array, Classifier] = jax.tree.map(lambda leaf: leaf / count, total)
        return mean

    @jax.custom_vjp
    def mean_loss(classifier: Classifier) -> Array:
        return value_and_gradient(classifier)[0]

    def backward(gradient: Classifier, slope: Array) -> tuple[Classifier]:
        return (jax.tree.map(lambda leaf: leaf * slope, gradient),)

    mean_loss.defvjp(value_and_gradient, backward)
    return mean_loss


def _largest(tree: Any) -> Array:
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(tree)]))
