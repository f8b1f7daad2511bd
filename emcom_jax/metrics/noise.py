"""Do agents agree about images that mean nothing: accuracy on the rungs of the noise ladder.

After Bouchacourt & Baroni 2018, How agents see things; Dessì et al. 2021, Interpretable agent
communication from scratch: agents that understand each other about Gaussian blobs as well as about
photographs talk of something else than what the photographs show.
"""

from collections.abc import Mapping
from typing import Any

from emcom_jax.data.noise import LADDER
from emcom_jax.metrics.accuracy import ratio_interval, with_interval
from emcom_jax.types import EvalRecord, NoiseRecord

REFERENCE = 'valid'  # In the place of a rung: the accuracy that ratios refer to.


RATIO = 'A ratio is of an accuracy to that on validation images with as many candidates.'


def noise_of(
    record: NoiseRecord, valid: EvalRecord, num_resamples: int = 1_000, seed: int = 0
) -> dict[str, Any]:
    """How well agents understand each other about each rung, for each number C of candidates.

    Means over all pairs of a speaker with a listener and all images of the rung, with intervals
    (`<name>_ci95`) from resampled images:

    * `accuracy_<rung>@C`, in [0, 1]; `accuracy_valid@C`, that on the validation split.
    * `ratio_<rung>@C`, in [0, inf): the one over the other, with the same C; missing where C was
      not played with on the validation split, nan where nothing was understood there.
    """
    counts = dict(zip(valid.num_candidates, valid.correct, strict=True))
    values: dict[str, Any] = {}
    for number, count in enumerate(record.num_candidates):
        reference = None
        if count in counts:
            reference = counts[count].mean(axis=(0, 1), dtype=float)
            values |= with_interval(f'accuracy_{REFERENCE}@{count}', reference, num_resamples, seed)
        for rung, correct in record.correct.items():
            each = correct[number].mean(axis=(0, 1), dtype=float)
            values |= with_interval(f'accuracy_{rung}@{count}', each, num_resamples, seed)
            if reference is not None:
                mean = float(reference.mean())
                ratio = f'ratio_{rung}@{count}'
                values[ratio] = float(each.mean()) / mean if mean else float('nan')
                values[f'{ratio}_ci95'] = ratio_interval(each, reference, num_resamples, seed)
    return values


def rungs(values: Mapping[str, Any]) -> tuple[list[str], list[int]]:
    """The rungs that values of `noise_of` are about, with `REFERENCE` first if it is there, in the
    order of the ladder; and the numbers of candidates."""
    found = {tuple(name.removeprefix('accuracy_').split('@')) for name in values if '@' in name}
    known = {(rung, int(count)) for rung, count in found if count.isdigit()}
    names = {rung for rung, _ in known}
    return (
        [rung for rung in (REFERENCE, *LADDER) if rung in names],
        sorted({count for _, count in known}),
    )
