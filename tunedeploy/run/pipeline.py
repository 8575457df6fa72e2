"""The stages in order: each runs when something it depends on has changed, and is kept when nothing has."""

import contextlib
import importlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tunedeploy import plugins, progress
from tunedeploy.device.files import files_below
from tunedeploy.errors import RunError, UserError
from tunedeploy.run import receipt
from tunedeploy.run.atomic import discard, move, sweep, write_text
from tunedeploy.run.folder import Record, RunDir, key_of, versions, without_folders

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

MAKES_BUNDLE = frozenset({"merge", "export", "quantize", "verify", "bundle"})
BUNDLE = "dist"
EARLIER = "dist.previous"  # a bundle that is not that of the recipe, kept until another is finished
UNFINISHED = "train/checkpoint"  # what an interrupted training resumes from
STAGES = ("plan", "train", "merge", "export", "quantize", "verify", "bundle", "report")


def run(
    recipe: "Recipe", rundir: RunDir, *, until: str = "report", start: str = "plan", fresh: bool = False
) -> dict[str, Record[Any]]:
    """Run the stages up to `until` that are not up to date.

    Args:
        recipe: complete.
        rundir: where artefacts go.
        until: the last stage.
        start: the first stage that may run; one before it that is out of date is an error.
        fresh: run all of them, whatever is there.

    Returns:
        The record of each stage.

    Raises:
        TunedeployError: a stage's own; what finished before it stays.
        RunError: a stage before `start` has not been finished with this recipe.
    """
    main = is_main_process()
    with held(rundir, main=main):
        return run_stages(recipe, rundir, until=until, start=start, fresh=fresh)


def run_command(recipe: "Recipe", rundir: RunDir, command: Mapping[str, object], *, fresh: bool) -> None:
    """Run the stages of a command, and leave a receipt by which it is answered at once when it is given again.

    Args:
        recipe: complete.
        rundir: where artefacts go.
        command: `receipt.command_of` before the recipe was read.
        fresh: run all stages, whatever is there.
    """
    until = str(command["until"])
    inputs = inputs_of(recipe)
    before = receipt.stats_of(inputs) if inputs is not None else None
    run(recipe, rundir, until=until, fresh=fresh)
    if inputs is not None and before is not None and is_main_process() and receipt.stats_of(inputs) == before:
        receipt.write(rundir, command, inputs, STAGES[: STAGES.index(until) + 1])


def is_finished(rundir: RunDir, command: Mapping[str, object]) -> bool:
    """Whether a command's receipt still holds; then there is a note for each of its stages, as when they are kept.

    Raises:
        RunError: another command works on the run.
    """
    if not is_main_process() or not (rundir / receipt.FILE).is_file():
        return False
    with held(rundir, main=True):
        if not receipt.holds(rundir, command):
            return False
        for name in STAGES[: STAGES.index(str(command["until"])) + 1]:
            reused(rundir, name)
        return True


def inputs_of(recipe: "Recipe") -> list[Path] | None:
    """The files and folders that hold the data and the base weights; None where files do not tell of every change."""
    from tunedeploy.models import sources

    data = data_files(recipe)
    if data is None:
        return None
    weights = recipe.model.weights
    if weights is not None and not Path(weights).is_file():
        return None
    is_folder = recipe.model.name.startswith("pkg://") or Path(recipe.model.name).is_dir()
    if weights is None and not is_folder and not recipe.model.name.startswith("new://"):
        return None
    base = [Path(weights)] if weights is not None else [sources.locate(recipe.model.name).folder] if is_folder else []
    return [*data, *base]


def data_files(recipe: "Recipe") -> list[Path] | None:
    """The files and folders of the data; None where it is on a hub, or where rows name files that lie anywhere."""
    from tunedeploy.data.readers.open import Source, open_source

    opened: list[Source] = []
    for name in filter(None, (recipe.data.train, recipe.data.eval)):
        if opened and name in opened[0].splits:
            continue  # lies below the folder of the training split
        if not Path(name).exists() and not name.startswith("pkg://"):
            return None
        opened.append(open_source(name))
    opens_files = any(column.kind.opens_files for column in plugins.load("tasks", recipe.task).COLUMNS)
    if opens_files and not all(source.is_of_images for source in opened):
        return None
    return [source.path for source in opened if source.path is not None]


def run_stages(recipe: "Recipe", rundir: RunDir, *, until: str, start: str, fresh: bool) -> dict[str, Record[Any]]:
    """The stages of `run`, with the run folder held."""
    main = is_main_process()
    if main:
        begin(recipe, rundir, first=start == "plan", fresh=fresh)
    origin = origin_of(recipe)
    records: dict[str, Record[Any]] = {}
    for at, name in enumerate(STAGES[: STAGES.index(until) + 1]):
        if not main and name != "train":
            continue  # all but training is one process's work
        stage = importlib.import_module(f"tunedeploy.stages.{name}")
        key = stage_key(stage, recipe, origin, records)
        if not fresh and rundir.is_current(name, key):
            records[name] = reused(rundir, name)
            continue
        if at < STAGES.index(start) and name != "plan":
            raise RunError(why_stale(rundir, name))
        records[name] = run_stage(stage, recipe, rundir, key=key, main=main)
    if main and start != "plan":
        write_text(rundir / "recipe.yaml", recipe.dump())
    return records


@contextlib.contextmanager
def held(rundir: RunDir, *, main: bool) -> Iterator[None]:
    """Lock a run folder for this command; the system releases the lock when the process ends, however it ends.

    Raises:
        RunError: another command works on it.
    """
    if not main:
        yield
        return
    from filelock import FileLock, Timeout  # a device that only reads a bundle needs none

    rundir.path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(rundir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        cure = "wait for it, or name another folder with --run"
        raise RunError(f"{rundir.path}: another tunedeploy command works on this run; {cure}") from error
    try:
        sweep(rundir.path)
        yield
    finally:
        lock.release()


def reused(rundir: RunDir, name: str) -> Record[Any]:
    """The record of a stage that is up to date, with a note that says so."""
    record = rundir.record(name)
    progress.note(f"{name}: unchanged, kept ({record.seconds:.1f} s)")
    return record


def begin(recipe: "Recipe", rundir: RunDir, *, first: bool, fresh: bool) -> None:
    """Write the recipe if the run starts at its first stage; a later start writes it once all stages have succeeded."""
    if first:
        write_text(rundir / "recipe.yaml", recipe.dump())
    if fresh:
        discard(rundir / UNFINISHED)


def run_stage(stage: ModuleType, recipe: "Recipe", rundir: RunDir, *, key: str, main: bool) -> Record[Any]:
    """Run one stage and write its record, last."""
    name = stage.__name__.rpartition(".")[2]
    before = outputs_of(rundir, name) if main else {}
    if main:
        rundir.forget(name)
        if name in MAKES_BUNDLE:
            rundir.forget("bundle")  # dist/ holds that of an earlier recipe until this one's replaces it
    began = time.monotonic()
    try:
        result = stage.run(recipe, rundir)
    except Exception:
        if main and name in MAKES_BUNDLE:
            set_aside(rundir)
        raise
    seconds = time.monotonic() - began
    if not main:
        return Record(stage=name, key=key, seconds=seconds, outputs={}, result=result, versions={})
    outputs = [path for folder in stage.OUTPUTS for path in written(rundir / folder)]
    record = rundir.finish(name, key=key, seconds=seconds, files=outputs, result=result)
    if name != "plan" and record.outputs != before:
        for later in STAGES[STAGES.index(name) + 1 :]:
            rundir.forget(later)  # made from an earlier model: not to be scored or shipped as this one's
        if name == "train":
            set_aside(rundir)
    if name == "bundle":
        discard(rundir / EARLIER)
    progress.note(f"{name}: done in {seconds:.1f} s")
    return record


def set_aside(rundir: RunDir) -> None:
    """Rename the bundle of an earlier recipe or model, so that it cannot pass for that of a build that failed."""
    with contextlib.suppress(OSError):  # a disk that refuses to rename has raised its own error
        move(rundir / BUNDLE, rundir / EARLIER)


def outputs_of(rundir: RunDir, name: str) -> Mapping[str, str]:
    """What a stage wrote last time; nothing where it has no record that can be read."""
    try:
        return rundir.record(name).outputs
    except RunError:
        return {}


def written(path: Path) -> list[Path]:
    """A file, or the files below a folder, hidden ones left out."""
    if path.is_file():
        return [path]
    files = files_below(path)
    return [file for file in files if not any(part.startswith(".") for part in file.relative_to(path).parts)]


def origin_of(recipe: "Recipe") -> dict[str, str]:
    """Fingerprints of what a run starts from: data, base weights, and this program."""
    from tunedeploy.data.recipe_data import data_of, forget
    from tunedeploy.models import sources

    forget()  # files may have changed since the last command of this process

    return {
        "data": data_of(recipe).fingerprint,
        "model": sources.fingerprint(recipe.model.name, recipe.model.weights),
        "tunedeploy": versions().get("tunedeploy", ""),
    }


def stage_key(
    stage: ModuleType, recipe: "Recipe", origin: Mapping[str, str], records: Mapping[str, Record[Any]]
) -> str:
    """A hash of all that a stage depends on: its part of the recipe, its ancestors' files, the origin, and its own."""
    resolved = recipe.resolved()
    part = {name: without_folders(value_at(resolved, name)) for name in stage.RECIPE_KEYS}
    before = {name: dict(records[name].outputs) for name in stage.AFTER}
    own = stage.depends_on(recipe) if hasattr(stage, "depends_on") else {}
    return key_of({"recipe": part, "after": before, "origin": dict(origin), **own})


def value_at(resolved: Mapping[str, Any], dotted: str) -> Any:
    """The value of `section` or `section.key`."""
    section, _, key = dotted.partition(".")
    return resolved[section][key] if key else resolved[section]


def why_stale(rundir: RunDir, name: str) -> str:
    """Why an early stage cannot be used, and what to do, in one line."""
    recipe = rundir / "recipe.yaml"
    if not rundir.has(name):
        cure = f"run 'tunedeploy train {recipe} --run {rundir.path}' first"
        return f"{rundir.path}: stage {name!r} has not been finished; {cure}"
    changed = rundir.changed(rundir.record(name))
    what = changed[0] if changed else "the recipe, the data or the base weights changed since"
    cure = f"run 'tunedeploy run {recipe} --run {rundir.path}'"
    return f"{rundir.path}: stage {name!r} is out of date: {what}; {cure}"


def is_main_process() -> bool:
    """Whether this process writes; others of a distributed launch only train.

    Raises:
        UserError: the environment does not say which one it is.
    """
    rank = os.environ.get("RANK", "0")
    if not rank.isdecimal():
        raise UserError(f"RANK: expected a number, got {rank!r}; torchrun sets it, otherwise unset it")
    return int(rank) == 0
