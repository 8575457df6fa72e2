"""`pytest --tunedeploy-bundle=DIST` in a user's own repository: a test a check, JUnit as usual."""

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import onnx

from tests.finished import Finished, repair_bundle


def run_pytest(folder: Path, dist: Path) -> tuple[int, str, list[ElementTree.Element]]:
    """Exit code, output and JUnit test cases of pytest in an empty repository."""
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=junit.xml"]
    done = subprocess.run(
        [*command, f"--tunedeploy-bundle={dist}"], cwd=folder, capture_output=True, text=True, check=False
    )
    cases = list(ElementTree.parse(folder / "junit.xml").iter("testcase"))
    return done.returncode, done.stdout, cases


def test_a_healthy_bundle_is_four_green_tests(text_run: Finished, tmp_path: Path) -> None:
    code, said, cases = run_pytest(tmp_path / "repository", text_run.dist)
    assert code == 0, said
    assert [case.get("name") for case in cases] == ["integrity", "parity", "preprocessing", "metric"]


def test_a_configuration_that_comes_from_the_bundle_is_refused(text_run: Finished, tmp_path: Path) -> None:
    """With a space, pytest takes the folder for an argument of its own, and reads its configuration there."""
    (text_run.dist / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "--tunedeploy-bundle", str(text_run.dist)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "write --tunedeploy-bundle=" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_changed_weight_is_a_red_test_with_one_line_and_no_traceback(text_run: Finished, tmp_path: Path) -> None:
    path = text_run.dist / "onnx" / "model.onnx"
    model = onnx.load(path)
    weight = next(one for one in model.graph.initializer if one.name == "head.weight")
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))
    onnx.save(model, path)
    repair_bundle(text_run.dist)
    code, said, cases = run_pytest(tmp_path / "repository", text_run.dist)
    assert code == 1
    failed = [str(case.get("name")) for case in cases if case.find("failure") is not None]
    assert "parity" in failed
    assert "integrity" not in failed
    assert "onnx/model.onnx" in said
    assert "Traceback" not in said
