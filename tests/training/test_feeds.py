"""A frozen trunk is run once, its kept features are what it would give each time; augmentation is reproducible."""

import shutil
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.tiny import Tiny, attached_of, base_of
from tunedeploy import progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.device.encoders.image import ImageFacts, open_image
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.head import HeadOnly
from tunedeploy.models.image_input import TorchvisionEncoder
from tunedeploy.recipe.read import TrainOptions
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.training import feeds
from tunedeploy.training.feeds import FeatureFeed, Feed

PRESETS = TrainOptions.model_json_schema()["properties"]["augment"]["enum"]
TASKS = ("text-classification", "image-classification")


class Heard:
    """Names of the long tasks that were told of."""

    def __init__(self) -> None:
        self.tasks: set[str] = set()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        self.tasks.add(name)


def last_layer(tiny: Tiny, path: Path, task: str, **train: Any) -> Any:
    return tiny.recipe(path / "r.yaml", task, tune={"method": "last-layer"}, train={"epochs": 5} | train)


def trained(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path / "train" / "head.safetensors")


@pytest.mark.parametrize("task", TASKS)
def test_kept_features_are_what_the_trunk_gives_each_time(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = last_layer(tiny, tmp_path, task)
    pipeline.run(recipe, RunDir(tmp_path / "run"), until="train")
    data = data_of(recipe)
    assembly = attached_of(recipe)
    for name, rows in (("train", data.train), ("eval", data.eval)):
        (file,) = (tmp_path / "run" / "cache" / "features").glob(f"{name}-*.npy")
        kept = np.load(file)
        feed = Feed(rows, assembly)
        with torch.inference_mode():
            again = np.concatenate([assembly.model.features(**feed.inputs(np.array([at]))) for at in range(len(rows))])
        assert kept.dtype == np.float32
        assert np.abs(kept - again).max() < 1e-5 * np.abs(kept).max()


@pytest.mark.parametrize("task", TASKS)
def test_a_second_training_reads_the_features_and_ends_the_same(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe, rundir = last_layer(tiny, tmp_path, task), RunDir(tmp_path / "run")
    first, second = Heard(), Heard()
    with progress.listen(first):
        pipeline.run(recipe, rundir, until="train")
    heads = [trained(rundir.path)]
    times = {path: path.stat().st_mtime_ns for path in (rundir / "cache" / "features").iterdir()}
    with progress.listen(second):
        pipeline.run(recipe, rundir, until="train", fresh=True)
    heads.append(trained(rundir.path))
    assert {"features of train rows", "features of eval rows"} <= first.tasks
    assert not [name for name in second.tasks if name.startswith("features")]
    assert {path: path.stat().st_mtime_ns for path in (rundir / "cache" / "features").iterdir()} == times
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_features_of_other_weights_in_the_same_folder_are_made_anew(tiny: Tiny, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny["bert"], tmp_path / "bert"))
    heads = []
    for scale in (1.0, 1.5):
        file = model / "model.safetensors"
        state = {name: value * scale for name, value in load_file(file).items()}
        save_file(state, file, metadata={"format": "pt"})
        recipe = tiny.recipe(
            tmp_path / "r.yaml", "text-classification", model=str(model), tune={"method": "last-layer"}
        )
        pipeline.run(recipe, RunDir(tmp_path / "run"), until="train")
        heads.append(trained(tmp_path / "run"))
    assert len(list((tmp_path / "run" / "cache" / "features").glob("train-*.npy"))) == 2
    assert not torch.equal(heads[0]["head.weight"], heads[1]["head.weight"])


def test_the_head_on_standardised_features_equals_the_plain_head_it_is_folded_into() -> None:
    torch.manual_seed(0)
    features = np.random.default_rng(0).normal(5, 3, (50, 16)).astype(np.float32)
    features[:, 3] = 7.0  # a feature that never moves
    model = Classifier(torch.nn.Identity(), width=16, labels=4, dropout=0.0)
    head, module = model.head, HeadOnly(model, features)
    torch.nn.init.normal_(module.linear.weight)
    torch.nn.init.normal_(module.linear.bias)
    module.write_back(head)
    feed = FeatureFeed("logits", features, places=[np.zeros(1, int)] * 50)
    inputs = feed.inputs(np.arange(50))["features"]
    expected = module(inputs)
    assert torch.isfinite(expected).all()
    assert (head(inputs) - expected).abs().max() < 1e-4 * expected.abs().max()


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("size", [(16, 16), (40, 23), (1, 1)], ids=str)
def test_a_preset_gives_finite_pixels_of_the_right_shape(preset: str, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    encoder = TorchvisionEncoder(ImageFacts(size=32, resize=36), augment=preset, seed=1)
    (row,) = encoder.encode([{"image": Image.fromarray(noise)}])
    pixels = row["pixel_values"]
    assert (pixels.shape, pixels.dtype) == ((3, 32, 32), np.float32)
    assert np.isfinite(pixels).all()
    assert np.abs(pixels).max() < 3  # 0..1 after ImageNet's mean and standard deviation


@pytest.mark.parametrize("preset", [one for one in PRESETS if one != "none"])
def test_the_seed_alone_decides_the_augmented_pixels(preset: str, tiny: Tiny) -> None:
    rows = [{"image": open_image(path)} for path in sorted(tiny["images"].glob("*/0*.png"))]

    def pixels(seed: int) -> np.ndarray:
        encoder = TorchvisionEncoder(ImageFacts(size=32, resize=32), augment=preset, seed=seed)
        return encoder.collate(encoder.encode(rows))["pixel_values"]

    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = pixels(1)
    assert torch.equal(torch.get_rng_state(), before), "dropout masks must not depend on the augmentation"
    torch.manual_seed(6)
    assert np.array_equal(pixels(1), first)
    assert not np.array_equal(pixels(2), first)
    assert len({row.tobytes() for row in first}) == len(first), "rows of a batch are augmented alike"


@pytest.mark.parametrize("preset", PRESETS)
def test_training_with_a_preset_twice_gives_the_same_bits(preset: str, tiny: Tiny, tmp_path: Path) -> None:
    heads = []
    for name in ("one", "two"):
        recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", train={"augment": preset})
        pipeline.run(recipe, RunDir(tmp_path / name), until="train")
        heads.append(trained(tmp_path / name))
    assert all(torch.equal(value, heads[1][name]) for name, value in heads[0].items())


def test_evaluation_is_never_augmented(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", train={"augment": "strong"})
    data = data_of(recipe)
    assembly = base_of(recipe)
    feed = Feed(data.train, assembly, augment=True)
    plain, other = feed.inputs(np.arange(4))["pixel_values"], feed.inputs(np.arange(4), seed=1)["pixel_values"]
    assert torch.equal(plain, Feed(data.train, assembly).inputs(np.arange(4))["pixel_values"])
    assert not torch.equal(plain, other)


def test_rows_encoded_in_blocks_are_the_rows_encoded_at_once(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification")
    encoder, rows = base_of(recipe).encoder, data_of(recipe).train
    whole = feeds.encoded(rows, encoder)
    monkeypatch.setattr(feeds, "BLOCK", 7)
    heard = Heard()
    with progress.listen(heard):
        parts = feeds.encoded(rows, encoder)
    assert heard.tasks == {"encode rows"}
    assert len(whole) == len(parts) == len(rows)
    assert all(np.array_equal(one[key], two[key]) for one, two in zip(whole, parts, strict=True) for key in one)


def test_a_frozen_trunk_sees_a_few_augmented_copies_once_and_the_head_all_of_them(tiny: Tiny, tmp_path: Path) -> None:
    recipe = last_layer(tiny, tmp_path, "image-classification", augment="medium")
    rundir, heard = RunDir(tmp_path / "run"), Heard()
    with progress.listen(heard):
        pipeline.run(recipe, rundir, until="train")
    copies = [np.load(path) for path in sorted((rundir / "cache" / "features").glob("train-*.npy"))]
    assert len(copies) == feeds.VIEWS
    assert len(list((rundir / "cache" / "features").glob("eval-*.npy"))) == 1
    assert not any(np.array_equal(one, other) for one, other in combinations(copies, 2))
    feed = FeatureFeed("logits", *copies, places=[np.zeros(1, int)] * len(copies[0]))
    seen = [feed.inputs(np.arange(3), seed=step)["features"].numpy() for step in range(feeds.VIEWS)]
    assert all(np.array_equal(one, copy[:3]) for one, copy in zip(seen, copies, strict=True))
    assert rundir.record("train").result["kept_features"]
    first = trained(rundir.path)
    shutil.rmtree(rundir / "cache")
    pipeline.run(recipe, rundir, until="train", fresh=True)
    assert all(torch.equal(value, first[name]) for name, value in trained(rundir.path).items())
