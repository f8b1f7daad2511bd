"""The network of SimCLR (Chen et al. 2020), its layers by the letters of Dessì et al. (2021): image
-> trunk -> h -> linear -> batch norm -> ReLU -> s -> linear without bias -> z."""

from collections.abc import Callable

import haiku as hk
import jax
from ml_collections import ConfigDict

from emcom_jax.agents.normalization import BatchNorm
from emcom_jax.agents.vision import make_trunk
from emcom_jax.types import Array

LAYERS = ('h', 's', 'z')


class Network:
    """All that SimCLR learns, as the modules 'trunk' (h), 'hidden' and 'norm' (s), 'output' (z)."""

    def __init__(self, trunk: ConfigDict, hidden: int, output: int, axis_name: str | None):
        """trunk: see `vision`. hidden, output: number of units of s and of z."""
        self._trunk = make_trunk(trunk, axis_name)
        self._hidden = hk.Linear(hidden, name='hidden')
        self._norm = BatchNorm(axis_name, name='norm')
        self._output = hk.Linear(output, with_bias=False, name='output')

    def __call__(self, inputs: Array, layer: str | None, is_training: bool) -> dict[str, Array]:
        """Returns the values [B, D] of each layer from `layer` on, of which the inputs are the
        values; None: they are images [B, H, W, 3]."""
        steps: dict[str, Callable[[Array], Array]] = {
            'h': lambda x: self._trunk(x, is_training).pooled,
            's': lambda x: jax.nn.relu(self._norm(self._hidden(x), is_training)),
            'z': self._output,
        }
        x, values = inputs, {} if layer is None else {layer: inputs}
        for name in LAYERS if layer is None else LAYERS[LAYERS.index(layer) + 1 :]:
            x = values[name] = steps[name](x)
        return values
