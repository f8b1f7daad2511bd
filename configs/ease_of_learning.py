"""Ease of learning: how fast fresh listeners acquire the language of a run's speakers.

Papers: Li & Bowling, Ease-of-teaching and language structure from emergent communication, NeurIPS
2019; Chaabouni et al., Emergent communication at scale, ICLR 2022.

    python -m emcom_jax.main --config=configs/ease_of_learning.py --config.from_run=runs/lewis
    python -m emcom_jax.main --config=configs/ease_of_learning.py:VARIANT --config.from_run=...

    classification  listeners name the class in place of picking the referent
    attributes      listeners name the attributes
    shuffled        a control: listeners hear what was said of other referents; must stay at chance
    imagenet        the paper's setting: batches of 4,096, 10,000 steps
    debug           seconds; combines with the others

Speakers are frozen. Data, game, channel and the listeners' architecture are those of the run,
unless they are set here: so a language is probed on other data by --config.data.name=...
The experiment's own defaults are in `emcom_jax/probes.py`.

Expected on the digits after `configs/lewis.py`: accuracy 0.5 among 128 candidates after some 300
steps.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

VARIANTS = {
    'classification': {
        'loss.listener.name': 'classification',
        'evaluation.best_metric': 'accuracy',
    },
    'attributes': {
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.best_metric': 'accuracy',
    },
    'shuffled': {'channel.shuffled': True},
    'imagenet': {
        'data.batch_size': 4096,
        'training_steps': 10_000,
        'evaluation.train': False,  # It is large.
    },
    'debug': {
        'training_steps': 20,
        'data.batch_size': 16,
        'log_train_data_interval': 5,
        'save_checkpoint_interval': 10,
        'ease_of_learning.steps': (10, 20),
        'ease_of_learning.listeners_per_speaker': 2,
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(variant, VARIANTS, 'ease_of_learning')
