"""Exactly what is trained is in training mode and is saved; the rest stays in eval."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tests.tiny import Tiny, attached_of, base_of
from tunedeploy.errors import ModelError
from tunedeploy.models import start
from tunedeploy.models.classifier import Assembly, load_trained, set_training, trained_state


def modes(assembly: Assembly) -> dict[str, bool]:
    set_training(assembly.model)
    return {name: module.training for name, module in assembly.model.named_modules()}


def attached(tiny: Tiny, path: Path, task: str, method: str) -> Assembly:
    return attached_of(tiny.recipe(path / "r.yaml", task, tune={"method": method}))


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_frozen_trunk_is_in_eval_with_its_dropout_and_its_norms(task: str, tiny: Tiny, tmp_path: Path) -> None:
    training = {name for name, mode in modes(attached(tiny, tmp_path, task, "last-layer")).items() if mode}
    assert training == {"", "dropout", "head"}


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_full_fine_tuning_is_training_mode_everywhere(task: str, tiny: Tiny, tmp_path: Path) -> None:
    assert all(modes(attached(tiny, tmp_path, task, "full")).values())


def test_beside_adapters_frozen_norms_and_embeddings_are_in_eval(tiny: Tiny, tmp_path: Path) -> None:
    text = modes(attached(tiny, tmp_path, "text-classification", "lora"))
    assert not [name for name, mode in text.items() if name.startswith("trunk.embeddings") and mode]
    assert any(mode for name, mode in text.items() if name.endswith("lora_A.default"))
    images = attached(tiny, tmp_path, "image-classification", "lora")
    found = modes(images)
    norms = [name for name, one in images.model.named_modules() if isinstance(one, nn.BatchNorm2d)]
    assert len(norms) >= 3
    assert not [name for name in norms if found[name]]


def test_batch_normalisation_of_which_half_is_frozen_keeps_its_statistics() -> None:
    norm = nn.BatchNorm1d(4)
    norm.bias.requires_grad_(False)
    set_training(norm)
    before = norm.running_mean.clone() if norm.running_mean is not None else None
    norm(torch.randn(8, 4) + 5)
    assert before is not None and norm.running_mean is not None
    assert torch.equal(norm.running_mean, before)


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
@pytest.mark.parametrize("method", ["full", "lora", "last-layer"])
def test_what_is_saved_is_all_that_training_can_change(task: str, method: str, tiny: Tiny, tmp_path: Path) -> None:
    assembly = attached(tiny, tmp_path, task, method)
    state = trained_state(assembly.model, assembly.fresh)
    needed = {name for name, one in assembly.model.named_parameters() if one.requires_grad}
    statistics = {name for name, _ in assembly.model.named_buffers() if "running" in name}
    assert needed <= state.keys()
    assert assembly.fresh <= state.keys()
    assert (statistics <= state.keys()) == (method == "full" or not statistics)
    again = attached(tiny, tmp_path, task, method)
    load_trained(again.model, {name: value + 1 for name, value in state.items()})
    found = again.model.state_dict()
    assert all(torch.equal(found[name], value + 1) for name, value in state.items())


def test_weights_that_no_gradient_reaches_are_frozen_and_nothing_else_is_touched(tiny: Tiny, tmp_path: Path) -> None:
    assembly = attached(tiny, tmp_path, "image-classification", "full")
    assembly.model.trunk.unused = nn.Linear(7, 3)
    before = {name: value.clone() for name, value in assembly.model.state_dict().items()}
    torch.manual_seed(3)
    rng = torch.get_rng_state()
    inputs, label_ids = {"pixel_values": torch.randn(2, 3, 32, 32)}, torch.tensor([0, 1])
    torch.set_rng_state(rng)

    def loss(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return cross_entropy(outputs["logits"], label_ids, reduction="none")

    assert start.freeze_unreached(assembly, inputs, loss) == 7 * 3 + 3
    frozen = {name for name, one in assembly.model.named_parameters() if not one.requires_grad}
    assert frozen == {"trunk.unused.weight", "trunk.unused.bias"}
    assert all(torch.equal(value, before[name]) for name, value in assembly.model.state_dict().items())
    assert all(one.grad is None for one in assembly.model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_model_that_memory_cannot_prove_is_refused_before_training(
    task: str, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task)
    size = start.counts(base_of(recipe))["bytes"]
    monkeypatch.setattr(start, "memory", lambda: start.COPIES * size - 1)
    with pytest.raises(ModelError, match="proving it takes 5 times as much memory; .*; name a smaller model"):
        base_of(recipe)
