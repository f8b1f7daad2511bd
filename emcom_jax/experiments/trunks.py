"""Trunks that have learnt to see elsewhere: their weights, and what they see of the data once and
for all."""

import hashlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.agents.pretrained import to_haiku
from emcom_jax.agents.weight_files import read_state_dict
from emcom_jax.data.bank import is_augmented, make_bank, make_feed
from emcom_jax.data.decoding import in_threads
from emcom_jax.evaluation.judging import make_draws
from emcom_jax.evaluation.playing import see
from emcom_jax.evaluation.setting import Setting, read_agents
from emcom_jax.games import Game
from emcom_jax.runtime.run_directory import RunDirectory
from emcom_jax.stacks import agents_of, stacks
from emcom_jax.types import Agent, Bank, Members, Population, Split, Tree

_TRUNK = 'trunk'  # The first part of the paths of its modules.


def with_weights(members: Members, config: ConfigDict, game: Game) -> Members:
    """Puts the weights that `speaker.trunk.weights` and `listener.trunk.weights` name into the
    trunks of a population (leaves [R, ...]), alike for all agents of the role.

    Raises:
      ValueError, OSError: weights that cannot be read, or do not fit.
    """
    found = {
        role: _read(config[role].trunk)
        for role in ('speaker', 'listener')
        if config[role].trunk.weights is not None
    }
    if not found:
        return members
    assert isinstance(members, Population)  # Groups are refused, see `discrimination.check`.
    if game.trunks == 'shared':
        shared = members.shared
        return members._replace(
            shared=shared._replace(agent=_placed(shared.agent, found['speaker']))
        )
    changes: dict[str, Any] = {}
    for role, trunk in found.items():
        stack = getattr(members, f'{role}s')
        changes[f'{role}s'] = stack._replace(agent=_placed(stack.agent, trunk))
    if 'speaker' in found and members.targets:
        changes['targets'] = jax.tree.map(jnp.copy, changes['speakers'].agent.params)
    return members._replace(**changes)


def _read(config: ConfigDict) -> Agent:
    """The trunk in a weight file, or of the population of a run directory."""
    if Path(config.weights).is_dir():
        return _of_run(config.weights)
    return Agent(*to_haiku(read_state_dict(config.weights), config))


def _of_run(run_dir: str) -> Agent:
    """The shared trunk of a run, or that of its first speaker; of its first replica."""
    setting = Setting(RunDirectory(run_dir).load_config())
    if setting.game.trunks == 'none':
        raise ValueError(f'{run_dir} has no trunk: its agents see features')
    whose = 'shared' if setting.game.trunks == 'shared' else 'speaker'
    _, trunks = read_trunks(run_dir, setting, whose)
    first: Agent = jax.tree.map(lambda leaf: leaf[0], trunks)
    return first


def read_trunks(run_dir: str, setting: Setting, whose: str) -> tuple[int, Agent]:
    """Reads a trunk from the best checkpoint of a run.

    setting: of that run.
    whose: 'shared', or that of the first 'speaker' or 'listener'.

    Returns the step, and a trunk for each replica, NumPy arrays [R, ...]; of what else there may be
    in a shared network nothing.
    """
    name = whose if whose == 'shared' else f'{whose}s'
    shapes = setting.shapes()[name]
    # Of several groups the first, which alone is then read.
    first = shapes if isinstance(shapes, Agent) else shapes[0]
    like = Agent(*map(_trunk_of, first))
    step, found = read_agents(run_dir, {name: like if first is shapes else (like,)})
    trunks = found[name] if first is shapes else found[name][0]
    if whose != 'shared':
        trunks = jax.tree.map(lambda leaf: leaf[:, 0], trunks)
    return step, trunks


def _trunk_of(tree: Tree) -> Tree:
    return {path: leaves for path, leaves in tree.items() if path.split('/')[0] == _TRUNK}


def _placed(stack: Agent, trunk: Agent) -> Agent:
    """A stack of agents with that trunk in the place of theirs."""

    def replaced(tree: Tree, new: Tree) -> Tree:
        old = _trunk_of(tree)
        if old.keys() != new.keys():
            missing = sorted(old.keys() ^ new.keys())
            raise ValueError(f'the weights are of another trunk: they differ in {missing[:3]}')

        def fill(before: jax.Array, after: Any) -> jax.Array:
            if before.shape[before.ndim - after.ndim :] != after.shape:
                raise ValueError(
                    f'the weights are of another trunk: one is {list(after.shape)}, not '
                    f'{list(before.shape[before.ndim - after.ndim :])}'
                )
            return jnp.broadcast_to(jnp.asarray(after, before.dtype), before.shape)

        return {**tree, **jax.tree.map(fill, old, new)}

    return Agent(*map(replaced, stack, trunk))


def frozen_in(config: ConfigDict, role: str) -> ConfigDict:
    """The optimizer group of a role, which leaves frozen trunks of its agents alone."""
    group = ConfigDict(config.optimizer[role].to_dict(), type_safe=False)
    trunk = config['speaker' if role == 'shared' else role].trunk
    if trunk.frozen and config.game.shared_trunk == (role == 'shared'):
        group.frozen = (*(group.frozen or ()), _TRUNK)
    return group


def sees_once(config: ConfigDict, game: Game, members: Members) -> bool:
    """Whether what agents see in training can be computed beforehand: trunks that stay as they are
    and are the same in all replicas and for all agents of a role, of images without chance.

    members: the population (leaves [R, ...]) as training begins."""
    if game.trunks == 'shared':
        stays = game.backbone_stays
    else:  # Fresh agents have fresh trunks.
        fresh = config.updates.reset.every or config.updates.generations.every
        stays = config.speaker.trunk.frozen and config.listener.trunk.frozen and not fresh
    return (
        game.trunks != 'none'
        and stays
        and not is_augmented(config.game)
        and config.game.input_noise == 0
        and _trunks_are_alike(game, members)
    )


def _trunks_are_alike(game: Game, members: Members) -> bool:
    """Whether all replicas, and all agents of a role, have the same trunk."""
    if game.trunks == 'shared':
        agents, axes = [members.shared.agent], 1
    elif isinstance(members, Population):
        agents, axes = [members.speakers.agent, members.listeners.agent], 2
    else:  # Of several architectures.
        return False

    def is_one(leaf: jax.Array) -> bool:
        rows = np.asarray(leaf).reshape(-1, *leaf.shape[axes:])
        return bool((rows == rows[:1]).all())

    trees = [_trunk_of(tree) for agent in agents for tree in agent]
    return all(map(is_one, jax.tree.leaves(trees)))


def seen_once(config: ConfigDict, game: Game, members: Members, bank: Bank) -> Bank:
    """The bank of what the trunks of a population (leaves [R, ...]) see, in the place of images."""
    seen = {role: look(bank) for role, look in _looks(config, game, members).items()}
    split = Split(seen['speaker'], {}, seen.get('listener'))
    kept = make_bank(split, config.data.dtype)
    groups = {name: getattr(bank, name) for name in ('partners', 'rivals', 'classes')}
    images = bank.sight if game.reads_images else None
    return kept._replace(labels=bank.labels, images=images, **groups)


def seen_in_files(setting: Setting, members: Members, folder: Path) -> Split:
    """What the trunks of a population (leaves [R, ...]) see of the training images, which are too
    many for a device: features as memory maps of files in a folder, where they are left, for a run
    that is resumed.

    Raises:
      ValueError: `data.dtype` cannot hold the features.
    """
    config, split = setting.config, setting.source.splits['train']
    looks = _looks(config, setting.game, members)
    # Processes may share the folder; and trunks that begin with a file may begin with another.
    name = f'{_digest(members, split)}.{jax.process_index()}'
    paths = {role: folder / f'{role}s.{name}.npy' for role in looks}
    if not all(path.is_file() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        _write_features(setting, looks, paths)
    found = {role: np.load(path, mmap_mode='r') for role, path in paths.items()}
    return Split(found['speaker'], split.labels, found.get('listener'))


def _write_features(
    setting: Setting, looks: dict[str, Callable[[Bank], np.ndarray]], paths: dict[str, Path]
) -> None:
    config, split = setting.config, setting.source.splits['train']
    count, chunk = len(split.inputs), min(config.evaluation.batch_size, len(split.inputs))
    make = make_feed(split._replace(labels={}), setting.standard)
    images = in_threads(split.inputs.__getitem__, range(count), 'seeing once for all')
    partial = {role: path.with_suffix('.tmp') for role, path in paths.items()}
    files: dict[str, np.ndarray] = {}
    for start in range(0, count, chunk):
        seen = np.stack(list(islice(images, chunk)))
        rows = np.arange(chunk) % len(seen)  # The last chunk is filled up.
        bank = jax.tree.map(lambda leaf: leaf[0], make({'images': seen[rows]}, 1))
        for role, look in looks.items():
            with np.errstate(over='ignore'):
                features = look(bank)[: len(seen)].astype(config.data.dtype)
            if not np.isfinite(features).all():
                raise ValueError(
                    f'data.dtype={config.data.dtype!r} cannot hold all features: use float32'
                )
            if role not in files:
                shape = (count, features.shape[1])
                files[role] = np.lib.format.open_memmap(
                    partial[role], mode='w+', dtype=features.dtype, shape=shape
                )
            files[role][start : start + len(seen)] = features
    for role, file in files.items():
        assert isinstance(file, np.memmap)
        file.flush()
        partial[role].rename(paths[role])  # Whole, or not at all.


def _looks(
    config: ConfigDict, game: Game, members: Members
) -> dict[str, Callable[[Bank], np.ndarray]]:
    """Role -> what its trunk sees of a bank of images, [N, D]; of a shared trunk, 'speaker'."""
    one = jax.tree.map(lambda leaf: leaf[0], members)
    clean = ConfigDict(config.evaluation.to_dict())
    clean.input_noise = 0.0

    def of(role: str) -> Callable[[Bank], np.ndarray]:
        stack = stacks(agents_of(getattr(one, f'{role}s')))[0]
        agents = jax.tree.map(lambda leaf: leaf[:1], stack)

        @jax.jit
        def views(agents: Agent, shared: Agent, bank: Bank) -> jax.Array:
            draws = make_draws(0)
            return see(game, clean, role, agents, shared, bank, draws, look=game.backbone)[0]

        return lambda bank: np.asarray(
            views(agents, one.shared.agent, bank._replace(partners=None))
        )

    roles = ('speaker', 'listener') if game.trunks == 'own' else ('speaker',)
    return {role: of(role) for role in roles}


def _digest(members: Members, split: Split) -> str:
    """Tells apart trunks, and splits of other sizes."""
    told = hashlib.sha256(repr(split.inputs.shape).encode())
    agents = [members.shared, *stacks(members.speakers), *stacks(members.listeners)]
    for tree in (tree for learner in agents for tree in learner.agent):
        for leaf in jax.tree.leaves(_trunk_of(tree)):
            told.update(np.asarray(leaf).tobytes())
    return told.hexdigest()[:16]
