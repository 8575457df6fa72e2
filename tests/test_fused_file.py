"""A quantized file that onnxruntime fused and stored is not the file that was built: a breach, no traceback."""

from typing import TYPE_CHECKING

import onnxruntime
import pytest

from tests.finished import repair_run
from tests.fuzz import ended

if TYPE_CHECKING:
    from tests.finished import Finished


@pytest.mark.parametrize("kind", ["text_run", "image_run"])
@pytest.mark.parametrize("level", ["ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL"])
def test_a_file_that_was_stored_fused_ends_in_an_answer_or_a_breach(
    kind: str, level: str, request: pytest.FixtureRequest
) -> None:
    run: Finished = request.getfixturevalue(kind)
    file = run.run / "quantized" / "model_int8.onnx"
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(file.with_suffix(".fused"))
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    file.with_suffix(".fused").replace(file)
    repair_run(run.run)
    assert ended(["verify", str(run.run)]) in ("accepted", "breach")  # of texts, the same answers by the same weights
