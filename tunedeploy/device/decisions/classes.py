"""One label a row: the best of its logits, how sure that is, and when another file's answer counts as changed.

Logits are (rows, labels) throughout.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from ..agreement import drift
from ..encoders import Array
from ..errors import RunError

METRICS = ("accuracy", "macro_f1")
NEAR_TIE = 4.0  # margins below this many times the typical drift may flip without anything being wrong
GAIN = 2.0  # of the differences between logits; int8 has 0.9 to 1.1, at 7 dB of SQNR up to 1.6, a softmax 4 and more
CLEAR = 0.7  # correlation of logits before and after quantization; below, the noise is as large as what it is added to
FLIPS = 0.02  # share of rows that may flip outside near-ties after quantization


def targets(rows: Sequence[Mapping[str, Any]]) -> Array:
    """The label index of each row, int64 (rows,)."""
    return np.asarray([row["label"] for row in rows], dtype=np.int64)


def score(metric: str, logits: Array, label_ids: Array) -> float:
    """A metric in percent of logits (rows, labels) against label indices (rows,)."""
    if metric not in METRICS:
        raise RunError(f"no metric {metric!r}; known: {', '.join(METRICS)}")
    guesses = logits.argmax(1)
    if metric == "accuracy":
        return float((guesses == label_ids).mean() * 100)
    return float(np.mean([_f1(guesses == one, label_ids == one) for one in np.unique(label_ids)]) * 100)


def _f1(guessed: Array, true: Array) -> float:
    both = float((guessed & true).sum())
    total = float(guessed.sum() + true.sum())
    return 2 * both / total if total else 0.0


def probabilities(logits: Array) -> Array:
    """Softmax over the last axis, float64."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = np.exp(shifted - shifted.max(-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(-1, keepdims=True))


class Answer(TypedDict):
    """The best label of a row and its probability."""

    label: str
    probability: float


def decode(logits: Array, labels: Sequence[str]) -> list[Answer]:
    """The best label and its probability for each row of logits (rows, labels)."""
    chances = probabilities(logits)
    best = chances.argmax(1)
    return [
        {"label": labels[at], "probability": round(float(row[at]), 6)} for at, row in zip(best, chances, strict=True)
    ]


@np.errstate(invalid="ignore")
def margins(logits: Array) -> Array:
    """Best minus second-best logit of each row, (rows,)."""
    best = np.partition(logits, -2, axis=-1)[..., -2:]
    return np.asarray(best[..., 1] - best[..., 0])


def gain(reference: Array, other: Array) -> float:
    """How many times larger the differences between labels are, by least squares; never under 1 (0.5 gives 2).

    Answers do not see a softmax or a temperature that was built into a file; probabilities do.
    """
    first, second = _centred(reference), _centred(other)
    slope = float((first * second).sum() / max(float((first**2).sum()), 1e-300))
    return max(slope, 1 / slope) if slope > 0 else float("inf")


@np.errstate(invalid="ignore")
def tells_gain(reference: Array, other: Array) -> bool:
    """Whether these rows tell the gain of a file: a temperature leaves their correlation at 1, noise does not."""
    first, second = _centred(reference), _centred(other)
    return bool((first * second).sum() >= CLEAR * np.sqrt((first**2).sum() * (second**2).sum()))


@np.errstate(invalid="ignore")
def _centred(logits: Array) -> Array:
    exact = np.asarray(logits, np.float64)
    return np.asarray(exact - exact.mean(-1, keepdims=True))


def near_tie(reference: Array, other: Array) -> float:
    """The reference margin under which either answer is honest: NEAR_TIE x drift, but at most the median margin.

    Without that bound a file would be excused the more the worse it is.
    """
    return min(NEAR_TIE * drift(reference, other), float(np.median(margins(reference))))


def flipped(reference: Array, other: Array, near_tie: float) -> Array:
    """Rows, of all that are compared, whose answer changed though it was no near-tie.

    It is the only rule: a quantized file is judged by it, verified by it, and held to its goldens by it anywhere.
    """
    clear = ~(margins(reference) <= near_tie)  # NaN excuses nothing
    return np.flatnonzero(clear & (reference.argmax(-1) != other.argmax(-1)))


def flips(reference: Array, other: Array) -> tuple[int, Array]:
    """How many rows changed their answer, and which did so although it was no near-tie.

    A row is a near-tie when its reference margin is under `near_tie` of these rows.
    """
    changed = reference.argmax(-1) != other.argmax(-1)
    return int(changed.sum()), flipped(reference, other, near_tie(reference, other))


def flips_allowed(rows: int) -> int:
    """How many of these rows may change their answer outside near-ties: FLIPS of them, at least one."""
    return max(1, round(FLIPS * rows))


def top_k_overlap(reference: Array, other: Array, k: int = 5) -> float:
    """Mean share of a row's k best labels that stay among the k best, 0..1."""
    k = min(k, reference.shape[-1])
    first = np.argsort(reference, -1)[..., -k:]
    second = np.argsort(other, -1)[..., -k:]
    return float(np.mean([len(np.intersect1d(a, b)) / k for a, b in zip(first, second, strict=True)]))
