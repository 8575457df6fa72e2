"""A frame with numbers at its sides, in SVG, and what is drawn in it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tunedeploy.page.markup import Html, tag

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 14, 12, 38  # margins around the frame, for its numbers

LARGER = 1.25  # times its own pixels that a picture may grow to in a wide window


def ticks(low: float, high: float, count: int = 4) -> list[float]:
    """About `count` round numbers from `low` to `high`."""
    step = 10.0 ** math.floor(math.log10((high - low) / count))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= count + 1.5)
    first = math.ceil(low / step - 1e-9)
    return [(first + at) * step for at in range(int((high - first * step) / step + 1e-9) + 1)]


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What the sides of the frame stand for: the least and the largest number of each, `low` below `high`."""

    x: tuple[float, float]
    y: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Where a pair of numbers is drawn."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return (
            round(LEFT + across * (WIDTH - LEFT - RIGHT), 1),
            round(HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM), 1),
        )

    def line(self, points: Sequence[tuple[float, float]], class_: str) -> Html:
        """A line through pairs of numbers."""
        places = (self.place(*point) for point in points)
        return tag("polyline", points=" ".join(f"{x},{y}" for x, y in places), class_=class_)

    def dot(self, point: tuple[float, float], title: str, *, class_: str, radius: float = 3.0) -> Html:
        """A dot that says what it is where the mouse rests."""
        x, y = self.place(*point)
        return tag("circle", tag("title", title), cx=x, cy=y, r=round(radius, 1), class_=f"dot {class_}")

    def frame(self, x_name: str, *, whole: bool = False) -> Html:
        """The frame with its numbers and the name of the lower side; `whole` numbers only there."""
        parts = []
        for value in ticks(*self.y):
            x, y = self.place(self.x[0], value)
            parts.append(tag("line", x1=x, x2=WIDTH - RIGHT, y1=y, y2=y, class_="frame"))
            parts.append(tag("text", f"{value:.4g}", x=x - 6, y=y + 4, text_anchor="end"))
        for value in ticks(*self.x):
            if whole and value != round(value):
                continue
            x, y = self.place(value, self.y[0])
            parts.append(tag("text", f"{value:.4g}", x=x, y=y + 15, text_anchor="middle"))
        middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
        parts.append(tag("text", x_name, x=middle, y=HEIGHT - 5, text_anchor="middle"))
        return tag("g", *parts)


def drawing(*parts: object, label: str, size: tuple[float, float] = (WIDTH, HEIGHT)) -> Html:
    """A picture; `label` says what it shows to those who do not see it."""
    return tag(
        "svg",
        *parts,
        viewBox=f"0 0 {size[0]:g} {size[1]:g}",
        style=f"max-width:{LARGER * size[0]:.0f}px",
        role="img",
        aria_label=label,
    )


def span(values: Sequence[float], *, pad: float = 0.08) -> tuple[float, float]:
    """The least and the largest of some numbers, a little farther apart; never equal."""
    low, high = min(values), max(values)
    room = (high - low) * pad or max(abs(high) * pad, 1e-6)
    return low - room, high + room
