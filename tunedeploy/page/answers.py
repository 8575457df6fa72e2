"""All answers beside the right ones in one picture: a heat map of classes, or a cloud of numbers."""

from dataclasses import dataclass

import numpy as np

from tunedeploy.device.encoders import Array
from tunedeploy.device.review import Confusion, Scatter
from tunedeploy.page.axes import Axes, drawing, span
from tunedeploy.page.markup import Html, cut, join, tag

SHOWN = 12  # classes of a heat map that can still be read on a phone
NAME = 16  # characters of a class's name
SIDE = 430  # pixels of the whole
DOTS = 600  # rows of a cloud
OTHERS = "all others"


def picture(of: Confusion | Scatter) -> Html:
    """The picture, with what it shows."""
    return heat_map(of) if isinstance(of, Confusion) else cloud(of)


# ---- classes


@dataclass(frozen=True, kw_only=True)
class Square:
    """The cells of a heat map: `counts` (names, names), right by given."""

    names: tuple[str, ...]
    counts: Array

    @property
    def longest(self) -> int:
        """Characters of the longest name as it is shown."""
        return max(min(len(name), NAME) for name in self.names)

    @property
    def left(self) -> float:
        """Pixels for the names of the rows."""
        return 16 + 7.6 * self.longest

    @property
    def top(self) -> float:
        """Pixels for the names of the columns, which are turned by 45 degrees."""
        return 22 + 5.2 * self.longest

    @property
    def side(self) -> float:
        """Pixels of a cell."""
        return min(64.0, (SIDE - self.left) / len(self.names))

    def heads(self) -> list[Html]:
        """The names beside the rows and above the columns."""
        parts = []
        for at, name in enumerate(self.names):
            middle, title, short = (at + 0.5) * self.side, tag("title", cut(name, 200)), cut(name, NAME)
            x, y = f"{self.left - 7:g}", f"{self.top + middle + 4:g}"
            parts.append(tag("text", title, short, x=x, y=y, text_anchor="end", class_="name"))
            x, y = f"{self.left + middle:g}", f"{self.top - 7:g}"
            parts.append(tag("text", title, short, x=x, y=y, transform=f"rotate(-45 {x} {y})", class_="name"))
        return parts

    def cell(self, row: int, col: int, share: float, unit: str) -> Html:
        """A cell with its count, shaded by its share of the row, and what it says where the mouse rests."""
        x, y, side = self.left + col * self.side, self.top + row * self.side, self.side
        count = int(self.counts[row, col])
        kind, opacity = "right" if row == col else "wrong", f"{0.12 + 0.8 * share:.2f}"
        title = tag("title", f"{cut(self.names[row], 200)} taken for {cut(self.names[col], 200)}: {count} {unit}")
        return tag(
            "g", title,
            tag("rect", x=f"{x + 1:g}", y=f"{y + 1:g}", width=f"{side - 2:g}", height=f"{side - 2:g}", rx=3,
                fill_opacity=opacity, class_=kind),
            tag("text", count, x=f"{x + side / 2:g}", y=f"{y + side / 2 + 4:g}",
                class_="count strong" if share > 0.55 else "count"),
        )  # fmt: skip


def square_of(of: Confusion) -> Square:
    """The square of all classes, or of those with the most mistakes and of all others taken together."""
    size = len(of.names)
    place = np.arange(size)
    names = of.names
    if size > SHOWN:
        wrong = np.where(of.right != of.given, of.count, 0)
        mistakes = np.bincount(of.right, wrong, size) + np.bincount(of.given, wrong, size)
        chosen = np.sort(np.argsort(-mistakes, kind="stable")[: SHOWN - 1])
        place = np.full(size, SHOWN - 1)
        place[chosen] = np.arange(SHOWN - 1)
        names = (*(of.names[at] for at in chosen), OTHERS)
    counts = np.zeros((len(names), len(names)), np.int64)
    np.add.at(counts, (place[of.right], place[of.given]), of.count)
    return Square(names=names, counts=counts)


def heat_map(of: Confusion) -> Html:
    """A square of cells: a row for each right class, a column for each given one, shaded by its share of the row."""
    square = square_of(of)
    shares = square.counts / np.maximum(square.counts.sum(1, keepdims=True), 1)
    parts = [*square.heads()]
    for row, col in np.argwhere(square.counts):
        parts.append(square.cell(int(row), int(col), float(shares[row, col]), of.unit))
    left, top, width = square.left, square.top, square.side * len(square.names)
    parts.append(tag("rect", x=f"{left:g}", y=f"{top:g}", width=f"{width:g}", height=f"{width:g}", class_="frame"))
    caption = (
        f"A row for each right answer, a column for each given one, in {of.unit}; the shade is the share of the row."
    )
    if len(square.names) < len(of.names):
        caption += f" The {SHOWN - 1} of {len(of.names)} with the most mistakes have rows of their own."
    size = (left + width + 0.6 * square.top, top + width + 4)
    svg = drawing(*parts, label="how often each class was taken for each", size=size)
    return tag("figure", svg, tag("figcaption", caption))


# ---- numbers


def cloud(of: Scatter) -> Html:
    """A dot for each row, its right number below and the given one at the left; a perfect answer lies on the line."""
    finite = np.flatnonzero(np.isfinite(of.given) & np.isfinite(of.right))
    if not len(finite):
        return tag("p", "No answer is a finite number.", class_="bad")
    shown = finite[np.unique(np.linspace(0, len(finite) - 1, min(DOTS, len(finite))).astype(int))]
    low, high = span([*of.right[shown], *of.given[shown]], pad=0.04)
    axes = Axes(x=(low, high), y=(low, high))
    dots = [
        axes.dot((right, given), f"right {right:.4g}, given {given:.4g}", class_="first")
        for right, given in zip(of.right[shown], of.given[shown], strict=True)
    ]
    line = axes.line([(low, low), (high, high)], "limit")
    some = f" {len(shown)} of {len(of.right)} rows." if len(shown) < len(of.right) else ""
    caption = f"A dot is a row: the right number below, the given one at the left. On the line both are equal.{some}"
    svg = drawing(axes.frame("right number"), line, join(dots), label="given against right numbers")
    return tag("figure", svg, tag("figcaption", caption))
