"""Outlines of furniture."""

from emcom_datasets.outlines.geometry import Part, arc, box, disc, polygon, smooth


def chair(a: float, b: float, extra: bool) -> list[Part]:
    seat, top = 0.56 + 0.03 * a, 0.02 + 0.03 * b
    parts = [
        Part('leg', 'accent', box(0.26, seat, 0.34, 0.86)),
        Part('leg', 'accent', box(0.66, seat, 0.74, 0.86)),
        Part('back', 'main', box(0.24, top, 0.76, seat - 0.1)),
        *(Part('', 'dark', box(x, top + 0.1, x + 0.07, seat - 0.18)) for x in (0.34, 0.465, 0.59)),
        Part(
            'seat',
            'main',
            polygon(
                (0.24, seat - 0.12), (0.76, seat - 0.12), (0.86, seat + 0.08), (0.14, seat + 0.08)
            ),
        ),
        Part('leg', 'accent', box(0.14, seat + 0.08, 0.24, 1.0)),
        Part('leg', 'accent', box(0.76, seat + 0.08, 0.86, 1.0)),
    ]
    return parts + [Part('pillow', 'light', arc(0.5, seat - 0.05, 0.22, 0.09))] * extra


def table(a: float, b: float, extra: bool) -> list[Part]:
    top, leg = 0.3 + 0.03 * a, 0.09 + 0.015 * b
    parts = [
        Part('leg', 'accent', box(0.18, top + 0.1, 0.18 + leg, 0.76)),
        Part('leg', 'accent', box(0.82 - leg, top + 0.1, 0.82, 0.76)),
        Part('leg', 'accent', box(0.03, top + 0.2, 0.03 + leg, 0.98)),
        Part('leg', 'accent', box(0.97 - leg, top + 0.2, 0.97, 0.98)),
        Part(
            'board',
            'main',
            polygon((0.16, top - 0.1), (0.84, top - 0.1), (1.02, top + 0.16), (-0.02, top + 0.16)),
        ),
        Part('', 'accent', box(-0.02, top + 0.16, 1.02, top + 0.23)),
    ]
    return parts + [Part('drawer', 'light', box(0.34, top + 0.15, 0.66, top + 0.32))] * extra


def lamp(a: float, b: float, extra: bool) -> list[Part]:
    upper, foot = 0.2 + 0.03 * a, 0.26 + 0.02 * b
    parts = [
        Part('stem', 'accent', box(0.45, 0.48, 0.55, 0.92)),
        Part('foot', 'accent', arc(0.5, 0.98, foot, 0.12, 180, 360)),
        Part(
            'shade',
            'main',
            polygon((0.5 - upper, 0.02), (0.5 + upper, 0.02), (0.92, 0.52), (0.08, 0.52)),
        ),
        Part('', 'light', arc(0.5, 0.52, 0.42, 0.06)),
    ]
    return parts + [Part('ring', 'dark', disc(0.5, 0.72, 0.1))] * extra


def bed(a: float, b: float, extra: bool) -> list[Part]:
    board, side = 0.12 + 0.04 * a, 0.5 + 0.03 * b
    parts = [
        Part('leg', 'accent', box(0.02, 0.7, 0.1, 0.96)),
        Part('leg', 'accent', box(0.92, 0.7, 1.0, 0.96)),
        Part('', 'accent', box(0.0, 0.68, 1.0, 0.82)),
        Part('back', 'accent', box(0.0, board, 0.1, 0.82)),
        Part('', 'accent', box(0.92, 0.4, 1.0, 0.82)),
        Part(
            'pillow',
            'light',
            smooth(
                (0.11, side + 0.06),
                (0.14, side - 0.14),
                (0.34, side - 0.1),
                (0.38, side + 0.04),
                (0.24, side + 0.08),
            ),
        ),
        Part('', 'light', box(0.1, side, 0.92, 0.7)),
        Part(
            'cover',
            'main',
            smooth(
                (0.36, 0.72),
                (0.38, side - 0.06),
                (0.64, side - 0.09),
                (0.92, side - 0.04),
                (0.93, 0.7),
                (0.64, 0.74),
            ),
        ),
    ]
    return parts + [Part('drawer', 'dark', box(0.3, 0.78, 0.7, 0.94))] * extra


def sofa(a: float, b: float, extra: bool) -> list[Part]:
    top, seat = 0.2 + 0.04 * a, 0.56 + 0.03 * b
    parts = [
        Part('leg', 'dark', box(0.08, 0.84, 0.18, 0.98)),
        Part('leg', 'dark', box(0.82, 0.84, 0.92, 0.98)),
        Part(
            'back',
            'main',
            smooth((0.1, 0.6), (0.12, top + 0.04), (0.5, top), (0.88, top + 0.04), (0.9, 0.6)),
        ),
        Part('seat', 'main', box(0.14, seat, 0.86, 0.86)),
        Part('', 'dark', box(0.49, seat, 0.51, 0.86)),
        Part(
            '',
            'accent',
            smooth((0.0, 0.5), (0.08, 0.44), (0.17, 0.5), (0.17, 0.86), (0.08, 0.88), (0.0, 0.86)),
        ),
        Part(
            '',
            'accent',
            smooth((1.0, 0.5), (0.92, 0.44), (0.83, 0.5), (0.83, 0.86), (0.92, 0.88), (1.0, 0.86)),
        ),
    ]
    return parts + [Part('pillow', 'light', box(0.2, seat - 0.2, 0.42, seat))] * extra
