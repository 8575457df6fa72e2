"""The command line says what it can do, at once, and a mistyped command is told so in a line."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from tunedeploy import plugins
from tunedeploy.cli.commands import app

HEAVY = ("torch", "transformers", "onnx", "onnxruntime", "datasets", "peft", "numpy")
CONTRACT = {
    "init", "plan", "train", "merge", "export", "run", "verify", "eval", "predict", "bench", "diagnose", "report",
    "list", "schema", "doctor",
}  # fmt: skip
COMMANDS: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def tunedeploy(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"COLUMNS": "100"}
    return subprocess.run(
        [sys.executable, "-m", "tunedeploy", *arguments], env=environment, capture_output=True, text=True
    )


def test_every_command_of_the_contract_is_there() -> None:
    assert set(COMMANDS) >= CONTRACT


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_says_what_it_does_and_what_each_option_is_for(name: str) -> None:
    command = COMMANDS[name]
    assert command.help and command.help.splitlines()[0].endswith(".")
    assert not [one.name for one in command.params if not one.help]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_an_example_that_can_be_typed(name: str) -> None:
    examples = COMMANDS[name].epilog.splitlines()
    assert examples
    for line in examples:
        program, own, *arguments = shlex.split(line.partition(" >")[0], comments=True)
        assert (program, own) == ("tunedeploy", name)
        COMMANDS[name].make_context(name, arguments)  # raises for an option or an argument that does not exist
    assert f"Examples:\n  {examples[0]}\n" in tunedeploy(name, "--help").stdout


def test_no_task_is_named_in_the_code_of_the_terminal(checkout: Path) -> None:
    sources = {path.name: path.read_text(encoding="utf-8") for path in (checkout / "tunedeploy" / "cli").glob("*.py")}
    names = plugins.names("tasks")
    assert len(sources) > 5 and len(names) > 3
    assert not [(file, name) for file, text in sources.items() for name in names if name in text]


def test_the_help_has_its_commands_in_three_groups() -> None:
    groups = re.findall(r"^(\w+):\n((?:  .*\n)+)", tunedeploy("--help").stdout, re.MULTILINE)
    listed = {title: re.findall(r"^  ([a-z]+)", text, re.MULTILINE) for title, text in groups if title != "Options"}
    assert list(listed) == ["Start", "Use", "Inspect"]
    assert sorted(name for names in listed.values() for name in names) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_takes_json(name: str) -> None:
    assert "--json" in {option for one in COMMANDS[name].params for option in one.opts}


@pytest.mark.parametrize("arguments", [["--help"], ["plan", "--help"], ["list"], ["list", "--json"]], ids=" ".join)
def test_help_and_list_load_nothing_heavy(arguments: list[str]) -> None:
    code = (
        "import sys\nfrom tunedeploy.cli.commands import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = done.stdout.rpartition("LOADED")[2].split()
    assert "tunedeploy.cli.commands" in loaded
    assert not set(HEAVY) & set(loaded)


@pytest.mark.parametrize(
    "arguments",
    [["verfy", "dist"], ["verify"], ["verify", "dist", "--chekcs", "metric"], ["bench", "dist", "too", "many"]],
    ids=["no such command", "nothing to verify", "no such option", "too many arguments"],
)
def test_a_mistyped_command_exits_with_2_and_no_traceback(arguments: list[str]) -> None:
    done = tunedeploy(*arguments)
    assert done.returncode == 2, done.stderr[-500:]
    assert "Traceback" not in done.stderr
    assert re.search(r"Error|error", done.stderr)


def test_an_unknown_axis_exits_with_2_in_one_line() -> None:
    done = tunedeploy("list", "task")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: list: unknown axis 'task'; known: tasks, methods, objectives, precisions, targets\n"


def test_a_path_that_is_no_run_exits_with_1_in_one_line() -> None:
    done = tunedeploy("verify", "nowhere")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: nowhere: is not a run folder")
