"""What all classification tasks share in training: targets, loss, metric and report."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tunedeploy.contracts.task import Report
from tunedeploy.device.decisions import Answers
from tunedeploy.device.decisions.classes import OUTPUT, Classes
from tunedeploy.device.encoders import Array, Features, Row

if TYPE_CHECKING:
    import torch

    from tunedeploy.recipe.sections import TrainOptions

MAJORITY = 0.7  # above this share of one class accuracy flatters, so macro-F1 is the metric


def decision(labels: Sequence[str]) -> Classes:
    """One label a row."""
    return Classes(tuple(labels))


def classes_of(rows: Sequence[Row]) -> Array:
    """The label's index, int64 (rows,)."""
    return np.asarray([row["label"] for row in rows], dtype=np.int64)


def targets(rows: Sequence[Row], features: Sequence[Features] | None) -> Sequence[Mapping[str, Array]]:
    """The label's index of each row."""
    del features
    return [{"label": label} for label in classes_of(rows)]


def metric_name(targets: Array, labels: Sequence[str]) -> str:
    """`accuracy`, or `macro_f1` where one class has more than MAJORITY of the evaluation rows."""
    del labels
    share = np.bincount(targets).max() / max(1, len(targets))
    return "macro_f1" if share > MAJORITY else "accuracy"


def loss(
    outputs: Mapping[str, "torch.Tensor"],
    targets: Mapping[str, "torch.Tensor"],
    options: "TrainOptions | None",
    facts: Mapping[str, Any],
) -> "torch.Tensor":
    """Cross entropy of each row, float32 (rows,), with label smoothing (Szegedy et al. 2016)."""
    from torch.nn.functional import cross_entropy

    del facts
    smoothing = options.label_smoothing if options is not None else 0.0
    return cross_entropy(outputs[OUTPUT].float(), targets["label"], reduction="none", label_smoothing=smoothing)


def report(answers: Answers, targets: Array, labels: Sequence[str]) -> Report:
    """Accuracy and macro-F1, scikit-learn's report of each class, and the confusion matrix."""
    from tunedeploy.tasks._classification_report import classification_report_of

    return classification_report_of(answers.evidence, targets, labels)
