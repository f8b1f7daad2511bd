"""The contract of a game: how two agents are made, how they play, and what the play is worth.

A game knows no population and no optimiser. All its functions are pure; arrays that do not change
(the data) come in a Batch. `updates.py` differentiates `terms(play(...))` with respect to speaker,
listener and shared, and never with respect to the target.
"""

from collections.abc import Callable
from typing import Protocol

from ml_collections import ConfigDict

from emcom_jax.data.augmentation import Augmentation
from emcom_jax.types import (
    Agent,
    Array,
    Batch,
    Episode,
    Exchange,
    Guess,
    Key,
    Message,
    Pair,
    Tampering,
    Term,
)

AXIS = 'i'  # The mapped axis of devices.
# (turn int32 [], what it has heard [B, V]) -> what a speaker says [B, V], and log-odds of that.
Voice = Callable[[Array, Array], tuple[Array, Array]]


class Game(Protocol):
    """What `population`, `updates` and `evaluation` call.

    kind: kind of message, as in `EvalRecord.kind`.
    vocab_size: number of symbols, 0 where the kind has none.
    variable_length: whether symbol 0 ends a message.
    has_candidates: whether the listener picks a referent among candidates (else it names it).
    reads_target: whether the loss reads the EMA speaker (no target is unrolled otherwise).
    trunks: whose trunk turns images into features: 'shared', 'own' (each agent's) or 'none'.
    trunk_learns: whether what is shared does.
    backbone_stays: whether what `backbone` makes of images stays the same in training.
    reads_images: whether a loss reads the images where agents are given features of them.
    augmentation: of what agents see in evaluation, or None.
    converses: whether what a speaker says depends on who listens, so that evaluation calls `voice`
        and `converse`, which no other game has, in place of `say_greedy` and `hear_greedy`.
    """

    kind: str
    vocab_size: int
    variable_length: bool
    has_candidates: bool
    reads_target: bool
    trunks: str
    trunk_learns: bool
    backbone_stays: bool
    reads_images: bool
    augmentation: Augmentation | None
    converses: bool

    def init_speaker(self, key: Key, batch: Batch) -> Agent: ...

    def init_listener(self, key: Key, batch: Batch) -> Agent: ...

    def init_shared(self, key: Key, batch: Batch) -> Agent: ...

    def play(
        self, pair: Pair, key: Key, batch: Batch, step: Array, forced: Message | None = None
    ) -> tuple[Episode, Pair]:
        """Plays in training: explores, or follows `forced`. Returns the pair with new states."""
        ...

    def look(self, shared: Agent, batch: Batch) -> Batch:
        """What the shared trunk makes of what is seen, in evaluation: features [B, D] in place of
        images. The same batch where nothing is shared, or they are features already."""
        ...

    def backbone(self, shared: Agent, batch: Batch) -> Batch:
        """That part of `look` which may be computed once and for all if it does not learn: features
        from which `play` goes on, too."""
        ...

    def perceive(self, role: str, agent: Agent, inputs: Array) -> Array:
        """What an agent's own trunk makes of its inputs, in evaluation: features [B, D]. The same
        inputs if it has none, or they are features already; agents go on from features."""
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
        """The message that a speaker finds likeliest of a batch that `look` has seen."""
        ...

    def show(self, shared: Agent, message: Message) -> Message:
        """The message with what the shared trunk makes of it, in evaluation: what all listeners of
        a population see of a drawing. The same message where there is nothing to see."""
        ...

    def hear_greedy(
        self, listener: Agent, key: Key, batch: Batch, message: Message, channel_noise: float
    ) -> Guess:
        """What a listener makes of a message that `show` has seen, whoever said it (the speaker may
        be of another game object), in evaluation: no chance but that of the channel's noise. The
        batch is one that `look` has seen; the speaker's inputs are not read."""
        ...

    def voice(self, speaker: Agent, batch: Batch) -> Voice:
        """What a speaker answers, in evaluation, about a batch that `look` has seen."""
        ...

    def converse(
        self,
        listener: Agent,
        key: Key,
        batch: Batch,
        voice: Voice,
        channel_noise: float,
        tampering: Tampering | None = None,
    ) -> tuple[Message, Guess, Exchange]:
        """A whole conversation with a listener, in evaluation, whoever the voice belongs to (the
        speaker may be of another game object): no chance but that of the channel's noise, and of
        whose dialogues are swapped."""
        ...

    def imitation_loss(self, speaker: Agent, message: Message, batch: Batch) -> Array:
        """Cross-entropy [B] of a student on another speaker's message, of a batch that `look` has
        seen."""
        ...


# Of each of G groups of speakers with each of H groups of listeners, [G][H]: games that differ in
# the networks of their agents alone.
Games = tuple[tuple[Game, ...], ...]


def is_frozen(config: ConfigDict, role: str) -> bool:
    """Whether no agent of a role ('speaker' or 'listener') ever learns: all stay as they are, and
    play as in evaluation, by what they have stored."""
    if role == 'speaker':
        return config.loss.speaker.name == 'none'
    return config.population.listener_learns == ()


def table_of(game: Game | Games) -> Games:
    """The table of games of a population without groups has one entry."""
    return game if isinstance(game, tuple) else ((game,),)
