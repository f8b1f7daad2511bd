"""Ease of learning: 15 listeners of 5 frozen speakers in one program, and one after the other.

    python -m benchmarks.ease_of_learning             small agents, 500 steps
    python -m benchmarks.ease_of_learning paper 2     agents of the paper's size, 2 steps

Both ways every listener learns from as many batches of as many examples, by the same update, and
nothing is written or evaluated. One after the other means 15 runs of one pair by one program, which
is compiled once and used again by all of them; compiling is timed apart.
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.population import set_up
from emcom_jax import population, steps, updates

SPEAKERS, EACH = 5, 3
STEPS = {'small': 500, 'paper': 2}
REPEATS = 3  # Of which the fastest counts.


def program(size: str, speakers: int, each: int, count: int) -> tuple[Callable[[], Any], float]:
    """Makes a run of `count` steps in which `each` fresh listeners of each speaker learn.

    Returns a function that runs it from the start, and the seconds that compiling it took.
    """
    pairs = tuple((s, s * each + k) for s in range(speakers) for k in range(each))
    changes = {
        'population.num_speakers': speakers,
        'population.pairing': 'fixed',
        'population.pairs': pairs,
        'population.speaker_learns': (),
        'loss.speaker.name': 'none',
        'loss.speaker.entropy': 0.0,
        'loss.speaker.kl': 0.0,
    }
    config, game, optimizers, bank, batch, members = set_up(size, len(pairs), changes=changes)
    meetings = population.make_meetings(config.population)
    stack = members(speakers, len(pairs))
    mode = population.choose_execution(
        config.population,
        config.data.batch_size,
        meetings.disjoint,
        stack.listeners.agent.params,
    )
    communicate = updates.communicate(game, optimizers, meetings, mode, 0.99, None)
    many = jax.jit(steps.make_steps(communicate, [], batch, mode).many)
    one = jax.tree.map(lambda leaf: leaf[None], stack)  # One replica.
    arguments = (one, bank, jax.random.key(2)[None], np.int32(0), np.int32(count))
    started = time.perf_counter()
    compiled = many.lower(*arguments).compile()
    seconds = time.perf_counter() - started
    return lambda: jax.block_until_ready(compiled(*arguments)), seconds


def clock(run: Callable[[], Any], times: int) -> float:
    """Seconds of `times` runs, one after the other."""
    started = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - started


def main(size: str = 'small', count: int | None = None) -> None:
    count = STEPS[size] if count is None else count
    listeners = SPEAKERS * EACH
    together, compiling_together = program(size, SPEAKERS, EACH, count)
    alone, compiling_alone = program(size, 1, 1, count)
    # In turns, so that what else the machine does falls on both alike.
    seconds = [(clock(together, 1), clock(alone, listeners)) for _ in range(REPEATS)]
    ours, theirs = np.min(seconds, axis=0)
    print(f'{jax.device_count()} x {jax.devices()[0].device_kind}, jax {jax.__version__}')
    print(f'{size} agents, {SPEAKERS} speakers x {EACH} listeners, {count} updates of each')
    print('                        run, s  updates/s  compile, s')
    for name, each, compiling in (
        ('in one program', ours, compiling_together),
        ('one after the other', theirs, compiling_alone),
    ):
        print(f'{name:20} {each:9.2f} {listeners * count / each:10.0f} {compiling:11.1f}')
    print(f'{"ratio":20} {theirs / ours:9.2f}')


if __name__ == '__main__':
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
