"""Games, by the name that `config.game.name` gives them."""

from emcom_jax.games import dialogue, discrimination, lewis, simclr, sketching
from emcom_jax.games.base import AXIS, Game, Games, is_frozen

GAMES = {
    'lewis': lewis,
    'discrimination': discrimination,
    'simclr': simclr,
    'sketching': sketching,
    'dialogue': dialogue,
}  # name -> module with `make` and `check`.

__all__ = ['AXIS', 'GAMES', 'Game', 'Games', 'is_frozen']
