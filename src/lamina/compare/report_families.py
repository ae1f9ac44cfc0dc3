"""The families of structures: one colour and one shape each, the same in every picture of the project."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sin

__all__ = ["FAMILIES", "OTHER", "Family", "family", "mark"]


@dataclass(frozen=True)
class Family:
    """A family's look: an Okabe-Ito colour, a plotly symbol and the same symbol as a polygon.

    corners are (angle in degrees clockwise from the top, radius 0..1); empty corners mean a circle.
    """

    name: str
    colour: str
    symbol: str
    corners: tuple[tuple[float, float], ...] = ()


def _regular(n: int, turn: float = 0.0) -> tuple[tuple[float, float], ...]:
    return tuple((turn + 360.0 * i / n, 1.0) for i in range(n))


_STAR = tuple((36.0 * i, 1.0 if i % 2 == 0 else 0.42) for i in range(10))

_ALL = (
    Family("dense", "#7f7f7f", "circle"),
    Family("convolution", "#E69F00", "square", _regular(4, 45.0)),
    Family("recurrence", "#0072B2", "diamond", _regular(4)),
    Family("attention", "#009E73", "triangle-up", _regular(3)),
    Family("state space", "#CC79A7", "pentagon", _regular(5)),
    Family("retention and delta", "#D55E00", "triangle-down", _regular(3, 180.0)),
    Family("hybrid", "#56B4E9", "hexagon", _regular(6)),
    Family("generative", "#F0E442", "star", _STAR),
)
FAMILIES: dict[str, Family] = {f.name: f for f in _ALL}
OTHER = Family("other", "#7f7f7f", "octagon", _regular(8, 22.5))


def family(name: object) -> Family:
    """The family of that name; an unknown one gets the look of OTHER."""
    return FAMILIES.get(str(name), OTHER)


def mark(name: object) -> str:
    """The family's mark as an inline SVG of one em, hidden from screen readers: the name stands beside it."""
    f = family(name)
    if f.corners:
        points = [(8 + 6.5 * r * sin(a * pi / 180), -6.5 * r * cos(a * pi / 180)) for a, r in f.corners]
        middle = 8 - (min(y for _, y in points) + max(y for _, y in points)) / 2  # a triangle's is not its centre
        points = [(x, y + middle) for x, y in points]
        shape = f'<polygon points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"'
    else:
        shape = '<circle cx="8" cy="8" r="5.5"'
    return f'<svg class="mark" viewBox="0 0 16 16" aria-hidden="true">{shape} fill="{f.colour}"/></svg>'
