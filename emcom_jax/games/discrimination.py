"""The discrimination game from pixels (Dessì et al. 2021): agents see images, through a trunk that
all of them share or each through its own, and learn to see by talking about them."""

from ml_collections import ConfigDict

from emcom_jax.agents.discrimination import Listener, See, Speaker, blind, make_sight
from emcom_jax.agents.vision import check_trunk
from emcom_jax.config import get, require
from emcom_jax.games.base import is_frozen
from emcom_jax.games.referential import Agents, ReferentialGame
from emcom_jax.games.referential_check import check_message
from emcom_jax.types import Source


def make(config: ConfigDict, source: Source, axis_name: str | None = None) -> ReferentialGame:
    """Returns the game; see `games.base.Game`.

    axis_name: of the devices over which batch norm takes its statistics in training.
    """
    sees_images = source.splits['train'].inputs.ndim == 4
    shared = sees_images and config.game.shared_trunk

    def sight(role: ConfigDict) -> See:
        return make_sight(role, axis_name) if sees_images and not shared else blind

    # What one role sees with must not change while that role stays as it is.
    stays = any(is_frozen(config, role) for role in ('speaker', 'listener'))
    agents = Agents(
        speaker=lambda: Speaker(
            config.speaker,
            config.channel,
            sight(config.speaker),
            axis_name,
            1 + (config.loss.listener.num_distractors or 0),
        ),
        listener=lambda labels: Listener(
            config.listener,
            config.channel,
            labels,
            sight(config.listener),
            axis_name,
            config.loss.listener.memory,
        ),
        trunk=(lambda: make_sight(config.speaker, axis_name)) if shared else None,
        trunk_learns=shared and not stays and not config.speaker.trunk.frozen,
        own_trunks=sees_images and not shared,
    )
    return ReferentialGame(config, source, agents)


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    check_message(config)
    _check_context(config)
    memory = config.loss.listener.memory
    fits = memory == 0 or (config.channel.length == 1 and config.loss.listener.name == 'info_nce')
    sentence = "must be 0 unless channel.length=1 and loss.listener.name='info_nce'"
    require(config, 'loss.listener.memory', memory >= 0 and fits, sentence)
    drawn = memory == 0 or config.loss.listener.num_distractors is None
    require(config, 'loss.listener.num_distractors', drawn, 'must be unset with a memory')
    images = source.splits['train'].inputs.ndim == 4
    apart = not images or config.game.shared_trunk or config.population.execution != 'vmap'
    sentence = (
        "would group convolutions: with trunks of their own it must be 'auto', 'map' or 'unroll'"
    )
    require(config, 'population.execution', apart, sentence)
    for role in ('speaker', 'listener'):
        trunk, at = config[role].trunk, f'{role}.trunk'
        read = images and (role == 'speaker' or not config.game.shared_trunk)
        if not read:
            why = 'one trunk is shared' if images else f'{source.name} has features, not images'
            for key in ('name', 'weights', 'frozen'):
                unset = not trunk[key]
                require(config, f'{at}.{key}', unset, f'is not read: {why}; leave it unset')
            continue
        check_trunk(config, role)
        if trunk.weights is None:
            continue
        keys = ['speaker.groups', 'listener.groups']
        if not config.game.shared_trunk:  # Fresh agents would not have them.
            keys += ['updates.reset.every', 'updates.generations.every']
        for key in keys:
            unset = get(config, key) is None
            require(config, key, unset, f'must be unset with {at}.weights')


def _check_context(config: ConfigDict) -> None:
    """Games of a few candidates, all of which speakers may see."""
    context, listener, evaluation = config.speaker.context, config.loss.listener, config.evaluation
    kinds = (None, 'agnostic', 'informed')
    require(config, 'speaker.context', context in kinds, 'must be agnostic or informed, or unset')
    few = listener.name == 'cross_entropy' and listener.num_distractors is not None
    sentence = "needs loss.listener.name='cross_entropy' with num_distractors: games of a few"
    require(config, 'speaker.context', few or context is None, sentence)
    judged = (evaluation.distractors == 'context') == (context is not None)
    sentence = "must be 'context' with speaker.context, and only then"
    require(config, 'evaluation.distractors', judged, sentence)
    if context is None:
        return
    require(config, 'channel.length', config.channel.length == 1, 'must be 1 with speaker.context')
    count = 1 + listener.num_distractors
    seen = f'the {count} candidates that a speaker sees'
    same = tuple(evaluation.num_candidates) == (count,)
    require(config, 'evaluation.num_candidates', same, f'must be {(count,)}, {seen}')
    whole = evaluation.batch_size % count == 0
    require(config, 'evaluation.batch_size', whole, f'must be a multiple of {seen}')
    # All draws would be the same.
    require(config, 'evaluation.redraws', evaluation.redraws == 1, 'must be 1 with speaker.context')
