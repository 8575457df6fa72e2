"""Bundles whose parts do not fit each other, or whose files hold what no exporter writes, end in lines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.finished import Finished, repair_bundle
from tests.tiny import tiny_task
from tunedeploy import api
from tunedeploy.device.bundle import load_bundle
from tunedeploy.errors import RunError

TASK = "token-classification"
Change = Callable[[dict[str, Any]], None]


def another_input(manifest: dict[str, Any]) -> None:
    manifest["graphs"]["model"]["inputs"][0]["name"] = "other"


def another_decision(manifest: dict[str, Any]) -> None:
    manifest["decision"] = {"kind": "classes"}


def a_number_for_words(manifest: dict[str, Any]) -> None:
    manifest["decision"] = {"kind": "number"}


def another_shape(manifest: dict[str, Any]) -> None:
    manifest["graphs"]["model"]["outputs"][0]["axes"] = ["batch", "sequence"]


def no_mask(manifest: dict[str, Any]) -> None:
    del manifest["graphs"]["model"]["outputs"][0]["valid"]


def another_encoder(manifest: dict[str, Any]) -> None:
    manifest["preprocessing"]["kind"] = "text"
    del manifest["preprocessing"]["beside"]


@pytest.mark.parametrize(
    "change", [another_input, another_decision, a_number_for_words, another_shape, no_mask, another_encoder]
)
def test_parts_that_do_not_fit_each_other_are_one_line(
    change: Change, finished: Callable[[str], Finished], tmp_path: Path
) -> None:
    dist = finished(TASK).copy(tmp_path).dist
    path = dist / "manifest.json"
    manifest = json.loads(path.read_text(encoding="utf-8"))
    change(manifest)
    path.write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(RunError, match="manifest.json: (graphs|preprocessing): ") as caught:
        load_bundle(dist).predict([tiny_task(TASK).row])
    assert len(caught.value.lines) == 1
    assert not all(one.ok for one in api.comparisons_of(dist, ["parity", "preprocessing", "metric"]))


def test_a_note_at_a_node_that_is_not_utf_8_is_a_breach(finished: Callable[[str], Finished], tmp_path: Path) -> None:
    dist = finished(TASK).copy(tmp_path).dist
    file = dist / "onnx" / "model.onnx"
    content = file.read_bytes()
    assert b"transformers.models." in content
    file.write_bytes(content.replace(b"transformers.models.", b"transformers\xffmodels."))
    repair_bundle(dist)
    lines = [one.line() for one in api.comparisons_of(dist) if not one.ok]
    assert any("is not a well-formed graph" in line for line in lines)
