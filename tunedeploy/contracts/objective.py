"""What a file in `objectives/` has to have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tunedeploy.contracts import Plugin

if TYPE_CHECKING:
    import torch
    from torch import nn

    from tunedeploy.recipe.sections import TrainOptions


class Penalty(Protocol):
    """What is minimised in addition to the task's loss."""

    def __call__(self, model: nn.Module) -> torch.Tensor:
        """A scalar that is added to the mean loss of a step; `model` may be wrapped ("module." before its names)."""
        ...


class Objective(Plugin, Protocol):
    """What is minimised in addition to the task's loss. Its `Options` are keys of `train`."""

    def Objective(self, model: nn.Module, fresh: frozenset[str], options: TrainOptions) -> Penalty:
        """Make the penalty before the first step; `fresh` names parameters that no checkpoint gave.

        It is a class in the plug-in, which may keep the weights that training starts from.
        """
        ...
