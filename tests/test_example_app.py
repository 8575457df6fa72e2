"""examples/python_app.py, which people copy from, computes what the bundle computes, on edge rows too."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from examples.python_app import Model
from tests.finished import Finished
from tests.tiny import TASKS
from tunedeploy import plugins
from tunedeploy.bundle import load_bundle


def rows_of(task: str) -> list[Any]:
    return [TASKS[task]["row"], *plugins.load("tasks", task).edge_rows({})]


def test_texts_become_the_bundle_s_own_ids(text_run: Finished) -> None:
    bundle, rows = load_bundle(text_run.dist), rows_of("text-classification")
    expected = bundle.encoder.collate(bundle.encoder.encode(rows))
    got = Model(text_run.dist).texts([row["text"] for row in rows])
    assert got.keys() == expected.keys()
    for name in got:
        assert np.array_equal(got[name], expected[name]), name


def test_pairs_of_texts_become_the_bundle_s_own_ids(text_run: Finished) -> None:
    bundle = load_bundle(text_run.dist)
    rows = plugins.load("tasks", "text-classification").edge_rows({"text_pair": ""})
    expected = bundle.encoder.collate(bundle.encoder.encode(rows))
    got = Model(text_run.dist).texts([(row["text"], row["text_pair"]) for row in rows])
    assert expected["token_type_ids"].max() == 1
    for name in got:
        assert np.array_equal(got[name], expected[name]), name


def test_images_become_the_bundle_s_own_pixels(image_run: Finished, tmp_path: Path) -> None:
    bundle, rows = load_bundle(image_run.dist), rows_of("image-classification")
    paths = []
    for at, row in enumerate(rows):
        path = tmp_path / f"{at}.png"
        if isinstance(row["image"], bytes):
            path.write_bytes(row["image"])
        else:
            row["image"].save(path)
        paths.append(str(path))
    expected = bundle.encoder.collate(bundle.encoder.encode(rows))["pixel_values"]
    got = Model(image_run.dist).images(paths)["pixel_values"]
    assert len(got) == len(rows) > 10
    for at, (one, other) in enumerate(zip(got, expected, strict=True)):
        assert np.array_equal(one, other), f"{at}: off by {np.abs(one - other).max()}"


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_its_answers_are_the_bundle_s(variant: str, text_run: Finished) -> None:
    inputs = ["soup and bread", "a goal", "snow"]
    expected = [(one["label"], one["probability"]) for one in load_bundle(text_run.dist).predict(inputs, variant)]
    got = Model(text_run.dist, variant).predict(inputs)
    assert [(label, round(probability, 6)) for label, probability in got] == expected
