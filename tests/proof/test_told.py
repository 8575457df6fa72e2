"""What a proof leaves out is told in the ledger."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.faults import graphs
from tests.faults.judging import FP32
from tests.finished import Finished
from tunedeploy import api
from tunedeploy.proof import beyond, vocabulary
from tunedeploy.proof.scene import Scene, scene_of


@pytest.fixture
def scene(text_run: Finished) -> Scene:
    return scene_of(api.recipe_of(text_run.run), text_run.rundir)


def comparing(model: onnx.ModelProto, numbers: list[int]) -> None:
    """Comparisons of the logits with these numbers, which change nothing."""
    for number in numbers:
        name = f"threshold {number}"
        model.graph.initializer.append(numpy_helper.from_array(np.float32(number), name))
        model.graph.node.append(helper.make_node("Less", ["logits", name], [f"under {number}"]))


def facts(scene: Scene) -> dict[str, Any]:
    (made,) = beyond.beyond_the_trace(scene)
    return dict(made.facts)


def test_a_file_within_the_limits_tells_nothing_of_them(scene: Scene) -> None:
    assert beyond.not_tried(scene) == {}


def test_thresholds_and_batches_that_are_not_tried_are_told(scene: Scene, text_run: Finished) -> None:
    before = beyond.thresholds(scene)
    with graphs.edited(text_run.run / FP32) as model:
        comparing(model, [*range(200, 209), 10**6])
    told = facts(scene)
    everything = sorted({*before, *range(200, 209), 10**6})
    assert told["constants_not_tried"] == everything[beyond.COMPARED :]
    assert 10**6 in told["constants_not_tried"]
    assert 201 in told["batches_not_tried"]


def test_a_text_model_without_a_table_of_embeddings_gets_a_row_without_a_verdict(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any) -> Callable[..., Any]:
        raise NotImplementedError

    monkeypatch.setattr(type(scene.merged.model.trunk), "get_input_embeddings", none)
    (made,) = vocabulary.vocabulary_kept(scene)
    assert made.id == "embedded-ids-not-compared"
    assert (made.value, made.limit, made.ok) == (0, None, True)
