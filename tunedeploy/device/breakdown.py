"""Where answers are right and wrong, by class: figures, confusions, calibration, the most wrong rows."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np

from .encoders import Array

BINS = 15  # of equal width between 0 and 1, as Guo et al. 2017 count the expected calibration error
PAIRS = 10  # that are most often confused
WRONG = 10  # rows that are most certainly wrong


class OfClass(TypedDict):
    """Figures of a class in percent, and how many rows or entities of the data have it."""

    precision: float
    recall: float
    f1: float
    support: int


class Confused(TypedDict):
    """Rows of a class that were taken for another."""

    true: str
    answer: str
    rows: int


class Calibration(TypedDict):
    """How far probabilities are from what they promise, in points."""

    ece: float


class Wrong(TypedDict):
    """A row, by its number, with the wrong answer and how sure the model is of it."""

    row: int
    true: str
    answer: str
    probability: float


class Breakdown(TypedDict, total=False):
    """What `Decision.breakdown` gives; a key that makes no sense for an answer is left out."""

    classes: dict[str, OfClass]
    confused: NotRequired[list[Confused]]
    calibration: NotRequired[Calibration]
    wrong: NotRequired[list[Wrong]]


def of_class(both: int, guessed: int, true: int) -> OfClass:
    """Figures from counts: right answers, all answers and all targets of a class; 0 where there is nothing to count."""
    return {
        "precision": round(100 * both / max(guessed, 1), 2),
        "recall": round(100 * both / max(true, 1), 2),
        "f1": round(200 * both / max(guessed + true, 1), 2),
        "support": true,
    }


def of_labels(chances: Array, label_ids: Array, labels: Sequence[str]) -> Breakdown:
    """The breakdown of rows with one label each.

    Args:
        chances: probabilities, (rows, labels).
        label_ids: the right labels, (rows,).
        labels: their names; those that neither occur nor are answered are left out.
    """
    guesses, certain = chances.argmax(-1), chances.max(-1)
    right = guesses == label_ids
    return {
        "classes": {
            labels[at]: of_class(
                int((right & (guesses == at)).sum()), int((guesses == at).sum()), int((label_ids == at).sum())
            )
            for at in np.union1d(guesses, label_ids)
        },
        "confused": confusions(guesses[~right], label_ids[~right], labels),
        "calibration": {"ece": round(100 * calibration_error(certain, right), 2)},
        "wrong": [
            {
                "row": int(at),
                "true": labels[label_ids[at]],
                "answer": labels[guesses[at]],
                "probability": round(float(certain[at]), 6),
            }
            for at in np.flatnonzero(~right)[np.argsort(-certain[~right], kind="stable")][:WRONG]
        ],
    }


def confusions(guesses: Array, label_ids: Array, labels: Sequence[str]) -> list[Confused]:
    """The pairs that occur most often among wrong answers, (rows,), the most frequent first."""
    pairs, rows = np.unique(np.stack([label_ids, guesses], axis=1), axis=0, return_counts=True)
    order = np.argsort(-rows, kind="stable")[:PAIRS]
    return [{"true": labels[pairs[at, 0]], "answer": labels[pairs[at, 1]], "rows": int(rows[at])} for at in order]


def calibration_error(certain: Array, right: Array) -> float:
    """Expected calibration error (Naeini et al. 2015), 0..1: the mean distance of probability and accuracy over BINS.

    Args:
        certain: the probability of each answer, (rows,).
        right: whether it is right, (rows,).
    """
    bins = np.minimum((np.asarray(certain) * BINS).astype(int), BINS - 1)
    gaps = [abs(float(certain[bins == at].sum()) - float(right[bins == at].sum())) for at in np.unique(bins)]
    return sum(gaps) / max(len(certain), 1)
