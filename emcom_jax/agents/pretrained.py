"""Weights of torchvision's networks for the trunks of `vision`."""

import re
from collections import Counter
from collections.abc import Mapping

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.agents.vision import make_trunk
from emcom_jax.types import Tree

# torch's name of each parameter and state.
LEAVES = {
    'w': 'weight',
    'b': 'bias',
    'scale': 'weight',
    'offset': 'bias',
    'mean': 'running_mean',
    'variance': 'running_var',
}
# What a classifier has and a trunk has not; torch's counts of batches.
IGNORED = re.compile(r'(fc|classifier)\.|(.*\.)?num_batches_tracked$')


def to_haiku(
    state_dict: Mapping[str, np.ndarray], config: ConfigDict, prefix: str | None = None
) -> tuple[Tree, Tree]:
    """The parameters and state of a trunk, with torchvision's weights in them.

    state_dict: name -> array in torch's layout, as `read_state_dict` gives it. Classifiers are left
        out, and so is 'module', which torch's DataParallel puts into names.
    config: of the trunk (see `vision`): what the weights must fit. Nothing of it is guessed from
        the weights; torchvision's have width=64, stem='imagenet' and max_pool=True.
    prefix: of the names of the network in a larger one, such as 'encoder.'; what has another prefix
        is not looked at. By default the one under which most of the weights are found.

    Returns (params, state) of `hk.transform_with_state` around `make_trunk(config)`: NumPy arrays,
    float32 (float64 as it is where JAX has that enabled).
    Raises ValueError with one sentence that names what is missing, unexpected or of another shape.
    """
    trunk = hk.transform_with_state(lambda images: make_trunk(config)(images, False))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    wanted: tuple[Tree, Tree] = jax.eval_shape(trunk.init, jax.random.key(0), images)
    shapes = {
        _torch_name(module, leaf): _torch_shape(value.shape)
        for tree in wanted
        for module, leaf, value in hk.data_structures.traverse(tree)
    }
    tensors = _under_prefix(state_dict, shapes, prefix)
    _check(tensors, shapes, config.name)

    def converted(module: str, leaf: str, value: jax.ShapeDtypeStruct) -> np.ndarray:
        tensor = tensors[_torch_name(module, leaf)]
        dtype = jax.dtypes.canonicalize_dtype(np.promote_types(tensor.dtype, np.float32))
        if tensor.ndim == 4:
            tensor = tensor.transpose(2, 3, 1, 0)  # OIHW to HWIO.
        return np.ascontiguousarray(tensor, dtype)

    params, state = (hk.data_structures.map(converted, tree) for tree in wanted)
    return params, state


def _torch_name(module: str, leaf: str) -> str:
    """'trunk/layer1_0/conv1', 'w' -> 'layer1.0.conv1.weight'."""
    parts = [re.sub(r'_(\d+)$', r'.\1', part) for part in module.split('/')[1:]]
    return '.'.join([*parts, LEAVES[leaf]])


def _torch_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """[H, W, I, O] -> [O, I, H, W]; others as they are."""
    return (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape


def _under_prefix(
    state_dict: Mapping[str, np.ndarray], names: Mapping[str, object], prefix: str | None
) -> dict[str, np.ndarray]:
    """The tensors whose names begin with the prefix, without it."""
    plain = {re.sub(r'\bmodule\.', '', name): tensor for name, tensor in state_dict.items()}
    if prefix is None:
        prefix = _likeliest_prefix(plain, names)
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in plain.items()
        if name.startswith(prefix) and not IGNORED.match(name.removeprefix(prefix))
    }


def _likeliest_prefix(plain: Mapping[str, object], names: Mapping[str, object]) -> str:
    found: Counter[str] = Counter()
    for name in plain:
        parts = name.split('.')
        for start in range(len(parts)):
            if '.'.join(parts[start:]) in names:
                found[''.join(f'{part}.' for part in parts[:start])] += 1
    best = [prefix for prefix, count in found.items() if count == max(found.values())]
    if len(best) > 1:
        raise ValueError(
            f'the weights hold several networks, under {", ".join(map(repr, best))}: say which by '
            'prefix'
        )
    return best[0] if best else ''


def _check(
    tensors: Mapping[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], name: str
) -> None:
    missing = [key for key in shapes if key not in tensors]
    unexpected = [key for key in tensors if key not in shapes]
    misshapen = [
        f'{key} {tensors[key].shape} for {shape}'
        for key, shape in shapes.items()
        if key in tensors and tensors[key].shape != shape
    ]
    faults = {'lack': missing, 'have besides': unexpected, 'have in another shape': misshapen}
    said = '; they '.join(f'{verb} {_some(keys)}' for verb, keys in faults.items() if keys)
    if said:
        raise ValueError(f'the weights do not fit {name}: they {said}')


def _some(names: list[str]) -> str:
    more = f' and {len(names) - 3} more' if len(names) > 3 else ''
    return ', '.join(names[:3]) + more
