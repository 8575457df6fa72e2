"""Finished runs: one of texts (lora, int8) and one of images (full, int8), each built once and copied for a test."""

import fcntl
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from tests.tiny import Tiny, tiny_task
from tunedeploy import api, plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.decisions import Answers
from tunedeploy.device.encoders import Inputs, Row
from tunedeploy.device.files import files_below, read_json, sha256
from tunedeploy.device.manifest import GRAPH, files_of
from tunedeploy.device.runtime import Sessions
from tunedeploy.graphs import files as onnx_files
from tunedeploy.proof.judge import calls_of
from tunedeploy.recipe.read import Recipe
from tunedeploy.run.atomic import write_json
from tunedeploy.run.exported import parts_of
from tunedeploy.run.folder import STAGE_FOLDER, RunDir

TASKS = tuple(plugins.names("tasks"))
BESIDE = ("manifest.json", "manifest.sig")  # the files that a manifest does not list


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A recipe and the run that it made."""

    recipe: Path
    run: Path

    def copy(self, folder: Path) -> "Finished":
        """The same in a folder of a test's own; the data and the base model stay where they are."""
        folder.mkdir(parents=True, exist_ok=True)
        run = Path(shutil.copytree(self.run, folder / "run"))
        return Finished(recipe=Path(shutil.copyfile(self.recipe, folder / self.recipe.name)), run=run)

    @property
    def rundir(self) -> RunDir:
        """The run, as the package sees it."""
        return RunDir(self.run)

    @property
    def dist(self) -> Path:
        """Its bundle."""
        return self.run / "dist"

    def records(self) -> dict[str, str]:
        """Stage to its record file's hash and time: what was redone has another one."""
        folder = self.run / STAGE_FOLDER
        return {path.stem: f"{sha256(path)} {path.stat().st_mtime_ns}" for path in sorted(folder.glob("*.json"))}


def build(
    tiny: Tiny, folder: Path, task: str, *, until: str = "report", model: str | None = None, **sections: Any
) -> Finished:
    """Run a tiny recipe to a stage, on the task's own model if none is named; data and recipe lie in the folder too.

    Keys of `sections` win over those that the task's finished run has.
    """
    parts = tiny_task(task)
    rows = parts.finished_data(folder)
    wanted = {**parts.finished, "export": {"quantize": "int8", "max_drop": 100.0}}
    recipe = tiny.write(
        folder / "tiny.yaml", task, model=model, data={"train": str(rows)},
        **{name: {**wanted.get(name, {}), **sections.get(name, {})} for name in {**wanted, **sections}},
    )  # fmt: skip
    return Finished(recipe=recipe, run=api.through(recipe, run=folder / "run", until=until))


def built(tiny: Tiny, task: str) -> Finished:
    """The finished run of a task, built when it is first asked for beside the tiny models; not to be written to."""
    folder = tiny.folder / "finished" / task
    if not (folder / "run" / "report.html").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        return build(tiny, folder, task)
    return Finished(recipe=folder / "tiny.yaml", run=folder / "run")


def built_once(folder: Path, task: str) -> Finished:
    """The finished run of a task in a folder that several processes share; the others wait for the one that builds."""
    (folder / task).mkdir(parents=True, exist_ok=True)
    with (folder / f"{task}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return built(Tiny(folder / task), task)


def repair_run(run: Path) -> None:
    """Make every stage's record tell the hashes that its files have now, as one who tampers would."""
    for path in sorted((run / STAGE_FOLDER).glob("*.json")):
        record = read_json(path)
        record["outputs"] = {name: sha256(run / name) for name in record["outputs"] if (run / name).is_file()}
        write_json(path, record)


def tell_anew(run: Path) -> None:
    """Make the quantized files and their record tell what is there now, and let no bundle be of this run."""
    RunDir(run).forget("bundle")
    record = read_json(run / STAGE_FOLDER / "quantize.json")
    sources = files_of(record["result"]["variants"]["fp32"])
    for name, variant in record["result"]["variants"].items():
        for graph, file in files_of(variant).items():
            if name != "fp32":
                model = onnx.load(run / file)
                onnx_files.describe(model, {"made_from": sha256(run / sources[graph])})
                onnx_files.write(model, run / file)
        variant["bytes"] = sum((run / file).stat().st_size for file in files_of(variant).values())
    write_json(run / STAGE_FOLDER / "quantize.json", record)


def repair_bundle(dist: Path) -> None:
    """Make the manifest tell the hashes, sizes and names of the files that are there now."""
    manifest = read_json(dist / "manifest.json")
    there = {path.relative_to(dist).as_posix(): path for path in files_below(dist)}
    manifest["files"] = {name: sha256(path) for name, path in sorted(there.items()) if name not in BESIDE}
    for one in manifest["variants"].values():
        one |= {"sha256": sha256(dist / one["file"]), "bytes": (dist / one["file"]).stat().st_size}
    write_json(dist / "manifest.json", manifest)


def edit_json(path: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    write_json(path, json.loads(path.read_text(encoding="utf-8")) | values)


def calibration(recipe: Recipe, rundir: RunDir, rows: Sequence[Row]) -> list[Inputs]:
    """Batches of rows as the quantize stage calibrates on them."""
    return calls_of(parts_of(recipe, rundir), {GRAPH: rundir / "onnx" / "model.onnx"}, rows)[GRAPH]


def answers_of_file(recipe: Recipe, rundir: RunDir, file: str) -> Answers:
    """What a file of a run makes of the evaluation split."""
    return parts_of(recipe, rundir).answers(Sessions({GRAPH: rundir / file}), data_of(recipe).eval)
