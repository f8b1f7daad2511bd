"""The keys of every recipe, with their defaults.

A recipe in `configs/` starts from `base(experiment)` and states what it changes. The groups stand
in the order in which data flows: data, game, channel, speaker, listener, loss, optimizer,
population, updates, evaluation. Optional keys are placeholders, so that a flag can set them;
unknown keys are refused.
"""

import functools
import operator
from collections.abc import Iterator, Mapping
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from emcom_jax import probes
from emcom_jax.tables import look_up


def _core() -> dict[str, Any]:
    return {
        'core': 'lstm',  # lstm | gru | transformer
        'hidden_size': 128,
        'embed_size': 10,
        'num_layers': 1,  # Transformer only.
        'num_heads': 4,  # Transformer only.
    }


def _augmentation() -> dict[str, Any]:
    """See `emcom_jax.data.augmentation`."""
    return {
        'crop': True,
        'crop_scale': (0.08, 1.0),  # Share of the image's area.
        'crop_ratio': (0.75, 4 / 3),  # Width over height.
        'flip': 0.5,  # Rate of horizontal flips.
        'jitter': (0.8, 0.8, 0.8, 0.2),  # Of brightness, contrast, saturation and hue ...
        'jitter_rate': 0.8,
        'greyscale': 0.2,
        'blur': 0.5,  # Rate of Gaussian blurs ...
        'blur_sigma': (0.1, 2.0),  # ... and their deviation in pixels.
    }


def _trunk() -> dict[str, Any]:
    """See `emcom_jax.agents.vision`."""
    return {
        'name': placeholder(str),  # resnet10 | resnet18 | ... | vgg16 | small_cnn; None: none.
        'width': 64,  # Channels of the first stage.
        'stem': 'imagenet',  # imagenet: 7x7, stride 2 | small: 3x3, stride 1.
        'max_pool': True,  # After the stem.
        'zero_init': False,  # Residual blocks start as the identity.
        'precision': 'float32',  # float32 | bf16
        'weights': placeholder(str),  # Begin with those of a file, or of a run directory.
        'frozen': False,
    }


def _optimizer() -> dict[str, Any]:
    return {
        'name': 'adam',  # larc, or any optax optimiser that takes a learning rate.
        'learning_rate': 3e-3,
        'scale_with_batch': placeholder(int),  # The rate is for so many; None: for any batch.
        'schedule': 'cosine',  # constant | cosine | linear | exponential, with warm-up.
        'warmup_steps': 0,
        'end_factor': 0.0,  # The schedule ends at learning_rate * end_factor.
        'clip_norm': placeholder(float),  # Clip the agent's gradient to this global norm ...
        'clip_apart': placeholder(tuple),  # ... those of these modules by a norm of their own.
        'frozen': placeholder(
            tuple
        ),  # Modules that stay as they are, by the paths they begin with.
        # Passed to the optimiser when set; refused if it does not know them.
        'b1': placeholder(float),
        'b2': placeholder(float),
        'eps': placeholder(float),
        'weight_decay': placeholder(float),  # Of weights only, not of biases and norms.
        'momentum': placeholder(float),
        'nesterov': placeholder(bool),
        'decay': placeholder(float),
        'trust_coefficient': placeholder(float),  # lars, larc: a step's length over its weight's.
    }


def base(experiment: str = 'population') -> ConfigDict:
    """Returns the configuration that every recipe of an experiment starts from, locked."""
    config, changes = _base(), look_up(probes.DEFAULTS, experiment, 'experiment')
    config.experiment = experiment
    for key in taken(experiment):
        *groups, name = key.split('.')
        group = functools.reduce(operator.getitem, groups, config)
        group[name] = placeholder(group.get_type(name))
    config.update_from_flattened_dict(changes)
    for name in set(config) - set(probes.KEPT.get(experiment, config)):
        del config[name]
    if experiment in probes.GROUPS:
        config[experiment] = dict(probes.GROUPS[experiment])
    return config.lock()


def taken(experiment: str) -> tuple[str, ...]:
    """The keys that are None unless they are set: what an experiment takes from the run of
    `from_run`, or derives."""
    groups = probes.TAKEN.get(experiment, ())
    return tuple(
        key
        for key in _keys(_base())
        if key not in probes.OWN and any(f'{key}.'.startswith(f'{group}.') for group in groups)
    )


def _keys(config: ConfigDict, prefix: str = '') -> Iterator[str]:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            yield from _keys(value, f'{prefix}{name}.')
        else:
            yield prefix + name


def _base() -> ConfigDict:
    config = ConfigDict()
    # jaxline's own keys.
    config.training_steps = 4000
    config.random_seed = 42
    config.interval_type = 'steps'  # Unit of the two intervals below: steps | secs.
    config.log_train_data_interval = 100
    config.save_checkpoint_interval = 1000
    config.max_checkpoints_to_keep = 3
    config.replicas = 1  # Independent populations, of random_seed, random_seed + 1, ...
    config.experiment = 'population'  # A key of emcom_jax.experiments.EXPERIMENTS.
    # The run: a directory; None means runs/<recipe>[-<variant>].
    config.run_dir = placeholder(str)
    config.from_run = placeholder(str)  # Start from the agents of this run directory.

    config.data = {
        'name': 'digits',  # A key of emcom_jax.data.SOURCES.
        'path': placeholder(str),  # Where it lies; None means the folder of emcom_datasets.
        'features': 'avgpool_512',  # dialogue_files: which array is seen.
        'listener_path': placeholder(str),  # features: what listeners see, if something else.
        'batch_size': 128,  # Over all devices.
        'seed': 0,  # Of the splits that a source draws itself.
        'dtype': 'float32',  # Storage on disk and device: float16 | float32.
        'standardize': True,  # Show agents features less their mean, over their deviation ...
        'channels': 'own',  # ... of images by channel: own | imagenet | plain (0.5 and 0.5).
        'num_attributes': 4,  # concepts: number of attributes ...
        'num_values': 10,  # ... values of each ...
        'held_out': 0.2,  # ... share of combinations kept for valid and test ...
        'num_features': placeholder(int),  # ... seen through a fixed random projection; None: not.
        'feature_noise': 0.0,  # ... deviation of what an example differs by from its combination.
        # clusters: classes of each cluster of those that look alike; features as those above ...
        'cluster_sizes': (1,) * 8 + (2,) * 4 + (4,) * 2 + (8,),
        'cluster_spread': 0.3,  # ... deviation of classes from the centre; centres deviate by 1 ...
        'cluster_permuted': False,  # ... a control: classes have the descriptions of other ones.
        'image_size': 32,  # The side of images, pixels.
        'num_images': 12_288,  # Of what is drawn: of train; other splits have an eighth as many.
        'bad_files': 'skip',  # skip | refuse images that cannot be decoded.
        'most_bytes': 2**32,  # Of images on a device; batches of a larger split are streamed.
        'workers': 0,  # Processes that decode what is streamed; 0: threads.
        'ood_path': placeholder(str),  # image_folder: the class folders of the split 'ood' ...
        'ood_classes': placeholder(str),  # ... and a list of those that are in it.
    }
    config.game = {
        'name': 'lewis',  # A key of emcom_jax.games.GAMES.
        'input_noise': 0.0,  # In training; in standard deviations of each feature, for each agent.
        # Of images, what the listener sees: the same, the same augmented apart, or another example
        # of the same object or class, perhaps augmented apart as well: same | augmented |
        # viewpoint | same_class | augmented_viewpoint | augmented_same_class
        'views': 'same',
        'augmentation': _augmentation(),
        # Who is in a batch with whom: random, neighbours (in what is seen), the name of a label
        # (class, object, ...) that hard distractors share with the target, or one_of_each class ...
        'distractors': 'random',
        'together': 8,  # ... so many of whom come together.
        # One trunk for all agents, the speakers'; it learns from all games, whoever else does ...
        'shared_trunk': True,
        'shared_projection': True,  # ... sketching: and one projection of what it sees ...
        'latent_size': 64,  # ... to so many features.
    }
    config.channel = {
        # categorical | gumbel | gumbel_st | continuous; sketching: drawing; dialogue:
        # bernoulli | relaxed_bernoulli | bernoulli_st | continuous
        'kind': 'categorical',
        'vocab_size': 20,  # drawing: 0; dialogue: bits of a turn.
        # Symbols of a message, strokes of a drawing, turns of a dialogue; at most, if variable.
        'length': 10,
        # Symbol 0 then ends the message, and counts in its length; a listener ends the dialogue.
        'variable_length': False,
        'noise': 0.0,  # Rate at which symbols (bits) are replaced on their way, in training.
        'shuffled': False,  # A control: listeners hear what was said of another referent.
        'temperature': 1.0,  # Gumbel-softmax ...
        'temperature_mode': 'fixed',  # ... fixed | scheduled | learned (from temperature) ...
        'temperature_end': 0.1,  # ... scheduled: reached exponentially at training_steps.
        'stroke': 'line',  # drawing: line | quadratic | cubic | catmull_rom
        'gates': False,  # drawing: the speaker chooses how many of the strokes it draws.
        'sigma2': 5e-4,  # drawing: width of a stroke, squared; the canvas is 2 wide ...
        'sigma2_end': placeholder(
            float
        ),  # ... reached exponentially at training_steps; or as it is.
    }
    config.speaker = {
        'torso': 'identity',  # identity | mlp
        'torso_sizes': (256,),
        # discrimination: it sees the distractors, too: agnostic | informed (in embed_size
        # dimensions, with hidden_size filters) of Lazaridou et al. 2017; None: the target alone.
        'context': placeholder(str),
        **_core(),
        'head': 'policy_value',  # policy | policy_value | policy_q_value
        'head_sizes': (),  # Hidden layers of every head.
        # sketching: units of attention to image and canvas, one stroke after another; dialogue: to
        # a map of features. None: none.
        'attention': placeholder(int),
        # Dialogues: how it mixes what it sees with what it hears: sum | product | mixture ...
        'mix': 'sum',
        'deaf': False,  # ... whether it never hears the answers ...
        'baseline_size': 500,  # ... and hidden units of its baseline.
        'trunk': _trunk(),
        'groups': placeholder(tuple),  # What is different in each group: ({'core': 'gru'}, ...).
    }
    config.listener = {
        **_core(),
        'projection_sizes': (128,),  # Of the message and of the candidates; the last is the space.
        'impatient': False,  # It guesses after every symbol; all guesses count, for both agents.
        'words': 'learned',  # Dialogues: vectors of words: learned | ngrams | a GloVe text file ...
        'word_size': 100,  # ... their size, unless of a file ...
        'word_attention': placeholder(int),  # ... units of attention to words; None: their mean ...
        'sees': False,  # ... and whether it sees half of a map, the speaker the other half.
        'baseline_size': 500,
        'trunk': _trunk(),
        'groups': placeholder(tuple),  # As of speakers; with 'size', unless all are of one size.
    }
    config.loss = {
        'speaker': {
            'name': 'reinforce',  # reinforce | policy_gradient | pathwise | none: frozen speakers
            'reward': 'success',  # success | log_likelihood
            'baseline': True,  # reinforce: subtract the value head's prediction.
            'entropy': 0.01,
            'kl': 0.05,  # To the EMA speaker along the same message.
            'length_cost': 0.0,  # Reward lost for each symbol ...
            'bit_cost': 0.0,  # Dialogues: reward lost for each 1 that is said.
            'length_cost_power': 0.0,  # ... times the accuracy to this power: lazy once understood.
        },
        'listener': {
            # info_nce | nt_xent | hinge | cross_entropy | classification | multi_classification
            'name': 'info_nce',
            'num_distractors': placeholder(int),  # None: all others of the batch.
            'reduction': 'mean',  # hinge, over the candidates: mean | sum
            'memory': 0,  # discrimination: candidates of earlier steps that are distractors, too.
            'temperature': 0.1,
            'across_devices': True,  # Candidates from all devices, not only its own.
            'label': 'class',  # classification, multi_classification: which label to name.
            'entropy': 0.0,  # Dialogues: of the answers ...
            'stop_entropy': 0.0,  # ... and of the decisions to go on.
        },
        'perceptual': {  # sketching: a drawing should look like what is drawn ...
            'coefficient': 0.0,  # ... 0: it need not ...
            'weights': (1.0, 1.0, 1.0, 1.0, 1.0),  # ... to each block of the trunk.
        },
    }
    config.optimizer = {
        'speaker': _optimizer(),
        'listener': _optimizer(),
        'shared': _optimizer(),
        'target_ema': 0.99,
    }
    config.population = {
        'num_speakers': 1,
        'num_listeners': 1,
        'pairs_per_step': 1,
        'pairing': 'matching',  # matching | independent | fixed | every_speaker | every_listener
        'pairs': placeholder(tuple),  # fixed: the (speaker, listener) pairs of every step.
        'structure': 'mixing',  # mixing | partitioned | isolated (listener i is speaker i's own).
        'graph': placeholder(tuple),  # (speaker, listener) pairs that may meet; None: all.
        'speaker_learns': placeholder(tuple),  # Pairs whose games teach the speaker; None: all.
        'listener_learns': placeholder(tuple),  # Pairs whose games teach the listener; None: all.
        'speaker_speeds': placeholder(tuple),  # Factor of each speaker's learning rate; None: 1.
        'listener_speeds': placeholder(tuple),
        'speaker_chances': placeholder(tuple),  # Probability that a game teaches it; None: 1.
        'listener_chances': placeholder(tuple),
        'execution': 'auto',  # vmap | map | unroll | auto
        'updates_per_call': 50,  # Steps in one compiled call, at most; a call takes seconds.
    }
    config.updates = {
        'imitate': {
            'every': placeholder(int),  # Steps between imitations; None: never.
            'teacher': 'best',  # best | worst | random, of the speakers drawn.
            'num_students': 1,
        },
        'reset': {
            'every': placeholder(int),  # Steps between resets; None: never.
            'who': 'pair',  # speaker | listener | pair (of random agents) | all
        },
        'generations': {  # Iterated learning; best are agents of the last generation.
            'every': placeholder(int),  # Steps of a generation; None: there is only one.
            'transmit_steps': 0,  # Of these, speakers learn from those before them in so many ...
            'listen_steps': 0,  # ... and only listeners learn in the next; then all do.
        },
    }
    config.evaluation = {
        'every': 500,  # Steps between validations; 0: only at the end.
        'num_candidates': (16, 128),
        # random | hard: as game.distractors says | context: those that speakers see.
        'distractors': 'random',
        'redraws': 5,  # Draws of candidates that an accuracy is averaged over.
        'batch_size': 1024,
        'metrics': (
            'accuracy',
            'voting',
            'topographic_similarity',
            'message_entropy',
            'distinct_messages',
            'speaker_distance',
        ),
        'train': False,  # Evaluate at the end on the split that is trained on, too.
        'interventions': True,  # At the end, tamper with messages: does anybody listen?
        'noise_ladder': False,  # At the end, do agents agree about images that mean nothing?
        'noise_images': 2048,  # Of each rung; 384 x 128 in the paper.
        'max_examples': 1000,  # Of a split, for interventions and to compare pairs of messages.
        'exchange_samples': 3,  # Dialogues that the report shows in writing.
        'input_noise': 0.0,
        'augment': False,  # Agents see augmented images, as in training.
        'symbols_from': 's',  # simclr: the layer of which the most active unit is said: h | s | z.
        'channel_noise': 0.0,
        'best_metric': 'accuracy@128',  # On valid; decides the best checkpoint and early stopping.
        'best_is_highest': placeholder(bool),  # None: unless it is a loss.
        'patience': placeholder(int),  # Stop after so many validations without a better one.
        'threshold': placeholder(float),  # Stop when best_metric reaches this.
    }
    return config


def recipe(
    variant: str,
    variants: Mapping[str, Mapping[str, Any]],
    experiment: str = 'population',
) -> ConfigDict:
    """Returns `base(experiment)` with the changes that the variant of a recipe names.

    Args:
      variant: '', a name, or several with commas between them, applied in that order
        ('debug' last).
      variants: name -> {'group.key': value}.
      experiment: whose recipe it is.

    Raises:
      ValueError: a variant is unknown.
    """
    config = base(experiment)
    # A debug run must be small whatever it is that is debugged, so it has the last word.
    names = sorted(variant.split(',') if variant else (), key=lambda name: name == 'debug')
    for name in names:
        config.update_from_flattened_dict(look_up(variants, name, 'variant'))
    return config


def get(config: ConfigDict, key: str) -> Any:
    """Returns the value at 'group.key'."""
    return functools.reduce(operator.getitem, key.split('.'), config)


def require(config: ConfigDict, key: str, holds: bool, sentence: str) -> None:
    """Raises ValueError `key=value sentence` unless `holds`; the sentence says what is right."""
    if not holds:
        raise ValueError(f'{key}={get(config, key)!r} {sentence}')


def one_of(*names: str) -> str:
    """The sentence for `require` that says which values are right."""
    return 'must be one of ' + ', '.join(names)
