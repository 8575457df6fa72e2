"""A finished run with one file damaged, before a command that reads it."""

import contextlib
from pathlib import Path

from numpy.random import Generator

from tests.finished import Finished, build
from tests.fuzz import ended
from tests.fuzz._json_damage import damage, pick
from tests.tiny import Tiny
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.run.atomic import write_json

TRIALS = 20
READ = ("stages", "data", "train", "merged", "onnx", "quantized", "ledger.json", "recipe.yaml")  # cache/ and dist/ less
# Those that take seconds are rarer, so that more files are damaged in the same time.
COMMANDS = (
    *[["report"], ["predict", "snow and rain"], ["bench"], ["eval"], ["verify", "--checks", "integrity"]] * 4,
    *[["eval", "--variant", "torch"], ["predict", "soup", "--variant", "int8"], ["train"], ["merge"]] * 2,
    *[["verify", "--checks", "metric"], ["verify", "--checks", "preprocessing"], ["export"], ["run"]],
    *[["verify"], ["diagnose"], ["diagnose", "--variant", "int8"]],
)


def prepare(tiny: Tiny, folder: Path) -> Finished:
    folder.mkdir(parents=True)
    return build(tiny, folder, "text-classification")


def trial(subject: Finished, rng: Generator, folder: Path) -> str:
    copy = subject.copy(folder)
    files = [path for path in files_below(copy.run) if path.name != ".lock"]
    read = [path for path in files if path.relative_to(copy.run).parts[0] in READ]
    small = [path for path in read if path.suffix == ".json"]
    path = pick(rng, pick(rng, [small, small, read, files]))
    damage(path, rng)
    if rng.random() < 0.5:
        hashes_told_anew(copy.run)
    command, *options = pick(rng, COMMANDS)
    target = [str(copy.recipe), "--run", str(copy.run)] if command in ("train", "run") else [str(copy.run)]
    try:
        return ended([command, *target, *options])
    except AssertionError as error:
        raise AssertionError(f"{path.relative_to(copy.run)}: {error}") from error


def hashes_told_anew(run: Path) -> None:
    """The records tell the hashes that files have now, as far as they can still be read."""
    for path in sorted((run / "stages").glob("*.json")):
        with contextlib.suppress(Exception):  # whatever stands in a damaged one
            record = read_json(path)
            record["outputs"] = {name: sha256(run / name) for name in record["outputs"] if (run / name).is_file()}
            write_json(path, record)
