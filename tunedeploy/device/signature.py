"""What goes into a graph and what comes out of it: names, free axes, and where an output means something."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypedDict

import numpy as np

from . import typed
from .encoders import Array

Arrays = Mapping[str, Array]  # one batch by name; the batch axis comes first
# (a graph's name, its inputs) -> its outputs. Torch in float32, torch in float64 and onnxruntime are each a Run.
Run = Callable[[str, Arrays], dict[str, Array]]

BATCH = "batch"


@dataclass(frozen=True, kw_only=True)
class Value:
    """One named input or output of a graph.

    Attributes:
        name: as the ONNX file has it.
        axes: each a size, or a word for a free axis; the same word is the same size, and of an output "a + b" is the
            sum of two. The first is BATCH.
        dtype: numpy's name of it.
        role: "mask": zeros are padding, of which there may be more; "state": passed on from step to step; "scores":
            differences between them count, not where they lie; "": none of these.
        valid: of an output, the input that is zero where its values mean nothing, of shape (batch, axes[1]).
    """

    name: str
    axes: tuple[str | int, ...]
    dtype: str = "float32"
    role: str = ""
    valid: str | None = None


class Signature(TypedDict):
    """A graph as a manifest has it: each value with the attributes that say something."""

    inputs: list[dict[str, object]]
    outputs: list[dict[str, object]]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One ONNX file."""

    name: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Each input's free axes with their names, as exporters take them."""
        return {
            value.name: {at: axis for at, axis in enumerate(value.axes) if isinstance(axis, str)}
            for value in self.inputs
        }  # fmt: skip

    def select(self, batch: Arrays) -> dict[str, Array]:
        """The inputs of this graph out of a batch, which may hold more.

        Raises:
            KeyError: one is missing.
        """
        return {value.name: batch[value.name] for value in self.inputs}

    def sizes(self, inputs: Arrays) -> dict[str | int, int]:
        """The size of each free axis in a batch.

        Raises:
            KeyError: an input is missing.
        """
        return {
            axis: inputs[value.name].shape[at]
            for value in self.inputs
            for at, axis in enumerate(value.axes)
            if isinstance(axis, str) and at < inputs[value.name].ndim
        }

    def shapes(self, inputs: Arrays) -> dict[str, tuple[str | int, ...]]:
        """The shape of each output for these inputs; an axis that they do not determine keeps its word.

        Raises:
            KeyError: an input is missing.
        """
        sizes = self.sizes(inputs)
        return {value.name: tuple(_size(axis, sizes) for axis in value.axes) for value in self.outputs}

    def to_json(self) -> Signature:
        """As a manifest has it, under the graph's name; attributes that say nothing are left out."""
        return {"inputs": _described(self.inputs), "outputs": _described(self.outputs)}

    def paddable(self) -> bool:
        """Whether a row may be followed by padding."""
        return any(value.role == "mask" for value in self.inputs)


def _size(axis: str | int, sizes: Mapping[str | int, int]) -> str | int:
    if not isinstance(axis, str):
        return axis
    parts = axis.split(" + ")
    return sum(sizes[part] for part in parts) if all(part in sizes for part in parts) else axis


def elements(value: Value, output: Array, inputs: Arrays) -> tuple[Array, Array]:
    """The part of an output that means something: (elements, ...), and the row of the batch each is of, (elements,).

    Where the whole output is valid an element is a row; else it is a place of a row that the mask keeps.
    Padding to another length changes neither.
    """
    if value.valid is None:
        return output, np.arange(len(output))
    mask = np.asarray(inputs[value.valid]) != 0
    return output[mask], np.nonzero(mask)[0]


def _described(values: Sequence[Value]) -> list[dict[str, object]]:
    return [
        {
            key: list(attribute) if isinstance(attribute, tuple) else attribute
            for key, attribute in asdict(value).items()
            if attribute
        }
        for value in values
    ]


def read_graph(name: str, described: Signature) -> Graph:
    """A graph as a manifest has it.

    Raises:
        Mismatch: a value has no name or no axes, or one of its attributes means nothing.
    """
    where = f"graphs.{name}"
    inputs, outputs = (
        tuple(typed.from_json(Value, value, f"{where}.{side}[{at}]") for at, value in enumerate(values))
        for side, values in (("inputs", described["inputs"]), ("outputs", described["outputs"]))
    )
    names = [value.name for value in (*inputs, *outputs)]
    if not inputs or not outputs or len(set(names)) != len(names):
        raise typed.Mismatch(f"{where}: expected inputs and outputs, each with a name of its own")
    lost = [value.name for value in outputs if value.valid is not None and value.valid not in names[: len(inputs)]]
    if lost:
        raise typed.Mismatch(f"{where}: {lost[0]} is valid by an input that is not there")
    return Graph(name=name, inputs=inputs, outputs=outputs)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a graph."""

    graph: str
    inputs: dict[str, Array]
    outputs: dict[str, Array]


class Recording:
    """A Run that records the calls of another one."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.calls: list[Call] = []

    def __call__(self, graph: str, inputs: Arrays) -> dict[str, Array]:
        """The outputs of the other run."""
        outputs = self.run(graph, inputs)
        self.calls.append(Call(graph=graph, inputs=dict(inputs), outputs=outputs))
        return outputs
