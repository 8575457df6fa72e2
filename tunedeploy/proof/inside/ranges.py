"""Ranges of activations that a file was calibrated to, against those that its float32 origin shows on the same rows."""

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from tunedeploy.encoders import Inputs
from tunedeploy.graphs.reading import Rounding
from tunedeploy.inside_onnx import Graph

Range = tuple[float, float]
WIDER = 1.02  # of the range on the calibration rows; min-max takes just that, other methods less
# Percentiles and entropy cut tails; a range under a fourth of what was seen leaves no room for the body of the values.
NARROWER = {"MinMax": 0.98, "Percentile": 0.25, "Entropy": 0.1}
UNIT = {"Softmax", "Sigmoid", "HardSigmoid"}  # their values lie between 0 and 1, and quantizers say so unmeasured


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

    Tensors that share scale and zero point (a maximum of values, a reshape) share the range of all of them.
    """
    shared: dict[tuple[float, float], list[str]] = defaultdict(list)
    for name, parts in roundings.items():
        for rounding in parts:
            if not rounding.dynamic:
                shared[rounding.bounds].append(name)
    odd = []
    for bounds, names in shared.items():
        candidates = [with_zero(ranges[name]) for name in names if name in ranges]
        candidates.append((min(low for low, _ in candidates), max(high for _, high in candidates)))
        if any(graph.makers[name].op_type in UNIT for name in names if name in graph.makers):
            candidates.append((0.0, 1.0))
        if not any(fits(bounds, seen, method) for seen in candidates):
            seen = candidates[-1]
            odd.append(f"{names[0]} ({bounds[0]:.3g} to {bounds[1]:.3g}, seen {seen[0]:.3g} to {seen[1]:.3g})")
    return odd


def with_zero(seen: Range) -> Range:
    """A range as quantizers take it: zero is always among the numbers that are exact."""
    return min(seen[0], 0.0), max(seen[1], 0.0)


def fits(bounds: Range, seen: Range, method: str) -> bool:
    """Whether a stored range is what a calibration method makes of the values seen."""
    width, stored = seen[1] - seen[0], bounds[1] - bounds[0]
    if width == 0:
        return True
    step = stored / 255
    narrowest = NARROWER.get(method, min(NARROWER.values()))
    inside = bounds[0] >= WIDER * seen[0] - 2 * step and bounds[1] <= WIDER * seen[1] + 2 * step
    return inside and stored >= narrowest * width and bool(np.isfinite(stored))
