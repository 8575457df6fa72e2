"""Local parity: which node is judged by what, and how much memory that takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.proof import small
from tunedeploy.graphs import files as onnx_files
from tunedeploy.graphs.onnx_graph import Graph
from tunedeploy.proof.inside import local
from tunedeploy.proof.inside.local import Node, local_parity


def judged(source: Path, target: Path, inputs: dict[str, small.Array], precision: str = "int8") -> dict[str, Node]:
    """The nodes of a converted file by the value that they make."""
    matched = small.matched(source, target, precision)
    assert not matched.problems
    return {node.value: node for node in local_parity(Graph(source), Graph(target), matched, inputs)}


def with_many_outputs(path: Path) -> Path:
    """Nodes with more outputs than one, and two whose first output has no name."""
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["hidden"]),
        helper.make_node("LayerNormalization", ["hidden", "gain"], ["normed", "mean", "spread"]),
        helper.make_node("Split", ["normed"], ["left", "right"], axis=1, num_outputs=2),
        helper.make_node("TopK", ["left", "k"], ["largest", "places"]),
        helper.make_node("MaxPool", ["hidden3"], ["pooled", "at"], kernel_shape=[2]),
        helper.make_node("LSTM", ["rows", "lw", "lr"], ["", "state"], hidden_size=4),
        helper.make_node("LSTM", ["rows", "lr2", "lr"], ["", "other_state"], hidden_size=4),
        helper.make_node("Squeeze", ["state", "axis"], ["s1"]),
        helper.make_node("Squeeze", ["other_state", "axis"], ["s2"]),
        helper.make_node("Concat", ["largest", "right", "s1", "s2", "mean"], ["all"], axis=1),
        helper.make_node("MatMul", ["all", "w1"], ["logits"]),
    ]
    nodes.insert(4, helper.make_node("Unsqueeze", ["hidden", "one"], ["hidden3"]))
    nodes.insert(6, helper.make_node("Transpose", ["pooled"], ["rows"], perm=[1, 0, 2]))
    stored = {
        "w0": small.normal(16, 16), "gain": small.normal(16, seed=1), "k": np.array([3]), "axis": np.array([0]),
        "one": np.array([1]), "lw": small.normal(1, 16, 15, seed=2), "lr2": small.normal(1, 16, 15, seed=3),
        "lr": small.normal(1, 16, 4, seed=4), "w1": small.normal(20, 3, seed=5),
    }  # fmt: skip
    return small.write(path, nodes, stored, [16])


def test_each_output_of_a_node_is_judged_by_its_own(tmp_path: Path) -> None:
    source = with_many_outputs(tmp_path / "model.onnx")
    target = small.converted(source, "int8", per_channel=True)
    nodes = judged(source, target, {"x": small.normal(4, 16)})
    assert {"normed", "mean", "left", "right", "largest", "state", "other_state"} <= nodes.keys()
    assert max(node.share for node in nodes.values()) <= 1


@pytest.mark.parametrize("output", ["left", "right"])
def test_a_node_that_stands_there_twice_is_judged_by_what_each_reads(output: str, tmp_path: Path) -> None:
    """One copy reads its input rounded, the other as it is."""
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["hidden"]),
        helper.make_node("Split", ["hidden"], ["left", "right"], axis=1, num_outputs=2),
        helper.make_node("Mul", ["left", "right"], ["both"]),
        helper.make_node("GlobalAveragePool", ["both"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w1"], ["logits"]),
    ]
    stored = {"w0": small.normal(8, 3, 3, 3), "w1": small.normal(4, 3)}
    source = small.write(tmp_path / "model.onnx", nodes, stored, [3, 8, 8])
    target = small.converted(source, "int8", small.rows(4, 3, 8, 8), method="MinMax")
    model = onnx.load(target)
    split = next(node for node in model.graph.node if node.op_type == "Split")
    unrounded = next(node for node in model.graph.node if node.op_type == "Conv").output[0]
    copy = helper.make_node("Split", [unrounded], ["left copy", "right copy"], "copy", axis=1, num_outputs=2)
    model.graph.node.insert(list(model.graph.node).index(split) + 1, copy)
    for reader in model.graph.node:
        if reader.op_type == "QuantizeLinear" and reader.input[0] == output:
            reader.input[0] = f"{output} copy"
    onnx_files.write(model, target)
    judgements = judged(source, target, {"x": small.normal(4, 3, 8, 8)})
    assert {"left", "right"} <= judgements.keys()
    assert max(node.share for node in judgements.values()) <= 1


VALUES, NUMBERS = 60, 500_000


def a_long_file(path: Path) -> Path:
    """Values of 2 MB each in a batch of 4, 120 MB in all."""
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["v0"])]
    nodes += [helper.make_node("Neg" if at % 2 else "Abs", [f"v{at}"], [f"v{at + 1}"]) for at in range(VALUES)]
    nodes += [helper.make_node("ReduceMean", [f"v{VALUES}"], ["logits"], keepdims=0)]
    return small.write(path, nodes, {"w0": small.normal(8, NUMBERS // 4)}, [8])


def peak_of_a_long_file(folder: str) -> None:
    """How many MB it takes to judge one, holding 16 MB at a time; run as a program of its own."""
    source = a_long_file(Path(folder) / "model.onnx")
    target = small.converted(source, "int8", per_channel=False)
    local.HELD = 2**22
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
    before = kilobytes("VmRSS")
    nodes = judged(source, target, {"x": small.normal(4, 8)})
    assert len(nodes) == VALUES + 2
    print((kilobytes("VmHWM") - before) // 1024)


def kilobytes(figure: str) -> int:
    """What Linux says of this process: resident now, or at its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(figure))


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
def test_a_file_with_many_large_values_takes_eight_times_what_is_held_at_a_time(tmp_path: Path, checkout: Path) -> None:
    program = f"from tests.proof.test_local import peak_of_a_long_file as peak; peak({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", program], cwd=checkout, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 8 * 16
