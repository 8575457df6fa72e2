"""A comparison has an id, a slug that programs look it up by, and a sentence that is made in one place."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import CHECKOUT
from tests.finished import TASKS, Finished
from tunedeploy import api
from tunedeploy.device.comparison import Ledger
from tunedeploy.device.files import read_json
from tunedeploy.device.sentences import OF_A_BUNDLE, OF_A_DIAGNOSIS, OF_A_RUN, OF_ANSWERS, OF_BOTH, SENTENCES
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import write_json
from tunedeploy.run.entries import entry, identified
from tunedeploy.run.folder import STAGE_FOLDER
from tunedeploy.stages import report

TABLE = "tunedeploy/device/sentences.py"
WORDS = {"variant": "int8", "reference": "fp32", "metric": "macro_f1", "cpu": "with VNNI", "module": "a module"}


def sentence(id: str) -> str:
    return SENTENCES[id].format_map(WORDS)


# ---- the table


def test_every_id_is_a_slug_of_its_own_with_a_sentence_of_its_own() -> None:
    parts = (OF_A_BUNDLE, OF_BOTH, OF_A_RUN, OF_A_DIAGNOSIS)
    assert len(SENTENCES) == sum(map(len, parts)) > 60
    assert [id for id in SENTENCES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", id)] == []
    assert len({sentence(id) for id in SENTENCES}) == len(SENTENCES)
    assert SENTENCES.keys() > OF_ANSWERS


def test_the_sentence_is_the_table_s_with_the_variant_and_the_words_in_their_places() -> None:
    ledger = Ledger(stage="quantize", file="a.onnx", variant="int8")
    made = ledger.at_most("drop", 0.5, 1.0, unit=" points", words={"metric": "accuracy"})
    assert (made.id, made.variant, made.name) == ("drop", "int8", "int8: drop of accuracy")
    assert (made.stage, made.file, made.value, made.limit, made.at_most) == ("quantize", "a.onnx", 0.5, 1.0, True)
    assert ledger.at_least("rounded-weights", 0, 1).ok is False
    assert ledger.informational("nodes-not-compared", 7).limit is None
    with pytest.raises(AssertionError, match="'flip' has no sentence"):
        ledger.at_most("flip", 0, 0)


def test_docs_list_every_id() -> None:
    page = (CHECKOUT / "docs" / "parity.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| id \|.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    listed = [re.findall(r"`([a-z0-9-]+)`", row.split("|")[1]) for table in tables for row in table.splitlines()]
    assert len(tables) == 2
    assert {id for ids in listed for id in ids} == SENTENCES.keys() - OF_A_DIAGNOSIS.keys()
    assert "`id` `module`" in page


# ---- the code


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((CHECKOUT / "tunedeploy").rglob("*.py")):
        yield path.relative_to(CHECKOUT).as_posix(), ast.parse(path.read_text(encoding="utf-8"))


def test_every_id_is_used_and_no_module_makes_a_comparison_but_through_a_ledger() -> None:
    named: set[str] = set()
    by_hand = []
    for file, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and file != TABLE:
                named.add(node.value)
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] == "Comparison":
                by_hand.append(file)
    assert SENTENCES.keys() - named == set()
    assert by_hand == ["tunedeploy/device/comparison.py"]


def by_prose(tree: ast.AST) -> list[str]:
    """Comparisons of a `name` with words, and of an entry's `name` with anything."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            entries = [side for side in sides if ast.unparse(side).endswith("['name']")]
            names = [side for side in sides if isinstance(side, ast.Attribute) and side.attr == "name"]
            texts = [side.value for side in sides if isinstance(side, ast.Constant) and isinstance(side.value, str)]
            if entries or (names and any(" " in text for text in texts)):
                found.append(ast.unparse(node))
        if isinstance(node, ast.Subscript) and re.fullmatch(r".*\bcomparisons'?\]?\[\d+\]", ast.unparse(node)):
            found.append(ast.unparse(node))
    return found


def test_no_module_finds_a_comparison_by_its_prose_or_its_place() -> None:
    lines = ('"logit difference" in one.name', 'one["name"] == TORCH', 'ledger["comparisons"][0]', "comparisons[0]")
    assert [line for line in lines if not by_prose(ast.parse(line))] == []
    temporary = {"match['name'] != name"}  # of temporary files, in run/atomic.py
    found = {line for _, tree in trees() for line in by_prose(tree)}
    assert found == temporary


# ---- what is made


@pytest.mark.parametrize("task", TASKS)
def test_every_comparison_of_a_run_and_of_its_bundle_has_an_id_and_the_sentence_of_it(
    task: str, text_run: Finished, image_run: Finished
) -> None:
    run = text_run if task == "text-classification" else image_run
    ledger = read_json(run.run / "ledger.json")
    entries = [*ledger["merge"], *ledger["comparisons"], *(one.to_json() for one in api.verify(run.dist))]
    assert len(entries) > 40
    for one in entries:
        assert re.fullmatch(re.sub(r"\\{\w+\\}", ".+", re.escape(SENTENCES[one["id"]])), one["name"])
        assert one["variant"] in ("", "fp32", "int8")
        assert one["variant"] or not one["name"].startswith(("fp32", "int8")), one["name"]


# ---- files from before there were ids


def without_ids(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in one.items() if key not in ("id", "variant")} for one in entries]


@pytest.mark.parametrize("id", sorted(SENTENCES.keys() - OF_A_DIAGNOSIS.keys()))
def test_an_entry_from_before_ids_gets_the_one_of_its_sentence(id: str) -> None:
    (made,) = identified([{"name": sentence(id)}])
    assert made["id"] == id
    assert made["variant"] == ("int8" if "{variant}" in SENTENCES[id] else "")


def test_an_entry_keeps_the_id_that_it_has_and_an_unknown_sentence_gets_none() -> None:
    written = {"name": sentence("flips"), "id": "labels", "variant": "x"}
    assert identified([written, {"name": "a sentence of 2019"}]) == [
        written, {"name": "a sentence of 2019", "id": "", "variant": ""},
    ]  # fmt: skip
    with pytest.raises(RunError, match=r"ledger\.json: missing the comparison 'flips'"):
        entry(identified([written]), "flips", Path("ledger.json"))


def test_a_run_from_before_ids_still_verifies_and_is_reported(text_run: Finished) -> None:
    path, ledger_path = text_run.run / STAGE_FOLDER / "merge.json", text_run.run / "ledger.json"
    record, ledger = read_json(path), read_json(ledger_path)
    before = [one["id"] for one in [*ledger["merge"], *ledger["comparisons"]]]
    record["result"]["comparisons"] = without_ids(record["result"]["comparisons"])
    write_json(path, record)
    write_json(ledger_path, ledger | {part: without_ids(ledger[part]) for part in ("merge", "comparisons")})
    read = text_run.rundir.ledger()
    assert [one["id"] for one in [*read["merge"], *read["comparisons"]]] == before
    verified = {one.id for one in api.verify(text_run.run)}
    assert verified >= {one["id"] for one in ledger["comparisons"]}
    report.run(api.recipe_of(text_run.run), text_run.rundir)
