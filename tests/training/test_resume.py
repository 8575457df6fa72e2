"""A run that is killed goes on by the same command and ends with the same bits; a finished one is kept."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.tiny import Tiny
from tunedeploy import progress
from tunedeploy.recipe.read import read
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir


def command(recipe: Path, run: Path) -> list[str]:
    return [sys.executable, "-m", "tunedeploy", "train", str(recipe), "--run", str(run), "--json"]


def killed_in_the_middle(recipe: Path, run: Path) -> None:
    """Start training and `kill -9` it as soon as there is a checkpoint."""
    process = subprocess.Popen(command(recipe, run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        while not list((run / "train" / "checkpoint").glob("[0-9]*")):
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.001)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (run / "stages" / "train.json").exists(), "it was finished before it was killed"


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits_as_one_that_was_not(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.write(
        tmp_path / "r.yaml",
        "text-classification",  # dropout before the head, so that the state of the generator counts
        tune={"method": "lora", "dropout": 0.1},
        train={"epochs": 40, "batch_size": 4, "save_steps": 2},
    )
    killed_in_the_middle(recipe, tmp_path / "cut")
    done = subprocess.run(command(recipe, tmp_path / "cut"), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    whole = pipeline.run(read(recipe), RunDir(tmp_path / "whole"), until="train")["train"].result
    assert RunDir(tmp_path / "cut").record("train").result == whole
    for file in ("adapter.safetensors", "head.safetensors", "eval_logits.npy"):
        assert (tmp_path / "cut" / "train" / file).read_bytes() == (tmp_path / "whole" / "train" / file).read_bytes()
    leftovers = [path.name for path in (tmp_path / "cut" / "train").iterdir() if path.name.startswith((".", "check"))]
    assert not leftovers


def test_a_finished_run_is_kept_and_says_so(tiny: Tiny, tmp_path: Path) -> None:
    recipe, rundir = read(tiny.write(tmp_path / "r.yaml", "text-classification")), RunDir(tmp_path / "run")
    pipeline.run(recipe, rundir, until="train")
    times = {path: path.stat().st_mtime_ns for path in (rundir / "train").iterdir()}
    notes = Notes()
    with progress.listen(notes):
        pipeline.run(recipe, rundir, until="train")
    assert [line.partition(" (")[0] for line in notes.lines] == ["plan: unchanged, kept", "train: unchanged, kept"]
    assert {path: path.stat().st_mtime_ns for path in (rundir / "train").iterdir()} == times


class Notes:
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        pass
