"""Random single changes of an ONNX file: of stored values, attributes, operators, wiring, and of values on their way.

A mutation is a function in KINDS. It changes the model in one place that it draws, and returns what it did; where the
file has no such place it raises NoPlaceError. `mutant` draws one. Whether a change shows in any answer is for the
caller to find out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, NodeProto, TensorProto, helper, numpy_helper

from tests.faults.graphs import constant, set_attribute, stored

Array = np.ndarray
# Operators that take each other's inputs; an attribute that the new one does not have is dropped.
ALIKE = (
    ("Add", "Sub", "Mul", "Div", "Max", "Min"),
    ("Relu", "Sigmoid", "Tanh", "Gelu", "Softmax", "Identity", "Abs", "Neg"),
    ("ReduceMean", "ReduceMax", "ReduceSum", "ReduceMin"),
    ("And", "Or", "Xor"),
    ("GreaterOrEqual", "Greater", "Less", "Equal"),
    ("MaxPool", "AveragePool"),
    ("Floor", "Ceil", "Round"),
)
FLAGS = ("keepdims", "transA", "transB", "ceil_mode", "allowzero", "noop_with_empty_axes", "storage_order")
TYPES = (TensorProto.FLOAT, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL, TensorProto.DOUBLE)
RARELY = {"a_threshold": 0.3, "a_node_twice": 0.3}  # nearly every threshold is live, and no copy of a node is
KERNELS = (4, 8, 15, 16, 17, 31, 32, 33, 40)  # sizes at which code that handles blocks of a power of two turns


class NoPlaceError(Exception):
    """The file has nothing that this mutation could change."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A model that is to be changed, every value of one batch by its name, and the draw."""

    model: onnx.ModelProto
    values: Mapping[str, Array]
    rng: np.random.Generator

    @property
    def nodes(self) -> list[NodeProto]:
        """Nodes in their order."""
        return list(self.model.graph.node)

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of them."""
        if not len(choices):
            raise NoPlaceError
        return choices[int(self.rng.integers(len(choices)))]

    def readers(self, value: str) -> list[tuple[NodeProto, int]]:
        """Nodes that read a value, and at which input."""
        return [(node, at) for node in self.model.graph.node for at, name in enumerate(node.input) if name == value]

    def made_at(self, value: str) -> int:
        """The place of the node that makes a value; -1 for an input or a stored one."""
        return next((at for at, node in enumerate(self.model.graph.node) if value in node.output), -1)

    def flowing(self) -> list[str]:
        """Float values of more than one number that nodes make or take as input."""
        names = [one.name for one in self.model.graph.input] + [name for node in self.nodes for name in node.output]
        return [name for name in names if is_float(self.values.get(name)) and self.values[name].size > 1]


Mutation = Callable[[Subject], str]
KINDS: dict[str, Mutation] = {}


def mutation(function: Mutation) -> Mutation:
    """Enter a function into the table, under its name."""
    KINDS[function.__name__] = function
    return function


def mutant(
    model: onnx.ModelProto, values: Mapping[str, Array], rng: np.random.Generator
) -> tuple[onnx.ModelProto, str, str]:
    """A copy of a model with one change; the kind of change, and what was changed."""
    chances = np.array([RARELY.get(kind, 1) for kind in KINDS])
    while True:
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        kind = str(rng.choice(list(KINDS), p=chances / chances.sum()))
        try:
            return copy, kind, KINDS[kind](Subject(model=copy, values=values, rng=rng))
        except NoPlaceError:
            continue


def is_float(value: Array | None) -> bool:
    """Whether a value is there and a float32 array."""
    return value is not None and value.dtype == np.float32


# ---- stored values


def scales_and_points(model: onnx.ModelProto) -> dict[str, list[str]]:
    """Names of the stored scales and zero points, by what the nodes use them for."""
    have = {one.name for one in model.graph.initializer}
    measured = {node.output[1] for node in model.graph.node if node.op_type == "DynamicQuantizeLinear"}
    found: dict[str, list[str]] = {"scale": [], "point": []}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            found["scale"].append(node.input[1])
            found["point"] += node.input[2:3]
        elif node.op_type == "MatMulInteger":
            found["point"] += node.input[2:4]
        elif node.op_type == "Mul" and measured & set(node.input):
            found["scale"] += node.input
    return {use: sorted(set(names) & have) for use, names in found.items()}


def weights(subject: Subject, least: int = 2) -> list[str]:
    """Stored tensors of at least so many numbers that are neither indices nor scales nor zero points."""
    other = {name for names in scales_and_points(subject.model).values() for name in names}
    kinds = (TensorProto.FLOAT, TensorProto.INT8, TensorProto.UINT8, TensorProto.INT32)
    return [
        one.name for one in subject.model.graph.initializer
        if one.data_type in kinds and one.name not in other and int(np.prod(one.dims)) >= least
    ]  # fmt: skip


def change(subject: Subject, name: str, how: Callable[[Array], Array]) -> None:
    """Change a stored tensor, rounded and cut to its type."""
    tensor = stored(subject.model, name)
    before = numpy_helper.to_array(tensor)
    after = np.asarray(how(before.astype(np.float64) if before.dtype.kind in "fiu" else before.copy()))
    if before.dtype.kind in "iu":
        limits = np.iinfo(before.dtype)
        after = np.clip(np.rint(after), limits.min, limits.max)
    with np.errstate(over="ignore"):  # twice float32's lowest number, for one
        after = after.astype(before.dtype).reshape(before.shape)
    if np.array_equal(before, after):
        raise NoPlaceError
    tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(after), name))


def somewhere(subject: Subject, shape: Sequence[int]) -> tuple[int, ...]:
    """One entry of an array."""
    return tuple(int(subject.rng.integers(size)) for size in shape)


@mutation
def one_weight(subject: Subject) -> str:
    name = subject.pick(weights(subject))
    integer = stored(subject.model, name).data_type != TensorProto.FLOAT
    place = somewhere(subject, stored(subject.model, name).dims)
    step, factor = subject.pick((1, -1, 3)) if integer else 0, subject.pick((1.01, 1.1, 2, 0, -1))

    def how(values: Array) -> Array:
        values[place] = values[place] + step if integer else values[place] * factor
        return values

    change(subject, name, how)
    return f"{name}{list(place)} {f'{step:+d}' if integer else f'x {factor}'}"


@mutation
def block_of_weights(subject: Subject) -> str:
    name = subject.pick(weights(subject, 8))
    shape = list(stored(subject.model, name).dims)
    axis = int(subject.rng.integers(len(shape)))
    start = int(subject.rng.integers(shape[axis]))
    block = (slice(None),) * axis + (slice(start, start + int(subject.rng.integers(1, 9))),)
    how = subject.pick(("x 1.05", "x 0.9", "zeroed", "to 4 bits", "turned round"))

    def changed(values: Array) -> Array:
        part = values[block]
        step = max(float(np.abs(values).max()) / 7, 1e-12)
        values[block] = {
            "x 1.05": part * 1.05, "x 0.9": part * 0.9, "zeroed": part * 0, "to 4 bits": np.rint(part / step) * step,
            "turned round": np.flip(part, -1 if axis == 0 else 0),
        }[how]  # fmt: skip
        return values

    change(subject, name, changed)
    return f"{name}, axis {axis} from {start}: {how}"


@mutation
def whole_tensor(subject: Subject) -> str:
    name = subject.pick(weights(subject))
    shape = list(stored(subject.model, name).dims)
    axis = int(subject.rng.integers(len(shape)))
    square = len(shape) == 2 and shape[0] == shape[1]
    how = subject.pick(("x 1.01", "x 1.05", "x 2", "x -1", "zeroed", "rolled", "+ 1 %", *(["transposed"] * 2 * square)))
    ways: dict[str, Callable[[Array], Array]] = {
        "zeroed": np.zeros_like,
        "rolled": lambda values: np.roll(values, 1, axis),
        "transposed": np.transpose,
        "+ 1 %": lambda values: values + max(float(np.abs(values).max()) / 100, 1e-3),
    }
    change(subject, name, ways.get(how, lambda values: values * float(how.removeprefix("x "))))
    return f"{name} {how}" + (f" along {axis}" if how == "rolled" else "")


@mutation
def two_tensors_swapped(subject: Subject) -> str:
    name = subject.pick(weights(subject))
    first = stored(subject.model, name)
    alike = [
        other for other in weights(subject)
        if other != name and (list(stored(subject.model, other).dims), stored(subject.model, other).data_type)
        == (list(first.dims), first.data_type)
    ]  # fmt: skip
    second = stored(subject.model, subject.pick(alike))
    values, others = numpy_helper.to_array(first).copy(), numpy_helper.to_array(second).copy()
    if np.array_equal(values, others):
        raise NoPlaceError
    first.CopyFrom(numpy_helper.from_array(others, first.name))
    second.CopyFrom(numpy_helper.from_array(values, second.name))
    return f"{first.name} and {second.name}"


@mutation
def a_scale(subject: Subject) -> str:
    name = subject.pick(scales_and_points(subject.model)["scale"])
    shape = list(stored(subject.model, name).dims)
    how = subject.pick(("x 1.01", "x 1.1", "x 2", "x 0.5", *(["rolled", "one x 1.05", "one x 2"] * bool(shape))))
    place = somewhere(subject, shape)

    def changed(values: Array) -> Array:
        if how == "rolled":
            return np.roll(values, 1)
        if how.startswith("one"):
            values[place] *= float(how.removeprefix("one x "))
            return values
        return values * float(how.removeprefix("x "))

    change(subject, name, changed)
    return f"{name} {how}" + (f" at {list(place)}" if how.startswith("one") else "")


@mutation
def a_zero_point(subject: Subject) -> str:
    name = subject.pick(scales_and_points(subject.model)["point"])
    step = int(subject.pick((1, -1, 2, -2, 10, -10, 64)))
    place = somewhere(subject, stored(subject.model, name).dims)

    def changed(values: Array) -> Array:
        values[place] += step
        return values

    change(subject, name, changed)
    return f"{name}{list(place) or ''} {step:+d}"


@mutation
def a_float_constant(subject: Subject) -> str:
    scales = scales_and_points(subject.model)["scale"]
    name = subject.pick([
        one.name for one in subject.model.graph.initializer
        if one.data_type == TensorProto.FLOAT and int(np.prod(one.dims)) == 1 and one.name not in scales
    ])  # fmt: skip
    factor = subject.pick((1.01, 0.99, 1.1, 2, -1))
    change(subject, name, lambda value: value * factor if value.any() else value + factor - 1)
    return f"{name} x {factor}"


@mutation
def an_int_constant(subject: Subject) -> str:
    kinds = (TensorProto.INT64, TensorProto.BOOL)
    name = subject.pick([one.name for one in subject.model.graph.initializer if one.data_type in kinds])
    place = somewhere(subject, stored(subject.model, name).dims)
    step = int(subject.pick((1, -1)))

    def changed(values: Array) -> Array:
        values = np.array(values)
        values[place] = ~values[place] if values.dtype == bool else values[place] + step
        return values

    change(subject, name, changed)
    return f"{name}{list(place) or ''} {step:+d}"


# ---- attributes and operators


@mutation
def an_attribute(subject: Subject) -> str:
    node, attribute = subject.pick([(node, one) for node in subject.nodes for one in node.attribute])
    before = helper.get_attribute_value(attribute)
    after = other_value(subject, attribute, before)
    name = attribute.name
    if after == before:
        raise NoPlaceError
    set_attribute(node, name, after)
    return f"{node.op_type} {node.name}: {name} {before} -> {after}"


def other_value(subject: Subject, attribute: AttributeProto, before: Any) -> Any:
    """Another value of an attribute's own type."""
    step = int(subject.pick((1, -1)))
    if attribute.name == "to":
        return int(subject.pick(TYPES))
    if attribute.name in FLAGS:
        return 1 - before
    if attribute.type == AttributeProto.INT:
        return before + step
    if attribute.type == AttributeProto.FLOAT:
        return float(
            subject.pick((1e-3, 1e-5, 1e-6)) if attribute.name == "epsilon" else before * subject.pick((1.01, 2))
        )
    if attribute.type == AttributeProto.STRING:
        return {b"none": "tanh", b"tanh": "none", b"NOTSET": "SAME_UPPER"}.get(before, before)
    if attribute.type != AttributeProto.INTS or not before:
        raise NoPlaceError
    values, place = list(before), int(subject.rng.integers(len(before)))
    if attribute.name == "perm":
        other = (place + 1) % len(values)
        values[place], values[other] = values[other], values[place]
        return values
    return [*values[:place], values[place] + step, *values[place + 1 :]]


@mutation
def an_operator(subject: Subject) -> str:
    node, group = subject.pick([(node, group) for node in subject.nodes for group in ALIKE if node.op_type in group])
    before = node.op_type
    node.op_type = subject.pick([one for one in group if one != before])
    version = next(one.version for one in subject.model.opset_import if one.domain == "")
    known = onnx.defs.get_schema(node.op_type, version).attributes
    kept = [one for one in node.attribute if one.name in known]
    del node.attribute[:]
    node.attribute.extend(kept)
    return f"{before} {node.name} -> {node.op_type}"


# ---- wiring


@mutation
def an_input_rewired(subject: Subject) -> str:
    place = int(subject.rng.integers(len(subject.nodes)))
    node = subject.nodes[place]
    at = subject.pick([at for at, name in enumerate(node.input) if name in subject.values])
    before = subject.values[node.input[at]]
    strict = subject.rng.random() < 0.9
    alike = [
        name for name, value in subject.values.items()
        if name not in node.input and value.dtype == before.dtype and subject.made_at(name) < place
        and (value.shape == before.shape if strict else value.ndim == before.ndim)
    ]  # fmt: skip
    old, node.input[at] = node.input[at], subject.pick(alike)
    return f"{node.op_type} {node.name}: input {at} {old} -> {node.input[at]}"


@mutation
def two_wires_swapped(subject: Subject) -> str:
    """Of two nodes of one operator, or of the two inputs of one node."""
    place = int(subject.rng.integers(len(subject.nodes)))
    first = subject.nodes[place]
    places = [
        (second, at, other)
        for second in subject.nodes if second.op_type == first.op_type
        for at, one in enumerate(first.input) for other, two in enumerate(second.input)
        if one != two and (second is first or at == other) and one in subject.values and two in subject.values
        and subject.values[one].dtype == subject.values[two].dtype
        and subject.values[one].shape == subject.values[two].shape
        and max(subject.made_at(one), subject.made_at(two)) < min(place, subject.nodes.index(second))
    ]  # fmt: skip
    second, at, other = subject.pick(places)
    first.input[at], second.input[other] = second.input[other], first.input[at]
    return f"{first.name} input {at} and {second.name} input {other}"


@mutation
def a_node_skipped(subject: Subject) -> str:
    outputs = [one.name for one in subject.model.graph.output]
    node = subject.pick([
        node for node in subject.nodes
        if node.input and node.output[0] not in outputs and subject.readers(node.output[0])
        and node.input[0] in subject.values and node.output[0] in subject.values
        and subject.values[node.input[0]].dtype == subject.values[node.output[0]].dtype
    ])  # fmt: skip
    for reader, at in subject.readers(node.output[0]):
        reader.input[at] = node.input[0]
    return f"{node.op_type} {node.name}"


@mutation
def a_node_twice(subject: Subject) -> str:
    """One reader gets a copy's output, which is the same."""
    node = subject.pick([node for node in subject.nodes if len(subject.readers(node.output[0])) > 1])
    reader, at = subject.pick(subject.readers(node.output[0]))
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.name = f"{node.name}_twice"
    for number, name in enumerate(node.output):
        copy.output[number] = f"{name}_twice"
    subject.model.graph.node.insert(subject.nodes.index(node), copy)
    reader.input[at] = copy.output[0]
    return f"{node.op_type} {node.name}, read by {reader.name}"


# ---- values on their way


def put_behind(subject: Subject, value: str, make: Callable[[str, str], list[NodeProto]]) -> str:
    """Put nodes behind a value, for all that read it or for one of them; returns for whom."""
    readers, mutated = subject.readers(value), f"{value}_mutated"
    place = subject.made_at(value)
    whom = "all"
    if not readers:  # an output of the graph keeps its name
        maker = subject.nodes[place]
        raw = f"{value}_raw"
        maker.output[list(maker.output).index(value)] = raw
        added = make(raw, value)
    else:
        if len(readers) > 1 and subject.rng.random() < 0.5:
            readers = [subject.pick(readers)]
            whom = readers[0][0].name
        for node, at in readers:
            node.input[at] = mutated
        added = make(value, mutated)
    for number, node in enumerate(added):
        subject.model.graph.node.insert(place + 1 + number, node)
    return whom


@mutation
def a_value_changed(subject: Subject) -> str:
    value = subject.pick(subject.flowing())
    array = subject.values[value].astype(np.float64)
    array = array[np.abs(array) < 1e30]
    if not array.size:
        raise NoPlaceError
    spread = max(float(array.std()), 1e-6)
    step = max(float(np.abs(array).max(initial=0)) / 7.5, 1e-6)
    how = subject.pick(("x 1.01", "x 1.05", "x 0.9", "+ 1 %", "clipped at 3 sigma", "4 bits", "8 bits", "float16"))

    def make(read: str, write: str) -> list[NodeProto]:
        def number(name: str, content: float) -> str:
            return constant(subject.model, f"{name}_of_mutation", np.float32(content))

        if how == "float16":
            return [
                helper.make_node("Cast", [read], ["half_of_mutation"], to=TensorProto.FLOAT16),
                helper.make_node("Cast", ["half_of_mutation"], [write], to=TensorProto.FLOAT),
            ]
        if how.startswith("clipped"):
            low, high = number("low", array.mean() - 3 * spread), number("high", array.mean() + 3 * spread)
            return [helper.make_node("Clip", [read, low, high], [write])]
        if how.startswith("+"):
            return [helper.make_node("Add", [read, number("more", spread / 100)], [write])]
        if how.endswith("bits"):
            size = number("step", step if how == "4 bits" else step / 17)
            return [
                helper.make_node("Div", [read, size], ["steps_of_mutation"]),
                helper.make_node("Round", ["steps_of_mutation"], ["rounded_of_mutation"]),
                helper.make_node("Mul", ["rounded_of_mutation", size], [write]),
            ]
        return [helper.make_node("Mul", [read, number("factor", float(how.removeprefix("x ")))], [write])]

    return f"{value} {how}, for {put_behind(subject, value, make)}"


@mutation
def a_threshold(subject: Subject) -> str:
    """A value is scaled by 1.1 for rows that hold one token, or in batches and lengths past a size or of just one."""
    first = subject.model.graph.input[0].name
    batch = subject.values[first].shape[0]
    is_text = subject.values[first].ndim == 2
    what = subject.pick(("batch", "batch", "length", "token") if is_text else ("batch",))
    value = subject.pick([
        name for name in subject.flowing()
        if subject.values[name].shape[0] == batch
        and (what != "token" or fits_tokens(subject.values[name], subject.values[first]))
    ])  # fmt: skip
    exactly = what == "token" or subject.rng.random() < 0.5
    size = int(
        subject.pick(vocabulary(subject)) if what == "token" else subject.pick(KERNELS if exactly else range(3, 41))
    )
    per_token = what == "token" and subject.values[value].ndim == 3
    nodes = list(condition(subject, what, size, exactly=exactly, per_token=per_token))

    def make(read: str, write: str) -> list[NodeProto]:
        constant(subject.model, "more_of_mutation", np.float32(0.1))
        constant(subject.model, "one_of_mutation", np.float32(1))
        return [
            *nodes,
            helper.make_node("Mul", ["flag_of_mutation", "more_of_mutation"], ["share_of_mutation"]),
            helper.make_node("Add", ["share_of_mutation", "one_of_mutation"], ["factor_of_mutation"]),
            helper.make_node("Mul", [read, "factor_of_mutation"], [write]),
        ]

    return f"{value} x 1.1 where {what} {'==' if exactly else '>='} {size}, for {put_behind(subject, value, make)}"


def fits_tokens(value: Array, ids: Array) -> bool:
    """Whether a value is (rows, features) or (rows, tokens, features)."""
    return value.ndim == 2 or (value.ndim == 3 and value.shape[1] == ids.shape[1])


def vocabulary(subject: Subject) -> range:
    """Ids of the first table."""
    table = next(node.input[0] for node in subject.nodes if node.op_type == "Gather")
    return range(stored(subject.model, table).dims[0])


def condition(subject: Subject, what: str, size: int, *, exactly: bool, per_token: bool) -> Iterator[NodeProto]:
    """Nodes that make `flag_of_mutation`, 1.0 where the condition holds and 0.0 elsewhere."""
    first = subject.model.graph.input[0].name
    constant(subject.model, "size_of_mutation", np.int64(size))
    read = first
    if what != "token":
        start = 0 if what == "batch" else 1
        read = "shape_of_mutation"
        yield helper.make_node("Shape", [first], [read], start=start, end=start + 1)
    compare = "Equal" if exactly else "GreaterOrEqual"
    yield helper.make_node(compare, [read, "size_of_mutation"], ["holds_of_mutation"])
    cast = "flag_of_mutation" if what != "token" else "flags_of_mutation"
    yield helper.make_node("Cast", ["holds_of_mutation"], [cast], to=TensorProto.FLOAT)
    if what == "token":
        axis = constant(subject.model, "axis_of_mutation", np.array([-1], np.int64))
        kind = "Unsqueeze" if per_token else "ReduceMax"
        yield helper.make_node(kind, [cast, axis], ["flag_of_mutation"])


# ---- QuantizeLinear and DequantizeLinear


def pairs(subject: Subject) -> list[tuple[NodeProto, NodeProto]]:
    """Each QuantizeLinear with the DequantizeLinear behind it."""
    makers = {node.output[0]: node for node in subject.nodes if node.op_type == "QuantizeLinear"}
    return [
        (makers[node.input[0]], node) for node in subject.nodes
        if node.op_type == "DequantizeLinear" and node.input[0] in makers
    ]  # fmt: skip


@mutation
def a_rounding_dropped(subject: Subject) -> str:
    before, after = subject.pick(pairs(subject))
    for reader, at in subject.readers(after.output[0]):
        reader.input[at] = before.input[0]
    return f"{before.name} and {after.name}"


@mutation
def another_roundings_scale(subject: Subject) -> str:
    measured = [node for node in subject.nodes if node.op_type == "DynamicQuantizeLinear"]
    if len(measured) > 1:
        first, second = subject.pick(measured), subject.pick(measured)
        number = int(subject.pick((1, 2)))
        readers = [
            (node, at) for node, at in subject.readers(first.output[number])
            if subject.nodes.index(second) < subject.nodes.index(node)
        ]  # fmt: skip
        reader, at = subject.pick(readers)
        if first is second:
            raise NoPlaceError
        reader.input[at] = second.output[number]
        return f"{reader.name}: {first.output[number]} -> {second.output[number]}"
    found = pairs(subject)
    (before, after), (other, _) = subject.pick(found), subject.pick(found)
    if other.input[1] == before.input[1]:
        raise NoPlaceError
    whom = subject.pick(("both", "the second alone", "the first alone"))
    for node in {"both": (before, after), "the second alone": (after,), "the first alone": (before,)}[whom]:
        node.input[1], node.input[2] = other.input[1], other.input[2]
    return f"{before.name} takes {other.input[1]}, {whom}"
