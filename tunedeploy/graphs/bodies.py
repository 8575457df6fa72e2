"""Bodies of If, Loop and Scan: graphs inside a node, which read values of the enclosing graph by name."""

from collections.abc import Callable, Iterator, Mapping
from itertools import count

import onnx


def bodies(node: onnx.NodeProto) -> Iterator[tuple[str, onnx.GraphProto]]:
    """The graphs inside a node, each with the name of its attribute."""
    for attribute in node.attribute:
        for body in (*([attribute.g] if attribute.type == onnx.AttributeProto.GRAPH else []), *attribute.graphs):
            yield attribute.name, body


def own_names(body: onnx.GraphProto) -> set[str]:
    """The names that a body defines: its inputs, its initializers and the outputs of its nodes."""
    names = {value.name for value in body.input} | {tensor.name for tensor in body.initializer}
    names |= {tensor.values.name for tensor in body.sparse_initializer}
    return names | {name for node in body.node for name in node.output}


def reads(node: onnx.NodeProto) -> list[str]:
    """All names that a node reads: its inputs, and what its bodies capture from the enclosing graph."""
    return [*node.input, *(name for name in captured(node) if name not in node.input)]


def captured(node: onnx.NodeProto) -> list[str]:
    """The names that the bodies of a node read but do not define, each once, in the order of reading."""
    names: dict[str, None] = {}
    for _, body in bodies(node):
        inner = [name for part in body.node for name in reads(part)] + [value.name for value in body.output]
        known = own_names(body)
        names |= dict.fromkeys(name for name in inner if name and name not in known)
    return list(names)


def rename_captured(node: onnx.NodeProto, new: Mapping[str, str]) -> None:
    """Rename values of the enclosing graph where the bodies of a node read them."""
    for _, body in bodies(node):
        inner = {name: other for name, other in new.items() if name not in own_names(body)}
        for part in body.node:
            for at, name in enumerate(part.input):
                part.input[at] = inner.get(name, name)
            rename_captured(part, inner)
        for value in body.output:
            value.name = inner.get(value.name, value.name)


def flattened(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model to be read, not run, in which the nodes of bodies are moved to the main graph.

    A node with bodies reads their outputs after its own inputs. Values of bodies are renamed, since two bodies may use
    one name for two values; an input of a body is named by its position, since no node makes it.
    """
    if not any(True for node in model.graph.node for _ in bodies(node)):
        return model
    flat = onnx.ModelProto()
    flat.CopyFrom(model)
    del flat.graph.node[:]
    numbers = count()
    for node in model.graph.node:
        spread(node, flat.graph, lambda name: name, (numbers, 1))
    return flat


def spread(
    node: onnx.NodeProto, flat: onnx.GraphProto, called: Callable[[str], str], place: tuple[Iterator[int], int]
) -> None:
    """Append a node to the flat graph, after those of its bodies.

    Args:
        node: of the graph or of a body.
        flat: what is appended to.
        called: the name in the flat graph of a value that the node reads or makes.
        place: numbers for bodies, and the depth of this node's bodies, counted from 1.
    """
    given: list[str] = []
    shapes: dict[str, str] = {}
    for attribute, body in bodies(node):
        inner = names_in(body, called, next(place[0]), place[1])
        for part in body.node:
            spread(part, flat, inner, (place[0], place[1] + 1))
        for tensor in body.initializer:
            flat.initializer.add().CopyFrom(tensor)
            flat.initializer[-1].name = inner(tensor.name)
        flat.sparse_initializer.extend(body.sparse_initializer)
        given += [inner(value.name) for value in body.output]
        shapes[attribute] = f"{shapes.get(attribute, '')}{len(body.input)} to {len(body.output)};"
    copy = flat.node.add()
    copy.CopyFrom(node)
    del copy.attribute[:]
    copy.attribute.extend(attribute for attribute in node.attribute if attribute.name not in shapes)
    copy.attribute.extend(onnx.helper.make_attribute(name, text) for name, text in shapes.items())
    copy.input[:] = [*(called(name) for name in node.input), *given]
    copy.output[:] = [called(name) for name in node.output]


def names_in(body: onnx.GraphProto, outside: Callable[[str], str], number: int, depth: int) -> Callable[[str], str]:
    """A function from the names in a body to those in the flat graph."""
    own = {name: f"{name} in body {number}" for name in own_names(body)} | {"": ""}
    own |= {value.name: f"input {at} of a body at depth {depth}" for at, value in enumerate(body.input)}
    return lambda name: own[name] if name in own else outside(name)
