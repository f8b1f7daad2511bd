"""SimCLR on the data of the discrimination game: to compare agents that learn to see by talking.

Paper: Chen, Kornblith, Norouzi & Hinton, A simple framework for contrastive learning of visual
representations, ICML 2020; as a communicator: Dessì, Kharitonov & Baroni, Interpretable agent
communication from scratch (with a generic visual processor emerging on the side), NeurIPS 2021.

    python -m emcom_jax.main --config=configs/simclr.py            small, on drawn scenes
    python -m emcom_jax.main --config=configs/simclr.py:VARIANT

    debug         seconds; combines with the others: debug,photos
    viewpoint     the other view shows the object from elsewhere
    same_class    the other view shows another example of the class
    photos        crops of nine photographs
    imagenet      the paper's recipe: ResNet-50, 2,048 units, 16 x 128 images, LARS, 100 epochs

Data, trunk and steps are those of configs/discrimination.py. In evaluation the most active unit of
the layer s is said; `--config.evaluation.symbols_from` chooses another layer.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

SMALL = {
    'training_steps': 10_000,
    'data.name': 'shapes',
    'data.batch_size': 128,
    'game.name': 'simclr',
    'game.views': 'augmented',
    'channel.length': 1,
    'channel.vocab_size': 256,
    'speaker.trunk.name': 'resnet10',
    'speaker.trunk.width': 16,
    'speaker.trunk.stem': 'small',
    'speaker.trunk.max_pool': True,
    'listener.projection_sizes': (256,),
    'loss.speaker.name': 'none',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.listener.name': 'nt_xent',
    'loss.listener.temperature': 0.1,
    'optimizer.shared.learning_rate': 1e-3,
    'population.updates_per_call': 1,
    'evaluation.every': 1000,
    'evaluation.num_candidates': (16, 128),
    'evaluation.batch_size': 256,
    'evaluation.metrics': ('accuracy', 'message_entropy', 'distinct_messages'),
    'evaluation.noise_ladder': True,
}

# As configs/discrimination.py:imagenet; 100 epochs of 1,281,167 images.
IMAGENET = {
    'training_steps': 62_500,
    'log_train_data_interval': 100,
    'save_checkpoint_interval': 1000,
    'data.name': 'image_folder',
    'data.batch_size': 2048,
    'data.image_size': 224,
    'channel.vocab_size': 2048,
    'speaker.trunk.name': 'resnet50',
    'speaker.trunk.width': 64,
    'speaker.trunk.stem': 'imagenet',
    'speaker.trunk.max_pool': True,
    'speaker.trunk.precision': 'bf16',
    'listener.projection_sizes': (2048,),
    'optimizer.shared.name': 'lars',
    'optimizer.shared.learning_rate': 2.4,
    'optimizer.shared.weight_decay': 1e-5,
    'optimizer.shared.momentum': 0.9,
    'evaluation.every': 5000,
    'evaluation.noise_images': 384 * 128,
}

VARIANTS = {
    'small': SMALL,
    'viewpoint': {'game.views': 'viewpoint'},
    'same_class': {'game.views': 'same_class'},
    'photos': {'data.name': 'photos'},
    'imagenet': IMAGENET,
    'debug': {
        'training_steps': 6,
        'log_train_data_interval': 2,
        'save_checkpoint_interval': 3,
        'data.name': 'shapes',
        'data.num_images': 64,
        'data.image_size': 16,
        'data.batch_size': 8,
        'channel.vocab_size': 8,
        'speaker.trunk.name': 'small_cnn',
        'speaker.trunk.width': 4,
        'listener.projection_sizes': (8,),
        'evaluation.every': 3,
        'evaluation.num_candidates': (4,),
        'evaluation.redraws': 2,
        'evaluation.batch_size': 8,
        'evaluation.noise_images': 8,
        'evaluation.best_metric': 'accuracy@4',
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(f'small,{variant}' if variant else 'small', VARIANTS)
