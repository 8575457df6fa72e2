"""L2-SP pulls trained weights to where they started, and new ones nowhere."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import Tiny, base_of, job
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir

METHODS = ("full", "lora", "last-layer")


def penalised(tiny: Tiny, path: Path, method: str, strength: float) -> Any:
    return tiny.recipe(
        path / "r.yaml",
        "text-classification",
        tune={"method": method},
        train={"objective": "l2-sp", "strength": strength, "epochs": 4, "lr": 0.002},
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_penalty_is_half_the_strength_times_the_squared_distance_of_what_is_not_new(
    method: str, tiny: Tiny, tmp_path: Path
) -> None:
    made = job(penalised(tiny, tmp_path, method, 0.5), tmp_path)
    assert float(made.penalty(made.module).detach()) == 0.0
    moved = 0.0
    with torch.no_grad():
        for name, one in made.module.named_parameters():
            if one.requires_grad:
                one.add_(0.1)
                new = method == "last-layer" or name.startswith("head.")
                moved += 0.0 if new else 0.01 * one.numel()
    assert float(made.penalty(made.module).detach()) == pytest.approx(0.5 / 2 * moved, rel=1e-4)
    assert (moved == 0.0) == (method == "last-layer")


def test_a_strong_penalty_keeps_the_trunk_near_its_start(tiny: Tiny, tmp_path: Path) -> None:
    far = []
    for strength in (1e-6, 100.0):
        recipe = penalised(tiny, tmp_path, "full", strength)
        pipeline.run(recipe, RunDir(tmp_path / str(strength)), until="train")
        base = base_of(recipe).model.state_dict()
        trained = load_file(tmp_path / str(strength) / "train" / "adapter.safetensors")
        far.append(sum(float(((value - base[name]) ** 2).sum()) for name, value in trained.items()) ** 0.5)
    assert 0 < far[1] < far[0] / 2
