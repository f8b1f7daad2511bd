"""Claims of the field at the scale of two CPU cores: docs/reproductions.md has the verdicts.

    python -m benchmarks.reproductions CLAIM       makes all runs of a claim, its figure and numbers
    python -m emcom_jax.main --config=configs/reproductions.py:VARIANT       makes one of the runs

    kl            many candidates: does the KL to a moving average keep training stable?
    candidates    more candidates in training: what becomes of generalisation and ease of learning?
    imitation     ten pairs: do imitation and voting help?
    partitioned   listeners that learn from their own speaker alone, in populations of 1 to 8
    generations   iterated learning: does it raise topographic similarity?
    worlds        attribute worlds: which combinations never heard of are understood?
    debug         seconds; combines with the others: debug,kl

Seeds are replicas, so that runs of one claim are paired by seed.
"""

from typing import Any

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

# Small agents: what takes hours of a GPU in the papers takes minutes here.
DEFAULT: dict[str, Any] = {
    'replicas': 5,
    'random_seed': 1,
    'data.name': 'concepts',
    'channel.length': 6,
    'speaker.hidden_size': 64,
    'listener.hidden_size': 64,
    'listener.projection_sizes': (64,),
    'evaluation.metrics': (
        'accuracy',
        'topographic_similarity',
        'message_entropy',
        'distinct_messages',
    ),
    'evaluation.redraws': 2,
}

CONSTANT = {
    'optimizer.speaker.schedule': 'constant',
    'optimizer.listener.schedule': 'constant',
}

# 20,736 combinations, seen as 512 features with noise.
FEATURES = {
    'data.num_values': 12,
    'data.num_features': 512,
    'data.feature_noise': 0.3,
    'data.batch_size': 1024,
    'evaluation.num_candidates': (16, 1024),
    'evaluation.best_metric': 'accuracy@1024',
}

CLAIMS: dict[str, dict[str, Any]] = {
    'kl': FEATURES
    | CONSTANT
    | {
        'training_steps': 5000,
        'evaluation.every': 250,
        'channel.length': 4,
        'speaker.hidden_size': 32,
        'listener.hidden_size': 32,
        'loss.speaker.entropy': 0.0,
        'evaluation.metrics': ('accuracy', 'message_entropy'),
    },
    'candidates': FEATURES
    | {
        'replicas': 6,
        'training_steps': 3000,
        'data.num_features': 128,
        'data.held_out': 0.4,
        'evaluation.every': 1000,
    },
    'imitation': {
        'training_steps': 3000,
        'data.num_features': 64,
        'data.feature_noise': 0.3,
        'evaluation.every': 1000,
        'evaluation.num_candidates': (128, 1024),
        'evaluation.best_metric': 'accuracy@1024',
        'evaluation.metrics': ('accuracy', 'voting', 'topographic_similarity', 'speaker_distance'),
    },
    'partitioned': {
        'training_steps': 4000,
        'data.batch_size': 64,
        'data.num_attributes': 3,
        'channel.length': 4,
        'evaluation.every': 0,
        'evaluation.num_candidates': (72,),
        'evaluation.best_metric': 'accuracy@72',
        'evaluation.metrics': (
            'accuracy',
            'topographic_similarity',
            'speaker_distance',
            'disentanglement',
        ),
    },
    'generations': CONSTANT
    | {
        'replicas': 8,
        'training_steps': 48_000,
        'data.num_attributes': 2,
        'data.num_values': 8,
        'data.batch_size': 32,
        'channel.vocab_size': 8,
        'channel.length': 2,
        'loss.listener.num_distractors': 15,
        'optimizer.speaker.learning_rate': 1e-3,
        'optimizer.listener.learning_rate': 1e-3,
        'evaluation.train': True,
        'evaluation.every': 0,
        'save_checkpoint_interval': 8000,
        'evaluation.num_candidates': (4,),
        'evaluation.best_metric': 'accuracy@4',
        'evaluation.metrics': ('accuracy', 'topographic_similarity', 'disentanglement'),
    },
    'worlds': {
        'training_steps': 8000,
        'data.batch_size': 256,
        'loss.listener.name': 'multi_classification',
        'loss.listener.label': 'attributes',
        'evaluation.every': 0,
        'evaluation.train': True,
        'evaluation.best_metric': 'accuracy',
    },
}


DEBUG = {
    'replicas': 2,
    'training_steps': 20,
    'log_train_data_interval': 10,
    'save_checkpoint_interval': 10,
    'data.batch_size': 32,
    'speaker.hidden_size': 8,
    'listener.hidden_size': 8,
    'listener.projection_sizes': (8,),
    'evaluation.every': 10,
}

VARIANTS = {name: DEFAULT | changes for name, changes in CLAIMS.items()} | {'debug': DEBUG}


def get_config(variant: str = 'generations') -> ConfigDict:
    return config_lib.recipe(variant, VARIANTS)
