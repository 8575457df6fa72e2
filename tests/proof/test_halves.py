"""fp16 files: each node alone gives what float16 explains, and what the converter changes by its rules is no fault."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper, numpy_helper

from tests.proof import small
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside.local import local_parity


def filling(path: Path, number: float = 0.1) -> Path:
    """A file that repeats a number over a shape of the batch, adds a mask, and normalises."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["hidden"]),
        helper.make_node("Shape", ["hidden"], ["shape"]),
        helper.make_node(
            "ConstantOfShape", ["shape"], ["same"], value=numpy_helper.from_array(np.array([number], np.float32))
        ),
        helper.make_node("Add", ["hidden", "same"], ["sum"]),
        helper.make_node("LayerNormalization", ["sum", "gain"], ["normed"]),
        helper.make_node("Greater", ["x", "zero"], ["on"]),
        helper.make_node("Where", ["on", "zero", "lowest"], ["mask"]),
        helper.make_node("Add", ["normed", "mask"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "w1"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(16, 16), "gain": small.normal(16, seed=1), "w1": small.normal(16, 3, seed=2),
        "zero": np.float32(0), "lowest": np.float32(np.finfo(np.float32).min),
    }  # fmt: skip
    return small.write(path, nodes, stored, [16])


def shares(source: Path, target: Path) -> dict[str, float]:
    """How much of its limit each node uses."""
    matched = small.matched(source, target, "fp16")
    nodes = local_parity(Graph(source), Graph(target), matched, {"x": small.normal(8, 16, seed=9)})
    return {node.value: node.share for node in nodes}


def test_a_number_that_fills_a_shape_is_rounded_like_any_other(tmp_path: Path) -> None:
    source, other = filling(tmp_path / "model.onnx"), filling(tmp_path / "other.onnx", 0.2)
    assert small.alarms(source, small.converted(source, "fp16"), "fp16") == []
    assert small.alarms(source, small.converted(other, "fp16"), "fp16")


def test_each_node_of_an_fp16_file_gives_what_float16_explains(tmp_path: Path) -> None:
    source = filling(tmp_path / "model.onnx")
    found = shares(source, small.converted(source, "fp16"))
    assert {"hidden", "same", "sum", "normed", "mask", "scores", "shares", "logits"} <= found.keys()
    assert max(found.values()) <= 1


def in_eight_bits(model: ModelProto) -> None:
    """A weight that is float16 by type and holds eight bits of each number."""
    tensor = next(one for one in model.graph.initializer if one.name == "w0")
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((np.rint(values * 32) / 32).astype(np.float16), "w0"))


def functions_of_its_own(model: ModelProto) -> None:
    """The last product by another definition: a function of the file, whose name is that of the operator."""
    node = next(one for one in model.graph.node if one.op_type == "Softmax")
    node.domain = "own"
    body = [helper.make_node("Softmax", ["a"], ["b"], axis=-1), helper.make_node("Mul", ["b", "b"], ["c"])]
    model.functions.append(
        helper.make_function("own", "Softmax", ["a"], ["c"], body, [helper.make_opsetid("", 20)], ["axis"])
    )
    model.opset_import.append(helper.make_opsetid("own", 1))


@pytest.mark.parametrize("fault", [in_eight_bits, functions_of_its_own], ids=lambda one: one.__name__)
def test_a_fault_of_an_fp16_file_is_found(fault: Callable[[ModelProto], None], tmp_path: Path) -> None:
    source = filling(tmp_path / "model.onnx")
    target = small.converted(source, "fp16")
    model = onnx.load(target)
    fault(model)
    onnx_files.write(model, target)
    assert small.alarms(source, target, "fp16")


def test_local_parity_finds_what_a_node_of_an_fp16_file_makes_otherwise(tmp_path: Path) -> None:
    """Matched as if it were the healthy file: that is what a runtime's wrong kernel looks like."""
    source = filling(tmp_path / "model.onnx")
    target = small.converted(source, "fp16")
    matched = small.matched(source, target, "fp16")
    model = onnx.load(target)
    next(one for one in model.graph.node if one.op_type == "LayerNormalization").attribute.append(
        helper.make_attribute("epsilon", 0.1)
    )
    onnx_files.write(model, target)
    nodes = local_parity(Graph(source), Graph(target), matched, {"x": small.normal(8, 16, seed=9)})
    assert [node.value for node in nodes if node.share > 1] == ["normed"]
