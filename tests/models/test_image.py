"""Image trunks: which are taken, at which size, and what is said of the others."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.tiny import Tiny, base_of
from tunedeploy.errors import ModelError
from tunedeploy.models import image
from tunedeploy.models.sources import Source


def torchvision(name: str, *sizes: int) -> image.ImageClassifier:
    return image.build(Source(scheme="torchvision", name=name), labels=3, sizes=sizes)[0]


def test_a_trunk_that_takes_any_size_takes_the_first(tiny: Tiny) -> None:
    assert torchvision("mobilenet_v3_small", 64, 224).size == 64


def test_a_random_transformer_falls_back_to_its_own_size(tiny: Tiny) -> None:
    model = torchvision("vit_b_32", 64, 224)
    assert (model.size, model.head.in_features) == (224, 768)


def test_random_weights_on_small_images_make_a_transformer_of_its_own_size(tiny: Tiny, tmp_path: Path) -> None:
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", model="torchvision://vit_b_32")
    facts: Any = base_of(recipe).encoder.facts
    assert facts["size"] == 224
    assert facts["resize"] == 256


@pytest.mark.parametrize("model", ["vit", "torchvision://vit_b_32"])
def test_a_size_that_a_trunk_does_not_take_is_one_line_with_the_size_it_takes(
    model: str, tiny: Tiny, tmp_path: Path
) -> None:
    name = model if "://" in model else str(tiny[model])
    recipe = tiny.recipe(tmp_path / "r.yaml", "image-classification", model=name, data={"image_size": 48})
    own = 224 if "://" in model else 32
    with pytest.raises(
        ModelError, match=rf"takes no images of 48 x 48 pixels .*own size is {own}, set data.image_size"
    ):
        base_of(recipe)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("fcn_resnet50", "finds or segments"),
        ("r3d_18", "name a model that classifies images"),
        ("resnet1", "Unknown model"),
    ],
)
def test_models_for_something_else_are_one_line(name: str, reason: str) -> None:
    from tunedeploy.models.image_input import image_facts

    source = Source(scheme="torchvision", name=name)
    with pytest.raises(ModelError, match=reason) as caught:
        image.build(source, labels=3, sizes=[image_facts(source).size])
    assert len(caught.value.lines) == 1


def test_a_text_model_is_no_image_model(tiny: Tiny) -> None:
    with pytest.raises(ModelError, match="name a model that classifies images"):
        image.build(Source(scheme="hf", name=str(tiny["bert"])), labels=3, sizes=[224])


def test_a_classifier_that_is_a_convolution_is_taken_off() -> None:
    model = torchvision("squeezenet1_1", 64)
    assert model.head.in_features == 512
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


def test_googlenet_gives_one_row_of_logits_in_training_too() -> None:
    model = torchvision("googlenet", 64)
    assert model.train()(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    assert not [name for name, _ in model.named_parameters() if "aux" in name]
