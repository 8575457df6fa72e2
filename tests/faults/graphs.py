"""Edit what a run wrote: the ONNX graph, the weights of the merged folder, what the preprocessing is told."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file, save_file

Array = np.ndarray
Change = Callable[[Array], Array]


@contextmanager
def edited(path: Path) -> Iterator[onnx.ModelProto]:
    """An ONNX file, written back when the block ends."""
    model = onnx.load(path)
    yield model
    path.write_bytes(model.SerializeToString(deterministic=True))


def change(path: Path, name: str, how: Change) -> None:
    """Change one stored tensor of an ONNX file."""
    with edited(path) as model:
        tensor = stored(model, name)
        before = numpy_helper.to_array(tensor)
        after = np.asarray(how(before.copy()), before.dtype)
        assert not np.array_equal(before, after), f"{name}: nothing was changed"
        tensor.CopyFrom(numpy_helper.from_array(after, name))


def stored(model: onnx.ModelProto, name: str) -> TensorProto:
    """An initializer by name."""
    return next(one for one in model.graph.initializer if one.name == name)


def weight_names(model: onnx.ModelProto, node_type: str) -> list[str]:
    """Names of the stored float tensors that nodes of one type read, in the graph's order."""
    floats = {one.name for one in model.graph.initializer if one.data_type == TensorProto.FLOAT and len(one.dims) > 0}
    return [name for node in model.graph.node if node.op_type == node_type for name in node.input if name in floats]


def nodes(model: onnx.ModelProto, kind: str) -> list[onnx.NodeProto]:
    """The nodes of one operator."""
    found = [node for node in model.graph.node if node.op_type == kind]
    assert found, f"the graph has no {kind}"
    return found


def set_attribute(node: onnx.NodeProto, name: str, value: Any) -> None:
    """Set one attribute of a node."""
    kept = [one for one in node.attribute if one.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])


def between(model: onnx.ModelProto, value: str, make: Callable[[str, str], list[onnx.NodeProto]]) -> None:
    """Put nodes between a value and all that read it; `make` gets the names to read and to write."""
    readers = [(node, at) for node in model.graph.node for at, name in enumerate(node.input) if name == value]
    assert readers, f"nothing reads {value}"
    for node, at in readers:
        node.input[at] = f"{value}_faulty"
    first = min(list(model.graph.node).index(node) for node, _ in readers)
    for offset, node in enumerate(make(value, f"{value}_faulty")):
        model.graph.node.insert(first + offset, node)


def constant(model: onnx.ModelProto, name: str, value: Any) -> str:
    """Store a tensor, and return its name."""
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def head(model: onnx.ModelProto) -> onnx.NodeProto:
    """The node that makes the logits."""
    return next(node for node in model.graph.node if "logits" in node.output)


def fix_axis(path: Path, axis: int, size: int) -> None:
    """Bake one axis of every input in."""
    with edited(path) as model:
        for one in model.graph.input:
            one.type.tensor_type.shape.dim[axis].dim_value = size


def rename_output(path: Path) -> None:
    """Call the logits something else."""
    with edited(path) as model:
        name = model.graph.output[0].name
        head(model).output[list(head(model).output).index(name)] = "scores"
        model.graph.output[0].name = "scores"


def rewrite_metadata(path: Path, key: str, how: Callable[[Any], Any]) -> None:
    """Change a JSON value in an ONNX file's metadata."""
    with edited(path) as model:
        entry = next(one for one in model.metadata_props if one.key == f"tunedeploy.{key}")
        entry.value = json.dumps(how(json.loads(entry.value)), sort_keys=True, ensure_ascii=False)


def rewrite(path: Path, how: Callable[[Any], Any]) -> None:
    """Change a JSON file; `how` may return another value or change the one it gets."""
    value = json.loads(path.read_text(encoding="utf-8"))
    result = how(value)
    path.write_text(json.dumps(value if result is None else result, ensure_ascii=False), encoding="utf-8")


def replace_weights(run: Path, new: dict[str, Array]) -> None:
    """Put other weights into the merged folder and, where the same tensor is stored there, into the ONNX file.

    Names are those of the classifier: `trunk.x` and `head.x`. Tensors are matched by value, since the exporter
    transposes and renames.
    """
    old = merged_weights(run)
    assert new
    for prefix, file in (("trunk.", "model.safetensors"), ("head.", "head.safetensors")):
        state = load_file(run / "merged" / file)
        state |= {name.removeprefix(prefix): value for name, value in new.items() if name.startswith(prefix)}
        save_file(
            {name: np.ascontiguousarray(value) for name, value in state.items()},
            run / "merged" / file,
            {"format": "pt"},
        )
    with edited(run / "onnx" / "model.onnx") as model:
        replaced = 0
        for tensor in model.graph.initializer:
            there = numpy_helper.to_array(tensor)
            for name, value in new.items():
                for turn in (lambda one: one, np.transpose):
                    if there.shape == turn(old[name]).shape and np.array_equal(there, turn(old[name])):
                        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(turn(value)), tensor.name))
                        replaced += 1
                        break
        assert replaced >= len(new), f"{replaced} of {len(new)} tensors are in the graph"


def merged_weights(run: Path) -> dict[str, Array]:
    """The merged classifier's tensors by name."""
    trunk = load_file(run / "merged" / "model.safetensors")
    return {f"trunk.{name}": value for name, value in trunk.items()} | {
        f"head.{name}": value for name, value in load_file(run / "merged" / "head.safetensors").items()
    }
