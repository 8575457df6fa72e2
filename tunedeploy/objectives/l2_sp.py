"""L2-SP: pulls trained weights towards where they started, against forgetting on small data (Li et al. 2018)."""

import torch
from pydantic import Field
from torch import nn

from tunedeploy.recipe.read import Section


class Options(Section):
    """Keys of `train`."""

    strength: float = Field(default=0.01, ge=0)  # times half the squared distance; the paper's range is 0.001 to 0.1


class Objective:
    """The penalty beside the task's loss, measured from the weights at construction."""

    def __init__(self, model: nn.Module, fresh: frozenset[str], options: Options) -> None:
        self.strength = options.strength
        self.start = {
            name: parameter.detach().clone()
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and name not in fresh
        }

    def __call__(self, model: nn.Module) -> torch.Tensor:
        """The penalty, a scalar, to be added to the mean loss of a step."""
        own = {name.removeprefix("module."): parameter for name, parameter in model.named_parameters()}
        terms = [((own[name] - start) ** 2).sum() for name, start in self.start.items()]
        return torch.stack(terms).sum() * (self.strength / 2) if terms else torch.zeros(())
