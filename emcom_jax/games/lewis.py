"""The Lewis game (Lewis 1969; Chaabouni et al. 2022): agents see features of a referent, and talk
about it in messages of several symbols."""

from ml_collections import ConfigDict

from emcom_jax.agents.sequence import Listener, Speaker
from emcom_jax.config import require
from emcom_jax.games.referential import Agents, ReferentialGame
from emcom_jax.games.referential_check import check_message
from emcom_jax.types import Source


def make(config: ConfigDict, source: Source, axis_name: str | None = None) -> ReferentialGame:
    """Returns the game; see `games.base.Game`."""
    del axis_name  # No agent has batch statistics.
    agents = Agents(
        speaker=lambda: Speaker(config.speaker, config.channel),
        listener=lambda labels: Listener(config.listener, config.channel, labels),
    )
    return ReferentialGame(config, source, agents)


def check(config: ConfigDict, source: Source) -> None:
    """Refuses settings that do not fit together; raises ValueError with one sentence."""
    check_message(config)
    features = source.splits['train'].inputs.ndim == 2
    sentence = "sees features, not the images of {!r}: choose 'discrimination'"
    require(config, 'game.name', features, sentence.format(source.name))
    for role in ('speaker', 'listener'):
        for key in ('name', 'weights', 'frozen'):
            unset = not config[role].trunk[key]
            require(config, f'{role}.trunk.{key}', unset, "is not read by game.name='lewis'")
