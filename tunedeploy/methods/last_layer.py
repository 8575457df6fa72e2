"""Last layer: the trunk stays frozen, is run once, and only the new head is trained on its features."""

from typing import TypedDict

from torch import nn

from tunedeploy.device.encoders import Array
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Assembly, Classifier, freeze_trunk
from tunedeploy.models.head import HeadOnly
from tunedeploy.recipe.read import Section

Defaults = TypedDict(
    "Defaults",
    {
        "train.lr": float, "train.epochs": int, "train.batch_size": int, "train.schedule": str,
        "train.weight_decay": float,
    },
)  # fmt: skip
DEFAULTS: Defaults = {
    "train.lr": 5e-3,  # on standardised features; a linear model does not diverge at rates that ruin a trunk
    "train.epochs": 40,  # an epoch over kept features costs milliseconds
    "train.batch_size": 256,
    "train.schedule": "cosine",
    # As strong as logistic regression at C = 1: of 0.05, 0.5 and 2 it was best or equal on banking77, sentiment
    # sentences and flowers12, and small weights survive int8.
    "train.weight_decay": 2.0,
}
# The trunk is frozen and in eval, so its features are the same in every epoch: compute them once.
CACHES_FEATURES = True


class Options(Section):
    """Keys of `tune`: none."""


def attach(assembly: Assembly, options: Options) -> None:
    """Freeze the trunk.

    Raises:
        ModelError: the model has no head beside its trunk.
    """
    del options
    if assembly.model.head is None:
        raise ModelError("last-layer: this model has no head beside its trunk; set tune.method: full or lora")
    freeze_trunk(assembly)


def trained_module(model: Classifier, features: Array | None) -> HeadOnly:
    """The head alone."""
    assert features is not None, "CACHES_FEATURES asks for them"
    return HeadOnly(model, features)


def write_back(module: HeadOnly, model: Classifier) -> None:
    """Fold the standardisation of features into the model's own head."""
    module.write_back(model.own_head)


def fold(model: nn.Module) -> None:
    """Nothing to fold: the head is the model's own."""
