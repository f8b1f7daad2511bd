"""Seeing, speaking and hearing of many agents, by the contract of a game: greedy, in chunks of a
split. What each agent sees of the referents is computed once, and read by all that follows."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from emcom_jax.data.batches import look_at
from emcom_jax.evaluation.judging import Draws, context_order, in_chunks
from emcom_jax.games.base import Game
from emcom_jax.types import (
    Agent,
    Array,
    Bank,
    Batch,
    Exchange,
    Guess,
    Message,
    Tampering,
    Tree,
)


def see(
    game: Game,
    config: ConfigDict,
    role: str,
    agents: Agent,
    shared: Agent,
    bank: Bank,
    draws: Draws,
    rows: Array | None = None,
    look: Callable[[Agent, Batch], Batch] | None = None,
) -> Array:
    """What the agents [A, ...] of a role see of each referent, [A, N, D]; or [1, N, D] where all of
    them see the same.

    config: the evaluation group; read are `batch_size` and `input_noise`.
    rows: [N], which referents of the bank; None: all.
    look: by what shared they see; None: `game.look`.
    """
    chosen = jnp.arange(len(bank.inputs)) if rows is None else rows

    def batch_of(places: Array) -> Batch:
        rows = chosen[places]
        return look_at(bank, rows, rows, draws.inputs, config.input_noise, game.augmentation)

    return see_all(game, config, role, agents, shared, batch_of, len(chosen), look)


def see_all(
    game: Game,
    config: ConfigDict,
    role: str,
    agents: Agent,
    shared: Agent,
    batch_of: Callable[[Array], Batch],
    size: int,
    look: Callable[[Agent, Batch], Batch] | None = None,
) -> Array:
    """As `see`, of the batches that `batch_of` makes for rows [B] of range(size)."""

    def of_rows(rows: Array) -> Array:
        batch = (look or game.look)(shared, batch_of(rows))
        inputs = batch.speaker_inputs if role == 'speaker' else batch.listener_inputs
        if game.trunks != 'own':
            return inputs[None]
        return jax.lax.map(lambda agent: game.perceive(role, agent, inputs), agents)

    views: Array = in_chunks(of_rows, size, config.batch_size)
    return views


def for_each(function: Callable[[Any, Array], Any], agents: Tree, views: Array) -> Any:
    """Applies a function of an agent and what it sees [N, D] to each of a stack [A, ...], one after
    the other; views: as `see` returns them."""
    if len(views) == 1:
        return jax.lax.map(lambda agent: function(agent, views[0]), agents)
    return jax.lax.map(lambda both: function(*both), (agents, views))


def say(game: Game, config: ConfigDict, speaker: Agent, view: Array) -> Message:
    """What one speaker says of each referent, as it sees them [N, D]; leaves [N, ...].

    config: the evaluation group; read are `batch_size` and `distractors`.
    """
    in_context = config.distractors == 'context'
    order = context_order(len(view)) if in_context else jnp.arange(len(view))

    def of_rows(places: Array) -> Message:
        message = game.say_greedy(speaker, _batch(view, order[places]))
        return jax.tree.map(lambda leaf: leaf[None], message)

    said = in_chunks(of_rows, len(view), config.batch_size)
    back = jnp.argsort(order)
    message: Message = jax.tree.map(lambda leaf: leaf[0][back] if in_context else leaf[0], said)
    return message


def show(game: Game, config: ConfigDict, shared: Agent, message: Message) -> Message:
    """The message [N, ...] with what the shared trunk of its listeners makes of it.

    config: the evaluation group; read is `batch_size`.
    """
    if game.kind != 'drawings':  # There is nothing to see, and no reason to cut it to pieces.
        return message

    def of_rows(rows: Array) -> Message:
        shown = game.show(shared, jax.tree.map(lambda leaf: leaf[rows], message))
        return jax.tree.map(lambda leaf: leaf[None], shown)

    seen = in_chunks(of_rows, message.symbols.shape[0], config.batch_size)
    shown: Message = jax.tree.map(lambda leaf: leaf[0], seen)
    return shown


def hear(
    game: Game, config: ConfigDict, listeners: Agent, views: Array, message: Message, draws: Draws
) -> Guess:
    """What listeners [L, ...] make of a message [N, ...] that `show` has shown them, for each
    referent; leaves [L, N, ...].

    config: the evaluation group; read are `batch_size` and `channel_noise`.
    views: as `see` returns them.
    """

    def of_rows(rows: Array) -> Guess:
        here = jax.tree.map(lambda leaf: leaf[rows], message)

        def of_listener(listener: Agent, view: Array) -> Guess:
            batch = _batch(view, rows)
            return game.hear_greedy(listener, draws.channel, batch, here, config.channel_noise)

        if game.trunks == 'own' and game.kind == 'drawings':
            # Each looks at drawings with its own trunk, whose weights are not to be stacked.
            return jax.lax.map(lambda both: of_listener(*both), (listeners, views))
        if len(views) == 1:
            return jax.vmap(of_listener, (0, None))(listeners, views[0])
        return jax.vmap(of_listener)(listeners, views)

    guess: Guess = in_chunks(of_rows, views.shape[1], config.batch_size)
    return guess


def converse(
    games: tuple[Game, Game],
    config: ConfigDict,
    speaker: Agent,
    view: Array,
    listeners: Agent,
    views: Array,
    among: Array | None,
    draws: Draws,
    tampering: Tampering | None = None,
) -> tuple[Message, Guess, Exchange]:
    """What one speaker and each of listeners [L, ...] say to each other of each referent, and what
    these make of it; leaves [L, N, ...].

    games: of the speaker and of the listeners.
    config: the evaluation group; read are `batch_size` and `channel_noise`.
    view, views: as of `say` and `hear`.
    among: as of `Bank`.
    tampering: see there; dialogues of one chunk are swapped with each other.
    """

    def of_rows(rows: Array) -> tuple[Message, Guess, Exchange]:
        voice = games[0].voice(speaker, _batch(view, rows))

        def with_listener(listener: Agent, view: Array) -> tuple[Message, Guess, Exchange]:
            batch = _batch(view, rows)._replace(among=among)
            noise = config.channel_noise
            return games[1].converse(listener, draws.channel, batch, voice, noise, tampering)

        if len(views) == 1:
            return jax.vmap(with_listener, (0, None))(listeners, views[0])
        return jax.vmap(with_listener)(listeners, views)

    played: tuple[Message, Guess, Exchange] = in_chunks(of_rows, len(view), config.batch_size)
    return played


def _batch(view: Array, rows: Array) -> Batch:
    inputs = view[rows]
    return Batch(inputs, inputs, {}, rows, jnp.ones(rows.shape, jnp.float32))
