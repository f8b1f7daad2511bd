"""A newcomer joins a trained population: what it costs to learn the language of all its residents.

    python -m emcom_jax.main --config=configs/newcomer.py --config.from_run=runs/ten_pairs
    python -m emcom_jax.main --config=configs/newcomer.py:speaker --config.from_run=...

    speaker   newcomers speak to all the listeners (by default they listen to all the speakers)
    debug     seconds; combines with the other

All residents are frozen. Newcomers, `newcomer.count` of them at once, know nothing of each other;
in each step each plays one batch with a resident, at random. Data, game, channel, losses,
optimisers and architectures are those of the run, unless they are set here. The experiment's own
defaults are in `emcom_jax/probes.py`.

What it costs is stated as updates to 50 %, 75 % and 90 % of the accuracy that residents have with
each other; it is undefined as long as one newcomer has not come so far.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

VARIANTS = {
    'speaker': {'newcomer.role': 'speaker'},
    'debug': {
        'training_steps': 20,
        'data.batch_size': 16,
        'log_train_data_interval': 5,
        'save_checkpoint_interval': 10,
        'newcomer.count': 3,
        'newcomer.steps': (10, 20),
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(variant, VARIANTS, 'newcomer')
