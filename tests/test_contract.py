"""Every task x method x precision goes from a recipe to a bundle that holds, on small real models."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import Tiny, TinyTask, tiny_task
from tunedeploy import plugins
from tunedeploy.device import agreement
from tunedeploy.device.errors import ModelError
from tunedeploy.device.files import read_json
from tunedeploy.device.manifest import files_of
from tunedeploy.device.runtime import Session
from tunedeploy.models.runs import torch_run
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.recipe.read import Recipe
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.stages import plan

NAMES = {axis: tuple(plugins.names(axis)) for axis in ("tasks", "methods", "precisions")}
EVERY = [(task, method) for task in NAMES["tasks"] for method in NAMES["methods"]]
REFUSED = [(task, method) for task, method in EVERY if method in tiny_task(task).refused]
TRAINED = [pair for pair in EVERY if pair not in REFUSED]


def test_there_are_plugins_to_try_and_a_model_and_data_for_each_task() -> None:
    assert set(NAMES["tasks"]) >= {"text-classification", "image-classification"}
    assert set(NAMES["methods"]) >= {"full", "last-layer", "lora"}
    assert set(NAMES["precisions"]) >= {"fp32", "fp16", "int8"}
    for task in NAMES["tasks"]:
        assert isinstance(tiny_task(task), TinyTask)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, tiny: Tiny) -> Any:
    """A run folder a task and method, shared by the precisions: trained and exported once."""

    @cache
    def folder(task: str, method: str) -> Path:
        return tmp_path_factory.mktemp(f"{task}-{method}")

    def run(task: str, method: str, precision: str) -> tuple[Recipe, RunDir]:
        path = folder(task, method)
        recipe = tiny.recipe(
            path / "written.yaml",
            task,
            tune={"method": method},
            train={"lr": 0.01},
            export={"quantize": precision, "max_drop": 100.0},
        )
        pipeline.run(recipe, RunDir(path / "run"))
        return recipe, RunDir(path / "run")

    return run


@pytest.mark.parametrize("precision", NAMES["precisions"])
@pytest.mark.parametrize(("task", "method"), TRAINED)
def test_a_recipe_becomes_a_bundle_that_computes_what_was_trained(
    task: str, method: str, precision: str, runs: Any
) -> None:
    recipe, rundir = runs(task, method, precision)
    records = {name: rundir.record(name) for name in pipeline.STAGES}
    manifest = read_json(rundir / "dist" / "manifest.json")

    assert set(manifest["variants"]) == {"fp32", precision}
    for variant in manifest["variants"].values():
        assert sum((rundir / "dist" / file).stat().st_size for file in files_of(variant).values()) == variant["bytes"]
    ledger = read_json(rundir / "ledger.json")
    assert ledger["ok"]
    assert len(ledger["comparisons"]) >= 6
    assert all(one.ok for one in load_bundle(rundir / "dist").verify())
    assert records["train"].result["steps"] >= 1
    labels_in_every_file(rundir, manifest, task)
    same_answer_on_a_new_row(recipe, rundir, ledger)


def labels_in_every_file(rundir: RunDir, manifest: dict[str, Any], task: str) -> None:
    labels = rundir.record("train").result["labels"]
    assert len(labels) == tiny_task(task).labels
    for variant in manifest["variants"].values():
        for file in files_of(variant).values():
            assert json.loads(Session(rundir / "dist" / file).metadata["tunedeploy.labels"]) == labels


def same_answer_on_a_new_row(recipe: Recipe, rundir: RunDir, ledger: dict[str, Any]) -> None:
    """The merged model in torch and the shipped file, each with its own preprocessing."""
    merged = plugins.load("tasks", recipe.task).load(rundir / "merged")
    bundle = load_bundle(rundir / "dist")
    row = tiny_task(recipe.task).row
    expected = merged.parts.answers(torch_run(merged), [row])
    (limit,) = (one["limit"] for one in ledger["comparisons"] if one["id"] == "torch-vs-onnx")
    got = bundle.answers([row])
    # Pixels of two decoders differ by a few float32 steps beside what the arithmetic gives.
    assert agreement.largest_difference(expected.evidence, got.evidence)[0] <= max(limit, 1e-5)
    for name in bundle.manifest["variants"]:
        assert np.isfinite(bundle.answers([row], name).evidence).all()
        (answer,) = bundle.predict([row], name)
        assert answer.keys() == tiny_task(recipe.task).answer
        json.dumps(answer)


@pytest.mark.parametrize(("task", "method"), REFUSED)
def test_a_method_that_a_task_does_not_have_is_one_line_while_planning(
    task: str, method: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": method})
    with pytest.raises(ModelError, match=re.escape(tiny_task(task).refused[method])):
        plan.describe(recipe)


@pytest.mark.parametrize(("task", "method"), TRAINED)
def test_another_precision_trains_and_exports_nothing_again(task: str, method: str, runs: Any) -> None:
    _, rundir = runs(task, method, "fp32")
    before = {name: rundir.record(name) for name in ("train", "merge", "export")}
    times = {path: path.stat().st_mtime_ns for path in (rundir / "train").iterdir()}
    runs(task, method, "fp16")
    assert {name: rundir.record(name) for name in before} == before
    assert {path: path.stat().st_mtime_ns for path in (rundir / "train").iterdir()} == times
