"""The discrimination game from pixels: agents learn to see by talking about images.

Paper: Dessì, Kharitonov & Baroni, Interpretable agent communication from scratch (with a generic
visual processor emerging on the side), NeurIPS 2021.

    python -m emcom_jax.main --config=configs/discrimination.py            small, on drawn scenes
    python -m emcom_jax.main --config=configs/discrimination.py:VARIANT

    debug            seconds; combines with the others: debug,no_augmentation
    no_augmentation  both agents see the image as it is
    viewpoint        the listener sees the object from elsewhere
    same_class       the listener sees another example of the class
    separate         a trunk for each agent
    wordnet          WNSim besides nMI; needs WordNet
    lazaridou2017    an older architecture: games of two candidates, both of which the speaker sees
    photos           crops of nine photographs
    imagenet         the paper's recipe: ResNet-50, 2,048 symbols, 16 x 128 images, LARS, 100 epochs

One symbol is said of an image and understood among all others of the batch.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

METRICS = (
    'accuracy',
    'message_entropy',
    'distinct_messages',
    'normalized_mutual_information',
    'symbol_frequencies',
    'representation_similarity',
)

SMALL = {
    'training_steps': 10_000,
    'data.name': 'shapes',
    'data.batch_size': 128,
    'game.name': 'discrimination',
    'game.views': 'augmented',
    'channel.kind': 'gumbel',
    'channel.length': 1,
    'channel.vocab_size': 256,
    'channel.temperature': 5.0,
    'speaker.trunk.name': 'resnet10',
    'speaker.trunk.width': 16,
    'speaker.trunk.stem': 'small',
    'speaker.trunk.max_pool': True,
    'speaker.head': 'policy',
    'listener.projection_sizes': (256, 256),
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.listener.temperature': 0.1,
    'optimizer.speaker.learning_rate': 1e-3,
    'optimizer.listener.learning_rate': 1e-3,
    'optimizer.shared.learning_rate': 1e-3,
    'population.updates_per_call': 1,
    'evaluation.every': 1000,
    'evaluation.num_candidates': (16, 128),
    'evaluation.batch_size': 256,
    'evaluation.metrics': METRICS,
    'evaluation.noise_ladder': True,
}

ROLES = ('speaker', 'listener', 'shared')


def _optimizers(**keys: object) -> dict[str, object]:
    """The same optimiser for all."""
    return {f'optimizer.{role}.{key}': value for role in ROLES for key, value in keys.items()}


# Section 3 of the paper; 100 epochs of 1,281,167 images.
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
    'listener.projection_sizes': (2048, 2048),
    'evaluation.every': 5000,
    'evaluation.noise_images': 384 * 128,
    **_optimizers(name='lars', learning_rate=2.4, weight_decay=1e-5, momentum=0.9),
}

# Lazaridou, Peysakhovich & Baroni, Multi-agent cooperation and the emergence of (natural) language,
# ICLR 2017: games of two, 50 dimensions, 20 filters, 100 symbols, learnt from success alone.
GAMES_OF_TWO = {
    'loss.listener.num_distractors': 1,
    'evaluation.distractors': 'context',
    'evaluation.num_candidates': (2,),
    'evaluation.redraws': 1,
    'evaluation.best_metric': 'accuracy@2',
}
LAZARIDOU = {
    'game.views': 'same',
    'channel.kind': 'categorical',
    'channel.vocab_size': 100,
    'speaker.context': 'informed',  # informed | agnostic
    'speaker.embed_size': 50,
    'speaker.hidden_size': 20,
    'speaker.head': 'policy_value',
    'listener.projection_sizes': (50,),
    'loss.speaker.name': 'reinforce',
    'loss.listener.name': 'cross_entropy',
    'loss.listener.temperature': 1.0,
    **GAMES_OF_TWO,
}

VARIANTS = {
    'small': SMALL,
    'no_augmentation': {'game.views': 'same'},
    'viewpoint': {'game.views': 'viewpoint'},
    'same_class': {'game.views': 'same_class'},
    'separate': {
        'game.shared_trunk': False,
        'listener.trunk.name': 'resnet10',
        'listener.trunk.width': 16,
        'listener.trunk.stem': 'small',
        'listener.trunk.max_pool': True,
    },
    'wordnet': {'evaluation.metrics': (*METRICS, 'wordnet_similarity')},
    'lazaridou2017': LAZARIDOU,
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
        'listener.trunk.width': 4,
        'listener.projection_sizes': (8, 8),
        'evaluation.every': 3,
        'evaluation.num_candidates': (4,),
        'evaluation.redraws': 2,
        'evaluation.batch_size': 8,
        'evaluation.noise_images': 8,
        'evaluation.best_metric': 'accuracy@4',
    },
}


def get_config(variant: str = '') -> ConfigDict:
    config = config_lib.recipe(f'small,{variant}' if variant else 'small', VARIANTS)
    if 'lazaridou2017' in variant.split(','):  # As many candidates as speakers see, in debug too.
        config.update_from_flattened_dict(GAMES_OF_TWO)
    return config
