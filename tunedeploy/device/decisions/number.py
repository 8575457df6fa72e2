"""One number a row, such as a price or how alike two texts are.

The evidence is the number itself, (rows, 1), in the unit of the data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .. import typed
from ..encoders import Array, Row
from ..errors import RunError
from ..review import Mistake, Review, Scatter, worst
from ..signature import Arrays, Value
from . import PLAIN, Answers, Change, Detail, Metric, OneARow, without_detail

OUTPUT = "logits"  # what hub regressors call it, and other programs look for
METRICS: Mapping[str, Metric] = {
    "spearman": Metric(better="higher", unit=""), "pearson": Metric(better="higher", unit=""),
    "rmse": Metric(better="lower", unit=""), "mae": Metric(better="lower", unit=""),
}  # fmt: skip
# Standard deviations of the numbers. On STS-B MiniLM as int8 moves half of 1,379 rows by under 0.04, 98 % by under 0.14
# and one by 0.32. With the mean or the whole unit lost every row is over it, and so is every row with a shift of 0.5; a
# lost factor moves each row in proportion to its number, which the gain shows.
FAR = 0.5
FEW = 8  # rows; the spread of fewer says little
ROUNDING = 1e-6  # of the largest number: numbers that lie closer together are equal but for float32's rounding
DIGITS = 6  # that are shown: float32 has seven, the last of which is rounding


@np.errstate(invalid="ignore")
def correlation(first: Array, second: Array) -> float:
    """Pearson's, of two (rows,); NaN where either is constant or has a value that is not finite."""
    x, y = (np.asarray(values, np.float64) for values in (first, second))
    if not (np.isfinite(x).all() and np.isfinite(y).all()) or len(x) < 2:
        return float("nan")
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    x, y = x - x.mean(), y - y.mean()
    # Each is divided by its largest value first, since the square of a large or a small one has no float64.
    x, y = x / np.abs(x).max(), y / np.abs(y).max()
    return float((x * y).sum() / np.sqrt((x**2).sum() * (y**2).sum()))


def ranks(values: Array) -> Array:
    """The rank of each of (rows,) from 1, float64; equal values share the mean of theirs."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2)[group])


def score(metric: str, numbers: Array, targets: Array) -> float:
    """A metric of numbers (rows,) against the true ones, (rows,); NaN where it has no value.

    Raises:
        RunError: there is no such metric.
    """
    if metric not in METRICS:
        raise RunError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
    if not np.isfinite(numbers).all():
        return float("nan")
    if metric == "pearson":
        return correlation(numbers, targets)
    if metric == "spearman":
        return correlation(ranks(numbers), ranks(targets))
    off = np.abs(np.asarray(numbers, np.float64) - targets)
    return float(off.mean()) if metric == "mae" else float(np.sqrt((off**2).mean()))


def spread(numbers: Array) -> float:
    """Standard deviation of (rows, 1), at least the largest number where the rows are few; never 0."""
    finite = np.asarray(numbers, np.float64)[np.isfinite(numbers)]
    if not finite.size:
        return 1e-30
    largest = float(np.abs(finite).max())
    return max(float(finite.std()), largest * (1.0 if len(finite) < FEW else ROUNDING), 1e-30)


@dataclass(frozen=True)
class Number(OneARow):
    """The decision of every regression task; see decisions.Decision."""

    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    @property
    def output(self) -> Value:
        """The numbers, (batch, 1)."""
        return Value(name=OUTPUT, axes=("batch", 1))

    @property
    def facts(self) -> dict[str, str]:
        """Only the kind: the graph gives the number as it is."""
        return {"kind": "number"}

    def answers(self, outputs: Arrays, batch: Arrays) -> Answers:
        """The numbers."""
        return self.units(outputs[OUTPUT], batch)

    def margins(self, evidence: Array) -> Array:
        """Infinite: between two numbers there is no border that a small change could cross."""
        return np.full(len(evidence), np.inf)

    @np.errstate(invalid="ignore")
    def compare(self, first: Array, second: Array) -> Change:
        """Which rows moved by more than FAR times the spread of the first's numbers, and how far each moved."""
        moved = np.abs(np.asarray(first, np.float64) - second)[:, 0]
        return Change(differs=~(moved <= FAR * spread(first)), moved=moved)  # NaN differs

    @np.errstate(invalid="ignore")
    def centred(self, evidence: Array) -> Array:
        """The numbers less their mean over the rows, so that a factor shows as the gain; float64."""
        exact = np.asarray(evidence, np.float64)
        return np.asarray(exact - exact.mean(0, keepdims=True)) if len(exact) else exact

    @np.errstate(invalid="ignore")
    def described(self, first: Array, second: Array) -> dict[str, float]:
        """By how much the second's numbers are larger on average."""
        return {"mean_shift": float((np.asarray(second, np.float64) - first).mean())}

    def targets(self, rows: Sequence[Row]) -> Array:
        """The number of each row, float64 (rows,)."""
        return np.asarray([row["label"] for row in rows], dtype=np.float64)

    def score(self, metric: str, answers: Answers, targets: Array) -> float:
        """See the function `score`."""
        return score(metric, answers.evidence[:, 0], targets)

    def show(self, answers: Answers, rows: Sequence[Row], detail: Detail = PLAIN) -> list[dict[str, float]]:
        """{"number"} for each row, to as many digits as float32 knows."""
        without_detail(detail, "an answer of this model is a number")
        del rows
        return [{"number": float(f"{number:.{DIGITS}g}")} for number in answers.evidence[:, 0]]

    @np.errstate(invalid="ignore", over="ignore")
    def review(self, answers: Answers, rows: Sequence[Row], most: int) -> Review:
        """How far the numbers are from the right ones, and the rows where that is most."""
        right, given = self.targets(rows), np.asarray(answers.evidence[:, 0], np.float64)
        off = np.abs(given - right)
        half, nearly_all = np.quantile(off, (0.5, 0.95)) if len(off) else (0.0, 0.0)
        return Review(
            summary=f"half of the numbers are within {half:.3g} of the right one, 95 % within {nearly_all:.3g}",
            mistakes=tuple(
                Mistake(row=row, right=f"{right[row]:.{DIGITS}g}", given=f"{given[row]:.{DIGITS}g}")
                for row in worst(np.flatnonzero(off != 0), off, most)
            ),
            order="those first whose number is farthest from the right one",
            picture=Scatter(right=right, given=given),
        )


def opened(facts: Mapping[str, Any], labels: tuple[str, ...]) -> Number:
    """The decision of a bundle; there are no labels.

    Raises:
        Mismatch: there is a fact that this kind does not have.
    """
    del labels
    if set(facts) != {"kind"}:
        raise typed.Mismatch(f"{min(set(facts) - {'kind'})}: unknown")
    return Number()
