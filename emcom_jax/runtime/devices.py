"""Trees on the local devices, and what jaxline 0.0.8 needs to run on current JAX.

Under `jax.pmap` a replicated tree has a leading axis of local devices, one slice on each. jaxline
makes such trees with `jax.device_put_sharded`, which JAX has removed; `prepare_jaxline` gives it
`bcast_local_devices` of this file instead. (jaxline's platform module needs TensorFlow; nothing
imports it.)
"""

import jax
import jaxline.utils
import numpy as np
from absl import flags
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from emcom_jax.types import Array, Tree


def prepare_jaxline() -> None:
    """Lets jaxline run on current JAX. Call it once, before `jaxline.train`."""
    if not flags.FLAGS.is_parsed():  # In a notebook or a test; jaxline reads flags of its own.
        flags.FLAGS.mark_as_parsed()
    jaxline.utils.bcast_local_devices = bcast_local_devices


def bcast_local_devices(tree: Tree) -> Tree:
    """Copies every leaf [...] to all local devices, as one array [local devices, ...]."""
    devices = jax.local_devices()
    # The sharding that pmap itself uses: the first call moves and compiles nothing anew.
    sharding = NamedSharding(Mesh(np.array(devices), ('i',)), PartitionSpec('i'))

    def broadcast(leaf: Array) -> Array:
        slice_ = (leaf if isinstance(leaf, jax.Array) else np.asarray(leaf))[None]
        shards = [jax.device_put(slice_, device) for device in devices]
        shape = (len(devices), *slice_.shape[1:])
        return jax.make_array_from_single_device_arrays(shape, sharding, shards)

    return jax.tree.map(broadcast, tree)


def first(tree: Tree) -> Tree:
    """Returns the first local device's slice of every leaf, on that device: the inverse."""
    return _without_leading_axis(jax.tree.map(lambda x: x.addressable_data(0), tree))


@jax.jit
def _without_leading_axis(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: x[0], tree)
