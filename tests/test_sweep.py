"""A grid of runs, and what sets them side by side."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from emcom_jax import sweep

OUT = Path('sweep')


def test_a_grid_has_every_combination_once():
    runs = sweep.grid({'loss.speaker.kl': ['0', '0.5'], 'random_seed': ['1', '2', '3']}, OUT)
    assert len(runs) == 6
    assert runs[OUT / 'kl=0.5-random_seed=2'] == {'loss.speaker.kl': '0.5', 'random_seed': '2'}
    assert len({tuple(settings.values()) for settings in runs.values()}) == 6


def test_directories_that_would_be_one_are_refused():
    with pytest.raises(sweep.SweepError, match='given twice'):
        sweep.grid({'a.rate': ['1', '1']}, OUT)
    # Keys that end alike share names, but not directories.
    assert len(sweep.grid({'a.rate': ['1', '2'], 'b.rate': ['1', '2']}, OUT)) == 4


@pytest.fixture
def fake(monkeypatch):
    """Stands for the processes: notes their flags; runs whose path holds 'bad' fail."""
    calls = []

    def run(command, check):
        calls.append(command[3:])
        path = Path(command[-1].removeprefix('--config.run_dir='))
        if 'bad' in path.name:
            return subprocess.CompletedProcess(command, 2)
        path.mkdir(parents=True, exist_ok=True)
        number = float(re.search(r'kl=([\d.]+)', path.name)[1])
        values = {'accuracy@4': number, 'accuracy@4_se': 0.125, 'accuracy@4_replicas': [0, number]}
        (path / 'summary.json').write_text(
            json.dumps({'step': 1, 'test': values | {'loss@4': 9.0}})
        )
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', run)
    return calls


def test_a_sweep_makes_its_runs_and_compares_them(tmp_path, fake, capsys):
    flags = ['--vary=loss.speaker.kl=0.25,0.5', '--config=a.py', '--config.random_seed=3']
    assert sweep.main([f'--out={tmp_path}', *flags]) == 0
    common = ['--config=a.py', '--config.random_seed=3']
    assert fake == [
        [*common, f'--config.loss.speaker.kl={kl}', f'--config.run_dir={tmp_path}/kl={kl}']
        for kl in ('0.25', '0.5')
    ]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['loss.speaker.kl', 'accuracy@4', 'loss@4'] in lines
    assert ['0.5', '0.500', '±', '0.125', '9'] in lines
    rows = json.loads((tmp_path / 'sweep.json').read_text())
    assert [row['test']['accuracy@4'] for row in rows] == [0.25, 0.5]
    assert rows[1]['settings'] == {'loss.speaker.kl': '0.5'}
    assert (tmp_path / 'sweep.png').read_bytes()[:4] == b'\x89PNG'


def test_recipes_vary_too_and_come_before_overrides(tmp_path, fake):
    vary = ['--vary=config=a.py:kl=1;b.py:kl=2', '--config.random_seed=3', '--metrics=loss@4']
    assert sweep.main([f'--out={tmp_path}', *vary]) == 0
    assert [call[:2] for call in fake] == [
        [f'--config={recipe}', '--config.random_seed=3'] for recipe in ('a.py:kl=1', 'b.py:kl=2')
    ]


@pytest.mark.parametrize(
    ('flags', 'sentence'),
    [
        (['--vary=loss.speaker.kl'], 'must be a key and its values'),
        (['--vary=kl=1', '--config.run_dir=x'], 'follows from --out'),
        (['--vary=kl=1', '--metrics=accuracy@5'], "did you mean 'accuracy@4'"),
        (['--vary=kl=1', '--split=tset'], "no final evaluation on 'tset'"),
        (['--vary=kl=1,bad,2'], 'ended with status 2'),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, fake, capsys, flags, sentence):
    assert sweep.main([f'--out={tmp_path}', *flags]) == 2
    error = capsys.readouterr().err
    assert error.startswith('error: ') and error.count('\n') == 1 and sentence in error
    assert not any('kl=2' in call[-1] for call in fake)  # What comes after a failure is not begun.


def test_a_sweep_of_real_runs(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')  # Compiling is most of it.
    flags = ['--vary=channel.length=2', '--config=configs/lewis.py:debug']
    flags += ['--config.training_steps=2', '--config.evaluation.every=0']
    assert sweep.main([f'--out={tmp_path}', *flags]) == 0
    run = tmp_path / 'length=2'
    assert json.loads((run / 'config.json').read_text())['channel']['length'] == 2
    assert 'accuracy@16' in capfd.readouterr().out.split('sweep.png')[0]
    # At the end messages are tampered with; as they were said they are judged as ever.
    values = json.loads((run / 'summary.json').read_text())['test']
    assert values['accuracy_intact@16'] == pytest.approx(values['accuracy@16'])
    assert len(values['guess_change_by_position@16']) == 2
    assert (run / 'pictures' / 'usage.png').exists()
    # A validation, as at step 0, does not tamper.
    first = json.loads((run / 'metrics.jsonl').read_text().splitlines()[0])
    assert first['split'] == 'valid' and 'accuracy@16' in first
    assert 'accuracy_intact@16' not in first
