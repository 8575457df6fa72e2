"""What the stages of a run write down and read back: one definition for both, so that a typo is a type error.

Each result is a `TypedDict`, since its JSON is the contract; `records` holds what is read to it.
"""

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NotRequired, cast

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict  # pydantic takes that of `typing` from Python 3.12 on

from tunedeploy.device.comparison import Comparison

FINITE = Field(allow_inf_nan=False, ge=-1e300, le=1e300)
Number = Annotated[float, FINITE]
Count = Annotated[int, Field(ge=0, le=2**53)]
Printed = Number | str | None  # of a comparison: infinity is written as text


def inside_run(name: str) -> str:
    """A file's name below the run's folder.

    Raises:
        ValueError: it leads out of the folder.
    """
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or not path.parts:
        raise ValueError("expected a path below the run's folder")
    return name


def none_or_several(labels: list[str]) -> list[str]:
    """Labels: a task has none, or more than one.

    Raises:
        ValueError: there is one.
    """
    if len(labels) == 1:
        raise ValueError("expected no labels, or two and more")
    return labels


FileName = Annotated[str, AfterValidator(inside_run)]


# ---- what several stages write


class Facts(TypedDict):
    """Facts of a merge's `adapter-vs-merged` from which later stages take their limits."""

    noise_floor: Number


class Entry(TypedDict):
    """A comparison, as `Comparison.to_json` writes it."""

    id: NotRequired[str]  # files of earlier versions have neither it nor `variant`; see `entries.identified`
    name: str
    stage: str
    file: str
    variant: NotRequired[str]
    value: Printed
    limit: Printed
    at_most: bool
    unit: str
    rows: Count
    where: NotRequired[str]
    facts: dict[str, Any]  # each comparison has its own
    seconds: NotRequired[Number]
    ok: bool


def entries(comparisons: Iterable[Comparison]) -> list[Entry]:
    """Comparisons as a record or the ledger stores them."""
    return [cast(Entry, comparison.to_json()) for comparison in comparisons]


class LedgerFile(TypedDict):
    """ledger.json."""

    ok: bool
    seconds: NotRequired[Number]
    merge: list[Entry]
    comparisons: list[Entry]


class Weights(TypedDict):
    """Weights in all and trained, and bytes of the model in float32."""

    total: Count
    trainable: Count
    bytes: Count


# ---- train


Metrics = dict[str, Number]  # of the evaluation split, by name; `rows` among them


class Course(TypedDict):
    """The part of the train stage's result that every process has."""

    precision: str
    processes: Count
    labels: Annotated[list[str], AfterValidator(none_or_several)]
    metric: str
    best_epoch: Count
    steps: Count
    history: list[dict[str, Number]]  # an epoch: its number, losses, and the metric under its name
    weights: Weights
    kept_features: bool


class Train(Course):
    """The train stage's result, in the main process."""

    metrics: Metrics


def value_of(train: Train) -> float:
    """The metric by which the run is judged, in percent."""
    return cast(Mapping[str, float], train["metrics"])[train["metric"]]


# ---- merge, export


class Merge(TypedDict):
    """The merge stage's result."""

    comparisons: Annotated[list[Entry], Field(min_length=1)]


class Export(TypedDict):
    """The export stage's result."""

    opset: Count
    ir: Count
    bytes: Count
    files: NotRequired[dict[str, FileName]]  # graph to file, where there are several
    operators: dict[str, Count]
    fusions: dict[str, Count]


# ---- quantize


class Setting(TypedDict):
    """One way to convert. `name` is for people; the others are those of the int8 converters."""

    name: str
    method: NotRequired[str]  # of calibration, by the name that onnxruntime gives it
    per_channel: NotRequired[bool]
    exclude: NotRequired[list[str]]  # nodes kept in float32
    graphs: NotRequired[dict[str, dict[str, object]]]  # graph to its own setting, where there are several


def setting_of(setting: Setting, graph: str) -> Setting:
    """The setting of one graph."""
    return cast(Setting, setting["graphs"][graph]) if "graphs" in setting else setting


class Decisions(TypedDict):
    """A file's answers against float32's: points lost, clear answers that changed, percent that are the same."""

    drop: Number
    flips: Count
    agreement: Number


class OnCpu(TypedDict):
    """How a file was shown to hold on a kind of CPU, with the figures of `Decisions` unless `by` is `nothing`."""

    by: Literal["measured", "proved", "simulated", "nothing"]
    drop: NotRequired[Number]
    flips: NotRequired[Count]
    agreement: NotRequired[Number]


class Compared(TypedDict):
    """A file's answers against float32's, and what verify will allow."""

    flips: Count
    flips_allowed: Count
    gain: Number  # logits are so many times larger or smaller than float32's
    agreement: Number


class OnCpus(TypedDict, total=False):
    """Kind of CPU to how a file was shown to hold there; empty for files that all kinds compute alike."""

    cpus: dict[str, OnCpu]


class Measured(Compared):
    """A file on the evaluation split: its metric in percent, its size, and milliseconds of one row."""

    metric: Number
    drop: Number
    bytes: Count
    ms: Number
    cpus: NotRequired[dict[str, OnCpu]]


class Tried(TypedDict):
    """A setting that was tried, and why it was not taken; with its file's figures, if it has a file."""

    setting: Setting
    problems: list[str]


class Attempt(Measured):
    """A setting whose file could be measured."""

    setting: Setting
    problems: list[str]


class VariantFiles(TypedDict):
    """The files of a variant."""

    file: FileName  # of the graph that gives the answers
    files: NotRequired[dict[str, FileName]]  # graph to file, where there are several


class Variant(Measured, VariantFiles):
    """One precision of the quantize stage."""

    setting: NotRequired[Setting]
    problems: NotRequired[list[str]]  # limits that fp32 breaks; another precision that breaks one is no variant
    tried: NotRequired[list[Tried]]


class Kernels(TypedDict):
    """What decides how integer kernels round."""

    instruction_set: list[str]
    onnxruntime: str


class Quantize(TypedDict):
    """The quantize stage's result."""

    metric: str
    unit: NotRequired[str]  # of the metric; % where it is left out
    variants: dict[str, Variant]
    made_on: Kernels


# ---- verify, bundle, report


class Verify(TypedDict):
    """The verify stage's result: how many comparisons the ledger has."""

    comparisons: Count


class Bundle(TypedDict):
    """The bundle stage's result: bytes of each file."""

    files: dict[str, Count]


class Report(TypedDict):
    """The report stage's result."""

    file: FileName


class Shipped(TypedDict):
    """The result of an export."""

    metric: str
    unit: str
    variants: dict[str, Variant]
    ledger: list[Entry]
