"""The house: imports point one way, and every file knows its place."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / 'emcom_jax'
FOLDERS = ('emcom_jax', 'emcom_datasets', 'configs', 'benchmarks', 'tests', 'docs')

# Rooms of the package, from the ground up. What is in a room may import from that room and from the
# floors below. A file stands by itself where it is more than its room.
FLOORS = (
    ('types', 'tables', 'probes', 'estimates'),
    ('draws', 'stacks'),
    ('data',),
    ('config',),
    ('architectures',),
    ('curves',),
    ('canvas',),
    ('channels', 'raster'),
    ('agents', 'losses', 'metrics'),
    ('runtime',),
    ('report',),
    ('runtime.run',),
    ('games',),
    ('checks',),
    ('optimizers',),
    ('population',),
    ('updates',),
    ('steps',),
    ('dynamics',),
    ('plans',),
    ('groups',),
    ('evaluation',),
    ('experiments',),
    ('sweep', 'featurize'),
    ('main',),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}


def imports(path):
    """The modules that a file imports, with dots: what is imported from a package counts too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path} imports relatively'
            yield from (f'{node.module}.{alias.name}' for alias in node.names)


def room_of(module):
    """'emcom_jax.games.lewis' -> 'games'; None for what is not of the package."""
    package, *path = module.split('.')
    if package != 'emcom_jax' or not path:
        return None
    return next(('.'.join(path[:n]) for n in (2, 1) if '.'.join(path[:n]) in FLOOR), path[0])


MODULES = {
    '.'.join(path.relative_to(ROOT).with_suffix('').parts): path
    for path in sorted(PACKAGE.rglob('*.py'))
    if path != PACKAGE / '__init__.py'
}


@pytest.mark.parametrize('module', MODULES)
def test_imports_point_one_way(module):
    room = room_of(module)
    assert room in FLOOR, f'{module} has no place among the floors'
    for imported in filter(None, map(room_of, imports(MODULES[module]))):
        assert imported == room or FLOOR[imported] < FLOOR[room], f'{module} imports {imported}'


@pytest.mark.parametrize('room', ['games', 'agents'])
def test_a_game_imports_no_other_game(room):
    shared = {'__init__', 'base', 'networks', 'recurrence', 'heads', 'vision'}
    shared |= {'referential', 'referential_check', 'sketching_check', 'sequence'}
    shared |= {'normalization', 'pretrained', 'weight_files'}
    shared |= {'dialogue_check', 'dialogue_learning'}
    games = {path.stem for path in (PACKAGE / room).glob('*.py')} - shared
    assert games
    for game in games:
        for imported in imports(PACKAGE / room / f'{game}.py'):
            others = {f'emcom_jax.{room}.{other}' for other in games - {game}}
            assert not any(imported.startswith(other) for other in others)


@pytest.mark.parametrize('folder', ['emcom_datasets', 'configs'])
def test_data_and_recipes_need_little(folder):
    allowed = {'emcom_datasets': set(), 'configs': {'config'}}[folder]
    for path in (ROOT / folder).glob('*.py'):
        assert {room_of(module) for module in imports(path)} <= {None} | allowed, path


def test_no_file_is_an_attic():
    attics = re.compile('util|helper|misc|common')
    assert not [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob('*.py')
        if attics.search(path.stem)
    ]


def test_no_file_names_a_place_on_one_machine():
    place = re.compile(r'(?<![\w.])/(?:home|root|Users|work|mnt|private)/\w')
    texts = [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob('*')
        if path.suffix in ('.py', '.md', '.html')
    ]
    texts += [path for path in ROOT.iterdir() if path.suffix in ('.py', '.md', '.toml', '.txt')]
    assert len(texts) > 30
    for path in texts:
        assert not place.search(path.read_text()), path


def test_every_folder_of_code_is_a_package():
    # Otherwise `pip install .` leaves it out.
    for name in ('emcom_jax', 'emcom_datasets'):
        for path in (ROOT / name).rglob('*.py'):
            assert (path.parent / '__init__.py').exists(), path.parent
