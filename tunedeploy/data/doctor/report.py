"""The doctor's findings, as records, as JSON and as lines for a person."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["info", "warning"]

MAX_LINES = 12  # what fits on a terminal beside the plan
EXAMPLES = 5
FEW = 8  # rows of a class, words of a type of tag, or pixels: too few to learn much from


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing the doctor saw."""

    name: str
    severity: Severity
    text: str  # one line, with the cure where there is one
    count: int  # rows concerned (classes, for findings about classes)
    examples: tuple[str, ...] = ()  # places in the user's files

    def line(self) -> str:
        """The finding in one line, with its first example."""
        mark = "warning: " if self.severity == "warning" else ""
        return f"{mark}{self.text}" + (f", e.g. {self.examples[0]}" if self.examples else "")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the doctor saw, warnings first."""

    rows: Mapping[str, int]  # split -> rows
    classes: Mapping[str, Mapping[str, int]]  # split -> label -> rows, or words with the tag; empty without labels
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # what `read` repaired or guessed
    counted: tuple[str, str] = ("classes", "rows")  # what `classes` counts, and the unit: rows, or words of tags

    def to_dict(self) -> dict[str, object]:
        """The report as plain values for JSON."""
        return {
            "rows": dict(self.rows),
            "classes": {split: dict(counts) for split, counts in self.classes.items()},
            "findings": [asdict(finding) | {"examples": list(finding.examples)} for finding in self.findings],
            "notes": list(self.notes),
        }

    def lines(self) -> list[str]:
        """At most `MAX_LINES` lines for a person."""
        sizes = list(self.classes.get("train", {}).values())
        kinds, units = self.counted
        classes = f"; {len(sizes)} {kinds} of {min(sizes)} to {max(sizes)} training {units}" if sizes else ""
        lines = [
            f"{self.rows['train']} rows to train on, {self.rows['eval']} to evaluate on{classes}",
            *(finding.line() for finding in self.findings),
            *(f"note: {note}" for note in self.notes),
        ]
        if len(lines) <= MAX_LINES:
            return lines
        return [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more findings and notes"]


@dataclass(frozen=True, kw_only=True)
class Values:
    """A target column of both splits, training rows first, as `Kind.findings` gets it."""

    train: int  # count of training rows
    values: Sequence[Any]  # as stored: labels are indices
    labels: Sequence[str]  # index -> name
    places: Sequence[str]

    def split(self) -> tuple[list[Any], list[Any]]:
        """The values of the training rows, and those of the evaluation rows."""
        values = list(self.values)
        return values[: self.train], values[self.train :]


def findings_of(
    name: str, severity: Severity, examples: Sequence[Any], text: str, show: Callable[[Any], str] = str
) -> list[Finding]:
    """One finding, or none without examples; there is one example for each row concerned, and `show` names it."""
    if not examples:
        return []
    shown = tuple(show(example) for example in examples[:EXAMPLES])
    return [Finding(name=name, severity=severity, text=text, count=len(examples), examples=shown)]
