"""A model's linear head alone, on features that its frozen trunk gave once."""

import numpy as np
import torch

from tunedeploy.device.encoders import Array
from tunedeploy.models.classifier import Classifier

QUIET = 0.1  # of the median spread of a feature


class HeadOnly(torch.nn.Module):
    """A linear head behind fixed standardisation, which is folded into it at the end.

    Standardised features make one learning rate fit every trunk.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: Classifier, features: Array) -> None:
        super().__init__()
        head = model.own_head
        self._tail = model.tail  # a method, so its model is no module of this one
        self.linear = torch.nn.Linear(head.in_features, head.out_features)
        torch.nn.init.zeros_(self.linear.weight)  # a convex problem: starting from zero is as good and has no seed
        torch.nn.init.zeros_(self.linear.bias)
        self.register_buffer("mean", torch.from_numpy(features.mean(0, dtype=np.float64)).float())
        std = features.std(0, dtype=np.float64)
        # A feature that hardly moves carries noise: dividing by its own spread would give it a huge weight, which
        # neither float16 nor int8 can hold beside the others.
        floor = max(QUIET * float(np.median(std)), 1e-6)
        self.register_buffer("std", torch.from_numpy(std.clip(min=floor)).float())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Features (batch, width) to outputs (batch, labels)."""
        return self._tail(self.linear((features - self.mean) / self.std))

    def write_back(self, head: torch.nn.Linear) -> None:
        """Fold the standardisation into the model's own head, in float64."""
        mean, std = self.mean.cpu().double(), self.std.cpu().double()  # Apple's GPUs have no float64
        weight = self.linear.weight.detach().cpu().double() / std
        bias = self.linear.bias.detach().cpu().double() - weight @ mean
        with torch.no_grad():
            head.weight.copy_(weight.to(head.weight.dtype))
            head.bias.copy_(bias.to(head.bias.dtype))
