"""Outlines of vessels."""

from emcom_datasets.outlines.geometry import Part, arc, box, disc, polygon, smooth, stroke


def cup(a: float, b: float, extra: bool) -> list[Part]:
    bottom, handle = 0.9 + 0.03 * a, 0.16 + 0.02 * b
    parts = [
        Part('handle', 'accent', stroke(arc(0.72, 0.5, handle + 0.06, 0.2, -100, 100), 0.1)),
        Part(
            '',
            'main',
            polygon(
                (0.06, 0.22), (0.74, 0.22), (0.7, 0.66), (0.58, bottom), (0.22, bottom), (0.1, 0.66)
            ),
        ),
        Part('rim', 'accent', arc(0.4, 0.22, 0.35, 0.08)),
        Part('', 'dark', arc(0.4, 0.22, 0.27, 0.045)),
    ]
    return [Part('foot', 'light', arc(0.42, bottom, 0.46, 0.09))] * extra + parts


def bottle(a: float, b: float, extra: bool) -> list[Part]:
    wide, shoulder = 0.29 + 0.02 * a, 0.4 + 0.03 * b
    glass = [(0.5 - wide, 1.0), (0.5 - wide, shoulder + 0.08), (0.4, shoulder - 0.1), (0.4, 0.12)]
    parts = [
        Part('', 'main', polygon(*glass, *((1 - x, y) for x, y in reversed(glass)))),
        Part('neck', 'main', box(0.39, 0.08, 0.61, 0.26)),
        Part('label', 'light', box(0.5 - wide, 0.56, 0.5 + wide, 0.82)),
        Part('', 'accent', disc(0.5, 0.69, 0.09)),
    ]
    return parts + [Part('lid', 'dark', box(0.37, -0.02, 0.63, 0.1))] * extra


def goblet(a: float, b: float, extra: bool) -> list[Part]:
    bowl, foot = 0.5 + 0.04 * a, 0.26 + 0.03 * b
    side = [(0.16, 0.06), (0.17, 0.28), (0.26, bowl - 0.08), (0.4, bowl + 0.02)]
    parts = [
        Part(
            'stem',
            'accent',
            polygon((0.44, bowl - 0.02), (0.56, bowl - 0.02), (0.55, 0.92), (0.45, 0.92)),
        ),
        Part('foot', 'accent', arc(0.5, 0.94, foot, 0.07)),
        Part('', 'main', polygon(*side, *((1 - x, y) for x, y in reversed(side)))),
        Part('rim', 'light', arc(0.5, 0.07, 0.34, 0.075)),
    ]
    return parts + [Part('ring', 'dark', box(0.38, 0.62, 0.62, 0.7))] * extra


def teapot(a: float, b: float, extra: bool) -> list[Part]:
    fat, lid = 0.3 + 0.02 * a, 0.16 + 0.02 * b
    parts = [
        Part('handle', 'accent', stroke(arc(0.22, 0.58, 0.2, 0.22, 90, 270), 0.09)),
        Part(
            'spout',
            'accent',
            polygon(
                (0.66, 0.76),
                (0.68, 0.52),
                (0.84, 0.4),
                (0.9, 0.24),
                (1.04, 0.24),
                (0.98, 0.5),
                (0.84, 0.72),
            ),
        ),
        Part('', 'main', arc(0.46, 0.62, 0.32, fat)),
        Part('lid', 'accent', arc(0.46, 0.39, lid + 0.04, 0.12, 180, 360)),
        Part('', 'dark', disc(0.46, 0.25, 0.06)),
    ]
    return [Part('foot', 'dark', box(0.28, 0.84, 0.64, 0.97))] * extra + parts


def pitcher(a: float, b: float, extra: bool) -> list[Part]:
    fat, neck = 0.36 + 0.02 * a, 0.24 + 0.02 * b
    parts = [
        Part(
            'handle',
            'accent',
            stroke(smooth((0.3, 0.18), (0.04, 0.2), (0.0, 0.45), (0.2, 0.66), closed=False), 0.09),
        ),
        Part(
            '',
            'main',
            smooth(
                (0.24, 0.1),
                (0.52 - neck, 0.32),
                (0.5 - fat, 0.66),
                (0.26, 0.95),
                (0.5, 0.98),
                (0.74, 0.95),
                (0.5 + fat, 0.66),
                (0.52 + neck, 0.32),
                (0.78, 0.12),
                (0.5, 0.06),
            ),
        ),
        Part('spout', 'accent', polygon((0.66, 0.06), (0.97, 0.03), (0.76, 0.34), (0.66, 0.3))),
        Part('rim', 'accent', box(0.22, 0.02, 0.76, 0.11)),
    ]
    return [Part('foot', 'dark', box(0.24, 0.92, 0.76, 1.02))] * extra + parts
