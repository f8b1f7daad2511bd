"""Outlines of animals."""

from emcom_datasets.outlines.geometry import Part, arc, box, disc, line, polygon, smooth, stroke


def _eye(x: float, y: float, radius: float = 0.05) -> list[Part]:
    return [
        Part('eye', 'light', disc(x, y, radius)),
        Part('', 'dark', disc(x, y, 0.5 * radius)),
    ]


def fish(a: float, b: float, extra: bool) -> list[Part]:
    tall, tail = 0.27 + 0.03 * a, 0.24 + 0.03 * b
    parts = [
        Part(
            'tail', 'accent', polygon((0.3, 0.5), (0.0, 0.5 - tail), (0.1, 0.5), (0.0, 0.5 + tail))
        ),
        Part(
            'fin',
            'accent',
            polygon((0.42, 0.55 - tall), (0.4, 0.06), (0.6, 0.14), (0.75, 0.6 - tall)),
        ),
        Part(
            '',
            'main',
            smooth(
                (0.2, 0.5),
                (0.45, 0.5 - 0.9 * tall),
                (0.75, 0.5 - 0.85 * tall),
                (1.0, 0.5),
                (0.75, 0.5 + 0.85 * tall),
                (0.45, 0.5 + 0.9 * tall),
            ),
        ),
        *_eye(0.84, 0.42, 0.07),
    ]
    fin = Part(
        'fin', 'accent', polygon((0.5, 0.45 + tall), (0.38, 0.95), (0.6, 0.88), (0.7, 0.42 + tall))
    )
    return [fin] * extra + parts


def butterfly(a: float, b: float, extra: bool) -> list[Part]:
    upper, lower = 0.06 + 0.04 * a, 0.92 + 0.03 * b
    parts = []
    for side in (-1, 1):
        wings = (
            smooth(
                *(
                    (0.5 + side * x, y)
                    for x, y in (
                        (0.02, 0.5),
                        (0.14, 0.24),
                        (0.42, upper),
                        (0.5, 0.22),
                        (0.42, 0.46),
                        (0.2, 0.56),
                    )
                )
            ),
            smooth(
                *(
                    (0.5 + side * x, y)
                    for x, y in (
                        (0.02, 0.52),
                        (0.22, 0.54),
                        (0.38, 0.64),
                        (0.36, lower - 0.06),
                        (0.22, lower),
                        (0.08, 0.74),
                    )
                )
            ),
        )
        feeler = smooth(
            *((0.5 + side * x, y) for x, y in ((0.01, 0.3), (0.06, 0.14), (0.17, 0.05))),
            closed=False,
        )
        parts += [Part('wing', 'main', wing) for wing in wings]
        parts += [Part('feeler', 'dark', stroke(feeler, 0.035))]
        if extra:
            parts += [Part('spot', 'accent', disc(0.5 + side * 0.34, 0.27, 0.085))]
            parts += [Part('spot', 'accent', disc(0.5 + side * 0.23, 0.75, 0.07))]
    return parts + [Part('', 'dark', arc(0.5, 0.55, 0.05, 0.3))]


def snail(a: float, b: float, extra: bool) -> list[Part]:
    radius, neck = 0.31 + 0.02 * a, 0.3 + 0.04 * b
    spiral = smooth(
        *(
            (0.42 + r * x, 0.47 + r * y)
            for r, x, y in (
                (0.27, 0, 1),
                (0.26, -1, 0),
                (0.24, 0, -1),
                (0.21, 1, 0),
                (0.18, 0, 1),
                (0.14, -1, 0),
                (0.1, 0, -1),
                (0.06, 1, 0),
            )
        ),
        closed=False,
    )
    parts = [
        Part(
            '',
            'accent',
            smooth(
                (0.0, 0.9),
                (0.2, 0.72),
                (0.6, 0.72),
                (0.76, 0.6),
                (0.78, neck + 0.06),
                (0.88, neck),
                (0.97, neck + 0.1),
                (0.94, 0.7),
                (0.8, 0.9),
            ),
        ),
        Part('shell', 'main', disc(0.42, 0.47, radius)),
        Part('', 'dark', stroke(spiral, 0.05)),
    ]
    parts += [
        Part('foot', 'dark', polygon((0.0, 0.87), (0.84, 0.87), (0.78, 0.95), (-0.04, 0.95)))
    ] * extra
    for x in (0.8, 0.98):
        parts += [Part('feeler', 'dark', line(0.89, neck + 0.06, x, neck - 0.2, 0.04))]
        parts += _eye(x, neck - 0.2, 0.05)
    return parts


def elephant(a: float, b: float, extra: bool) -> list[Part]:
    ear, back = 0.15 + 0.02 * a, 0.2 + 0.03 * b
    trunk = smooth((0.84, 0.4), (0.93, 0.55), (0.92, 0.75), (1.02, 0.83), (1.1, 0.76), closed=False)
    parts = [
        Part('tail', 'dark', line(0.06, 0.42, -0.04, 0.66, 0.05)),
        *(Part('leg', 'main', box(x, 0.6, x + 0.14, 0.97)) for x in (0.08, 0.27, 0.42, 0.58)),
        Part(
            '',
            'main',
            smooth(
                (0.02, 0.5),
                (0.12, back + 0.05),
                (0.4, back),
                (0.65, back + 0.05),
                (0.72, 0.6),
                (0.55, 0.76),
                (0.2, 0.76),
                (0.05, 0.68),
            ),
        ),
        Part('trunk', 'main', stroke(trunk, 0.22, 0.08)),
        Part('head', 'main', arc(0.76, 0.36, 0.2, 0.22)),
        Part(
            'ear',
            'accent',
            smooth(
                (0.68, 0.2),
                (0.5, 0.16),
                (0.66 - 2 * ear, 0.36),
                (0.52, 0.6),
                (0.66, 0.56),
                (0.72, 0.4),
            ),
        ),
        *_eye(0.84, 0.3, 0.05),
    ]
    tusk = smooth((0.86, 0.5), (0.95, 0.64), (1.08, 0.62), closed=False)
    return parts + [Part('tusk', 'light', stroke(tusk, 0.09, 0.03))] * extra


def turtle(a: float, b: float, extra: bool) -> list[Part]:
    dome, head = 0.16 + 0.04 * a, 0.36 + 0.04 * b
    parts = [
        Part('tail', 'accent', polygon((0.12, 0.66), (-0.04, 0.78), (0.12, 0.78))),
        Part('leg', 'accent', polygon((0.14, 0.7), (0.34, 0.7), (0.3, 0.95), (0.12, 0.95))),
        Part('leg', 'accent', polygon((0.52, 0.7), (0.72, 0.7), (0.74, 0.95), (0.56, 0.95))),
        Part(
            'head',
            'accent',
            smooth(
                (0.66, 0.7),
                (0.78, 0.6),
                (0.8, head + 0.04),
                (0.92, head - 0.05),
                (1.03, head + 0.07),
                (0.98, head + 0.2),
                (0.9, 0.72),
                (0.74, 0.8),
            ),
        ),
        Part('shell', 'main', polygon(*map(tuple, arc(0.42, 0.74, 0.42, 0.74 - dome, 180, 360)))),
        Part('', 'dark', box(0.0, 0.71, 0.84, 0.78)),
        *_eye(0.93, head + 0.06, 0.05),
    ]
    if extra:
        parts += [
            Part('spot', 'accent', disc(x, y, 0.075))
            for x, y in ((0.22, 0.56), (0.42, 0.42), (0.62, 0.56))
        ]
    return parts
