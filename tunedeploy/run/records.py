"""The stages' records as others read them back: every value has its type, or the file is refused.

Keys that `results` does not define are allowed, since nobody reads them back.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from tunedeploy.errors import RunError
from tunedeploy.run.entries import identified
from tunedeploy.run.planned import Plan
from tunedeploy.run.results import (
    Bundle,
    Export,
    Facts,
    FileName,
    LedgerFile,
    Merge,
    Number,
    Quantize,
    Report,
    Train,
    Verify,
)

__all__ = ["LedgerFile", "check", "check_stage"]


class Stage(BaseModel):
    """A stage's record; see `folder.Record`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    stage: str
    key: str
    seconds: Number
    outputs: dict[FileName, str]
    result: dict[str, object]
    versions: dict[str, str]


RESULTS: Mapping[str, type] = {
    "plan": Plan, "train": Train, "merge": Merge, "export": Export, "quantize": Quantize, "verify": Verify,
    "bundle": Bundle, "report": Report,
}  # fmt: skip
# Files whose hashes are read from a record.
OUTPUTS: Mapping[str, tuple[str, ...]] = {"train": ("train/adapter.safetensors", "train/head.safetensors")}


def check_stage(stage: str, content: Any, path: Path) -> None:
    """Check the record of a stage.

    Raises:
        RunError: a value is missing or is of another type, or the record is that of another stage.
    """
    cure = "remove it, and the stage is done again"
    check(Stage, content, path, cure)
    if content["stage"] != stage:
        raise RunError(f"{path}: is not a record of stage {stage!r}; {cure}")
    if stage in RESULTS:
        check(RESULTS[stage], content["result"], path, cure)
    missing = [name for name in OUTPUTS.get(stage, ()) if name not in content["outputs"]]
    if missing:
        raise RunError(f"{path}: missing outputs.{missing[0]}; {cure}")
    if stage == "train" and content["result"]["metric"] not in content["result"]["metrics"]:
        raise RunError(f"{path}: result.metric is not one of result.metrics; {cure}")
    if stage == "merge":
        entries = identified(content["result"]["comparisons"])
        check(Facts, next((entry["facts"] for entry in entries if entry["id"] == "adapter-vs-merged"), {}), path, cure)
    if stage == "quantize" and "fp32" not in content["result"]["variants"]:
        raise RunError(f"{path}: missing result.variants.fp32; {cure}")


@cache
def _adapter(kind: type) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def check(kind: type, content: Any, path: Path, cure: str) -> None:
    """Check one JSON value.

    Raises:
        RunError: one line with the first thing that is wrong.
    """
    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise RunError(f"{path}: {f'{place}: ' if place else ''}{what[:1].lower()}{what[1:]}; {cure}") from error
