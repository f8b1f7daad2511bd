"""Runs of agents that see: trained, evaluated and reported; then their language is probed."""

import json
import subprocess
import sys

import numpy as np
import pytest
from processes import ENVIRONMENT, ROOT, command, lines, parameters

from emcom_jax.metrics import records

# All in one process: to start three would take as long as they do.
SCRIPT = """
import sys
from configs import ease_of_learning, newcomer
from emcom_jax import main
from emcom_jax.experiments import EXPERIMENTS
from emcom_jax.runtime import flags
from emcom_jax.runtime.run import start

run, folder, *arguments = sys.argv[1:]
flags.parse(['main', *arguments])
main.main([])
for recipe, steps in ((ease_of_learning, 'ease_of_learning.steps'), (newcomer, 'newcomer.steps')):
    config = recipe.get_config('debug')
    name = config.experiment
    few = {'training_steps': 2, 'log_train_data_interval': 1, 'data.batch_size': 8, steps: (2,)}
    config.update_from_flattened_dict(few | {'from_run': run, 'run_dir': f'{folder}/{name}'})
    experiment = EXPERIMENTS[name]
    start(experiment, experiment.resolve(config), f'configs/{name}.py:debug', 'train')
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    run = folder / 'run'
    arguments = command(
        run,
        f'data.path={folder}/data',
        'loss.listener.memory=12',
        variant=':debug',
        recipe='discrimination',
    )[3:]
    arguments = [word for word in arguments if 'interventions' not in word]
    done = subprocess.run(
        [sys.executable, '-c', SCRIPT, str(run), str(folder), *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_run_trains_sees_and_reports(folder):
    run = folder / 'run'
    summary = json.loads((run / 'summary.json').read_text())
    assert summary['step'] == 6
    for split in ('valid', 'test', 'ood'):
        values = summary[split]
        assert 0 <= values['accuracy@4'] <= 1 and np.isfinite(values['nmi'])
        assert 0 <= values['accuracy_silenced@4'] <= 1
        record = records.load(run / 'records' / f'{split}.npz')
        assert record.images.shape == (8, 16, 16, 3) and record.images.dtype == np.uint8
        assert record.meanings.shape == record.listener_meanings.shape == (8, 32)
        assert len(record.synsets['class']) == 30
    assert (run / 'report.html').exists()
    found = parameters(run)
    trunk = [name for name in found if 'shared' in name and 'conv1' in name]
    before = parameters(run, 3)
    assert trunk and any(np.any(found[name] != before[name]) for name in trunk)
    (memory,) = (value for name, value in found.items() if 'memory' in name)
    assert memory.shape == (1, 1, 12, 8) and np.any(memory, axis=-1).all()


@pytest.mark.parametrize('name', ['ease_of_learning', 'newcomer'])
def test_fresh_listeners_see_with_the_trunk_of_the_run(folder, name):
    summary = json.loads((folder / name / 'summary.json').read_text())
    assert np.isfinite(summary[name]['accuracy_at_2']) and 0 <= summary['test']['accuracy@4'] <= 1
    config = json.loads((folder / name / 'config.json').read_text())
    assert config['game']['views'] == 'augmented' and config['speaker']['trunk']['width'] == 4
    assert config['population']['updates_per_call'] == 1
    ours = parameters(folder / name)
    best = json.loads((folder / 'run' / 'summary.json').read_text())['best_step']
    theirs = parameters(folder / 'run', best)
    seeing = [key for key in theirs if 'shared' in key and 'agent' in key]
    speaking = [key for key in theirs if 'speakers' in key and 'agent' in key]
    assert seeing and speaking
    for key in (*seeing, *speaking):
        np.testing.assert_array_equal(ours[key], theirs[key], err_msg=key)
    if name == 'newcomer':
        (residents,) = (line for line in lines(folder / name) if line['split'] == 'residents')
        assert 0 <= residents['accuracy'][0] <= 1
