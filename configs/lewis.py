"""The Lewis game: a speaker names a referent, a listener picks it out among candidates.

Paper: Chaabouni et al., Emergent communication at scale, ICLR 2022.

    python -m emcom_jax.main --config=configs/lewis.py            digits, two minutes on two cores
    python -m emcom_jax.main --config=configs/lewis.py:VARIANT

    debug               seconds; combines with the others: debug,gumbel
    imitation           every ten steps a speaker imitates the best one (or itself, alone)
    policy_gradient     a dueling critic in place of REINFORCE's baseline
    gumbel, gumbel_st   Gumbel-softmax, straight-through
    continuous          real vectors for symbols: a control
    groups              LSTMs and Transformers speak, GRUs and Transformers listen
    imagenet, celeba    the paper's setting on DeepMind's BYOL features, one pair
    imagenet_imitation  ten pairs; four students imitate the best speaker every ten steps

Expected: the unseen digits are picked at about 0.95 among 128 candidates after 4,000 steps.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

DEBUG = {
    'training_steps': 30,
    'data.name': 'digits',
    'data.dtype': 'float32',
    'data.standardize': True,
    'log_train_data_interval': 10,
    'save_checkpoint_interval': 10,
    'data.batch_size': 16,
    'channel.vocab_size': 5,
    'channel.length': 3,
    'speaker.hidden_size': 16,
    'listener.hidden_size': 16,
    'listener.projection_sizes': (16,),
    'population.num_speakers': 2,
    'population.num_listeners': 2,
    'population.pairs_per_step': 2,
    'population.updates_per_call': 5,
    'updates.imitate.num_students': 1,
    'evaluation.every': 20,
    'evaluation.num_candidates': (4, 16),
    'evaluation.redraws': 2,
    'evaluation.best_metric': 'accuracy@16',
}

# Table 3 and appendix A of the paper. Its released code scores at temperature 0.5 (2 cos - 2).
PAPER = {
    'training_steps': 900_000,
    'log_train_data_interval': 1000,
    'save_checkpoint_interval': 10_000,
    'data.name': 'byol_imagenet2012',
    'data.batch_size': 1024,
    'data.dtype': 'float16',
    'data.standardize': False,
    'speaker.hidden_size': 256,
    'listener.hidden_size': 512,
    'listener.projection_sizes': (256,),
    'loss.speaker.entropy': 1e-4,
    'loss.speaker.kl': 0.5,
    'loss.listener.temperature': 0.5,
    'optimizer.speaker.learning_rate': 1e-4,
    'optimizer.speaker.schedule': 'constant',
    'optimizer.listener.learning_rate': 1e-4,
    'optimizer.listener.schedule': 'constant',
    'evaluation.every': 10_000,
    'evaluation.num_candidates': (16, 64, 256, 1024),
    'evaluation.best_metric': 'loss@1024',
}

PATHWISE = {'loss.speaker.name': 'pathwise', 'speaker.head': 'policy'}

VARIANTS = {
    'imitation': {'updates.imitate.every': 10},
    'debug': DEBUG,
    'policy_gradient': {
        'loss.speaker.name': 'policy_gradient',
        'speaker.head': 'policy_q_value',
    },
    'gumbel': PATHWISE | {'channel.kind': 'gumbel'},
    'gumbel_st': PATHWISE | {'channel.kind': 'gumbel_st'},
    'continuous': PATHWISE
    | {
        'channel.kind': 'continuous',
        'loss.speaker.entropy': 0.0,
        'loss.speaker.kl': 0.0,
        'evaluation.metrics': ('accuracy', 'voting'),
    },
    'groups': {
        'speaker.groups': ({'core': 'lstm'}, {'core': 'transformer'}),
        'listener.groups': ({'core': 'gru'}, {'core': 'transformer'}),
        'population.num_speakers': 4,
        'population.num_listeners': 4,
        'population.pairs_per_step': 4,
    },
    'imagenet': PAPER,
    'celeba': PAPER | {'data.name': 'byol_celeb_a2', 'training_steps': 300_000},
    'imagenet_imitation': PAPER
    | {
        'population.num_speakers': 10,
        'population.num_listeners': 10,
        'population.pairs_per_step': 10,
        'updates.imitate.every': 10,
        'updates.imitate.num_students': 4,
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(variant, VARIANTS)
