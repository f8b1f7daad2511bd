"""Which agents have which architecture: `speaker.groups` and `listener.groups` of a config.

A group is what is different in it, as {'core': 'gru', 'hidden_size': 64}, with its 'size' unless
all groups of the role are of one size. All else is as the config's `speaker` or `listener` says.
"""

from collections.abc import Iterator, Mapping
from itertools import accumulate, pairwise
from typing import Any

from ml_collections import ConfigDict

from emcom_jax.config import require
from emcom_jax.tables import look_up

ROLES = ('speaker', 'listener')

Config = Any  # A ConfigDict, or a dict: as resolved, or as it was read from config.json.


def spans(config: Config, role: str) -> tuple[range, ...]:
    """The numbers of the agents in each group of a role, 'speaker' or 'listener'; a role without
    groups is one."""
    total, groups = config['population'][f'num_{role}s'], _groups(config, role)
    sizes = [group.get('size', total // len(groups)) for group in groups]
    return tuple(range(*ends) for ends in pairwise(accumulate(sizes, initial=0)))


def has_groups(config: Config) -> bool:
    """Whether there are several architectures of speakers or of listeners."""
    return any(len(_groups(config, role)) > 1 for role in ROLES)


def kinds(config: Config, role: str) -> list[str]:
    """What is different in each agent of a role, such as 'gru' or 'hidden_size=64'; '' without
    groups."""

    def kind(group: Mapping[str, Any]) -> str:
        changes = [(key, value) for key, value in group.items() if key != 'size']
        return ', '.join(str(x) if key == 'core' else f'{key}={x}' for key, x in changes)

    pairs = zip(_groups(config, role), spans(config, role), strict=True)
    return [kind(group) for group, span in pairs for _ in span]


def combinations(config: ConfigDict) -> tuple[tuple[ConfigDict, ...], ...]:
    """The configs of each group of speakers with each group of listeners, themselves without
    groups."""
    speakers, listeners = (_groups(config, role) for role in ROLES)
    return tuple(tuple(_with(config, one, other) for other in listeners) for one in speakers)


def each_group(config: ConfigDict) -> Iterator[tuple[str, ConfigDict]]:
    """Yields the key of each group, as 'speaker.groups[1]', and the config as if all agents of that
    role were like it."""
    for role in ROLES:
        for number, group in enumerate(config[role].groups or ()):
            chosen = {'speaker': {}, 'listener': {}} | {role: group}
            yield f'{role}.groups[{number}]', _with(config, **chosen)


def check_groups(config: ConfigDict) -> None:
    """Refuses groups that cannot be; raises ValueError with one sentence."""
    for role in ROLES:
        at, groups = f'{role}.groups', config[role].groups
        if groups is None:
            continue
        total, kind = config.population[f'num_{role}s'], f'key of {at}'
        good = len(groups) > 0 and all(isinstance(group, dict) for group in groups)
        require(config, at, good, "must hold groups, such as {'core': 'gru'},{'core': 'lstm'}")
        known = {key: value for key, value in config[role].items() if key != 'groups'}
        for key, value in ((key, value) for group in groups for key, value in group.items()):
            like = type(look_up(known | {'size': 1}, key, kind))
            sentence = f'has {key}={value!r}, which must be of type {like.__name__}'
            require(config, at, type(value) is like, sentence)
        given = [group['size'] for group in groups if 'size' in group]
        if not given:
            shared = total % len(groups) == 0
            sentence = f"needs a 'size' in each: {len(groups)} do not divide num_{role}s={total}"
            require(config, at, shared, sentence)
            continue
        require(config, at, len(given) == len(groups), "must have a 'size' in each group or none")
        fits = min(given) >= 1 and sum(given) == total
        sentence = f'must have sizes of at least 1 that sum to population.num_{role}s={total}'
        require(config, at, fits, sentence)


def _groups(config: Config, role: str) -> tuple[Mapping[str, Any], ...]:
    return tuple(config[role].get('groups') or ({},))


def _with(
    config: ConfigDict, speaker: Mapping[str, Any], listener: Mapping[str, Any]
) -> ConfigDict:
    one = config.copy_and_resolve_references()
    with one.unlocked():
        for role, group in zip(ROLES, (speaker, listener), strict=True):
            one[role].groups = None
            one[role].update({key: value for key, value in group.items() if key != 'size'})
    return one
