"""Stopping a run politely: SIGTERM and Ctrl-C ask, the training loop saves and leaves."""

import signal
from types import FrameType
from typing import Any, Self

from emcom_jax.runtime import pod


class Preemption:
    """While entered, SIGTERM and the first Ctrl-C only set `requested`; a second Ctrl-C interrupts.

    requested: None, 'SIGTERM' or 'SIGINT': the signal that asked the run to stop.

    Signals belong to the main thread: entering anywhere else raises ValueError.
    """

    def __init__(self) -> None:
        self.requested: str | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def asked(self) -> str | None:
        """`requested` of any process of a pod; all must call this at the same places."""
        number = pod.anyone(signal.Signals[self.requested] if self.requested else 0)
        return signal.Signals(number).name if number else None

    def __enter__(self) -> Self:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and self.requested == 'SIGINT':
            raise KeyboardInterrupt
        self.requested = signal.Signals(number).name
