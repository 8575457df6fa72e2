"""Plug-ins made of nothing but their keys, so that the recipe's tests need no torch."""

from types import SimpleNamespace
from typing import Any, Literal

import pytest

from tunedeploy import contracts, plugins
from tunedeploy.errors import UserError
from tunedeploy.recipe.read import Section


class TextKeys(Section):
    text: str | None = None
    text_pair: str | None = None
    label: str | None = None
    max_length: int | None = None


class Pooling(Section):
    pooling: Literal["auto", "mean", "cls", "max", "last", "pooler"] = "auto"


class ImageKeys(Section):
    image: str | None = None
    label: str | None = None
    image_size: int | None = None
    mean: tuple[float, float, float] | None = None


class LoraKeys(Section):
    rank: int = 8
    alpha: float | None = None
    dropout: float = 0.0
    rslora: bool = False
    dora: bool = False


class FullKeys(Section):
    layer_decay: float = 1.0


class L2SpKeys(Section):
    strength: float = 0.01


class Int8Keys(Section):
    granularity: Literal["tensor", "channel"] | int = "tensor"


def _plugin(**contents: Any) -> SimpleNamespace:
    return SimpleNamespace(**contents)


STAND_INS: dict[str, dict[str, Any]] = {
    "tasks": {
        "image-classification": _plugin(
            Options=ImageKeys,
            DEFAULTS={"train.batch_size": 16},
            METHOD_DEFAULTS={"full": {"train.lr": 2e-4}},
        ),
        "text-classification": _plugin(
            SYNONYMS=("sequence-classification",),
            Options=TextKeys,
            TuneOptions=Pooling,
            DEFAULTS={"train.epochs": 4},
            METHOD_DEFAULTS={"lora": {"train.lr": 5e-4}},
        ),
    },
    "methods": {
        "full": _plugin(Options=FullKeys, DEFAULTS={"train.lr": 5e-5, "train.epochs": 2}),
        "last-layer": _plugin(DEFAULTS={"train.lr": 1e-2}),
        "lora": _plugin(Options=LoraKeys, DEFAULTS={"train.lr": 2e-3, "train.epochs": 2, "train.warmup": 0.1}),
    },
    "objectives": {"l2-sp": _plugin(Options=L2SpKeys)},
    "precisions": {"fp16": _plugin(), "fp32": _plugin(), "int8": _plugin(Options=Int8Keys)},
    "targets": {"android": _plugin(), "needs-extra": None, "python": _plugin(), "web": _plugin()},
}


def stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `plugins.names` and `plugins.load` know the stand-ins and nothing else."""

    def names(axis: str) -> dict[str, str]:
        return {name: f"What {name} does." for name in STAND_INS[axis]}

    def load(axis: str, name: str) -> Any:
        if STAND_INS[axis][name] is None:
            raise UserError(f"target {name!r} needs the package 'extra'; install it with 'pip install extra'")
        contracts.complete(plugins.CONTRACTS[axis], STAND_INS[axis][name])
        return STAND_INS[axis][name]

    monkeypatch.setattr(plugins, "names", names)
    monkeypatch.setattr(plugins, "load", load)
