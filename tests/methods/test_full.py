"""Full fine-tuning changes every weight that the answer depends on, slower towards the input where asked."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tiny import Tiny, attached_of, base_of, job
from tunedeploy import plugins
from tunedeploy.errors import ParityError
from tunedeploy.recipe.read import Recipe
from tunedeploy.run import pipeline
from tunedeploy.run.folder import RunDir
from tunedeploy.stages import merge
from tunedeploy.training.loop import optimizer_of

MODELS = [("text-classification", "bert"), ("image-classification", "resnet"), ("image-classification", "vit")]


def full(tiny: Tiny, path: Path, task: str, model: str, **tune: float) -> Recipe:
    return tiny.recipe(path / "r.yaml", task, model=str(tiny[model]), tune={"method": "full", **tune})


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_every_weight_of_the_trunk_changes_and_so_do_running_statistics(
    task: str, model: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = full(tiny, tmp_path, task, model)
    pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")
    before = base_of(recipe).model.trunk.state_dict()
    after = plugins.load("tasks", task).load(tmp_path / "run" / "merged").model.trunk.state_dict()
    assert before.keys() == after.keys()
    same = {name for name, value in before.items() if torch.equal(value, after[name])}
    assert not {name for name in same if not name.endswith("position_ids")}
    assert any("running_var" in name for name in before) == (model == "resnet")


def test_blocks_with_names_in_place_of_numbers_are_counted_in_their_order(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml", "image-classification", model="torchvision://densenet121",
        data={"image_size": 32}, tune={"method": "full", "layer_decay": 0.5},
    )  # fmt: skip
    model = attached_of(recipe).model
    groups = plugins.load("methods", "full").parameter_groups(model, recipe.tune, 1.0)
    rates = {id(one): group["lr"] for group in groups for one in group["params"]}
    blocks = ["conv0", "norm0", "denseblock1", "transition1", "denseblock4", "norm5"]
    found = [next(rates[id(one)] for name, one in model.named_parameters() if f".{block}." in name) for block in blocks]
    assert found == sorted(found)
    assert len(set(found)) == len(blocks)


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_layers_learn_slower_by_the_decay_the_nearer_they_are_to_the_input(
    task: str, model: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = full(tiny, tmp_path, task, model, layer_decay=0.5, head_lr=0.123)
    made = job(recipe, tmp_path)
    by_id = {id(one): group["lr"] for group in optimizer_of(made).param_groups for one in group["params"]}
    rates = {name: by_id[id(one)] for name, one in made.module.named_parameters() if one.requires_grad}
    lr = recipe.train.lr
    assert rates.pop("head.weight") == rates.pop("head.bias") == 0.123
    blocks = {"bert": "encoder.layer", "resnet": "encoder.stages", "vit": "layers"}[model]
    levels = [
        {rate for name, rate in rates.items() if "embed" in name},
        {rate for name, rate in rates.items() if f"{blocks}.0." in name},
        {rate for name, rate in rates.items() if f"{blocks}.1." in name},
    ]
    assert [len(level) for level in levels] == [1, 1, 1]
    assert [level.pop() for level in levels] == pytest.approx([lr / 8, lr / 4, lr / 2])


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_without_decay_the_trunk_has_one_rate(task: str, model: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = full(tiny, tmp_path, task, model, head_lr=0.123)
    rates = {group["lr"] for group in optimizer_of(job(recipe, tmp_path)).param_groups}
    assert rates == {recipe.train.lr, 0.123}


@pytest.mark.parametrize(("task", "model"), MODELS)
def test_a_file_of_the_base_weights_is_refused(task: str, model: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe, rundir = full(tiny, tmp_path, task, model), RunDir(tmp_path / "run")
    pipeline.run(recipe, rundir, until="train")
    base = base_of(recipe).model.state_dict()
    file = rundir / "train" / "adapter.safetensors"
    save_file({name: base[name].clone() for name in load_file(file)}, file)
    with pytest.raises(ParityError, match="trained trunk tensors that differ from base: 0, at least 1"):
        merge.run(recipe, rundir)
    assert not (rundir / "merged").exists()


def test_a_trunk_from_random_weights_is_trained_and_saved_whole(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(
        tmp_path / "r.yaml",
        "image-classification",
        model="torchvision://shufflenet_v2_x0_5",
        data={"image_size": 64},
        tune={"method": "full"},
    )
    pipeline.run(recipe, RunDir(tmp_path / "run"), until="merge")
    before = base_of(recipe).model.state_dict()
    files = [load_file(tmp_path / "run" / "train" / f"{name}.safetensors") for name in ("head", "adapter")]
    saved = files[0] | files[1]
    assert saved.keys() == before.keys()
    assert not [name for name, value in saved.items() if torch.equal(value, before[name])]
