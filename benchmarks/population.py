"""Pair updates per second: the stacked population beside the pair loop of 2022.

    python -m benchmarks.population            both sizes, 1, 10 and 50 pairs
    python -m benchmarks.population small      agents of one size

The pair loop is how the code released with Emergent communication at scale (2022) trains: agents
lie in Python lists, each step draws the ids of its pairs, fetches them, and dispatches compiled
calls for each pair. It is measured with our update, so that only the way of executing pairs
differs; and for one pair of large agents also with its cosine, a broadcast [B, B, D] difference.

A paper-size pair update is 103 GFLOP; its rate is set beside that of a large float32 matmul.
"""

import functools
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from emcom_jax import config as config_lib
from emcom_jax import losses, population, steps, updates
from emcom_jax.data.bank import make_bank
from emcom_jax.data.batches import draw
from emcom_jax.games import lewis
from emcom_jax.games.referential import ReferentialGame
from emcom_jax.optimizers import make_optimizer
from emcom_jax.types import Population, Source, Split

SIZES: dict[str, dict[str, Any]] = {
    'small': {
        'data.batch_size': 32,
        'channel.length': 4,
        'speaker.hidden_size': 64,
        'listener.hidden_size': 64,
        'listener.projection_sizes': (64,),
    },
    'paper': {
        'data.batch_size': 1024,
        'speaker.hidden_size': 256,
        'listener.hidden_size': 512,
        'listener.projection_sizes': (256,),
        'loss.listener.temperature': 0.5,
        'optimizer.speaker.learning_rate': 1e-4,
        'optimizer.listener.learning_rate': 1e-4,
    },
}
FEATURES = {'small': 64, 'paper': 2048}
GIGAFLOPS = {'small': None, 'paper': 103.0}
PAIRS = (1, 10, 50)
SECONDS = 6.0  # That a measurement lasts at least.


def broadcast(config: Any, source: Source) -> ReferentialGame:
    """The same game with the score of 2022: -||p/|p| - t/|t|||^2, all differences in memory."""

    def loss(guess: Any, *_: Any) -> losses.Outcome:
        unit = [
            x * jax.lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-12))
            for x in (guess.prediction, guess.candidates)
        ]
        scores = -((unit[0][:, None, :] - unit[1][None, :, :]) ** 2).sum(-1)
        own = jnp.arange(scores.shape[0])
        return losses.Outcome(losses.classification(scores, own), losses.is_correct(scores, own))

    game = lewis.make(config, source)
    game._listener_loss = game._listener_loss._replace(function=loss)
    return game


def set_up(
    size: str,
    pairs: int,
    make: Callable[..., ReferentialGame] = lewis.make,
    changes: Mapping[str, Any] | None = None,
) -> Any:
    common = SIZES[size] | {
        'population.num_speakers': pairs,
        'population.num_listeners': pairs,
        'population.pairs_per_step': pairs,
    }
    config = config_lib.recipe('this', {'this': common | dict(changes or {})})
    inputs = np.random.default_rng(0).standard_normal((4096, FEATURES[size]), np.float32)
    source = Source('random', {'train': Split(inputs, {})}, {})
    game = make(config, source)
    roles = ('speaker', 'listener', 'shared')
    optimizers = population.Optimizers(
        *(
            make_optimizer(config.optimizer[role], config.training_steps, config.data.batch_size)
            for role in roles
        )
    )
    if config.loss.speaker.name == 'none':
        optimizers = optimizers._replace(speaker=None)
    bank = make_bank(source.splits['train'], 'float32')
    batch = functools.partial(draw, batch_size=config.data.batch_size, noise=0.0, axis_name=None)

    def members(speakers: int, listeners: int) -> Any:
        two = draw(bank, jax.random.key(1), jnp.zeros((), int), 2, 0.0, None)
        init = functools.partial(population.init_population, game, optimizers, batch=two)
        return jax.jit(lambda key: init(key=key, speakers=speakers, listeners=listeners))(
            jax.random.key(0)
        )

    return config, game, optimizers, bank, batch, members


def stacked(size: str, pairs: int, execution: str = 'auto') -> float:
    """Pair updates per second of the population that lives on the device."""
    config, game, optimizers, bank, batch, members = set_up(size, pairs)
    config.population.execution = execution
    meetings = population.make_meetings(config.population)
    stack = members(pairs, pairs)
    mode = population.choose_execution(
        config.population, config.data.batch_size, True, stack.speakers.agent.params
    )
    communicate = updates.communicate(game, optimizers, meetings, mode, 0.99, None)
    many = jax.jit(steps.make_steps(communicate, [], batch, mode).many, donate_argnums=0)
    state = [jax.tree.map(lambda leaf: leaf[None], stack)]  # One replica.
    del stack
    calls = [0]

    def run(count: int) -> None:
        key = jax.random.key(2)[None]
        state[0], done, _ = many(state[0], bank, key, np.int32(calls[0]), np.int32(count))
        assert int(done) == count
        calls[0] += count

    return pairs * rate(run)


def pair_loop(size: str, pairs: int, make: Callable[..., ReferentialGame] = lewis.make) -> float:
    """Pair updates per second, one dispatch for each pair, agents in Python lists.

    As in 2022, all runs under pmap: a draw of the pairs' ids that the host waits for, and for each
    pair one call that splits the key and one that updates.
    """
    config, game, optimizers, bank, batch, members = set_up(size, pairs, make)
    config.population.update({'num_speakers': 1, 'num_listeners': 1, 'pairs_per_step': 1})
    meetings = population.make_meetings(config.population)
    communicate = updates.communicate(game, optimizers, meetings, 'unroll', 0.99, None)
    update = jax.pmap(communicate, donate_argnums=2)
    draw_batch, split = jax.pmap(batch), jax.pmap(jax.random.split)
    draw_ids = jax.pmap(lambda key: jax.random.randint(key, (2, pairs), 0, pairs))
    one = jax.tree.map(lambda leaf: leaf[None], members(1, 1))
    bank = jax.tree.map(lambda leaf: leaf[None], bank)

    def copies(tree: Any) -> list[Any]:
        return [jax.tree.map(jnp.copy, tree) for _ in range(pairs)]

    speakers, targets, listeners = map(copies, (one.speakers, one.targets, one.listeners))
    shared, calls = [one.shared], [0]
    data_key = jax.random.key(3)[None]

    def run(count: int) -> None:
        for _ in range(count):
            calls[0] += 1
            step = np.full(1, calls[0], np.int32)
            key = jax.random.fold_in(jax.random.key(2), calls[0])[None]
            games = draw_batch(bank, data_key, step)
            for i, j in zip(*np.asarray(draw_ids(key))[0], strict=True):
                keys = split(key)
                key, pair_key = keys[:, 0], keys[:, 1]
                pair = Population(speakers[i], listeners[j], targets[i], shared[0])
                pair, _ = update(pair_key, step, pair, games)
                speakers[i], listeners[j], targets[i], shared[0] = pair
        jax.block_until_ready((speakers, listeners))

    return pairs * rate(run)


def rate(run: Callable[[int], None]) -> float:
    """Steps per second, after two calls that compile (the second for the first one's outputs)."""
    run(1)
    run(1)
    count = 1
    while True:
        started = time.perf_counter()
        run(count)
        elapsed = time.perf_counter() - started
        if elapsed >= SECONDS:
            return count / elapsed
        count = max(count + 1, int(count * min(8.0, 1.2 * SECONDS / elapsed)))


def matmul_gigaflops() -> float:
    """Rate of a large float32 matrix product."""
    size = 4096
    x = jnp.ones((size, size))
    product = jax.jit(jnp.matmul)

    def run(count: int) -> None:
        for _ in range(count):
            product(x, x).block_until_ready()

    return rate(run) * 2 * size**3 / 1e9


def main(sizes: list[str]) -> None:
    print(f'{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
    print('pair updates per second; the ratio is to the pair loop with our update')
    print('agents  pairs  2022 cosine  pair loop    stacked  ratio')
    for size in sizes:
        for pairs in PAIRS:
            cosine = ''
            if size == 'paper' and pairs == 1:
                cosine = f'{pair_loop(size, pairs, broadcast):.2f}'
            loop, ours = pair_loop(size, pairs), stacked(size, pairs)
            line = f'{size:7} {pairs:5} {cosine:>12} {loop:10.2f} {ours:10.2f} {ours / loop:6.2f}'
            work = GIGAFLOPS[size]
            if work is not None:
                peak = matmul_gigaflops()
                line += f'   {ours * work:.0f} of {peak:.0f} GFLOP/s ({ours * work / peak:.0%})'
            print(line, flush=True)


if __name__ == '__main__':
    main(sys.argv[1:] or list(SIZES))
