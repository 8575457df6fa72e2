"""Look inside an ONNX graph: run it with any value as an output, find the module of a node, feed values in between."""

import ast
import contextlib
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from tunedeploy.device.encoders import Array, Inputs
from tunedeploy.errors import ModelError, RunError
from tunedeploy.graphs.bodies import reads, rename_captured
from tunedeploy.graphs.files import KEPT, is_of_the_file, open_session

OUTSIDE = "_empty_nn_module_stack_from_metadata_hook"  # what torch writes where a node belongs to no module
# Weights are stored so, and scalars of the same types are zero points.
SMALL = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8, onnx.TensorProto.INT4, onnx.TensorProto.UINT4)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A node, and the innermost module of the PyTorch model that it computes for; '' where torch names none."""

    node: str
    operator: str
    module: str
    kind: str


class Graph:
    """An ONNX file in memory, with the maker and the readers of each value. The file itself is never written.

    Args:
        path: the .onnx file.
        model: used instead of the file's content; messages still name the file.

    Raises:
        ModelError: it is not an ONNX file.
    """

    def __init__(self, path: Path, model: onnx.ModelProto | None = None) -> None:
        self.path = path
        try:
            self.model = onnx.load(path) if model is None else model
        except Exception as error:
            if not is_of_the_file(error):
                raise
            raise ModelError(f"{path}: is not an ONNX file: {str(error)[:200]}") from error
        self.inputs = [value.name for value in self.model.graph.input]
        self.outputs = [value.name for value in self.model.graph.output]

    @cached_property
    def makers(self) -> dict[str, onnx.NodeProto]:
        """Value to the node that makes it, in the graph's order."""
        return {name: node for node in self.model.graph.node for name in node.output if name}

    @cached_property
    def readers(self) -> dict[str, list[onnx.NodeProto]]:
        """Value to the nodes that read it."""
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.model.graph.node:
            for name in dict.fromkeys(reads(node)):
                readers.setdefault(name, []).append(node)
        return readers

    @cached_property
    def stored(self) -> dict[str, onnx.TensorProto]:
        """Weights and constants by name."""
        return {tensor.name: tensor for tensor in self.model.graph.initializer}

    def leaving(self) -> dict[str, list[str]]:
        """Module path to the values that its nodes make for nodes of other modules, in the graph's order."""
        leaving: dict[str, list[str]] = {}
        for name, node in self.makers.items():
            readers = [modules(reader) for reader in self.readers.get(name, ())]
            for path in modules(node):
                if name in self.outputs or any(path not in paths for paths in readers):
                    leaving.setdefault(path, []).append(name)
        return leaving

    def read_as(self, name: str) -> str:
        """The value as its readers get it: after its QuantizeLinear and DequantizeLinear where all read that."""
        after = self.readers.get(name, [])
        if [reader.op_type for reader in after] != ["QuantizeLinear"] or name in self.outputs:
            return name
        back = self.readers.get(after[0].output[0], [])
        return str(back[0].output[0]) if [reader.op_type for reader in back] == ["DequantizeLinear"] else name

    def between(self, value: str, known: Collection[str]) -> list[onnx.NodeProto]:
        """The nodes that compute a value from known and stored ones, the last first."""
        return self._behind([value], known)

    def part(self, wanted: Collection[str], known: Collection[str] = ()) -> onnx.ModelProto:
        """The part of the file that computes `wanted` from known values and the inputs, and outputs nothing else."""
        needed = {first_output(node) for node in self._behind(wanted, known)}
        model = self.empty()
        model.graph.node.extend(node for node in self.model.graph.node if first_output(node) in needed)
        read = {*wanted, *(name for node in model.graph.node for name in reads(node))}
        model.graph.initializer.extend(tensor for tensor in self.model.graph.initializer if tensor.name in read)
        model.graph.sparse_initializer.extend(self.model.graph.sparse_initializer)
        model.graph.input.extend(value for value in self.model.graph.input if value.name in read)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dict.fromkeys(wanted))
        return model

    def _behind(self, values: Collection[str], known: Collection[str]) -> list[onnx.NodeProto]:
        nodes: dict[str, onnx.NodeProto] = {}
        names = list(values)
        for name in names:  # grows while it is walked
            node = self.makers.get(name)
            if node is None or first_output(node) in nodes or (name in known and name not in values):
                continue
            nodes[first_output(node)] = node
            names += reads(node)
        return list(nodes.values())

    def elements(self, inputs: Inputs) -> dict[str, int]:
        """How many elements each computed value of a batch has; values are freed as soon as they are counted and read.

        Raises:
            RunError: onnxruntime can neither load nor run it as written.
        """
        model = self.part(list(self.makers))
        del model.graph.output[:]
        sizes = {name: f"{name} size" for name in self.makers}
        model.graph.node.extend(onnx.helper.make_node("Size", [name], [size]) for name, size in sizes.items())
        kind = onnx.TensorProto.INT64
        model.graph.output.extend(onnx.helper.make_tensor_value_info(size, kind, []) for size in sizes.values())
        counts = self.session(model, sizes_first=True)(inputs)
        return {name: int(counts[size]) for name, size in sizes.items()}

    def run(self, inputs: Inputs, names: Collection[str]) -> dict[str, Array]:
        """Named values of one batch, as the file is written: nothing is fused, and no name is lost.

        Raises:
            RunError: onnxruntime can neither load nor run it so.
        """
        return self._run(self._giving(names), inputs, names)

    def run_fed(self, inputs: Inputs, fed: Mapping[str, Array], names: Collection[str]) -> dict[str, Array]:
        """Named values, each made by nodes that read `fed` in place of what the graph itself has computed by then.

        Raises:
            RunError: onnxruntime can neither load nor run it so.
        """
        part = self.part(names, fed)
        given = {name: f"{name}_fed" for name in fed}
        read: dict[str, None] = {}
        for node in part.graph.node:
            read |= dict.fromkeys(name for name in reads(node) if name in fed)
            for at, name in enumerate(node.input):
                node.input[at] = given.get(name, name)
            rename_captured(node, given)
        kinds = {name: onnx.helper.np_dtype_to_tensor_dtype(fed[name].dtype) for name in read}
        part.graph.input.extend(
            onnx.helper.make_tensor_value_info(given[name], kind, None) for name, kind in kinds.items()
        )
        return self._run(part, inputs | {given[name]: fed[name] for name in read}, names)

    def _giving(self, names: Collection[str]) -> onnx.ModelProto:
        """A copy of the model with these values as outputs too; onnxruntime infers the types."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in self.outputs)
        return model

    def empty(self) -> onnx.ModelProto:
        """An empty model with this file's versions of operators."""
        model = onnx.ModelProto(ir_version=self.model.ir_version)
        model.opset_import.extend(self.model.opset_import)
        model.functions.extend(self.model.functions)
        model.graph.name = "part"
        return model

    def session(self, model: onnx.ModelProto, *, sizes_first: bool = False) -> Callable[[Inputs], dict[str, Array]]:
        """Run a model made of this file's nodes as it is written; each call gives all outputs of one batch by name.

        With `sizes_first` the size of a value is taken before the next one is made, so that none is kept for it.

        Raises:
            RunError: here, onnxruntime cannot load it; from a call, it cannot run it.
        """
        session = self._load(model, sizes_first=sizes_first)
        wanted = [value.name for value in session.get_inputs()]
        names = [value.name for value in session.get_outputs()]

        def run(inputs: Inputs) -> dict[str, Array]:
            with self._explained():
                values: list[Any] = session.run(names, {name: inputs[name] for name in wanted if name in inputs})
            return dict(zip(names, values, strict=True))

        return run

    def types(self, names: Collection[str]) -> dict[str, np.dtype[Any]]:
        """The numpy types of values, of those that are tensors of numbers.

        Raises:
            RunError: onnxruntime cannot load it as written.
        """
        kinds = {"float": "float32", "double": "float64"}
        types = {}
        for value in self._load(self.part(names)).get_outputs():
            kind = str(value.type).removeprefix("tensor(").removesuffix(")")
            if kind != value.type and kind != "string":
                types[value.name] = np.dtype(kinds.get(kind, kind))
        return types

    def _load(self, model: onnx.ModelProto, *, sizes_first: bool = False) -> Any:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if sizes_first:
            options.execution_order = onnxruntime.ExecutionOrder.PRIORITY_BASED
        with self._explained():
            return open_session(model, options)

    def _run(self, model: onnx.ModelProto, inputs: Inputs, names: Collection[str]) -> dict[str, Array]:
        values = self.session(model)(inputs)
        return {name: values[name] for name in names}

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn what onnxruntime raises into one line."""
        try:
            yield
        except Exception as error:
            # onnxruntime's exceptions share no base class but Exception, and a missing input is a ValueError.
            if type(error).__module__.partition(".")[0] != "onnxruntime" and not isinstance(error, ValueError):
                raise
            line = " ".join(str(error).split())[:200]
            raise RunError(
                f"{self.path}: onnxruntime {onnxruntime.__version__} cannot run it as written: {line}"
            ) from error


@contextlib.contextmanager
def well_formed(path: Path) -> Iterator[None]:
    """Turn what reading a graph node by node raises, where a file breaks ONNX's own rules, into one line.

    Raises:
        ModelError: a node lacks an input, a tensor is not what its type and shape say, ...
    """
    try:
        yield
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ModelError(f"{path}: is not a well-formed graph: {type(error).__name__}: {reason}") from error


def first_output(node: onnx.NodeProto) -> str:
    """The first named output of a node, which identifies it: no value has two makers."""
    return next((name for name in node.output if name), "")


def modules(node: onnx.NodeProto) -> list[str]:
    """Paths of the modules that contain a node, the whole model ('') first; none where torch wrote none."""
    paths = _metadata(node, KEPT[0])[:-1]  # the last is the node's own name
    return [] if OUTSIDE in paths else paths


def origin(node: onnx.NodeProto) -> Origin:
    """Where a node comes from."""
    paths, kinds = modules(node), _metadata(node, KEPT[1])
    return Origin(
        node=node.name, operator=node.op_type, module=paths[-1] if paths else "",
        kind=kinds[len(paths) - 1].rpartition(".")[2] if 0 < len(paths) <= len(kinds) else "",
    )  # fmt: skip


def _metadata(node: onnx.NodeProto, key: str) -> list[str]:
    text = next((prop.value for prop in node.metadata_props if prop.key == key), "[]")
    return [str(name) for name in ast.literal_eval(text)]


def heaviest(nodes: Iterable[onnx.NodeProto], stored: Mapping[str, onnx.TensorProto]) -> onnx.NodeProto:
    """The node that reads the largest stored tensor; the first one where none reads any."""

    def largest(node: onnx.NodeProto) -> int:
        return max((math.prod(stored[name].dims) for name in node.input if name in stored), default=0)

    return max(nodes, key=largest)
