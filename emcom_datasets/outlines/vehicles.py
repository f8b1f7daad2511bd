"""Outlines of vehicles."""

from emcom_datasets.outlines.geometry import Part, arc, box, disc, polygon, smooth


def _wheel(x: float, y: float, radius: float) -> list[Part]:
    return [
        Part('wheel', 'dark', disc(x, y, radius)),
        Part('', 'light', disc(x, y, 0.42 * radius)),
    ]


def car(a: float, b: float, extra: bool) -> list[Part]:
    top, radius = 0.14 + 0.04 * a, 0.15 + 0.015 * b
    body = polygon(
        *((0.0, 0.7), (0.0, 0.5), (0.06, 0.43), (0.2, 0.4), (0.33, top), (0.68, top)),
        *((0.83, 0.4), (0.95, 0.44), (1.0, 0.54), (1.0, 0.7)),
    )
    parts = [
        Part('', 'main', body),
        Part(
            'window',
            'light',
            polygon((0.28, 0.4), (0.37, top + 0.06), (0.49, top + 0.06), (0.49, 0.4)),
        ),
        Part(
            'window',
            'light',
            polygon((0.55, 0.4), (0.55, top + 0.06), (0.65, top + 0.06), (0.75, 0.4)),
        ),
        *_wheel(0.23, 0.72, radius),
        *_wheel(0.77, 0.72, radius),
    ]
    return parts + [Part('light', 'accent', disc(0.94, 0.53, 0.07))] * extra


def bus(a: float, b: float, extra: bool) -> list[Part]:
    top, radius = 0.06 + 0.04 * a, 0.12 + 0.015 * b
    parts = [
        Part('', 'main', box(0, top, 1, 0.78)),
        Part('', 'accent', box(0, 0.55, 1, 0.63)),
        *(Part('window', 'light', box(x, top + 0.1, x + 0.17, 0.45)) for x in (0.06, 0.28, 0.5)),
        Part('door', 'light', box(0.75, top + 0.1, 0.93, 0.78)),
        *_wheel(0.2, 0.79, radius),
        *_wheel(0.6, 0.79, radius),
    ]
    return parts + [Part('light', 'accent', disc(0.97, 0.69, 0.06))] * extra


def tractor(a: float, b: float, extra: bool) -> list[Part]:
    radius, top = 0.29 + 0.02 * a, 0.06 + 0.03 * b
    parts = [
        Part('chimney', 'dark', box(0.78, 0.16, 0.85, 0.45)),
        Part('', 'main', box(0.4, 0.4, 1.0, 0.72)),
        Part('cab', 'main', polygon((0.1, 0.72), (0.16, top), (0.52, top), (0.58, 0.72))),
        Part(
            'window',
            'light',
            polygon((0.21, 0.42), (0.24, top + 0.07), (0.46, top + 0.07), (0.5, 0.42)),
        ),
        *_wheel(0.28, 0.7, radius),
        *_wheel(0.84, 0.83, 0.15),
    ]
    return parts + [Part('light', 'accent', disc(0.97, 0.5, 0.07))] * extra


def locomotive(a: float, b: float, extra: bool) -> list[Part]:
    top, chimney = 0.08 + 0.03 * a, 0.07 + 0.02 * b
    parts = [
        Part(
            'chimney',
            'dark',
            polygon((0.75 - chimney, 0.05), (0.75 + chimney, 0.05), (0.79, 0.34), (0.71, 0.34)),
        ),
        Part('', 'accent', arc(0.55, 0.34, 0.08, 0.1, 180, 360)),
        Part('', 'main', box(0.34, 0.32, 0.94, 0.64)),
        Part('cab', 'main', box(0.03, top, 0.37, 0.72)),
        Part('roof', 'accent', box(0.0, top - 0.05, 0.41, top + 0.03)),
        Part('window', 'light', box(0.1, top + 0.12, 0.3, 0.42)),
        Part(
            '', 'dark', polygon((0.03, 0.64), (0.9, 0.64), (1.0, 0.86), (0.8, 0.74), (0.03, 0.74))
        ),
        *_wheel(0.17, 0.8, 0.13),
        *_wheel(0.45, 0.82, 0.1),
        *_wheel(0.71, 0.82, 0.1),
        Part('light', 'light', disc(0.94, 0.42, 0.07)),
    ]
    cloud = smooth(
        (0.62, 0.08),
        (0.5, 0.1),
        (0.42, 0.0),
        (0.5, -0.1),
        (0.62, -0.12),
        (0.76, -0.06),
        (0.76, 0.06),
    )
    return [Part('cloud', 'light', cloud)] * extra + parts


def truck(a: float, b: float, extra: bool) -> list[Part]:
    top, radius = 0.08 + 0.05 * a, 0.13 + 0.015 * b
    parts = [
        Part('', 'dark', box(0.02, 0.68, 0.98, 0.76)),
        Part('', 'main', box(0.0, top, 0.62, 0.7)),
        Part(
            'cab',
            'accent',
            polygon((0.66, 0.73), (0.66, 0.26), (0.86, 0.26), (1.0, 0.48), (1.0, 0.73)),
        ),
        Part('window', 'light', polygon((0.74, 0.48), (0.74, 0.32), (0.84, 0.32), (0.93, 0.48))),
        *_wheel(0.2, 0.78, radius),
        *_wheel(0.8, 0.78, radius),
    ]
    return parts + [Part('light', 'light', disc(0.97, 0.6, 0.06))] * extra
