"""Two processes train what one trains with twice the batch, and one of them writes and speaks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.tiny import Tiny
from tunedeploy.recipe.read import read
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir

# Behind `--`, since torchrun takes our --run for an abbreviation of its own --run-path.
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
LAUNCH = [*TORCHRUN, "-m", "--", "tunedeploy"]


def launch(*arguments: str) -> subprocess.CompletedProcess[str]:
    """A command in two processes that talk over gloo on the CPU."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run([*LAUNCH, *arguments], env=environment, capture_output=True, text=True)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["lora", "last-layer"])
def test_two_processes_train_the_weights_of_one_with_twice_the_batch(method: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(
        tmp_path / "r.yaml",
        "image-classification",
        model=str(tiny["vit"]),  # neither dropout nor batch statistics, which a split changes
        tune={"method": method},
        train={"epochs": 2, "batch_size": 3, "accumulate": 2, "balance": "weights"},
    )
    done = launch("train", str(recipe), "--run", str(tmp_path / "two"), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["processes"] == 2
    one = pipeline.run(read(recipe, ["train.batch_size=6"]), RunDir(tmp_path / "one"), until="train")["train"].result
    two = RunDir(tmp_path / "two").record("train").result
    assert two["steps"] == one["steps"] >= 6
    for file in ("adapter.safetensors", "head.safetensors"):
        single, double = (load_file(tmp_path / name / "train" / file) for name in ("one", "two"))
        assert single.keys() == double.keys()
        assert max(((single[name] - double[name]).abs().max() for name in single), default=0.0) < 1e-5


@pytest.mark.slow
def test_one_bundle_and_one_account_come_out_of_two_processes(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(tmp_path / "r.yaml", "text-classification", export={"max_drop": 100.0})
    done = launch("run", str(recipe), "--run", str(tmp_path / "run"), "-o", str(tmp_path / "dist"))
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("verify: done") == 1
    assert (tmp_path / "dist" / "manifest.json").is_file()
