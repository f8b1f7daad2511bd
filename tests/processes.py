"""Runs as real processes, for tests that look at them from the outside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = Path(__file__).parents[1]
CONFIGS = ROOT / 'configs'


def command(
    run: Path,
    *overrides: str,
    variant: str = ':imitation,debug',
    mode: str = 'train',
    recipe: str = 'lewis',
) -> list[str]:
    return [
        sys.executable,
        '-m',
        'emcom_jax.main',
        f'--config={CONFIGS / recipe}.py{variant}',
        f'--config.run_dir={run}',
        f'--jaxline_mode={mode}',
        '--config.evaluation.interventions=False',  # test_sweep.py has a run with them.
        *(f'--config.{override}' for override in overrides),
    ]


# Compiling is most of a short run; what one process has compiled, the next one reads.
ENVIRONMENT = {
    **os.environ,
    'PYTHONPATH': str(ROOT),
    'JAX_PLATFORMS': 'cpu',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    'JAX_COMPILATION_CACHE_DIR': str(ROOT / '.pytest_cache' / 'compiled'),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
    'JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES': '-1',
    'TF_CPP_MIN_LOG_LEVEL': '3',  # Reading them is logged at length, as if from another machine.
}


def launch(arguments: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(arguments: list[str]) -> tuple[int, str, str]:
    process = launch(arguments)
    output, errors = process.communicate(timeout=300)
    return process.returncode, output, errors


def parameters(run: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """The newest checkpoint, or that of a step, read by Orbax alone."""
    newest = max(int(path.name) for path in (run / 'checkpoints').iterdir())
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(run / 'checkpoints' / str(step or newest) / 'default')


def lines(run: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock."""
    return [
        {
            key: value
            for key, value in json.loads(line).items()
            if key not in ('wall_s', 'steps_per_sec')
        }
        for line in (run / 'metrics.jsonl').read_text().splitlines()
    ]


def stop_at(run: Path, number: signal.Signals, text: str, *overrides: str) -> tuple[int, str]:
    """Starts a run and signals it as soon as it has printed `text`."""
    process = launch(command(run, *overrides))
    assert process.stdout is not None
    seen = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            process.send_signal(number)
            break
    output, _ = process.communicate(timeout=300)
    return process.returncode, ''.join(seen) + output


@pytest.fixture(scope='module')
def straight(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupted."""
    run = tmp_path_factory.mktemp('runs') / 'straight'
    code, output, errors = finish(command(run))
    assert code == 0, errors
    assert str(run) in output
    return run
