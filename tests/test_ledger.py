"""The ledger holds every comparison of neighbours, each with its rows, its limit and its seconds."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.finished import Finished
from tunedeploy import api
from tunedeploy.device.encoders.image import open_image
from tunedeploy.device.files import read_json
from tunedeploy.proof.bundle import load_bundle
from tunedeploy.tasks import image_classification

PAIRS = (
    "adapter vs merged",
    "merged vs reloaded",
    "merged differs from base",
    "trained model vs merged",
    "torch vs onnx",
    "fp32: before and after fusion",
    "int8: before and after fusion",
    "fp32: two sessions, 1 and 2 threads",
    "batch invariance",
    "trained model vs onnx, whole evaluation split",
    "fp32 vs int8",
    "int8: drop of",
    "training vs merged preprocessing",
    "training vs bundled preprocessing",
    "fp32: labels out of order",
    "int8: labels out of order",
)


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_every_pair_of_neighbours_is_in_the_ledger_with_its_seconds(
    task: str, text_run: Finished, image_run: Finished
) -> None:
    run = text_run if task == "text-classification" else image_run
    ledger = read_json(run.run / "ledger.json")
    made = ledger["merge"] + ledger["comparisons"]
    names = [one["name"] for one in made]
    assert not [pair for pair in PAIRS if not any(name.startswith(pair) for name in names)]
    assert len(names) == len({(one["stage"], one["name"]) for one in made})
    assert all(one["seconds"] >= 0 and one["ok"] and isinstance(one["rows"], int) for one in made)
    told = sum(one["seconds"] for one in ledger["comparisons"])
    assert 0.5 * ledger["seconds"] <= told <= ledger["seconds"] + 0.1


def test_a_float32_file_is_held_to_what_it_gives_before_fusion_and_an_int8_file_is_told(text_run: Finished) -> None:
    by_name = {one["name"]: one for one in read_json(text_run.run / "ledger.json")["comparisons"]}
    assert by_name["fp32: before and after fusion: largest logit difference"]["limit"] is not None
    assert by_name["int8: before and after fusion: largest logit difference"]["limit"] is None


# ---- files with a catch


def test_a_file_turned_by_its_exif_mark_is_upright_and_16_bits_are_scaled() -> None:
    files = [row["image"] for row in image_classification.edge_rows({}) if isinstance(row["image"], bytes)]
    assert len(files) >= 6
    stored, seen = Image.open(io.BytesIO(files[0])), open_image(files[0])
    assert stored.size == seen.size[::-1]
    assert stored.getexif()[0x0112] == 6
    sixteen = next(one for one in files if Image.open(io.BytesIO(one)).mode.startswith("I"))
    seen_16 = np.asarray(open_image(sixteen))
    assert seen_16.min() == 0
    assert seen_16.max() == 255
    modes = {Image.open(io.BytesIO(one)).mode for one in files}
    assert modes >= {"RGB", "P", "LA", "CMYK", "1"}


def test_the_kit_carries_the_files_as_they_are(image_run: Finished) -> None:
    kept = {path.read_bytes() for path in (image_run.dist / "parity" / "images").iterdir()}
    files = {row["image"] for row in image_classification.edge_rows({}) if isinstance(row["image"], bytes)}
    assert files <= kept


def test_a_file_that_is_cut_off_is_refused_by_training_and_bundle(image_run: Finished) -> None:
    encoder = load_bundle(image_run.dist).encoder
    for row in image_classification.broken_rows():
        with pytest.raises(OSError, match="the image cannot be read"):
            encoder.encode([row])


def test_a_program_that_fills_cut_off_files_with_grey_is_a_breach(
    image_run: Finished, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    odd = [one for one in api.comparisons_of(image_run.run, ["preprocessing"]) if not one.ok]
    assert [one.id for one in odd] == ["broken-rows"]
