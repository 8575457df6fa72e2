"""A head for a frozen trunk: logistic regression on kept features, in a second or two."""

from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from tunedeploy.device.encoders import Array
from tunedeploy.methods.last_layer import DEFAULTS
from tunedeploy.training.batches import windows
from tunedeploy.training.feeds import HeadOnly
from tunedeploy.training.schedule import factor


def fit_head(head: torch.nn.Linear, features: Array, label_ids: Array, row_weights: Array, *, seed: int) -> None:
    """Fit `head` in place, by the defaults of last-layer.

    Args:
        head: width to labels.
        features: (rows, width), float32.
        label_ids: (rows,).
        row_weights: (rows,).
        seed: of the order of rows.
    """
    probe = HeadOnly(head, features)
    epochs, size, rate = DEFAULTS["train.epochs"], DEFAULTS["train.batch_size"], DEFAULTS["train.lr"]
    decay = {"params": [probe.linear.weight], "weight_decay": DEFAULTS["train.weight_decay"]}
    optimizer = torch.optim.AdamW([decay, {"params": [probe.linear.bias], "weight_decay": 0.0}], lr=rate)
    ones = np.ones(len(label_ids), int)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor("cosine", epoch / epochs, 0.0)
        for rows in windows(ones, size=size, seed=seed, epoch=epoch):
            batch, targets = torch.from_numpy(np.asarray(features[rows])), torch.from_numpy(label_ids[rows])
            weights = torch.from_numpy(row_weights[rows]).float()
            optimizer.zero_grad()
            loss: Any = (cross_entropy(probe(batch), targets, reduction="none") * weights).sum() / weights.sum()
            loss.backward()
            optimizer.step()
    probe.write_back(head)
