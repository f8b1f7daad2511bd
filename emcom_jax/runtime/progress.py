"""How far training is: a bar on a terminal, else a line now and then."""

import math
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

_BAR_PERIOD = 0.2  # Seconds between refreshes ...
_LINE_PERIOD = 10.0  # ... and between lines, where stdout is no terminal.
_SMOOTHING = 3.0  # Seconds over which the speed is averaged.


class Progress:
    """Shows the step, updates per second (of pairs), accuracy and the time that is left.

    with Progress(total_steps=4000, updates_per_step=10) as progress:
        progress.update(step, {'accuracy': 0.9})
        progress.print('valid: ...')
    """

    def __init__(
        self,
        total_steps: int,
        start_step: int = 0,
        *,
        updates_per_step: int = 1,
        description: str = 'training',
        unit: str = 'updates',
    ):
        """Args:
        total_steps: the step at which training ends.
        start_step: the step from which it goes on.
        updates_per_step: pairs that are updated in a step.
        description: what is going on.
        unit: what it is that is updated, or else done.
        """
        self._total = total_steps
        self._updates_per_step = updates_per_step
        self._description = description
        self._unit = unit
        self._bar = _make_bar() if sys.stdout.isatty() else None
        self._period = _LINE_PERIOD if self._bar is None else _BAR_PERIOD
        self._step = self._reported_step = start_step
        self._reported_time = time.monotonic()
        self._speed: float | None = None  # Steps per second.
        self._scalars: Mapping[str, Any] = {}

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(
                self._description, total=self._total, completed=self._step, text=''
            )
        return self

    def __exit__(self, *_: object) -> None:
        if self._step > self._reported_step:
            self._report()
        if self._bar is not None:
            self._bar.stop()

    def update(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Takes note of the step; looks at `scalars['accuracy']` only when it is shown.

        (Looking at an array waits for the device.)
        """
        self._step, self._scalars = step, scalars
        late = time.monotonic() - self._reported_time >= self._period
        if late and step > self._reported_step:
            self._report()

    def print(self, line: str) -> None:
        """Prints a line, above the bar if there is one."""
        if self._bar is None:
            print(line, flush=True)
        else:
            self._bar.console.print(line, markup=False, highlight=False)

    def _report(self) -> None:
        accuracy = np.asarray(self._scalars.get('accuracy', np.nan))
        played = accuracy[np.isfinite(accuracy)]
        shown = [f'accuracy {played.mean():.3f}'] if played.size else []
        # After the device: what is timed are steps done, not steps asked for.
        now = time.monotonic()
        elapsed = max(now - self._reported_time, 1e-9)
        speed = (self._step - self._reported_step) / elapsed
        weight = 0.0 if self._speed is None else math.exp(-elapsed / _SMOOTHING)
        self._speed = weight * (self._speed or 0.0) + (1 - weight) * speed
        self._reported_step, self._reported_time = self._step, now

        updates = f'{self._speed * self._updates_per_step:.1f} {self._unit}/s'
        left = f'{_clock((self._total - self._step) / self._speed)} left'
        text = '  '.join([f'{self._step}/{self._total}', updates, *shown, left])
        if self._bar is None:
            print(f'{self._description}  {text}', flush=True)
        else:
            self._bar.update(self._task, completed=self._step, text=text, refresh=True)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02}:{seconds:02}'


def _make_bar() -> Any:
    from rich import progress  # Only a terminal pays for the import.

    return progress.Progress(
        progress.TextColumn('{task.description}'),
        progress.BarColumn(),
        progress.TextColumn('{task.fields[text]}'),
        auto_refresh=False,
    )
