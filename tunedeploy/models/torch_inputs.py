"""Arrays of an encoder as the tensors that a torch model takes, and the tensors that it gives by their names."""

from collections.abc import Mapping
from typing import Any

import torch

from tunedeploy.device.encoders import Array
from tunedeploy.device.signature import Graph


def tensors(inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Arrays as tensors, sharing memory."""
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


def arguments(graph: Graph, values: Mapping[str, Any]) -> dict[str, Any]:
    """Something of each input as a module takes its inputs; those whose names have dots are one list.

    A cache is such a list: `past_key_values.0.decoder.key` and its like are the argument `past_key_values`.
    """
    taken: dict[str, Any] = {}
    for value in graph.inputs:
        name, dot, _ = value.name.partition(".")
        if dot:
            taken.setdefault(name, []).append(values[value.name])
        else:
            taken[name] = values[value.name]
    return taken


def named(graph: Graph, outputs: Any) -> dict[str, torch.Tensor]:
    """What a module gave, one tensor or a tuple of them, by the names of the graph's outputs."""
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return {value.name: tensor for value, tensor in zip(graph.outputs, values, strict=True)}
