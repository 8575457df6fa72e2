"""What no training would get into a bundle is refused while planning, and a healthy model passes in seconds."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import matrix
from tests.tiny import Tiny, base_of
from tunedeploy import progress
from tunedeploy.data.recipe_data import data_of
from tunedeploy.errors import ModelError
from tunedeploy.models import loading
from tunedeploy.proof import preflight
from tunedeploy.recipe.read import Recipe
from tunedeploy.run.folder import RunDir
from tunedeploy.stages import export, plan


def text_recipe(tiny: Tiny, folder: Path, name: str) -> Recipe:
    """A recipe on an architecture of the matrix."""
    model = matrix.ALL[name].make(folder / "model")
    return tiny.recipe(folder / "r.yaml", "text-classification", model=model)


class Notes:
    """A listener that keeps what it hears."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)

    def update(self, name: str, done: float, total: float, text: str) -> None:
        pass


@pytest.mark.parametrize("name", ["ConvBERT", "Nystromformer", "Funnel"])
def test_a_model_whose_own_answers_depend_on_padding_is_refused_while_planning_with_the_number(
    name: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = text_recipe(tiny, tmp_path, name)
    line = r"torch alone gives a row other answers when .*a logit moves by 0\.\d+ of a range of \d.*allowed [\d.e-]+;"
    with pytest.raises(ModelError, match=line) as caught:
        plan.describe(recipe)
    assert len(caught.value.lines) == 1


@pytest.mark.parametrize("name", ["Longformer", "XLNet"])
def test_a_model_that_the_exporter_cannot_convert_is_refused_while_planning(
    name: str, tiny: Tiny, tmp_path: Path
) -> None:
    recipe = text_recipe(tiny, tmp_path, name)
    with pytest.raises(ModelError, match=r"torch\.onnx cannot convert this model: [A-Z]\w+: ") as caught:
        plan.describe(recipe)
    (line,) = caught.value.lines
    assert "\n" not in line and "\x1b" not in line
    assert re.search(r"[\w)]; name another model$", line), line


def test_what_the_exporter_says_has_no_colour_codes_in_the_line_and_in_the_log(tiny: Tiny, tmp_path: Path) -> None:
    recipe = text_recipe(tiny, tmp_path, "Funnel")
    with pytest.raises(
        ModelError, match="export: torch.onnx cannot convert this model: .*; see .*export.log"
    ) as caught:
        export.convert(recipe, RunDir(tmp_path / "run"), base_of(recipe))
    log = (tmp_path / "run" / "onnx" / "export.log").read_text(encoding="utf-8")
    assert len(log) > 100
    assert "\x1b" not in log + caught.value.lines[0]


@pytest.mark.parametrize("task", ["text-classification", "image-classification"])
def test_a_healthy_model_passes_and_is_converted_once(task: str, tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", task)
    assembly, rows = base_of(recipe), data_of(recipe).train
    before = {name: value.clone() for name, value in assembly.model.state_dict().items()}
    rng = torch.get_rng_state()
    preflight.check(recipe, assembly, rows)
    notes = Notes()
    with progress.listen(notes):
        preflight.check(recipe, assembly, rows)
    assert notes.lines == []
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(value, before[name]) for name, value in assembly.model.state_dict().items())


def test_a_trunk_is_cut_by_its_own_setting_and_left_alone_where_it_has_none(tiny: Tiny, tmp_path: Path) -> None:
    text: Any = base_of(tiny.recipe(tmp_path / "t.yaml", "text-classification")).model
    small: Any = preflight.of_depth(text, 1)
    assert (len(text.trunk.encoder.layer), len(small.trunk.encoder.layer)) == (2, 1)
    assert small.trunk.pooler is None and small.pooling == text.pooling
    images = base_of(tiny.recipe(tmp_path / "i.yaml", "image-classification")).model
    assert loading.trunk_of_depth(images.trunk, 1) is None


def test_a_bidirectional_model_that_ignores_its_mask_is_seen(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification")
    assembly = base_of(recipe)

    def without_mask(module: Any, args: Any, inputs: Any) -> Any:
        return args, inputs | {"attention_mask": torch.ones_like(inputs["attention_mask"])}

    assembly.model.trunk.register_forward_pre_hook(without_mask, with_kwargs=True)
    with pytest.raises(ModelError, match=r"when padding follows it"):
        preflight.check_independence(recipe, assembly, data_of(recipe).train)


def test_xlnet_whose_positions_are_minus_one_has_no_limit_of_its_own(tiny: Tiny, tmp_path: Path) -> None:
    facts: Any = base_of(text_recipe(tiny, tmp_path, "XLNet")).encoder.facts
    assert facts["max_length"] == 64  # the tokenizer's


def test_planning_a_folder_twice_gives_the_same_plan(tiny: Tiny, tmp_path: Path) -> None:
    model = Path(shutil.copytree(tiny["bert"], tmp_path / "model"))
    recipe = tiny.recipe(tmp_path / "r.yaml", "text-classification", model=str(model))
    first, second = plan.describe(recipe), plan.describe(recipe)
    for one in (first, second):
        del one["estimates"]
    assert json.dumps(first, default=str) == json.dumps(second, default=str)
