"""The contract of a game: how two agents are made, how they play, and what the play is worth.

A game knows no population and no optimiser. All its functions are pure; arrays that do not change
(the data) come in a Batch. `updates.py` differentiates `terms(play(...))` with respect to speaker,
listener and shared, and never with respect to the target.
"""

from typing import Protocol

from emcom_jax.types import Agent, Array, Batch, Episode, Guess, Key, Message, Pair, Term

AXIS = 'i'  # The mapped axis of devices.


class Game(Protocol):
    """What `population`, `updates` and `evaluation` call.

    kind: kind of message, as in `EvalRecord.kind`.
    vocab_size: number of symbols, 0 where the kind has none.
    variable_length: whether symbol 0 ends a message.
    has_candidates: whether the listener picks a referent among candidates (else it names it).
    reads_target: whether the loss reads the EMA speaker (no target is unrolled otherwise).
    """

    kind: str
    vocab_size: int
    variable_length: bool
    has_candidates: bool
    reads_target: bool

    def init_speaker(self, key: Key, batch: Batch) -> Agent: ...

    def init_listener(self, key: Key, batch: Batch) -> Agent: ...

    def init_shared(self, key: Key, batch: Batch) -> Agent: ...

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        """Plays in training: explores, or follows `forced`. Returns the pair with new states."""
        ...

    def play_greedy(self, pair: Pair, key: Key, batch: Batch, channel_noise: float) -> Episode:
        """Plays in evaluation: no chance but that of the channel's noise."""
        ...

    def terms(
        self, episode: Episode, key: Key, batch: Batch, axis_name: str | None
    ) -> dict[str, Term]:
        """Returns what the play is worth: the terms of the loss and what else is logged. One is
        called 'accuracy'."""
        ...

    def scores(self, prediction: Array, candidates: Array) -> Array:
        """For a task with candidates: logits [..., B, C] of the listener's choice."""
        ...

    def say_greedy(self, speaker: Agent, batch: Batch) -> Message:
        """The message that a speaker finds likeliest, for others to imitate, or to hear."""
        ...

    def hear_greedy(
        self, listener: Agent, key: Key, batch: Batch, message: Message, channel_noise: float
    ) -> Guess:
        """What a listener makes of a message, whoever said it: `play_greedy` without its speaker,
        who may be of another game object. The speaker's inputs are not read."""
        ...

    def imitation_loss(self, speaker: Agent, message: Message, batch: Batch) -> Array:
        """Cross-entropy [B] of a student on another speaker's message."""
        ...


# Of each of G groups of speakers with each of H groups of listeners, [G][H]: games that differ in
# the networks of their agents alone.
Games = tuple[tuple[Game, ...], ...]


def table_of(game: Game | Games) -> Games:
    """The table of games of a population without groups has one entry."""
    return game if isinstance(game, tuple) else ((game,),)
