"""What the page tells: all that a run's folder and its data say, gathered before anything is drawn."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tunedeploy.device.review import Review
from tunedeploy.page.choice import Choice
from tunedeploy.page.markup import Html
from tunedeploy.run.planned import SeenData
from tunedeploy.run.results import Entry, Variant


@dataclass(frozen=True, kw_only=True)
class MetricFacts:
    """The metric that tells models apart, and the limit that variants were held to.

    Attributes:
        allowed: what a variant may lose against the full one, in the metric's unit.
        better: "higher" or "lower".
    """

    name: str
    unit: str
    better: str
    allowed: float


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """The answers of one variant beside the right ones.

    Attributes:
        inputs: of each mistake's row, as `rows.shown` makes it.
        places: of each mistake's row in the user's files.
    """

    variant: str
    review: Review
    inputs: Sequence[Html]
    places: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Story:
    """One run.

    Attributes:
        rows: split to how many.
        files: variant to its files, as the bundle has them where there is one.
        history: an entry for each epoch, with its losses and the metric under its name.
        reviewed: None where the data is no longer that of the run.
        doctor: data/doctor.json.
        counted: what the doctor's classes are called, and their unit.
        ledger: empty where no verification has finished.
        is_verified: whether verification and bundle are those of these variants.
        recipe: key, value and source of each setting.
        seconds: stage to seconds.
        text: train/report.txt.
    """

    task: str
    model: str
    method: str
    metric: MetricFacts
    rows: Mapping[str, int]
    eval_source: str
    variants: Mapping[str, Variant]
    files: Mapping[str, Sequence[str]]
    choice: Choice
    history: Sequence[Mapping[str, float]]
    best_epoch: int
    reviewed: Reviewed | None
    doctor: SeenData
    counted: tuple[str, str]
    ledger: Sequence[Entry]
    is_verified: bool
    recipe: Sequence[tuple[str, str, str]]
    seconds: Mapping[str, float]
    text: str

    @property
    def breaches(self) -> list[Entry]:
        """Comparisons that do not hold."""
        return [entry for entry in self.ledger if not entry["ok"]]

    @property
    def may_ship(self) -> bool:
        """Whether the page recommends a file."""
        return self.is_verified and not self.breaches
