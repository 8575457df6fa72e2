"""Where artefacts live: atomic writes, hashes, and a record for each stage that says what made it."""

import contextlib
import hashlib
import json
import os
import platform
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tunedeploy.errors import RunError

PACKAGES = (
    "tunedeploy", "torch", "transformers", "peft", "onnx", "onnxscript", "onnxruntime", "torchvision", "timm",
    "tokenizers", "pillow",
)  # fmt: skip
STAGE_FOLDER = "stages"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a stage did: `key` hashes all it depended on, `outputs` maps its files to their SHA-256."""

    stage: str
    key: str
    seconds: float
    outputs: Mapping[str, str]
    result: Mapping[str, Any]
    versions: Mapping[str, str]


class RunDir:
    """A run's folder. A file in it is complete, and a record is written after everything it speaks of."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def record(self, stage: str) -> Record:
        """The record of a finished stage.

        Raises:
            RunError: the stage has not been finished here.
        """
        path = self.path / STAGE_FOLDER / f"{stage}.json"
        if not path.is_file():
            cure = "train RECIPE --run" if stage in ("plan", "train") else "merge" if stage == "merge" else "export"
            raise RunError(f"{self.path}: stage {stage!r} has not been finished; run 'tunedeploy {cure} {self.path}'")
        try:
            return Record(**read_json(path))
        except TypeError as error:
            raise RunError(f"{path}: is no stage record; remove it, and the stage is done again") from error

    def has(self, stage: str) -> bool:
        """Whether a record of this stage is there."""
        return (self.path / STAGE_FOLDER / f"{stage}.json").is_file()

    def is_current(self, stage: str, key: str) -> bool:
        """Whether a stage was finished with this key and its files are still what it wrote."""
        if not self.has(stage):
            return False
        try:
            record = self.record(stage)
        except RunError:
            return False  # a damaged record says nothing: do the stage again
        return record.key == key and not self.changed(record)

    def changed(self, record: Record) -> list[str]:
        """Files of a record that are missing or differ, one line each."""
        lines = []
        for name, digest in record.outputs.items():
            path = self.path / name
            if not path.is_file():
                lines.append(f"{name}: missing")
            elif sha256(path) != digest:
                lines.append(f"{name}: changed since stage {record.stage!r} wrote it")
        return lines

    def finish(
        self, stage: str, *, key: str, seconds: float, files: Sequence[Path], result: Mapping[str, Any]
    ) -> Record:
        """Write a stage's record, last of all."""
        outputs = {path.relative_to(self.path).as_posix(): sha256(path) for path in sorted(files)}
        record = Record(
            stage=stage, key=key, seconds=round(seconds, 3), outputs=outputs, result=result, versions=versions()
        )
        write_json(self.path / STAGE_FOLDER / f"{stage}.json", record.__dict__)
        return record

    def shipped(self) -> dict[str, Any]:
        """What an export ends with: metric, variants, and every comparison made."""
        ledger = read_json(self / "ledger.json")
        made = self.record("quantize").result
        comparisons = [*ledger["merge"], *ledger["comparisons"]]
        return {"metric": made["metric"], "variants": made["variants"], "ledger": comparisons}

    def forget(self, stage: str) -> None:
        """Remove a stage's record, so that half of a redone stage is never taken for a whole one."""
        (self.path / STAGE_FOLDER / f"{stage}.json").unlink(missing_ok=True)


def key_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def without_folders(value: Any) -> Any:
    """A resolved recipe, or a part of it, with every absolute path cut to its last part.

    What lies there counts by its content, so that a recipe means the same on another machine.
    """
    if isinstance(value, Mapping):
        return {key: without_folders(one) for key, one in value.items()}
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def write_text(path: Path, text: str) -> None:
    """Write a file beside and rename it, so that a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with beside.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Write JSON, atomically, with a trailing newline."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing") from error
    except ValueError as error:
        raise RunError(f"{path}: is not JSON: {error}") from error


def read_array(path: Path) -> Any:
    """Read a .npy file, or a .npz file as a dict.

    Raises:
        RunError: the file is missing or is none.
    """
    import numpy as np

    try:
        with path.open("rb") as file:
            loaded = np.load(file)
            return dict(loaded) if path.suffix == ".npz" else loaded
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cannot be read: {str(error)[:120]}") from error


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a folder beside and swap it in when the block ends well; on an error nothing is left of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        if path.exists():
            path.replace(old)
        beside.replace(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that decide what comes out, and of Python."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def latest(root: Path) -> Path:
    """The run folder touched last below `root`.

    Raises:
        RunError: there is none.
    """
    runs = [path for path in root.glob("*/recipe.yaml") if path.is_file()]
    if not runs:
        raise RunError(f"no run under {root}; start one with 'tunedeploy train RECIPE', or name a run folder")
    return max(runs, key=_last_touched).parent


def _last_touched(recipe: Path) -> float:
    return max(path.stat().st_mtime for path in [recipe, *recipe.parent.glob(f"{STAGE_FOLDER}/*.json")])


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A call's result and its seconds."""
    start = time.monotonic()
    return call(), time.monotonic() - start
