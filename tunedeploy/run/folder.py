"""Where artefacts live: hashes, and a record for each stage that says what made it."""

import contextlib
import hashlib
import json
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, overload

from tunedeploy.device.files import read_json, sha256
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_json
from tunedeploy.run.entries import identified

if TYPE_CHECKING:
    from tunedeploy.run import planned, results

PACKAGES = (
    "tunedeploy", "torch", "transformers", "peft", "onnx", "onnxscript", "onnxruntime", "torchvision", "timm",
    "tokenizers", "pillow",
)  # fmt: skip
STAGE_FOLDER = "stages"
LEDGER = "ledger.json"  # of the verify stage


Result = TypeVar("Result", bound=Mapping[str, Any])


@dataclass(frozen=True, kw_only=True)
class Record(Generic[Result]):
    """What a stage did: `key` is a hash of all it depended on, `outputs` maps its files to their SHA-256."""

    stage: str
    key: str
    seconds: float
    outputs: Mapping[str, str]
    result: Result
    versions: Mapping[str, str]


class RunDir:
    """A run's folder. A file in it is complete, and a record is written after everything it describes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @overload
    def record(self, stage: Literal["plan"]) -> "Record[planned.Plan]": ...
    @overload
    def record(self, stage: Literal["train"]) -> "Record[results.Train]": ...
    @overload
    def record(self, stage: Literal["merge"]) -> "Record[results.Merge]": ...
    @overload
    def record(self, stage: Literal["export"]) -> "Record[results.Export]": ...
    @overload
    def record(self, stage: Literal["quantize"]) -> "Record[results.Quantize]": ...
    @overload
    def record(self, stage: str) -> Record[Mapping[str, Any]]: ...
    def record(self, stage: str) -> Record[Any]:
        """The record of a finished stage.

        Raises:
            RunError: the stage has not been finished here, or its record is malformed.
        """
        from tunedeploy.run.records import check_stage  # a device that predicts needs no pydantic for it

        path = self.path / STAGE_FOLDER / f"{stage}.json"
        if not path.is_file():
            cure = "train RECIPE --run" if stage in ("plan", "train") else "merge" if stage == "merge" else "export"
            raise RunError(f"{self.path}: stage {stage!r} has not been finished; run 'tunedeploy {cure} {self.path}'")
        content = read_json(path)
        check_stage(stage, content, path)
        if stage == "merge":
            content["result"]["comparisons"] = identified(content["result"]["comparisons"])
        return Record(**content)

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
            return False  # a damaged record tells nothing: run the stage again
        return record.key == key and not self.changed(record)

    def changed(self, record: Record[Any]) -> list[str]:
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
    ) -> Record[Mapping[str, Any]]:
        """Write a stage's record, last of all."""
        outputs = {path.relative_to(self.path).as_posix(): sha256(path) for path in sorted(files)}
        record = Record(
            stage=stage, key=key, seconds=round(seconds, 3), outputs=outputs, result=result, versions=versions()
        )
        write_json(self.path / STAGE_FOLDER / f"{stage}.json", record.__dict__)
        return record

    def shipped(self) -> "results.Shipped":
        """The result of an export: metric, variants, and every comparison made."""
        ledger = self.ledger()
        quantized = self.record("quantize").result
        comparisons = [*ledger["merge"], *ledger["comparisons"]]
        unit = quantized.get("unit", "%")
        return {"metric": quantized["metric"], "unit": unit, "variants": quantized["variants"], "ledger": comparisons}

    def ledger(self) -> "results.LedgerFile":
        """ledger.json of the verify stage.

        Raises:
            RunError: it is missing or is no ledger.
        """
        from tunedeploy.run.records import LedgerFile, check

        content: LedgerFile = read_json(self / LEDGER)
        check(LedgerFile, content, self / LEDGER, f"run 'tunedeploy export {self.path}' to write it again")
        content["merge"], content["comparisons"] = identified(content["merge"]), identified(content["comparisons"])
        return content

    def forget(self, stage: str) -> None:
        """Remove a stage's record, so that half of a redone stage is never taken for a whole one.

        With that of `verify` goes the ledger, which is read without it where a breach stopped the stage.
        """
        if stage == "verify":
            (self / LEDGER).unlink(missing_ok=True)
        (self.path / STAGE_FOLDER / f"{stage}.json").unlink(missing_ok=True)


def key_of(parts: Mapping[str, Any]) -> str:
    """SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False, default=str).encode()).hexdigest()


def without_folders(value: Any) -> Any:
    """A resolved recipe, or a part of it, with every absolute path cut to its last part.

    Files count by their content, so that a recipe means the same on another machine.
    """
    if isinstance(value, Mapping):
        return {key: without_folders(item) for key, item in value.items()}
    return Path(value).name if isinstance(value, str) and value.startswith("/") else value


@cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that influence a run's results."""
    packages = {"python": platform.python_version()}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            packages[name] = version(name)
    return packages


def latest(root: Path) -> Path:
    """The run folder below `root` that was changed last.

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
