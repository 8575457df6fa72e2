"""If, Loop and Scan: what their bodies compute and what they read of the graph around them is matched like all else."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tests.proof import small
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside.local import local_parity

PRECISIONS = {"int8": {"per_channel": True}, "fp16": {}}
Change = Callable[[ModelProto], None]


def body(name: str, nodes: list[NodeProto], **stored: float) -> GraphProto:
    given = helper.make_tensor_value_info("given", TensorProto.FLOAT, None)
    tensors = [numpy_helper.from_array(np.float32(value), key) for key, value in stored.items()]
    return helper.make_graph(nodes, name, [], [given], tensors)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Both branches of the If read values of the graph around them, and the outer one has a body inside of a body."""
    deeper = helper.make_node(
        "If", ["test"], ["deep"], "deeper",
        then_branch=body("d1", [helper.make_node("Mul", ["first", "factor"], ["given"])], factor=0.5),
        else_branch=body("d2", [helper.make_node("Sub", ["second", "shift"], ["given"])]),
    )  # fmt: skip
    then = body("t", [helper.make_node("MatMul", ["first", "inner"], ["made"]), deeper,
                      helper.make_node("Add", ["made", "deep"], ["given"])])  # fmt: skip
    other = body("e", [helper.make_node("Add", ["second", "shift"], ["given"])])
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["first"]),
        helper.make_node("Relu", ["first"], ["second"]),
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["test"]),
        helper.make_node("If", ["test"], ["chosen"], "branch", then_branch=then, else_branch=other),
        helper.make_node("MatMul", ["chosen", "w1"], ["logits"]),
    ]
    stored = {
        "w0": small.normal(16, 16), "inner": small.normal(16, 16, seed=3), "shift": small.normal(16, seed=4),
        "w1": small.normal(16, 3, seed=5), "zero": np.float32(0),
    }  # fmt: skip
    return small.write(tmp_path / "model.onnx", nodes, stored, [16])


def branch(model: ModelProto, name: str) -> GraphProto:
    return inside(next(node for node in model.graph.node if node.op_type == "If"), name)


def inside(node: NodeProto, name: str) -> GraphProto:
    return next(one.g for one in node.attribute if one.name == name)


def another_value(model: ModelProto) -> None:
    branch(model, "then_branch").node[0].input[0] = "second"


def another_value_in_the_deeper_one(model: ModelProto) -> None:
    deeper = branch(model, "then_branch").node[1]
    inside(deeper, "then_branch").node[0].input[0] = "second"


def a_captured_constant_changed(model: ModelProto) -> None:
    tensor = next(one for one in model.graph.initializer if one.name == "shift")
    values = numpy_helper.to_array(tensor)
    tensor.CopyFrom(numpy_helper.from_array((values + 1).astype(values.dtype), "shift"))


def a_constant_of_a_body_changed(model: ModelProto) -> None:
    tensor = inside(branch(model, "then_branch").node[1], "then_branch").initializer[0]
    kind = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(0.75, kind), "factor"))


def another_operator(model: ModelProto) -> None:
    branch(model, "else_branch").node[0].op_type = "Sub"


def branches_exchanged(model: ModelProto) -> None:
    first, second = (branch(model, name) for name in ("then_branch", "else_branch"))
    kept = GraphProto()
    kept.CopyFrom(first)
    first.CopyFrom(second)
    second.CopyFrom(kept)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    "fault",
    [
        another_value, another_value_in_the_deeper_one, a_captured_constant_changed, a_constant_of_a_body_changed,
        another_operator, branches_exchanged,
    ],
    ids=lambda one: one.__name__,
)  # fmt: skip
def test_a_fault_of_a_body_is_found(fault: Change, precision: str, source: Path) -> None:
    target = small.converted(source, precision, **PRECISIONS[precision])
    assert small.alarms(source, target, precision) == []
    model = onnx.load(target)
    fault(model)
    onnx_files.write(model, target)
    assert small.alarms(source, target, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_other_names_in_a_body_are_no_fault(precision: str, source: Path) -> None:
    target = small.converted(source, precision, **PRECISIONS[precision])
    model = onnx.load(target)
    part = branch(model, "then_branch")
    part.node[0].output[0] = part.node[2].input[0] = "another name"
    part.node[0].name, part.name = "renamed", "renamed too"
    onnx_files.write(model, target)
    assert small.alarms(source, target, precision) == []


def test_local_parity_feeds_what_a_body_reads_of_the_graph_around_it(source: Path) -> None:
    target = small.converted(source, "int8", per_channel=True)
    matched = small.matched(source, target, "int8")
    for sign in (1, -1):  # either branch
        inputs = {"x": sign * np.abs(small.normal(4, 16))}
        nodes = {node.node: node for node in local_parity(Graph(source), Graph(target), matched, inputs)}
        assert nodes["branch"].share <= 1
        assert max(node.share for node in nodes.values()) <= 1


def looping(path: Path, *, read: str = "step") -> Path:
    """A Loop that adds a value of the graph around it three times."""
    kinds = {"at": TensorProto.INT64, "on": TensorProto.BOOL, "sum": TensorProto.FLOAT}
    shapes = {"at": [], "on": [], "sum": ["batch", 16]}
    given = [helper.make_tensor_value_info(name, kind, shapes[name]) for name, kind in kinds.items()]
    taken = [helper.make_tensor_value_info(f"{name}n", kinds[name], shapes[name]) for name in ("on", "sum")]
    nodes = [helper.make_node("Identity", ["on"], ["onn"]), helper.make_node("Add", ["sum", read], ["sumn"])]
    loop = helper.make_graph(nodes, "loop", given, taken)
    outer = [
        helper.make_node("Relu", ["x"], ["step"]),
        helper.make_node("Neg", ["x"], ["back"]),
        helper.make_node("Add", ["step", "back"], ["start"]),
        helper.make_node("Loop", ["times", "", "start"], ["total"], body=loop),
        helper.make_node("MatMul", ["total", "w"], ["logits"]),
    ]
    return small.write(path, outer, {"times": np.int64(3), "w": small.normal(16, 3)}, [16])


def test_a_loop_that_reads_another_value_is_found(tmp_path: Path) -> None:
    source, other = looping(tmp_path / "model.onnx"), looping(tmp_path / "other.onnx", read="back")
    assert small.alarms(source, small.converted(source, "int8", per_channel=True), "int8") == []
    assert small.alarms(source, small.converted(other, "int8", per_channel=True), "int8")
