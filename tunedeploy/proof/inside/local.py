"""Local parity: every node of a converted file, fed what float32 computes there, gives what its rounding explains.

The reference of a node is its origin in the float32 file with the weights that the converted file stores and the
activations rounded by numpy, after ONNX's definitions. So a node is held to the rounding of its own weights and its own
activations, and errors of earlier nodes do not excuse it. Whether the weights are those of float32 is compared by
`stored`, whether the scales are those of the data by `ranges`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tunedeploy.device import agreement
from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.graphs.bodies import captured, reads, rename_captured
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.graphs.reading import Rounding
from tunedeploy.graphs.rewrites import rounded
from tunedeploy.proof.inside.halves import apart_beyond_half, limit_of_half, rounded_to_half
from tunedeploy.proof.inside.origins import Origins, Pair, Spot

MASK = 1e30  # attention masks hold float32's lowest value; they say what is left out, and are no signal
CAPTURED: Spot = ("", -1)  # what the body of a node reads; no quantizer of ours rounds inside of bodies
# Numbers of the float32 file that are held at a time, 64 MB, unless one node alone takes more. Fed to both files, given
# back by them and by the reference they are there up to six times, so that 0.5 GB is enough.
HELD = 2**24
STEPS = 2.0  # of an activation: where numpy and onnxruntime break a tie differently


@dataclass(frozen=True, kw_only=True)
class Node:
    """What one node gives: the largest difference from its reference as a share of its limit.

    `here` is the same as this CPU's integer kernels compute it; where it is larger, products of theirs saturate.
    """

    node: str
    value: str
    share: float
    here: float


@dataclass(frozen=True, kw_only=True)
class Files:
    """The float32 file, the converted one, the latter with its integer products in float32, and its types."""

    source: Graph
    target: Graph
    exact: Graph
    kinds: Mapping[str, Any]  # numpy types of the converted file's values


def halved(matched: Origins) -> bool:
    """Whether the converted file holds weights in float16."""
    return any(pair.stored.array.dtype == np.float16 for pair in matched.pairs)


def local_parity(source: Graph, target: Graph, matched: Origins, inputs: Inputs) -> list[Node]:
    """Every matched float value of a converted file against its reference, in the float32 file's order.

    Values are computed a part at a time, so that memory does not grow with the number of nodes; see HELD.

    Args:
        source: the float32 file.
        target: the converted one.
        matched: their nodes, see `origins`.
        inputs: one batch of real rows.

    Raises:
        RunError: onnxruntime cannot run a file so.
    """
    needed = needs(source, target, matched)
    files = Files(
        source=source, target=target, exact=Graph(target.path, exact_products(target.model)),
        kinds=target.types([name for name in matched.values if name in target.makers]),
    )  # fmt: skip
    nodes: list[Node] = []
    for names in parts(needed, source.elements(inputs)):
        held = {value for name in names for value in needed[name]}
        values: dict[str, Array] = dict(inputs) | source.session(source.part(held))(inputs)
        if halved(matched):  # what both sides read is what float16 holds
            values = {name: rounded_to_half(value) for name, value in values.items()}
        nodes += judged(files, matched, values, names)
    return nodes


def needs(source: Graph, target: Graph, matched: Origins) -> dict[str, set[str]]:
    """For each matched value of the converted file: the computed values of the float32 file that judging it takes.

    Those are its origin, what the float32 node reads, and the origins of what the converted file's nodes read.
    """
    read: dict[str, set[str]] = {}
    for (name, _), (origin, _) in matched.read.items():
        read.setdefault(name, set()).add(origin)
    places = {name: place for place, name in enumerate(source.makers)}
    needed = {}
    for name in sorted(matched.values, key=lambda name: places.get(matched.values[name], -1)):
        origin = matched.values[name]
        if origin not in source.makers or name not in target.makers:
            continue  # inside the body of a node, which is judged as a whole
        target_reads = (other for node in target.between(name, matched.values) for other in reads(node))
        values = {matched.values[other] for other in target_reads if other in matched.values}
        values |= {origin, *reads(source.makers[origin]), *read.get(name, ())}
        needed[name] = {value for value in values if value in source.makers}
    return needed


def parts(needed: Mapping[str, set[str]], elements: Mapping[str, int]) -> Iterator[list[str]]:
    """The values in groups, each of which takes HELD numbers at the most or is a single value."""
    group: list[str] = []
    held: set[str] = set()
    for name, values in needed.items():
        if group and sum(elements[value] for value in held | values) > HELD:
            yield group
            group, held = [], set()
        group.append(name)
        held |= values
    if group:
        yield group


def judged(files: Files, matched: Origins, values: Mapping[str, Array], names: Sequence[str]) -> list[Node]:
    """Some values of the converted file against their references; `values` holds all that they take, and the inputs."""
    inputs = {name: values[name] for name in files.source.inputs}
    origin = matched.values
    floats = [name for name in names if values[origin[name]].dtype == np.float32]
    fed = {
        name: values[origin[name]].astype(kind, copy=False) for name, kind in files.kinds.items()
        if origin[name] in values
    }  # fmt: skip
    exact, here = (graph.run_fed(inputs, fed, floats) for graph in (files.exact, files.target))
    reference = alone(files.source, matched, values, floats)
    nodes = []
    for name in floats:
        node = files.source.makers[origin[name]]
        if halved(matched):
            allowed, difference = limit_of_half(files.source, node, values, values[origin[name]]), apart_beyond_half
        else:
            allowed, difference = limit(matched, files.source, values, name), apart
        share, here_too = (difference(reference[name], own[name]) / allowed for own in (exact, here))
        nodes.append(Node(node=node.name, value=origin[name], share=share, here=here_too))
    return nodes


def exact_products(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with integer products in float32, which holds them: the integer kernels of some CPUs saturate."""
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
    """How far a value may differ from its reference: float32's rounding, and ties that round the other way."""
    value = values[matched.values[name]]
    signal = value[np.abs(value) < MASK]
    spread = max(agreement.output_range(signal), float(np.abs(signal).max(initial=0)))
    steps = 0.0
    for at in range(len(source.makers[matched.values[name]].input)):
        origin, roundings = matched.read.get((name, at), ("", ()))
        if roundings and origin in values:
            steps += max(step(rounding, values[origin]) for rounding in roundings)
    weights = [pair for pair in matched.pairs if pair.spot[0] == name and pair.stored.rounding is not None]
    largest = max((float(np.abs(pair.stored.values()).max(initial=0)) for pair in weights), default=1.0)
    return max(agreement.CAP * spread + STEPS * steps * largest, 1e-30)


def step(rounding: Rounding, value: Array) -> float:
    """The distance that two neighbouring integers stand for."""
    return agreement.output_range(value) / 255 if rounding.dynamic else float(rounding.scale.max())


def alone(source: Graph, matched: Origins, values: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """What the float32 node behind each of these values gives by itself, from rounded weights and rounded activations.

    All nodes are put into one graph without a wire between them: each reads nothing but what it is fed. A node with
    more outputs is there once for each of them, since each may be read through other roundings.
    """
    weights = {pair.spot: pair for pair in matched.pairs if pair.rounded}
    model = source.empty()
    fed: dict[str, Array] = {}

    def feed(name: str, spot: Spot) -> str:
        fed_as = f"{name} for {spot[0]} {spot[1]}" if changed(matched, weights, spot) else f"{name} fed"
        if fed_as not in fed:
            behind = matched.read.get(spot, (name, ()))[0]  # without a Relu or Clip whose place a rounding takes
            name = behind if behind in values else name
            value = values[name] if name in values else onnx.numpy_helper.to_array(source.stored[name])
            fed[fed_as] = read(matched, weights, spot, value)
        return fed_as

    for wanted in names:
        origin = matched.values[wanted]
        node = model.graph.node.add()
        node.CopyFrom(source.makers[origin])
        node.name = wanted  # no two nodes may have one name
        rename_captured(node, {name: feed(name, CAPTURED) for name in captured(node)})
        for at, name in enumerate(node.input):
            node.input[at] = name and feed(name, (wanted, at))
        for at, name in enumerate(node.output):
            node.output[at] = wanted if name == origin else name and f"{name} beside {wanted}"
    model.graph.input.extend(value_info(name, value) for name, value in fed.items())
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return source.session(model)(fed) if names else {}


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
    """The largest difference; equal infinities, which masks hold, do not count."""
    reference, own = np.atleast_1d(reference), np.atleast_1d(own)
    if reference.shape == own.shape:
        alike = np.isinf(reference) & (reference == own)
        reference, own = np.where(alike, 0, reference), np.where(alike, 0, own)
    return agreement.largest_difference(reference, own)[0]


def value_info(name: str, value: Array) -> onnx.ValueInfoProto:
    """An input of any shape."""
    return onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), None)
