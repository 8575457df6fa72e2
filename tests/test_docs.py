"""What README and docs/ say is true: recipes are read, commands parsed, tables and keys compared with the code."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from tunedeploy import plugins
from tunedeploy.cli.commands import app
from tunedeploy.errors import RecipeError
from tunedeploy.recipe import read as recipe

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]

Block = tuple[str, str, str]  # page, language, text


def blocks(*languages: str) -> list[Block]:
    found = [
        (page.name, language, text)
        for page in PAGES
        for language, text in FENCE.findall(page.read_text(encoding="utf-8"))
    ]
    return [one for one in found if one[1] in languages]


def numbered(found: list[Any]) -> list[str]:
    return [f"{one[0]} {number}" for number, one in enumerate(found)]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def table_rows(page: str, heading: str) -> list[list[str]]:
    """Cells of every table row of a page below a heading, without the head and the rule."""
    text = (CHECKOUT / page).read_text(encoding="utf-8").partition(heading)[2]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
    rules = [at for at, row in enumerate(rows) if all(re.fullmatch("-+", cell) for cell in row)]
    return [row for at, row in enumerate(rows) if at not in rules and at + 1 not in rules]


def test_there_is_a_readme_and_a_page_for_each_question() -> None:
    assert len(PAGES) >= 10
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", PAGES[0].read_text(encoding="utf-8")))
    assert linked == {f"docs/{page.name}" for page in PAGES[1:]}


RECIPES = [one for one in blocks("yaml") if "jobs" not in yaml.safe_load(one[2])]


def test_recipes_were_found() -> None:
    assert len(RECIPES) >= 6
    assert RECIPES[0][0] == "README.md" and len(RECIPES[0][2].splitlines()) == 5


@pytest.mark.parametrize("block", RECIPES, ids=numbered(RECIPES))
def test_every_recipe_is_read_without_a_mistake(block: Block, tmp_path: Path) -> None:
    data = yaml.safe_load(block[2])["data"]
    for key in ("train", "eval"):
        if key in data:
            (tmp_path / data[key]).touch()
    path = tmp_path / "recipe.yaml"
    path.write_text(block[2], encoding="utf-8")
    assert recipe.read(path).data.train == str(tmp_path / data["train"])


def test_a_recipe_with_a_mistake_would_be_found(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").touch()
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPES[0][2].replace("label", "lable"), encoding="utf-8")
    with pytest.raises(RecipeError, match="lable"):
        recipe.read(path)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Page and words of every `tunedeploy ...` in sh and console blocks, in CI steps and in the text."""
    for page, language, text in blocks("sh", "console", "yaml"):
        lines = text.splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        if language == "yaml":
            lines = re.findall(r"run: (.*)", text)
        yield from ((page, words_of(line)) for line in lines if line.strip())
    for file in PAGES:
        for line in re.findall(r"`((?:tunedeploy|make) [^`]+)`", prose(file)):
            yield file.name, shlex.split(line)


def words_of(line: str) -> list[str]:
    words = shlex.split(line, comments=True)
    words = words[: words.index(">")] if ">" in words else words
    return words[words.index("--") + 1 :] if words[:1] == ["torchrun"] else words


LINES = list(commands())
OURS = [one for one in LINES if one[1][0] == "tunedeploy"]


def test_commands_were_found() -> None:
    assert len(OURS) >= 15
    assert {words[0] for _, words in LINES} <= {"tunedeploy", "make", "pip", "pytest", "python", "openssl"}


@pytest.mark.parametrize("line", OURS, ids=numbered(OURS))
def test_every_command_and_option_exists(line: tuple[str, list[str]]) -> None:
    _, (_, name, *arguments) = line
    if name in ("--help", "--version", "--install-completion"):
        return
    assert name in COMMANDS, f"no command {name}"
    if arguments:  # a bare name in a sentence stands for the command
        COMMANDS[name].make_context(name, list(arguments))  # raises for an option or an argument that does not exist


def test_an_option_that_does_not_exist_would_be_found() -> None:
    with pytest.raises(Exception, match="chekcs"):
        COMMANDS["verify"].make_context("verify", ["dist", "--chekcs", "metric"])


def test_every_override_in_a_command_is_a_key() -> None:
    known = keys_of_schema()
    overrides = [word.partition("=")[0] for _, words in OURS for word in words if re.match(r"[a-z]+\.\w+=", word)]
    assert len(overrides) >= 3
    assert set(overrides) <= set(known)


def test_every_make_target_and_file_that_is_called_exists() -> None:
    targets = re.findall(r"^(\w+):", (CHECKOUT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    called = [words[1] for _, words in LINES if words[0] == "make"]
    assert {"quickstart", "test"} <= set(called) <= set(targets)
    programs = [words[1] for _, words in LINES if words[0] == "python"]
    assert programs
    assert all((CHECKOUT / program).is_file() for program in programs)


def test_the_help_in_the_readme_is_the_live_help() -> None:
    shown = next(text for _, _, text in blocks("console") if text.startswith("$ tunedeploy --help\n"))
    environment = os.environ | {"COLUMNS": "100"}
    program = Path(sys.executable).with_name("tunedeploy")
    live = subprocess.run([program, "--help"], env=environment, capture_output=True, text=True, check=True).stdout
    assert shown.partition("\n")[2].strip() == live.strip()


def test_the_table_of_plugins_in_the_readme_is_what_list_prints() -> None:
    command = [sys.executable, "-m", "tunedeploy", "list", "--json"]
    listed = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    rows = [row for row in table_rows("README.md", "## Tasks, methods") if f"{row[0]}s" in plugins.AXES]
    shown: dict[str, dict[str, str]] = {axis: {} for axis in plugins.AXES}
    for axis, name, text in rows:
        shown[f"{axis}s"][name.strip("`")] = text
    own = {
        axis: {name: text for name, text in names.items() if is_a_file(axis, name)} for axis, names in listed.items()
    }
    assert shown == own


def is_a_file(axis: str, name: str) -> bool:
    """Whether a plug-in is ours; other installed packages may bring more."""
    return (CHECKOUT / "tunedeploy" / axis / f"{name.replace('-', '_')}.py").is_file()


def keys_of_schema() -> dict[str, dict[str, Any]]:
    properties = recipe.schema()["properties"]
    known = {"task": properties.pop("task")}
    for section, entry in properties.items():
        record = next(one for one in entry.get("anyOf", [entry]) if "properties" in one)
        known |= {f"{section}.{key}": value for key, value in record["properties"].items()}
    return known


def test_every_key_of_the_recipe_is_explained_with_its_default() -> None:
    shown = {row[0].strip("`"): row[1] for row in table_rows("docs/recipe.md", "## Every key")}
    known = keys_of_schema()
    assert set(shown) == set(known)
    for key, entry in known.items():
        if "default" not in entry:
            assert shown[key] == "required", key
            continue
        assert yaml.safe_load(shown[key].strip("`")) == entry["default"], key


def test_defaults_of_methods_and_tasks_are_those_of_the_code() -> None:
    rows = table_rows("docs/methods.md", "## Defaults of the methods")
    shown = {(name, key.strip("`")): yaml.safe_load(value.strip("`")) for name, key, value in rows}
    known: dict[tuple[str, str], Any] = {}
    for method in plugins.names("methods"):
        known |= {(method, key): value for key, value in plugins.load("methods", method).DEFAULTS.items()}
    for task in plugins.names("tasks"):
        module = plugins.load("tasks", task)
        known |= {(task, key): value for key, value in getattr(module, "DEFAULTS", {}).items()}
        for method, defaults in module.METHOD_DEFAULTS.items():
            known |= {(f"{task} with {method}", key): value for key, value in defaults.items()}
        for method, defaults in module.NEW_MODEL_DEFAULTS.items():
            known |= {(f"{task} with {method}, new model", key): value for key, value in defaults.items()}
    assert known
    assert shown == known


def test_targets_and_their_limits_are_those_of_the_code() -> None:
    shown = {row[0].strip("`"): row[1:] for row in table_rows("docs/export.md", "## Targets")}
    assert set(shown) == set(plugins.names("targets"))
    for name, (opset, largest, banned) in shown.items():
        limits = plugins.load("targets", name).LIMITS
        number, unit = largest.split()
        assert int(opset) == limits.opset
        assert float(number) == pytest.approx(limits.max_bytes / {"MB": 1e6, "GB": 1e9}[unit], rel=0.03)
        assert banned == ", ".join(sorted(limits.banned))


def test_json_in_the_pages_is_json() -> None:
    found = blocks("json")
    assert len(found) >= 8
    for _, _, text in found:
        json.loads(text)


def test_init_writes_a_recipe_that_is_read_and_says_so_as_documented(tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text("review,label\nA warm film.,good\nA cold film.,bad\n", encoding="utf-8")
    command = [sys.executable, "-m", "tunedeploy", "init", "reviews.csv", "-o", "recipe.yaml", "--json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    written = recipe.read(tmp_path / "recipe.yaml")
    assert (written.task, written.data.train) == ("text-classification", str(tmp_path / "reviews.csv"))
    shown = next(text for page, _, text in blocks("json") if page == "json.md" and '"model_installed"' in text)
    assert set(json.loads(done.stdout)) == set(json.loads(shown))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
