"""Match every node of a converted file with its origin in the float32 file, from the outputs back to the inputs.

Both files are read through the precision's rewrites (`tunedeploy.graphs`). Names decide nothing but which output is
which: two values match when their operators, attributes, inputs and stored tensors do. What has no counterpart is a
problem: a wrong wire, another constant or attribute, a node too many or too few, a scale of another pair.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.graphs.reading import Computed, Input, Reading, Rewrite, Rounding, Source, Stored, Value

# Their first three inputs are what is weighted, the weight and the bias.
BIASED = ("Conv", "ConvTranspose", "BatchNormalization", "LayerNormalization", "InstanceNormalization")
Spot = tuple[str, int]  # a value of the converted file, and which input of the float32 node that makes its origin

NOWHERE: Spot = ("", 0)  # no input of a node


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """A stored tensor of the converted file and the one that it stands for; `channels` of a product's weight."""

    stored: Stored
    origin: Stored
    spot: Spot

    @property
    def rounded(self) -> bool:
        """Whether the converted file holds other numbers, as far as its types say."""
        return self.stored.rounding is not None or self.stored.array.dtype == np.float16


@dataclass(frozen=True, kw_only=True, eq=False)
class Product:
    """A node with a rounded bias, and the roundings of its activations and its weight, stored or computed."""

    node: str
    activation: tuple[Rounding, ...]
    weight: Stored | None  # None where it is computed
    factor: Rounding
    bias: Stored


@dataclass(frozen=True, kw_only=True)
class Origins:
    """What was matched.

    Attributes:
        values: name in the converted file to name in the float32 file, of computed values; inputs are not among them.
        pairs: stored tensors, each with its origin.
        roundings: name in the float32 file to what readers of the converted file get it through.
        read: input of the node behind a value to the value of the float32 file and the roundings it is read through.
        names: name in the float32 file to the names by which the converted file's nodes read that value.
        products: nodes with a rounded weight and a rounded bias.
        problems: what has no counterpart, one line each.
    """

    values: dict[str, str] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)
    roundings: dict[str, list[Rounding]] = field(default_factory=dict)
    read: dict[Spot, tuple[str, tuple[Rounding, ...]]] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    products: list[Product] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def origins(source: Graph, target: Graph, rewrites: Sequence[Rewrite]) -> Origins:
    """Match a converted file with the float32 file.

    Args:
        source: the float32 file.
        target: the converted one.
        rewrites: of its precision.
    """
    matcher = Matcher(Reading(target, rewrites), Reading(source, rewrites))
    matched = matcher.matched
    for kind, ours, theirs in (("input", target.inputs, source.inputs), ("output", target.outputs, source.outputs)):
        matched.problems.extend(f"{kind} {name!r} is in one file alone" for name in sorted({*ours} ^ {*theirs}))
    matched.problems.extend(unread(matcher.target.graph, source))
    for name in source.outputs:
        if name in target.outputs:
            matcher.match(name, name, NOWHERE)
    matcher.run()
    return matched


def unread(target: Graph, source: Graph) -> list[str]:
    """Parts of a file that matching does not read but that change what its nodes compute."""
    graph = target.model.graph
    outputs = (name for node in graph.node for name in node.output)
    names = Counter([*(tensor.name for tensor in graph.initializer), *outputs])
    versions = [
        {part.domain: part.version for part in model.opset_import if part.domain in ("", "ai.onnx")}
        for model in (target.model, source.model)
    ]
    return [
        *(f"function {own.name}" for own in target.model.functions if own not in list(source.model.functions)),
        *(f"sparse tensor {part.values.name}" for part in graph.sparse_initializer),
        *(f"{name!r} is made twice" for name, count in names.items() if name and count > 1),
        *(["another version of the standard operators"] if versions[0] != versions[1] else []),
    ]


class Matcher:
    """Walks both graphs together; each pair of values is looked at once."""

    def __init__(self, target: Reading, source: Reading) -> None:
        self.target, self.source = target, source
        self.matched = Origins()
        self.waiting: list[tuple[Source, Source, Spot]] = []
        self.seen: set[tuple[str, str]] = set()

    def match(self, target: Source, source: Source, spot: Spot) -> None:
        """Ask for two values to be compared."""
        self.waiting.append((target, source, spot))

    def run(self) -> None:
        """Compare until nothing is left to compare."""
        while self.waiting:
            self.compare(*self.waiting.pop())

    def compare(self, target: Source, source: Source, spot: Spot) -> None:
        """Compare two values, and ask for what they are made of."""
        name, ours, roundings = self.target.of(target)
        origin, theirs, _ = self.source.of(source)
        if roundings and origin:
            self.matched.roundings.setdefault(origin, []).extend(roundings)
        if origin and isinstance(target, str):
            self.matched.names.setdefault(origin, set()).add(target)
        self.matched.read[spot] = (origin, roundings)
        if isinstance(ours, Stored) and isinstance(theirs, Stored):
            self.matched.pairs.append(Pair(stored=ours, origin=theirs, spot=spot))
            return
        if name and origin:
            if (name, origin) in self.seen:
                return
            self.seen.add((name, origin))
        if isinstance(ours, Input) and isinstance(theirs, Input):
            if (ours.name, ours.kind) != (theirs.name, theirs.kind):
                self.matched.problems.append(f"input {ours.name!r} is read in place of {theirs.name!r}")
        elif isinstance(theirs, Computed) and clips(theirs, self.source, roundings) and not alike(ours, theirs):
            before = theirs.inputs[0]  # what the rounding reads in the place of the Relu or Clip that is left out
            self.matched.read[spot] = (self.source.of(before)[0], roundings)
            self.match(name or target, before, NOWHERE)
        elif isinstance(ours, Computed) and isinstance(theirs, Computed) and alike(ours, theirs):
            # A float32 node that is read as two has its inputs in both of them, under the value of the outer one.
            self.descend(self.known(name, origin) if origin else spot[0], ours, theirs)
        else:
            self.matched.problems.append(f"{described(ours)} in place of {described(theirs)}")

    def known(self, name: str, origin: str) -> str:
        """Remember the origin of a value that has a name."""
        if name:
            self.matched.values.setdefault(name, origin)
        return name

    def descend(self, owner: str, ours: Computed, theirs: Computed) -> None:
        """Ask for the inputs of two nodes that are alike; `owner` is the value that the float32 node makes."""
        for at, (left, right) in enumerate(zip(ours.inputs, theirs.inputs, strict=True)):
            if left == "" or right == "":
                if left != right:
                    self.matched.problems.append(f"{described(ours)}: input {at} is there in one file alone")
                continue
            self.match(left, right, (owner, spot_of(theirs, at)))
        self.keep_product(ours)

    def keep_product(self, node: Computed) -> None:
        """Remember the roundings of a node with weights and a bias, whose scales must go together."""
        parts: tuple[Source, ...]
        if node.operator in BIASED and len(node.inputs) >= 3 and node.inputs[2]:
            parts = node.inputs[:3]
        elif node.operator == "Add" and isinstance(node.inputs[0], Computed):  # a Gemm, read as product and sum
            parts = (*node.inputs[0].inputs, node.inputs[1])
        else:
            return
        _, _, activation = self.target.of(parts[0])
        _, weight, roundings = self.target.of(parts[1])
        if isinstance(weight, Computed) and weight.node.op_type == "Gemm":  # turned, and rounded before that
            _, weight, roundings = self.target.of(weight.inputs[0])
        bias = self.target.of(parts[2])[1]
        stored = weight if isinstance(weight, Stored) else None
        factor = next((rounding for rounding in (stored and stored.rounding, *roundings) if rounding), None)
        if factor is not None and isinstance(bias, Stored) and bias.rounding:
            product = Product(node=node.node.name, activation=activation, weight=stored, factor=factor, bias=bias)
            self.matched.products.append(product)


def spot_of(node: Computed, at: int) -> int:
    """Which input of the file's own node a value is: of a Gemm read as more nodes, the turned weight and the bias."""
    if node.operator == "Transpose" and node.node.op_type == "Gemm":
        return 1
    return 2 if node.operator == "Add" and node.node.op_type == "Gemm" and at == 1 else at


def alike(ours: Value, theirs: Value) -> bool:
    """Whether two nodes are the same operator with the same attributes and as many inputs."""
    return (
        isinstance(ours, Computed) and isinstance(theirs, Computed)
        and (ours.operator, ours.result, len(ours.inputs)) == (theirs.operator, theirs.result, len(theirs.inputs))
        and ours.attributes == theirs.attributes
    )  # fmt: skip


def clips(node: Computed, reading: Reading, roundings: Sequence[Rounding]) -> bool:
    """Whether a rounding does what this Relu or Clip does, so that a converter may leave the node out."""
    if node.operator not in ("Relu", "Clip"):
        return False
    low, high = 0.0, float("inf")
    if node.operator == "Clip":
        bounds = [reading.stored(source) if isinstance(source, str) else None for source in node.inputs[1:]]
        if any(source != "" and bound is None for source, bound in zip(node.inputs[1:], bounds, strict=True)):
            return False  # a bound that is computed
        low, high = (
            float(bound.reshape(-1)[0]) if bound is not None and bound.size == 1 else default
            for bound, default in zip([*bounds, None, None][:2], (-float("inf"), float("inf")), strict=True)
        )
    # A zero point is a whole number, so that the ends of the integers are up to half a step from those of the range.
    slack = 1e-5 * max(1.0, abs(low) if math.isfinite(low) else abs(high) if math.isfinite(high) else 1.0)
    half = {rounding: float(rounding.scale.max()) / 2 + slack for rounding in roundings if rounding.scale.size == 1}
    return any(
        rounding.bounds[0] >= low - step and rounding.bounds[1] <= high + step for rounding, step in half.items()
    )


def described(value: Value) -> str:
    """A value in a few words."""
    if isinstance(value, Computed):
        return f"{value.operator} {value.node.name}".strip()
    if isinstance(value, Stored):
        return f"stored {value.name}"
    kind = onnx.TensorProto.DataType.Name(value.kind) if value.kind in onnx.TensorProto.DataType.values() else "?"
    return f"input {value.name} ({kind})"
