"""Optimisers from config: any optax optimiser by name, a schedule that reads the global step.

The counts inside an optimiser (Adam's) belong to the agent; the learning rate follows the step of
the run, so that an agent that was reset or drawn less often learns at the same rate as the others.
"""

import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from emcom_jax.tables import look_up
from emcom_jax.types import Array, Tree

_OPTIONS = ('b1', 'b2', 'eps', 'weight_decay', 'momentum', 'nesterov', 'decay')


class Optimizer(NamedTuple):
    """init: params -> state. update: (grads, state, params, global step) -> (params, state)."""

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, Array], tuple[Tree, Tree]]


def make_optimizer(config: ConfigDict, training_steps: int) -> Optimizer:
    """Makes an optimiser from one group of `config.optimizer`.

    Raises:
      ValueError: unknown optimiser or schedule, or an option that the optimiser does not have.
    """
    constructor = _find(config.name)
    options = {name: config[name] for name in _OPTIONS if config[name] is not None}
    known = inspect.signature(constructor).parameters
    for name in options:
        if name not in known:
            has = ', '.join(option for option in _OPTIONS if option in known)
            raise ValueError(f'optimiser {config.name} has no option {name}; of ours it has: {has}')
    schedule = make_schedule(config, training_steps)
    # The learning rate is part of the state only to be replaced before each update.
    transform = optax.inject_hyperparams(constructor, static_args=set(known) - {'learning_rate'})(
        learning_rate=config.learning_rate, **options
    )
    try:
        jax.eval_shape(lambda x: transform.update(x, transform.init(x), x), jnp.zeros(1))
    except TypeError as error:
        raise ValueError(f'optimiser {config.name} needs more than a gradient: {error}') from None
    clip = config.clip_norm

    def update(grads: Tree, opt_state: Tree, params: Tree, step: Array) -> tuple[Tree, Tree]:
        if clip is not None:
            norm = optax.tree.norm(grads)
            grads = jax.tree.map(lambda g: g * jnp.minimum(1.0, clip / (norm + 1e-12)), grads)
        opt_state = opt_state._replace(hyperparams={'learning_rate': schedule(step)})
        updates, opt_state = transform.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    return Optimizer(transform.init, update)


def make_schedule(config: ConfigDict, training_steps: int) -> Callable[[Array], Array]:
    """Returns the learning rate as a function of the global step.

    A linear warm-up from 0 over `warmup_steps`, then the named decay to `end_factor` of the rate
    at `training_steps`.
    """
    rate, end = config.learning_rate, config.learning_rate * config.end_factor
    steps = max(1, training_steps - config.warmup_steps)
    decays = {
        'constant': lambda: optax.constant_schedule(rate),
        'cosine': lambda: optax.cosine_decay_schedule(rate, steps, config.end_factor),
        'linear': lambda: optax.linear_schedule(rate, end, steps),
        'exponential': lambda: optax.exponential_decay(rate, steps, config.end_factor),
    }
    decay = look_up(decays, config.schedule, 'schedule')()
    warmup = optax.linear_schedule(0.0, rate, max(1, config.warmup_steps))
    schedule = optax.join_schedules([warmup, decay], [config.warmup_steps])
    return lambda step: jnp.asarray(schedule(step), jnp.float32)


def _find(name: str) -> Callable[..., optax.GradientTransformation]:
    """Finds an optimiser in optax: a function with a learning rate."""
    found = {
        key: value
        for key, value in vars(optax).items()
        if inspect.isfunction(value)
        and 'learning_rate' in inspect.signature(value).parameters
        and not key.startswith(('_', 'scale_by_'))  # Parts of optimisers.
        and key != 'noisy_sgd'  # Its state has a key of its own, unlike all that a run draws.
    }
    return look_up(found, name, 'optimiser')
