"""Arrays of an encoder as the tensors that a torch model takes, and the tensors that it gives by their names."""

from collections.abc import Mapping
from typing import Any, TypeVar

import torch

from tunedeploy.device.encoders import Array
from tunedeploy.device.signature import Graph


def tensors(inputs: Mapping[str, Array]) -> dict[str, torch.Tensor]:
    """Arrays as tensors, sharing memory."""
    return {name: torch.from_numpy(value) for name, value in inputs.items()}


T = TypeVar("T")


def arguments(graph: Graph, values: Mapping[str, T]) -> dict[str, T | list[T]]:
    """A value for each input of a graph as the arguments of its module, where inputs with dotted names form a list.

    A cache is such a list: `past_key_values.0.decoder.key` and its like are the argument `past_key_values`.
    """
    by_name: dict[str, T | list[T]] = {}
    lists: dict[str, list[T]] = {}
    for value in graph.inputs:
        name, dot, _ = value.name.partition(".")
        if dot:
            by_name[name] = lists.setdefault(name, [])
            lists[name].append(values[value.name])
        else:
            by_name[name] = values[value.name]
    return by_name


def named(graph: Graph, outputs: Any) -> dict[str, torch.Tensor]:
    """A module's outputs, one tensor or a tuple of them, by the names of the graph's outputs."""
    values = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return {value.name: tensor for value, tensor in zip(graph.outputs, values, strict=True)}
