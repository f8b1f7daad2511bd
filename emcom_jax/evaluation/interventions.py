"""Is the message used? Messages are tampered with on their way, and guesses compared.

That speakers say something does not mean that listeners listen: only an intervention tells (Lowe,
Foerster, Boureau, Pineau & Dauphin 2019, On the pitfalls of measuring emergent communication).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax import channels, losses
from emcom_jax.evaluation.dialogues import tamperings
from emcom_jax.evaluation.judging import Draws, Judge, in_groups, make_draws
from emcom_jax.evaluation.playing import converse, for_each, hear, say, see, show
from emcom_jax.games.base import Game, Games, table_of
from emcom_jax.metrics import arguments
from emcom_jax.stacks import agents_of, joined, stacks
from emcom_jax.types import (
    Agent,
    Array,
    Bank,
    Guess,
    InterventionRecord,
    Key,
    Members,
    Message,
    Tampering,
)

Effects = tuple[Array, Array, Array]  # correct [I, N], change [I, N], influence [N].


class Intervention(NamedTuple):
    """function: (key, index [N], message [N, ...], game) -> messages [k, N, ...], tampered with.
    means_something: whether it does, for (game, T)."""

    function: Callable[[Key, Array, Message, Game], Message]
    means_something: Callable[[Game, int], bool]


def _replaced(key: Key, index: Array, message: Message, game: Game) -> Message:
    places = jnp.arange(message.symbols.shape[1])

    def at(place: Array) -> Message:
        own, ends = jax.random.fold_in(key, place), game.variable_length
        return channels.replace(own, index, message, game.vocab_size, place, ends)

    return jax.vmap(at)(places)


def _swapped(key: Key, index: Array, message: Message, game: Game) -> Message:
    return _alone(channels.swap(key, index, message, game.variable_length))


def _shuffled(key: Key, index: Array, message: Message, game: Game) -> Message:
    return _alone(channels.shuffle(key, message, game.has_candidates))


def _silenced(key: Key, index: Array, message: Message, game: Game) -> Message:
    if game.kind == 'drawings':  # A blank canvas.
        nothing = jax.tree.map(jnp.zeros_like, (message.relaxed, message.mask))
        return _alone(message._replace(relaxed=nothing[0], mask=nothing[1]))
    return _alone(channels.silence(message, game.variable_length))


def _erased(key: Key, index: Array, message: Message, game: Game) -> Message:
    """Each stroke left out in turn."""
    length = message.symbols.shape[1]
    return jax.vmap(lambda place: _without(message, jnp.arange(length)[None] == place))(
        jnp.arange(length)
    )


def _erased_group(key: Key, index: Array, message: Message, game: Game) -> Message:
    """Each quarter of the strokes left out in turn, that of the longest first."""
    assert message.relaxed is not None
    values = message.relaxed.shape[-1] // 2 * 2  # What is left is of a gate.
    points = message.relaxed[..., :values].reshape(*message.symbols.shape, -1, 2)
    steps = jnp.diff(points, axis=-2)
    lengths = jnp.sqrt(jnp.sum(steps**2, axis=-1)).sum(axis=-1) * message.mask
    rank = jnp.argsort(jnp.argsort(-lengths, axis=1), axis=1)
    group = rank * _STROKE_GROUPS // rank.shape[1]
    return jax.vmap(lambda number: _without(message, group == number))(jnp.arange(_STROKE_GROUPS))


def _without(message: Message, gone: Array) -> Message:
    """A drawing without some of its strokes, bool [1 or N, T]."""
    assert message.relaxed is not None
    gone = gone & (message.mask > 0)
    strokes = jnp.where(gone[..., None], 0.0, message.relaxed)
    return message._replace(relaxed=strokes, mask=jnp.where(gone, 0.0, message.mask))


def _intact(key: Key, index: Array, message: Message, game: Game) -> Message:
    return _alone(message)


def _alone(message: Message) -> Message:
    return jax.tree.map(lambda leaf: leaf[None], message)


def _has_words(game: Game) -> bool:
    """Whether there are words to choose from; real vectors come from no vocabulary."""
    return game.kind == 'symbols' and game.vocab_size > 1 + game.variable_length


def _is_spelt(game: Game) -> bool:
    """Whether positions carry something that may differ from one to the next."""
    return _has_words(game) or game.kind == 'continuous'


_STROKE_GROUPS = 4

INTERVENTIONS: dict[str, Intervention] = {
    'intact': Intervention(_intact, lambda game, length: True),
    'replaced': Intervention(_replaced, lambda game, length: _has_words(game)),
    'swapped': Intervention(_swapped, lambda game, length: _is_spelt(game) and length > 1),
    'shuffled': Intervention(_shuffled, lambda game, length: True),
    'silenced': Intervention(
        _silenced, lambda game, length: game.kind in ('symbols', 'continuous', 'drawings')
    ),
    'erased': Intervention(_erased, lambda game, length: game.kind == 'drawings' and length > 1),
    'erased_group': Intervention(
        _erased_group, lambda game, length: game.kind == 'drawings' and length >= _STROKE_GROUPS
    ),
}


def total_variation(p: Array, q: Array) -> Array:
    """Half the sum of |p - q| of two distributions [..., n] each; [...] in [0, 1].

    The most by which the probability of anything that can be asked about the guess changes. Unlike
    a divergence in bits it stays bounded where a sure listener changes its mind.
    """
    chex.assert_equal_shape([p, q])
    return 0.5 * jnp.abs(p - q).sum(axis=-1)


def influence(chances: Array) -> Array:
    """What each of N equally likely messages tells about the guess, bits.

    The divergence KL(p(a | m) || p(a)) of the listener's distribution from its mean over messages.
    Its own mean over messages is the mutual information of message and action under intervention on
    the message: the one-step causal influence of communication (CIC) of Lowe et al. 2019, with the
    messages as often as they are said.

    Args:
      chances: [N, n], p(a | m) for each message.

    Returns:
      [N], each 0 or more; their mean in [0, min(log2 N, log2 n)].
    """
    chex.assert_rank(chances, 2)
    # From the first row on, so that the mean of rows that are all alike is that row to the bit.
    mean = chances[:1] + (chances - chances[:1]).mean(axis=0, keepdims=True)
    ratio = jnp.where(chances > 0, chances, 1.0) / jnp.where(chances > 0, mean, 1.0)
    return jnp.maximum((chances * jnp.log2(ratio)).sum(axis=1), 0.0)


class Interventions:
    """Tampers with the messages of a population of one game (or of those of its groups, [G][H]);
    compiles once for each size of split.

    All speakers speak, all listeners hear, greedily and under the conditions of the evaluation, on
    at most `max_examples` referents. Listeners choose among the most candidates played, and those
    are the ones of `Evaluator` for the same seed (on a split of that size).
    """

    def __init__(self, game: Game | Games, config: ConfigDict):
        self._games = table_of(game)
        self._game = self._games[0][0]  # What all of them have in common.
        self._config = config.evaluation
        self._turns = (config.channel.length, config.channel.vocab_size)
        self._judge = Judge(self._game, config.evaluation)
        self._compiled = jax.jit(self._play_all, static_argnums=5)

    def __call__(self, population: Members, bank: Bank, seed: int) -> InterventionRecord:
        """Plays with a population (one replica, on one device) on the bank of a split."""
        rows = arguments.sample(len(bank.inputs), self._config.max_examples, seed=0)
        count = self._judge.num_candidates(len(rows))[-1]
        agents = [stacks(agents_of(role)) for role in (population.speakers, population.listeners)]
        shared = population.shared.agent
        # A key apart from those of the candidates and of the noise.
        key = jax.random.fold_in(jax.random.key(seed), 1)
        played = self._compiled(agents, shared, bank, rows, make_draws(seed), count, key)
        altered, (correct, change, told) = jax.device_get(played)

        def by_name(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
            """[S, (L,) k, N] -> [k, S, (L,) N]."""
            return {name: np.moveaxis(array, -2, 0) for name, array in arrays.items()}

        return InterventionRecord(count, by_name(altered), by_name(correct), by_name(change), told)

    def _play_all(
        self,
        agents: list[tuple[Agent, ...]],
        shared: Agent,
        bank: Bank,
        rows: Array,
        draws: Draws,
        count: int,
        key: Key,
    ) -> Any:
        config = self._config
        speakers, listeners = agents
        labels = {name: values[rows] for name, values in bank.labels.items()}
        drawn_by = (self._judge.rivals(bank, rows), self._judge.classes(bank, rows))

        def seen(game: Game, role: str, stack: Agent) -> tuple[Agent, Array]:
            return stack, see(game, config, role, stack, shared, bank, draws, rows)

        def of_speaker(games: Sequence[Game], speaker: Agent, view: Array) -> Any:
            message = say(games[0], config, speaker, view)
            by_name = tamper(key, message, games[0])
            sizes = {name: len(each.symbols) for name, each in by_name.items()}
            messages = jax.tree.map(lambda *each: jnp.concatenate(each), *by_name.values())

            altered = jax.vmap(_differs, (0, None))(messages, message)
            if games[0].kind == 'drawings':
                messages = jax.lax.map(partial(show, games[0], config, shared), messages)

            def of_listener(game: Game, listener: Agent, view: Array) -> Any:
                """Alone, as what it makes of all messages, [I, N, D], is much already."""
                one = jax.tree.map(lambda leaf: leaf[None], listener)

                def made_of(message: Message) -> Guess:
                    guess = hear(game, config, one, view[None], message, draws)
                    return jax.tree.map(lambda leaf: leaf[0], guess)

                guess = jax.lax.map(made_of, messages)
                correct, change, told = self._effects(
                    guess, labels, drawn_by, count, draws.candidates
                )
                return _split(correct, sizes), _split(change, sizes), told

            heard = [
                for_each(partial(of_listener, game), *group)
                for game, group in zip(games, hearers, strict=True)
            ]
            return _split(altered, sizes), joined(heard)

        def of_dialogues(games: Sequence[Game], speaker: Agent, view: Array) -> Any:
            by_name = tamperings(*self._turns, real=self._game.kind == 'continuous')
            sizes = {name: len(each.swapped) for name, each in by_name.items()}
            ways: Tampering = jax.tree.map(lambda *each: jnp.concatenate(each), *by_name.values())

            def of_listener(game: Game, listener: Agent, view_of_listener: Array) -> Any:
                one = jax.tree.map(lambda leaf: leaf[None], listener)
                views = view_of_listener[None]

                def held(tampering: Tampering) -> Guess:
                    pair, among = (games[0], game), bank.among
                    _, guess, _ = converse(
                        pair, config, speaker, view, one, views, among, draws, tampering
                    )
                    return jax.tree.map(lambda leaf: leaf[0], guess)

                guess = jax.lax.map(held, ways)
                correct, change, told = self._effects(
                    guess, labels, drawn_by, count, draws.candidates
                )
                return _split(correct, sizes), _split(change, sizes), told

            altered = {
                name: jnp.full((size, len(rows)), name != 'intact') for name, size in sizes.items()
            }
            heard = [
                for_each(partial(of_listener, game), *group)
                for game, group in zip(games, hearers, strict=True)
            ]
            return altered, joined(heard)

        hearers = [
            seen(game, 'listener', group)
            for game, group in zip(self._games[0], listeners, strict=True)
        ]
        one_speaker = of_dialogues if self._game.converses else of_speaker
        return joined(
            [
                for_each(partial(one_speaker, games), *seen(games[0], 'speaker', group))
                for games, group in zip(self._games, speakers, strict=True)
            ]
        )

    def _effects(
        self,
        guess: Guess,
        labels: dict[str, Array],
        drawn_by: Sequence[Array | None],
        count: int,
        key: Key,
    ) -> Effects:
        """guess: leaves [I, N, ...] of one listener, the first of intact messages. drawn_by: rivals
        and classes, as of `in_groups`."""
        if not self._game.has_candidates:
            return _effects_on_names(guess, labels)
        assert guess.prediction is not None and guess.candidates is not None
        prediction, candidates = guess.prediction, guess.candidates[0]

        def in_group(rows: Array) -> Effects:
            def scores(one: Array) -> Array:
                return self._game.scores(one[rows], candidates[rows])

            return _compare(jax.vmap(scores)(prediction), jnp.arange(count))

        def in_draw(key: Key) -> Effects:
            drawn: Effects = in_groups(in_group, key, prediction.shape[1], count, *drawn_by)
            return drawn

        drawn = jax.lax.map(in_draw, jax.random.split(key, self._config.redraws))
        correct, change, told = jax.tree.map(lambda leaf: leaf.mean(axis=0), drawn)
        return correct, change, told


def tamper(key: Key, message: Message, game: Game) -> dict[str, Message]:
    """Messages [k, N, ...] by the name of each intervention that means something; see
    `InterventionRecord`."""
    size, length = message.symbols.shape
    return {
        name: one.function(jax.random.fold_in(key, number), jnp.arange(size), message, game)
        for number, (name, one) in enumerate(INTERVENTIONS.items())
        if one.means_something(game, length)
    }


def _compare(logits: Array, own: Array) -> Effects:
    """logits: [I, N, n], the first of intact messages; own: int [N], what is right."""
    chances = jax.nn.softmax(logits)
    correct = losses.is_correct(logits, jnp.broadcast_to(own, logits.shape[:2]))
    change = total_variation(chances, jnp.broadcast_to(chances[:1], chances.shape))
    return correct, change, influence(chances[0])


def _effects_on_names(guess: Guess, all_labels: dict[str, Array]) -> Effects:
    """Listeners that name a class or attributes: means over the attributes, and over labels."""
    parts = []
    for name, logits in guess.logits.items():  # [I, N, n] or [I, N, A, n]
        labels = all_labels[name]
        if logits.ndim == 3:
            parts.append(_compare(logits, labels))
        else:
            of_each = jax.vmap(_compare, (2, 1), -1)(logits, labels)
            parts.append(jax.tree.map(lambda leaf: leaf.mean(axis=-1), of_each))
    correct, change, told = (sum(part) / len(parts) for part in zip(*parts, strict=True))
    return correct, change, told


def _differs(message: Message, other: Message) -> Array:
    """Which messages of [N, ...] differ from the others, bool [N]."""
    size = message.symbols.shape[0]
    pairs = zip(jax.tree.leaves(message), jax.tree.leaves(other), strict=True)
    unlike = [(x != y).reshape(size, -1).any(axis=1) for x, y in pairs]
    return jnp.stack(unlike).any(axis=0)


def _split(array: Array, sizes: dict[str, int]) -> dict[str, Array]:
    """[I, ...] -> name -> [k, ...]."""
    ends = np.cumsum(list(sizes.values()))[:-1]
    return dict(zip(sizes, jnp.split(array, ends), strict=True))
