"""Image files to normalised pixels with Pillow and numpy alone."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from .. import typed
from ..agreement import PIXELS
from ..errors import ImageError
from ..inside import inside
from ..signature import Value
from . import Array, Features, Inputs, Row
from . import _heif as heif

RESAMPLE = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

JPEG, PNG = b"\xff\xd8", b"\x89PNG"  # how such files begin
LARGEST_SIDE = 4096  # pixels; a batch of such images fills gigabytes


@dataclass(frozen=True, kw_only=True)
class ImageFacts:
    """How an image becomes pixels.

    The shorter side is scaled to `resize` (with antialias; both sides where `stretch`), then a centre square of
    `size` is cut, values are divided by 255, and (x - mean) / std is taken a channel.
    """

    size: int
    resize: int
    stretch: bool = False
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dynamic: bool = False  # the exported file takes other heights and widths too
    inputs: tuple[str, ...] = ("pixel_values",)
    kind: str = "image"

    def __post_init__(self) -> None:
        sides = {"size": self.size, "resize": self.resize}
        wrong = [name for name, side in sides.items() if not 1 <= side <= LARGEST_SIDE]
        if wrong:
            raise ValueError(f"{wrong[0]}: expected 1 to {LARGEST_SIDE} pixels, got {sides[wrong[0]]}")
        if self.interpolation not in RESAMPLE:
            raise ValueError(f"interpolation: expected one of {', '.join(RESAMPLE)}, got {self.interpolation!r}")
        if 0 in self.std or self.inputs != ("pixel_values",):
            raise ValueError("std: 0 is not a spread" if 0 in self.std else "inputs: expected pixel_values")


def open_image(value: Any) -> Image.Image:
    """An upright RGB image from a path, bytes, a PIL image, or a row's {"path", "bytes"}.

    EXIF rotation is applied; transparency is dropped; 16-bit greys are scaled to 8 bits, not clipped.

    Raises:
        ImageError: the image cannot be read.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value["path"]
    try:
        image = ImageOps.exif_transpose(_opened(value))
        image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        name = value if isinstance(value, str | Path) else "image"
        reason = getattr(error, "strerror", None) or f"Pillow says: {error}"
        raise ImageError(f"{name}: the image cannot be read ({reason}); restore it, or remove its row") from error
    if image.mode.startswith("I") or image.mode == "F":
        wide = np.asarray(image, dtype=np.float64)
        top = 65535.0 if image.mode.startswith("I") else max(float(wide.max(initial=0.0)), 1.0)
        image = Image.fromarray(np.clip(wide / top * 255.0, 0, 255).round().astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _opened(value: Any) -> Image.Image:
    if isinstance(value, Image.Image):
        return value
    data = value if isinstance(value, bytes) else Path(value).read_bytes()
    if heif.is_heif(data) and not heif.register():
        raise ValueError(f"this is {heif.CURE}")
    return Image.open(io.BytesIO(data))


def resized(width: int, height: int, facts: ImageFacts) -> tuple[int, int]:
    """Width and height after scaling, by torchvision's rule (the longer side is cut down to a whole number)."""
    if facts.stretch:
        return facts.resize, facts.resize
    short, long = min(width, height), max(width, height)
    scaled = int(facts.resize * long / short)
    return (facts.resize, scaled) if width <= height else (scaled, facts.resize)


def pixels(image: Image.Image, facts: ImageFacts) -> Array:
    """One RGB image to float32 (3, size, size)."""
    wide = resized(image.width, image.height, facts)
    image = image if image.size == wide else image.resize(wide, RESAMPLE[facts.interpolation])
    left, top = round((wide[0] - facts.size) / 2.0), round((wide[1] - facts.size) / 2.0)
    image = image.crop((left, top, left + facts.size, top + facts.size))  # outside the image is black
    values = np.asarray(image, dtype=np.float32) / np.float32(255)
    normal = (values - np.asarray(facts.mean, np.float32)) / np.asarray(facts.std, np.float32)
    return np.ascontiguousarray(normal.transpose(2, 0, 1))


class ImageEncoder:
    """Encode raw images as ImageFacts says."""

    key = "image"
    tolerance = PIXELS
    small = False  # a batch of pixels is made again faster than kept

    def __init__(self, facts: ImageFacts) -> None:
        self._facts = facts

    @property
    def facts(self) -> Mapping[str, Any]:
        """The ImageFacts as JSON."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self._facts).items()}

    def encode(self, rows: Sequence[Row]) -> list[Features]:
        """Rows with `image` to `pixel_values` (3, size, size), float32."""
        return [{"pixel_values": pixels(open_image(row["image"]), self._facts)} for row in rows]

    def collate(self, features: Sequence[Features], size: int | None = None) -> Inputs:
        """Stack to (batch, 3, height, width); `size` cuts or zero-pads to that height, and to a width of 32 more."""
        stack = np.stack([row["pixel_values"] for row in features])
        if size is None:
            return {"pixel_values": stack}
        height, width = size, size + 32
        room = [(0, 0), (0, 0), (0, max(0, height - stack.shape[2])), (0, max(0, width - stack.shape[3]))]
        return {"pixel_values": np.ascontiguousarray(np.pad(stack, room)[:, :, :height, :width])}

    def sizes(self, features: Sequence[Features]) -> list[int | None]:
        """The trained side alone; with dynamic sides also a smaller and a larger height, in multiples of 32."""
        if not self._facts.dynamic:
            return [None]
        return [None, max(64, self._facts.size - 32), self._facts.size + 32]

    def values(self) -> tuple[Value, ...]:
        """See the function `values`."""
        return values(self.facts)

    def contradictions(self, folder: Path) -> list[str]:
        """See the function `contradictions`."""
        return contradictions(folder, self.facts)

    def portable(self, row: Row, at: int, folder: Path) -> dict[str, str | list[str]]:
        """A raw row as JSON, with its image in `folder`, named after the row's number.

        A PNG or JPEG stays as it is; any other image becomes a PNG of its upright RGB pixels.
        """
        image = row["image"]
        (folder / "images").mkdir(exist_ok=True)
        if isinstance(image, bytes) and image.startswith((JPEG, PNG)):
            name = f"images/{at:03d}.{'jpg' if image.startswith(JPEG) else 'png'}"
            (folder / name).write_bytes(image)
        else:
            name = f"images/{at:03d}.png"
            open_image(image).save(folder / name)
        return {"image": name}


def values(facts: Mapping[str, Any]) -> tuple[Value, ...]:
    """What goes into the graph: pixels, float32 (batch, 3, height, width)."""
    sides = ("height", "width") if facts["dynamic"] else (facts["size"], facts["size"])
    return (Value(name="pixel_values", axes=("batch", 3, *sides)),)


def opened(folder: Path, facts: Mapping[str, Any]) -> ImageEncoder:
    """The encoder of a bundle, which needs no file."""
    del folder
    return ImageEncoder(facts_from(facts))


def contradictions(folder: Path, facts: Mapping[str, Any]) -> list[str]:
    """Keys of `preprocessor_config.json`, read by other programs to encode, that contradict the facts."""
    config = typed.read(inside(folder, "preprocessor_config.json"), typed.OBJECT)
    wanted = processor_of_facts(facts_from(facts))
    return sorted(key for key in {*config, *wanted} if config.get(key) != wanted.get(key))


def facts_from(raw: Mapping[str, Any]) -> ImageFacts:
    """ImageFacts read back from its JSON.

    Raises:
        Mismatch: a key is missing, unknown or has another value than it can have.
    """
    return typed.from_json(ImageFacts, dict(raw))


def processor_of_facts(facts: ImageFacts) -> dict[str, object]:
    """ImageFacts as the `preprocessor_config.json` that transformers and transformers.js read."""
    square = {"height": facts.resize, "width": facts.resize}
    return {
        "image_processor_type": "ViTImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square if facts.stretch else {"shortest_edge": facts.resize},
        "resample": int(RESAMPLE[facts.interpolation]),
        "do_center_crop": not facts.stretch or facts.size != facts.resize,
        "crop_size": {"height": facts.size, "width": facts.size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(facts.mean),
        "image_std": list(facts.std),
    }
