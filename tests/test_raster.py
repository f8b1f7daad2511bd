"""The rasteriser: values of an independent origin, and what draws stroke by stroke beside what
draws all at once."""

import itertools
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from emcom_jax import curves, raster

GOLDEN = np.load(Path(__file__).parent / 'golden' / 'raster_vectors.npz')
KINDS = {  # Case -> kind and alpha; of other cases, lines.
    'points': ('point', 0.5),
    'bezier2': ('quadratic', 0.5),
    'bezier3': ('cubic', 0.5),
    'crs_uniform': ('catmull_rom', 0.0),
    'crs_centripetal': ('catmull_rom', 0.5),
    'crs_chordal': ('catmull_rom', 1.0),
}
INKS = {'exp': raster.exp_ink, 'sigmoid': raster.sigmoid_ink, 'hard': raster.hard_ink}
PRECISIONS = {'float64': 1e-10, 'float32': 1e-4}


@pytest.fixture(params=PRECISIONS)
def golden(request):
    """Golden values in one precision, and how closely they are met, relative to the largest."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion('strict'):
        yield (
            lambda name: jnp.asarray(GOLDEN[name], request.param),
            partial(assert_close, tolerance=PRECISIONS[request.param]),
        )


@pytest.fixture
def double():
    with jax.enable_x64(True), jax.numpy_dtype_promotion('strict'):
        yield


def assert_close(ours, theirs, tolerance):
    theirs = np.asarray(theirs)
    assert ours.shape == theirs.shape
    scale = max(1.0, np.abs(theirs).max(initial=0))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def pulled(function, cotangent, *arguments):
    """The function's value and its gradients for a cotangent."""

    @jax.jit
    def both(*arguments):
        value, pull = jax.vjp(function, *arguments)
        return value, pull(cotangent)

    return both(*arguments)


# --- golden values --------------------------------------------------------------------------------


def distance2(case, params, grid):
    kind, alpha = KINDS.get(case, ('line', None))
    if kind == 'point':
        return raster.point_distance2(params, grid)
    if kind == 'line':
        return raster.line_distance2(params, grid)
    return raster.curve_distance2(params, grid, kind, alpha=alpha)


@pytest.mark.parametrize(
    'case',
    ['points', 'lines', 'lines_special', 'lines_aspect', 'lines_pixel', 'bezier3', 'crs_chordal'],
)
def test_distances_are_those_of_the_published_code(golden, case):
    values, close = golden
    theirs = values(f'{case}/edt2')
    name = f'{case}/grid'
    grid = values(name) if name in GOLDEN else raster.grid(*theirs.shape[2:]).astype(theirs.dtype)
    function = partial(distance2, case)
    d2, gradients = pulled(
        lambda params: function(params, grid), values(f'{case}/w_raster'), values(f'{case}/params')
    )
    close(d2, GOLDEN[f'{case}/edt2'])
    close(gradients[0], GOLDEN[f'{case}/grad_edt2'])


@pytest.mark.parametrize(
    ('case', 'ink'),
    [
        *((case, 'exp') for case in (*KINDS, 'lines', 'lines_special')),
        *((case, 'exp') for case in ('lines_game32', 'lines_game96')),
        ('lines', 'sigmoid'),
    ],
)
def test_drawings_are_those_of_the_published_code(golden, case, ink):
    values, close = golden
    params, weight = values(f'{case}/params'), values(f'{case}/w_composite')
    kind, alpha = KINDS.get(case, ('line', 0.5))
    if kind == 'point':
        params = params[:, :, None]

    @jax.jit
    def draw(params, sigma2):
        def canvas(params, sigma2):
            return raster.draw(params, *weight.shape[1:], sigma2, kind, ink=ink, alpha=alpha)

        value, pull = jax.vjp(canvas, params, sigma2)
        return value, *pull(weight)

    compared = 0
    for k, sigma2 in enumerate(values(f'{case}/sigma2s')):
        name = f'softor_{ink}_s{k}'
        if f'{case}/{name}' not in GOLDEN:
            continue
        canvas, of_params, of_sigma2 = draw(params, sigma2)
        close(canvas, GOLDEN[f'{case}/{name}'])
        close(of_params.reshape(GOLDEN[f'{case}/params'].shape), GOLDEN[f'{case}/grad_{name}'])
        close(of_sigma2, GOLDEN[f'{case}/dsigma2_{name}'])
        compared += 1
    assert compared


@pytest.mark.parametrize(
    ('case', 'curve'),
    [
        ('quadratic_bezier', curves.quadratic_bezier),
        ('cubic_bezier', curves.cubic_bezier),
        ('crs_alpha0', partial(curves.catmull_rom, alpha=0.0)),
        ('crs_alpha025', partial(curves.catmull_rom, alpha=0.25)),
        ('crs_alpha05', curves.catmull_rom),
        ('crs_alpha1', partial(curves.catmull_rom, alpha=1.0)),
    ],
)
def test_points_of_curves_are_those_of_the_published_code(golden, case, curve):
    values, close = golden
    t = values('curve_points/t')[:, 0]
    points, gradients = pulled(
        lambda params: curve(params, t),
        values(f'curve_points/{case}_w'),
        values(f'curve_points/{case}_params'),
    )
    close(points, GOLDEN[f'curve_points/{case}_points'])
    close(gradients[0], GOLDEN[f'curve_points/{case}_grad'])


def test_hard_ink_is_that_of_the_published_code(double):
    params, grid = jnp.asarray(GOLDEN['lines/params']), jnp.asarray(GOLDEN['lines/grid'])
    np.testing.assert_allclose(raster.grid(16, 16), grid, atol=1e-15)
    ink = raster.hard_ink(
        raster.line_distance2(params, grid), float(GOLDEN['lines/hard_sigma_diag']) ** 2
    )
    np.testing.assert_array_equal(raster.soft_or(ink), GOLDEN['lines/hard_diag'])


def test_soft_or_is_that_of_the_published_code(golden):
    values, close = golden
    ink, (gradient,) = pulled(raster.soft_or, values('composite/w'), values('composite/rasters'))
    close(ink, GOLDEN['composite/softor'])
    close(gradient, GOLDEN['composite/grad_softor'])


def test_colours_by_channel_are_those_of_the_published_code(golden):
    # Their tolerance: they add 1e-10 within a logarithm.
    values, _ = golden

    def image(params, colours):
        grid = raster.grid(10, 10).astype(params.dtype)
        ink = raster.exp_ink(raster.line_distance2(params, grid), values('colour_over/sigma2'))
        return raster.soft_or(colours[..., None, None] * ink[:, :, None])

    arrays = values('colour_over/params'), values('colour_over/colours')
    canvas, gradients = pulled(image, values('colour_over/w'), *arrays)
    assert_close(canvas, GOLDEN['colour_over/image'], 1e-4)
    for ours, name in zip(gradients, ('grad_params', 'grad_colours'), strict=True):
        assert_close(ours, GOLDEN[f'colour_over/{name}'], 1e-4)


# --- stroke by stroke and all at once -------------------------------------------------------------


def scene(hits):
    """Arguments of `draw` for B = 2, L = 5, on 5 x 7 pixels, and a weight for each of the canvas's.

    With `hits`, strokes 1 and 3 run through pixels, their gates open: nothing shows through.
    """
    rng = np.random.default_rng(1)
    lines = rng.uniform(-1, 1, (2, 5, 2, 2))
    gates = rng.uniform(0.2, 0.9, (2, 5))
    if hits:
        lines[:, 1] = [[-0.5, -1.0], [-0.5, 1.0]]  # Along the second row.
        lines[:, 3] = [[-1.0, 0.0], [1.0, 0.0]]  # Along the middle column: they cross in a pixel.
        gates[:, 1::2] = 1.0
    arrays = {
        'strokes': lines,
        'sigma2': rng.uniform(0.02, 0.2, (2, 5)),
        'gates': gates,
        'colours': rng.uniform(0, 1, (2, 5, 3)),
        'background': rng.uniform(0, 1, 3),
    }
    return {name: jnp.asarray(x) for name, x in arrays.items()}, rng.standard_normal((2, 5, 7, 3))


def at_once(composition, ink, arrays):
    """What `draw` does, from the functions that it stands for."""
    d2 = raster.line_distance2(arrays['strokes'], raster.grid(5, 7))
    expand = (..., None, None)
    alpha = arrays['gates'][expand] * INKS[ink](d2, arrays['sigma2'][expand])
    if composition == 'soft_or':
        return raster.soft_or(alpha)
    if composition == 'max':
        first = alpha.argmax(1, keepdims=True)  # Of equals, where `max` would share the gradient.
        return jnp.take_along_axis(alpha, first, 1)[:, 0]
    bare = 1 - raster.soft_or(alpha)[..., None]
    return raster.over(alpha, arrays['colours']) + bare * arrays['background'][None, None, None]


@pytest.mark.parametrize(
    ('composition', 'ink'),
    [('soft_or', 'exp'), ('soft_or', 'sigmoid'), ('soft_or', 'hard'), ('max', 'exp')]
    + [('over', 'exp'), ('over', 'hard')],
)
def test_drawing_is_what_its_parts_say_with_all_its_gradients(double, composition, ink):
    def canvas(arrays):
        if composition != 'over':
            arrays = {k: x for k, x in arrays.items() if k not in ('colours', 'background')}
        rest = dict(arrays)
        strokes, sigma2 = rest.pop('strokes'), rest.pop('sigma2')
        return raster.draw(strokes, 5, 7, sigma2, ink=ink, composition=composition, **rest)

    def run(function, weight):
        @jax.jit
        def both(arrays):
            value, pull = jax.vjp(function, arrays)
            return value, pull(weight)[0]

        return both

    weight = jnp.asarray(scene(False)[1])
    weight = weight if composition == 'over' else weight[..., 0]
    ours, theirs = run(canvas, weight), run(partial(at_once, composition, ink), weight)
    for hits in (False, True):
        arrays, _ = scene(hits)
        (drawn, gradients), (expected, wanted) = ours(arrays), theirs(arrays)
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-13)
        for name, gradient in gradients.items():
            assert np.isfinite(gradient).all(), name
            np.testing.assert_allclose(gradient, wanted[name], rtol=0, atol=1e-10, err_msg=name)
        assert np.any(np.asarray(gradients['gates']) != 0)


def test_what_lies_behind_a_full_stroke_is_hidden():
    # Two strokes along the middle row, the first one opaque.
    strokes = jnp.array([[[[0.0, -1.0], [0.0, 1.0]]] * 2])
    colours = jnp.array([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    draw = partial(raster.draw, strokes, 3, 3, 0.1, colours=colours, ink='hard', composition='over')
    np.testing.assert_array_equal(draw()[0, 1], [[1, 0, 0]] * 3)
    np.testing.assert_array_equal(draw()[0, 0], [[1, 1, 1]] * 3)
    half = draw(gates=jnp.array([[0.25, 1.0]]), background=(0.0, 0.0, 0.5))
    np.testing.assert_allclose(half[0, 1], [[0.25, 0.75, 0]] * 3, atol=1e-6)
    np.testing.assert_allclose(half[0, 0], [[0, 0, 0.5]] * 3, atol=1e-6)


@pytest.mark.parametrize('composition', ['soft_or', 'max', 'over'])
def test_memory_does_not_grow_with_the_number_of_strokes(composition):
    def temporary(num_strokes):
        def loss(strokes, colours):
            given = colours if composition == 'over' else None
            canvas = raster.draw(
                strokes, 32, 32, 0.01, 'quadratic', colours=given, composition=composition
            )
            return (canvas**2).sum()

        shapes = [(2, num_strokes, 3, 2), (2, num_strokes, 3)]
        shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
        compiled = jax.jit(jax.grad(loss)).lower(*shapes).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    image = 2 * 32 * 32 * 4
    few, many = temporary(2), temporary(32)
    assert many - few < 4 * image, (few, many)


def test_agents_maps_and_devices_draw_the_same():
    strokes = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (1, 3, 2, 4, 2, 2)), jnp.float32)

    def gradient(strokes):
        draw = partial(raster.draw_lines, height=4, width=6)
        return jax.grad(lambda x, s: (draw(x, sigma2=s) ** 2).sum(), (0, 1))(strokes, 0.05)

    alone = jax.jit(gradient)
    expected = [np.stack(x) for x in zip(*(alone(s) for s in strokes[0]), strict=True)]
    for run in (
        jax.jit(jax.vmap(jax.vmap(gradient))),
        jax.jit(jax.vmap(lambda s: jax.lax.map(gradient, s))),
        jax.pmap(jax.vmap(gradient)),
    ):
        for ours, wanted in zip(run(strokes), expected, strict=True):
            np.testing.assert_allclose(ours[0], wanted, rtol=1e-5, atol=1e-5)


# --- where the mathematics is singular ------------------------------------------------------------


@pytest.mark.parametrize('alpha', [0.0, 0.5, 1.0])
def test_points_of_a_catmull_rom_spline_may_coincide(alpha):
    places = np.array([[0.1, -0.3], [0.4, 0.6], [-0.7, 0.2], [-0.2, -0.8]], np.float32)
    which = np.array(list(itertools.product(range(4), repeat=4)))
    params = jnp.asarray(places[which])  # [256, 4, 2]
    t = jnp.linspace(0, 1, 5)
    points, (gradient,) = pulled(
        lambda params: curves.catmull_rom(params, t, alpha), jnp.ones((256, 5, 2)), params
    )
    assert np.isfinite(points).all() and np.isfinite(gradient).all()
    # It still runs from the second point to the third, which take up what moves all points.
    np.testing.assert_allclose(points[:, 0], params[:, 1], atol=1e-5)
    np.testing.assert_allclose(points[:, -1], params[:, 2], atol=1e-5)
    np.testing.assert_allclose(gradient.sum(1), 5, rtol=1e-3)
    if alpha == 0.5:  # The limit of points that come together.
        nudge = 1e-5 * np.random.default_rng(0).standard_normal(params.shape)
        near = curves.catmull_rom(params + jnp.asarray(nudge, jnp.float32), t, alpha)
        np.testing.assert_allclose(points, near, atol=0.02)


def test_a_stroke_without_length_is_a_point_that_pulls_at_its_start():
    point = jnp.array([[[0.3, -0.2]]])
    lines = jnp.stack([point, point], axis=2)
    grid = raster.grid(4, 3)
    weight = jnp.ones((1, 1, 4, 3))
    as_line, (of_line,) = pulled(lambda x: raster.line_distance2(x, grid), weight, lines)
    as_point, (of_point,) = pulled(lambda x: raster.point_distance2(x, grid), weight, point)
    by_hand = ((grid - point) ** 2).sum(-1)
    np.testing.assert_allclose(as_point[0, 0], by_hand, rtol=1e-5)
    np.testing.assert_array_equal(as_line, as_point)
    np.testing.assert_allclose(of_line[:, :, 0], of_point, rtol=1e-5)
    np.testing.assert_array_equal(of_line[:, :, 1], 0)


# --- settings -------------------------------------------------------------------------------------


def test_the_grid_holds_both_ends():
    grid = raster.grid(3, 5)
    np.testing.assert_allclose(grid[0, 0], [-1, -1])
    np.testing.assert_allclose(grid[2, 4], [1, 1])
    np.testing.assert_allclose(grid[1, 0], [0, -1], atol=1e-7)


@pytest.mark.parametrize(
    ('shape', 'settings', 'words'),
    [
        ((1, 2, 2, 2), {'kind': 'lines'}, "unknown kind of stroke 'lines'; did you mean 'line'"),
        ((1, 2, 4, 2), {}, 'has 2 control points, not 4'),
        ((1, 2, 4, 2), {'kind': 'cubic', 'segments': 0}, 'segments=0 must be at least 1'),
        ((1, 2, 2, 2), {'ink': 'soft'}, "unknown ink 'soft'"),
        ((1, 2, 2, 2), {'composition': 'or'}, "unknown composition 'or'"),
        ((1, 2, 2, 2), {'composition': 'over'}, 'needs colours'),
        ((1, 2, 2, 2), {'colours': np.ones((1, 2, 3), np.float32)}, "not with 'soft_or'"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(shape, settings, words):
    with pytest.raises(ValueError, match=words):
        raster.draw(jnp.zeros(shape), 3, 3, 0.1, **settings)
