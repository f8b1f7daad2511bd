"""Optimisers from config: any optax optimiser by name, LARC, a schedule that reads the global step.

The counts inside an optimiser (Adam's) belong to the agent; the learning rate follows the step of
the run, so that an agent that was reset or drawn less often learns at the same rate as the others.

Weight decay is of weights only (`weights`). In SGD, LARC and LARS it is coupled: it is added to the
gradient, as that of an L2 penalty, and passes through all that the gradient passes through. In
AdamW, and in optax's other optimisers with a W, it is decoupled: it is added after Adam's division
and only multiplied by the learning rate (Loshchilov & Hutter 2019).
"""

import inspect
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from emcom_jax.tables import look_up
from emcom_jax.types import Array, Tree

_OPTIONS = (
    *('b1', 'b2', 'eps', 'weight_decay', 'momentum', 'nesterov', 'decay'),
    'trust_coefficient',
)
_MASKS = ('mask', 'weight_decay_mask', 'trust_ratio_mask')  # Of optax's optimisers that have some.
# Haiku's norms have a 'scale' and an 'offset', of rank 4 ([1, 1, 1, C]) in a batch norm of images.
_NORM = re.compile(r'norm(?![a-z])|(?<![a-z])bn(?![a-z])|(?:^|/)(?:scale|offset)$')


class Optimizer(NamedTuple):
    """init: params -> state. update: (grads, state, params, global step) -> (params, state).

    All are of one agent: a stack of agents is updated by `jax.vmap`.
    """

    init: Callable[[Tree], Tree]
    update: Callable[[Tree, Tree, Tree, Array], tuple[Tree, Tree]]


def make_optimizer(config: ConfigDict, training_steps: int, batch_size: int) -> Optimizer:
    """Makes an optimiser from one group of `config.optimizer`.

    What is under a path of `config.frozen` stays as it is, and has no place in the optimiser's
    state; a path is one of whole names, such as 'speaker/torso'. The state of frozen modules
    (statistics of a batch norm) is no parameter, and still is what the game makes of it.

    batch_size: of a step, over all devices (`scale_with_batch`).

    Raises:
      ValueError: unknown optimiser or schedule, or an option that the optimiser does not have; in
        `init`, a path of `frozen` under which there is nothing.
    """
    constructor = _find(config.name)
    options = {name: config[name] for name in _OPTIONS if config[name] is not None}
    known = inspect.signature(constructor).parameters
    for name in options:
        if name not in known:
            has = ', '.join(option for option in _OPTIONS if option in known)
            raise ValueError(f'optimiser {config.name} has no option {name}; of ours it has: {has}')
    options |= {mask: weights for mask in _MASKS if mask in known}
    schedule = make_schedule(config, training_steps, batch_size)
    # The learning rate is part of the state only to be replaced before each update.
    transform = optax.inject_hyperparams(constructor, static_args=set(known) - {'learning_rate'})(
        learning_rate=config.learning_rate, **options
    )
    try:
        jax.eval_shape(lambda x: transform.update(x, transform.init(x), x), jnp.zeros(1))
    except TypeError as error:
        raise ValueError(f'optimiser {config.name} needs more than a gradient: {error}') from None
    clip, frozen = config.clip_norm, config.frozen or ()
    apart = config.clip_apart or ()

    def init(params: Tree) -> Tree:
        _check_modules(params, frozen, 'frozen')
        _check_modules(params, apart, 'clip_apart')
        return transform.init(_moving(params, frozen))

    def update(grads: Tree, opt_state: Tree, params: Tree, step: Array) -> tuple[Tree, Tree]:
        # The gradient of what is frozen is not read from here on. XLA leaves out its computation if
        # nothing else reads it; the norm that is logged does, of speakers and listeners.
        grads, moving = _moving(grads, frozen), _moving(params, frozen)
        if clip is not None:
            grads = _clipped(grads, clip, apart)
        opt_state = opt_state._replace(hyperparams={'learning_rate': schedule(step)})
        updates, opt_state = transform.update(grads, opt_state, moving)
        moved = optax.apply_updates(moving, updates)
        params = jax.tree.map(lambda old, new: old if new is None else new, params, moved)
        return params, opt_state

    return Optimizer(init, update)


def make_schedule(
    config: ConfigDict, training_steps: int, batch_size: int
) -> Callable[[Array], Array]:
    """Returns the learning rate as a function of the global step.

    A linear warm-up from 0 over `warmup_steps`, then the named decay to `end_factor` of the rate
    at `training_steps`. With `scale_with_batch`, the rate is proportional to the size of a batch
    (Goyal et al. 2017, section 2.1): `learning_rate` is that of a batch of so many.
    """
    rate = config.learning_rate
    if config.scale_with_batch is not None:
        rate *= batch_size / config.scale_with_batch
    end = rate * config.end_factor
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


# --- optimisers of our own ------------------------------------------------------------------------


def sgd(
    learning_rate: Array | float,
    momentum: float | None = None,
    nesterov: bool = False,
    weight_decay: float | None = None,
) -> optax.GradientTransformation:
    """optax's SGD with coupled weight decay (L2), as PyTorch's SGD has it: decay times weight is
    added to the gradient, before momentum."""
    plain = optax.sgd(learning_rate, momentum, nesterov)
    if weight_decay is None:
        return plain
    return optax.chain(optax.add_decayed_weights(weight_decay, weights), plain)


def rmsprop(
    learning_rate: Array | float,
    decay: float = 0.99,
    eps: float = 1e-8,
    momentum: float | None = None,
    nesterov: bool = False,
) -> optax.GradientTransformation:
    """optax's RMSprop with the defaults of PyTorch's, and eps added after the square root, as there
    and as Tieleman & Hinton 2012 leave open."""
    return optax.rmsprop(
        learning_rate, decay, eps, eps_in_sqrt=False, momentum=momentum, nesterov=nesterov
    )


def larc(
    learning_rate: Array | float,
    momentum: float | None = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    trust_coefficient: float = 0.001,
    eps: float = 1e-8,
) -> optax.GradientTransformation:
    """LARC that scales and does not clip, then SGD without decay (the local learning rate of You,
    Gitman & Ginsburg 2017, as in the code that Dessì et al. 2021 published).

    For each array w of parameters, with gradient g and weight decay d (0 for all but `weights`):

        g <- local * (g + d w),   local = trust_coefficient |w| / (|g| + d |w| + eps)

    where both norms are above 0; elsewhere g stays as it is, without decay. Unlike in LARS, biases
    and norms are scaled too. Momentum adds up what was scaled, and the learning rate multiplies the
    sum. (That code used LARC on more than two devices only; here the name alone decides.)
    """
    return optax.chain(
        _scale_by_larc(weight_decay, trust_coefficient, eps),
        optax.sgd(learning_rate, momentum, nesterov),
    )


def _scale_by_larc(
    weight_decay: float, trust_coefficient: float, eps: float
) -> optax.GradientTransformation:
    def scale(grad: Array, param: Array, decays: bool) -> Array:
        decay = weight_decay if decays else 0.0
        grad_norm, param_norm = jnp.linalg.norm(grad.ravel()), jnp.linalg.norm(param.ravel())
        local = trust_coefficient * param_norm / (grad_norm + decay * param_norm + eps)
        scales = (grad_norm > 0) & (param_norm > 0)
        return jnp.where(scales, local * (grad + decay * param), grad)

    def update(grads: Tree, state: Tree, params: Tree) -> tuple[Tree, Tree]:
        return jax.tree.map(scale, grads, params, weights(params)), state

    return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def _find(name: str) -> Callable[..., optax.GradientTransformation]:
    """Finds an optimiser: ours, or in optax a function with a learning rate."""
    found: dict[str, Callable[..., optax.GradientTransformation]] = {
        key: value
        for key, value in vars(optax).items()
        if inspect.isfunction(value)
        and 'learning_rate' in inspect.signature(value).parameters
        and not key.startswith(('_', 'scale_by_'))  # Parts of optimisers.
        and key != 'noisy_sgd'  # Its state has a key of its own, unlike all that a run draws.
    }
    return look_up(found | {'sgd': sgd, 'rmsprop': rmsprop, 'larc': larc}, name, 'optimiser')


# --- which parameters -----------------------------------------------------------------------------


def weights(params: Tree) -> Tree:
    """True for the weights of one agent: arrays of at least two axes that are not of a norm.

    What is of a norm is known by its path in Haiku: the module is called so ('batch_norm', 'bn1'),
    or the parameter is a 'scale' or an 'offset'.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf.ndim > 1 and not _NORM.search(_name(path)), params
    )


def _moving(tree: Tree, frozen: tuple[str, ...]) -> Tree:
    """The tree with None, of which nothing is computed or kept, in place of what is frozen."""
    if not frozen:
        return tree
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: None if any(_is_under(_name(path), top) for top in frozen) else leaf,
        tree,
    )


def _clipped(grads: Tree, most: float, apart: tuple[str, ...]) -> Tree:
    """Gradients whose norm is at most so much; those under each path of `apart` by themselves."""

    def part(path: tuple) -> str:
        return next((top for top in apart if _is_under(_name(path), top)), '')

    squares: dict[str, Array] = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        squares[part(path)] = squares.get(part(path), jnp.zeros(())) + (leaf**2).sum()
    factors = {name: most / (jnp.sqrt(total) + 1e-12) for name, total in squares.items()}
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf * jnp.minimum(1.0, factors[part(path)]), grads
    )


def _check_modules(params: Tree, frozen: tuple[str, ...], key: str) -> None:
    names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)]
    for top in frozen:
        if not any(_is_under(name, top) for name in names):
            depth = _plain(top).count('/') + 1
            near = sorted({'/'.join(name.split('/')[:depth]) for name in names})
            raise ValueError(
                f'{key}={frozen!r} has {top!r}, under which there are no parameters; '
                f'at this depth there are: {", ".join(near) or "none"}'
            )


def _name(path: tuple) -> str:
    """'module/module/parameter'."""
    return _plain(jax.tree_util.keystr(path, simple=True, separator='/'))


def _plain(name: str) -> str:
    """The name without Haiku's marks of the method in which a module was made ('/~')."""
    return re.sub('/~[^/]*', '', name)


def _is_under(name: str, top: str) -> bool:
    return f'{name}/'.startswith(f'{_plain(top)}/')
