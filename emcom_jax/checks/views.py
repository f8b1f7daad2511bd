"""What a config says of how referents are shown, and with whom."""

import numpy as np
from ml_collections import ConfigDict

from emcom_jax.config import one_of, require
from emcom_jax.data.augmentation import fault
from emcom_jax.data.bank import (
    ONE_OF_EACH,
    PARTNERS,
    class_label,
    is_augmented,
    is_streamed,
    partner_label,
    rival_label,
)
from emcom_jax.data.batches import make_augmentation
from emcom_jax.types import Source

VIEWS = ('same', *PARTNERS)
VIEWS += ('augmented', *(f'augmented_{name}' for name in PARTNERS))


def check_views(config: ConfigDict, source: Source, num_devices: int) -> None:
    """The views and the distractors of the group `game`, and what evaluation says of them."""
    group, images = config.game, source.splits['train'].inputs.ndim == 4
    require(config, 'game.views', group.views in VIEWS, one_of(*VIEWS))
    sentence = f'needs images, and {source.name} has features'
    require(config, 'game.views', images or not is_augmented(group), sentence)
    augmentation = make_augmentation(group)
    wrong = None if augmentation is None else fault(augmentation)
    if wrong is not None:
        name, right = wrong
        require(config, f'game.augmentation.{name}', False, right)
    augmented = is_augmented(group) or not config.evaluation.augment
    sentence = "has no effect without game.views='augmented'"
    require(config, 'evaluation.augment', augmented, sentence)
    channels = ('own', 'imagenet', 'plain')
    require(config, 'data.channels', config.data.channels in channels, one_of(*channels))
    if is_streamed(config, source):
        large = f'with the {source.name} images, more than data.most_bytes={config.data.most_bytes}'
        whole = group.views in ('same', 'augmented')
        require(config, 'game.views', whole, f"must be 'same' or 'augmented' {large}")
        require(config, 'game.distractors', group.distractors == 'random', f"is 'random' {large}")
        require(config, 'replicas', config.replicas == 1, f'must be 1 {large}')
        require(config, 'evaluation.train', not config.evaluation.train, f'must be False {large}')
        one = config.population.updates_per_call == 1
        require(config, 'population.updates_per_call', one, f'must be 1 {large}')
    known = [name for name, values in source.splits['train'].labels.items() if values.ndim == 1]
    label = partner_label(group)
    sentence = f'needs a label {label!r}, and {source.name} has {known or "none"}'
    require(config, 'game.views', label is None or label in known, sentence)
    among = ('random', 'neighbours', ONE_OF_EACH, *known)
    require(config, 'game.distractors', group.distractors in among, one_of(*among))
    label = class_label(group)
    sentence = f'needs a label {label!r}, and {source.name} has {known or "none"}'
    require(config, 'game.distractors', label is None or label in known, sentence)
    if label is not None:
        count = len(np.unique(source.splits['train'].labels[label]))
        sentence = f'must be at most {count}, the number of classes of {source.name}'
        require(config, 'game.together', group.together <= count, sentence)
        asked, others = config.loss.listener.num_distractors, group.together - 1
        sentence = f'must be {others}, as a game has game.together={group.together} candidates'
        require(config, 'loss.listener.num_distractors', asked == others, sentence)
    hard = label is not None or rival_label(group) is not None
    local = config.data.batch_size // num_devices
    if hard:
        fits = group.together >= 2 and local % group.together == 0
        sentence = f'must be at least 2 and divide the batch of a device, which is {local}'
        require(config, 'game.together', fits, sentence)
    judged = ('random', 'hard', 'context')
    require(
        config, 'evaluation.distractors', config.evaluation.distractors in judged, one_of(*judged)
    )
    sentence = "must be 'random' while game.distractors is: there are no groups"
    easy = hard or config.evaluation.distractors != 'hard'
    require(config, 'evaluation.distractors', easy, sentence)
