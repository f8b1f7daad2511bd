"""Does every channel learn with every loss? Accuracy of `configs/lewis.py:debug` after a short run.

    python -m benchmarks.combinations [STEPS]

One pair of tiny agents, 5 symbols; digits among 16 candidates, the class of a digit (10), and the
attributes of concepts (3 attributes of 4 values). Chance is .06, .10 and .25.
"""

import contextlib
import importlib.util
import io
import sys
import tempfile
from pathlib import Path

from emcom_jax import config as config_lib
from emcom_jax.experiments.population import PopulationExperiment
from emcom_jax.runtime import run
from emcom_jax.runtime.run_directory import open_run

RECIPE = Path(__file__).parents[1] / 'configs' / 'lewis.py'
CHANNELS = ('reinforce', 'policy_gradient', 'gumbel', 'gumbel_st', 'continuous')
LOSSES = {
    'info_nce': {},
    '3 distractors': {'loss.listener.num_distractors': 3},
    'class': {
        'loss.listener.name': 'classification',
        'evaluation.best_metric': 'accuracy',
    },
    'attributes': {
        'data.name': 'concepts',
        'data.num_attributes': 3,
        'data.num_values': 4,
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.best_metric': 'accuracy',
    },
}


def accuracy(channel: str, changes: dict, variable: bool, steps: int) -> float:
    """Accuracy on test after `steps` of a run in a temporary directory."""
    spec = importlib.util.spec_from_file_location('recipe', RECIPE)
    assert spec is not None and spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    variant = 'debug' if channel == 'reinforce' else f'debug,{channel}'
    config = recipe.get_config(variant)
    common = {
        'training_steps': steps,
        'log_train_data_interval': steps,
        'save_checkpoint_interval': steps,
        'channel.variable_length': variable,
        'population.num_speakers': 1,
        'population.num_listeners': 1,
        'population.pairs_per_step': 1,
        'population.updates_per_call': steps,
        'updates.imitate.every': None,
        'evaluation.every': 0,
    }
    for key, value in (common | changes).items():
        *groups, name = key.rsplit('.', 1)
        (config_lib.get(config, groups[0]) if groups else config)[name] = value
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        config.run_dir = folder
        directory = open_run(config, f'{RECIPE}:{variant}')
        summary = run.train(PopulationExperiment, config, run.Run(config, directory, 'train'))
        directory.close()
    return summary['test'].get('accuracy@16', summary['test'].get('accuracy'))


def main(steps: int) -> None:
    print(f'accuracy on test after {steps} steps')
    print(f'{"channel":18} {"length":9}' + ''.join(f' {name:>14}' for name in LOSSES))
    for channel in CHANNELS:
        for variable in (False, True):
            if variable and channel == 'continuous':
                continue  # It has no symbol that could end a message.
            cells = [accuracy(channel, changes, variable, steps) for changes in LOSSES.values()]
            length = 'variable' if variable else 'fixed'
            print(f'{channel:18} {length:9}' + ''.join(f' {cell:14.2f}' for cell in cells))
            sys.stdout.flush()


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 600)
