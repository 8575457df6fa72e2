"""What a file in `methods/` has to have."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol, TypedDict

from tunedeploy.contracts import Plugin, optional

if TYPE_CHECKING:
    from torch import nn

    from tunedeploy.device.encoders import Array
    from tunedeploy.models.classifier import Assembly, Classifier
    from tunedeploy.recipe.sections import TuneOptions


class ParameterGroup(TypedDict):
    """Parameters that learn at one rate, as torch's optimizers take them."""

    params: list[nn.Parameter]
    lr: float


class Method(Plugin, Protocol):
    """How it is learned. Its `Options` are keys of `tune`; `options` is the recipe's `tune`, which has them."""

    # Whether the trunk stays as it is, so that it is run once and only the head is trained on its features.
    CACHES_FEATURES: bool
    # Whether the head is fitted to the features of the pretrained trunk before the first step.
    PROBES_FIRST: bool = False

    def attach(self, assembly: Assembly, options: TuneOptions) -> None:
        """Change the model in place so that exactly what is trained requires a gradient.

        Raises:
            ModelError: the model has nothing that this method can train.
        """
        ...

    def fold(self, model: nn.Module) -> None:
        """Turn the tuned model into the plain one that computes the same, in place and in the weights' own dtype."""
        ...

    @optional
    def trained_module(self, model: Classifier, features: Array | None) -> nn.Module:
        """What is trained: the model, or a module on kept features (units, width) where CACHES_FEATURES."""
        del features
        return model

    @optional
    def write_back(self, module: nn.Module, model: Classifier) -> None:
        """Put what such a module learned into the model."""
        del module, model

    @optional
    def parameter_groups(self, model: nn.Module, options: TuneOptions, lr: float) -> Iterable[ParameterGroup]:
        """What is trained, in groups that each learn at their own rate; `lr` is the recipe's. One group if left out."""
        del options
        return [{"params": [parameter for parameter in model.parameters() if parameter.requires_grad], "lr": lr}]
