"""Outlines of buildings."""

from emcom_datasets.outlines.geometry import Part, arc, box, disc, line, polygon, smooth


def _flag(x: float, y: float) -> list[Part]:
    return [
        Part('', 'dark', line(x, y, x, y - 0.24, 0.03)),
        Part('flag', 'accent', polygon((x, y - 0.24), (x + 0.2, y - 0.17), (x, y - 0.09))),
    ]


def house(a: float, b: float, extra: bool) -> list[Part]:
    eaves, ridge = 0.46 + 0.03 * a, 0.05 + 0.04 * b
    parts = [
        Part('', 'main', box(0.1, eaves, 0.9, 0.95)),
        Part('roof', 'accent', polygon((0.0, eaves + 0.02), (0.5, ridge), (1.0, eaves + 0.02))),
        Part('door', 'dark', box(0.56, 0.6, 0.76, 0.95)),
        Part('window', 'light', box(0.2, 0.58, 0.42, 0.78)),
    ]
    chimney = Part('chimney', 'dark', box(0.72, 0.08, 0.85, 0.45))
    return [chimney] * extra + parts


def church(a: float, b: float, extra: bool) -> list[Part]:
    nave, spire = 0.56 + 0.04 * a, 0.34 + 0.03 * b
    parts = [
        Part('', 'main', box(0.36, nave + 0.08, 1.0, 0.97)),
        Part(
            'roof',
            'accent',
            polygon(
                (0.36, nave + 0.1), (0.44, nave - 0.12), (0.92, nave - 0.12), (1.05, nave + 0.1)
            ),
        ),
        Part('tower', 'main', box(0.04, spire, 0.4, 0.97)),
        Part('roof', 'accent', polygon((0.0, spire + 0.02), (0.22, 0.12), (0.44, spire + 0.02))),
        Part(
            'cross',
            'dark',
            polygon(
                (0.19, 0.14),
                (0.19, 0.06),
                (0.11, 0.06),
                (0.11, 0.0),
                (0.19, 0.0),
                (0.19, -0.08),
                (0.25, -0.08),
                (0.25, 0.0),
                (0.33, 0.0),
                (0.33, 0.06),
                (0.25, 0.06),
                (0.25, 0.14),
            ),
        ),
        Part(
            'door',
            'dark',
            polygon((0.13, 0.97), (0.13, 0.75), (0.22, 0.66), (0.31, 0.75), (0.31, 0.97)),
        ),
        *(
            Part(
                'window',
                'light',
                polygon((x, 0.9), (x, 0.78), (x + 0.065, 0.71), (x + 0.13, 0.78), (x + 0.13, 0.9)),
            )
            for x in (0.5, 0.76)
        ),
    ]
    return parts + [Part('clock', 'light', disc(0.22, 0.5, 0.1))] * extra


def castle(a: float, b: float, extra: bool) -> list[Part]:
    wall, tower = 0.44 + 0.04 * a, 0.2 + 0.04 * b

    def battlements(left: float, right: float, top: float, bottom: float, teeth: int) -> list[Part]:
        step = (right - left) / (2 * teeth - 1)
        points = [(right, bottom), (left, bottom)]
        for n in range(teeth):
            x = left + 2 * n * step
            points += [(x, top), (x + step, top), (x + step, top + 0.1), (x + 2 * step, top + 0.1)]
        return [Part('', 'main', polygon(*points[:-2], (right, top)))]

    parts = [
        *battlements(0.2, 0.8, wall, 0.97, 4),
        Part('tower', 'main', battlements(0.0, 0.32, tower, 0.97, 3)[0].outline),
        Part('tower', 'main', battlements(0.68, 1.0, tower, 0.97, 3)[0].outline),
        Part(
            'door',
            'dark',
            polygon(
                (0.39, 0.97), (0.39, 0.76), (0.44, 0.69), (0.56, 0.69), (0.61, 0.76), (0.61, 0.97)
            ),
        ),
        Part('window', 'dark', box(0.12, 0.46, 0.2, 0.62)),
        Part('window', 'dark', box(0.8, 0.46, 0.88, 0.62)),
    ]
    return (_flag(0.16, tower + 0.02) + _flag(0.84, tower + 0.02)) * extra + parts


def igloo(a: float, b: float, extra: bool) -> list[Part]:
    top, tunnel = 0.12 + 0.04 * a, 0.2 + 0.015 * b
    dome = arc(0.5, 0.9, 0.5, 0.9 - top, 180, 360)
    rows = [(height, 0.5 * (1 - (height / (0.9 - top)) ** 2) ** 0.5) for height in (0.26, 0.5)]
    parts = [Part('', 'main', dome)]
    for height, half in rows:
        parts.append(Part('', 'dark', box(0.5 - half, 0.89 - height, 0.5 + half, 0.91 - height)))
    for x, low, high in ((0.14, 0, 0.26), (0.86, 0, 0.26), (0.3, 0.26, 0.5), (0.7, 0.26, 0.5)):
        parts.append(Part('', 'dark', box(x - 0.01, 0.9 - high, x + 0.01, 0.9 - low)))
    parts += [
        Part('', 'accent', arc(0.5, 0.96, tunnel + 0.1, 0.42, 180, 360)),
        Part('door', 'dark', arc(0.5, 0.96, tunnel - 0.02, 0.29, 180, 360)),
    ]
    return _flag(0.5, top + 0.02) * extra + parts


def lighthouse(a: float, b: float, extra: bool) -> list[Part]:
    slim, lantern = 0.02 * a, 0.2 + 0.02 * b
    parts = [
        Part(
            '',
            'dark',
            smooth((0.06, 1.0), (0.16, 0.88), (0.5, 0.84), (0.84, 0.88), (0.94, 1.0), (0.5, 1.02)),
        ),
        Part(
            'tower',
            'main',
            polygon((0.28 + slim, 0.94), (0.38, 0.34), (0.62, 0.34), (0.72 - slim, 0.94)),
        ),
        Part('', 'accent', polygon((0.355, 0.46), (0.645, 0.46), (0.67, 0.62), (0.33, 0.62))),
        Part('', 'dark', box(0.3, 0.31, 0.7, 0.37)),
        Part('light', 'light', box(0.4, lantern - 0.03, 0.6, 0.31)),
        Part('roof', 'accent', polygon((0.34, lantern), (0.5, 0.02), (0.66, lantern))),
        Part(
            'door',
            'dark',
            polygon((0.43, 0.94), (0.43, 0.78), (0.5, 0.72), (0.57, 0.78), (0.57, 0.94)),
        ),
        Part('', 'light', polygon((0.64, 0.24), (0.96, 0.12), (0.96, 0.36))),
        Part('', 'light', polygon((0.36, 0.24), (0.04, 0.12), (0.04, 0.36))),
    ]
    return parts + [Part('window', 'light', disc(0.5, 0.54, 0.06))] * extra
