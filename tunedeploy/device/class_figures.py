"""Figures of each class, and how far probabilities can be trusted."""

from collections.abc import Sequence
from typing import TypedDict

import numpy as np

from .encoders import Array

BINS = 15  # of equal width between 0 and 1, as Guo et al. 2017 count the expected calibration error


class OfClass(TypedDict):
    """Figures of a class in percent, and how many rows or entities of the data have it."""

    precision: float
    recall: float
    f1: float
    support: int


def of_class(both: int, guessed: int, true: int) -> OfClass:
    """Figures from counts: right answers, all answers and all targets of a class; 0 where there is nothing to count."""
    return {
        "precision": round(100 * both / max(guessed, 1), 2),
        "recall": round(100 * both / max(true, 1), 2),
        "f1": round(200 * both / max(guessed + true, 1), 2),
        "support": true,
    }


def of_labels(guesses: Array, label_ids: Array, labels: Sequence[str]) -> dict[str, OfClass]:
    """The figures of each label of rows that have one each.

    Args:
        guesses: the labels that were answered, (rows,).
        label_ids: the right labels, (rows,).
        labels: their names; those that neither occur nor are answered are left out.
    """
    right = guesses == label_ids
    return {
        labels[at]: of_class(
            int((right & (guesses == at)).sum()), int((guesses == at).sum()), int((label_ids == at).sum())
        )
        for at in np.union1d(guesses, label_ids)
    }


def calibration_error(certain: Array, right: Array) -> float:
    """Expected calibration error (Naeini et al. 2015), 0..1: the mean distance of probability and accuracy over BINS.

    Args:
        certain: the probability of each answer, (rows,).
        right: whether it is right, (rows,).
    """
    bins = np.minimum(np.nan_to_num(np.asarray(certain) * BINS).astype(int), BINS - 1)
    gaps = [abs(float(certain[bins == at].sum()) - float(right[bins == at].sum())) for at in np.unique(bins)]
    return sum(gaps) / max(len(certain), 1)
