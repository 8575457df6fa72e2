"""What the plan stage writes down; `results` has that of the others."""

from typing import Any, NotRequired

from typing_extensions import TypedDict

from tunedeploy.run.results import Count, Number, Weights


class Sourced(TypedDict):
    """A value of the recipe and its source."""

    value: Any
    source: str


class Effort(TypedDict):
    """What training will take."""

    steps: Count
    step_seconds: Number
    minutes: Number
    memory_mb: Count


class Sizes(TypedDict):
    """Megabytes of the files to come."""

    adapter_mb: Number
    fp32_mb: Number
    int8_mb: Number


class Estimates(Effort, Sizes):
    """What training will take, and how large its files will be."""


class RowCounts(TypedDict):
    """Rows of each split."""

    train: Count
    eval: Count


class SeenFinding(TypedDict):
    """A finding of the doctor, `data.doctor.report.Finding`."""

    name: str
    severity: str
    text: str
    count: Count
    examples: list[str]


class SeenData(TypedDict, total=False):
    """What the doctor saw, `data.doctor.report.Report`; its file is data/doctor.json."""

    rows: dict[str, Count]
    classes: dict[str, dict[str, Count]]
    findings: list[SeenFinding]
    notes: list[str]


class PlannedData(TypedDict):
    """The data as it was read."""

    fingerprint: str
    labels: list[str]
    eval_source: str
    rows: RowCounts
    notes: list[str]
    left_out: NotRequired[list[str]]  # one line for each row that cannot be read; plans of older versions have none
    doctor: SeenData


class Plan(TypedDict):
    """The plan stage's result."""

    recipe: dict[str, Sourced]  # by dotted key
    decided: dict[str, object]  # includes the facts of the task's model
    weights: Weights
    estimates: Estimates
    data: PlannedData
