"""Speaking and hearing of many agents, by the contract of a game: greedy, in chunks of a split."""

import jax
from ml_collections import ConfigDict

from emcom_jax.data.bank import look_at
from emcom_jax.evaluation.judging import Draws, in_chunks
from emcom_jax.games.base import Game
from emcom_jax.types import Agent, Array, Bank, Guess, Message


def say(game: Game, config: ConfigDict, speaker: Agent, bank: Bank, draws: Draws) -> Message:
    """What one speaker says of each referent; leaves [N, ...].

    config: the evaluation group; read are `batch_size` and `input_noise`.
    """

    def of_rows(rows: Array) -> Message:
        batch = look_at(bank, rows, rows, draws.inputs, config.input_noise)
        return jax.tree.map(lambda leaf: leaf[None], game.say_greedy(speaker, batch))

    said = in_chunks(of_rows, len(bank.inputs), config.batch_size)
    message: Message = jax.tree.map(lambda leaf: leaf[0], said)
    return message


def hear(
    game: Game, config: ConfigDict, listeners: Agent, message: Message, bank: Bank, draws: Draws
) -> Guess:
    """What listeners [L, ...] make of a message [N, ...] for each referent; leaves [L, N, ...].

    config: the evaluation group; read are `batch_size`, `input_noise` and `channel_noise`.
    """

    def of_rows(rows: Array) -> Guess:
        batch = look_at(bank, rows, rows, draws.inputs, config.input_noise)
        here = jax.tree.map(lambda leaf: leaf[rows], message)

        def of_listener(listener: Agent) -> Guess:
            guess = game.hear_greedy(listener, draws.channel, batch, here, config.channel_noise)
            return guess._replace(early=None)

        return jax.vmap(of_listener)(listeners)

    guess: Guess = in_chunks(of_rows, len(bank.inputs), config.batch_size)
    return guess
