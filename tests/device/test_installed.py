"""`pip install tunedeploy`, without an extra, is a device: it opens and checks a bundle, and says what it lacks."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import distributions
from pathlib import Path

import pytest

from tests.test_older_bundles import ANSWERS, ARCHIVE

pytestmark = pytest.mark.slow
TRAINING = {"torch", "transformers", "onnx", "peft", "datasets", "scikit-learn", "accelerate", "pyarrow", "safetensors"}


@pytest.fixture(scope="module")
def environment(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment with the tested versions of what a device needs, and pytest."""
    folder = tmp_path_factory.mktemp("device")
    for name in ("pyproject.toml", "README.md", "LICENSE", "constraints.txt"):
        shutil.copy(checkout / name, folder)
    shutil.copytree(checkout / "tunedeploy", folder / "tunedeploy", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    pip = [folder / "env" / "bin" / "python", "-m", "pip", "install", "-q", "--retries", "1"]
    done = subprocess.run([*pip, "-c", "constraints.txt", ".", "pytest"], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install it here: {done.stderr.strip().splitlines()[-1]}")
    return folder / "env" / "bin"


@pytest.fixture
def dist(tmp_path: Path) -> Path:
    """A bundle of texts."""
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(tmp_path / "dist")
    return tmp_path / "dist"


def run(environment: Path, *command: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A program of the environment, which finds nothing of this checkout."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    program = [environment / command[0], *command[1:]]
    return subprocess.run(program, cwd=folder, env=clean, capture_output=True, text=True)


def test_nothing_that_training_needs_is_installed(environment: Path) -> None:
    (packages,) = environment.parent.glob("lib/*/site-packages")
    names = {one.metadata["Name"].lower() for one in distributions(path=[str(packages)])}
    assert {"tunedeploy", "onnxruntime", "tokenizers"} <= names
    assert not names & TRAINING


def test_a_bundle_answers_scores_verifies_and_is_timed(environment: Path, dist: Path, tmp_path: Path) -> None:
    lines = ["text,label", *(f"{text},{label}" for text, label in ANSWERS.items())]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = {
        command: run(environment, "tunedeploy", *command.split(), folder=tmp_path)
        for command in ("predict dist snow", "eval dist --data rows.csv", "verify dist", "bench dist")
    }
    assert {command: done.stderr for command, done in said.items() if done.returncode} == {}
    assert "weather" in said["predict dist snow"].stdout
    assert "100.00 % of 3 rows" in said["eval dist --data rows.csv"].stdout


def test_the_pytest_plug_in_checks_a_bundle(environment: Path, dist: Path, tmp_path: Path) -> None:
    (tmp_path / "repository").mkdir()
    done = run(environment, "pytest", "-q", f"--tunedeploy-bundle={dist}", folder=tmp_path / "repository")
    assert "4 passed" in done.stdout, done.stdout + done.stderr


def test_training_is_one_line_with_the_cure(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("text,label\na,b\nc,d\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text("task: text-classification\nmodel: rows.csv\ndata: {train: rows.csv}\n")
    done = run(environment, "tunedeploy", "train", "recipe.yaml", folder=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "pip install 'tunedeploy[train]'" in done.stderr.splitlines()[0]
