"""The sketching game: agents talk by drawing.

Paper: Mihai & Hare, Learning to draw: emergent communication through sketching, NeurIPS 2021.

    python -m emcom_jax.main --config=configs/sketching.py            small, on drawn scenes
    python -m emcom_jax.main --config=configs/sketching.py:VARIANT

    debug            seconds; combines with the others: debug,original
    original         the sender's own image among random others of the batch
    same             the sender's own image among one image of each class
    different        another image of the target's class among these; as without a variant
    perceptual       drawings should look like what is drawn, to a frozen trunk
    curves           cubic Bezier strokes
    gates            the sender chooses how many strokes it draws, each at a cost
    attention        strokes one after another, with attention to image and canvas
    separate         a trunk for each agent
    population       four sketchers, four who guess
    photos           crops of nine photographs
    stl10_original, stl10_same, stl10_different, caltech101, celeba, cifar10
                     the paper's recipes: VGG16 up to relu5_3, frozen, 20 lines, perceptual loss

Weights of VGG16 come from a file of torchvision's, of ImageNet or of Stylized-ImageNet:

    --config.speaker.trunk.weights=vgg16.pth

or from a run: a trunk that the discrimination game or SimCLR has trained. Without any it is random.
Caltech-101 and CelebA are read from --config.data.path, a folder of class folders.

Expected without a variant: after 12,000 steps, about nine minutes on two CPU cores (and two more to
draw the scenes, once), 0.96 of the drawings of unseen scenes are understood among 10 candidates.
"""

from ml_collections import ConfigDict

from emcom_jax import config as config_lib

SMALL = {
    'training_steps': 12_000,
    'data.name': 'shapes',
    'data.num_images': 49_152,
    'data.batch_size': 100,
    'data.channels': 'plain',
    'game.name': 'sketching',
    'game.views': 'same_class',
    'game.distractors': 'one_of_each',
    'game.together': 10,
    'channel.kind': 'drawing',
    'channel.vocab_size': 0,
    'channel.length': 20,
    # Wide strokes first: those that are thin and in a wrong place tell nothing of where to go.
    'channel.sigma2': 5e-2,
    'channel.sigma2_end': 5e-3,
    'speaker.trunk.name': 'small_cnn',
    'speaker.trunk.width': 16,
    'speaker.head_sizes': (64, 256),
    'listener.projection_sizes': (64, 64),
    'loss.speaker.name': 'pathwise',
    'loss.speaker.entropy': 0.0,
    'loss.speaker.kl': 0.0,
    'loss.listener.name': 'hinge',
    'loss.listener.num_distractors': 9,
    'loss.listener.temperature': 1.0,
    'loss.perceptual.weights': (1.0, 1.0, 1.0, 1.0),
    'optimizer.speaker.learning_rate': 1e-3,
    'optimizer.listener.learning_rate': 1e-3,
    'optimizer.shared.learning_rate': 1e-3,
    'population.updates_per_call': 1,
    'evaluation.every': 1000,
    'evaluation.num_candidates': (10,),
    'evaluation.distractors': 'hard',
    'evaluation.batch_size': 256,
    'evaluation.metrics': ('accuracy', 'voting'),
    'evaluation.best_metric': 'accuracy@10',
    'evaluation.noise_ladder': True,
}

ORIGINAL = {
    'game.views': 'same',
    'game.distractors': 'random',
    'evaluation.distractors': 'random',
    'loss.listener.num_distractors': None,
    'evaluation.num_candidates': (10, 100),
    'evaluation.best_metric': 'accuracy@100',
}
SAME = {
    'game.views': 'same',
    'game.distractors': 'one_of_each',
    'evaluation.distractors': 'hard',
    'loss.listener.num_distractors': 9,
    'evaluation.num_candidates': (10,),
    'evaluation.best_metric': 'accuracy@10',
}
DIFFERENT = SAME | {'game.views': 'same_class'}

ROLES = ('speaker', 'listener', 'shared')

# Sections 3.2 and 4.1 of the paper; a batch is 100 images.
PAPER = {
    'data.channels': 'imagenet',
    'channel.sigma2': 5e-4,
    'channel.sigma2_end': None,
    'speaker.trunk.name': 'vgg16',
    'speaker.trunk.width': 64,
    'speaker.trunk.frozen': True,
    'loss.perceptual.coefficient': 1.0,
    'loss.perceptual.weights': (1.0, 1.0, 1.0, 1.0, 1.0),
    **{f'optimizer.{role}.learning_rate': 1e-4 for role in ROLES},
    **{f'optimizer.{role}.schedule': 'constant' for role in ROLES},
    'evaluation.noise_ladder': False,
}
# 250 epochs of 49 batches.
STL10 = PAPER | {'training_steps': 12_250, 'data.name': 'stl10', 'data.image_size': 96}

VARIANTS = {
    'small': SMALL,
    'original': ORIGINAL,
    'same': SAME,
    'different': DIFFERENT,
    'perceptual': {'speaker.trunk.frozen': True, 'loss.perceptual.coefficient': 1.0},
    'curves': {'channel.stroke': 'cubic'},
    'gates': {'channel.gates': True, 'loss.speaker.length_cost': 0.01},
    'attention': {
        'game.shared_projection': False,
        'speaker.attention': 32,
    },
    'separate': {
        'game.shared_trunk': False,
        'game.shared_projection': False,
        'listener.trunk.name': 'small_cnn',
        'listener.trunk.width': 16,
    },
    'population': {
        'population.num_speakers': 4,
        'population.num_listeners': 4,
        'population.pairs_per_step': 4,
    },
    'photos': {
        'data.name': 'photos',
        'data.num_images': 12_288,
        'game.together': 9,
        'data.batch_size': 99,
        'loss.listener.num_distractors': 8,
        'evaluation.num_candidates': (9,),
        'evaluation.best_metric': 'accuracy@9',
    },
    'stl10_original': STL10 | ORIGINAL,
    'stl10_same': STL10 | SAME,
    'stl10_different': STL10 | DIFFERENT,
    'caltech101': PAPER
    | ORIGINAL
    | {'training_steps': 15_000, 'data.name': 'image_folder', 'data.image_size': 128},
    'celeba': PAPER
    | ORIGINAL
    | {'training_steps': 100_000, 'data.name': 'image_folder', 'data.image_size': 112},
    'cifar10': PAPER
    | ORIGINAL
    | {
        'training_steps': 45_000,
        'data.name': 'cifar10',
        'channel.sigma2': 5e-3,
        'evaluation.num_candidates': (10, 100),
    },
    'debug': {
        'training_steps': 4,
        'log_train_data_interval': 2,
        'save_checkpoint_interval': 2,
        'data.name': 'shapes',
        'data.num_images': 384,
        'data.image_size': 16,
        'data.batch_size': 8,
        'game.together': 4,
        'game.latent_size': 8,
        'channel.length': 3,
        'speaker.trunk.name': 'small_cnn',
        'speaker.trunk.width': 2,
        'speaker.head_sizes': (8,),
        'speaker.hidden_size': 8,
        'speaker.embed_size': 4,
        'listener.trunk.width': 2,
        'listener.projection_sizes': (8, 8),
        'loss.listener.num_distractors': 3,
        'loss.perceptual.weights': (1.0, 1.0, 1.0, 1.0),
        'evaluation.every': 2,
        'evaluation.num_candidates': (4,),
        'evaluation.redraws': 2,
        'evaluation.batch_size': 16,
        'evaluation.noise_images': 8,
        'evaluation.best_metric': 'accuracy@4',
    },
}


def get_config(variant: str = '') -> ConfigDict:
    return config_lib.recipe(f'small,{variant}' if variant else 'small', VARIANTS)
