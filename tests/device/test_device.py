"""The device room stands alone: what it imports, what travels in a bundle, and what runs on that copy."""

import ast
import filecmp
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.finished import Finished, edit_json, repair_bundle
from tests.test_bundle import parity_kit
from tunedeploy import device
from tunedeploy.proof.bundle import load_bundle

DEVICE = Path(device.__file__).parent
ANYWHERE = {"numpy", "onnxruntime"}
IN_ENCODERS = {"tokenizers", "PIL", "pillow_heif"}
IN_THE_KIT = {"pytest"}
IN_TEXT_SCORES = {"sacrebleu"}  # of decisions/text.py, which loads it where BLEU is asked for


def imported(path: Path) -> Iterator[str]:
    """Top-level names of the packages that a file imports anywhere; of its own it may only import by relative names."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            assert node.level <= len(path.relative_to(DEVICE).parts), f"{path}: reaches out of device/"


def test_it_imports_nothing_but_what_a_device_has() -> None:
    seen = set()
    for path in sorted(DEVICE.rglob("*.py")):
        room = path.relative_to(DEVICE).parts[0]
        allowed = ANYWHERE | (IN_ENCODERS if room == "encoders" else IN_THE_KIT if room == "kit" else set())
        allowed |= IN_TEXT_SCORES if path == DEVICE / "decisions" / "text.py" else set()
        packages = set(imported(path)) - sys.stdlib_module_names
        assert packages <= allowed, f"{path}: {', '.join(sorted(packages - allowed))}"
        seen |= packages
    assert seen == ANYWHERE | IN_ENCODERS | IN_THE_KIT | IN_TEXT_SCORES


def differences(comparison: "filecmp.dircmp[str]") -> list[str]:
    """Files that only one of two folders has, or that differ, as `diff -r` would say."""
    own = [*comparison.left_only, *comparison.right_only, *comparison.funny_files]
    own += filecmp.cmpfiles(comparison.left, comparison.right, comparison.common_files, shallow=False)[1]
    return [*own, *(name for below in comparison.subdirs.values() for name in differences(below))]


def test_the_copy_in_a_bundle_is_the_package_s_own_folder(text_run: Finished) -> None:
    copy = text_run.dist / "parity" / "device"
    assert differences(filecmp.dircmp(DEVICE, copy, ignore=["__pycache__"])) == []
    assert len(list(copy.rglob("*.py"))) > 15
    listed = load_bundle(text_run.dist).manifest["files"]
    assert {f"parity/device/{path.relative_to(copy).as_posix()}" for path in copy.rglob("*.py")} <= listed.keys()


def test_code_that_was_changed_in_a_bundle_is_a_breach_and_is_not_run(text_run: Finished) -> None:
    path = text_run.dist / "parity" / "device" / "decisions" / "classes.py"
    path.write_text("raise SystemExit('the bundle ran its own code')\n", encoding="utf-8")
    made = load_bundle(text_run.dist).verify()
    assert [(one.file, one.name) for one in made if not one.ok] == [
        ("parity/device/decisions/classes.py", "file changed")
    ]


def test_two_kits_run_in_one_process(text_run: Finished, image_run: Finished, tmp_path: Path) -> None:
    folders = [str(run.dist / "parity") for run in (text_run, image_run)]
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "--import-mode=importlib", *folders]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "failed" not in done.stdout


def test_a_link_in_the_place_of_the_tokenizer_fails_the_kit(text_run: Finished, tmp_path: Path) -> None:
    path = text_run.dist / "tokenizer.json"
    shutil.move(path, tmp_path / "elsewhere.json")
    path.symlink_to(tmp_path / "elsewhere.json")
    done = parity_kit(text_run)
    assert done.returncode != 0
    assert "is a link" in done.stdout


def test_a_bundle_from_before_it_brought_its_code_opens_and_verifies(text_run: Finished) -> None:
    shutil.rmtree(text_run.dist / "parity" / "device")
    repair_bundle(text_run.dist)
    bundle = load_bundle(text_run.dist)
    assert bundle.predict(["soup and bread"])[0]["label"] == "food"
    assert [one.line() for one in bundle.verify() if not one.ok] == []


@pytest.mark.parametrize("kind", ["audio", "__init__", "../text", None, 3])
def test_a_kind_of_input_that_is_none_is_one_line(kind: object, text_run: Finished) -> None:
    manifest = load_bundle(text_run.dist).manifest
    edit_json(text_run.dist / "manifest.json", preprocessing={**manifest["preprocessing"], "kind": kind})
    lines = [one.line() for one in load_bundle(text_run.dist).verify() if not one.ok]
    assert any("is not a kind of input; known: image, text" in line for line in lines), lines
    assert all("\n" not in line for line in lines)
