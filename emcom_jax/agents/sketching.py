"""The two agents of the sketching game (Mihai and Hare 2021, Learning to draw): one sees an image
and draws strokes, the other sees the drawing and finds the image.

What a trunk makes of images and drawings alike is its last map, flat: [B, F]. A linear projection
to D features follows; trunk and projection are those of an agent, or one for all (`Eyes`).
"""

from collections.abc import Sequence
from typing import Any

import haiku as hk
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax import raster
from emcom_jax.agents.vision import Features, make_trunk
from emcom_jax.types import Array, Guess, Message

POINTS = {'line': 2, 'quadratic': 3, 'cubic': 4, 'catmull_rom': 4}  # That make a stroke.
_SPREAD = hk.initializers.VarianceScaling(2.0, 'fan_in', 'normal')
_COARSE, _PATCH = 16, 4  # Side of the canvas that is looked at while drawing, and of its patches.


def draw(message: Message, kind: str, size: tuple[int, int], sigma2: Array | float) -> Array:
    """The canvas of a drawing, [B, H, W] in [0, 1], 1 where there is ink.

    kind: of the strokes, a key of `POINTS`.
    size: H and W.
    sigma2: the squared width of strokes.
    """
    assert message.relaxed is not None
    batch, length, values = message.relaxed.shape
    count = 2 * POINTS[kind]
    points = message.relaxed[..., :count].reshape(batch, length, POINTS[kind], 2)
    # A gate that is shut in the forward pass has a gradient, which the mask has not.
    gates = message.relaxed[..., count] if values > count else message.mask
    return raster.draw(points, *size, sigma2, kind=kind, gates=gates)


class Eyes:
    """A trunk and a projection, or one of them."""

    def __init__(self, trunk: ConfigDict | None, latent_size: int | None, axis_name: str | None):
        """trunk: of the config; None: images do not come here.
        latent_size: D; None: there is no projection, what comes is projected."""
        self._frozen = trunk is not None and trunk.frozen
        self._trunk = None if trunk is None else make_trunk(trunk, axis_name)
        self._project = None if latent_size is None else hk.Linear(latent_size, name='projection')

    def look(self, images: Array, is_training: bool) -> Features:
        """A frozen trunk stays as it is, but the images have a gradient."""
        assert self._trunk is not None
        if not self._frozen:
            return self._trunk(images, is_training)
        with hk.custom_getter(lambda get, value, _: jax.lax.stop_gradient(get(value))):
            return self._trunk(images, False)

    def project(self, flat: Array) -> Array:
        """[B, F] -> [B, D]."""
        return flat if self._project is None else self._project(flat)


def flat(features: Features) -> Array:
    """The last map [B, h, w, channels] as [B, F]."""
    return features.blocks[-1].reshape(features.pooled.shape[0], -1)


class Speaker:
    """Sees, and draws that."""

    def __init__(
        self, config: ConfigDict, channel: ConfigDict, eyes: Eyes, cells: tuple[int, ...] | None
    ):
        """cells: [h, w, channels] of the flat map that strokes are drawn from in turn, with
        attention to it; None: from its projection, all at once."""
        self._eyes, self._channel, self._cells = eyes, channel, cells
        values, length = 2 * POINTS[channel.stroke] + channel.gates, channel.length
        self._hand: Any = AtOnce(config.head_sizes, length, values, channel.gates)
        if cells is not None:
            self._hand = InTurn(config, channel, values)

    def sample(self, inputs: Array, noise: Array) -> Message:
        """Draws inputs [B, F or D], with logistic noise [B, T] of the gates."""
        return self._draw(inputs, noise)

    def greedy(self, inputs: Array) -> Message:
        return self._draw(inputs, None)

    def see(self, images: Array, is_training: bool) -> Features:
        return self._eyes.look(images, is_training)

    def _draw(self, inputs: Array, noise: Array | None) -> Message:
        latent = self._eyes.project(inputs)
        if self._cells is None:
            raw = self._hand(latent)
        else:
            raw = self._hand(latent, inputs.reshape(-1, *self._cells))
        return make_drawing(raw, self._channel, noise)


def make_drawing(raw: Array, channel: ConfigDict, noise: Array | None) -> Message:
    """A message of strokes.

    Args:
      raw: [B, T, V], coordinates before tanh, and, if there are gates, their logits.
      channel: the group of the config; read are `gates` and `temperature`.
      noise: [B, T] logistic, by which a gate is drawn with the probability that its logit says;
        None: it is open if that is above one half.
    """
    strokes, mask = jnp.tanh(raw), jnp.ones(raw.shape[:2], jnp.float32)
    if channel.gates:
        logits = raw[..., -1] if noise is None else raw[..., -1] + noise
        # The binary concrete relaxation (Maddison et al. 2017), straight-through.
        soft = jax.nn.sigmoid(logits / channel.temperature)
        mask = (logits > 0).astype(jnp.float32)
        gate = mask + (soft - jax.lax.stop_gradient(soft))
        strokes = jnp.concatenate([strokes[..., :-1], gate[..., None]], axis=-1)
    last = jnp.arange(raw.shape[1])[None] == raw.shape[1] - 1
    end = jnp.broadcast_to(last, mask.shape).astype(jnp.float32)
    return Message(jnp.zeros(mask.shape, jnp.int32), strokes, mask, end)


class AtOnce(hk.Module):
    """Features -> MLP -> all strokes (the `SimpleLine` decoder of the published code, whose strokes
    begin near the centre and hardly depend on the image; here they begin anywhere, and what is seen
    keeps its variance up to the strokes (He et al. 2015): listeners have something to go by)."""

    def __init__(self, sizes: tuple[int, ...], length: int, values: int, gates: bool):
        super().__init__(name='speaker')
        self._shape = (length, values)
        self._mlp = hk.nets.MLP(tuple(sizes), _SPREAD, activate_final=True, name='hidden')
        self._strokes = hk.Linear(
            length * values, True, _SPREAD, _scattered(gates, values), name='strokes'
        )

    def __call__(self, latent: Array) -> Array:
        """[B, D] -> [B, T, V]."""
        return self._strokes(self._mlp(latent)).reshape(-1, *self._shape)


class InTurn(hk.Module):
    """One stroke after another: a GRU (Cho et al. 2014), which reads what it attends to of the
    image and of the canvas so far (Vaswani et al. 2017, equation 1), and its last stroke.

    The canvas is looked at as patches of a coarse one, so that nothing in the loop is a
    convolution.
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict, values: int):
        super().__init__(name='speaker')
        self._channel, self._values = channel, values
        self._size, self._embed = config.hidden_size, config.attention

    def __call__(self, latent: Array, cells: Array) -> Array:
        """[B, D] and the trunk's last map [B, h, w, channels] -> [B, T, V]."""
        batch, size, channel = latent.shape[0], self._size, self._channel
        start = jnp.tanh(hk.Linear(size, name='start')(latent))
        image = self._tokens(cells.reshape(batch, -1, cells.shape[-1]), 'image')
        query, core = hk.Linear(self._embed, name='query'), hk.GRU(size, name='core')
        strokes = hk.Linear(
            self._values, b_init=_scattered(channel.gates, self._values), name='strokes'
        )
        # Which stroke it is: else all would begin as one.
        order = hk.get_parameter(
            'order', [channel.length, self._values], init=hk.initializers.RandomNormal()
        )

        def step(carry: Any, place: Array) -> Any:
            state, canvas, last = carry
            tokens = self._tokens(_patches(canvas), 'canvas')
            asked = query(state)
            read = [_attend(asked, seen) for seen in (image, tokens)]
            hidden, state = core(jnp.concatenate([*read, last], axis=-1), state)
            raw = strokes(hidden) + place[None]
            one = make_drawing(raw[:, None], channel, None)
            ink = draw(one, channel.stroke, (_COARSE, _COARSE), (2 / (_COARSE - 1)) ** 2)
            return (state, 1 - (1 - canvas) * (1 - ink), jnp.tanh(raw)), raw

        blank = jnp.zeros((batch, _COARSE, _COARSE))
        carry = (start, blank, jnp.zeros((batch, self._values)))
        _, raws = hk.scan(step, carry, order)
        return jnp.swapaxes(raws, 0, 1)

    def _tokens(self, cells: Array, name: str) -> Array:
        """[B, M, channels] -> [B, M, E], which know their places."""
        place = hk.get_parameter(
            f'{name}_places', [cells.shape[1], self._embed], init=hk.initializers.RandomNormal(0.1)
        )
        return hk.Linear(self._embed, name=name)(cells) + place[None]


def _scattered(gates: bool, values: int) -> hk.initializers.Initializer:
    """Biases by which strokes begin scattered over the canvas, with open gates."""

    def init(shape: Sequence[int], dtype: Any) -> Array:
        biases = hk.initializers.RandomUniform(-1.0, 1.0)(shape, dtype)
        if not gates:
            return biases
        is_gate = jnp.arange(shape[0]) % values == values - 1
        return jnp.where(is_gate, jnp.ones(shape, dtype), biases)

    return init


def _patches(canvas: Array) -> Array:
    """[B, 16, 16] -> [B, 16, 16], of which the second are patches and the third their pixels."""
    count = _COARSE // _PATCH
    cut = canvas.reshape(-1, count, _PATCH, count, _PATCH).swapaxes(2, 3)
    return cut.reshape(-1, count * count, _PATCH * _PATCH)


def _attend(query: Array, tokens: Array) -> Array:
    """[B, E] and [B, M, E] -> [B, E]."""
    scores = jnp.einsum('be,bme->bm', query, tokens) * query.shape[-1] ** -0.5
    return jnp.einsum('bm,bme->be', jax.nn.softmax(scores), tokens)


class Listener:
    """Sees drawings and images, and compares them: features -> MLP -> a space in which the inner
    product says how well they fit."""

    def __init__(self, config: ConfigDict, eyes: Eyes):
        self._eyes = eyes
        self._mlp = hk.nets.MLP(tuple(config.projection_sizes), name='listener')

    def __call__(self, drawing: Array, inputs: Array) -> Guess:
        """What is seen of drawings and of images, [B, F or D] each."""
        prediction, candidates = (self._mlp(self._eyes.project(x)) for x in (drawing, inputs))
        return Guess(prediction, candidates, {})

    def see(self, images: Array, is_training: bool) -> Features:
        return self._eyes.look(images, is_training)
