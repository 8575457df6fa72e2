"""Calibration takes whatever number of rows the data have."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from tunedeploy import recipe
from tunedeploy.data.recipe_data import data_of
from tunedeploy.precisions import int8
from tunedeploy.stages import quantize
from tunedeploy.stages.merge import sample

if TYPE_CHECKING:
    from tests.finished import Finished


@pytest.mark.parametrize("method", ["MinMax", "Percentile", "Entropy"])
def test_a_last_batch_that_is_shorter_than_the_others_is_calibrated_on_too(
    method: str, finished: "Callable[[str], Finished]", tmp_path: Path
) -> None:
    run = finished("image-classification")
    made = recipe.read(run.recipe)
    encoder = quantize.encoder_of(made, run.rundir)
    samples = quantize.batches(encoder, sample(data_of(made).train, 11))
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
