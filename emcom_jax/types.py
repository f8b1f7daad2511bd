"""Every record that crosses a file, each field with its shape, unit and meaning.

Dimension key, used in every docstring; the batch axis comes first, always:

    B  batch        C  candidates   T  symbols of a message   V  vocabulary
    D  features     K  turns        S  speakers               L  listeners
    P  pairs a step N  examples of a split or metric           A  attributes
    H W canvas      R  replicas

A record that JAX transforms is a NamedTuple of arrays (hence a pytree); a record that stays on the
host holds NumPy arrays.
"""

from typing import Any, NamedTuple

import jax
import numpy as np

Array = jax.Array
Key = jax.Array  # A PRNG key; consumed when used.
Tree = Any  # A pytree of arrays: parameters, states, optimiser states.


# --- data -----------------------------------------------------------------------------------------


class Split(NamedTuple):
    """One split of a data source, on the host.

    inputs: [N, D] float16 or float32 features, or [N, H, W, 3] uint8 pictures (RGB); may be a
        memory map.
    labels: name -> int32 [N] (a class) or [N, A] (one value for each attribute).
    listener_inputs: [N, D'], what listeners see of the same referents where that is something else
        than what speakers see, such as features of another network; else None.
    """

    inputs: np.ndarray
    labels: dict[str, np.ndarray]
    listener_inputs: np.ndarray | None = None


class Source(NamedTuple):
    """A dataset as the games see it.

    name: the key in `data.SOURCES`.
    splits: 'train', 'valid', 'test' and perhaps more (such as 'test_official' or 'ood').
    num_values: label name -> number of values it takes (one number for a class; for attributes the
        largest number over the A attributes).
    image_shape: (height, width[, channels]) when `inputs` are flattened pictures that a report can
        show; (height, width, 3) when they are pictures; else None.
    synsets: label name -> the WordNet 3.0 synset of each of its values, as NLTK writes it, such as
        {'class': ('car.n.01', ...)}, or as ImageNet does ('n02084071'); None where they are not
        known.
    class_descriptions: a sentence for each value of the label 'class', which does not name it; or
        None.
    descriptions: split -> a sentence for each of its N examples; or None.
    map_shape: (places, channels) when `inputs` begin with a flattened map of features, to which an
        agent can attend place by place; what follows it is the context. None: there is no map.
    """

    name: str
    splits: dict[str, Split]
    num_values: dict[str, int]
    image_shape: tuple[int, ...] | None = None
    synsets: dict[str, tuple[str, ...]] | None = None
    class_descriptions: tuple[str, ...] | None = None
    descriptions: dict[str, tuple[str, ...]] | None = None
    map_shape: tuple[int, int] | None = None


class Partners(NamedTuple):
    """Which examples go together: those of one group, such as a class, or with each those that are
    nearest to it.

    order: [M] int32, rows, one company after another (M is N if they are groups).
    place: [N] int32, where in that order each row stands in its own company.
    start, size: [N] int32, where the company of each row begins in that order, and how many it has.
    group: [N] int32, a division of all examples into groups, by number.
    """

    order: Array
    place: Array
    start: Array
    size: Array
    group: Array


class Classes(NamedTuple):
    """Examples by their class, for games with one image of each class.

    order: [N] int32, the rows, class after class.
    start, size: [K] int32, where each class begins in that order, and how many examples it has.
    number: [N] int32, the class of each row, in range(K); only classes that occur are counted.
    """

    order: Array
    start: Array
    size: Array
    number: Array


class Sight(NamedTuple):
    """What agents see of the examples of a split, on a device.

    inputs: [N, D] in the storage dtype, or [N, H, W, 3] uint8 images.
    deviation: [D] float32 (of images [3], by channel, pixels counting from 0 to 1), standard
        deviation of each feature over the split: the unit of noise.
    shift, scale: as deviation; agents see (inputs - shift) / scale.
    """

    inputs: Array
    deviation: Array
    shift: Array
    scale: Array


class Bank(NamedTuple):
    """One split on a device, from which batches are drawn inside compiled code.

    sight: what speakers see.
    labels: name -> int32 [N] or [N, A].
    listener_sight: what listeners see where that is something else, else None.
    partners: of which other examples the listener sees one in place of the speaker's, or None where
        both see the same.
    rivals: which examples are hard to tell apart, or None where all distractors are drawn alike.
    classes: of which a game has one image each, or None where candidates are of any class.
    images: the images of what `sight` holds features of, where a loss reads them; else None.
    among: [D] bool, the classes among whose descriptions a listener chooses, or None: all.
    """

    sight: Sight
    labels: dict[str, Array]
    listener_sight: Sight | None = None
    partners: Partners | None = None
    rivals: Partners | None = None
    classes: Classes | None = None
    images: Sight | None = None
    among: Array | None = None

    @property
    def inputs(self) -> Array:
        """What speakers see, as it is stored."""
        return self.sight.inputs

    @property
    def size(self) -> int:
        """N."""
        return self.sight.inputs.shape[0]


class Batch(NamedTuple):
    """What a pair plays on.

    speaker_inputs: [B, D] or [B, H, W, 3] float32, what the speaker sees of each referent.
    listener_inputs: the same of the listener (with its own noise, in its own view of the referent).
    labels: name -> int32 [B] or [B, A].
    position: [B] int32, the example's place in the batch of the whole step (over all devices): the
        keys of its random draws are folded from it, so they do not depend on the number of devices.
    weight: [B] float32, 1 for an example that counts and 0 for padding.
    images: [B, H, W, 3] float32, what the speaker's features are of, where a loss reads it; else
        None.
    among: [D] bool, as of `Bank`.
    """

    speaker_inputs: Array
    listener_inputs: Array
    labels: dict[str, Array]
    position: Array
    weight: Array
    images: Array | None = None
    among: Array | None = None


# --- play -----------------------------------------------------------------------------------------


class Message(NamedTuple):
    """What the speaker said.

    symbols: [B, T] int32 in [0, V); 0 after the end of the message, and where there are none.
    relaxed: [B, T, V] float32, the vectors that carry the gradient on a differentiable channel
        (Gumbel-softmax weights, one-hot forward if straight-through; real vectors if continuous);
        None on a channel of sampled symbols. In a dialogue the bits of each turn, T being K. Of a
        drawing, the T strokes: the coordinates (row, column) of their control points in [-1, 1],
        and, if there are gates, a last value in [0, 1]: how much of the stroke is drawn.
    mask: [B, T] float32, 1 up to and including the end of the message, 0 after it. Of a drawing, 1
        for the strokes that are drawn.
    end: [B, T] float32, weight with which the message ends at each symbol; rows sum to 1. One-hot,
        except for a variable-length relaxed message in training, through which the decision to end
        is differentiated.
    seen: [B, D] float32, what a trunk that all listeners share makes of the drawing; else None.
    """

    symbols: Array
    relaxed: Array | None
    mask: Array
    end: Array
    seen: Array | None = None


class Utterance(NamedTuple):
    """A message and the speaker's account of it.

    log_policy: [B, T, V] float32, log-probability of every symbol at every position.
    value: [B, T] float32, predicted reward, or None without a value head.
    q_values: [B, T, V] float32, predicted reward of each symbol, or None without a dueling head.
    """

    message: Message
    log_policy: Array
    value: Array | None
    q_values: Array | None


class Guess(NamedTuple):
    """What the listener made of a message.

    prediction: [B, D] float32, the message as a point in the space of candidates, or None.
    candidates: [B, D] float32, each referent of the batch as a point in that space, or None.
    logits: label name -> [B, n] (a class) or [B, A, n] (attributes) float32, for heads that name
        the referent rather than pick it; empty otherwise.
    early: of an impatient listener, what it made of the message after each symbol: `prediction`
        and `logits` with a leading axis [T, ...], in a Guess of their own; else None.
    memory: [M, D] float32, candidates of earlier steps, who are distractors too (no gradient; rows
        of zeros are not filled yet), or None.
    """

    prediction: Array | None
    candidates: Array | None
    logits: dict[str, Array]
    early: Any = None
    memory: Array | None = None


class Exchange(NamedTuple):
    """What passed in a dialogue of K turns besides what the speaker said. All turns are played;
    the mask of the message tells which of them counted.

    said_logits: [B, K, V] float32, log-odds of each bit that the speaker may say.
    answers: [B, K, V] float32, what the listener says after each turn (the last is never heard).
    answer_logits: [B, K, V] float32, log-odds of that.
    go_logits: [B, K] float32, log-odds that the listener asks for another turn.
    goes_on: [B, K] float32, 1 where it does so; after the last turn that changes nothing.
    choices: [B, K, D] float32, logits of the classes after each turn; of those that are not to be
        chosen from -1e9.
    said_value, answer_value: [B, K] float32, the reward that each agent predicts, or None.
    """

    said_logits: Array
    answers: Array
    answer_logits: Array
    go_logits: Array
    goes_on: Array
    choices: Array
    said_value: Array | None = None
    answer_value: Array | None = None


class Tampering(NamedTuple):
    """What is done to a dialogue of K turns on its way.

    swapped: [K] bool, turns in which the listener hears what is said in another dialogue.
    silenced: [K] bool, turns in which it hears zeros.
    flipped: [K, V] bool, bits that it hears flipped.
    unanswered: [K] bool, turns after which the speaker hears zeros.
    """

    swapped: Array
    silenced: Array
    flipped: Array
    unanswered: Array


class Episode(NamedTuple):
    """All that a loss or a metric reads of one play of one batch by one pair.

    target_log_policy: [B, T, V] float32, the EMA speaker's log-probabilities along the message that
        was said (teacher-forced; no gradient), or None where nothing reads them.
    heard: the message as the listener received it (after channel noise).
    maps: of each block of a trunk, what it makes of the drawing and of what is drawn, two of
        [B, h, w, channels] float32 (no gradient of the second), or None where no loss reads it.
    exchange: what else passed in a dialogue; None where only the speaker speaks.
    """

    utterance: Utterance
    target_log_policy: Array | None
    heard: Message
    guess: Guess
    maps: tuple[tuple[Array, Array], ...] | None = None
    exchange: Exchange | None = None


class Term(NamedTuple):
    """A per-example quantity: part of the loss, a scalar to log, or both.

    value: [B] float32.
    weight: [B] float32, how much each example counts in the mean (0 for padding).
    coefficient: factor of the mean in the total loss; 0 for a quantity that is only logged.
    """

    value: Array
    weight: Array
    coefficient: float = 0.0


# --- agents and populations -----------------------------------------------------------------------


class Agent(NamedTuple):
    """Parameters and state (batch statistics and the like) of one agent, or of a stack of them."""

    params: Tree
    state: Tree


class Pair(NamedTuple):
    """Who plays. `target`: parameters of the EMA speaker; `shared`: a trunk of the population."""

    speaker: Agent
    listener: Agent
    target: Tree
    shared: Agent


class Learner(NamedTuple):
    """An agent with what its learning needs; stacked along a leading axis in a population.

    accuracy: [] float32, exponential moving average of its training accuracy (decay 0.99) over the
        games that it learnt from; nan before the first.
    updates: [] int32, number of gradient updates since it was initialised.
    """

    agent: Agent
    opt_state: Tree
    accuracy: Array
    updates: Array


class Population(NamedTuple):
    """speakers [S, ...] and listeners [L, ...] are stacks; targets [S, ...] the EMA speakers'
    parameters; shared is one trunk (unstacked), with empty trees when a game shares nothing."""

    speakers: Learner
    listeners: Learner
    targets: Tree
    shared: Learner


class Groups(NamedTuple):
    """A population of agents of several architectures: what `Population` has, but of speakers,
    listeners and targets a stack for each group. Agents are numbered through, group after group."""

    speakers: tuple[Learner, ...]
    listeners: tuple[Learner, ...]
    targets: tuple[Tree, ...]
    shared: Learner


Members = Population | Groups


# --- evaluation -----------------------------------------------------------------------------------


class EvalRecord(NamedTuple):
    """What one evaluation of a population on one split leaves behind, on the host.

    Metrics and reports are made from it, without the model. Saved as `records/<split>.npz`.

    split, step: which split, after how many training steps.
    kind: kind of message: 'symbols', 'bits', 'drawings' or 'continuous'.
    vocab_size: V (0 where the kind has no vocabulary).
    variable_length: whether symbol 0 ends a message (else it is a word like the others).
    messages: [S, N, T] int32, greedy, 0 after the end ('symbols'); [S, N, T, V] float32 otherwise.
    lengths: [S, N] int32, symbols of each message, the end symbol included.
    meanings: [N, D] float32, the referents as stored (no noise); of images, what the first speaker
        makes of them.
    labels: name -> int32 [N] or [N, A].
    num_candidates: the Q numbers of candidates played with, largest last; (0,) for a task without
        candidates (classification).
    correct: [Q, S, L, N] float32 in [0, 1], share of the draws of candidates in which listener l
        picked referent n from speaker s's message (for attributes: share of attributes right).
    loss: [Q, S, L, N] float32, mean over those draws of the listener's loss, nats.
    vote: [Q, S, N] float32 in [0, 1], the same share when all listeners decide together, by the
        mean of their probabilities.
    listener_meanings: [N, D'] float32, of images, what the first listener makes of them; else None.
    images: [M, h, w, 3] uint8, a random sample of the referents made small, if they are images.
    image_rows: [M] int, which referents those are, in their order; None without images.
    synsets: label name -> the WordNet name of each of its values; empty where they are not known.
    games: of drawings, M of the games that were played with the most candidates, for people to look
        at; empty otherwise. 'rows' [M], the referents; 'images' [I, h, w, 3] uint8, of the
        referents 'image_rows' [I]; of these, 'shown' [M] is what the speaker saw and 'candidates'
        [M, C] what the listeners chose among; of which 'target' [M] is right, and 'picked'
        [S, L, M] what they chose, in range(C); int32.
    exchange: of dialogues, in which what speaker s says is what it says to listener s mod L, also
        float32 'said' and 'answered' [S, N, K, V], probabilities of bits; 'answers' [S, N, K, V];
        'going_on' [S, N, K], the probability that the listener asks for another turn; 'beliefs'
        [S, N, K, D], its distribution over classes after each turn; and bool 'among' [D], the
        classes to choose from. T is K, and all turns are there, those after the end included.
    """

    split: str
    step: int
    kind: str
    vocab_size: int
    variable_length: bool
    messages: np.ndarray
    lengths: np.ndarray
    meanings: np.ndarray
    labels: dict[str, np.ndarray]
    num_candidates: tuple[int, ...]
    correct: np.ndarray
    loss: np.ndarray
    vote: np.ndarray
    listener_meanings: np.ndarray | None = None
    images: np.ndarray | None = None
    image_rows: np.ndarray | None = None
    synsets: dict[str, tuple[str, ...]] = {}
    games: dict[str, np.ndarray] = {}
    exchange: dict[str, np.ndarray] = {}


class NoiseRecord(NamedTuple):
    """How a population understands itself about images that mean nothing, on the host.

    num_candidates: the Q numbers of candidates played with, all of them images of the same rung.
    correct: name of a rung of `data.noise.LADDER` -> [Q, S, L, N] float32 in [0, 1], as in
        `EvalRecord`; N may differ between rungs.
    """

    num_candidates: tuple[int, ...]
    correct: dict[str, np.ndarray]


class InterventionRecord(NamedTuple):
    """What became of guesses when messages were tampered with on their way, on the host.

    Each field but two is by the name of the intervention, with an axis `k` for what it does in so
    many ways: 'intact' (k = 1: nothing was done), 'replaced' (k = T: the symbol at each position),
    'swapped', 'shuffled', 'silenced' (k = 1), 'erased' (k = T: each stroke), 'erased_group' (k = 4:
    a quarter of the strokes, by length). Those that mean nothing for a channel are missing.

    num_candidates: C, or 0 for a task without candidates.
    altered: name -> [k, S, N] bool, whether the message became another one.
    correct: name -> [k, S, L, N] float32 in [0, 1], as in `EvalRecord`.
    change: name -> [k, S, L, N] float32 in [0, 1], total variation distance between the listener's
        distributions over candidates (or values of a label), tampered with and intact.
    influence: [S, L, N] float32 bits, what the intact message tells about the guess.
    """

    num_candidates: int
    altered: dict[str, np.ndarray]
    correct: dict[str, np.ndarray]
    change: dict[str, np.ndarray]
    influence: np.ndarray
