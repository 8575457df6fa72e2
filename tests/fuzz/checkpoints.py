"""An interrupted training with its checkpoints damaged; the same command goes on, or starts anew, to its end."""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from numpy.random import Generator

from tests.fuzz import ended
from tests.fuzz._json_damage import damage, pick
from tests.tiny import Tiny, texts
from tunedeploy import api, progress
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_json
from tunedeploy.run.folder import key_of
from tunedeploy.training import checkpoint

TRIALS = 30


@dataclass(frozen=True, kw_only=True)
class Interrupted:
    recipe: Path
    run: Path
    trained: dict[str, str]  # the files that the training ends with when nothing interrupts it


class Interrupt:
    """Ends the program, as a user would, when the third epoch was evaluated."""

    def note(self, text: str) -> None:
        if text.startswith("epoch 3"):
            raise KeyboardInterrupt

    def update(self, name: str, done: float, total: float, text: str) -> None:
        pass


def prepare(tiny: Tiny, folder: Path) -> Interrupted:
    folder.mkdir(parents=True)
    rows = texts(folder / "rows.csv", rows=24)
    recipe = tiny.write(
        folder / "r.yaml",
        "text-classification",
        data={"train": str(rows)},
        train={"epochs": 3},
        tune={"method": "full"},
    )
    api.train(recipe, run=folder / "whole")
    with progress.listen(Interrupt()), contextlib.suppress(KeyboardInterrupt):
        api.train(recipe, run=folder / "run")
    assert len(checkpoint.numbered(folder / "run" / "train")) == checkpoint.KEPT
    return Interrupted(recipe=recipe, run=folder / "run", trained=trained(folder / "whole"))


def trained(run: Path) -> dict[str, str]:
    return {name: sha256(run / "train" / name) for name in ("adapter.safetensors", "head.safetensors")}


def trial(subject: Interrupted, rng: Generator, folder: Path) -> str:
    run = Path(shutil.copytree(subject.run, folder / "run"))
    files = files_below(run / "train" / checkpoint.NAME)
    for path in (pick(rng, files), pick(rng, files))[: int(rng.integers(1, 3))]:
        if path.is_file():
            damage(path, rng)
    repaired = rng.random() < 0.3
    if repaired:
        for path in checkpoint.numbered(run / "train"):
            hashes_told_anew(path)
    (recorded,) = [read_json(path)["key"] for path in (subject.run / "train").glob("*/*2/meta.json")]
    refused = any(isinstance(one, RunError) for one in checkpoint.readable(run / "train", key=recorded))
    ending = ended(["train", str(subject.recipe), "--run", str(run)])
    if repaired:
        return ending  # another position or state, which nothing tells from a true one
    assert ending == "accepted", ending
    assert trained(run) == subject.trained, "the training ended with other bits"
    return "refused" if refused else "accepted"


def hashes_told_anew(path: Path) -> None:
    """A checkpoint tells the hashes that its files have now, as far as they can be read."""
    with contextlib.suppress(Exception):  # whatever stands in a damaged one
        meta = read_json(path / checkpoint.META)
        meta.pop(checkpoint.META, None)
        meta[checkpoint.STATE] = sha256(path / checkpoint.STATE)
        write_json(path / checkpoint.META, {**meta, checkpoint.META: key_of(meta)})
