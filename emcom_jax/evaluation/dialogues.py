"""Interventions on dialogues: what is done to the turns on their way, by name."""

import jax.numpy as jnp
import numpy as np

from emcom_jax.types import Tampering

REGIONS = 4  # Parts of a turn, at most, whose bits are flipped.


def tamperings(turns: int, bits: int, real: bool = False) -> dict[str, Tampering]:
    """Name -> what is done, leaves [k, ...], in k ways; those that mean something.

    shuffled: all that the listener hears is said in another dialogue. silenced: it hears zeros.
    unanswered: the speaker hears zeros. later_shuffled, later_silenced: the same from the second
    turn on. flipped_turn: all bits of one turn are the others, k = K. flipped_region: those of one
    region in all turns, k = `REGIONS` or V.

    real: whether turns are real vectors, which have no bits to flip.
    """
    none, first = jnp.zeros((1, turns), bool), jnp.arange(turns)[None] == 0
    nothing = Tampering(none, none, jnp.zeros((1, turns, bits), bool), none)
    found = {
        'intact': nothing,
        'shuffled': nothing._replace(swapped=~none),
        'silenced': nothing._replace(silenced=~none),
    }
    if turns > 1:
        found |= {
            'unanswered': nothing._replace(unanswered=~none),
            'later_shuffled': nothing._replace(swapped=~first),
            'later_silenced': nothing._replace(silenced=~first),
        }
    if not real:
        by_turn = np.broadcast_to(np.eye(turns, dtype=bool)[..., None], (turns, turns, bits))
        found['flipped_turn'] = _flipping(by_turn)
        count = min(REGIONS, bits)
        region = np.arange(bits) * count // bits == np.arange(count)[:, None]
        by_region = np.broadcast_to(region[:, None], (count, turns, bits))
        found['flipped_region'] = _flipping(by_region)
    return found


def _flipping(flipped: np.ndarray) -> Tampering:
    none = jnp.zeros(flipped.shape[:2], bool)
    return Tampering(none, none, jnp.asarray(flipped), none)
