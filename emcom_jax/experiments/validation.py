"""Which step of a run is best, and when to stop: decided by one metric of the validations."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from emcom_jax.tables import look_up

_NO_STEP = -1
_REASONS = ('', 'threshold', 'patience')  # Why training ends early; '': it does not.


class Validation:
    """Keeps the best of the validations so far, and says when they are a reason to stop.

    metric: the name of what decides; `@C` above the split's size has become the size.
    best_step: the step of the best validation, -1 before there is one.
    """

    def __init__(self, config: ConfigDict, size: int, since: int = 0):
        """config: the group `evaluation`; size: the number of examples of the split; since: after
        so many steps validations begin to count, as those before are of agents that are gone."""
        self._config = config
        self._since = since
        self.metric = best_metric(config, size)
        self.best_step = _NO_STEP
        self._best_value = float('nan')
        self._patience = 0  # Validations since the best.
        self._reason = ''

    @property
    def stopped(self) -> str:
        """Why training ends before `training_steps`, or ''."""
        return {
            '': '',
            'threshold': f'{self.metric} reached {self._config.threshold} at step {self.best_step}',
            'patience': f'{self.metric} has not improved since step {self.best_step}',
        }[self._reason]

    def read(self, values: Mapping[str, Any]) -> float:
        """The deciding value among the metrics of a validation."""
        return float(look_up(values, self.metric, 'evaluation.best_metric'))

    def update(self, step: int, value: float) -> bool:
        """Takes in the deciding value of a step; returns whether it is the best so far."""
        if step <= self._since:
            return False
        config = self._config
        highest = not self.metric.startswith('loss')
        if config.best_is_highest is not None:
            highest = config.best_is_highest
        sign = 1 if highest else -1
        # An undefined value (nan) is no result, and any result is better than none.
        none_yet = self.best_step == _NO_STEP
        improved = value == value and (none_yet or sign * value > sign * self._best_value)
        if improved:
            self.best_step, self._best_value, self._patience = step, value, 0
        else:
            self._patience += 1
        if config.threshold is not None and sign * value >= sign * config.threshold:
            self._reason = 'threshold'
        elif config.patience is not None and self._patience >= config.patience:
            self._reason = 'patience'
        return improved

    def snapshot(self) -> dict[str, Any]:
        """What a checkpoint keeps of it."""
        return {
            'best_step': self.best_step,
            'best_value': self._best_value,
            'patience': self._patience,
            'stopped': _REASONS.index(self._reason),
        }

    def restore(self, snapshot: Mapping[str, Any]) -> None:
        """Goes on from what a checkpoint kept, if that counts."""
        if _NO_STEP < snapshot['best_step'] <= self._since:
            return  # Training was prolonged by another generation.
        self.best_step = snapshot['best_step']
        self._best_value = snapshot['best_value']
        self._patience = snapshot['patience']
        self._reason = _REASONS[snapshot['stopped']]


def best_metric(config: ConfigDict, size: int) -> str:
    """The value that decides which checkpoint is best; `@C` above the split's size becomes it."""
    name, at, count = config.best_metric.partition('@')
    if at and int(count) > size:
        return f'{name}@{size}'
    return config.best_metric
