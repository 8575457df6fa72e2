"""What a finished command leaves on the terminal: a short summary, a line of ledger, and commands that can be typed."""

import os
import pty
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.finished import Finished, edit_json, repair_bundle
from tests.test_cli import Command, refused
from tests.test_cli import tunedeploy as tunedeploy  # a fixture
from tunedeploy import __version__
from tunedeploy.cli.summary import ledger_text
from tunedeploy.device.files import read_json


@pytest.fixture
def here(text_run: Finished, tunedeploy: Command) -> Finished:
    """A finished run under a short relative path, with a blank in its name."""
    text_run.run.rename("my run")
    return Finished(recipe=text_run.recipe, run=Path("my run"))


def test_a_run_ends_with_what_was_trained_how_good_and_large_it_is_and_where(
    tunedeploy: Command, here: Finished
) -> None:
    done = tunedeploy("run", here.recipe, "--run", here.run)
    assert done.code == 0, done.err
    assert done.out.startswith("text-classification with lora: ")
    metric = here.rundir.record("train").result["metrics"]["accuracy"]
    variants = here.rundir.record("quantize").result["variants"]
    for name in ("fp32", "int8"):
        line = next(line for line in done.out.splitlines() if line.startswith(name))
        assert f"{variants[name]['metric']:.2f}" in line
        assert f"{variants[name]['bytes'] / 1e6:.2f}" in line
    assert f"{metric:.2f}" in done.out
    assert "report: my run/report.html" in done.out
    assert done.out.splitlines()[-1] == "bundle: my run/dist"


def test_a_run_prints_the_whole_ledger_only_when_asked(tunedeploy: Command, here: Finished) -> None:
    ledger = here.rundir.shipped()["ledger"]
    for command in (("run", here.recipe, "--run", here.run), ("export", here.run), ("verify", here.run)):
        short, long = tunedeploy(*command), tunedeploy(*command, "--verbose")
        assert re.search(r"^\d+ comparisons held, \d+ reported only$", short.out, re.MULTILINE), command
        assert ledger[0]["name"] not in short.out
        assert "labels out of order" in long.out
        assert long.out.count("held\n") > 20


def test_a_comparison_without_a_limit_is_reported_and_counts_neither_as_held_nor_as_broken() -> None:
    held, reported, broken = (
        {"name": f"{ok} {limit}", "stage": "s", "value": 1.0, "limit": limit, "at_most": True, "rows": 1, "ok": ok}
        for ok, limit in ((True, 2.0), (True, None), (False, 0.5))
    )
    assert ledger_text([held, held], verbose=False) == "2 comparisons held"
    assert ledger_text([held, reported, held], verbose=False) == "2 comparisons held, 1 reported only"
    text = ledger_text([held, reported, broken], verbose=True)
    assert text.splitlines()[-1] == "1 of 2 comparisons did not hold, 1 reported only"
    assert [line.rpartition("  ")[2].strip() for line in text.splitlines()[1:4]] == ["held", "reported only", "BREACH"]


def test_the_commands_to_go_on_with_can_be_typed(tunedeploy: Command, here: Finished) -> None:
    out = tunedeploy("export", here.run).out
    commands = [line.strip() for line in out.partition("next:\n")[2].splitlines()[:3]]
    assert len(commands) == 3 and all(line.startswith("tunedeploy ") for line in commands)
    for line in commands:
        assert tunedeploy(*shlex.split(line)[1:]).code == 0, line


def test_sixty_columns_are_enough(tunedeploy: Command, here: Finished, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    for command in (("export", here.run), ("verify", here.run, "--verbose"), ("plan", here.recipe)):
        done = tunedeploy(*command)
        paths = re.compile(r"^(bundle id: |model|data|  tunedeploy |  value /)|/")  # a path is as long as it is
        long = [line for line in done.out.splitlines() if len(line) > 60 and not paths.search(line)]
        assert not long, command


def test_a_breach_prints_the_rows_that_did_not_hold_and_no_others(tunedeploy: Command, here: Finished) -> None:
    edit_json(here.dist / "parity" / "golden.json", labels=["sport", "food", "weather"])
    repair_bundle(here.dist)
    done = tunedeploy("verify", here.dist)
    assert done.code == 3
    assert "BREACH" in done.out
    assert not re.search(r"held$", done.out.partition("\n\n")[0], re.MULTILINE)
    assert re.search(r"^1 of \d+ comparisons did not hold(, \d+ reported only)?$", done.out, re.MULTILINE)


def test_quiet_leaves_the_last_line_and_answers_whole(tunedeploy: Command, here: Finished) -> None:
    for command, line in (
        (("run", here.recipe, "--run", here.run), "bundle: my run/dist"),
        (("export", here.run), "bundle: my run/dist"),
        (("report", here.run), "my run/report.html"),
    ):
        done = tunedeploy(*command, "--quiet")
        assert (done.code, done.out, done.err) == (0, f"{line}\n", "")
    done = tunedeploy("predict", here.dist, "soup", "rain", "-q")
    assert done.err == ""
    assert len(done.out.splitlines()) == 3
    refused(tunedeploy("run", "no.yaml", "--quiet"), "no.yaml")


def test_run_json_says_where_the_report_is(tunedeploy: Command, here: Finished) -> None:
    assert tunedeploy("export", here.run, "--json").document["report"] == "my run/report.html"


def on_a_terminal(arguments: list[str | Path], **environment: str) -> str:
    """What a command writes to a terminal of its own."""
    ours, its = pty.openpty()
    command = [sys.executable, "-m", "tunedeploy", *map(str, arguments)]
    with subprocess.Popen(command, stdout=its, stderr=its, env={**os.environ, **environment}) as process:
        os.close(its)
        parts = []
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            parts.append(part)
    os.close(ours)
    assert process.returncode is not None
    return b"".join(parts).decode()


def test_colour_is_for_terminals(finished: Callable[[str], Finished], tunedeploy: Command) -> None:
    dist = finished("text-classification").dist
    shown = on_a_terminal(["verify", dist], TERM="xterm", COLUMNS="80")
    assert re.search("\x1b\\[32m\\d+ comparisons held\x1b\\[0m", shown)
    assert "\x1b[32m" not in on_a_terminal(["verify", dist], TERM="xterm", NO_COLOR="1")
    assert "\x1b[31merror:\x1b[0m" in on_a_terminal(["verify", "nowhere"], TERM="xterm")
    assert "\x1b" not in tunedeploy("verify", dist).out


# ---- the command line


def test_version_is_a_line(tunedeploy: Command) -> None:
    assert tunedeploy("--version").out == f"tunedeploy {__version__}\n"


def test_set_is_the_same_as_a_bare_override(tunedeploy: Command, text_run: Finished) -> None:
    done = tunedeploy(
        "plan", text_run.recipe, "train.lr=0.02", "--set", "train.epochs=3", "--set", "train.lr=0.03", "--json"
    )
    recipe = done.document["recipe"]
    assert recipe["train.epochs"] == {"value": 3, "source": "command line"}
    assert recipe["train.lr"]["value"] == 0.03


def test_a_dry_run_is_the_plan_and_leaves_nothing(tunedeploy: Command, text_run: Finished) -> None:
    planned = tunedeploy("plan", text_run.recipe, "--json").document
    dry = tunedeploy("run", text_run.recipe, "--dry-run", "--json").document
    assert dry["recipe"] == planned["recipe"]
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize("command", ["run", "plan", "train"])
def test_data_in_the_place_of_a_recipe_is_told_in_a_line(command: str, tunedeploy: Command) -> None:
    Path("my data.csv").write_text("text,label\na,b\n")
    Path("photos").mkdir()
    refused(
        tunedeploy(command, "my data.csv"),
        "my data.csv: this is data, not a recipe; write one with 'tunedeploy init",
        "init 'my data.csv'",
    )
    refused(tunedeploy(command, "photos"), "photos: this is data, not a recipe")


def test_the_shell_gets_its_completion() -> None:
    environment = {
        **os.environ,
        "_TUNEDEPLOY_COMPLETE": "complete_bash",
        "COMP_WORDS": "tunedeploy pr",
        "COMP_CWORD": "1",
    }
    done = subprocess.run([sys.executable, "-m", "tunedeploy"], capture_output=True, text=True, env=environment)
    assert "predict" in done.stdout.split(), done


def test_what_a_run_printed_is_what_is_there(tunedeploy: Command, here: Finished) -> None:
    out = tunedeploy("export", here.run).out
    assert Path(re.search(r"^report: (.*)$", out, re.MULTILINE)[1]).is_file()  # type: ignore[index]
    assert read_json(here.dist / "manifest.json")["variants"].keys() == {"fp32", "int8"}


def test_a_plan_lists_what_differs_from_the_defaults_and_all_of_it_when_asked(
    tunedeploy: Command, text_run: Finished
) -> None:
    document = tunedeploy("plan", text_run.recipe, "--json").document
    defaults = [key for key, one in document["recipe"].items() if one["source"].startswith("default")]
    short, long = tunedeploy("plan", text_run.recipe).out, tunedeploy("plan", text_run.recipe, "--all").out
    assert "tune.method" in short and "train.lr" in short
    assert not [key for key in defaults if key in short]
    assert f"and {len(defaults)} defaults; --all lists them" in short
    assert not [key for key in defaults if key not in long]
    assert "for training alone" in short
