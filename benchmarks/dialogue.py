"""Steps per second of the dialogue game: one compiled scan over turns beside a dispatch for each.

    python -m benchmarks.dialogue             the published sizes, 1, 3 and 10 turns
    python -m benchmarks.dialogue 5           another number of turns

The loop is how the code released with the paper (2018) trains: the host calls the speaker, then the
listener, turn by turn, and what each leaves behind is differentiated turn by turn. Here each of
these calls is compiled, bits are drawn on the device, and equations and optimisers are ours, so
that only the way of executing turns differs. All turns are played (`configs/dialogue.py:fixed`),
about 30 classes, from 512 random features.
"""

import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.population import rate
from configs.dialogue import get_config
from emcom_datasets.shapes_classes import CLASSES
from emcom_jax import channels, population, steps, updates
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import draw
from emcom_jax.games.dialogue import DialogueGame
from emcom_jax.optimizers import make_optimizer
from emcom_jax.types import Episode, Exchange, Guess, Message, Source, Split, Utterance

TURNS = (1, 3, 10)
FEATURES, EXAMPLES = 512, 3000


def set_up(turns: int) -> Any:
    config = get_config('fixed')
    config.channel.length = turns
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((EXAMPLES, FEATURES), np.float32)
    labels = {'class': (np.arange(EXAMPLES) % len(CLASSES)).astype(np.int32)}
    said = tuple(one.description for one in CLASSES)
    split, values = Split(inputs, labels), {'class': len(CLASSES)}
    source = Source('random', {'train': split}, values, class_descriptions=said)
    game = DialogueGame(config, source)
    optimizers = population.Optimizers(
        *(
            make_optimizer(config.optimizer[role], config.training_steps, config.data.batch_size)
            for role in ('speaker', 'listener', 'shared')
        )
    )
    bank = make_bank(split, 'float32')

    def batch(bank: Any, key: Any, step: Any) -> Any:
        return draw(bank, key, step, config.data.batch_size, 0.0, None)

    two = draw(bank, jax.random.key(1), jnp.zeros((), int), 2, 0.0, None)
    members = population.init_population(game, optimizers, jax.random.key(0), two, 1, 1)
    return config, game, optimizers, bank, batch, members


def scanned(turns: int) -> float:
    """Steps per second of one compiled call for many steps, which scan over turns."""
    config, game, optimizers, bank, batch, members = set_up(turns)
    meetings = population.make_meetings(config.population)
    communicate = updates.communicate(game, optimizers, meetings, 'unroll', 0.99, None)
    many = jax.jit(steps.make_steps(communicate, [], batch, 'unroll').many, donate_argnums=0)
    state, calls = [jax.tree.map(lambda leaf: leaf[None], members)], [0]

    def run(count: int) -> None:
        key = jax.random.key(2)[None]
        state[0], done, _ = many(state[0], bank, key, np.int32(calls[0]), np.int32(count))
        assert int(done) == count
        calls[0] += count

    return rate(run)


def make_step(config: Any, game: DialogueGame) -> Callable[..., Any]:
    """(params of speaker and listener, batch, key) -> (loss, gradients), a call for each turn of
    each agent, forward and backward."""
    see, speak = game._speaker.apply
    read, hear, _ = game._listener.apply

    @jax.jit
    def begin(params: Any, inputs: Any) -> Any:
        seen, back_seen = jax.vjp(lambda p: see(p, inputs), params[0])
        known, back_known = jax.vjp(read, params[1])
        return seen, known, back_seen, back_known

    @jax.jit
    def say(params: Any, seen: Any, turn: Any, heard: Any, position: Any, key: Any) -> Any:
        said, back = jax.vjp(lambda p, s: speak(p, s, turn, heard), params, seen)
        return sample(said[0], position, key), said, back

    @jax.jit
    def answer(params: Any, known: Any, memory: Any, heard: Any, position: Any, key: Any) -> Any:
        def listen(p: Any, k: Any, m: Any) -> Any:
            return hear(p, k, m, heard, None)

        heard_of, back = jax.vjp(listen, params, known, memory)
        return sample(heard_of[3], position, key), heard_of, back

    def sample(logits: Any, position: Any, key: Any) -> Any:
        noise = channels.logistic_noise(key, position, logits.shape[1:])
        return channels.transmit_bits(config.channel.kind, logits, noise, 1.0)

    @jax.jit
    def judge(said: Any, replies: Any, bits: Any, answers: Any, batch: Any) -> Any:
        """The loss, and its gradients with respect to what agents put out in each turn."""

        def loss(said: Any, replies: Any) -> Any:
            logits, values = (jnp.stack(each, 1) for each in zip(*said, strict=True))
            choices, goes, answered, expected = (
                jnp.stack(each, 1) for each in list(zip(*replies, strict=True))[1:]
            )
            ones = jnp.ones(goes.shape)
            last = jnp.zeros(goes.shape).at[:, -1].set(1.0)
            message = Message(ones.astype(int), jnp.stack(bits, 1), ones, last)
            heard = jnp.stack(answers, 1)
            exchange = Exchange(logits, heard, answered, goes, ones, choices, values, expected)
            guess = Guess(None, None, {'class': choices[:, -1]})
            utterance = Utterance(message, logits, values, None)
            episode = Episode(utterance, None, message, guess, exchange=exchange)
            terms = game.terms(episode, jax.random.key(0), batch, None)
            return sum(t.coefficient * t.value.mean() for t in terms.values())

        return jax.value_and_grad(loss, (0, 1))(said, replies)

    back_through = jax.jit(lambda back, gradient: back(gradient))
    back_through_listener = jax.jit(
        lambda back, gradient, later: back((gradient[0] + later, *gradient[1:]))
    )
    total = jax.jit(lambda trees: jax.tree.map(lambda *leaves: sum(leaves), *trees))

    def step(params: Any, batch: Any, key: Any) -> Any:
        turns, position = config.channel.length, batch.position
        seen, known, back_seen, back_known = begin(params, batch.speaker_inputs)
        heard = jnp.zeros((position.shape[0], config.channel.vocab_size))
        memory = jnp.zeros((position.shape[0], config.listener.hidden_size))
        bits, answers, said, replies, back_said, back_replies = ([] for _ in range(6))
        keys = jax.random.split(key, 2 * turns)
        for turn in range(turns):
            one, out, back = say(params[0], seen, turn, heard, position, keys[2 * turn])
            bits, said, back_said = [*bits, one], [*said, out], [*back_said, back]
            one_key = keys[2 * turn + 1]
            heard, out, back = answer(params[1], known, memory, one, position, one_key)
            memory, answers = out[0], [*answers, heard]
            replies, back_replies = [*replies, out], [*back_replies, back]
        loss, (of_said, of_replies) = judge(said, replies, bits, answers, batch)
        of_memory, by_turn = jnp.zeros_like(memory), []
        for turn in reversed(range(turns)):
            one = back_through(back_said[turn], of_said[turn])
            two = back_through_listener(back_replies[turn], of_replies[turn], of_memory)
            of_memory = two[2]
            by_turn.append((one, two[:2]))
        (speaker, of_seen), (listener, of_known) = total(by_turn)
        speaker = total([speaker, back_through(back_seen, of_seen)[0]])
        listener = total([listener, back_through(back_known, of_known)[0]])
        return loss, (speaker, listener)

    return step


def dispatched(turns: int) -> float:
    """Steps per second with compiled calls for each turn."""
    config, game, optimizers, bank, batch, members = set_up(turns)
    one = jax.tree.map(lambda leaf: leaf[0], (members.speakers, members.listeners))
    step = make_step(config, game)
    draw_batch = jax.jit(batch)

    @jax.jit
    def update(gradients: Any, learners: Any, number: Any) -> Any:
        return tuple(
            updates.learn(
                optimizer,
                learner,
                updates.Results(gradient, {}, jnp.zeros(()), jnp.array(True)),
                number,
            )
            for optimizer, learner, gradient in zip(
                optimizers[:2], learners, gradients, strict=True
            )
        )

    state, calls = [one], [0]

    def run(count: int) -> None:
        for _ in range(count):
            calls[0] += 1
            number = np.int32(calls[0])
            games = draw_batch(bank, jax.random.key(3), number)
            params = tuple(learner.agent.params for learner in state[0])
            key = jax.random.fold_in(jax.random.key(2), calls[0])
            _, gradients = step(params, games, key)
            state[0] = update(gradients, state[0], number)
        jax.block_until_ready(state[0])

    return rate(run)


def main(turns: list[int]) -> None:
    print(f'{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
    print('steps per second (one pair); the ratio is to a dispatch for each turn')
    print('turns  each turn   one scan  ratio')
    for number in turns:
        loop, ours = dispatched(number), scanned(number)
        print(f'{number:5} {loop:10.1f} {ours:10.1f} {ours / loop:6.2f}', flush=True)


if __name__ == '__main__':
    main(list(map(int, sys.argv[1:])) or list(TURNS))
