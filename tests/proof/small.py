"""Small ONNX files of real operators, converted by the package's own precisions, and what the proof says of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tunedeploy import plugins
from tunedeploy.device.encoders import Inputs
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside.origins import Origins, origins
from tunedeploy.proof.inside.ranges import observed, unexplained
from tunedeploy.proof.inside.stored import scales_apart, worst_rounding

Array = np.ndarray
OPSET = 20


def write(
    path: Path, nodes: Sequence[NodeProto], stored: Mapping[str, Any], shape: Sequence[Any], output: str = "logits"
) -> Path:
    """A file that reads `x` of this shape, the batch first, and gives one float32 output."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", *shape])
    taken = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    for number, node in enumerate(nodes):
        node.name = node.name or f"{node.op_type.lower()}_{number}"
    graph = helper.make_graph(list(nodes), "g", [given], [taken], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    onnx.shape_inference.infer_shapes(model, strict_mode=True)  # what is no graph ends here
    onnx_files.write(model, path)
    return path


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> Array:
    """Float32 numbers of a bell curve."""
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def rows(*shape: int, batches: int = 3) -> list[Inputs]:
    """Batches for calibration."""
    return [{"x": normal(*shape, seed=seed)} for seed in range(batches)]


def converted(source: Path, precision: str, samples: Sequence[Inputs] = (), **setting: Any) -> Path:
    """The file that a precision makes, beside its source; int8 by min-max where it is calibrated."""
    target = source.with_name(f"{source.stem}_{precision}.onnx")
    plugins.load("precisions", precision).convert(source, target, {"exclude": []} | setting, samples)
    return target


def matched(source: Path, target: Path, precision: str) -> Origins:
    """The nodes of a converted file with their origins."""
    return origins(Graph(source), Graph(target), plugins.load("precisions", precision).REWRITES)


def alarms(source: Path, target: Path, precision: str) -> list[str]:
    """What has no counterpart and which stored tensor is none of the float32 file, a line each."""
    found = matched(source, target, precision)
    error, where, _ = worst_rounding(found.pairs, found.products)
    wrong = [f"{where} is {error:.3g} steps off"] if error > 1 else []
    return [*found.problems, *wrong, *scales_apart(found.products)]


def odd_ranges(source: Path, target: Path, samples: Sequence[Inputs], method: str = "MinMax") -> list[str]:
    """Ranges of activations that these batches do not show, or nodes that no longer match for the sake of one."""
    found, graph = matched(source, target, "int8"), Graph(source)
    ranges = observed(graph, found.roundings, samples)
    return [*found.problems, *unexplained(graph, found.roundings, ranges, method)]


def change(path: Path, name: str, how: Any) -> None:
    """Change one stored tensor."""
    model = onnx.load(path)
    tensor = next(one for one in model.graph.initializer if one.name == name)
    before = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(how(before.copy()), before.dtype), name))
    onnx_files.write(model, path)
