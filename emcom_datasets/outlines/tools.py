"""Outlines of tools: along the diagonal, the handle at the lower left."""

from emcom_datasets.outlines.geometry import Part, disc, line, polygon, smooth


def _handle(stop: float, extra: bool) -> list[Part]:
    """The handle of a tool up to (stop, 1 - stop), perhaps with a ring about its end."""
    handle = Part('handle', 'accent', line(0.06, 0.94, stop, 1 - stop, 0.14))
    return [handle] + [Part('ring', 'dark', line(0.13, 0.87, 0.23, 0.77, 0.19))] * extra


def _turned(*points: tuple[float, float]) -> list[tuple[float, float]]:
    """Points (along the diagonal, across it) in the frame: (0, 0) is (0.5, 0.5)."""
    return [(0.5 + 0.7 * (u + v), 0.5 - 0.7 * (u - v)) for u, v in points]


def hammer(a: float, b: float, extra: bool) -> list[Part]:
    long, thick = 0.3 + 0.03 * a, 0.13 + 0.015 * b
    face = [(0.37 - thick, -long), (0.37 + thick, -long), (0.37 + thick, -long + 0.14)]
    claw = [(0.37 + 0.7 * thick, 0.1), (0.36, long + 0.02), (0.37 - thick, long - 0.03)]
    back = [(0.37 - 0.7 * thick, 0.1), (0.37 - 0.7 * thick, -0.1), (0.37 - thick, -long + 0.14)]
    head = [*face, (0.37 + 0.7 * thick, -0.1), *claw, *back]
    return _handle(0.78, extra) + [Part('head', 'main', polygon(*_turned(*head)))]


def ax(a: float, b: float, extra: bool) -> list[Part]:
    wide, deep = 0.26 + 0.03 * a, 0.44 + 0.03 * b
    edge = _turned(
        (0.3 + wide, deep - 0.06),
        (0.3 + 0.4 * wide, deep + 0.02),
        (0.3 - 0.4 * wide, deep + 0.02),
        (0.3 - wide, deep - 0.06),
    )
    blade = [*_turned((0.4, -0.1), (0.4, 0.1)), *edge, *_turned((0.2, 0.1), (0.2, -0.1))]
    return [Part('blade', 'main', polygon(*blade))] + _handle(0.9, extra)


def saw(a: float, b: float, extra: bool) -> list[Part]:
    deep, right = 0.2 + 0.02 * a, 1.02 + 0.03 * b
    heel, toe, teeth = 0.24 + 2.1 * deep, 0.24 + deep, 6
    places = [
        (0.34 + (right - 0.34) * n / teeth, heel + (toe - heel) * n / teeth)
        for n in range(teeth + 1)
    ]
    parts = [
        Part(
            'tooth', 'main', polygon((x, y), ((x + after[0]) / 2, (y + after[1]) / 2 + 0.12), after)
        )
        for (x, y), after in zip(places[:-1], places[1:], strict=True)
    ]
    parts += [
        Part('blade', 'main', polygon((right, 0.24), (0.3, 0.2), (0.3, heel), (right, toe))),
        Part(
            'handle',
            'accent',
            smooth(
                (0.36, 0.14),
                (0.36, 0.7),
                (0.2, 0.82),
                (0.0, 0.74),
                (0.1, 0.5),
                (0.02, 0.22),
                (0.18, 0.08),
            ),
        ),
        Part(
            '', 'light', smooth((0.26, 0.34), (0.26, 0.58), (0.18, 0.6), (0.2, 0.46), (0.15, 0.34))
        ),
    ]
    return parts + [Part('ring', 'dark', disc(0.9, 0.33, 0.06))] * extra


def shovel(a: float, b: float, extra: bool) -> list[Part]:
    wide, tip = 0.2 + 0.02 * a, 0.64 + 0.02 * b
    blade = _turned(
        (0.08, -wide),
        (0.08, wide),
        (0.4, wide),
        (0.56, 0.6 * wide),
        (tip, 0),
        (0.56, -0.6 * wide),
        (0.4, -wide),
    )
    grip = _turned((-0.6, -0.17), (-0.6, 0.17), (-0.49, 0.17), (-0.49, -0.17))
    parts = [
        Part('', 'accent', polygon(*grip)),
        Part('handle', 'accent', line(0.12, 0.88, 0.6, 0.4, 0.1)),
    ]
    return (
        parts
        + [Part('ring', 'dark', line(0.3, 0.7, 0.4, 0.6, 0.14))] * extra
        + [Part('blade', 'main', polygon(*blade))]
    )


def rake(a: float, b: float, extra: bool) -> list[Part]:
    wide, deep = 0.42 + 0.03 * a, 0.2 + 0.02 * b
    parts = _handle(0.8, extra)
    for n in range(5):
        v = wide * (n - 2) / 2 * 0.94
        tooth = _turned(
            (0.36, v - 0.055), (0.36, v + 0.055), (0.36 + deep, v + 0.035), (0.36 + deep, v - 0.035)
        )
        parts.append(Part('tooth', 'main', polygon(*tooth)))
    return parts + [
        Part(
            'head',
            'main',
            polygon(*_turned((0.26, -wide), (0.26, wide), (0.42, wide), (0.42, -wide))),
        )
    ]
