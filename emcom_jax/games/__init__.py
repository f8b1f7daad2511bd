"""Games, by the name that `config.game.name` gives them."""

from emcom_jax.games import dialogue, discrimination, lewis, simclr
from emcom_jax.games.base import AXIS, Game, Games

GAMES = {
    'lewis': lewis,
    'discrimination': discrimination,
    'simclr': simclr,
    'dialogue': dialogue,
}  # name -> module with `make` and `check`.

__all__ = ['AXIS', 'GAMES', 'Game', 'Games']
