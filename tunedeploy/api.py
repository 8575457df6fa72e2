"""The five verbs for Python callers; the command line is a thin layer over them."""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunedeploy.device.comparison import Comparison
from tunedeploy.errors import ParityError, RunError, UsageError
from tunedeploy.run import atomic, pipeline, receipt
from tunedeploy.run.atomic import whole_folder
from tunedeploy.run.folder import RunDir, latest

if TYPE_CHECKING:
    from tunedeploy.recipe.read import Recipe

RUNS = Path("runs")


def train(
    recipe: str | Path, overrides: Sequence[str] = (), *, run: str | Path | None = None, fresh: bool = False
) -> Path:
    """Train by a recipe.

    Args:
        recipe: the YAML file.
        overrides: `key=value` texts.
        run: the run folder; `runs/NAME` of the recipe's name when None.
        fresh: redo what is already done.

    Returns:
        The run folder.
    """
    return through(recipe, overrides, run=run, fresh=fresh, until="train")


def through(
    recipe: str | Path, overrides: Sequence[str] = (), *, run: str | Path | None = None, fresh: bool = False, until: str
) -> Path:
    """Run a recipe's stages up to `until`, and return the run folder."""
    folder = Path(run) if run is not None else RUNS / Path(recipe).stem
    check_run(folder, Path(recipe))
    command = receipt.command_of(Path(recipe), overrides, until)
    if not fresh and pipeline.is_finished(RunDir(folder), command):
        return folder
    from tunedeploy.recipe import read as recipes  # a device, which only verifies a bundle, has no YAML

    pipeline.run_command(recipes.read(Path(recipe), overrides), RunDir(folder), command, fresh=fresh)
    return folder


def merge(run: str | Path) -> Path:
    """Fold a run's adapter into its base weights, prove it, and return `merged/`."""
    folder = Path(run)
    pipeline.run(recipe_of(folder), RunDir(folder), start="merge", until="merge")
    return folder / "merged"


def export(run: str | Path, settings: Mapping[str, Any] | None = None, *, output: str | Path | None = None) -> Path:
    """Merge, export, quantize, verify and bundle a trained run.

    Args:
        run: its folder.
        settings: keys of the recipe's `export` section to override.
        output: where the bundle goes; `RUN/dist` when None.

    Returns:
        The bundle's folder.

    Raises:
        BreachError: the files are not the trained model, or miss the budget; nothing is written to the bundle.
    """
    folder = Path(run)
    overrides = [f"export.{key}={value}" for key, value in (settings or {}).items() if value is not None]
    check_output(output, folder)
    pipeline.run(recipe_of(folder, overrides), RunDir(folder), start="merge")
    return place(folder, output)


def verify(
    path: str | Path, checks: Sequence[str] | None = None, *, expect: str | None = None, key: Path | None = None
) -> list[Comparison]:
    """Check a run or a bundle.

    Args:
        path: its folder.
        checks: names out of CHECKS; all when None.
        expect: the id that a bundle must have, or its first 12 or more digits.
        key: the public key, a PEM file, with which a bundle must be signed.

    Returns:
        Every comparison made.

    Raises:
        ParityError: at least one is a breach.
    """
    from tunedeploy.device.comparison import breach_lines

    comparisons = comparisons_of(Path(path), checks, expect=expect, key=key)
    breaches = breach_lines(comparisons)
    if breaches:
        raise ParityError(breaches)
    return comparisons


def comparisons_of(
    path: Path, checks: Sequence[str] | None = None, *, expect: str | None = None, key: Path | None = None
) -> list[Comparison]:
    """Every comparison of a run or a bundle; breaches are in the list. The arguments are those of `verify`."""
    from tunedeploy.device.comparison import CHECKS
    from tunedeploy.proof.bundle import examine as examine_bundle

    unknown = [check for check in checks or () if check not in CHECKS]
    if unknown:
        raise UsageError(f"--checks: unknown check {unknown[0]!r}; known: {', '.join(CHECKS)}")
    if holds_manifest(path):
        return examine_bundle(path, checks or CHECKS, expect=expect, key=key)
    if expect is not None or key is not None:
        raise UsageError(f"--expect and --key are for bundles; {path} has no manifest.json")
    recipe = recipe_of(path)
    from tunedeploy.data.recipe_data import forget
    from tunedeploy.stages.verify import examine

    forget()  # files may have changed since the last call
    RunDir(path).record("quantize")  # raises, with what to run first, where there is nothing to verify yet
    return examine(recipe, RunDir(path), tuple(checks or CHECKS))


def sign(bundle: str | Path, key: str | Path) -> Path:
    """Sign a bundle whose files are those that were built, and return its manifest.sig.

    Args:
        bundle: its folder.
        key: a private ed25519 key, a PEM file.

    Raises:
        ParityError: a file is missing, changed or added.
        RunError: the folder is not a bundle, or the key cannot be used.
    """
    from tunedeploy.bundling import signing as signature
    from tunedeploy.device.comparison import breach_lines
    from tunedeploy.device.integrity import integrity
    from tunedeploy.device.manifest import SIGNATURE
    from tunedeploy.proof.bundle import Bundle

    atomic.sweep(Path(bundle), SIGNATURE)  # leftovers of a killed command are not files of the bundle
    breaches = breach_lines(integrity(Bundle(Path(bundle)), pytest_ran=False))
    if breaches:
        raise ParityError(breaches)
    return signature.sign(Path(bundle), Path(key))


def holds_manifest(path: Path) -> bool:
    """Whether a path is treated as a bundle, even a broken one, rather than as a run."""
    return (path / "manifest.json").is_file()


def recipe_of(run: Path, overrides: Sequence[str] = ()) -> "Recipe":
    """The recipe of a run folder.

    Raises:
        RunError: the folder is not a run folder.
    """
    if not (run / "recipe.yaml").is_file():
        raise RunError(
            f"{run}: is not a run folder: missing recipe.yaml; 'tunedeploy train RECIPE --run {run}' makes one"
        )
    from tunedeploy.recipe import read as recipes

    return recipes.read_dumped(run / "recipe.yaml", overrides)


def check_run(folder: Path, recipe: Path) -> None:
    """Refuse to write a run over something else.

    Raises:
        RunError: the folder is a file, lies in one, or holds what no run wrote.
    """
    is_file = next((path for path in (folder, *folder.parents) if path.is_file()), None)
    if is_file is not None:
        raise RunError(f"--run {folder}: {is_file} is a file; name a folder")
    if not folder.is_dir() or not any(folder.iterdir()) or (folder / "stages").is_dir():
        return
    own = folder / "recipe.yaml"
    if not own.is_file() or (recipe.is_file() and own.samefile(recipe)):
        raise RunError(f"--run {folder}: is not empty and is not a run folder; name another folder")


def run_folder(run: str | Path | None) -> Path:
    """The run that was named, or the latest under ./runs.

    Raises:
        RunError: no run was named, and ./runs holds none.
    """
    return Path(run) if run is not None else latest(RUNS)


def check_output(output: str | Path | None, run: Path | None = None) -> None:
    """Refuse to replace a folder that is not a bundle, or to copy a run's bundle into itself.

    Raises:
        RunError: the folder holds something else, or cannot be replaced.
    """
    if output is None:
        return
    path = Path(output)
    if run is not None and (run / "dist").resolve() in path.resolve().parents:
        raise RunError(f"-o {path}: lies in the run's own bundle; name another folder")
    from tunedeploy.device.manifest import is_bundle

    if os.path.ismount(os.path.realpath(path)):
        raise RunError(f"-o {path}: is a mount point, which a bundle cannot replace; name a folder inside it")
    if path.is_file() or (path.is_dir() and any(path.iterdir()) and not is_bundle(path)):
        raise RunError(f"-o {path}: is not empty and is not a bundle; name another folder")


def place(run: Path, output: str | Path | None) -> Path:
    """Copy a run's bundle to `output`, completely or not at all, and return the bundle's folder."""
    if output is None or not pipeline.is_main_process() or Path(output).resolve() == (run / "dist").resolve():
        return run / "dist"
    with whole_folder(Path(output).absolute()) as folder:
        shutil.copytree(run / "dist", folder, dirs_exist_ok=True)
    return Path(output)
