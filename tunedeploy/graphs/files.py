"""Read, clean, describe and write ONNX files so that the same model always gives the same bytes."""

import hashlib
import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from tunedeploy.device.external_data import data_file
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_bytes, writing
from tunedeploy.run.folder import key_of, without_folders

ONE_FILE = 2**31 - 2**24  # bytes of weights in a file: protobuf's limit, less room for all that is no weight
MOVED = 1024  # bytes of a tensor from which on it goes into the file beside
PAGE = 4096  # offsets in it are multiples, so that it can be mapped into memory
KEPT = ("pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy")  # the PyTorch module that a node belongs to


def read(path: Path) -> onnx.ModelProto:
    """Read an ONNX file.

    Raises:
        RunError: it is missing, cut off or something else.
    """
    try:
        return onnx.load(path)
    except Exception as error:
        if not isinstance(error, OSError) and not is_of_the_file(error):
            raise
        raise RunError(f"{path}: is not an ONNX file: {str(error)[:200]}") from error


def is_of_the_file(error: Exception) -> bool:
    """Whether onnx says by an error that a file is broken; any other error is a bug and keeps its traceback.

    protobuf's own error and that of onnx's checker have no public base; of a file of tensors that is cut off onnx
    raises a ValueError.
    """
    return isinstance(error, ValueError) or type(error).__name__ in ("DecodeError", "ValidationError")


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
    """Write a file with deterministic bytes, atomically; weights that it cannot hold go into the one beside it.

    A kill between the two leaves new weights beside an old file, whose metadata holds the digest of the old ones.
    """
    if stored_bytes(model) > ONE_FILE:
        light = without_weights(model, data_file(path))
        write_bytes(path, light.SerializeToString(deterministic=True))
    else:
        forget(model, "data_sha256")
        write_bytes(path, model.SerializeToString(deterministic=True))
        data_file(path).unlink(missing_ok=True)


def forget(model: onnx.ModelProto, fact: str) -> None:
    """Take a fact out of `metadata_props`."""
    for entry in [entry for entry in model.metadata_props if entry.key == f"tunedeploy.{fact}"]:
        model.metadata_props.remove(entry)


def stored_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the weights that a model in memory holds, whatever a damaged file says of their types and shapes."""
    return sum(len(tensor.raw_data) for tensor in model.graph.initializer)


def structure(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the values of large tensors: types and shapes are inferred from it, however large the model is."""
    light = onnx.ModelProto(ir_version=model.ir_version, opset_import=model.opset_import, functions=model.functions)
    graph = model.graph
    for field in ("node", "input", "output", "value_info", "sparse_initializer"):
        getattr(light.graph, field).extend(getattr(graph, field))
    light.graph.name = graph.name
    for tensor in graph.initializer:
        if len(tensor.raw_data) < MOVED:
            light.graph.initializer.append(tensor)
        else:
            named = light.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
            named.data_location = onnx.TensorProto.EXTERNAL
    return light


def without_weights(model: onnx.ModelProto, data: Path) -> onnx.ModelProto:
    """A copy whose large tensors lie in a file that is written here; its digest is a fact of the copy."""
    light, digest, at = onnx.ModelProto(), hashlib.sha256(), 0
    light.CopyFrom(model)
    with writing(data) as file:
        for tensor in light.graph.initializer:
            content = tensor.raw_data
            if len(content) < MOVED:
                continue
            padding = bytes(-at % PAGE)
            for piece in (padding, content):
                file.write(piece)
                digest.update(piece)
            at += len(padding)
            tensor.ClearField("raw_data")
            tensor.data_location = onnx.TensorProto.EXTERNAL
            for key, value in (("location", data.name), ("offset", str(at)), ("length", str(len(content)))):
                tensor.external_data.add(key=key, value=value)
            at += len(content)
    describe(light, {"data_sha256": digest.hexdigest()})
    return light


def open_session(model: onnx.ModelProto, options: Any = None) -> Any:
    """An onnxruntime session of a model in memory, on the CPU."""
    providers = ["CPUExecutionProvider"]
    if stored_bytes(model) <= ONE_FILE:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "model.onnx"
        write(model, path)
        return onnxruntime.InferenceSession(str(path), options, providers=providers)


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
        options.add_session_config_entry("session.optimized_model_external_initializers_file_name", "optimized.data")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        counted = operators(onnx.load(options.optimized_model_filepath, load_external_data=False))
    return {name: count for name, count in counted.items() if name.startswith("com.") or name.startswith("Fused")}


def opset(model: onnx.ModelProto) -> int:
    """The version of the standard operator set."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def recipe_id(resolved: Mapping[str, Any]) -> str:
    """A hash of a recipe's content, the same wherever its files are: only the last part of a path counts."""
    return key_of(without_folders(resolved))
