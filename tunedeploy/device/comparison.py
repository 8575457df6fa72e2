"""One comparison of two things that should agree, and breaches of files that cannot be compared at all."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from .agreement import within
from .errors import ModelError, RunError
from .runtime import Session
from .sentences import OF_ANSWERS, SENTENCES
from .signature import Graph

CHECKS = ("integrity", "parity", "preprocessing", "metric")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One entry of the ledger, made by a `Ledger`.

    `id` is a key of `sentences.SENTENCES` and `name` the sentence that stands there; `variant` is the one whose file is
    compared, or ''.
    `value` must not exceed `limit` where `at_most`, nor be below it otherwise; without a limit it is only reported.
    `where` names the row, batch and shape of the worst value; `seconds` is what it took, with an equal part of the
    work that it shared with others.
    """

    id: str
    name: str
    stage: str
    file: str
    variant: str = ""
    value: float
    limit: float | None = None
    at_most: bool = True
    unit: str = ""
    rows: int = 0
    where: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the value is finite and within its limit."""
        return within(self.value, self.limit, at_most=self.at_most)

    def to_json(self) -> dict[str, object]:
        """The record, with its verdict; a value that is not finite is written as text, since JSON has none."""
        record = asdict(self) | {"ok": self.ok}
        facts = {name: _finite(value) for name, value in self.facts.items()}
        return record | {"value": _finite(self.value), "limit": _finite(self.limit), "facts": facts}

    def line(self) -> str:
        """The breach in one line: file, what, number, limit, row. A lone thing that must not exist needs no number."""
        counts = self._is_count()
        if counts and (self.value, self.limit, self.rows) == (1, 0, 0):
            return f"{self.stage}: {self.file}: {self.name}" + (f": {self.where}" if self.where else "")
        number = f": {self.value:.0f}" if counts else f" is {self.value:.3g}{self.unit}"
        place = f" ({self.where})" if counts else f" on {self.where}"
        bound = "allowed" if self.at_most else "at least"
        limit = "" if self.limit is None else f", {bound} {self.limit:{'.0f' if counts else '.3g'}}{self.unit}"
        return f"{self.stage}: {self.file}: {self.name}{number}{place if self.where else ''}{limit}"

    def _is_count(self) -> bool:
        """Whether the value counts things: it and its limit are whole, and have no unit."""
        numbers = (self.value, self.limit)
        return not self.unit and all(
            number is not None and np.isfinite(number) and number == int(number) for number in numbers
        )


class Details(TypedDict, total=False):
    """The optional fields of a comparison, see `Comparison`."""

    unit: str
    rows: int
    where: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Makes the comparisons of one file, each by its id; the stage is the one that is to blame for a breach."""

    stage: str
    file: str
    variant: str = ""

    def at_most(
        self,
        id: str,
        value: float,
        limit: float | None,
        *,
        words: Mapping[str, str] | None = None,
        **details: Unpack[Details],
    ) -> Comparison:
        """A breach where the value is over its limit; where that is None, as `informational`.

        `words` fill the placeholders of the sentence, as the variant does.
        """
        assert id in SENTENCES, f"{id!r} has no sentence"
        name = SENTENCES[id].format_map({"variant": self.variant, **(words or {})})
        return Comparison(id=id, name=name, **asdict(self), value=value, limit=limit, **details)

    def at_least(self, id: str, value: float, limit: float, **details: Unpack[Details]) -> Comparison:
        """A breach where the value is under its limit."""
        return replace(self.at_most(id, value, limit, **details), at_most=False)

    def informational(self, id: str, value: float, **details: Unpack[Details]) -> Comparison:
        """A value that has no limit; NaN and infinity are a breach all the same."""
        return self.at_most(id, value, None, **details)


def _finite(value: Any) -> Any:
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def tried(check: Callable[..., Iterable[Comparison]], *arguments: Any, stage: str, file: str) -> list[Comparison]:
    """A check's comparisons. A file that cannot be read, loaded or run is a breach too, with the reason in its line."""
    began = time.monotonic()
    try:
        comparisons = list(check(*arguments))
        return timed(comparisons, time.monotonic() - began)
    except (RunError, ModelError, OSError, KeyError) as error:
        return [unusable(error, stage=stage, file=file)]


def unusable(error: Exception, *, stage: str, file: str) -> Comparison:
    """The breach of a file that cannot be read, loaded or run."""
    reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
    return Ledger(stage=stage, file=file).at_most("failures", 1, 0, where=reason.splitlines()[0])


def breach_lines(comparisons: Iterable[Comparison], run: Path | None = None) -> list[str]:
    """One line per breach. In a run, the first one inside a graph says how to find where it begins."""
    breaches = [comparison for comparison in comparisons if not comparison.ok]
    lines = [breach.line() for breach in breaches]
    inside = next((at for at, breach in enumerate(breaches) if breach.id in OF_ANSWERS), None)
    if run is not None and inside is not None and breaches[inside].stage in ("export", "quantize"):
        lines[inside] += f"; run 'tunedeploy diagnose {run}' to find where it begins"
    return lines


def timed(comparisons: Sequence[Comparison], seconds: float) -> list[Comparison]:
    """The comparisons, each with an equal part of the seconds that are not recorded in any of them yet."""
    share = (seconds - sum(comparison.seconds for comparison in comparisons)) / max(len(comparisons), 1)
    return [replace(comparison, seconds=round(comparison.seconds + share, 3)) for comparison in comparisons]


def names_kept(ledger: Ledger, session: Session, graph: Graph) -> Comparison:
    """Inputs and outputs of a file that an app would not find, or that it would not expect."""
    expected = {value.name for value in (*graph.inputs, *graph.outputs)}
    unlike = sorted(expected ^ {*session.inputs, *session.outputs})
    return ledger.at_most("interface", len(unlike), 0, where=", ".join(unlike))
