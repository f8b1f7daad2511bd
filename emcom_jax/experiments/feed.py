"""What a compiled call reads its batches from: a bank that stays on the devices, or what a stream
has decoded for the step."""

import jax

from emcom_jax.data.bank import Standard, make_feed
from emcom_jax.data.stream import Stream
from emcom_jax.evaluation.setting import Setting
from emcom_jax.runtime.devices import bcast_local_devices
from emcom_jax.types import Bank, Split


class Feed:
    """The training data of a run; `streams` tells which of the two it is."""

    def __init__(self, setting: Setting, bank: Bank | None):
        """bank: of the training split on one device; None if it is streamed."""
        self._config, self.streams = setting.config, bank is None
        if bank is not None:
            self._bank = bcast_local_devices(bank)
        else:
            self._open(setting.source.splits['train'], setting.standard)

    def _open(self, split: Split, standard: Standard | None) -> None:
        config = self._config
        self._stream = Stream(
            split.inputs,
            split.labels,
            config.data.batch_size,
            config.random_seed,
            jax.process_index(),
            jax.process_count(),
            config.data.workers,
        )
        self._make = make_feed(split, standard)

    def at(self, step: int) -> Bank:
        """What the call that begins at a step reads, leaves [local devices, ...]."""
        if not self.streams:
            return self._bank
        self._stream.seek(step)
        return self._make(next(self._stream), jax.local_device_count())

    def replace(self, bank: Bank) -> None:
        """Reads from another bank (of one device) from now on."""
        self._bank = bcast_local_devices(bank)

    def replace_split(self, split: Split) -> None:
        """Streams other inputs of the same examples from now on, as they are stored."""
        self.close()
        self._open(split, None)

    def close(self) -> None:
        """Ends the decoding."""
        if self.streams:
            self._stream.close()
