"""The ranges that a file's activations were calibrated to, against those of its float32 origin on the same rows."""

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from tunedeploy.device import agreement
from tunedeploy.device.encoders import Inputs
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.graphs.reading import Rounding

Range = tuple[float, float]
EXACT = "MinMax"  # this method takes the smallest and the largest value of a tensor, so float noise alone may differ
WIDER = 1.02  # of the range on the calibration rows, which other methods stay within
# Percentiles and entropy cut tails; a range under a fourth of what was seen leaves no room for the body of the values.
NARROWER = {"Percentile": 0.25, "Entropy": 0.1}
SHARING = {
    "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Resize", "MaxPool", "AveragePool", "Slice", "Pad",
    "Split", "Gather", "GatherElements", "Where", "TopK", "Relu", "Clip", "Identity",
}  # fmt: skip  # operators that give values of their inputs, at the scale of their inputs
UNIT = {"Softmax", "Sigmoid", "HardSigmoid"}  # values between 0 and 1, a range that quantizers use without measuring


def observed(graph: Graph, names: Collection[str], batches: Iterable[Inputs]) -> dict[str, Range]:
    """The smallest and the largest value of each tensor over some batches."""
    names = list(dict.fromkeys(names))
    model = onnx.ModelProto()
    model.CopyFrom(graph.model)
    del model.graph.output[:]
    for name in names:
        for operator in ("ReduceMin", "ReduceMax"):
            node = helper.make_node(operator, [name], [f"{operator} {name}"], keepdims=0)
            model.graph.node.append(node)
            model.graph.output.append(helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, []))
    run = graph.session(model)
    ranges = dict.fromkeys(names, (math.inf, -math.inf))
    for batch in batches:
        values = run(batch)
        for name, (low, high) in ranges.items():
            ranges[name] = min(low, float(values[f"ReduceMin {name}"])), max(high, float(values[f"ReduceMax {name}"]))
    return ranges


def unexplained(
    graph: Graph, roundings: Mapping[str, list[Rounding]], ranges: Mapping[str, Range], method: str
) -> list[str]:
    """Tensors whose stored range is not what the calibration rows show, `name (stored, observed)` each.

    Tensors that operators tie together (a maximum of values, a reshape) have the range of one of them; by methods that
    cut tails, of any or of all.
    """
    shared: dict[tuple[Range, str], list[str]] = defaultdict(list)
    root = families(graph)
    for name, parts in roundings.items():
        for rounding in parts:
            if not rounding.dynamic:
                shared[rounding.bounds, root(name)].append(name)
    mismatches = []
    for (bounds, _), names in shared.items():
        candidates = [with_zero(ranges[name]) for name in names if name in ranges]
        if method != EXACT:
            candidates.append((min(low for low, _ in candidates), max(high for _, high in candidates)))
        if any(graph.makers[name].op_type in UNIT for name in names if name in graph.makers):
            candidates.append((0.0, 1.0))
        if not any(fits(bounds, seen, method) for seen in candidates):
            seen = candidates[-1]
            mismatches.append(f"{names[0]} ({bounds[0]:.3g} to {bounds[1]:.3g}, seen {seen[0]:.3g} to {seen[1]:.3g})")
    return mismatches


def families(graph: Graph) -> Callable[[str], str]:
    """The representative of each value among those that operators of SHARING tie together."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while name in parent:
            name = parent[name]
        return name

    for node in graph.model.graph.node:
        for name in [*node.input, *node.output] if node.op_type in SHARING else ():
            if name and name not in graph.stored and root(name) != root(node.output[0]):
                parent[root(name)] = root(node.output[0])
    return root


def with_zero(seen: Range) -> Range:
    """A range as quantizers use it, widened to hold zero, which is always exact."""
    return min(seen[0], 0.0), max(seen[1], 0.0)


def fits(bounds: Range, seen: Range, method: str) -> bool:
    """Whether a stored range is one that a calibration method gives for the range seen.

    Min-max is held to `agreement.CAP`, the most that float noise is ever granted. Measured on a ResNet and a MobileNet,
    quantized and observed in batches of other sizes: 3.5e-7. Its zero point is the nearest integer.
    """
    width, stored = seen[1] - seen[0], bounds[1] - bounds[0]
    if width == 0:
        return True
    step = stored / 255
    if method == EXACT:
        noise = agreement.CAP * width
        return abs(stored - width) <= noise and abs(bounds[0] - seen[0]) <= step / 2 + noise
    narrowest = NARROWER.get(method, min(NARROWER.values()))
    inside = bounds[0] >= WIDER * seen[0] - 2 * step and bounds[1] <= WIDER * seen[1] + 2 * step
    return inside and stored >= narrowest * width and bool(np.isfinite(stored))
