"""examples/python_app.py runs on the code that its bundle brings, and answers as the bundle does."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.finished import Finished
from tests.tiny import tiny_task
from tunedeploy import plugins
from tunedeploy.proof.bundle import load_bundle


def answers_of_app(checkout: Path, dist: Path, inputs: list[str], variant: str = "fp32") -> list[tuple[str, str]]:
    """Label and probability as the app prints them, run from a folder where tunedeploy is not to be found."""
    program = checkout / "examples" / "python_app.py"
    command = [sys.executable, "-I", str(program), str(dist), *inputs, "--variant", variant]
    done = subprocess.run(command, cwd=dist, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return [(line.split("\t")[0], line.split("\t")[1]) for line in done.stdout.splitlines() if line.count("\t") > 1]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_its_answers_to_texts_are_the_bundle_s(variant: str, text_run: Finished, checkout: Path) -> None:
    edges = plugins.load("tasks", "text-classification").edge_rows({})
    inputs = ["soup and bread", "a goal", *(row["text"] for row in edges if "\n" not in row["text"])]
    expected = load_bundle(text_run.dist).predict(inputs, variant)
    got = answers_of_app(checkout, text_run.dist, inputs, variant)
    assert got == [(one["label"], f"{one['probability']:.4f}") for one in expected]
    assert len(got) > 5


def test_its_answers_to_images_are_the_bundle_s(image_run: Finished, checkout: Path, tmp_path: Path) -> None:
    rows = [tiny_task("image-classification").row, *plugins.load("tasks", "image-classification").edge_rows({})]
    paths = [tmp_path / f"{at}.png" for at in range(len(rows))]
    for path, row in zip(paths, rows, strict=True):
        if isinstance(row["image"], Image.Image):
            row["image"].save(path)
        else:
            path.write_bytes(row["image"])
    inputs = [str(path) for path in paths]
    expected = load_bundle(image_run.dist).predict(inputs)
    assert answers_of_app(checkout, image_run.dist, inputs) == [
        (one["label"], f"{one['probability']:.4f}") for one in expected
    ]
    assert len(expected) > 10
