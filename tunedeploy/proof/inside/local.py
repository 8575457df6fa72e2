"""Local parity: every node of a converted file, fed what float32 computes there, gives what its rounding explains.

The reference of a node is its origin in the float32 file with the weights that the converted file stores and the
activations rounded by numpy, after ONNX's definitions. So a node is held to the rounding of its own weights and its own
activations, and errors of earlier nodes do not excuse it. Where the weights are those of float32 is for `stored` to
say, where the scales are those of the data for `ranges`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.graphs.rewrites import rounded
from tunedeploy.inside_onnx import Graph
from tunedeploy.proof.inside.origins import Origins, Pair, Spot

MASK = 1e30  # attention masks hold float32's lowest value; they say what is left out, and are no signal
STEPS = 2.0  # of an activation: where numpy and onnxruntime break a tie otherwise


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node gives: the largest difference from its reference as a share of its limit.

    `here` is the same as this CPU's integer kernels compute it; where it is larger, products of theirs saturate.
    """

    node: str
    value: str
    share: float
    here: float


def local_parity(source: Graph, target: Graph, matched: Origins, inputs: Inputs) -> list[Node]:
    """Every matched float value of a converted file against its reference, in the float32 file's order.

    Args:
        source: the float32 file.
        target: the converted one.
        matched: their nodes, see `origins`.
        inputs: one batch of real rows.

    Raises:
        RunError: onnxruntime cannot run a file so.
    """
    names = {origin: name for name, origin in matched.values.items()}
    needed = {name for node in source.model.graph.node for name in [*node.input, *node.output] if name in source.makers}
    values: dict[str, Array] = dict(inputs) | source.run(inputs, needed)
    floats = [name for name in source.makers if name in names and values[name].dtype == np.float32]
    fed = {names[name]: values[name] for name in floats}
    exact = Graph(target.path, exact_products(target.model)).run_fed(inputs, fed, fed)
    here = target.run_fed(inputs, fed, fed)
    reference = alone(source, matched, values, floats)
    nodes = []
    for name in floats:
        allowed = limit(matched, source, values, name)
        share, here_too = (apart(reference[name], own[names[name]]) / allowed for own in (exact, here))
        nodes.append(Node(node=source.makers[name].name, value=name, share=share, here=here_too))
    return nodes


def exact_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same with integer products in float32, which holds them: the integer kernels of some CPUs saturate."""
    exact = onnx.ModelProto()
    exact.CopyFrom(model)
    del exact.graph.node[:]
    for node in model.graph.node:
        if node.op_type != "MatMulInteger" or len(node.input) != 4:
            exact.graph.node.append(node)
            continue
        name = node.output[0]
        for at, integers in enumerate(node.input):
            exact.graph.node.append(onnx.helper.make_node("Cast", [integers], [f"{name} {at}"], to=1))
        for side in (0, 1):
            parts = [f"{name} {side}", f"{name} {side + 2}"]
            exact.graph.node.append(onnx.helper.make_node("Sub", parts, [f"{name} side {side}"]))
        exact.graph.node.append(onnx.helper.make_node("MatMul", [f"{name} side 0", f"{name} side 1"], [name]))
    return exact


def limit(matched: Origins, source: Graph, values: Mapping[str, Array], name: str) -> float:
    """What a node may differ from its reference by: float32's rounding, and ties that fall to the other side."""
    signal = values[name][np.abs(values[name]) < MASK]
    spread = max(agreement.output_range(signal), float(np.abs(signal).max(initial=0)))
    node = source.makers[name]
    steps = 0.0
    for at in range(len(node.input)):
        origin, roundings = matched.read.get((node.output[0], at), ("", ()))
        if roundings and origin in values:
            steps += agreement.output_range(values[origin]) / 255
    weights = [pair for pair in matched.pairs if pair.spot[0] == node.output[0] and pair.stored.rounding is not None]
    largest = max((float(np.abs(pair.stored.values()).max(initial=0)) for pair in weights), default=1.0)
    return max(agreement.CAP * spread + STEPS * steps * largest, 1e-30)


def alone(source: Graph, matched: Origins, values: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """What each of these float32 nodes gives by itself, from rounded weights and rounded activations.

    All nodes are put into one graph without a wire between them: each reads nothing but what it is fed.
    """
    weights = {pair.spot: pair for pair in matched.pairs if pair.stored.rounding is not None}
    model = source.empty()
    fed: dict[str, Array] = {}
    chosen = {source.makers[name].output[0]: source.makers[name] for name in names}
    for first, node in chosen.items():
        model.graph.node.append(node)
        for at, name in enumerate(node.input):
            if not name:
                continue
            fed_as = f"{name} for {first} {at}" if changed(matched, weights, (first, at)) else f"{name} fed"
            model.graph.node[-1].input[at] = fed_as
            if fed_as not in fed:
                value = values[name] if name in values else onnx.numpy_helper.to_array(source.stored[name])
                fed[fed_as] = read(matched, weights, (first, at), value)
    model.graph.input.extend(value_info(name, value) for name, value in fed.items())
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return source.session(model)(fed)


def changed(matched: Origins, weights: Mapping[Spot, Pair], spot: Spot) -> bool:
    """Whether an input of a node is rounded in the converted file."""
    return spot in weights or bool(matched.read.get(spot, ("", ()))[1])


def read(matched: Origins, weights: Mapping[Spot, Pair], spot: Spot, value: Array) -> Array:
    """An input of a float32 node as the converted file reads it."""
    if spot in weights:
        pair = weights[spot]
        stored = pair.stored.values().astype(np.float32)
        return np.ascontiguousarray(stored.T if pair.origin.turned else stored)
    for rounding in reversed(matched.read.get(spot, ("", ()))[1]):
        value = rounded(value, rounding)
    return value


def apart(reference: Array, own: Array) -> float:
    """The largest difference; infinities of masks that are equal are none."""
    if reference.shape == own.shape:
        alike = np.isinf(reference) & (reference == own)
        reference, own = np.where(alike, 0, reference), np.where(alike, 0, own)
    return agreement.largest_difference(reference, own)[0]


def value_info(name: str, value: Array) -> onnx.ValueInfoProto:
    """An input of any shape."""
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), None)
