"""What goes into an image trunk: the preprocessing a checkpoint was made with, and torchvision's way to do it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import get_model_weights
from torchvision.transforms import v2

from tunedeploy.device.encoders import Features, Row
from tunedeploy.device.encoders.image import RESAMPLE, ImageEncoder, ImageFacts, open_image
from tunedeploy.errors import ModelError
from tunedeploy.models.loading import first_line, json_object
from tunedeploy.models.sources import Source

INTERPOLATION = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "lanczos": v2.InterpolationMode.LANCZOS,
}
LARGEST_SIDE = 2048  # pixels; checkpoints go up to 1024, and a batch of larger images fills the memory


def image_facts(source: Source) -> ImageFacts:
    """The preprocessing a checkpoint was made with; ImageNet's where it does not say."""
    if source.scheme == "torchvision":
        return _torchvision_facts(source.name)
    if source.scheme == "timm":
        import timm

        entry: Any = timm.models.get_pretrained_cfg(source.name)
        config = entry.to_dict() if entry else {}
        size = int(config.get("input_size", (3, 224, 224))[-1])
        return ImageFacts(
            size=size,
            resize=int(size / config.get("crop_pct", 0.875)),
            interpolation=config.get("interpolation", "bicubic"),
            mean=tuple(config.get("mean", ImageFacts.mean)),
            std=tuple(config.get("std", ImageFacts.std)),
        )
    return _hugging_face_facts(source)


def _torchvision_facts(name: str) -> ImageFacts:
    try:
        preset: Any = get_model_weights(name).DEFAULT.transforms()
    except ValueError as error:
        raise ModelError(f"torchvision://{name}: {first_line(error)}; see torchvision.models.list_models()") from error
    if not hasattr(preset, "crop_size"):
        raise ModelError(f"torchvision://{name}: finds or segments; name a model that classifies images")
    return ImageFacts(
        size=int(preset.crop_size[0]),
        resize=int(preset.resize_size[0]),
        interpolation=str(preset.interpolation.value),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _hugging_face_facts(source: Source) -> ImageFacts:
    path = source.folder / "preprocessor_config.json"
    if path.is_file():
        config = json_object(path)
        try:
            facts = facts_of_processor(config)
        except (ArithmeticError, AttributeError, KeyError, TypeError, ValueError) as error:
            problem = f"{path}: does not say how images are prepared"
            raise ModelError(f"{problem}: {type(error).__name__}: {first_line(error)}") from error
        return checked(facts, path)
    path = source.folder / "config.json"
    size = (json_object(path) if path.is_file() else {}).get("image_size") or 224
    side = size[-1] if isinstance(size, list) else size
    return checked(ImageFacts(size=side, resize=side), path)


def checked(facts: ImageFacts, path: Path) -> ImageFacts:
    """The same facts, when images can be prepared by them.

    Raises:
        ModelError: a side, a mean or a deviation is not one.
    """
    for name, side in (("size", facts.size), ("resize", facts.resize)):
        if type(side) is not int or not 1 <= side <= LARGEST_SIDE:
            raise ModelError(f"{path}: {name}: expected 1 to {LARGEST_SIDE} pixels a side, got {str(side)[:40]}")
    for name, values in (("image_mean", facts.mean), ("image_std", facts.std)):
        numbers = [value for value in values if isinstance(value, int | float) and math.isfinite(value)]
        if len(numbers) != 3 or len(values) != 3 or (name == "image_std" and min(numbers) <= 0):
            kind = "three numbers above 0" if name == "image_std" else "three numbers"
            raise ModelError(f"{path}: {name}: expected {kind}, got {str(list(values))[:60]}")
    return facts


def facts_of_processor(config: Mapping[str, Any]) -> ImageFacts:
    """ImageFacts of a Hugging Face `preprocessor_config.json`."""
    size = config.get("size") or {"height": 224, "width": 224}
    size = {"shortest_edge": size} if isinstance(size, int) else size
    crop = config.get("crop_size") if config.get("do_center_crop") else None
    resize = int(size.get("shortest_edge") or size["height"])
    side = int(crop if isinstance(crop, int) else crop["height"]) if crop else resize
    if config.get("crop_pct") and not crop:  # ConvNeXt: `size` is what is left after the crop
        resize = int(resize / config["crop_pct"])
    return ImageFacts(
        size=side,
        resize=resize,
        stretch="height" in size and not crop,
        interpolation=next((name for name, code in RESAMPLE.items() if code == config.get("resample")), "bilinear"),
        mean=tuple(config.get("image_mean") or ImageFacts.mean),
        std=tuple(config.get("image_std") or ImageFacts.std),
    )


class TorchvisionEncoder(ImageEncoder):
    """Encode images as training does, by torchvision's own transforms; with augmentation where one is given."""

    def __init__(self, facts: ImageFacts, *, augment: str = "none", seed: int | None = None) -> None:
        super().__init__(facts)
        self.seed = seed
        self.pipeline = v2.Compose(
            [
                *augmentation(augment, facts),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(list(facts.mean), list(facts.std)),
            ]
        )

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `image` to `pixel_values` (3, size, size), float32."""
        images = [open_image(row["image"]) for row in rows]
        if self.seed is None:
            return [{"pixel_values": self.pipeline(image).numpy()} for image in images]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return [{"pixel_values": self.pipeline(image).numpy()} for image in images]


def augmentation(name: str, facts: ImageFacts) -> list[nn.Module]:
    """The geometry of a preset: `none` is what evaluation does, the others grow in strength."""
    how = INTERPOLATION[facts.interpolation]
    if name == "none":
        sides = [facts.resize, facts.resize] if facts.stretch else [facts.resize]
        return [v2.Resize(sides, interpolation=how), v2.CenterCrop(facts.size)]
    low = {"light": 0.7, "medium": 0.4, "strong": 0.2}[name]
    crop = v2.RandomResizedCrop(facts.size, scale=(low, 1.0), interpolation=how)
    extra = {
        "light": [],
        "medium": [v2.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2)],
        "strong": [v2.TrivialAugmentWide(interpolation=how)],
    }[name]
    return [crop, v2.RandomHorizontalFlip(), *extra]


def resized_facts(facts: ImageFacts, size: int, *, dynamic: bool) -> ImageFacts:
    """The same preprocessing at another size, with the same share cut off by the crop."""
    return replace(facts, size=size, resize=round(facts.resize * size / facts.size), dynamic=dynamic)
