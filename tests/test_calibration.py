"""Calibration takes whatever number of rows the data have."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.finished import calibration
from tunedeploy.data.recipe_data import data_of
from tunedeploy.precisions import int8
from tunedeploy.proof.torch_run import sample
from tunedeploy.recipe import read as recipe

if TYPE_CHECKING:
    from tests.finished import Finished


@pytest.mark.parametrize("method", ["MinMax", "Percentile", "Entropy"])
def test_a_last_batch_that_is_shorter_than_the_others_is_calibrated_on_too(
    method: str, finished: "Callable[[str], Finished]", tmp_path: Path
) -> None:
    run = finished("image-classification")
    made = recipe.read(run.recipe)
    samples = calibration(made, run.rundir, sample(data_of(made).train, 11))
    assert [len(batch["pixel_values"]) for batch in samples] == [8, 3]
    setting = {"name": method, "method": method, "exclude": []}
    int8.convert(run.rundir / "onnx" / "model.onnx", tmp_path / "int8.onnx", setting, samples)
    model = onnx.load(tmp_path / "int8.onnx")
    assert any(node.op_type == "QuantizeLinear" for node in model.graph.node)


def test_rows_of_unlike_batches_are_fed_one_by_one_and_none_is_lost() -> None:
    samples = [{"pixel_values": np.arange(8).reshape(4, 2)}, {"pixel_values": np.arange(8, 12).reshape(2, 2)}]
    batches = int8.Batches(samples)
    fed = [batch["pixel_values"] for batch in iter(batches.get_next, None)]
    assert [batch.shape for batch in fed] == [(1, 2)] * 6
    assert np.array_equal(np.concatenate(fed), np.arange(12).reshape(6, 2))


def test_a_bias_that_normalisations_share_is_not_copied_over_another_tensor(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    nodes, tensor = [], "x"
    for at in range(4):  # PoolFormer's: each Reshape's output has the name of a numbered copy of the bias
        nodes += [
            helper.make_node("Conv", [tensor, "weight"], [f"conv_{at}"], name=f"conv_{at}"),
            helper.make_node("Reshape", [f"conv_{at}", "grouped"], [f"grouped_{at}"], name=f"grouped_{at}"),
            helper.make_node("InstanceNormalization", [f"grouped_{at}", "ones", "bias"], [f"n_{at}"], name=f"n_{at}"),
            helper.make_node("Reshape", [f"n_{at}", "plain"], [f"bias{at}"], name=f"plain_{at}"),
        ]
        tensor = f"bias{at}"
    arrays = {
        "weight": rng.normal(size=(4, 4, 1, 1)).astype(np.float32), "ones": np.ones(1, np.float32),
        "bias": np.zeros(1, np.float32), "grouped": np.array([0, 1, -1]), "plain": np.array([-1, 4, 8, 8]),
    }  # fmt: skip
    graph = helper.make_graph(
        [*nodes, helper.make_node("Conv", [tensor, "weight"], ["logits"], name="last")], "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 4, 8, 8])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "f.onnx")
    samples = [{"x": rng.normal(size=(4, 4, 8, 8)).astype(np.float32)}]
    setting = {"name": "MinMax", "method": "MinMax", "exclude": []}
    int8.convert(tmp_path / "f.onnx", tmp_path / "q.onnx", setting, samples)
    made = onnx.load(tmp_path / "q.onnx").graph
    assert sum(node.op_type == "QuantizeLinear" for node in made.node) >= 4
    assert {tuple(node.input[1:]) for node in made.node if node.op_type == "InstanceNormalization"} == {
        ("ones", "bias")
    }
