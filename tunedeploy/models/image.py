"""Image trunks from torchvision, timm and Hugging Face checkpoints, and torchvision's preprocessing."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import get_model, get_model_weights
from torchvision.transforms import v2
from transformers import AutoModel

from tunedeploy.encoders import Features, Row
from tunedeploy.encoders.image import ImageEncoder, ImageFacts, open_image
from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.sources import Source, fit_weights, read_weights
from tunedeploy.models.text import first_line, quiet

INTERPOLATION = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
    "lanczos": v2.InterpolationMode.LANCZOS,
}
PIL_CODES = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


class ImageClassifier(Classifier):
    """One row of logits an image.

    Args:
        trunk: pixels (batch, 3, height, width) to features (batch, width), or a Hugging Face trunk.
        labels: how many.
        width: of the features.
        dropout: before the head.
    """

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Pooled features (batch, width) of `pixel_values` (batch, 3, height, width)."""
        out = self.trunk(inputs["pixel_values"])
        return out if isinstance(out, torch.Tensor) else pooled(self.trunk, out)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Pixels (batch, 3, height, width) to logits (batch, labels)."""
        return self.classify(self.features(pixel_values=pixel_values))


def pooled(trunk: nn.Module, out: Any) -> torch.Tensor:
    """A Hugging Face trunk's output to (batch, width).

    Maps (batch, width, height, width) are averaged; of tokens (batch, tokens, width) the class token is taken
    where the trunk has one, else their mean.
    """
    hidden: torch.Tensor = out.last_hidden_state
    if hidden.dim() == 4:
        return hidden.mean((2, 3))
    has_class_token = any(name.endswith("cls_token") for name, _ in trunk.named_parameters())
    return hidden[:, 0] if has_class_token else hidden.mean(1)


def build(source: Source, *, labels: int, dropout: float = 0.0) -> tuple[ImageClassifier, frozenset[str], list[str]]:
    """A classifier on a trunk, float32 and eval mode; the names of its fresh parameters; notes.

    Raises:
        ModelError: no such architecture, or weights that do not fit it.
    """
    opener = {"torchvision": _torchvision, "timm": _timm, "hf": _hugging_face}[source.scheme]
    trunk, missing, notes = opener(source)
    trunk.eval()
    with torch.inference_mode():
        probe = ImageClassifier(trunk, width=1, labels=1, dropout=0.0)
        side = image_facts(source).size
        width = probe.features(pixel_values=torch.zeros(1, 3, side, side)).shape[-1]
    model = ImageClassifier(trunk, width=width, labels=labels, dropout=dropout)
    fresh = {f"trunk.{name}" for name in missing} | {f"head.{name}" for name in model.head.state_dict()}
    return model.eval(), frozenset(fresh), notes


def _torchvision(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    file = source.weights if source.weights and Path(source.weights).is_file() else None
    own = None if file else source.weights
    try:
        trunk = get_model(source.name, weights=own)
    except (ValueError, KeyError, AttributeError) as error:
        raise ModelError(
            f"torchvision://{source.name}: {first_line(error)}; see torchvision.models.list_models()"
        ) from error
    except OSError as error:
        raise ModelError(
            f"torchvision://{source.name}: its weights {own!r} cannot be fetched: {first_line(error)}"
        ) from error
    notes = [f"weights match {fit_weights(trunk, read_weights(Path(file)), file)}"] if file else []
    linears = [name for name, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ModelError(f"torchvision://{source.name}: has no linear classifier to replace")
    trunk.set_submodule(linears[-1], nn.Identity())
    missing = set() if source.weights else set(trunk.state_dict())
    return trunk, missing, notes


def _timm(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModelError(
            f"timm://{source.name} needs timm; install it with pip install 'tunedeploy[vision]'"
        ) from error
    if source.weights and not Path(source.weights).is_file():
        raise ModelError(f"timm://{source.name}: weights {source.weights!r} is no file; timm's own are on the hub")
    try:
        trunk = timm.create_model(source.name)
    except RuntimeError as error:
        near = ", ".join(timm.list_models(f"*{source.name.split('_')[0]}*")[:5])
        raise ModelError(
            f"timm://{source.name}: {first_line(error)}" + (f"; near it: {near}" if near else "")
        ) from error
    notes = []
    if source.weights:
        notes = [f"weights match {fit_weights(trunk, read_weights(Path(source.weights)), source.weights)}"]
    headless: Any = trunk
    headless.reset_classifier(0)
    return trunk, set() if source.weights else set(trunk.state_dict()), notes


def _hugging_face(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    with quiet():
        try:
            trunk, info = AutoModel.from_pretrained(
                source.name, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
            )
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise ModelError(f"model {source.name!r} cannot be loaded: {first_line(error)}") from error
    missing = set(info["missing_keys"])
    if getattr(trunk, "pooler", None) is not None and any(True for _ in trunk.pooler.parameters()):
        trunk.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    return trunk, missing, []


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
    return ImageFacts(
        size=int(preset.crop_size[0]),
        resize=int(preset.resize_size[0]),
        interpolation=str(preset.interpolation.value),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )


def _hugging_face_facts(source: Source) -> ImageFacts:
    path = source.folder / "preprocessor_config.json"
    if not path.is_file():
        config_path = source.folder / "config.json"
        config = json.loads(config_path.read_text(encoding="utf-8")) if config_path.is_file() else {}
        size = config.get("image_size") or 224
        side = int(size if isinstance(size, int) else size[-1])
        return ImageFacts(size=side, resize=side)
    return facts_of_processor(json.loads(path.read_text(encoding="utf-8")))


def facts_of_processor(config: dict[str, Any]) -> ImageFacts:
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
        interpolation=PIL_CODES.get(int(config.get("resample") or 2), "bilinear"),
        mean=tuple(config.get("image_mean") or ImageFacts.mean),
        std=tuple(config.get("image_std") or ImageFacts.std),
    )


def processor_of_facts(facts: ImageFacts) -> dict[str, Any]:
    """ImageFacts as the `preprocessor_config.json` that transformers and transformers.js read."""
    codes = {name: code for code, name in PIL_CODES.items()}
    square = {"height": facts.resize, "width": facts.resize}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if facts.stretch else {"shortest_edge": facts.resize},
        "resample": codes[facts.interpolation],
        "do_center_crop": True,
        "crop_size": {"height": facts.size, "width": facts.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts.mean),
        "image_std": list(facts.std),
    }


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


def save_trunk(model: ImageClassifier, source: Source, folder: Path) -> None:
    """Write the trunk: a Hugging Face folder, or its architecture's name and a safetensors file."""
    if source.scheme == "hf":
        trunk: Any = model.trunk
        with quiet():
            trunk.save_pretrained(folder)
        return
    state = {name: tensor.contiguous() for name, tensor in model.trunk.state_dict().items()}
    save_file(state, folder / "model.safetensors")
    config = {"architecture": f"{source.scheme}://{source.name}"}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def load_trunk(folder: Path, labels: int, dropout: float = 0.0) -> tuple[ImageClassifier, Source]:
    """Read back what `save_trunk` wrote; the head is fresh."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    scheme, _, name = config.get("architecture", "hf://").partition("://")
    if scheme == "hf" or not name:
        source = Source(scheme="hf", name=str(folder))
        return build(source, labels=labels, dropout=dropout)[0], source
    source = Source(scheme=scheme, name=name)
    model = build(source, labels=labels, dropout=dropout)[0]
    model.trunk.load_state_dict(load_file(folder / "model.safetensors"))
    return model, source


def resized_facts(facts: ImageFacts, size: int, *, dynamic: bool) -> ImageFacts:
    """The same preprocessing at another size, the share that the crop cuts off kept."""
    return replace(facts, size=size, resize=round(facts.resize * size / facts.size), dynamic=dynamic)
