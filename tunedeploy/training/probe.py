"""A head for a frozen trunk, fitted to kept features in a second or two: for labels, logistic regression."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from tunedeploy.device.encoders import Array
from tunedeploy.methods.last_layer import DEFAULTS
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.head import HeadOnly
from tunedeploy.training.batches import windows
from tunedeploy.training.feeds import FeatureFeed
from tunedeploy.training.schedule import factor
from tunedeploy.training.targets import Targets

Loss = Callable[[Mapping[str, torch.Tensor], Mapping[str, torch.Tensor]], torch.Tensor]  # outputs, targets -> (units,)


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a head learns from: kept features, the targets of their units, weights (units,), and the task's loss."""

    feed: FeatureFeed
    targets: Targets
    weights: Array
    loss: Loss


def fit_head(model: Classifier, lesson: Lesson, *, seed: int) -> None:
    """Fit the model's head in place, by the defaults of last-layer.

    Args:
        model: whose head and tail stand behind the features.
        lesson: see Lesson.
        seed: of the order of units.
    """
    feed = lesson.feed
    probe = HeadOnly(model, feed.views[0])
    epochs, size, rate = DEFAULTS["train.epochs"], DEFAULTS["train.batch_size"], DEFAULTS["train.lr"]
    decay = {"params": [probe.linear.weight], "weight_decay": DEFAULTS["train.weight_decay"]}
    optimizer = torch.optim.AdamW([decay, {"params": [probe.linear.bias], "weight_decay": 0.0}], lr=rate)
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = rate * factor("cosine", epoch / epochs, 0.0)
        for units in windows(feed.lengths, size=size, seed=seed, epoch=epoch):
            weights = torch.from_numpy(lesson.weights[units]).float()
            optimizer.zero_grad()
            losses = lesson.loss({feed.output: probe(**feed.inputs(units))}, lesson.targets.batch(units))
            torch.autograd.backward((losses * weights).sum() / weights.sum())
            optimizer.step()
    probe.write_back(model.own_head)
