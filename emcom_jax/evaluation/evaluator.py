"""A population on a split: every speaker with every listener, greedy -> EvalRecord -> metrics."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from emcom_jax.data.batches import others_of
from emcom_jax.evaluation.judging import Draws, Judge, make_draws
from emcom_jax.evaluation.playing import converse, for_each, hear, say, see, show
from emcom_jax.games.base import Game, Games, table_of
from emcom_jax.metrics import arguments
from emcom_jax.stacks import agents_of, joined, sizes, stacks
from emcom_jax.types import (
    Agent,
    Array,
    Bank,
    EvalRecord,
    Exchange,
    Guess,
    Members,
    Message,
)

_THUMBNAILS, _THUMBNAIL = 4096, 64  # Images in a record, and pixels of a side.
_GAMES, _SIDE = 40, 128  # Games in a record, and pixels of a side of their images.


class Evaluator:
    """Evaluates populations of one game (or of those of a population's groups, [G][H]); compiles
    once for each size of split.

    The draws of candidates depend on a seed alone, so that two evaluations of one split with one
    seed play with the same candidates.
    """

    def __init__(self, game: Game | Games, config: ConfigDict, own: bool = False):
        """own: each of the S speakers is asked by its own K listeners alone, in their order; the
        record's L is K. Listeners are then of one group."""
        self._games = table_of(game)
        self._game = self._games[0][0]  # What all of them have in common.
        self._own = own
        self._config = config.evaluation
        self._judge = Judge(self._game, config.evaluation)
        self._cross_play = jax.jit(self._play_all, static_argnums=2)
        self._others = jax.jit(_others)

    def __call__(
        self, population: Members, bank: Bank, split: str, step: int, seed: int
    ) -> EvalRecord:
        """Evaluates a population (one replica, on one device) on the bank of a split."""
        counts = self._judge.num_candidates(bank.inputs.shape[0])
        played, views = self._cross_play(population, bank, counts, make_draws(seed))
        messages, lengths, (correct, loss, vote), rest = jax.device_get(played)
        games = {}
        if 'choices' in rest:
            others = self._others(bank, make_draws(seed))
            among, own, picked = rest.pop('choices')
            games = _some_games(among, own, picked, np.asarray(others), bank.inputs)
        if bank.among is not None:
            rest['among'] = np.asarray(bank.among)
        if bank.inputs.ndim == 2:
            meanings, heard = np.asarray(bank.inputs, np.float32), None
            images = rows = None
        else:
            meanings, heard = jax.device_get(views)
            images, rows = _thumbnails(bank.inputs)
        return EvalRecord(
            split=split,
            step=step,
            kind=self._game.kind,
            vocab_size=self._game.vocab_size,
            variable_length=self._game.variable_length,
            messages=messages,
            lengths=lengths,
            meanings=meanings,
            labels={name: np.asarray(values) for name, values in bank.labels.items()},
            num_candidates=counts,
            correct=np.moveaxis(correct, 0, 1),
            loss=np.moveaxis(loss, 0, 1),
            vote=np.moveaxis(vote, 0, 1),
            listener_meanings=heard,
            images=images,
            image_rows=rows,
            games=games,
            exchange=rest,
        )

    def _play_all(
        self, population: Members, bank: Bank, counts: tuple[int, ...], draws: Draws
    ) -> Any:
        shared, config = population.shared.agent, self._config

        def sight(game: Game, role: str, agents: Agent) -> Array:
            return see(game, config, role, agents, shared, bank, draws)

        return self.play(population, sight, bank, counts, draws)

    def play(
        self,
        population: Members,
        sight: Callable[[Game, str, Agent], Array],
        bank: Bank,
        counts: tuple[int, ...],
        draws: Draws,
    ) -> Any:
        """To be compiled: all play on what they see.

        Args:
          sight: (game, role, agents) -> what these agents see, as of `playing.see`.
          bank: of the labels that listeners may have to name.

        Returns:
          messages [S, N, ...], their lengths, how guesses are judged, and by name what else was
          exchanged in dialogues (see `EvalRecord`) and the 'choices' among drawings (see
          `Judge.choices`); and what the first of the speakers and of the listeners see.
        """
        config = self._config

        def seen(game: Game, role: str, agents: Agent) -> tuple[Agent, Array]:
            return agents, sight(game, role, agents)

        speakers = [
            seen(row[0], 'speaker', agents)
            for row, agents in zip(self._games, stacks(agents_of(population.speakers)), strict=True)
        ]
        listeners = [
            seen(game, 'listener', agents)
            for game, agents in zip(
                self._games[0], stacks(agents_of(population.listeners)), strict=True
            )
        ]

        def of_speaker(games: Sequence[Game], listeners: Any, speaker: Any, view: Array) -> Any:
            """One speaker, and its number, with its listeners; speakers come one after the other,
            since what all listeners make of its messages, [L, N, D], is as much as should lie in
            memory."""
            rest: dict[str, Any] = {}
            if self._game.converses:
                message, heard, rest = conversations(games, listeners, speaker, view)
            else:
                message = say(games[0], config, speaker[0], view)
                shown = show(games[0], config, population.shared.agent, message)
                heard = [
                    hear(game, config, stack, views, shown, draws)
                    for game, (stack, views) in zip(games, listeners, strict=True)
                ]
            spoken = message.symbols if self._game.kind == 'symbols' else message.relaxed
            lengths = message.mask.sum(axis=1).astype(jnp.int32)
            guess = _together(heard)
            judged = self._judge(guess, bank, counts, draws.candidates)
            if self._game.kind == 'drawings':
                rest['choices'] = self._judge.choices(guess, bank, counts[-1], draws.candidates)
            return spoken, lengths, judged, rest

        def conversations(
            games: Sequence[Game], listeners: Any, numbered: tuple[Agent, Array], view: Array
        ) -> tuple[Message, list[Guess], dict[str, Array]]:
            """Of a speaker with all listeners the guesses; with that of its number the rest."""
            speaker, number = numbered
            played = [
                converse((games[0], game), config, speaker, view, stack, views, bank.among, draws)
                for game, (stack, views) in zip(games, listeners, strict=True)
            ]
            messages, guesses, exchanges = zip(*played, strict=True)
            all_of_them = joined([*zip(messages, exchanges, strict=True)])
            message, exchange = jax.tree.map(lambda x: x[number % len(x)], all_of_them)
            return message, list(guesses), _kept(exchange)

        def of_group(games: Sequence[Game], first: int, stack: Agent, views: Array) -> Any:
            count = sizes(stack)[0]
            numbered = (stack, first + jnp.arange(count))
            if not self._own:
                return for_each(partial(of_speaker, games, listeners), numbered, views)
            ((everyone, sights),) = listeners

            def own(leaf: Array) -> Array:
                return leaf.reshape(total, -1, *leaf.shape[1:])[first : first + count]

            def with_own(both: tuple[Any, Agent, Array], view: Array) -> Any:
                speaker, theirs, sight = both
                return of_speaker(games, [(theirs, sight)], speaker, view)

            if len(sights) > 1:
                each = (numbered, *jax.tree.map(own, (everyone, sights)))
                return for_each(with_own, each, views)
            pairs = (numbered, jax.tree.map(own, everyone))
            return for_each(lambda two, view: with_own((*two, sights), view), pairs, views)

        total = sum(sizes(stack)[0] for stack, _ in speakers)
        firsts = accumulate((sizes(stack)[0] for stack, _ in speakers), initial=0)
        groups = [
            of_group(games, first, *both)
            for games, first, both in zip(self._games, firsts, speakers, strict=False)
        ]
        return joined(groups), (speakers[0][1][0], listeners[0][1][0])


def _kept(exchange: Exchange) -> dict[str, Array]:
    """What a record keeps of dialogues; see `EvalRecord`."""
    return {
        'said': jax.nn.sigmoid(exchange.said_logits),
        'answers': exchange.answers,
        'answered': jax.nn.sigmoid(exchange.answer_logits),
        'going_on': jax.nn.sigmoid(exchange.go_logits),
        'beliefs': jax.nn.softmax(exchange.choices),
    }


def _thumbnails(images: Array) -> tuple[np.ndarray, np.ndarray]:
    """Some of images [N, H, W, 3] uint8, every so many pixels, for people to look at; and which."""
    # Always the same ones of a split, whose first ones may be of its first classes alone.
    rows = np.sort(arguments.sample(len(images), _THUMBNAILS, seed=0))
    stride = -(-max(images.shape[1:3]) // _THUMBNAIL)
    return np.asarray(images[rows, ::stride, ::stride]), rows


def _others(bank: Bank, draws: Draws) -> Array:
    """What listeners see in place of each referent, rows [N]."""
    rows = jnp.arange(bank.size)
    return others_of(bank, rows, rows, draws.inputs)


def _some_games(
    among: np.ndarray, own: np.ndarray, picked: np.ndarray, others: np.ndarray, images: Array
) -> dict[str, np.ndarray]:
    """`EvalRecord.games`: whole groups, as their games have the same candidates.

    Args:
      among: [S, N, C]. own: [S, N]. picked: [S, L, N]. See `Judge.choices`; the first two are the
        same for all speakers.
      others: as of `_others`.
      images: [N, H, W, 3] uint8.
    """
    rows: list[int] = []
    for row in range(len(others)):
        if len(rows) < _GAMES and row not in rows:
            rows += among[0, row].tolist()
    chosen = np.array(list(dict.fromkeys(rows))[:_GAMES])  # The last group may be filled up.
    needed, place = np.unique(
        np.concatenate([chosen, others[among[0, chosen]].ravel()]), return_inverse=True
    )
    stride = -(-max(images.shape[1:3]) // _SIDE)
    games = {
        'rows': chosen,
        'shown': place[: len(chosen)],
        'candidates': place[len(chosen) :].reshape(len(chosen), -1),
        'target': own[0, chosen],
        'picked': picked[..., chosen],
        'image_rows': needed,
    }
    games = {name: values.astype(np.int32) for name, values in games.items()}
    return games | {'images': np.asarray(images[needed][:, ::stride, ::stride])}


def _together(guesses: Sequence[Guess]) -> Guess:
    """The guesses [L, ...] of all listeners, whose spaces may have different dimensions: a smaller
    one is a subspace of the largest, where distances and angles are the same."""

    def join(*leaves: Array) -> Array:
        most = max(leaf.shape[-1] for leaf in leaves)
        widths = [[(0, 0)] * (leaf.ndim - 1) + [(0, most - leaf.shape[-1])] for leaf in leaves]
        return jnp.concatenate(list(map(jnp.pad, leaves, widths)))

    together: Guess = jax.tree.map(join, *guesses)
    return together
