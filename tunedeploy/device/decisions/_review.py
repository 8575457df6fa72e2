"""Answers beside the right ones, as people read them: what is wrong most, and what is taken for what."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..encoders import Array


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A row whose answer differs from the right one."""

    row: int  # its number among the rows
    right: str
    given: str


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
        mistakes: the worst first.
        order: what comes first among them, in words.
        picture: of all answers; None where no picture shows them.
    """

    summary: str
    mistakes: tuple[Mistake, ...]
    order: str
    picture: Confusion | Scatter | None


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
