"""A receipt of a finished command: by size, times and inode of each file, that another one has nothing to do.

A stage is kept if a hash of all that it depends on is the same, for which plug-ins are imported and data and weights
are read: ten seconds to say that nothing changed. Where no file has been touched since, as git's index tells it, and
Python, every installed distribution and the code of tunedeploy and of its plug-ins are what they were, those hashes
would be the same. A data set on a hub, or one whose rows name files, gets no receipt: it can change unseen.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tunedeploy.device.files import read_json, sha256
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_json
from tunedeploy.run.folder import STAGE_FOLDER, RunDir
from tunedeploy.run.installed import program

FILE = ".receipt.json"
Stats = dict[str, list[int]]


def command_of(recipe: Path, overrides: Sequence[str], until: str) -> dict[str, object]:
    """All that decides what a command does beside data and weights, JSON; to be asked before the recipe is read.

    Args:
        recipe: the YAML file.
        overrides: `key=value` texts.
        until: the last stage.
    """
    return {
        "program": program(),
        "recipe": [os.path.abspath(recipe), sha256(recipe) if recipe.is_file() else ""],
        "overrides": [os.getcwd(), *overrides],
        "until": until,
    }


def stats_of(paths: Iterable[Path]) -> Stats | None:
    """Size, times and inode of files and of all below folders; None where one is missing or linked to."""
    stats: Stats = {}
    try:
        for path in paths:
            for file in below(path) if path.is_dir() else [path]:
                stat = file.stat()
                stats[os.path.abspath(file)] = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
    except (OSError, ValueError):  # a path with a zero in it
        return None
    return stats


def below(folder: Path) -> list[Path]:
    """The files below a folder.

    Raises:
        OSError: a link in it leads to a folder, below which changes would not be seen.
    """
    files: list[Path] = []
    for place, folders, names in os.walk(folder):
        if any(os.path.islink(os.path.join(place, name)) for name in folders):
            raise OSError(f"{place}: holds a link to a folder")
        files += [Path(place, name) for name in names]
    return files


def written_by(rundir: RunDir, stages: Iterable[str]) -> list[Path]:
    """The run's recipe, the records of stages and the files that they describe.

    Raises:
        RunError: a record is missing or malformed.
    """
    names = list(stages)
    own = [rundir / "recipe.yaml", *(rundir / STAGE_FOLDER / f"{name}.json" for name in names)]
    return [*own, *(rundir / output for name in names for output in rundir.record(name).outputs)]


def write(rundir: RunDir, command: Mapping[str, object], inputs: Sequence[Path], stages: Iterable[str]) -> None:
    """Leave a receipt.

    Args:
        rundir: the run.
        command: see `command_of`.
        inputs: data and weights, which the caller has seen to be what they were when the command began.
        stages: those that it ran or kept.
    """
    paths = [*inputs, *written_by(rundir, stages)]
    stats = stats_of(paths)
    if stats is not None:
        names = [os.path.abspath(path) for path in paths]
        content = {"run": os.path.abspath(rundir.path), "command": command, "paths": names, "files": stats}
        write_json(rundir / FILE, content)


def holds(rundir: RunDir, command: Mapping[str, object]) -> bool:
    """Whether the same command was finished here and nothing has been touched since."""
    try:
        receipt = read_json(rundir / FILE)
        paths = [Path(path) for path in receipt["paths"]]
        here = receipt["run"] == os.path.abspath(rundir.path)  # in a copy, the paths are those of the original
        return bool(here and receipt["command"] == command and receipt["files"] == stats_of(paths))
    except (OSError, RunError, KeyError, TypeError, ValueError):
        return False
