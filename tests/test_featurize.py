"""Files of features and descriptions that are made from images: of which, and of what in them."""

from types import SimpleNamespace

import haiku as hk
import jax
import numpy as np
import pytest
from PIL import Image
from test_pretrained import config, drawn

from emcom_jax import featurize
from emcom_jax.agents.pretrained import to_haiku
from emcom_jax.agents.vision import make_trunk
from emcom_jax.data import class_folders, dialogue_files

COUNTS = {'cat': 7, 'dog': 4, 'owl': 2, 'bat': 5}
WIDTH, SIDE = 2, 32


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Images, three of whose four classes are enough; descriptions; weights with a classifier."""
    root = tmp_path_factory.mktemp('images')
    rng = np.random.default_rng(0)
    for name, count in COUNTS.items():
        (root / 'images' / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
            Image.fromarray(pixels).save(root / 'images' / name / f'{index}.png')
    (root / 'said.csv').write_text(
        '9,owl,large eyes\n4,dog,long tail, and fur\n7,cat,with fur\n5,cow,horns\n2,bat,wings\n'
    )
    tensors = drawn('resnet10', 0, WIDTH)
    size = 8 * WIDTH
    tensors |= {'fc.weight': rng.standard_normal((5, size)), 'fc.bias': rng.standard_normal(5)}
    np.savez(root / 'weights.npz', **tensors)
    return root


def run(folder, output, *arguments):
    featurize.main(
        [
            f'--images={folder / "images"}',
            f'--descriptions={folder / "said.csv"}',
            f'--weights={folder / "weights.npz"}',
            f'--output={output}',
            *('--trunk=resnet10', f'--width={WIDTH}', f'--size={SIDE}', '--format=npz'),
            *arguments,
        ]
    )


def test_the_command_makes_what_the_game_reads(folder, tmp_path, capsys):
    run(folder, tmp_path, '--classes=2', '--each=2')
    assert capsys.readouterr().out.splitlines()[0] == 'train: 3 images of 2 classes'
    source = dialogue_files.load(SimpleNamespace(path=str(tmp_path), features='layer4_2'))
    assert source.class_descriptions == ('long tail, and fur', 'with fur')
    assert source.map_shape == (1, 8 * WIDTH)
    for split in ('train', 'valid', 'test'):
        assert source.splits[split].labels['class'].tolist() == [0, 1, 1]
    stored = {name: np.load(tmp_path / f'{name}.npz') for name in featurize.SPLITS}
    assert stored['train']['Target'].tolist() == [4, 7, 7]
    seen = np.concatenate([arrays['avgpool_512'][:, 0] for arrays in stored.values()])
    assert len(np.unique(seen.round(4), axis=0)) == 9  # No image is in two splits.


def test_features_are_those_of_the_network(folder, tmp_path):
    run(folder, tmp_path, '--classes=1', '--each=9')  # The dog: four images, one in each split.
    found = class_folders.scan(folder / 'images', SimpleNamespace(bad_files='skip'))
    rows = featurize.choose(found, ['dog'], 1, 9, 0)['dog']['dev']
    path = folder / 'images' / found.names[rows[0]].decode()
    pixels = np.asarray(Image.open(path), np.float32)[None] / 255
    inputs = (pixels - [[[[0.485, 0.456, 0.406]]]]) / [[[[0.229, 0.224, 0.225]]]]
    trunk_config = config('resnet10')
    trunk_config.width = WIDTH
    trunk = hk.transform_with_state(lambda x: make_trunk(trunk_config)(x, False))
    weights = np.load(folder / 'weights.npz')
    params, state = to_haiku(dict(weights), trunk_config)
    features, _ = jax.jit(trunk.apply)(params, state, None, inputs.astype(np.float32))
    made = np.load(tmp_path / 'dev.npz')
    pooled = np.asarray(features.pooled)
    np.testing.assert_allclose(made['avgpool_512'], pooled[:, None], rtol=1e-4, atol=1e-4)
    last = np.moveaxis(features.maps['layer4_0'], -1, 1)
    np.testing.assert_allclose(made['layer4_2'][:, 0], last, rtol=1e-4, atol=1e-4)
    scores = pooled @ weights['fc.weight'].T + weights['fc.bias']
    np.testing.assert_allclose(made['fc'][:, 0], scores, rtol=1e-3, atol=1e-3)


def test_images_of_a_class_are_drawn_apart_and_alike(folder):
    found = class_folders.scan(folder / 'images', SimpleNamespace(bad_files='skip'))

    def rows(*arguments):
        return {
            name: [part.tolist() for part in parts.values()]
            for name, parts in featurize.choose(found, *arguments).items()
        }

    both = rows(['cat', 'bat'], 2, 2, 0)
    assert both['cat'] != rows(['cat'], 1, 2, 1)['cat']
    assert both['bat'] == rows(['bat'], 1, 2, 0)['bat']  # Whatever other classes there are.
    assert [len(part) for part in both['bat']] == [1, 1, 1]
    for name, parts in both.items():
        drawn_rows = [row for part in parts for row in part]
        assert len(set(drawn_rows)) == len(drawn_rows)
        assert {found.folders[found.classes[row]] for row in drawn_rows} == {name}


def test_what_cannot_be_made_is_refused(folder, tmp_path):
    with pytest.raises(ValueError, match="only 3 classes .* where 30 are wanted.*such as 'bat'"):
        run(folder, tmp_path)
    with pytest.raises(ValueError, match='must be at least 1'):
        run(folder, tmp_path, '--each=0')
    with pytest.raises(ValueError, match='do not fit resnet18'):
        run(folder, tmp_path, '--trunk=resnet18')
    assert not list(tmp_path.iterdir())


def test_files_are_written_as_they_were_published(tmp_path):
    h5py = pytest.importorskip('h5py')
    featurize.write(tmp_path / 'dev.hdf5', {'Target': np.arange(3)})
    with h5py.File(tmp_path / 'dev.hdf5') as file:
        assert file['Target'][()].tolist() == [0, 1, 2]
