"""Experiments on the agents of another run: their defaults, and which keys they take from it."""

from typing import Any

# The defaults of experiments, where they are others than those of `config.base`.
DEFAULTS: dict[str, dict[str, Any]] = {
    'population': {},
    'ease_of_learning': {
        'training_steps': 2000,
        'random_seed': 7,  # Not that of the run, whose listeners began at its own seed.
        'log_train_data_interval': 20,
        'optimizer.listener.learning_rate': 1e-3,
        'optimizer.listener.schedule': 'constant',
        'evaluation.every': 0,
        'evaluation.metrics': ('accuracy',),
        'evaluation.train': True,  # Information loss and co-adaptation are stated of each split.
        'evaluation.interventions': False,  # Listeners are asked by their own speakers alone.
        'evaluation.noise_ladder': False,
    },
    'newcomer': {
        'training_steps': 2000,
        'random_seed': 7,  # Not that of the run, whose residents began at its own seed.
        'log_train_data_interval': 20,
        # They learn as the residents did, but at a constant rate.
        'optimizer.speaker.schedule': 'constant',
        'optimizer.speaker.warmup_steps': 0,
        'optimizer.listener.schedule': 'constant',
        'optimizer.listener.warmup_steps': 0,
        'evaluation.every': 0,
        'evaluation.metrics': ('accuracy',),
        'evaluation.interventions': False,
        'evaluation.noise_ladder': False,
    },
    'linear_evaluation': {
        'training_steps': 300,  # Of the optimiser of a classifier, at most.
        'random_seed': 7,
    },
}

# Their own groups.
GROUPS: dict[str, dict[str, Any]] = {
    'ease_of_learning': {
        'max_speakers': 10,  # Of each replica, the first ones.
        'listeners_per_speaker': 3,
        'steps': (100, 300, 1000),  # At which the accuracy is stated.
    },
    'newcomer': {
        'role': 'listener',  # listener | speaker
        'count': 5,  # Newcomers in each replica, each alone with the residents of the other role.
        'shares': (0.5, 0.75, 0.9),  # Of the residents' accuracy, whose cost is stated.
        'steps': (100, 300, 1000),  # At which the accuracy is stated.
    },
    'linear_evaluation': {
        'trunk': 'auto',  # shared | speaker | listener (the first); auto: shared, else speaker.
        # Names of data sources, or keys of the data group: ('shapes', {'name': 'photos', ...}).
        # Empty: the run's own. What is not said of its own is as in the run; of others only
        # image_size is.
        'data': (),
        'shares': (0.01, 0.1, 1.0),  # Of the labels of each class that are known in training ...
        'per_class': (),  # ... and, besides, so many of each class.
        'draws': 3,  # Of the known ones, unless all are.
        'l2': (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0),  # Strengths, of which valid decides.
        'pixels': 16,  # The side of the images whose pixels are set beside; 0: none are.
        'batch_size': 256,  # Images that a trunk sees at a time.
    },
}

# Of experiments that train no agents: the keys that they have besides, of those at the top.
KEPT = {
    'linear_evaluation': ('training_steps', 'random_seed', 'experiment', 'run_dir', 'from_run'),
}

# What they take from the run of `from_run`, or derive: None unless it is set.
_ANY = (
    *('replicas', 'data', 'game', 'channel', 'speaker', 'listener', 'loss', 'evaluation'),
    *('population.num_speakers', 'population.num_listeners', 'population.pairs_per_step'),
    *('population.pairing', 'population.pairs', 'population.graph', 'population.structure'),
    *('population.speaker_learns', 'population.listener_learns', 'population.updates_per_call'),
)
TAKEN = {'ease_of_learning': _ANY, 'newcomer': (*_ANY, 'optimizer')}
# Of these, what is their own.
OWN = ('evaluation.every', 'evaluation.patience', 'evaluation.threshold')
