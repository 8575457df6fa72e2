"""Comparisons as a run's files hold them: looked up by their id, which files of earlier versions do not have."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tunedeploy.device.sentences import OF_A_DIAGNOSIS, SENTENCES
from tunedeploy.errors import RunError

if TYPE_CHECKING:
    from tunedeploy.run.results import Entry

HELD, BREACH, REPORTED = "held", "BREACH", "reported only"


def outcome(entry: "Mapping[str, object] | Entry") -> str:
    """Whether a comparison held its limit, broke it, or has none: HELD, BREACH or REPORTED."""
    if not entry["ok"]:
        return BREACH
    return REPORTED if entry["limit"] is None else HELD


def entry(entries: "Iterable[Entry]", id: str, path: Path) -> "Entry":
    """The first comparison of an id.

    Args:
        entries: of `path`, as `identified` gives them.
        id: a key of device.sentences.SENTENCES.
        path: the file, for the error.

    Raises:
        RunError: there is none.
    """
    for comparison in entries:
        if comparison["id"] == id:
            return comparison
    raise RunError(f"{path}: missing the comparison {id!r}; remove it, and the stage is done again")


def identified(entries: "Iterable[Entry]") -> "list[Entry]":
    """Entries, each with `id` and `variant`: one of a version without ids gets those of its sentence."""
    return [
        comparison if "id" in comparison else cast("Entry", {**_read(str(comparison["name"])), **comparison})
        for comparison in entries
    ]


def _read(name: str) -> dict[str, str]:
    """`id` and `variant` of a sentence; both '' where it is not in the table."""
    for id, sentence in SENTENCES.items():
        if id not in OF_A_DIAGNOSIS and (match := re.fullmatch(_pattern(sentence), name)):
            return {"id": id, "variant": match.groupdict().get("variant", "")}
    return {"id": "", "variant": ""}


def _pattern(sentence: str) -> str:
    """A regular expression of a sentence; a variant, a metric and the like are one word, a CPU is several."""

    def word(placeholder: re.Match[str]) -> str:
        return f"(?P<{placeholder[1]}>{'.+' if placeholder[1] == 'cpu' else '[^ ]+'})"

    return re.sub(r"\\{(\w+)\\}", word, re.escape(sentence))
