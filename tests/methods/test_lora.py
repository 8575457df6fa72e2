"""LoRA puts adapters where they are smaller than the layer, trains them alone, and folds them in without a trace."""

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2Model

from tests.tiny import Tiny, attached_of, base_of, job
from tunedeploy import plugins
from tunedeploy.data.recipe_data import data_of
from tunedeploy.errors import ModelError, ParityError
from tunedeploy.methods import lora
from tunedeploy.models import image
from tunedeploy.models.classifier import Assembly
from tunedeploy.models.sources import Source
from tunedeploy.models.text import TextClassifier
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.stages import merge
from tunedeploy.training.feeds import Feed
from tunedeploy.training.loop import fit

SWITCHES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank and alpha": {"rank": 3, "alpha": 7.0},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "rslora and dora": {"rslora": True, "dora": True},
}
TASKS = ("text-classification", "image-classification")


@pytest.fixture(scope="module")
def mobilenet() -> nn.Module:
    torch.manual_seed(0)
    return image.build(Source(scheme="torchvision", name="mobilenet_v3_small"), labels=3, sizes=[64])[0].trunk


def adapter_size(layer: nn.Module, rank: int) -> int:
    """Weights of the two factors: into `rank` by the layer's own kernel, and out of it."""
    if isinstance(layer, nn.Conv2d):
        return rank * (layer.weight[0].numel() + layer.out_channels)
    assert isinstance(layer, nn.Linear)
    return rank * (layer.in_features + layer.out_features)


@pytest.mark.parametrize("rank", [1, 8, 32])
def test_targets_are_the_layers_that_are_larger_than_their_adapter(rank: int, mobilenet: nn.Module) -> None:
    found = set(lora.targets(mobilenet, rank))
    layers = {name: one for name, one in mobilenet.named_modules() if isinstance(one, nn.Linear | nn.Conv2d)}
    depthwise = {name for name, one in layers.items() if isinstance(one, nn.Conv2d) and one.groups > 1}
    assert len(depthwise) > 5
    assert not found & depthwise
    smaller = {name for name, one in layers.items() if adapter_size(one, rank) < one.weight.numel()}
    assert found == smaller - depthwise
    assert any(isinstance(layers[name], nn.Conv2d) for name in found)


def test_a_higher_rank_pays_for_fewer_layers(mobilenet: nn.Module) -> None:
    counts = [len(lora.targets(mobilenet, rank)) for rank in (1, 8, 32, 128, 4096)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0


def test_a_rank_that_pays_nowhere_is_an_error_with_a_cure(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", tune={"method": "lora", "rank": 4096})
    with pytest.raises(ModelError, match=r"no layer is larger than a rank-4096 adapter; lower tune\.rank"):
        attached_of(recipe)


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("task", TASKS)
def test_frozen_weights_and_buffers_are_bit_identical_after_training(
    task: str, switch: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": "lora", **SWITCHES[switch]})
    made = job(recipe, tmp_path)
    names = dict(made.module.named_parameters())
    before = {name: value.clone() for name, value in made.module.state_dict().items()}
    fit(made, RunDir(tmp_path))
    after = made.module.state_dict()
    frozen = {name for name in before if name not in names or not names[name].requires_grad}
    assert task != "image-classification" or any(name.endswith("running_var") for name in frozen)
    assert not [name for name in frozen if not torch.equal(before[name], after[name])]
    trained = before.keys() - frozen
    assert {"head.weight", "head.bias"} <= trained
    assert all("lora_" in name for name in trained - {"head.weight", "head.bias"})
    assert not [name for name in trained if torch.equal(before[name], after[name])]


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("task", TASKS)
def test_the_merged_model_computes_what_the_adapter_computed(
    task: str, switch: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": "lora", **SWITCHES[switch]}, train={"lr": 0.01})
    made = job(recipe, tmp_path)
    fit(made, RunDir(tmp_path))
    model, data = made.module.eval(), data_of(recipe)
    inputs = Feed(data.eval, base_of(recipe)).inputs(list(range(len(data.eval))))
    double = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    exact = copy.deepcopy(model).double()
    with torch.inference_mode():
        adapter, adapter_exact = model(**inputs), exact(**double)
    lora.fold(model)
    lora.fold(exact)
    with torch.inference_mode():
        merged, merged_exact = model(**inputs), exact(**double)
    assert (merged_exact - adapter_exact).abs().max() < 1e-9, "folding is exact arithmetic, not an approximation"
    noise = (adapter - adapter_exact).abs().max()
    assert (merged - adapter).abs().max() <= max(10 * noise, 1e-6)
    assert not [one for one in model.modules() if isinstance(one, BaseTunerLayer)]
    assert model.state_dict().keys() == base_of(recipe).model.state_dict().keys()


@pytest.mark.parametrize("switch", SWITCHES)
@pytest.mark.parametrize("task", TASKS)
def test_every_switch_holds_through_the_merge_stage(task: str, switch: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task, tune={"method": "lora", **SWITCHES[switch]})
    record = pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")["merge"]
    made = {one["id"]: one for one in record.result["comparisons"]}
    assert len(made) == 4
    assert all(one["ok"] for one in made.values())
    changed = made["trained-tensors"]
    assert changed["value"] >= 4
    names = load_file(tmp_path / "run" / "train" / "adapter.safetensors")
    assert any("magnitude" in name for name in names) == bool(SWITCHES[switch].get("dora"))


def test_the_scale_of_the_update_is_twice_by_default_and_by_the_root_of_the_rank_with_rslora(
    tiny: Tiny, tmp_path: Path
) -> None:
    def scales(**tune: Any) -> set[float]:
        recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", tune={"method": "lora", **tune})
        layers = [one for one in attached_of(recipe).model.modules() if isinstance(one, BaseTunerLayer)]
        assert len(layers) >= 8
        return {one.scaling["default"] for one in layers}

    assert scales() == scales(rank=2) == {2.0}
    assert scales(rank=4, alpha=6.0) == {1.5}
    assert scales(rank=4, alpha=6.0, rslora=True) == {6.0 / math.sqrt(4)}


def test_transposed_linear_layers_of_gpt2_are_adapted_and_folded_the_right_way_round() -> None:
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=50, n_embd=32, n_layer=2, n_head=2, n_positions=16, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0
    )
    model = TextClassifier(GPT2Model(config), width=config.n_embd, labels=3, pooling="last").eval()
    fresh = frozenset({"head.weight", "head.bias"})
    unused: Any = None
    assembly = Assembly(model=model, encoder=unused, graph=unused, decision=unused, fresh=fresh, facts={})
    lora.attach(assembly, lora.Options(rank=4))
    layers = [one for one in model.modules() if isinstance(one, BaseTunerLayer)]
    assert len(layers) == 2 * 4
    for one in layers:
        nn.init.normal_(one.lora_B["default"].weight)
    inputs = {"input_ids": torch.arange(12).reshape(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.int64)}
    model.double()
    with torch.inference_mode():
        expected = model(**inputs)
        lora.fold(model)
        assert (model(**inputs) - expected).abs().max() < 1e-9


@pytest.mark.parametrize("task", TASKS)
def test_the_head_is_saved_and_comes_back(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task)
    pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")
    trained = load_file(tmp_path / "run" / "train" / "head.safetensors")
    assert set(trained) == {"head.weight", "head.bias"}
    again = plugins.load("tasks", task).load(tmp_path / "run" / "merged").model.head.state_dict()
    assert all(torch.equal(value, trained[f"head.{name}"]) for name, value in again.items())
    assert not torch.equal(again["weight"], base_of(recipe).model.head.weight)


@pytest.mark.parametrize("how", ["the second factor is zero", "the file is zero"])
@pytest.mark.parametrize("task", TASKS)
def test_an_adapter_that_changes_nothing_is_refused(task: str, how: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe, rundir = tiny.recipe(tmp_path / "r.yaml", task), RunDir(tmp_path / "run")
    pipeline.run(recipe, rundir, until="train")
    file = rundir / "train" / "adapter.safetensors"
    state = load_file(file)
    keep = 0.0 if how == "the file is zero" else 1.0
    save_file({name: value * (0.0 if "lora_B" in name else keep) for name, value in state.items()}, file)
    with pytest.raises(ParityError, match="trained trunk tensors that differ from base: 0, at least 1"):
        merge.run(recipe, rundir)
    assert not (rundir / "merged").exists()
