"""Read an ONNX graph as the float32 program that it stands for, whatever its nodes are called.

A converted file expresses the float32 program in other operators. A precision names the rewrites that it uses
(`precisions/int8.py`: REWRITES); read through them, both files are the same expression, node by node, but for what was
rounded. Nothing is computed here: see `proof.inside.origins` for the comparison.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx

from tunedeploy.device.encoders import Array
from tunedeploy.errors import ModelError
from tunedeploy.graphs.bodies import flattened
from tunedeploy.graphs.files import structure
from tunedeploy.graphs.onnx_graph import Graph

FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


def nothing() -> Array:
    """The scale of a rounding that is measured on the batch."""
    return np.zeros(0, np.float32)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounding:
    """What a value goes through on its way to a reader: integers of `kind` at `scale` around `zero`.

    A dynamic one is measured on the batch, so it has no numbers of its own.
    """

    kind: Any  # a numpy type of integers
    scale: Array = field(default_factory=nothing)  # one number, or one for each place along `axis`
    zero: Array = field(default_factory=nothing)
    axis: int = 0

    @property
    def dynamic(self) -> bool:
        """Whether scale and zero point come from the batch."""
        return self.scale.size == 0

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest number that passes unclipped; of a rounding with one scale."""
        limits = np.iinfo(self.kind)
        scale, zero = float(self.scale.min()), float(self.zero.max())
        return (limits.min - zero) * scale, (limits.max - zero) * scale


@dataclass(frozen=True, kw_only=True, eq=False)
class Stored:
    """A tensor of the file; integers carry the rounding that they went through."""

    name: str
    array: Array
    rounding: Rounding | None = None
    turned: bool = False  # read transposed, as a Gemm does

    def values(self) -> Array:
        """What is read: float64 where it was rounded, else the stored numbers."""
        if self.rounding is None:
            return self.array.T if self.turned else self.array
        scale, zero = self.spread()
        values = (self.array.astype(np.float64) - zero) * scale
        return values.T if self.turned else values

    def spread(self) -> tuple[Array, Array]:
        """Scale and zero point, shaped to stand beside the integers as stored, float64."""
        assert self.rounding is not None
        scale, zero = self.rounding.scale.astype(np.float64), self.rounding.zero.astype(np.float64)
        if scale.size == 1:
            return scale.reshape(()), zero.reshape(-1)[0]
        shape = [1] * self.array.ndim
        shape[self.rounding.axis] = -1
        return scale.reshape(shape), zero.reshape(shape if zero.size > 1 else ())


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """An input of the graph."""

    name: str
    kind: int  # of onnx.TensorProto


@dataclass(frozen=True, kw_only=True, eq=False)
class Computed:
    """What an operator gives; `node` is the node of the file that stands for it, `result` which of its outputs."""

    operator: str
    attributes: Mapping[str, str | bytes]
    inputs: tuple["Source", ...]
    node: onnx.NodeProto
    result: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Passed:
    """A value that is another one, perhaps rounded on the way."""

    source: "Source"
    rounding: Rounding | None = None


Value = Stored | Input | Computed
Source = str | Stored | Input | Computed | Passed  # a name of the file, or a value that a rewrite made up

Rewrite = Callable[["Reading", onnx.NodeProto, int], Value | Passed | None]


class Reading:
    """A graph, read through rewrites.

    Args:
        graph: the file.
        rewrites: tried in turn on each node; the first that has an answer says what the node's output is.
    """

    def __init__(self, graph: Graph, rewrites: Sequence[Rewrite] = ()) -> None:
        self.graph = Graph(graph.path, flattened(graph.model))
        self._original, self.rewrites = graph.model, (constant, identity, *rewrites, gemm)
        self._values: dict[str, Value | Passed] = {}

    def of(self, source: Source) -> tuple[str, Value, tuple[Rounding, ...]]:
        """What is read under a name: where it is made ('' inside a rewritten node), what it is, and its roundings."""
        roundings: list[Rounding] = []
        for _ in range(len(self.graph.model.graph.node) + 2):
            name, step = (source, self._value(source)) if isinstance(source, str) else ("", source)
            if not isinstance(step, Passed):
                return name, step, tuple(roundings)
            roundings += [] if step.rounding is None else [step.rounding]
            source = step.source
        raise ModelError(f"{self.graph.path}: its nodes make a circle")

    def stored(self, name: str) -> Array | None:
        """A stored tensor; None where the value is computed or missing."""
        if not name:
            return None
        _, value, roundings = self.of(name)
        return value.array if isinstance(value, Stored) and value.rounding is None and not roundings else None

    def maker(self, name: str, operator: str) -> onnx.NodeProto | None:
        """The node that makes a value, if it is of this operator."""
        node = self.graph.makers.get(name)
        return node if node is not None and node.op_type == operator and not node.domain else None

    @cached_property
    def kinds(self) -> dict[str, int]:
        """Element types of values, as far as ONNX can infer them."""
        kinds: dict[str, int] = {}
        for model in [self.graph.model, *([] if self._original is self.graph.model else [self._original])]:
            inferred = onnx.shape_inference.infer_shapes(structure(model)).graph
            values = [*inferred.value_info, *inferred.input, *inferred.output]
            kinds |= {value.name: value.type.tensor_type.elem_type for value in values}
        return kinds | {name: tensor.data_type for name, tensor in self.graph.stored.items()}

    def _value(self, name: str) -> Value | Passed:
        if name not in self._values:
            self._values[name] = self._read(name)
        return self._values[name]

    def _read(self, name: str) -> Value | Passed:
        graph = self.graph
        if name in graph.stored:
            return Stored(name=name, array=onnx.numpy_helper.to_array(graph.stored[name]))
        node = graph.makers.get(name)
        if node is None:
            kinds = {value.name: value.type.tensor_type.elem_type for value in graph.model.graph.input}
            return Input(name=name, kind=kinds.get(name, -1))
        result = list(node.output).index(name)
        for rewrite in self.rewrites:
            value = rewrite(self, node, result)
            if value is not None:
                return value
        return computed(node, result)


def computed(node: onnx.NodeProto, result: int = 0) -> Computed:
    """A node as it is written."""
    operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    return Computed(
        operator=operator, attributes=attributes(node), inputs=tuple(node.input), node=node, result=result
    )  # fmt: skip


def attributes(node: onnx.NodeProto) -> dict[str, str | bytes]:
    """Attributes by name, as values that compare equal exactly when they say the same."""
    return {attribute.name: attribute.SerializeToString(deterministic=True) for attribute in node.attribute}


def integer(node: onnx.NodeProto, name: str, default: int) -> int:
    """A whole-numbered attribute of a node."""
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), default)


# ---- rewrites that hold in every file


def constant(reading: Reading, node: onnx.NodeProto, result: int) -> Value | None:
    """A Constant node is a stored tensor."""
    del reading, result
    if node.op_type != "Constant" or node.domain or len(node.attribute) != 1 or node.attribute[0].name != "value":
        return None
    return Stored(name=node.output[0], array=onnx.numpy_helper.to_array(node.attribute[0].t))


def identity(reading: Reading, node: onnx.NodeProto, result: int) -> Passed | None:
    """An Identity gives its input."""
    del reading, result
    return Passed(source=node.input[0]) if node.op_type == "Identity" and not node.domain else None


def gemm(reading: Reading, node: onnx.NodeProto, result: int) -> Value | None:
    """A Gemm without factors is a product and a sum: quantizers write it so."""
    if node.op_type != "Gemm" or node.domain or integer(node, "transA", 0):
        return None
    if any(attribute.name in ("alpha", "beta") and attribute.f != 1.0 for attribute in node.attribute):
        return None
    del result
    weight: Source = node.input[1]
    if integer(node, "transB", 0):
        weight = turned(reading, node)
    product = Computed(operator="MatMul", attributes={}, inputs=(node.input[0], weight), node=node)
    if len(node.input) < 3 or not node.input[2]:
        return product
    return Computed(operator="Add", attributes={}, inputs=(product, node.input[2]), node=node)


def turned(reading: Reading, node: onnx.NodeProto) -> Source:
    """The weight of a Gemm read transposed; quantizers write a node for one that is computed."""
    value = reading.of(node.input[1])[1]
    if isinstance(value, Stored):
        return replace(value, turned=not value.turned)
    return Computed(operator="Transpose", attributes={}, inputs=(node.input[1],), node=node)
