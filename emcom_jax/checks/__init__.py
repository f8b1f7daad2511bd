"""Refuses impossible settings before anything compiles: the key, its value, what would be right."""

import math

from ml_collections import ConfigDict

from emcom_jax import losses
from emcom_jax.architectures import check_groups, each_group
from emcom_jax.checks.evaluation import check_best, check_evaluation, picks_referent
from emcom_jax.checks.keys import check_keys
from emcom_jax.checks.population import check_population, check_updates
from emcom_jax.checks.views import check_views
from emcom_jax.config import get, one_of, require
from emcom_jax.games import GAMES
from emcom_jax.tables import look_up
from emcom_jax.types import Source


def check(config: ConfigDict, source: Source, num_devices: int | None) -> None:
    """Checks a config against itself, the data and the devices.

    num_devices: over which a batch is divided in training; None: nothing is trained.

    Raises:
      ValueError: one sentence about the first thing that is wrong.
    """
    check_groups(config)
    _check_alike(config, source, num_devices)
    for group, one in each_group(config):
        try:
            _check_alike(one, source, num_devices)
        except ValueError as error:
            raise ValueError(f'in {group}, {error}') from None


def _check_alike(config: ConfigDict, source: Source, num_devices: int | None) -> None:
    """Checks all but what agents have apart from others of their role."""
    _check_finite(config)
    _check_counts(config)
    _check_optimizers(config)
    _check_batch(config, source, num_devices or 1)
    check_views(config, source, num_devices or 1)
    check_population(config)
    check_updates(config)
    game = look_up(GAMES, config.game.name, 'game')
    check_keys(config)
    game.check(config, source)
    check_evaluation(config, source)
    if num_devices is not None:
        check_best(config, source)


def _check_finite(config: ConfigDict, group: str = '') -> None:
    for name, value in config.items():
        if isinstance(value, ConfigDict):
            _check_finite(value, f'{group}{name}.')
        elif isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f'{group}{name}={value!r} must be a finite number')


def _check_counts(config: ConfigDict) -> None:
    """Numbers that must be positive."""
    for key in (
        'training_steps',
        'replicas',
        'log_train_data_interval',
        'save_checkpoint_interval',
        'max_checkpoints_to_keep',
        'data.batch_size',
        'speaker.hidden_size',
        'speaker.embed_size',
        'speaker.num_layers',
        'speaker.num_heads',
        'listener.hidden_size',
        'listener.embed_size',
        'listener.num_layers',
        'listener.num_heads',
        'population.num_speakers',
        'population.num_listeners',
        'population.pairs_per_step',
        'population.updates_per_call',
        'evaluation.redraws',
        'evaluation.batch_size',
    ):
        require(config, key, get(config, key) >= 1, 'must be at least 1')
    for key in ('speaker.torso_sizes', 'speaker.head_sizes', 'listener.projection_sizes'):
        good = all(type(size) is int and size >= 1 for size in get(config, key))
        require(config, key, good, 'must hold whole numbers of at least 1')
    require(config, 'training_steps', config.training_steps < 2**31, f'must be less than {2**31:,}')
    needed = config.speaker.torso != 'mlp' or len(config.speaker.torso_sizes) > 0
    require(config, 'speaker.torso_sizes', needed, "must not be empty for speaker.torso='mlp'")
    full = len(config.listener.projection_sizes) > 0
    require(config, 'listener.projection_sizes', full, 'must not be empty')
    require(
        config, 'interval_type', config.interval_type in ('steps', 'secs'), one_of('steps', 'secs')
    )


def _check_optimizers(config: ConfigDict) -> None:
    for role in ('speaker', 'listener', 'shared'):
        group, at = config.optimizer[role], f'optimizer.{role}'
        require(config, f'{at}.learning_rate', group.learning_rate > 0, 'must be above 0')
        warm = 0 <= group.warmup_steps <= config.training_steps
        within = f'must lie between 0 and training_steps={config.training_steps}'
        require(config, f'{at}.warmup_steps', warm, within)
        # optax takes a decay to nothing for no decay at all.
        exponential = group.schedule == 'exponential'
        ends = group.end_factor > 0 or (group.end_factor == 0 and not exponential)
        lowest = 'must be above 0' if exponential else 'must not be negative'
        require(config, f'{at}.end_factor', ends, f'{lowest} for schedule={group.schedule!r}')
        clips = group.clip_norm is None or group.clip_norm > 0
        require(config, f'{at}.clip_norm', clips, 'must be above 0')
        for name in ('b1', 'b2', 'momentum', 'decay'):
            good = group[name] is None or 0 <= group[name] < 1
            require(config, f'{at}.{name}', good, 'must lie in [0, 1)')
        for name in ('eps', 'weight_decay'):
            good = group[name] is None or group[name] >= 0
            require(config, f'{at}.{name}', good, 'must not be negative')
        for name in ('trust_coefficient', 'scale_with_batch'):
            good = group[name] is None or group[name] > 0
            require(config, f'{at}.{name}', good, 'must be above 0')
        for name in ('frozen', 'clip_apart'):
            paths = all(isinstance(path, str) and path for path in group[name] or ())
            require(config, f'{at}.{name}', paths, 'must hold paths of modules')
        clips = group.clip_norm is not None or group.clip_apart is None
        require(config, f'{at}.clip_apart', clips, f'has no effect without {at}.clip_norm: set it')
    for name in ('entropy', 'kl', 'length_cost'):
        positive = config.loss.speaker[name] >= 0
        require(config, f'loss.speaker.{name}', positive, 'must not be negative')


def _check_batch(config: ConfigDict, source: Source, num_devices: int) -> None:
    batch = config.data.batch_size
    size = len(source.splits['train'].inputs)
    require(
        config,
        'data.batch_size',
        batch % num_devices == 0,
        f'must be a multiple of the number of devices, which is {num_devices}',
    )
    require(
        config,
        'data.batch_size',
        batch <= size,
        f'must be at most {size}, the number of training examples of {source.name}',
    )
    files = config.data.name == 'features' or config.data.listener_path is None
    require(config, 'data.listener_path', files, "is read only with data.name='features'")
    listener = config.loss.listener
    others = (batch if listener.across_devices else batch // num_devices) - 1
    distractors = listener.num_distractors
    picks = picks_referent(config)
    require(
        config,
        'data.batch_size',
        others >= 1 or not picks,
        'leaves a listener no other candidate: it must be larger',
    )
    require(
        config,
        'loss.listener.num_distractors',
        distractors is None
        or look_up(losses.LISTENER_LOSSES, listener.name, 'listener loss').chooses,
        f'means nothing for loss.listener.name={listener.name!r}: leave it unset',
    )
    require(
        config,
        'loss.listener.num_distractors',
        distractors is None or 1 <= distractors <= others,
        f'must lie between 1 and {others}, the number of other candidates in a batch',
    )
    by_game = listener.name in ('hinge', 'cross_entropy') and distractors is not None
    local = batch // num_devices
    whole = not by_game or local % (1 + distractors) == 0
    sentence = f'must divide the {local} examples of a device into games of 1 more than that'
    require(config, 'loss.listener.num_distractors', whole, sentence)
    require(
        config,
        'data.dtype',
        config.data.dtype in ('float16', 'float32'),
        one_of('float16', 'float32'),
    )
