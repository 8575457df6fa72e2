"""Look inside a PyTorch model: what every module gives, in the order in which they finish."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.device.signature import Graph
from tunedeploy.models.runs import run_torch


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a module: its path, how often it was called before, its class and what it gave.

    Of several tensors `output` is the first, such as the hidden states.
    """

    path: str
    number: int
    kind: str
    output: Array


def calls(model: nn.Module, graph: Graph, inputs: Inputs, *, double: bool) -> list[Call]:
    """Run one batch, and return each call of a module that gave a floating-point tensor; inner ones come first.

    Dropout and identities are left out: outside training they compute nothing.
    """
    recorded: list[Call] = []
    counts: Counter[str] = Counter()

    def keep(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, arguments: Any, result: Any) -> None:
            del arguments
            tensor = first_tensor(result)
            if tensor is not None and tensor.is_floating_point():
                # A copy: an activation may later be computed in place.
                output = tensor.detach().numpy().copy()
                recorded.append(Call(path=path, number=counts[path], kind=type(module).__name__, output=output))
                counts[path] += 1

        return hook

    passing = (nn.Identity, nn.modules.dropout._DropoutNd)
    handles = [
        module.register_forward_hook(keep(path))
        for path, module in model.named_modules()
        if not isinstance(module, passing)
    ]
    try:
        run_torch(model, graph, inputs, double=double)
    finally:
        for handle in handles:
            handle.remove()
    return recorded


def first_tensor(result: Any) -> torch.Tensor | None:
    """The first tensor of what a module returns."""
    if isinstance(result, torch.Tensor):
        return result
    parts = result.values() if isinstance(result, Mapping) else result if isinstance(result, tuple | list) else ()
    return next((tensor for tensor in map(first_tensor, parts) if tensor is not None), None)
