"""A number format that the machine lacks is one clear line; one that it has trains in it and saves float32."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.tiny import Tiny
from tunedeploy.errors import RecipeError
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.training.machine import cpu_has_bf16, precision_of, set_threads

GPU = torch.cuda.is_available()


@pytest.mark.skipif(GPU, reason="the machine has a GPU, which computes in fp16")
def test_fp16_without_a_gpu_is_refused_in_one_line_before_anything_is_trained(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", train={"precision": "fp16"})
    with pytest.raises(RecipeError) as raised:
        pipeline.run(recipe, RunDir(tmp_path / "run"), until="train")
    assert raised.value.lines == ("train.precision: fp16 needs a GPU, and none is here; write auto, bf16 or fp32",)
    assert not (tmp_path / "run" / "train").exists()


@pytest.mark.skipif(GPU, reason="the machine has a GPU")
def test_auto_is_bf16_exactly_where_the_cpu_has_it() -> None:
    assert precision_of("auto") == ("bf16" if cpu_has_bf16() else "fp32")
    assert precision_of("fp32") == "fp32"


@pytest.mark.skipif(GPU or cpu_has_bf16(), reason="the machine computes in bf16")
def test_bf16_is_refused_where_it_would_be_emulated() -> None:
    with pytest.raises(RecipeError, match="bf16 would be emulated"):
        precision_of("bf16")


@pytest.mark.skipif(GPU or not cpu_has_bf16(), reason="the CPU has no bf16")
def test_bf16_trains_nearly_the_same_weights_and_keeps_them_in_float32(tiny: Tiny, tmp_path: Path) -> None:
    trained = {}
    for precision in ("fp32", "bf16"):
        recipe = tiny.recipe(
            tmp_path / "r.yaml", "image-classification", model=str(tiny["vit"]), train={"precision": precision}
        )
        record = pipeline.run(recipe, RunDir(tmp_path / precision), until="train")["train"]
        assert record.result["precision"] == precision
        folder = tmp_path / precision / "train"
        trained[precision] = load_file(folder / "adapter.safetensors") | load_file(folder / "head.safetensors")
    assert {value.dtype for value in trained["bf16"].values()} == {torch.float32}
    moved = [(trained["bf16"][name] - value).abs().max() for name, value in trained["fp32"].items()]
    assert 0 < max(moved) < 0.02  # 6 steps at a rate of at most 2e-3


def test_threads_are_those_asked_for() -> None:
    assert set_threads(2) == torch.get_num_threads() == 2
    assert set_threads(None) == 2
