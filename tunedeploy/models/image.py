"""Image trunks from torchvision, timm and Hugging Face checkpoints."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision.models import get_model

from tunedeploy.errors import ModelError
from tunedeploy.models.classifier import Classifier
from tunedeploy.models.image_input import image_facts
from tunedeploy.models.loading import first_line, foreign, open_trunk, quiet
from tunedeploy.models.sources import Source, fit_weights, read_weights


class ImageClassifier(Classifier):
    """One row of logits an image.

    Args:
        trunk: pixels (batch, 3, height, width) to features (batch, width), or a Hugging Face trunk.
        labels: how many.
        width: of the features.
        dropout: before the head.
    """

    size: int  # pixels a side that the trunk was tried with

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


def build(
    source: Source, *, labels: int, sizes: Sequence[int], dropout: float = 0.0
) -> tuple[ImageClassifier, frozenset[str], list[str]]:
    """A classifier on a trunk, float32 and eval mode; the names of its fresh parameters; notes.

    Args:
        source: what to open.
        labels: how many.
        sizes: sides in pixels, the wanted one first; `model.size` is the first that the trunk takes.
        dropout: before the head.

    Raises:
        ModelError: no such architecture, weights that do not fit it, or no size that it takes.
    """
    if source.scheme == "new":
        raise ModelError(f"model 'new://{source.name}': is for translation; name a checkpoint that sees images")
    opener = {"torchvision": _torchvision, "timm": _timm, "hf": _hugging_face}[source.scheme]
    trunk, missing, notes = opener(source)
    trunk.eval()
    if source.is_random:
        settle_fast(trunk)
    size, width = _taken(trunk, source, sizes)
    model = ImageClassifier(trunk, width=width, labels=labels, dropout=dropout)
    model.size = size
    fresh = {f"trunk.{name}" for name in missing} | {f"head.{name}" for name in model.own_head.state_dict()}
    return model.eval(), frozenset(fresh), notes


def _taken(trunk: nn.Module, source: Source, sizes: Sequence[int]) -> tuple[int, int]:
    """The first size that a trunk takes, and the width of its features."""
    probe = ImageClassifier(trunk, width=1, labels=1, dropout=0.0)
    reasons = []
    for side in sizes:
        try:
            with foreign("it raises", probe=True), torch.inference_mode():
                features = probe.features(pixel_values=torch.zeros(1, 3, side, side))
        except ModelError as error:
            reasons.append(first_line(error))
            continue
        if features.dim() == 2:
            return side, int(features.shape[-1])
        reasons.append(f"its features are {tuple(features.shape)}")
    own = image_facts(source).size
    cure = "name a model that classifies images" if own in sizes else f"its own size is {own}, set data.image_size"
    name = source.name if source.scheme == "hf" else f"{source.scheme}://{source.name}"
    raise ModelError(f"model {name!r}: takes no images of {sizes[-1]} x {sizes[-1]} pixels ({reasons[-1]}); {cure}")


def settle_fast(trunk: nn.Module) -> None:
    """Let BatchNorm follow its batches at torch's own rate.

    Recipes for ImageNet set a tenth of it for their half a million steps; a few hundred steps from random weights end
    before such averages arrive, and the model looks untrained in eval (MobileNetV3 on digits: 10 % for five epochs).
    """
    for module in trunk.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, 0.1)


def drop_side_classifiers(trunk: Any) -> None:
    """Take out the extra classifiers of GoogLeNet and Inception, which give outputs in training mode only."""
    if getattr(trunk, "aux_logits", False):
        trunk.aux_logits = False
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(trunk, name):
                setattr(trunk, name, None)


def _torchvision(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    file = source.weights if source.weights and Path(source.weights).is_file() else None
    own = None if file else source.weights
    if own is None:
        problem = f"torchvision://{source.name}: cannot be made; see torchvision.models.list_models()"
    else:
        problem = f"torchvision://{source.name}: its weights {own!r} cannot be fetched"
    with foreign(problem):
        trunk = get_model(source.name, weights=own)
    notes = [f"weights match {fit_weights(trunk, read_weights(Path(file)), file)}"] if file else []
    layers = [name for name, module in trunk.named_modules() if isinstance(module, nn.Linear)] or last_pointwise(trunk)
    if not layers:
        raise ModelError(f"torchvision://{source.name}: has no linear classifier to replace")
    trunk.set_submodule(layers[-1], nn.Identity())
    drop_side_classifiers(trunk)
    missing = set() if source.weights else set(trunk.state_dict())
    return trunk, missing, notes


def last_pointwise(trunk: nn.Module) -> list[str]:
    """The name of a trunk's last layer with weights where that is a 1 x 1 convolution: SqueezeNet's classifier."""
    layers = [(name, module) for name, module in trunk.named_modules() if list(module.parameters(recurse=False))]
    name, layer = layers[-1]
    return [name] if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) else []


def _timm(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    try:
        import timm
    except ModuleNotFoundError as error:
        raise ModelError(
            f"timm://{source.name} needs timm; install it with pip install 'tunedeploy[vision]'"
        ) from error
    if source.weights and not Path(source.weights).is_file():
        raise ModelError(f"timm://{source.name}: weights {source.weights!r} is not a file; timm's own are on the hub")
    near = ", ".join(timm.list_models(f"*{source.name.split('_')[0]}*")[:5])
    with foreign(f"timm://{source.name}: cannot be made" + (f"; near it: {near}" if near else "")):
        trunk = timm.create_model(source.name)
    notes = []
    if source.weights:
        notes = [f"weights match {fit_weights(trunk, read_weights(Path(source.weights)), source.weights)}"]
    headless: Any = trunk
    headless.reset_classifier(0)
    return trunk, set() if source.weights else set(trunk.state_dict()), notes


def _hugging_face(source: Source) -> tuple[nn.Module, set[str], list[str]]:
    trunk, missing = open_trunk(source, "eager")
    if getattr(trunk, "pooler", None) is not None and any(True for _ in trunk.pooler.parameters()):
        trunk.pooler = None
        missing = {name for name in missing if not name.startswith("pooler.")}
    return trunk, missing, []


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


def load_trunk(folder: Path, labels: int, size: int) -> ImageClassifier:
    """Read back what `save_trunk` wrote, for images of `size` pixels a side; the head is fresh."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    scheme, _, name = config.get("architecture", "hf://").partition("://")
    if scheme == "hf" or not name:
        return build(Source(scheme="hf", name=str(folder)), labels=labels, sizes=[size])[0]
    model = build(Source(scheme=scheme, name=name), labels=labels, sizes=[size])[0]
    model.trunk.load_state_dict(load_file(folder / "model.safetensors"))
    return model
