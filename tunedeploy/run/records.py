"""What the stages of a run wrote down, as others read it back: every value has its type, or the file is refused."""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from tunedeploy.errors import RunError
from tunedeploy.run.entries import identified

FINITE = Field(allow_inf_nan=False, ge=-1e300, le=1e300)
Number = Annotated[float, FINITE]
Count = Annotated[int, Field(ge=0, le=2**53)]
Printed = Number | str | None  # of a comparison: infinity is written as text


def inside_run(name: str) -> str:
    """A file's name below the run's folder.

    Raises:
        ValueError: it leads out of it.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError("expected a path below the run's folder")
    return name


FileName = Annotated[str, AfterValidator(inside_run)]


class Written(BaseModel):
    """Values of one JSON object; keys that nobody reads back may be there too."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


class Facts(Written):
    """Of a merge's `adapter-vs-merged`, by which later stages judge."""

    noise_floor: Number


class Entry(Written):
    """A comparison, as `Comparison.to_json` writes it."""

    id: str = ""  # files of earlier versions have none; see run.entries
    name: str
    stage: str
    file: str
    value: Printed
    limit: Printed
    at_most: bool
    unit: str
    rows: Count
    facts: dict[str, Any]
    ok: bool


class Metrics(Written):
    """Of the evaluation split, in percent."""

    accuracy: Number
    macro_f1: Number
    rows: Count


class Train(Written):
    """The train stage's result."""

    labels: Annotated[list[str], Field(min_length=2)]
    metric: str
    metrics: Metrics
    history: list[dict[str, Number]]


class Merge(Written):
    """The merge stage's result."""

    comparisons: Annotated[list[Entry], Field(min_length=1)]


class Export(Written):
    """The export stage's result."""

    opset: Count
    ir: Count
    fusions: dict[str, Count]


class Variant(Written):
    """One file of the quantize stage."""

    file: FileName
    metric: Number
    drop: Number
    bytes: Count
    ms: Number


class Quantize(Written):
    """The quantize stage's result."""

    metric: str
    variants: dict[str, Variant]
    made_on: dict[str, Any]


class Ledger(Written):
    """ledger.json."""

    ok: bool
    merge: list[Entry]
    comparisons: list[Entry]


class Stage(Written):
    """A stage's record; see `rundir.Record`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    stage: str
    key: str
    seconds: Number
    outputs: dict[FileName, str]
    result: dict[str, Any]
    versions: dict[str, str]


RESULTS: Mapping[str, type[Written]] = {"train": Train, "merge": Merge, "export": Export, "quantize": Quantize}
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
        check(Facts, next((one["facts"] for one in entries if one["id"] == "adapter-vs-merged"), {}), path, cure)
    if stage == "quantize" and "fp32" not in content["result"]["variants"]:
        raise RunError(f"{path}: missing result.variants.fp32; {cure}")


def check(model: type[Written], content: Any, path: Path, cure: str) -> None:
    """Check one JSON value.

    Raises:
        RunError: one line with the first thing that is wrong.
    """
    try:
        model.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        what = first["msg"].removeprefix("Value error, ")
        raise RunError(f"{path}: {f'{place}: ' if place else ''}{what[:1].lower()}{what[1:]}; {cure}") from error
