"""Every recipe in recipes/ makes a bundle, and the example app and the documented JSON agree with that bundle."""

import csv
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.tiny import tiny_task
from tunedeploy import plugins
from tunedeploy.recipe import read as recipe

CHECKOUT = Path(__file__).resolve().parent.parent
RECIPES = sorted((CHECKOUT / "recipes").glob("*.yaml"))
# One recipe a task goes all the way to a bundle. The other methods end in the same graph with other weights.
LEADING = sorted(
    {yaml.safe_load(path.read_text(encoding="utf-8"))["task"]: path for path in reversed(RECIPES)}.values()
)
TRAINING_SIDE = ("torch", "tunedeploy", "transformers")
EVAL_ROWS = 48  # spread over the file: enough for a metric, few enough for a test
TRAIN_ROWS = {
    "text": 160,
    "token": 160,
    "image": 48,
    "translation": 160,
}  # the banking77 recipes need a row of each of 77 classes
SMALL = {
    "text": ["data.max_length=32"],
    "token": ["data.max_length=32"],
    "image": ["data.image_size=96"],
    "translation": ["data.max_length=16", "data.max_target_length=16", "tune.width=32", "tune.vocabulary=400"],
}


def test_there_is_a_recipe_for_every_task_and_method() -> None:
    found = {path.stem for path in RECIPES}
    tasks = ("text-classification", "image-classification")
    assert found >= {f"{task}-{method}" for task in tasks for method in ("lora", "last-layer", "full")}
    assert {name.rpartition("-")[0].removesuffix("-last") for name in found} == set(plugins.names("tasks"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_is_short_and_named_after_its_task_and_method(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    content = yaml.safe_load(text)
    assert len(text.splitlines()) <= 12
    assert path.stem == f"{content['task']}-{content['tune']['method']}"


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_sets_only_what_differs_from_the_defaults(path: Path, assets: Path, tmp_path: Path) -> None:
    copy = beside_assets(path, assets, tmp_path)
    content = yaml.safe_load(copy.read_text(encoding="utf-8"))
    bare = tmp_path / "bare.yaml"
    needed = {"task": content["task"], "model": content["model"], "data": {"train": content["data"]["train"]}}
    bare.write_text(yaml.safe_dump(needed | {"tune": {"method": content["tune"]["method"]}}), encoding="utf-8")
    default, own = recipe.read(bare).resolved(), recipe.read(copy).resolved()
    repeated = [
        f"{section}.{key}"
        for section in ("data", "train", "export")
        for key in content.get(section, {})
        if key != "train" and own[section][key] == default[section][key]
    ]
    assert not repeated


def beside_assets(path: Path, assets: Path, folder: Path) -> Path:
    """A copy of a recipe whose data are looked for in the folder of assets, wherever that is."""
    text = path.read_text(encoding="utf-8")
    assert "../../shared/" in text
    copy = folder / path.name
    copy.write_text(text.replace("../../shared/", f"{assets}/"), encoding="utf-8")
    return copy


def shortened(path: Path, assets: Path, folder: Path) -> tuple[Path, Path, list[str]]:
    """A recipe, a small part of its evaluation data, and the settings with which it takes a minute."""
    copy = beside_assets(path, assets, folder)
    own = recipe.read(copy)
    kind = own.task.partition("-")[0]
    small = small_part(Path(own.data.eval or own.data.train), folder)
    fast = [f"data.limit={TRAIN_ROWS[kind]}", f"data.eval={small}", "train.epochs=1", "export.max_drop=100"]
    return copy, small, [*fast, *SMALL[kind]]


def small_part(source: Path, folder: Path) -> Path:
    """A part of a data set, of its own kind."""
    if source.is_dir():
        return small_folder(source, folder)
    return small_table(source, folder) if source.suffix == ".csv" else small_sentences(source, folder)


def small_sentences(source: Path, folder: Path) -> Path:
    """Tagged sentences spread over a file."""
    sentences = source.read_text(encoding="utf-8").split("\n\n")
    path = folder / "small.conll"
    path.write_text("\n\n".join(sentences[:: len(sentences) // EVAL_ROWS]) + "\n", encoding="utf-8")
    return path


def small_table(source: Path, folder: Path) -> Path:
    """The header and rows spread over a csv file."""
    with source.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    path = folder / "small.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows[:: len(rows) // EVAL_ROWS]])
    return path


def small_folder(source: Path, folder: Path) -> Path:
    """Links to the first images of each class folder."""
    classes = [entry for entry in sorted(source.iterdir()) if entry.is_dir()]
    for entry in classes:
        (folder / "small" / entry.name).mkdir(parents=True)
        for image in islice(sorted(entry.iterdir()), EVAL_ROWS // len(classes)):
            (folder / "small" / entry.name / image.name).symlink_to(image)
    return folder / "small"


def tunedeploy(*arguments: str) -> Any:
    """The JSON document that a command prints."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "tunedeploy", *arguments, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("path", [path for path in RECIPES if path not in LEADING], ids=lambda path: path.stem)
@pytest.mark.usefixtures("minilm", "efficientnet_lite0")
def test_the_model_of_another_method_trains_and_merges(path: Path, assets: Path, tmp_path: Path) -> None:
    # What is merged has the shape that the leading recipe of the task exports, with other numbers in it.
    copy, _, settings = shortened(path, assets, tmp_path)
    run = tmp_path / "run"
    tunedeploy("train", str(copy), *settings, "--run", str(run))
    merged = tunedeploy("merge", str(run))
    assert merged["comparisons"]
    assert all(comparison["ok"] for comparison in merged["comparisons"])
    assert (run / "merged").is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("path", LEADING, ids=lambda path: path.stem)
@pytest.mark.usefixtures("minilm", "efficientnet_lite0")
def test_a_recipe_makes_a_bundle_that_holds(path: Path, assets: Path, tmp_path: Path) -> None:
    copy, small, settings = shortened(path, assets, tmp_path)
    task = recipe.read(copy).task
    run = tmp_path / "run"

    made = tunedeploy("run", str(copy), *settings, "--run", str(run))

    dist = run / "dist"
    assert (dist / "manifest.json").is_file()
    assert json.loads((run / "ledger.json").read_text(encoding="utf-8"))["ok"]
    assert set(made["variants"]) == {"fp32", "int8"}
    check_json(made, "## run RECIPE")
    check_json(tunedeploy("verify", str(dist)), "## verify PATH")
    score = tunedeploy("eval", str(dist), "--data", str(small), "--variant", "int8")
    assert {"metric", "value", "unit", "rows", "wrong"} <= score.keys() <= example("## eval PATH").keys()
    if task not in ("text-classification", "image-classification"):  # what the example app can show
        (answer, *_) = tunedeploy("predict", str(dist), "--data", str(small))["predictions"]
        assert answer.keys() == {"input", *tiny_task(task).answer}
        return
    inputs = inputs_of(small)
    predicted = tunedeploy("predict", str(dist), *inputs)
    check_json(predicted, "## predict PATH")
    assert app(dist, inputs) == [(one["label"], f"{one['probability']:.4f}") for one in predicted["predictions"]]


def inputs_of(small: Path) -> list[str]:
    """Three raw inputs of the evaluation rows, of different lengths or classes."""
    if small.is_dir():
        return [str(path) for path in sorted(small.glob("*/*"))[::20]]
    with small.open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in islice(csv.DictReader(file), 3)]


def app(dist: Path, inputs: list[str]) -> list[tuple[str, str]]:
    """Label and probability as the example app gives them, where nothing of the training side can be imported."""
    block = f"import runpy, sys; sys.modules.update(dict.fromkeys({TRAINING_SIDE!r}))"
    code = f"{block}; runpy.run_path({str(CHECKOUT / 'examples' / 'python_app.py')!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, str(dist), *inputs]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    return [(label, probability) for label, probability, _ in lines]


def example(heading: str) -> dict[str, Any]:
    """The document that docs/json.md shows under a heading."""
    page = (CHECKOUT / "docs" / "json.md").read_text(encoding="utf-8").partition(heading)[2]
    match = re.search(r"```json\n(.*?)```", page, re.DOTALL)
    assert match is not None, heading
    return json.loads(match.group(1))  # type: ignore[no-any-return]


def check_json(document: Mapping[str, Any], heading: str) -> None:
    """A document has the keys that docs/json.md shows, at the top and one level down."""
    shown = example(heading)
    assert set(document) == set(shown)
    for key, value in shown.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            assert document[key], f"{heading}: {key} is empty"
            assert set(document[key][0]) == set(value[0]), f"{heading}: {key}"
