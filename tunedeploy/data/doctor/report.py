"""What the doctor found, as records, as JSON and as lines for a person."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["info", "warning"]

MAX_LINES = 12  # what fits on a terminal beside the plan


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
    classes: Mapping[str, Mapping[str, int]]  # split -> label -> rows; empty without labels
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]  # what `read` repaired or guessed

    def to_dict(self) -> dict[str, Any]:
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
        classes = f"; {len(sizes)} classes of {min(sizes)} to {max(sizes)} training rows" if sizes else ""
        lines = [
            f"{self.rows['train']} rows to train on, {self.rows['eval']} to evaluate on{classes}",
            *(finding.line() for finding in self.findings),
            *(f"note: {note}" for note in self.notes),
        ]
        if len(lines) <= MAX_LINES:
            return lines
        return [*lines[: MAX_LINES - 1], f"and {len(lines) - MAX_LINES + 1} more findings and notes"]
