"""Read, clean, describe and write ONNX files so that the same model always gives the same bytes."""

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_bytes
from tunedeploy.run.folder import key_of, without_folders

KEPT = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")  # the PyTorch module that a node belongs to


def read(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        RunError: it is missing, cut off or something else.
    """
    try:
        return onnx.load(path)
    except Exception as error:
        # protobuf's own error has no public name; any other error is a bug and keeps its traceback.
        if not isinstance(error, OSError) and type(error).__name__ not in ("DecodeError", "ValidationError"):
            raise
        raise RunError(f"{path}: is not an ONNX file: {str(error)[:200]}") from error


def clean(model: onnx.ModelProto) -> None:
    """Take out what differs from machine to machine: stack traces with paths, doc strings, time stamps."""
    model.doc_string = ""
    graphs = [model.graph, *model.functions]
    while graphs:
        graph = graphs.pop()
        graph.doc_string = ""
        for node in graph.node:
            node.doc_string = ""
            properties = [prop for prop in node.metadata_props if prop.key in KEPT]
            del node.metadata_props[:]
            node.metadata_props.extend(properties)
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField("g")]
        if isinstance(graph, onnx.GraphProto):
            for value in [*graph.input, *graph.output, *graph.initializer]:
                value.doc_string = ""
                del value.metadata_props[:]
            del graph.metadata_props[:]
            # Shapes of values between nodes are stale after any rewrite, and quantizers trip over stale ones.
            del graph.value_info[:]


def describe(model: onnx.ModelProto, facts: Mapping[str, Any]) -> None:
    """Put facts into `metadata_props`, as JSON where they are not text, sorted by name."""
    have = {prop.key: prop.value for prop in model.metadata_props if prop.key.startswith("tunedeploy.")}
    new = {
        f"tunedeploy.{name}": value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=False)
        for name, value in facts.items()
    }
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, dict(sorted((have | new).items())))


def write(model: onnx.ModelProto, path: Path) -> None:
    """Write one file with deterministic bytes, atomically."""
    write_bytes(path, model.SerializeToString(deterministic=True))


def operators(model: onnx.ModelProto) -> dict[str, int]:
    """How many nodes there are of each operator; operators of other domains are named with their domain."""
    names = (f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in model.graph.node)
    return dict(sorted(Counter(names).items()))


def training_nodes(model: onnx.ModelProto) -> list[str]:
    """Nodes that compute as in training: random ones, and dropout or batch normalisation in training mode.

    onnxruntime ignores some of them; other runtimes do not.
    """
    flags = {
        tensor.name: bool(onnx.numpy_helper.to_array(tensor).any())
        for tensor in model.graph.initializer
        if len(tensor.dims) == 0
    }
    nodes = []
    for node in model.graph.node:
        mode = any(attribute.name == "training_mode" and attribute.i for attribute in node.attribute)
        mode |= node.op_type == "Dropout" and len(node.input) > 2 and flags.get(node.input[2], True)
        if mode or node.op_type.startswith("Random") or node.op_type in ("Bernoulli", "Multinomial"):
            nodes.append(f"{node.op_type} {node.name}".strip())
    return nodes


def fusions(path: Path) -> dict[str, int]:
    """The fused operators, counted, that onnxruntime's default session makes from a file."""
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        counted = operators(onnx.load(options.optimized_model_filepath, load_external_data=False))
    return {name: count for name, count in counted.items() if name.startswith("com.") or name.startswith("Fused")}


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operator set."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def recipe_id(resolved: Mapping[str, Any]) -> str:
    """A hash of a recipe's content, the same wherever its files are: only the last part of a path counts."""
    return key_of(without_folders(resolved))
