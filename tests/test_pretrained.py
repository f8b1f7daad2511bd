"""Weights of others: files without code, and networks that compute what torchvision's do."""

import json
import pickle
import zipfile
from pathlib import Path

import haiku as hk
import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from emcom_jax.agents.pretrained import to_haiku
from emcom_jax.agents.vision import make_trunk
from emcom_jax.agents.weight_files import read_state_dict

GOLDEN = Path(__file__).parent / 'golden'
DEPTHS = {
    'resnet10': (1, 1, 1, 1),
    'resnet18': (2, 2, 2, 2),
    'resnet34': (3, 4, 6, 3),
    'resnet50': (3, 4, 6, 3),
    'resnet101': (3, 4, 23, 3),
}


def config(name, width=64):
    return ConfigDict(
        {
            'name': name,
            'width': width,
            'stem': 'imagenet',
            'max_pool': True,
            'zero_init': False,
            'precision': 'float32',
        }
    )


def layout(name, width=64):
    """(name, shape) of what torchvision's network has, in its own order, without the classifier."""
    if name == 'vgg16':
        size, places = 3, (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)
        channels = [width * factor for factor in (1, 1, 2, 2, 4, 4, 4, 8, 8, 8, 8, 8, 8)]
        for place, number in zip(places, channels, strict=True):
            yield f'features.{place}.weight', (number, size, 3, 3)
            yield f'features.{place}.bias', (number,)
            size = number
        return

    def convolution_and_norm(conv, norm, number, size, kernel):
        yield f'{conv}.weight', (number, size, kernel, kernel)
        for leaf in ('weight', 'bias', 'running_mean', 'running_var'):
            yield f'{norm}.{leaf}', (number,)

    yield from convolution_and_norm('conv1', 'bn1', width, 3, 7)
    size = width
    for stage, depth in enumerate(DEPTHS[name]):
        inner = width * 2**stage
        for block in range(depth):
            at = f'layer{stage + 1}.{block}'
            shapes = [(inner, size, 3), (inner, inner, 3)]
            if name in ('resnet50', 'resnet101'):
                shapes = [(inner, size, 1), (inner, inner, 3), (4 * inner, inner, 1)]
            for n, shape in enumerate(shapes, start=1):
                yield from convolution_and_norm(f'{at}.conv{n}', f'{at}.bn{n}', *shape)
            outer = shapes[-1][0]
            if block == 0 and (stage or outer != size):
                names = (f'{at}.downsample.0', f'{at}.downsample.1')
                yield from convolution_and_norm(*names, outer, size, 1)
            size = outer


def drawn(name, seed, width=64):
    """The weights behind the golden activations."""
    rng = np.random.default_rng(seed)

    def draw(key, shape):
        x = rng.standard_normal(shape)
        if len(shape) == 4:
            return x * np.sqrt(2 / np.prod(shape[1:]))
        return 1 + 0.1 * abs(x) if key.endswith(('running_var', 'weight')) else 0.1 * x

    return {key: draw(key, shape) for key, shape in layout(name, width)}


# --- torchvision's networks -----------------------------------------------------------------------


def features(name, seed):
    """Float64 features of the golden image by the golden weights."""
    images = np.moveaxis(np.load(GOLDEN / 'vision_vectors.npz')['input_NCHW'], 1, -1)
    images = (images - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    with jax.enable_x64(True):
        trunk = hk.transform_with_state(lambda x: make_trunk(config(name))(x, False))
        params, state = to_haiku(drawn(name, seed), config(name))
        return jax.device_get(jax.jit(trunk.apply)(params, state, None, images)[0])


@pytest.mark.parametrize('name, seed', [('resnet18', 18), ('resnet50', 50)])
def test_resnets_see_what_torchvisions_see(name, seed):
    wanted = np.load(GOLDEN / 'vision_vectors.npz')[f'{name}/pooled']
    seen = features(name, seed).pooled
    assert seen.dtype == np.float64
    np.testing.assert_allclose(seen, wanted, rtol=0, atol=1e-12 * wanted.max())


def test_vgg_sees_what_torchvisions_sees():
    golden = np.load(GOLDEN / 'vision_vectors.npz')
    maps = features('vgg16', 16).maps
    for tap in ('relu1_2', 'relu2_2', 'relu3_3', 'relu4_3', 'relu5_3'):
        seen = np.moveaxis(maps[tap], -1, 1)
        mean, corner = golden[f'vgg16/{tap}/mean'], golden[f'vgg16/{tap}/corner']
        assert seen.shape[1:] == tuple(golden[f'vgg16/{tap}/shape'][1:])
        np.testing.assert_allclose(seen.mean((2, 3)), mean, rtol=0, atol=1e-12 * mean.max())
        np.testing.assert_allclose(seen[:, :8, :4, :4], corner, rtol=0, atol=1e-12 * corner.max())


@pytest.mark.parametrize('name', [*DEPTHS, 'vgg16'])
def test_each_weight_has_its_place(name):
    weights = {
        key: np.full(shape, number, np.float16)
        for number, (key, shape) in enumerate(layout(name, width=2))
    }
    params, state = to_haiku(weights, config(name, width=2))
    leaves = jax.tree.leaves((params, state))
    assert {leaf.dtype for leaf in leaves} == {np.dtype('float32')}
    assert sorted(int(leaf.flat[0]) for leaf in leaves) == list(range(len(weights)))


SMALL = drawn('resnet10', 0, width=2)
CLASSIFIED = SMALL | {
    'fc.weight': np.zeros((5, 16)),
    'fc.bias': np.zeros(5),
    'bn1.num_batches_tracked': np.array(3),
    'layer1.0.bn1.num_batches_tracked': np.array(3),
}


def prefixed(prefix, weights):
    return {prefix + key: value for key, value in weights.items()}


@pytest.mark.parametrize(
    'weights, prefix',
    [
        (CLASSIFIED, None),
        (prefixed('module.', CLASSIFIED), None),
        (prefixed('resnet.', CLASSIFIED) | {'head.weight': np.zeros(3)}, None),
        (prefixed('module.encoder.', CLASSIFIED), 'encoder.'),
        (prefixed('a.', SMALL) | {f'b.{key}': 0 * value for key, value in SMALL.items()}, 'a.'),
    ],
    ids=['classifier', 'parallel', 'nested', 'named', 'one_of_two'],
)
def test_the_network_is_found_among_other_things(weights, prefix):
    found = to_haiku(weights, config('resnet10', width=2), prefix)
    wanted = to_haiku(SMALL, config('resnet10', width=2))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_the_features_of_a_classifier_trained_in_parallel_are_found():
    weights = drawn('vgg16', 0, width=2)
    dump = {key.replace('features.', 'features.module.'): x for key, x in weights.items()}
    dump |= {'classifier.0.weight': np.zeros((4, 4)), 'classifier.0.bias': np.zeros(4)}
    found, wanted = (to_haiku(x, config('vgg16', width=2)) for x in (dump, weights))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


@pytest.mark.parametrize(
    'weights, name, sentence',
    [
        (
            {key: x for key, x in SMALL.items() if key != 'bn1.running_var'},
            'resnet10',
            'do not fit resnet10: they lack bn1.running_var$',
        ),
        (
            SMALL | {'layer5.weight': np.zeros(3)},
            'resnet10',
            'do not fit resnet10: they have besides layer5.weight$',
        ),
        (
            SMALL | {'conv1.weight': np.zeros((2, 3, 3, 3))},
            'resnet10',
            r'have in another shape conv1.weight \(2, 3, 3, 3\) for \(2, 3, 7, 7\)$',
        ),
        (SMALL, 'resnet18', r'they lack layer1.1.bn1.bias, .* and 37 more$'),
        (drawn('resnet18', 0, width=2), 'resnet10', r'besides layer1.1.conv1.weight, .* 37 more$'),
        (SMALL, 'vgg16', 'they lack features.* and 23 more; they have besides conv1.weight'),
        ({}, 'resnet10', 'they lack'),
        (prefixed('a.', SMALL) | prefixed('b.', SMALL), 'resnet10', "networks, under 'a.', 'b.':"),
    ],
)
def test_weights_that_do_not_fit_are_named(weights, name, sentence):
    with pytest.raises(ValueError, match=sentence):
        to_haiku(weights, config(name, width=2))


# --- files ----------------------------------------------------------------------------------------

GRID = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8 - 1
WEIGHTS = {
    'float32': GRID.reshape(4, 6)[:2],
    'float64': np.arange(3) / 3,
    'half': np.arange(4, dtype=np.float16) / 4,
    'bfloat16': np.arange(4, dtype=np.float32) / 4,
    'int64': np.array(7),
    'uint8': np.arange(3, dtype=np.uint8),
    'boolean': np.array([True, False]),
    'whole': GRID,
    'transposed': GRID.transpose(2, 0, 1),
    'part': GRID[1:, ::2, 1:3],
    'expanded': np.full((2, 3), 0.5, np.float32),
    'parameter': np.array([1.5, -2.5], np.float32),
    'empty': np.zeros((0, 3), np.float32),
}


@pytest.mark.parametrize('suffix', ['pth', 'safetensors', 'npz'])
def test_files_are_read_as_they_were_written(tmp_path, suffix):
    path = GOLDEN / f'weights.{suffix}'
    if suffix == 'npz':
        path = tmp_path / 'weights.npz'
        np.savez(path, **WEIGHTS)
    read = read_state_dict(path)
    assert set(read) == set(WEIGHTS)
    for name, wanted in WEIGHTS.items():
        assert read[name].dtype == wanted.dtype, name
        np.testing.assert_array_equal(read[name], wanted, strict=True)


def push(value):
    """The operations of a pickle that put a value on its stack."""
    return pickle.dumps(value, 2)[2:-1]


def storage(kind='FloatStorage', key='0', length=4):
    named = f'ctorch\n{kind}\n'.encode()
    return b'(' + push('storage') + named + push(key) + push('cpu') + push(length) + b'tQ'


REBUILD = b'ctorch._utils\n_rebuild_tensor_v2\n'


FOUR, ONE = push((4,)), push((1,))


def tensor(of, offset=0, shape=FOUR, strides=ONE):
    return REBUILD + b'(' + of + push(offset) + shape + strides + b'\x89NtR'


def write(path, operations, compression=zipfile.ZIP_STORED, **more):
    """A file of torch with four floats in storage 0 and four small integers in storage 1."""
    with zipfile.ZipFile(path, 'w', compression) as archive:
        archive.writestr('any/data.pkl', b'\x80\x02}' + push('w') + operations + b's.')
        archive.writestr('any/data/0', np.arange(4, dtype=np.float32).tobytes())
        archive.writestr('any/data/1', np.full(64, 127, np.int8).tobytes())
        for name, content in more.items():
            archive.writestr(f'any/{name}', content)


def test_a_file_by_hand_is_read(tmp_path):
    write(tmp_path / 'x.pth', tensor(storage(), 1, push((2,)), push((2,))), byteorder='little')
    np.testing.assert_array_equal(read_state_dict(tmp_path / 'x.pth')['w'], [1, 3])


def test_no_code_of_a_file_is_run(tmp_path):
    made = tmp_path / 'made'
    for module, name in (('os', 'mkdir'), ('posix', 'mkdir'), ('builtins', 'open')):
        write(tmp_path / 'x.pth', f'c{module}\n{name}\n('.encode() + push(str(made)) + b'tR')
        with pytest.raises(ValueError, match=rf'x.pth wants {module}.{name}, which .* is not run'):
            read_state_dict(tmp_path / 'x.pth')
    assert not made.exists()


EXPANDED = tensor(storage(), 0, push((1000,)), push((0,)))
NUMBER = tensor(storage('CharStorage', '1', 64), 0, push(()), push(()))  # 127 in eight bits.
ONE_OF = b'(' + NUMBER + b't'
SET_ATTRIBUTE = b'(N' + push({'__call__': 1}) + b'tb'


@pytest.mark.parametrize(
    'operations, reason',
    [
        (tensor(storage(), 1), 'is not in its storage'),
        (tensor(storage(), -1), 'is not in its storage'),
        (tensor(storage(), 3, strides=push((-1,))), 'is not in its storage'),
        (tensor(storage('CharStorage', '1', 64), 0, ONE_OF, ONE_OF), 'is not in its storage'),
        (tensor(EXPANDED, 500), 'a tensor has no storage'),
        (tensor(storage(length=5)), 'is not of 5 float32'),
        (tensor(storage(key='2')), 'no item named'),
        (tensor(storage('ComplexFloatStorage')), 'wants torch.ComplexFloatStorage'),
        (REBUILD + SET_ATTRIBUTE, '__call__'),
        (b'ccollections\nOrderedDict\n' + SET_ATTRIBUTE, 'damaged'),
        (storage() + b'(N' + push({'array': 1}) + b'tb', "set attribute|no attribute '__dict__'"),
        (push(3), 'has no tensors at the top, nor under state_dict'),
    ],
)
def test_tensors_are_of_the_file_alone(tmp_path, operations, reason):
    write(tmp_path / 'x.pth', operations)
    with pytest.raises(ValueError, match=rf'x\.pth .*({reason})'):
        read_state_dict(tmp_path / 'x.pth')


def test_other_files_are_refused(tmp_path):
    def refused(name, sentence):
        with pytest.raises(ValueError, match=rf'{name}.*{sentence}'):
            read_state_dict(tmp_path / name)

    write(tmp_path / 'packed.pth', tensor(storage()), zipfile.ZIP_DEFLATED)
    refused('packed.pth', 'is damaged')
    write(tmp_path / 'big.pth', tensor(storage()), byteorder='big')
    refused('big.pth', 'has its bytes in big-endian order')
    (tmp_path / 'old.pth.tar').write_bytes(pickle.dumps({'state_dict': {}}, 2))
    refused('old.pth.tar', 'is in the format from before torch 1.6.* convert it')
    (tmp_path / 'weights.bin').write_bytes(b'')
    refused('weights.bin', "by its suffix '.bin'. Known: .npz, .pt, .pth")
    np.savez(tmp_path / 'things.npz', w=np.array([{}], object))
    refused('things.npz', 'is damaged')
    np.savez(tmp_path / 'words.npz', w=np.array(['a']))
    refused('words.npz', "has 'w' of dtype <U1: save it as float32")
    whole = (GOLDEN / 'weights.safetensors').read_bytes()
    (tmp_path / 'cut.safetensors').write_bytes(whole[:-30])
    refused('cut.safetensors', 'is damaged')
    header = json.dumps({'w': {'dtype': 'F8_E4M3', 'shape': [1], 'data_offsets': [0, 1]}}).encode()
    (tmp_path / 'f8.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header + b'0')
    refused('f8.safetensors', "has 'w' of type F8_E4M3: save it as one of F64, F32")
    with pytest.raises(OSError, match='none.pth'):
        read_state_dict(tmp_path / 'none.pth')
