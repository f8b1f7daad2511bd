"""Batches of a split that is too large for the device, decoded beside the training (Grain)."""

import dataclasses
import functools
import multiprocessing
import os
import signal
import sys
import threading
import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np
from absl import flags

from emcom_jax.data.decoding import Images

_AHEAD = 2  # Batches that every process of decoders has ready.
_THREADS = 8  # That decode in this process, at most; each has a batch in hand.
_SHOWN = '_shown'  # Key of a batch inside: rows whose images are shown, where others are damaged.
_FOREVER = 2**40  # Steps.


class Stream(Iterator[dict[str, np.ndarray]]):
    """The batches of all steps from a step on, each the same whenever and wherever it is asked for.

    Every epoch is a new random order of the split, of which each step takes the next `batch_size`;
    the remainder that does not fill a batch is left out, so no example comes twice in an epoch. Of
    several processes each gets its contiguous part: together they get the batch of one process.

        with Stream(split.inputs, split.labels, batch_size=128, seed=0) as stream:
            stream.seek(step)  # To go on where a checkpoint was made.
            batch = next(stream)

    A batch is {'images': uint8 [b, S, S, 3], 'rows': int64 [b], **labels}, b = batch_size over
    process_count.
    """

    def __init__(
        self,
        inputs: Any,
        labels: Mapping[str, np.ndarray],
        batch_size: int,
        seed: int,
        process_index: int = 0,
        process_count: int = 1,
        workers: int = 0,
    ):
        """Args:
        inputs: [N, S, S, 3] uint8, an array or `decoding.Images`.
        labels: name -> [N, ...].
        batch_size: over all processes.
        seed: of the orders, at least 0.
        process_index: which of `process_count` processes this is; the split is the same in all.
        process_count: number of processes that take part in a step (`jax.process_count()`).
        workers: processes that decode; 0 is threads of this one.

        Raises:
          ValueError: the batch is larger than the split or cannot be divided among the processes.
        """
        if not 0 < batch_size <= len(inputs):
            raise ValueError(
                f'data.batch_size={batch_size} must be from 1 to {len(inputs)}, the size of the '
                'split.'
            )
        if batch_size % process_count:
            raise ValueError(
                f'data.batch_size={batch_size} must be a multiple of the {process_count} processes.'
            )
        if workers < 0:
            raise ValueError(f'data.workers={workers} must not be negative.')
        place = (process_index, process_count)
        self._batches = _Batches(inputs, dict(labels), batch_size, seed, *place)
        # To decode is the work; an array would only be copied to other processes.
        self._workers = workers if isinstance(inputs, Images) else 0
        self._inputs, self._step = inputs, 0
        self._running: list[Any] = []  # The one iterator over batches, if there is one.
        # Also when this is forgotten or the program ends: workers must not outlive it.
        weakref.finalize(self, _stop, self._running)

    @property
    def step(self) -> int:
        """The step whose batch is next: all that needs to be in a checkpoint."""
        return self._step

    def seek(self, step: int) -> None:
        """Goes to a step, at the same cost for all of them."""
        if step < 0:
            raise ValueError(f'a step must not be negative, as {step} is.')
        if step != self._step:
            self.close()
            self._step = step

    def __next__(self) -> dict[str, np.ndarray]:
        """Returns the batch of the next step.

        Raises:
          OSError: in a sentence, whatever went wrong while it was read.
        """
        try:
            if not self._running:
                self._running.append(self._start())
            batch = next(self._running[0])
        except Exception as error:  # A worker may meet with anything.
            self.close()
            raise OSError(_sentence(self._step, error)) from error
        for row, shown in zip(batch['rows'], batch.pop(_SHOWN), strict=True):
            if row != shown:
                self._inputs.note(int(row), int(shown))
        self._step += 1
        return batch

    def close(self) -> None:
        """Stops the workers; the next batch starts new ones."""
        _stop(self._running)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> Any:
        import grain

        # What is left to do begins at 0 for Grain, so that any step is found without its state.
        todo = grain.MapDataset.source(dataclasses.replace(self._batches, start=self._step))
        if not self._workers:
            threads = min(_THREADS, os.cpu_count() or 1)
            options = grain.ReadOptions(threads, max(_AHEAD, threads))
            return iter(todo.to_iter_dataset(options))
        if not flags.FLAGS.is_parsed():  # Grain asks for flags of its own, at their defaults.
            flags.FLAGS.mark_as_parsed()
        # Batches come through a pipe: shared memory is scarce in containers (64 MB), where running
        # out of it kills the process, and what is in it when the program ends is left over.
        no_sharing = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        decoded = grain.experimental.WithOptionsIterDataset(
            todo.to_iter_dataset(grain.ReadOptions(0, 0)), no_sharing
        )
        options = grain.MultiprocessingOptions(self._workers, _AHEAD)
        return iter(decoded.mp_prefetch(options, worker_init_fn=_init_worker))


def _stop(running: list[Any]) -> None:
    while running:
        running.pop().close()


@dataclasses.dataclass(frozen=True)
class _Batches:
    """The batches of one process by step, for Grain: with a length and random access."""

    inputs: Any
    labels: dict[str, np.ndarray]
    batch_size: int
    seed: int
    process_index: int
    process_count: int
    start: int = 0

    def __len__(self) -> int:
        return _FOREVER

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        rows = self._rows(self.start + index)
        if isinstance(self.inputs, Images):
            fetched = [self.inputs.fetch(row) for row in rows.tolist()]
            images = np.stack([image for image, _ in fetched])
            shown = np.array([row for _, row in fetched])
        else:
            images, shown = np.asarray(self.inputs[rows]), rows
        labels = {name: values[rows] for name, values in self.labels.items()}
        return {'images': images, 'rows': rows, _SHOWN: shown, **labels}

    def _rows(self, step: int) -> np.ndarray:
        size = len(self.inputs)
        epoch, batch = divmod(step, size // self.batch_size)
        local = self.batch_size // self.process_count
        start = batch * self.batch_size + self.process_index * local
        return _order(self.seed, epoch, size)[start : start + local]


@functools.lru_cache(maxsize=2)  # Batches ahead may be of the next epoch.
def _order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of an epoch, int64 [size]: of 1.28 million examples in 15 ms, 10 MB."""
    return np.random.default_rng([seed, epoch]).permutation(size)


def _init_worker(index: int, count: int) -> None:
    """Leaves it to the training process to end this one."""
    del index, count
    # Sent to the whole group, they tell the training to save a checkpoint, for which it may need
    # the batches that are under way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the one that started it has ended, by whatever means."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _sentence(step: int, error: Exception) -> str:
    text = (str(error).splitlines() or [''])[0]
    if isinstance(error, OSError | ValueError):
        return f'step {step}: {text}'
    if 'terminated unexpectedly' in text:  # Grain has no class for it.
        return (
            f'step {step}: a process that decodes images was ended from outside, most often for '
            'want of memory; try fewer data.workers.'
        )
    return f'step {step}: the images cannot be decoded: {type(error).__name__}: {text}'
