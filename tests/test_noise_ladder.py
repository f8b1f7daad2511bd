"""The noise ladder: agents that are known on images that mean nothing; what is stated of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_record, tiny_config, tiny_source

from emcom_jax import channels, metrics
from emcom_jax.checks.evaluation import check_evaluation
from emcom_jax.data import noise
from emcom_jax.data.augmentation import Augmentation
from emcom_jax.data.bank import make_bank, standard_of
from emcom_jax.evaluation.evaluator import Evaluator
from emcom_jax.evaluation.noise_ladder import NoiseLadder, look_at_rung
from emcom_jax.metrics.accuracy import ratio_interval
from emcom_jax.metrics.noise import RATIO, rungs
from emcom_jax.report import noise as pictures
from emcom_jax.runtime import run
from emcom_jax.types import Agent, Guess, Learner, NoiseRecord, Population, Source, Split

S, N = 16, 24  # The side of an image, and images of the split.
HEARS, DEAF = 1.0, 0.0
RUNGS = list(noise.LADDER)


class Pixels:
    """A speaker says all that it sees; a listener believes it, or is deaf. They count how often
    they are traced."""

    kind, vocab_size, variable_length, has_candidates = 'continuous', 3 * S * S, False, True
    converses = False
    augmentation = Augmentation()  # Of evaluation, of which noise is spared.

    def __init__(self, trunks='none'):
        self.trunks = trunks
        self.traced = 0

    def look(self, shared, batch):
        return batch

    def perceive(self, role, agent, inputs):
        return inputs if role == 'speaker' else inputs * agent.params

    def say_greedy(self, speaker, batch):
        self.traced += 1
        relaxed = batch.speaker_inputs.reshape(-1, 1, self.vocab_size)
        return channels.make_message(jnp.zeros((len(relaxed), 1), jnp.int32), relaxed, False)

    def hear_greedy(self, listener, key, batch, message, channel_noise):
        said = message.relaxed[:, 0]
        seen = batch.listener_inputs.reshape(said.shape)
        return Guess(said * listener.params, seen * listener.params, {})

    def scores(self, prediction, candidates):
        """The nearest one."""
        return -((prediction[:, None] - candidates[None]) ** 2).sum(-1)


def population(listeners=(HEARS, DEAF)):
    speakers, listeners = (
        Learner(Agent(jnp.asarray(x), {}), (), 0, 0) for x in (jnp.ones(2), jnp.asarray(listeners))
    )
    return Population(speakers, listeners, {}, Learner(Agent({}, {}), (), 0, 0))


def images_split(seed=0, side=S):
    rng = np.random.default_rng(seed)
    inputs = rng.integers(0, 256, (N, side, side, 3), dtype=np.uint8)
    return Split(inputs, {'class': (np.arange(N) % 3).astype(np.int32)})


SPLIT = images_split()
# Normalised, with a listener that sees another image of the class, among those of the class.
BANK = make_bank(SPLIT, 'float32', standard_of(SPLIT), partners='class', rivals='class')


def config_of(**changes):
    changes = {
        'num_candidates': (4, 12),
        'noise_images': 36,
        'redraws': 2,
        'batch_size': 8,
    } | changes
    return tiny_config({f'evaluation.{name}': value for name, value in changes.items()})


@pytest.fixture(scope='module')
def climbed():
    """The game, its ladder, and what came of it; elsewhere in evaluation, inputs are noisy and
    distractors hard."""
    game = Pixels()
    ladder = NoiseLadder(game, config_of(input_noise=5.0, distractors='hard'))
    return game, ladder, ladder(population(), BANK, 0)


@pytest.fixture(scope='module')
def valid():
    """On images as they are, without another image for the listener."""
    game = Pixels()
    game.augmentation = None
    bank = BANK._replace(partners=None, rivals=None)
    return Evaluator(game, config_of())(population(), bank, 'valid', 0, 0)


# --- who plays ------------------------------------------------------------------------------------


def test_who_hears_perfectly_has_ratio_one_and_who_is_deaf_guesses(climbed, valid):
    _, _, record = climbed
    assert list(record.correct) == RUNGS and record.num_candidates == (4, 12)
    for name, correct in record.correct.items():
        images = N if name in noise.FROM_IMAGES else 36  # No more than there are.
        assert correct.shape == (2, 2, 2, images)
        # The same image to both: whatever else one of them saw would not be the nearest.
        assert (correct[:, :, 0] == 1).all(), name
        for count, deaf in zip((4, 12), correct[:, :, 1], strict=True):
            np.testing.assert_allclose(deaf, 1 / count, rtol=1e-6)
    hearing = NoiseRecord((4, 12), {name: x[:, :, :1] for name, x in record.correct.items()})
    values = metrics.noise_of(hearing, valid._replace(correct=valid.correct[:, :, :1]))
    for name in RUNGS:
        for count in (4, 12):
            assert values[f'accuracy_{name}@{count}'] == values[f'ratio_{name}@{count}'] == 1
            assert values[f'ratio_{name}@{count}_ci95'] == [1, 1]
    deaf = NoiseRecord((4, 12), {name: x[:, :, 1:] for name, x in record.correct.items()})
    values = metrics.noise_of(deaf, valid._replace(correct=valid.correct[:, :, :1]))
    for name in RUNGS:
        assert values[f'accuracy_{name}@12'] == pytest.approx(1 / 12)
        assert values[f'ratio_{name}@4'] == pytest.approx(1 / 4)


def test_one_program_climbs_all_rungs(climbed):
    game, ladder, _ = climbed
    traced = game.traced
    ladder(population((DEAF, HEARS)), BANK, 1)
    assert game.traced == traced  # Neither other agents nor other seeds compile again.
    alone = Pixels()
    ladder = NoiseLadder(alone, config_of(noise_images=N))
    ladder(population(), BANK, 0)
    assert traced == 2 * alone.traced  # Once for each number of images.


def test_own_trunks_see_the_same_as_well():
    record = NoiseLadder(Pixels('own'), config_of(noise_images=N))(population(), BANK, 0)
    for correct in record.correct.values():
        assert (correct[:, :, 0] == 1).all()
        np.testing.assert_allclose(correct[0, :, 1], 1 / 4, rtol=1e-6)


# --- what they see --------------------------------------------------------------------------------


LOOK = jax.jit(look_at_rung)


def seen(name, bank=BANK, rows=range(N), position=range(N), seed=0):
    rung = np.int32(RUNGS.index(name))
    key = jax.random.key(seed)
    return LOOK(bank, jnp.asarray(rows), jnp.asarray(position), key, rung)


@pytest.mark.parametrize('name', [name for name in RUNGS if name not in noise.FROM_IMAGES])
def test_noise_is_as_it_was_drawn_whatever_images_are(name):
    """Not normalised: the bank's images have a mean and a deviation far from 0 and 1."""
    others = make_bank(images_split(1), 'float32')._replace(
        sight=BANK.sight._replace(shift=jnp.full(3, 7.0), scale=jnp.full(3, 0.01))
    )
    batch = seen(name)
    np.testing.assert_array_equal(batch.speaker_inputs, batch.listener_inputs)
    np.testing.assert_array_equal(batch.speaker_inputs, seen(name, others).speaker_inputs)
    drawn = np.asarray(batch.speaker_inputs)
    k = {'gaussian': S}.get(name) or int(name.removeprefix('grid_'))
    cells = drawn[:, :: S // k, :: S // k]
    np.testing.assert_array_equal(drawn, cells.repeat(S // k, 1).repeat(S // k, 2))
    assert abs(cells.mean()) < 4 / np.sqrt(cells.size)
    assert abs(cells.std() - 1) < 4 / np.sqrt(2 * cells.size)
    assert len(np.unique(cells)) > 0.99 * cells.size


@pytest.mark.parametrize('name', noise.FROM_IMAGES)
def test_parts_of_images_are_of_images_as_agents_see_them(name):
    """Patches keep the values of pixels, scrambled phases the mean of each channel, and the sum of
    squares."""
    batch = seen(name)
    np.testing.assert_array_equal(batch.speaker_inputs, batch.listener_inputs)
    drawn = np.asarray(batch.speaker_inputs).reshape(N, -1, 3)
    pixels = SPLIT.inputs.reshape(N, -1, 3) / 255.0
    plain = (pixels - pixels.mean((0, 1))) / pixels.std((0, 1))
    assert np.abs(drawn - plain).max() > 0.5
    if name == 'patch_shuffled':
        np.testing.assert_allclose(np.sort(drawn, 1), np.sort(plain, 1), atol=1e-5)
    np.testing.assert_allclose(drawn.mean(1), plain.mean(1), atol=1e-4)
    np.testing.assert_allclose((drawn**2).sum(1), (plain**2).sum(1), rtol=1e-4)


@pytest.mark.parametrize('name', ['grid_2', 'phase_scrambled'])
def test_an_image_is_drawn_alike_whatever_stands_beside_it(name):
    all_at_once = np.asarray(seen(name).speaker_inputs)
    some = seen(name, rows=[5, 20, 3], position=[5, 20, 3]).speaker_inputs
    np.testing.assert_allclose(some, all_at_once[[5, 20, 3]], atol=1e-6)
    assert np.abs(all_at_once - np.asarray(seen(name, seed=1).speaker_inputs)).max() > 0.1


# --- what is stated -------------------------------------------------------------------------------


def fabricated():
    """Of noise half is understood, with 8 candidates; of 16, three quarters on the blobs."""
    half, more = np.tile([0.0, 1.0], 50), np.tile([0.0, 1, 1, 1], 25)
    correct = np.stack([half, half])[:, None, None]
    blobs = np.stack([half, more])[:, None, None]
    return NoiseRecord((8, 16), {'grid_1': correct, 'gaussian': blobs})


def test_accuracies_and_ratios_by_hand():
    record = make_record(candidates=(8, 32))
    values = metrics.noise_of(fabricated(), record)
    reference = float(record.correct[0].mean(dtype=float))
    assert values['accuracy_valid@8'] == pytest.approx(reference)
    assert values['accuracy_grid_1@8'] == values['accuracy_gaussian@8'] == 0.5
    assert values['accuracy_gaussian@16'] == 0.75
    assert values['ratio_grid_1@8'] == pytest.approx(0.5 / reference)
    # The validation split was not played with 16.
    assert not {'ratio_grid_1@16', 'accuracy_valid@16', 'accuracy_valid@32'} & set(values)
    low, high = values['ratio_grid_1@8_ci95']
    assert low < values['ratio_grid_1@8'] < high
    assert rungs(values) == (['valid', 'grid_1', 'gaussian'], [8, 16])
    # A file has its values in another order, and replicas have more of them.
    more = metrics.over_replicas([values, values])
    assert rungs(dict(sorted(more.items()))) == rungs(values)
    assert more['ratio_grid_1@8_se'] == 0 and 'ratio_grid_1@8_ci95' not in more
    nothing = metrics.noise_of(fabricated(), record._replace(correct=0 * record.correct))
    assert np.isnan(nothing['ratio_grid_1@8']) and np.isnan(nothing['ratio_grid_1@8_ci95']).all()


def test_the_interval_of_a_ratio_is_that_of_the_delta_method():
    """Var(x/y) is about (x/y)^2 (Var(x)/x^2 + Var(y)/y^2), for large samples."""
    rng = np.random.default_rng(0)
    above, below = rng.random(3000) < 0.3, rng.random(2000) < 0.6
    low, high = ratio_interval(above, below, 5000, 0)
    x, y = above.mean(), below.mean()
    error = x / y * np.sqrt(above.var() / 3000 / x**2 + below.var() / 2000 / y**2)
    assert (low + high) / 2 == pytest.approx(x / y, abs=0.1 * error)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.06)


def test_one_symbol_has_chance_and_a_ceiling_beside_its_accuracy():
    record = make_record(candidates=(8, 16))
    assert metrics.bounds_of(record) == {}  # Longer messages.
    short = record._replace(messages=record.messages[:, :, :1], vocab_size=64)
    values = metrics.bounds_of(short)
    assert values == {
        'accuracy_chance@8': 1 / 8,
        'accuracy_ceiling@8': pytest.approx(8 * (1 - (63 / 64) ** 8)),
        'accuracy_chance@16': 1 / 16,
        'accuracy_ceiling@16': pytest.approx(4 * (1 - (63 / 64) ** 16)),
    }
    assert metrics.bounds_of(short._replace(kind='continuous')) == {}
    assert metrics.bounds_of(short._replace(num_candidates=(0,))) == {}


def test_the_printed_table_has_bounds_and_noise(capsys):
    noisy = metrics.noise_of(fabricated(), make_record(candidates=(8, 32)))
    test = {'accuracy@8': 0.5, 'accuracy@8_ci95': [0.4, 0.6], 'loss@8': 1.25}
    bounds = {'accuracy_chance@8': 0.125, 'accuracy_ceiling@8': 0.947}
    run.show({'step': 7, 'test': test | bounds, 'noise': noisy})
    table, ladder = capsys.readouterr().out.strip().split('\n\n')
    ladder, _, about = ladder.rpartition('\n')
    assert about == RATIO
    rows = {line.split()[0]: line.split()[1:] for line in table.splitlines()}
    assert rows['step'] == ['7', 'chance', 'ceiling', 'test']
    assert rows['accuracy@8'] == ['0.125', '0.947', '0.500', '[0.400,', '0.600]']
    assert rows['loss@8'] == ['1.250'] and len(rows) == 3
    rows = {line.split()[0]: line.split()[1:] for line in ladder.splitlines()}
    assert rows['noise'] == ['accuracy@8', 'ratio@8', 'accuracy@16', 'ratio@16']
    assert list(rows) == ['noise', 'valid', 'grid_1', 'gaussian', 'chance']
    assert rows['grid_1'][0] == '0.500' and rows['chance'] == ['0.125', '0.062']
    run.show({'step': 7, 'test': test})  # Without bounds the table is as ever.
    assert 'ceiling' not in capsys.readouterr().out


# --- what is shown --------------------------------------------------------------------------------


def is_level(line, style):
    return line.get_linestyle() == style and len(line.get_ydata()) > 0


def test_the_picture_shows_each_rung_with_lines_for_chance_and_validation():
    values = metrics.noise_of(fabricated(), make_record(candidates=(8, 32)))
    figure = pictures.draw(values, SPLIT.inputs[0])
    strip, ax = figure.axes
    assert [image.get_array().shape for image in strip.images] == [(S, S, 3)] * 2
    level = {
        style: [line.get_ydata()[0] for line in ax.get_lines() if is_level(line, style)]
        for style in (':', '--')
    }
    assert level[':'] == [1 / 8, 1 / 16]
    assert level['--'] == [pytest.approx(values['accuracy_valid@8'])]
    points = [line.get_ydata() for line in ax.lines if line.get_marker() == 'o']
    np.testing.assert_allclose(points, [[0.5, 0.5], [0.5, 0.75]])
    names = [label.get_text() for label in ax.get_xticklabels()]
    assert names == ['1 × 1', 'Gaussian\nblobs']
    assert len(pictures.draw(values).axes) == 1  # Without an image to show.


@pytest.mark.parametrize('name', RUNGS)
def test_examples_are_seen_by_people(name):
    photo = np.random.default_rng(0).integers(0, 256, (17, 21, 3), dtype=np.uint8)
    shown = pictures.example(name, photo)
    assert shown.shape == (S, S, 3) and shown.min() >= 0 and shown.max() <= 1
    if name == 'patch_shuffled':
        square = np.sort(photo[:S, :S].reshape(-1, 3) / 255, 0)
        np.testing.assert_allclose(np.sort(shown.reshape(-1, 3), 0), square, atol=1e-5)


# --- what is refused ------------------------------------------------------------------------------


def images_source(side=S):
    split = images_split(side=side)
    return Source('scenes', {'train': split, 'valid': split, 'test': split}, {'class': 3})


def test_a_ladder_needs_images_and_candidates():
    ladder = {'evaluation.noise_ladder': True}
    check_evaluation(tiny_config(ladder), images_source())
    check_evaluation(tiny_config(), images_source(side=8))  # Nothing is asked of it.
    with pytest.raises(ValueError, match='noise_ladder=True must be False: of tiny, agents do not'):
        check_evaluation(tiny_config(ladder), tiny_source())
    for side in (8, 18):
        with pytest.raises(ValueError, match=f'needs square images .* not {side} x {side}: set it'):
            check_evaluation(tiny_config(ladder), images_source(side))
    names = ladder | {'loss.listener.name': 'classification'}
    with pytest.raises(ValueError, match='noise_ladder=True must be False: noise has no labels'):
        check_evaluation(tiny_config(names), images_source())
    few = ladder | {'evaluation.noise_images': 15}
    with pytest.raises(ValueError, match='noise_images=15 must be at least the 16'):
        check_evaluation(tiny_config(few), images_source())
