"""What a config says of who meets whom, and of what happens to a population now and then."""

import math

from ml_collections import ConfigDict

from emcom_jax.architectures import has_groups, spans
from emcom_jax.config import one_of, require


def check_population(config: ConfigDict) -> None:
    """The group `population`."""
    group = config.population
    pairings = ('matching', 'independent', 'fixed', 'every_speaker', 'every_listener')
    modes = ('auto', 'vmap', 'map', 'unroll')
    require(config, 'population.pairing', group.pairing in pairings, one_of(*pairings))
    require(config, 'population.execution', group.execution in modes, one_of(*modes))
    fewer = min(group.num_speakers, group.num_listeners)
    if group.pairing == 'matching':
        require(
            config,
            'population.pairs_per_step',
            group.pairs_per_step <= fewer,
            f'must be at most {fewer}: under matching every agent plays at most once a step',
        )
    if group.pairing.startswith('every_'):
        role = group.pairing.removeprefix('every_')
        count = group[f'num_{role}s']
        sentence = f'must be {count}: under {group.pairing} each {role} plays once a step'
        require(config, 'population.pairs_per_step', group.pairs_per_step == count, sentence)
    if group.pairing == 'fixed':
        require(config, 'population.pairs', bool(group.pairs), 'must list pairs for pairing=fixed')
        require(
            config,
            'population.pairs_per_step',
            group.pairs_per_step == len(group.pairs),
            f'must be {len(group.pairs)}, the number of population.pairs',
        )
        require(config, 'population.graph', group.graph is None, 'is not read with pairing=fixed')
    else:
        require(config, 'population.pairs', group.pairs is None, 'is read only with pairing=fixed')
    _check_structure(config)
    _check_paces(config)
    if has_groups(config):
        _check_meetings_of_groups(config)


def _check_meetings_of_groups(config: ConfigDict) -> None:
    group = config.population
    fits = group.pairing in ('matching', 'fixed')
    sentence = (
        "must be 'matching' or 'fixed' with groups: how many pairs of two groups meet is fixed"
    )
    require(config, 'population.pairing', fits, sentence)
    sentence = 'cannot be set with speaker.groups or listener.groups, of which all may meet'
    require(config, 'population.graph', group.graph is None, sentence)
    plays = group.structure != 'isolated' or group.pairs_per_step == group.num_speakers
    sentence = f"must be {group.num_speakers}, all of them, with groups and structure='isolated'"
    require(config, 'population.pairs_per_step', plays, sentence)


def _check_structure(config: ConfigDict) -> None:
    group = config.population
    structures = ('mixing', 'partitioned', 'isolated')
    require(config, 'population.structure', group.structure in structures, one_of(*structures))
    if group.structure == 'mixing':
        return
    same = group.num_speakers == group.num_listeners
    sentence = 'needs as many listeners as speakers, to each its own'
    require(config, 'population.structure', same, sentence)
    for key in ('graph', 'pairs') if group.structure == 'isolated' else ('listener_learns',):
        sentence = f'cannot be set with population.structure={group.structure!r}, which sets it'
        require(config, f'population.{key}', group[key] is None, sentence)


def check_shared_trunk(config: ConfigDict) -> None:
    """The group `population`, of a trunk that is shared and learns."""
    group = config.population
    sentence = (
        'leaks through the trunk, which is shared and learns from all games: set '
        'game.shared_trunk=False, or speaker.trunk.frozen=True (and, where agents draw, '
        'game.shared_projection=False)'
    )
    parted = group.structure == 'partitioned' and group.num_speakers > 1
    require(config, 'population.structure', not parted, sentence)
    everyone = group.num_speakers * group.num_listeners
    for key in ('speaker_learns', 'listener_learns'):
        whole = group[key] is None or len(set(map(tuple, group[key]))) == everyone
        require(config, f'population.{key}', whole, sentence)


def _check_paces(config: ConfigDict) -> None:
    """What differs between the agents of one role."""
    for role in ('speaker', 'listener'):
        count = config.population[f'num_{role}s']
        for name, most in (('speeds', math.inf), ('chances', 1.0)):
            values = config.population[f'{role}_{name}']
            good = values is None or (
                len(values) == count
                and all(isinstance(x, int | float) and 0 <= x <= most for x in values)
                and all(map(math.isfinite, values))
            )
            kind = 'probability' if name == 'chances' else 'number, 0 or more'
            sentence = f'must hold a {kind}, for each of the {count} {role}s'
            require(config, f'population.{role}_{name}', good, sentence)


def check_updates(config: ConfigDict) -> None:
    """The group `updates`, and the EMA targets."""
    for name in ('imitate', 'reset', 'generations'):
        every, steps = config.updates[name].every, config.training_steps
        sentence = f'never comes: it must be less than training_steps={steps}'
        require(config, f'updates.{name}.every', every is None or every < steps, sentence)
    imitate = config.updates.imitate
    teachers = ('best', 'worst', 'random')
    require(config, 'updates.imitate.teacher', imitate.teacher in teachers, one_of(*teachers))
    if imitate.every is not None:
        require(config, 'updates.imitate.every', imitate.every >= 1, 'must be at least 1')
        fewest = min(map(len, spans(config, 'speaker')))
        most, where = max(1, fewest - 1), ' in a group' if has_groups(config) else ''
        require(
            config,
            'updates.imitate.num_students',
            1 <= imitate.num_students <= most,
            f'must lie between 1 and {most}, as there are {fewest} speakers{where}',
        )
    group = config.population
    reset, whom = config.updates.reset, ('speaker', 'listener', 'pair', 'all')
    require(config, 'updates.reset.who', reset.who in whom, one_of(*whom))
    if reset.every is not None:
        require(config, 'updates.reset.every', reset.every >= 1, 'must be at least 1')
    generations = config.updates.generations
    phases = ('transmit_steps', 'listen_steps')
    for name in phases:
        good = generations[name] >= 0
        require(config, f'updates.generations.{name}', good, 'must not be negative')
        used = generations.every is not None or generations[name] == 0
        sentence = 'has no effect without updates.generations.every: set it'
        require(config, f'updates.generations.{name}', used, sentence)
    if generations.every is not None:
        sentence = 'must be unset with updates.generations.every: pupils would lose their teachers'
        require(config, 'updates.reset.every', reset.every is None, sentence)
        before = 1 + sum(generations[name] for name in phases)
        sentence = f'must be more than {before}: one step, its transmit_steps and its listen_steps'
        require(config, 'updates.generations.every', generations.every > before, sentence)
    if group.listener_learns == ():
        frozen = 'with population.listener_learns=() the listeners are frozen'
        resets = reset.every is not None and reset.who != 'speaker'
        require(config, 'updates.reset.who', not resets, f"must be 'speaker': {frozen}")
        unset = generations.every is None
        require(config, 'updates.generations.every', unset, f'must be unset: {frozen}')
        learns = config.loss.speaker.name != 'none'
        sentence = f'teaches nobody: {frozen}, too'
        require(config, 'loss.speaker.name', learns, sentence)
    if config.loss.speaker.name == 'none':
        frozen = "with loss.speaker.name='none' the speakers are frozen"
        for name in ('imitate', 'generations'):
            unset = config.updates[name].every is None
            require(config, f'updates.{name}.every', unset, f'must be unset: {frozen}')
        resets = reset.every is not None and reset.who != 'listener'
        require(config, 'updates.reset.who', not resets, f"must be 'listener': {frozen}")
    ema = config.optimizer.target_ema
    require(config, 'optimizer.target_ema', 0 <= ema <= 1, 'is a decay: it must lie in [0, 1]')
