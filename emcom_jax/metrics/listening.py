"""Do listeners listen: what interventions on messages do to their guesses, in numbers.

After Lowe et al. 2019, On the pitfalls of measuring emergent communication: that messages tell
something (`signalling.py`) does not mean that they are heard.
"""

from typing import Any

import numpy as np

from emcom_jax.metrics.accuracy import bootstrap_interval, with_interval
from emcom_jax.types import InterventionRecord

VALUES = (  # The names, but for the number of candidates, of all that is stated.
    'intervention_examples',
    'causal_influence',
    'accuracy_drop_by_position',
    'guess_change_by_position',
    *(
        f'{what}_by_{part}'
        for what in ('accuracy_drop', 'guess_change')
        for part in ('turn', 'region', 'stroke', 'group')
    ),
    *(
        f'{what}_{name}'
        for what in ('accuracy', 'guess_change')
        for name in (
            *('intact', 'replaced', 'swapped', 'shuffled', 'silenced'),
            *('unanswered', 'later_shuffled', 'later_silenced', 'flipped_turn', 'flipped_region'),
            *('erased', 'erased_group'),
        )
    ),
)

# Interventions in so many ways, and what these are.
PARTS = {
    'replaced': 'position',
    'flipped_turn': 'turn',
    'flipped_region': 'region',
    'erased': 'stroke',
    'erased_group': 'group',
}


def listening_of(
    record: InterventionRecord, num_resamples: int = 1_000, seed: int = 0
) -> dict[str, Any]:
    """What interventions did, with C the number of candidates (`@C` is missing in tasks without).

    Means over all pairs of a speaker with a listener and all N referents (`intervention_examples`):

    * `accuracy_intact@C` and `accuracy_<intervention>@C`, in [0, 1]. `replaced`: one symbol is
      another one, drawn uniformly (mean over those of a message; the end symbol stays); `swapped`:
      two symbols, drawn from the message, change places; `shuffled`: the message is that of another
      referent; `silenced`: all messages are alike (only the end symbol, where there is one).
      Those of dialogues stand in `evaluation/dialogues.py`; `flipped_turn` and `flipped_region`
      have lists `..._by_turn` of K and `..._by_region`, as below. Of drawings also `erased`: a
      stroke is left out, with lists `..._by_stroke` of T; and `erased_group`: a quarter of the
      strokes is, with lists `..._by_group` of 4, that of the longest strokes first.
    * `guess_change_<intervention>@C`, in [0, 1]: total variation distance between the listener's
      distributions with the message as it is and tampered with. `guess_change_silenced` is positive
      listening: above 0 exactly if some message makes another guess than silence does.
    * `causal_influence@C`, bits, in [0, log2 C] (of names: of n values, log2 n; a mean over
      attributes): mutual information between message and guess under intervention, with the
      messages of the candidates as the C equally likely ones; of names, with those of the N
      referents. 0 exactly if the guess does not depend on the message. It counts how far guesses
      differ, not whether they are right. (Where C does not divide N, some count twice as messages.)
    * By position, lists of T, of the messages that have a word there (nan where none has):
      `accuracy_drop_by_position@C` in [-1, 1], what replacing that symbol costs; and
      `guess_change_by_position@C`.

    Each has its interval (`<name>_ci95`), from resampled referents. Checked by hand at N = 4, 27.
    """
    suffix = f'@{record.num_candidates}' if record.num_candidates else ''
    values: dict[str, Any] = {'intervention_examples': float(record.influence.shape[-1])}

    def state(name: str, by_referent: np.ndarray) -> None:
        values.update(with_interval(f'{name}{suffix}', by_referent, num_resamples, seed))

    for name in record.correct:
        state(f'accuracy_{name}', _by_referent(record, record.correct, name))
    for name in record.change:
        if name != 'intact':
            state(f'guess_change_{name}', _by_referent(record, record.change, name))
    state('causal_influence', record.influence.mean(axis=(0, 1), dtype=np.float64))
    for done, where in PARTS.items():
        if done not in record.correct:
            continue
        drop = record.correct['intact'] - record.correct[done]
        for name, effect in (('accuracy_drop', drop), ('guess_change', record.change[done])):
            parts = [
                _where_altered(*both) for both in zip(effect, record.altered[done], strict=True)
            ]
            values[f'{name}_by_{where}{suffix}'] = [
                float(part.mean()) if part.size else float('nan') for part in parts
            ]
            values[f'{name}_by_{where}{suffix}_ci95'] = [
                bootstrap_interval(part, num_resamples, seed) if part.size else [float('nan')] * 2
                for part in parts
            ]
    return values


def _by_referent(
    record: InterventionRecord, values: dict[str, np.ndarray], name: str
) -> np.ndarray:
    """[N], mean over pairs; where an intervention works in k ways, over those that alter the
    message, and that of the intact one if none does."""
    each = values[name].mean(axis=2, dtype=np.float64)  # [k, S, N]
    if len(each) == 1:
        return each[0].mean(axis=0)
    altered = record.altered[name]
    ways = altered.sum(axis=0)
    intact = values['intact'][0].mean(axis=1, dtype=np.float64)
    mean = np.where(altered, each, 0.0).sum(axis=0) / np.maximum(ways, 1)
    return np.where(ways > 0, mean, intact).mean(axis=0)


def _where_altered(effect: np.ndarray, altered: np.ndarray) -> np.ndarray:
    """Of [S, L, N] and bool [S, N]: the mean over pairs whose message was altered, for each of the
    referents of which there is one."""
    count = altered.sum(axis=0)
    total = effect.mean(axis=1, dtype=np.float64).sum(axis=0)  # Nothing comes of no alteration.
    return total[count > 0] / count[count > 0]
