"""Where a model comes from: a hub id is read from the hub's cache where the hub cannot be reached."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants

from tests.tiny import Tiny, base_of
from tunedeploy.errors import ModelError
from tunedeploy.models import sources

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache of this test's own."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    sources.hub_folder.cache_clear()
    return tmp_path / "hub"


def downloaded(model: Path, cache: Path, name: str) -> Path:
    """A model as a download leaves it: a snapshot of a commit, and the branch that points at it."""
    folder = cache / f"models--{name.replace('/', '--')}"
    snapshot = Path(shutil.copytree(model, folder / "snapshots" / COMMIT))
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return snapshot


def test_a_hub_id_that_was_downloaded_once_is_the_model_in_the_cache(tiny: Tiny, cache: Path, tmp_path: Path) -> None:
    snapshot = downloaded(tiny["bert"], cache, "someone/tiny-bert")
    assert Path(sources.locate("someone/tiny-bert").name).resolve() == snapshot.resolve()
    assert sources.fingerprint("someone/tiny-bert") == sources.fingerprint(str(tiny["bert"]))
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", model="someone/tiny-bert")
    assert base_of(recipe).model.head.in_features == 32


def test_a_hub_id_that_was_not_downloaded_is_one_line(cache: Path) -> None:
    with pytest.raises(ModelError, match="the hub has no such model or cannot be reached"):
        sources.locate("someone/else")
