"""The two agents of the dialogue game (Evtimova et al. 2018): a speaker that sees, and answers what
it is asked; a listener that reads descriptions, remembers, and asks.

Each has a method for what it computes once, and one for a turn, which `games.dialogue` scans.
"""

import math
from typing import Any

import chex
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.data.descriptions import Words
from emcom_jax.types import Array, Tree

# Glorot & Bengio 2010, equation 16, normal: variance 2 / (inputs + outputs).
XAVIER = hk.initializers.VarianceScaling(1.0, 'fan_avg', 'normal')
NEVER = -1e9  # The logit of a class that is not to be chosen.
MIXES = ('sum', 'product', 'mixture')


def halves(map_shape: tuple[int, int], size: int) -> dict[str, np.ndarray]:
    """What each role sees where each sees a part (as in Graesser, Cho & Kiela 2019).

    Args:
      map_shape: (places, channels) of the square map that the D inputs begin with.
      size: D.

    Returns:
      Role -> float32 [D], 1 for what it sees: the speaker the left half of the map, the listener
      the right one, and both the column in the middle and what follows the map.
    """
    places, channels = map_shape
    side = math.isqrt(places)
    column = np.arange(places) % side
    masks = {}
    for role, seen in (('speaker', 2 * column < side), ('listener', 2 * column >= side - 1)):
        of_map = np.repeat(seen, channels)
        masks[role] = np.pad(of_map.astype(np.float32), (0, size - len(of_map)), constant_values=1)
    return masks


def _linear(size: int, name: str, bias: bool = True) -> hk.Linear:
    return hk.Linear(size, with_bias=bias, w_init=XAVIER, name=name)


class Baseline(hk.Module):
    """Predicts the reward [B] from what is known before an action; no gradient leaves it."""

    def __init__(self, size: int):
        super().__init__(name='baseline')
        self._size = size

    def __call__(self, *inputs: Array) -> Array:
        x = jax.lax.stop_gradient(jnp.concatenate(inputs, axis=-1))
        for size, name in ((self._size, 'hidden'), (1, 'value')):
            # PyTorch's default, as published: uniform within 1 / sqrt(inputs).
            init = hk.initializers.RandomUniform(-(x.shape[-1] ** -0.5), x.shape[-1] ** -0.5)
            x = hk.Linear(size, w_init=init, b_init=init, name=name)(x)
            x = jax.nn.relu(x) if name == 'hidden' else x
        return x[:, 0]


class Speaker(hk.Module):
    """Mixes what it sees with what it has just heard; it remembers nothing.

    With attention it looks at a map of features anew in each turn, where what it has heard sends it
    (uniformly in the first).
    """

    def __init__(self, config: ConfigDict, channel: ConfigDict, map_shape: tuple[int, int] | None):
        """map_shape: (places, channels) of the map that its inputs begin with; read with attention
        alone."""
        super().__init__(name='speaker')
        self._config, self._map, self._bits = config, map_shape, channel.vocab_size
        self._image = _linear(config.hidden_size, 'image')
        self._code = _linear(config.hidden_size, 'code')
        self._message = _linear(channel.vocab_size, 'message')
        self._baseline = Baseline(config.baseline_size)

    def see(self, inputs: Array) -> Tree:
        """What it sees in inputs [B, D], before anything is said."""
        chex.assert_rank(inputs, 2)
        if self._config.attention is None:
            return self._image(inputs)
        assert self._map is not None
        places, size = self._map
        seen = inputs[:, : places * size].reshape(-1, places, size)
        keys = _linear(self._config.attention, 'attend_map')(seen)
        context = inputs[:, places * size :]
        if context.shape[1]:
            keys = keys + _linear(self._config.attention, 'attend_context', False)(context)[:, None]
        return seen, keys

    def speak(self, seen: Tree, turn: Array, heard: Array) -> tuple[Array, Array]:
        """Log-odds of the bits that it says [B, V], and the reward that it expects [B].

        Args:
          seen: of `see`.
          turn: int32 [].
          heard: [B, V], the answer to what it said before. In the first turn there is none, and a
            learned vector stands for it; with `deaf` in all turns.
        """
        init = hk.initializers.RandomNormal()
        silence = jax.nn.sigmoid(hk.get_parameter('silence', [self._bits], init=init))[None]
        first = jnp.logical_or(turn == 0, self._config.deaf)
        code = jnp.where(first, silence, heard)
        image = seen
        if self._config.attention is not None:
            image = self._image(self._attend(seen, turn, code))
        told = self._code(code)
        if self._config.mix == 'sum':
            mixed = image + told
        elif self._config.mix == 'product':
            mixed = image * told
        else:
            told = jnp.broadcast_to(told, image.shape)
            mixed = jnp.concatenate([image, told, image - told, image * told], axis=-1)
        return self._message(jnp.tanh(mixed)), self._baseline(image, heard)

    def _attend(self, seen: tuple[Array, Array], turn: Array, code: Array) -> Array:
        places, keys = seen
        asked = _linear(self._config.attention, 'attend_code', False)(code)
        scores = _linear(1, 'attend_score', False)(jnp.tanh(keys + asked[:, None]))[..., 0]
        weights = jax.nn.softmax(jnp.where(turn == 0, 0.0, scores))
        return jnp.einsum('bp,bpc->bc', weights, places)


class Listener(hk.Module):
    """Remembers what it has heard (a GRU), scores the descriptions of all classes, says whether it
    wants to hear more, and answers by what it believes.

    If it sees, it begins with a memory of that.
    """

    def __init__(
        self,
        config: ConfigDict,
        channel: ConfigDict,
        words: Words,
        vectors: np.ndarray | None,
    ):
        """vectors: [n, size] of the vocabulary, which stay as they are; None: learned."""
        super().__init__(name='listener')
        self._config, self._words, self._vectors = config, words, vectors
        size = config.hidden_size
        self._of_heard = _linear(3 * size, 'gru_heard')
        self._of_memory = _linear(3 * size, 'gru_memory')
        self._score_memory = _linear(size, 'score_memory')
        self._score_class = _linear(size, 'score_description', False)
        self._score = _linear(1, 'score')
        self._go = _linear(1, 'go')
        self._answer_memory = _linear(size, 'answer_memory')
        self._answer_class = _linear(size, 'answer_description', False)
        self._answer = _linear(channel.vocab_size, 'answer')
        self._baseline = Baseline(config.baseline_size)

    def begin(self, inputs: Array) -> Array:
        """Its memory [B, H] before anything is said; inputs [B, D] are what it sees, if it does."""
        if not self._config.sees:
            return jnp.zeros((inputs.shape[0], self._config.hidden_size))
        return jnp.tanh(_linear(self._config.hidden_size, 'image')(inputs))

    def read(self) -> Tree:
        """What it knows of the D descriptions before anything is said. Since its score layer is
        linear in a description and its memory, that of the descriptions is computed here once."""
        words, size = self._words, self._config.word_size
        table: Any = self._vectors
        if table is None:
            init = hk.initializers.RandomNormal(size**-0.5)
            table = hk.get_parameter('words', [len(words.vocabulary), size], init=init)
        vectors, mask = jnp.asarray(table)[words.ids], jnp.asarray(words.mask)
        if self._config.word_attention is None:
            mean = (vectors * mask[..., None]).sum(1) / mask.sum(1)[:, None]
            return mean, self._score_class(mean)
        keys = _linear(self._config.word_attention, 'attend_word')(vectors)
        return vectors, self._score_class(vectors), keys, mask

    def hear(
        self, known: Tree, memory: Array, heard: Array, among: Array | None
    ) -> tuple[Array, Array, Array, Array, Array]:
        """One turn.

        Args:
          known: of `read`.
          memory: [B, H], of `begin` before the first turn.
          heard: [B, V].
          among: bool [D], the classes to choose from; None: all.

        Returns:
          Its memory [B, H]; logits of the classes [B, D]; log-odds of wanting another turn [B]; of
          the bits of its answer [B, V]; and the reward that it expects [B].
        """
        memory = self._remember(memory, heard)
        choices, mean = self._choose(known, memory)
        if among is not None:
            choices = jnp.where(among[None], choices, NEVER)
        # What it answers does not teach it what to believe (as published).
        belief = jax.lax.stop_gradient(jax.nn.softmax(choices))
        if mean.ndim == 2:
            expected = belief @ mean
        else:
            expected = jnp.einsum('bd,bde->be', belief, mean)
        answer = self._answer(jnp.tanh(self._answer_memory(memory) + self._answer_class(expected)))
        return memory, choices, self._go(memory)[:, 0], answer, self._baseline(heard, memory)

    def _remember(self, memory: Array, heard: Array) -> Array:
        """A GRU (Cho et al. 2014), the reset gate after the product, as in PyTorch."""
        reset, update, new = jnp.split(self._of_heard(heard), 3, axis=-1)
        reset_of, update_of, new_of = jnp.split(self._of_memory(memory), 3, axis=-1)
        update = jax.nn.sigmoid(update + update_of)
        new = jnp.tanh(new + jax.nn.sigmoid(reset + reset_of) * new_of)
        return (1 - update) * new + update * memory

    def _choose(self, known: Tree, memory: Array) -> tuple[Array, Array]:
        """Logits [B, D], and the descriptions, [D, E] or (with attention to words) [B, D, E]."""
        own = self._score_memory(memory)[:, None]
        if self._config.word_attention is None:
            mean, part = known
            hidden = own + part[None]
        else:
            vectors, part, keys, mask = known
            asked = _linear(self._config.word_attention, 'attend_memory', False)(memory)
            fit = jnp.tanh(keys[None] + asked[:, None, None])
            scores = _linear(1, 'attend_score', False)(fit)[..., 0]  # [B, D, W]
            weights = jax.nn.softmax(jnp.where(mask[None] > 0, scores, -1e9))
            mean = jnp.einsum('bdw,dwe->bde', weights, vectors)
            hidden = own + jnp.einsum('bdw,dwh->bdh', weights, part)
        return self._score(jax.nn.relu(hidden))[..., 0], mean
