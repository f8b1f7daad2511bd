"""Scalars of a run: one JSON object a line in metrics.jsonl, and the same for TensorBoard."""

import json
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from emcom_jax import estimates
from emcom_jax.runtime.files import replace_text, strict


class Writer:
    """Writes {"step", "split", "wall_s", scalars...} lines; implements `jaxline.utils.Writer`.

    `wall_s` is the time spent on the run, seconds, continued over resumes. Scalars are numbers or
    arrays; NaN and infinities become null. TensorBoard shows `<split>/<name>`, an array as the mean
    of what is finite. Safe to call from several threads.
    """

    def __init__(self, metrics: Path, tensorboard: Path, *, split: str = 'train'):
        """Args:
        metrics: the file that is continued, or begun.
        tensorboard: the directory of the event files.
        split: of what jaxline writes through `write_scalars`.
        """
        self._began = time.monotonic()
        self._metrics = metrics
        self._tensorboard = tensorboard
        self._split = split
        self._lock = threading.Lock()
        self._events: Any = None
        self._purge_step: int | None = None
        drop_half_line(metrics)
        self._open()

    def write_scalars(self, global_step: int, scalars: Mapping[str, Any]) -> None:
        """Writes what jaxline logs."""
        self.write(global_step, self._split, scalars)

    def seconds(self) -> float:
        """Time spent on the run so far, s, continued over resumes."""
        return time.monotonic() - self._start

    def write(self, step: int, split: str, scalars: Mapping[str, Any]) -> None:
        """Writes one line, and makes sure that it is in the file."""
        values = {name: np.asarray(value) for name, value in scalars.items()}
        line = {
            'step': int(step),
            'split': split,
            'wall_s': round(self.seconds(), 3),
            **strict(values),
        }
        with self._lock:
            self._file.write(json.dumps(line, allow_nan=False) + '\n')
            self._file.flush()
            for name, value in values.items():
                finite = value[np.isfinite(value)]
                if finite.size and estimates.split_name(name)[1] in ('', estimates.ERROR):
                    self._event_writer().add_scalar(f'{split}/{name}', finite.mean(), int(step))

    def cut_back(self, step: int) -> None:
        """Drops what was written after `step`, from which the run goes on, and what will be written
        again at its end."""
        with self._lock:
            during = ('train', 'valid', 'residents')
            lines = [
                line
                for line in read_lines(self._metrics)
                if line['step'] <= step and line['split'] in during
            ]
            self._close()
            replace_text(self._metrics, ''.join(json.dumps(line) + '\n' for line in lines))
            self._open()
            self._purge_step = step + 1

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            self._close()

    def _open(self) -> None:
        lines = read_lines(self._metrics)
        self._start = self._began - (lines[-1]['wall_s'] if lines else 0.0)
        self._file = self._metrics.open('a')

    def _close(self) -> None:
        self._file.close()
        if self._events is not None:
            self._events.close()
            self._events = None

    def _event_writer(self) -> Any:
        if self._events is None:
            from tensorboardX import SummaryWriter  # Only a run that writes pays for the import.

            # tensorboardX names a file by the second, and would overwrite one of the same second.
            self._events = SummaryWriter(
                str(self._tensorboard),
                purge_step=self._purge_step,
                filename_suffix=f'.{time.time_ns()}',
            )
        return self._events


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Returns the objects of a JSON-lines file, without a half-written last line; [] if missing."""
    if not path.exists():
        return []
    complete, _, _ = path.read_text().rpartition('\n')
    try:
        return [json.loads(line) for line in complete.splitlines()]
    except ValueError as error:
        raise ValueError(f'{path} is damaged ({error}): restore it, or remove it') from None


def drop_half_line(path: Path) -> None:
    """Drops the half line that a killed process leaves, which would spoil the next one."""
    content = path.read_bytes() if path.exists() else b''
    end = content.rfind(b'\n') + 1
    if end < len(content):
        os.truncate(path, end)
