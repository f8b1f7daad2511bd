"""The classes of `shapes`: their WordNet senses, families and drawings, and words for all that."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from emcom_datasets.outlines import (
    animals,
    buildings,
    furniture,
    plants,
    tools,
    vehicles,
    vessels,
)
from emcom_datasets.outlines.geometry import Part

COLOURS = {  # Name -> RGB.
    'red': (205, 45, 45),
    'orange': (240, 140, 35),
    'yellow': (240, 215, 70),
    'green': (60, 160, 75),
    'blue': (55, 105, 210),
    'purple': (135, 70, 175),
    'pink': (240, 150, 185),
    'brown': (135, 90, 55),
}
TEXTURES = ('plain', 'striped', 'dotted')
SIZES = ('small', 'middling', 'large')
FAMILIES = ('vehicle', 'building', 'animal', 'tool', 'vessel', 'piece of furniture')
PLANT = 'one'  # What a description calls plants: no description of the others has a word for them.


class Class(NamedTuple):
    """A class.

    synset: the WordNet 3.0 sense of its noun, as NLTK writes it.
    family: one of FAMILIES, or PLANT.
    draw: (a, b, extra) -> its parts.
    look: what goes before and after the family in a sentence that describes it without its noun.
    """

    synset: str
    family: str
    draw: Callable[[float, float, bool], list[Part]]
    look: tuple[str, str]

    @property
    def description(self) -> str:
        """A sentence that does not name it: words for its family, parts and shape."""
        before, after = self.look
        return f'{before} {self.family} {after}'


def _family(family: str, *members: tuple[str, Callable[..., list[Part]], str, str]) -> list[Class]:
    return [Class(synset, family, draw, (before, after)) for synset, draw, before, after in members]


# All but the last of each family are trained on; the last is held out, for the split 'ood'.
_VEHICLES = _family(
    'vehicle',
    ('car.n.01', vehicles.car, 'a low', 'with wheels and with sloping windows on top'),
    ('bus.n.01', vehicles.bus, 'a long tall', 'with wheels, a row of square windows and a door'),
    (
        'tractor.n.01',
        vehicles.tractor,
        'a tall',
        'with a small wheel and a narrow chimney in front, and a large wheel and a cab with a '
        'window behind',
    ),
    (
        'locomotive.n.01',
        vehicles.locomotive,
        'a long round',
        'on a row of small wheels, with a light and a wide chimney in front, and a cab with a '
        'window and a flat roof behind',
    ),
    (
        'truck.n.01',
        vehicles.truck,
        'a long tall square',
        'with wheels, and with a cab with a window in front',
    ),
)
_BUILDINGS = _family(
    'building',
    ('house.n.01', buildings.house, 'a low wide', 'with a wide pointed roof, a door and a window'),
    (
        'church.n.02',
        buildings.church,
        'a long',
        'with a sloping roof, a door and windows, and a tower with a pointed roof and a cross on '
        'top',
    ),
    (
        'castle.n.02',
        buildings.castle,
        'a wide square',
        'with a tower on each side, windows and a round door',
    ),
    (
        'igloo.n.01',
        buildings.igloo,
        'a low round',
        'with a short thick round door in front',
    ),
    (
        'lighthouse.n.01',
        buildings.lighthouse,
        'a tall narrow round',
        'with a tower with a door, and on top a light and a pointed roof',
    ),
)
_ANIMALS = _family(
    'animal',
    ('fish.n.01', animals.fish, 'a long', 'with an eye, a fin on top and a wide tail behind'),
    ('butterfly.n.01', animals.butterfly, 'a thin', 'with wide wings on each side and feelers'),
    (
        'snail.n.01',
        animals.snail,
        'a low',
        'with a round shell, and in front feelers with eyes on top',
    ),
    (
        'elephant.n.01',
        animals.elephant,
        'a tall thick',
        'with thick legs, a large head with an eye, a wide ear and a long trunk in front, and a '
        'thin pointed tail behind',
    ),
    (
        'turtle.n.02',
        animals.turtle,
        'a low wide',
        'with a round shell on top, short legs, a head with an eye in front, and a short pointed '
        'tail behind',
    ),
)
_TOOLS = _family(
    'tool',
    ('hammer.n.02', tools.hammer, 'a long', 'with a handle and a thick head across'),
    ('ax.n.01', tools.ax, 'a long', 'with a handle and a wide blade on one side'),
    (
        'saw.n.02',
        tools.saw,
        'a wide',
        'with a short handle and a pointed blade with a row of teeth',
    ),
    ('shovel.n.01', tools.shovel, 'a long', 'with a handle and a wide pointed blade in front'),
    (
        'rake.n.03',
        tools.rake,
        'a long',
        'with a handle and a wide head across with a row of teeth in front',
    ),
)
_VESSELS = _family(
    'vessel',
    ('cup.n.01', vessels.cup, 'a low wide', 'with a round rim and a handle on one side'),
    ('bottle.n.01', vessels.bottle, 'a tall', 'with a narrow neck on top and a label'),
    ('goblet.n.01', vessels.goblet, 'a tall', 'with a wide rim, a thin stem and a round foot'),
    (
        'teapot.n.01',
        vessels.teapot,
        'a low round',
        'with a long spout in front, a handle behind and a lid on top',
    ),
    (
        'pitcher.n.02',
        vessels.pitcher,
        'a tall wide round',
        'with a rim and a short spout in front and a handle behind',
    ),
)
_FURNITURE = _family(
    'piece of furniture',
    ('chair.n.01', furniture.chair, 'a narrow', 'with a seat and a tall back on long legs'),
    ('table.n.02', furniture.table, 'a wide', 'with a flat board on long legs'),
    ('lamp.n.02', furniture.lamp, 'a tall', 'with a wide shade on a thin stem with a round foot'),
    (
        'bed.n.01',
        furniture.bed,
        'a long low',
        'with a back, a pillow and a thick cover on top, and short legs',
    ),
    (
        'sofa.n.01',
        furniture.sofa,
        'a wide low',
        'with a thick seat in front of a wide back, on short legs',
    ),
)
_BY_FAMILY = (_VEHICLES, _BUILDINGS, _ANIMALS, _TOOLS, _VESSELS, _FURNITURE)

# Class ids are positions here: first those trained on, then those held out.
CLASSES = tuple(one for family in _BY_FAMILY for one in family[:-1]) + tuple(
    family[-1] for family in _BY_FAMILY
)
NUM_TRAINED = len(CLASSES) - len(FAMILIES)
# A family of its own, for the split 'transfer'; its class ids go on after those of CLASSES.
TRANSFER = tuple(
    _family(
        PLANT,
        ('tree.n.01', plants.tree, 'a tall', 'with a thick trunk and a large round head on top'),
        (
            'cactus.n.01',
            plants.cactus,
            'a tall thick',
            'with a thick stem, a short thick fin on each side, and a row of pointed teeth',
        ),
        (
            'tulip.n.01',
            plants.tulip,
            'a tall narrow',
            'with a pointed head on top of a thin stem, and a long blade on one side',
        ),
        (
            'daisy.n.01',
            plants.daisy,
            'a tall',
            'with a round eye on top of a thin stem, and a row of thin wings on each side',
        ),
        ('fern.n.01', plants.fern, 'a low wide', 'with a row of long thin pointed wings'),
    )
)
DRAWN = CLASSES + TRANSFER
# Every name that a part has, of any class.
PARTS = tuple(sorted({part.name for one in CLASSES for part in one.draw(0, 0, True) if part.name}))
# What the columns of the label 'attributes' are. Values count the lists above (of the family PLANT
# comes last); of a part: none, one, or several.
ATTRIBUTES = ('family', 'colour', 'second colour', 'texture', 'size', *PARTS)


def count_parts(kind: int, extra: bool) -> list[int]:
    """How often each of PARTS is on an object of class `kind` of DRAWN: 0, 1, or 2 for several."""
    names = [part.name for part in DRAWN[kind].draw(0, 0, extra)]
    return [min(names.count(name), 2) for name in PARTS]


def describe(attributes: Sequence[int] | np.ndarray) -> str:
    """The sentence that says what the attributes [A] of an example are; it does not name its class.

    For example: 'a large striped red and blue vehicle with a light, wheels and windows'.
    """
    family, colour, second, texture, size, *parts = (int(value) for value in attributes)
    names = list(COLOURS)
    listed = [
        plural(name) if number > 1 else f'{"an" if name[0] in "aeiou" else "a"} {name}'
        for name, number in zip(PARTS, parts, strict=True)
        if number
    ]
    *first, last = listed
    with_parts = f'{", ".join(first)} and {last}' if first else last
    return (
        f'a {SIZES[size]} {TEXTURES[texture]} {names[colour]} and {names[second]} '
        f'{(*FAMILIES, PLANT)[family]} with {with_parts}'
    )


def plural(name: str) -> str:
    """The plural of the name of a part."""
    return {'tooth': 'teeth'}.get(name, f'{name}s')
