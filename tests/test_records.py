"""What a stage writes has one definition: a typo in it is a type error, and what is read back is held to it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.finished import TASKS, Finished
from tunedeploy.run import pipeline
from tunedeploy.run.records import RESULTS

TYPOS = {
    "a key that a record has not": ('RunDir(Path()).record("train").result["lables"]', "lables"),
    "a figure of a variant": ('RunDir(Path()).record("quantize").result["variants"]["int8"]["byts"]', "byts"),
    "an entry of the ledger": ('RunDir(Path()).ledger()["comparisons"][0]["vale"]', "vale"),
    "a member of a task": ('plugins.load("tasks", "x").metric_nam', "metric_nam"),
    "a member of a method": ('plugins.load("methods", "x").CACHES_FEATURE', "CACHES_FEATURE"),
}


def test_every_stage_has_a_definition_of_its_result() -> None:
    assert set(RESULTS) == set(pipeline.STAGES)


@pytest.mark.parametrize("task", TASKS)
def test_a_stage_writes_the_keys_that_its_definition_has(task: str, finished: Callable[[str], Finished]) -> None:
    rundir = finished(task).rundir
    for stage, kind in RESULTS.items():
        result = rundir.record(stage).result
        required, known = kind.__required_keys__, kind.__annotations__.keys()  # type: ignore[attr-defined]
        assert required <= result.keys() <= known, stage
    for name, one in rundir.record("quantize").result["variants"].items():
        assert {"file", "metric", "drop", "bytes", "ms", "flips", "flips_allowed", "gain", "agreement"} <= one.keys(), (
            name
        )


@pytest.mark.slow
def test_a_typo_at_a_seam_is_a_type_error(checkout: Path, tmp_path: Path) -> None:
    lines = ["from pathlib import Path", "from tunedeploy import plugins", "from tunedeploy.run.folder import RunDir"]
    (tmp_path / "typos.py").write_text("\n".join([*lines, *(code for code, _ in TYPOS.values())]) + "\n")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--config-file",
        str(checkout / "pyproject.toml"),
        str(tmp_path / "typos.py"),
    ]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.stdout.count(": error: ") == len(TYPOS), done.stdout
    for number, (_, typo) in enumerate(TYPOS.values(), start=len(lines) + 1):
        assert [line for line in done.stdout.splitlines() if f"typos.py:{number}: " in line and f'"{typo}"' in line]
