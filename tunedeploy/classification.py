"""What every classification task shares: probabilities, scores and the loss a row."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy.encoders import Array
from tunedeploy.errors import RunError

if TYPE_CHECKING:
    import torch

METRICS = ("accuracy", "macro_f1")
MAJORITY = 0.7  # above this share of one class accuracy flatters, so macro-F1 is the metric


def targets(rows: Sequence[Mapping[str, Any]]) -> Array:
    """The label index of each row, int64 (rows,)."""
    return np.asarray([row["label"] for row in rows], dtype=np.int64)


def metric_name(label_ids: Array) -> str:
    """`accuracy`, or `macro_f1` where one class has more than MAJORITY of the evaluation rows."""
    share = np.bincount(label_ids).max() / max(1, len(label_ids))
    return "macro_f1" if share > MAJORITY else "accuracy"


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


def decode(logits: Array, labels: Sequence[str]) -> list[dict[str, Any]]:
    """The best label and its probability for each row of logits (rows, labels)."""
    chances = probabilities(logits)
    best = chances.argmax(1)
    return [
        {"label": labels[at], "probability": round(float(row[at]), 6)} for at, row in zip(best, chances, strict=True)
    ]


def loss(logits: "torch.Tensor", label_ids: "torch.Tensor", smoothing: float) -> "torch.Tensor":
    """Cross entropy of each row, float32 (rows,), with label smoothing (Szegedy et al. 2016)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float(), label_ids, reduction="none", label_smoothing=smoothing)
