"""What every classification task shares in training: its metric and the loss a row; see device/decisions/classes.py."""

from typing import TYPE_CHECKING

import numpy as np

from tunedeploy.device.encoders import Array

if TYPE_CHECKING:
    import torch

MAJORITY = 0.7  # above this share of one class accuracy flatters, so macro-F1 is the metric


def metric_name(label_ids: Array) -> str:
    """`accuracy`, or `macro_f1` where one class has more than MAJORITY of the evaluation rows."""
    share = np.bincount(label_ids).max() / max(1, len(label_ids))
    return "macro_f1" if share > MAJORITY else "accuracy"


def loss(logits: "torch.Tensor", label_ids: "torch.Tensor", smoothing: float) -> "torch.Tensor":
    """Cross entropy of each row, float32 (rows,), with label smoothing (Szegedy et al. 2016)."""
    from torch.nn.functional import cross_entropy

    return cross_entropy(logits.float(), label_ids, reduction="none", label_smoothing=smoothing)
