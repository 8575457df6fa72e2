"""docs/json.md shows what --json prints: keys are compared with the documents of a real tiny run."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.finished import Finished
from tests.test_cli import Command
from tests.test_cli import tunedeploy as tunedeploy  # a fixture

PAGE = (CHECKOUT / "docs" / "json.md").read_text(encoding="utf-8")
FREE = {"recipe", "decided", "setting", "classes"}  # their keys are those of the recipe, the task or the data


def shown(heading: str) -> tuple[Any, str]:
    """The document below a heading, and the prose behind it."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    match = re.search(r"```json\n(.*?)```(.*)", section, re.DOTALL)
    assert match is not None, heading
    return json.loads(match[1]), match[2]


def differences(documented: Any, printed: Any, place: str = "") -> list[str]:
    """Keys that one has and the other has not; of lists the first entries, of what is shown empty nothing."""
    if isinstance(documented, list) and documented and isinstance(printed, list) and printed:
        return differences(documented[0], printed[0], f"{place}[0]")
    if not isinstance(documented, dict) or not isinstance(printed, dict) or not documented:
        return []
    name = place.rpartition(".")[2]
    odd = [] if name in FREE else [f"{place}.{key}" for key in sorted(documented.keys() ^ printed.keys())]
    shared = documented.keys() & printed.keys()
    return odd + [line for key in shared for line in differences(documented[key], printed[key], f"{place}.{key}")]


def test_a_key_that_only_one_of_them_has_is_found() -> None:
    documented = {"a": {"b": 1, "c": [{"d": 1}]}, "recipe": {"x": 1}}
    assert differences(documented, {"a": {"b": 1, "c": [{"d": 1}]}, "recipe": {"y": 1}}) == []
    assert differences(documented, {"a": {"c": [{"d": 1, "e": 1}]}, "recipe": {}}) == [".a.b", ".a.c[0].e"]


@pytest.fixture
def printed(text_run: Finished, tunedeploy: Command) -> dict[str, Any]:
    """Heading to the document that its command prints."""
    rows = text_run.recipe.parent / "rows.csv"
    rows.write_text("text,label\nrain and snow,weather\nsoup,food\n", encoding="utf-8")
    commands: dict[str, tuple[str | Path, ...]] = {
        "verify PATH": ("verify", text_run.dist),
        "eval PATH --data FILE": ("eval", text_run.dist, "--data", rows),
        "predict PATH INPUT...": ("predict", text_run.dist, "snow"),
        "plan RECIPE": ("plan", text_run.recipe),
        "merge RUN": ("merge", text_run.run),
        "run RECIPE and export RUN": ("export", text_run.run, "--quantize", "int8"),
    }
    return {heading: tunedeploy(*command, "--json").document for heading, command in commands.items()}


def test_the_page_shows_the_keys_that_are_printed(printed: dict[str, Any]) -> None:
    for heading, document in printed.items():
        documented, _ = shown(heading)
        assert differences(documented, document) == [], heading


def test_the_prose_names_every_key_of_a_ledger_s_entry_and_of_a_variant(printed: dict[str, Any]) -> None:
    exported = printed["run RECIPE and export RUN"]
    prose = shown("run RECIPE and export RUN")[1]
    assert exported["ledger"]
    for key in {*exported["ledger"][0], *exported["variants"]["int8"]} - {"setting"}:
        assert f"`{key}`" in prose, key


def test_a_limit_from_below_is_told_from_one_above(text_run: Finished, tunedeploy: Command) -> None:
    checks = tunedeploy("verify", text_run.run, "--json").document["checks"]
    assert [check for check in checks if not check["at_most"]]
    for check in checks:
        if check["limit"] is not None:
            low, high = sorted((check["value"], check["limit"]))
            assert check["ok"] == ((high if check["at_most"] else low) == check["limit"]), check["name"]
