"""Outlines of plants."""

import numpy as np

from emcom_datasets.outlines.geometry import Part, arc, disc, line, polygon, smooth, stroke


def _pot() -> Part:
    return Part('foot', 'accent', polygon((0.3, 0.9), (0.7, 0.9), (0.62, 1.1), (0.38, 1.1)))


def tree(a: float, b: float, extra: bool) -> list[Part]:
    crown, thick = 0.3 + 0.03 * a, 0.09 + 0.02 * b
    parts = [
        Part(
            'trunk',
            'accent',
            polygon(
                (0.5 - thick, 0.5), (0.5 + thick, 0.5), (0.53 + thick, 1.0), (0.47 - thick, 1.0)
            ),
        ),
        Part('head', 'main', arc(0.5, 0.33, 0.42, crown)),
    ]
    spots = [Part('spot', 'light', disc(x, y, 0.05)) for x, y in ((0.3, 0.3), (0.55, 0.45))]
    return parts + spots * extra


def cactus(a: float, b: float, extra: bool) -> list[Part]:
    left, right = 0.68 + 0.04 * a, 0.58 + 0.04 * b
    parts = [
        Part('', 'main', line(0.5, left, 0.12, left, 0.13)),
        Part('fin', 'main', line(0.15, left + 0.04, 0.15, left - 0.26, 0.13)),
        Part('', 'main', line(0.5, right, 0.88, right, 0.13)),
        Part('fin', 'main', line(0.85, right + 0.04, 0.85, right - 0.28, 0.13)),
        Part(
            'stem', 'main', polygon((0.38, 1.0), (0.36, 0.2), (0.5, 0.06), (0.64, 0.2), (0.62, 1.0))
        ),
        *(
            Part('tooth', 'light', polygon((x - 0.035, y), (x + 0.035, y), (x, y - 0.1)))
            for x in (0.44, 0.56)
            for y in (0.35, 0.56, 0.77)
        ),
    ]
    return parts + [Part('head', 'accent', disc(0.5, 0.06, 0.1))] * extra


def tulip(a: float, b: float, extra: bool) -> list[Part]:
    wide, deep = 0.2 + 0.02 * a, 0.42 + 0.03 * b
    half = [(0.0, 0.0), (wide / 2, 0.14), (wide, 0.0), (wide, deep - 0.12), (wide / 2, deep)]
    parts = [
        Part('stem', 'dark', line(0.5, deep, 0.5, 1.0, 0.07)),
        Part(
            'blade',
            'accent',
            smooth((0.52, 0.98), (0.7, 0.86), (0.86, 0.5), (0.74, 0.6), (0.58, 0.8)),
        ),
        Part(
            'head',
            'main',
            polygon(
                *((0.5 + x, y) for x, y in half), *((0.5 - x, y) for x, y in reversed(half[1:]))
            ),
        ),
    ]
    return parts + [_pot()] * extra


def daisy(a: float, b: float, extra: bool) -> list[Part]:
    long, eye = 0.21 + 0.02 * a, 0.12 + 0.02 * b
    parts = [Part('stem', 'dark', line(0.5, 0.4, 0.5, 1.0, 0.07))]
    for angle in np.arange(0, 2 * np.pi, np.pi / 4):
        way = np.array([np.cos(angle), np.sin(angle)])
        petal = arc(0, 0, long / 2 + 0.03, 0.075)
        turned = petal @ np.array([way, (-way[1], way[0])])
        parts.append(Part('wing', 'main', turned + (0.5, 0.34) + way * (0.1 + long / 2)))
    parts.append(Part('eye', 'accent', disc(0.5, 0.34, eye)))
    return [Part('blade', 'accent', arc(0.68, 0.86, 0.19, 0.07))] * extra + parts


def fern(a: float, b: float, extra: bool) -> list[Part]:
    spread, tall = 0.46 + 0.03 * a, 0.9 + 0.04 * b
    parts = []
    for side in (-1, 1):
        for reach, height in ((1.0, 0.35), (0.75, 0.75)):
            tip = 0.5 + side * reach * spread
            path = smooth(
                (0.5, 1.0),
                (0.5 + side * reach * spread * 0.35, 1.0 - tall * height),
                (tip, 1.0 - tall * height * 0.7),
                closed=False,
            )
            parts.append(Part('wing', 'main', stroke(path, 0.16, 0.02)))
    parts.append(Part('wing', 'main', line(0.5, 1.0, 0.5, 1.0 - tall, 0.16, 0.02)))
    return parts + [_pot()] * extra
