"""Last-layer trains the new head and leaves every bit of the trunk as it was."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import Tiny, attached_of, base_of
from tunedeploy import plugins
from tunedeploy.models import start
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir


@pytest.mark.parametrize(
    ("task", "model", "augment"),
    [
        ("text-classification", "bert", "none"),
        ("image-classification", "resnet", "none"),
        ("image-classification", "resnet", "light"),
        ("image-classification", "vit", "light"),
    ],
)
def test_weights_and_buffers_of_the_trunk_are_bit_identical_and_the_head_is_not(
    task: str, model: str, augment: str, tiny: Tiny, tmp_path: Path
) -> None:
    # With augmentation the trunk runs in every step, so that running statistics have every chance to move.
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        task,
        model=str(tiny[model]),
        tune={"method": "last-layer"},
        train={"epochs": 2, "augment": augment},
    )
    record = pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")["train"]
    assert record.result["kept_features"]
    base = base_of(recipe).model
    merged = plugins.load("tasks", task).load(tmp_path / "run" / "merged").model
    before, after = base.trunk.state_dict(), merged.trunk.state_dict()
    assert before.keys() == after.keys()
    assert model != "resnet" or any(name.endswith("running_mean") for name in before)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not torch.equal(base.head.weight, merged.head.weight)
    assert load_file(tmp_path / "run" / "train" / "adapter.safetensors") == {}


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_the_saved_head_is_the_one_that_is_merged(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": "last-layer"})
    pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")
    trained = load_file(tmp_path / "run" / "train" / "head.safetensors")
    merged = load_file(tmp_path / "run" / "merged" / "head.safetensors")
    assert {name.removeprefix("head.") for name in trained} == set(merged) == {"weight", "bias"}
    assert all(torch.equal(value, trained[f"head.{name}"]) for name, value in merged.items())


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_only_the_head_asks_for_a_gradient(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": "last-layer"})
    assembly = attached_of(recipe)
    trained = {name for name, one in assembly.model.named_parameters() if one.requires_grad}
    assert trained == {"head.weight", "head.bias"}
    width = assembly.model.head.in_features
    assert start.counts(assembly)["trainable"] == 3 * width + 3
