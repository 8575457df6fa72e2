"""Bundles that earlier versions wrote still open, answer and verify: apps keep them for years.

tests/data/bundle_schema1_ce58914.zip is the bundle of the tiny text recipe (tests/tiny.py: lora, int8, seed 0) as
`tunedeploy run` of commit ce58914 wrote it, byte by byte. No later code may touch it.
"""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.finished import repair_bundle
from tunedeploy import api
from tunedeploy.cli.commands import app
from tunedeploy.device.files import read_json
from tunedeploy.proof.bundle import load_bundle

ARCHIVE = Path(__file__).parent / "data" / "bundle_schema1_ce58914.zip"
# The id that this bundle had when it was written: SHA-256 of its manifest.
BUNDLE_ID = "4ba72a8c377df838f0c9852d33f6ec22d0baa3ad0c306c3350ed177bfee0ed4f"
ANSWERS = {"snow and the wind": "weather", "soup with bread": "food", "the coach saw the match": "sport"}


@pytest.fixture
def older(tmp_path: Path) -> Path:
    """The bundle, unpacked."""
    folder = tmp_path / "dist"
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(folder)
    return folder


def breaches(dist: Path) -> list[str]:
    return [comparison.line() for comparison in api.comparisons_of(dist) if not comparison.ok]


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_bundle_of_an_earlier_version_opens_and_answers(variant: str, older: Path) -> None:
    bundle = load_bundle(older)
    assert bundle.id == BUNDLE_ID
    predictions = bundle.predict(list(ANSWERS), variant=variant)
    assert [prediction["label"] for prediction in predictions] == list(ANSWERS.values())


def test_it_gives_its_own_golden_logits(older: Path) -> None:
    bundle = load_bundle(older)
    with np.load(older / "parity" / "golden.npz") as arrays:
        inputs = {key.rpartition("/")[2]: arrays[key] for key in arrays if key.startswith("raw000/input/")}
        golden = arrays["raw000/output/fp32"]
    limit = read_json(older / "parity" / "tolerances.json")["variants"]["fp32"]["max_abs"]
    assert np.abs(bundle.outputs(inputs)["logits"] - golden).max() <= limit


def test_it_verifies_with_exit_code_0_and_its_id_is_kept(older: Path) -> None:
    done = CliRunner().invoke(app, ["verify", str(older), "--expect", BUNDLE_ID])
    assert done.exit_code == 0, done.output


def test_what_it_has_not_is_left_out_or_reported_without_a_limit(older: Path) -> None:
    """No `cpus`, no probe of the tokenizer, no `max_characters`: the contract lets keys be added, never missed."""
    assert "max_characters" not in read_json(older / "manifest.json")["preprocessing"]
    comparisons = api.comparisons_of(older)
    assert breaches(older) == []
    assert not [comparison for comparison in comparisons if comparison.id.startswith("tokenizer-probe")]
    (saturation,) = (comparison for comparison in comparisons if comparison.id == "saturation")
    assert saturation.value > 0
    assert saturation.limit is None


def test_its_damage_is_still_a_breach(older: Path) -> None:
    (older / "labels.json").write_text('["sport", "food", "weather"]\n', encoding="utf-8")
    repair_bundle(older)
    assert [line for line in breaches(older) if "label lists that differ" in line]


def test_its_own_kit_passes(older: Path, tmp_path: Path) -> None:
    """The kit that it was written with, by its own settings; nothing of this version is imported."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--import-mode=importlib", str(older / "parity")],
        capture_output=True, text=True, env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
