"""Faults that only tags and numbers can have: each in a file that was wrong from its making on, each stopped."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.faults import graphs
from tests.faults.judging import FP32, INT8, judge_anew
from tests.finished import Finished, repair_run, tell_anew
from tunedeploy import api
from tunedeploy.device.encoders import Features, Row, words
from tunedeploy.run.folder import RunDir

TAGS, NUMBERS = "token-classification", "text-regression"
Finisher = Callable[[str], Finished]


def breaches(run: Path) -> list[str]:
    repair_run(run)
    return [one.id for one in api.comparisons_of(run) if not one.ok]


def behind_the_output(path: Path, make: Callable[[onnx.ModelProto], list[onnx.NodeProto]]) -> None:
    """Put nodes between what a file computed, now `computed`, and its output."""
    with graphs.edited(path) as model:
        node = graphs.head(model)
        node.output[list(node.output).index("logits")] = "computed"
        for other in model.graph.node:
            other.input[:] = ["computed" if name == "logits" else name for name in other.input]
        model.graph.node.extend(make(model))


def scores_one_token_late(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Every token has the scores of the token before it, and the first keeps its own."""
    for name, value in (("zero", [0]), ("one", [1]), ("last", [-1]), ("axis", [1])):
        graphs.constant(model, name, np.asarray(value, np.int64))
    make = onnx.helper.make_node
    return [
        make("Slice", ["computed", "zero", "one", "axis"], ["first"]),
        make("Slice", ["computed", "zero", "last", "axis"], ["all_but_the_last"]),
        make("Concat", ["first", "all_but_the_last"], ["logits"], axis=1),
    ]


def half_the_number(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    graphs.constant(model, "half", np.float32(0.5))
    return [onnx.helper.make_node("Mul", ["computed", "half"], ["logits"])]


def a_constant_more(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    graphs.constant(model, "more", np.float32(0.3))
    return [onnx.helper.make_node("Add", ["computed", "more"], ["logits"])]


FAULTS = {
    "scores_one_token_late": (TAGS, scores_one_token_late),
    "the_scale_of_a_number": (NUMBERS, half_the_number),
    "the_offset_of_a_number": (NUMBERS, a_constant_more),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_float32_file_that_is_wrong_behind_its_head_is_stopped(name: str, finished: Finisher, tmp_path: Path) -> None:
    task, fault = FAULTS[name]
    run = finished(task).copy(tmp_path).run
    behind_the_output(run / FP32, fault)
    tell_anew(run)
    assert {"torch-vs-onnx", "trained-vs-onnx"} <= set(breaches(run))


@pytest.mark.parametrize("name", FAULTS)
def test_an_int8_file_that_is_judged_by_its_own_wrong_answers_is_stopped(
    name: str, finished: Finisher, tmp_path: Path
) -> None:
    task, fault = FAULTS[name]
    run = finished(task).copy(tmp_path).run
    behind_the_output(run / INT8, fault)
    judge_anew(run)
    tell_anew(run)
    assert {"unexplained-nodes", "local-parity"} & set(breaches(run))


def ends_of(starts: np.ndarray) -> np.ndarray:
    """Where words end in place of where they start: their numbers stand at the token before the next word's first."""
    ends = np.zeros_like(starts)
    places = np.flatnonzero(starts)
    ends[[*(places[1:] - 1), *places[-1:]]] = starts[places]
    return ends


def test_a_device_that_reads_the_last_token_of_a_word_is_stopped(
    finished: Finisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = finished(TAGS).copy(tmp_path).run
    assert not breaches(run)
    encode = words.WordsEncoder.encode

    def by_last_tokens(self: words.WordsEncoder, rows: Sequence[Row]) -> list[Features]:
        return [{**features, words.STARTS: ends_of(features[words.STARTS])} for features in encode(self, rows)]

    monkeypatch.setattr(words.WordsEncoder, "encode", by_last_tokens)
    assert "bundled-preprocessing" in breaches(run)


def test_tags_in_another_order_are_stopped(finished: Finisher, tmp_path: Path) -> None:
    run = finished(TAGS).copy(tmp_path).run
    graphs.rewrite_metadata(run / FP32, "labels", lambda labels: labels[1:] + labels[:1])
    tell_anew(run)
    assert "labels" in breaches(run)


def test_healthy_runs_raise_no_alarm(finished: Finisher) -> None:
    for task in (TAGS, NUMBERS):
        assert [one.line() for one in api.comparisons_of(finished(task).run) if not one.ok] == []
        RunDir(finished(task).run).record("bundle")
