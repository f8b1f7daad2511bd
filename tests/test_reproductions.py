"""What becomes of the runs of a claim when they are finished: nothing is missing in the end."""

import json

import numpy as np

from benchmarks.reproductions import imitation


def test_imitation_concludes_though_a_single_pair_has_no_vote(tmp_path):
    rng = np.random.default_rng(0)

    def write(folder, name, values):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / name).write_text(json.dumps(values))

    def each():
        return rng.random(5).tolist()

    for condition in ('one_pair', 'ten_pairs', 'imitation'):
        test = {'accuracy@900_replicas': each(), 'topographic_similarity_replicas': each()}
        if condition != 'one_pair':
            test['accuracy_vote@900_replicas'] = each()
        write(condition, 'summary.json', {'step': 1, 'test': test})
        ease = {'ease_of_learning': {'area_under_curve_replicas': each()}}
        write(f'{condition}-ease', 'summary.json', ease)
        drop = {'relative_drop': {'accuracy@900': {'blocks': rng.random((5, 5)).tolist()}}}
        write(f'{condition}-noise', 'cross_play.json', drop)
    _, text = imitation.conclude(tmp_path)
    rows = [line.split(' | ')[0] for line in text.splitlines()]
    assert rows.count('| one pair') == 1 and rows.count('| ten pairs') == 2
