"""Answers beside the right ones, as people read them: what is wrong most, and what is taken for what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .class_figures import OfClass
from .encoders import Array


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row whose answer differs from the right one."""

    row: int  # its number among the rows
    right: str
    given: str
    probability: float | None = None  # of the given answer, where it has one


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often each class was taken for each; only pairs that occur.

    Attributes:
        names: of the classes.
        right, given: indices into `names`, int64 (pairs,).
        count: (pairs,), never 0.
        unit: what is counted.
    """

    names: tuple[str, ...]
    right: Array
    given: Array
    count: Array
    unit: str

    def most_frequent(self, most: int) -> list[tuple[str, str, int]]:
        """The pairs of different classes that were confused most often: right, given, and how often."""
        wrong = np.flatnonzero(self.right != self.given)
        order = wrong[np.argsort(-self.count[wrong], kind="stable")[:most]]
        return [(self.names[self.right[at]], self.names[self.given[at]], int(self.count[at])) for at in order]


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The right number of each row and the one that was given, float64 (rows,)."""

    right: Array
    given: Array


@dataclass(frozen=True, kw_only=True)
class Review:
    """What `Decision.review` gives.

    Attributes:
        summary: how much is wrong, one sentence without a full stop.
        mistakes: the worst first; None where it is not known which rows are wrong.
        order: what comes first among them, in words.
        picture: of all answers; None where no picture shows them.
        classes: the figures of each class; empty where answers have none.
        calibration_error: of the probabilities, see class_figures; None where there are none.
    """

    summary: str
    mistakes: tuple[Mistake, ...] | None
    order: str
    picture: Confusion | Scatter | None
    classes: Mapping[str, OfClass] = field(default_factory=dict)
    calibration_error: float | None = None


def worst(rows: Array, error: Array, most: int) -> list[int]:
    """The `most` of some rows (n,) with the largest error, largest first; of equal ones the earlier row first.

    `error` is of all rows; where it is NaN, a row comes first.
    """
    size = np.nan_to_num(np.asarray(error, np.float64)[rows], nan=np.inf)
    return [int(row) for row in rows[np.argsort(-size, kind="stable")[:most]]]


def confusion(right: Array, given: Array, names: Sequence[str], *, unit: str) -> Confusion:
    """The pairs of class indices, (units,) each, with how often each occurs."""
    pairs, count = np.unique(np.stack([right, given], axis=1).astype(np.int64), axis=0, return_counts=True)
    return Confusion(names=tuple(names), right=pairs[:, 0], given=pairs[:, 1], count=count, unit=unit)
