"""Pixels of pictures with a catch are those of the definition: other decoders, and filters in float64.

Training and device share Pillow, so a fault of it, or of how we call it, shows in no comparison of the two. Here files
are decoded by torchvision's libpng and libjpeg, turned by hand, and scaled by filters that are written down below.
"""

import io
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg, decode_png

from tunedeploy.device.encoders.image import ImageEncoder, ImageFacts
from tunedeploy.models.image_input import TorchvisionEncoder

Array = np.ndarray
STEP = 1 / 255
# Pillow multiplies bytes by weights rounded to 22 bits behind the point: each weight is off by half of the last bit at
# most, each byte is 255 at most. Only sums that lie so near to a half may be rounded to the other side.
WEIGHT_ERROR = 255 * 2.0**-23  # of a sum, in steps of 8 bits, for each weight
FLOAT_ERROR = 1e-9  # of the float64 sums here: 400 terms of 255 have 255 * 400 * 1.1e-16 each, and there is room
NARROW = 0.01  # of a step: a device's float32 value against the byte that it stands for
TWO_BYTES = 0.01  # share of values for which two bytes are right, where no side is halved
SEEN = 0.01  # share of values outside of their bounds by which a fault is told


# ---- the definition


def triangle(x: Array) -> Array:
    """The bilinear filter, of support 1."""
    return np.maximum(1 - np.abs(x), 0)


def cubic(x: Array) -> Array:
    """The bicubic filter with a = -0.5 (Keys 1981), of support 2."""
    a, x = -0.5, np.abs(x)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


FILTERS: dict[str, tuple[Callable[[Array], Array], float]] = {"bilinear": (triangle, 1.0), "bicubic": (cubic, 2.0)}


def weights(old: int, new: int, name: str) -> Array:
    """(new, old): each new pixel as a mean of the old ones under the filter, which is as wide as the pixel is."""
    kernel, support = FILTERS[name]
    width = max(old / new, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * old / new
    places = np.arange(old)[None] + 0.5
    inside = (np.arange(old) >= np.floor(centres - support * width + 0.5)) & (
        np.arange(old) < np.floor(centres + support * width + 0.5)
    )
    raw = kernel((places - centres) / width) * inside
    return np.asarray(raw / raw.sum(1, keepdims=True))


def to_bytes(values: Array) -> Array:
    return np.floor(np.clip(values, 0, 255) + 0.5).clip(0, 255)


Bounds = tuple[Array, Array]


def one_pass(bounds: Bounds, matrix: Array, sums: str, slack: float) -> Bounds:
    """The lowest and the highest bytes that a pass over bytes within bounds may give; nothing where the size stays.

    A weight below zero takes the other bound. `slack` is 1 for Pillow's arithmetic, 0 for the exact one.
    """
    low, high = bounds
    if matrix.shape[0] == matrix.shape[1]:
        return bounds
    up, down = np.maximum(matrix, 0), np.minimum(matrix, 0)
    error = slack * (WEIGHT_ERROR * (matrix != 0).sum(1) + FLOAT_ERROR)
    error = error[:, None, None] if sums.startswith("yh") else error[None, :, None]
    least = np.einsum(sums, up, low) + np.einsum(sums, down, high) - error
    most = np.einsum(sums, up, high) + np.einsum(sums, down, low) + error
    return to_bytes(least), to_bytes(most)


def scaled(image: Array, sides: tuple[int, int], name: str, *, across_first: bool, slack: float) -> Bounds:
    """Bounds (height, width, 3) of an image in 0..255, rounded to whole numbers after each of its two passes."""
    matrices = [weights(old, new, name) for old, new in zip(image.shape, sides, strict=False)]
    passes = list(zip(matrices, ("yh,hwc->ywc", "xw,hwc->hxc"), strict=True))
    bounds = (image.astype(np.float64), image.astype(np.float64))
    for matrix, sums in reversed(passes) if across_first else passes:
        bounds = one_pass(bounds, matrix, sums, slack)
    return bounds


def by_definition(image: Array, facts: ImageFacts, *, across_first: bool = True) -> Array:
    """(3, size, size) of an upright RGB image, as the device's float32 values, by exact arithmetic."""
    pixels, _ = bytes_by_definition(image, facts, across_first=across_first, slack=0.0)
    return np.asarray(((pixels / 255 - np.array(facts.mean)) / np.array(facts.std)).transpose(2, 0, 1))


def bytes_by_definition(image: Array, facts: ImageFacts, *, across_first: bool, slack: float) -> Bounds:
    """Bounds (size, size, 3): shorter side to `resize`, longer one cut to a whole number, centre."""
    height, width = image.shape[:2]
    short = min(height, width)
    tall, wide = (facts.resize * side // short for side in (height, width))
    if facts.stretch:
        tall = wide = facts.resize
    low, high = scaled(image, (tall, wide), facts.interpolation, across_first=across_first, slack=slack)
    top, left = (half_to_even(side - facts.size) for side in (tall, wide))
    cut = (slice(top, top + facts.size), slice(left, left + facts.size))
    return low[cut], high[cut]


def half_to_even(number: int) -> int:
    """Half of a number; a half goes to the even side, as torchvision's centre crop has it."""
    whole, rest = divmod(number, 2)
    return whole + (rest and whole % 2)


# ---- pictures


def picture(height: int, width: int) -> Array:
    """Waves and corners in colours that differ, so that a turned, mirrored or shifted picture is another one."""
    y, x = np.mgrid[0:height, 0:width]
    red = 127 + 120 * np.sin(x / 5 + y / 17)
    green = 127 + 120 * np.cos(y / 7) * (x > width / 3)
    blue = 255 * ((x // 4 + y // 4) % 2) * (y < height / 2) + 40
    return np.stack([red, green, blue], -1).clip(0, 255).astype(np.uint8)


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


# What a viewer does with the stored pixels, by the table of the EXIF standard: row 0 and column 0 are the picture's ...
UPRIGHT: dict[int, Callable[[Array], Array]] = {
    1: lambda stored: stored,  # ... top and left
    2: lambda stored: stored[:, ::-1],  # top and right
    3: lambda stored: stored[::-1, ::-1],  # bottom and right
    4: lambda stored: stored[::-1],  # bottom and left
    5: lambda stored: stored.transpose(1, 0, 2),  # left and top
    6: lambda stored: stored.transpose(1, 0, 2)[:, ::-1],  # right and top
    7: lambda stored: stored.transpose(1, 0, 2)[::-1, ::-1],  # right and bottom
    8: lambda stored: stored.transpose(1, 0, 2)[::-1],  # left and bottom
}


def png(content: bytes, mode: ImageReadMode = ImageReadMode.RGB) -> Array:
    """(height, width, channels) by libpng."""
    return decoded(decode_png, content, mode)


def jpeg(content: bytes, mode: ImageReadMode = ImageReadMode.RGB) -> Array:
    """(height, width, channels) by libjpeg, as stored: not turned."""
    return decoded(decode_jpeg, content, mode)


def decoded(decoder: Callable[..., Any], content: bytes, mode: ImageReadMode) -> Array:
    stored = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 means to leave decoding to torchcodec
        return np.asarray(decoder(stored, mode=mode).permute(1, 2, 0).numpy())


def files() -> dict[str, tuple[bytes, Array]]:
    """Name to a file's bytes and its upright RGB pixels, decoded without Pillow."""
    photo = Image.fromarray(picture(61, 83))
    grey, made = photo.convert("L"), {}
    for orientation, upright in UPRIGHT.items():
        content = saved(photo, "JPEG", exif=exif(orientation), quality=92)
        made[f"EXIF {orientation}"] = (content, upright(jpeg(content)))
    content = saved(photo, "PNG", exif=exif(8))
    made["EXIF 8 in a PNG"] = (content, UPRIGHT[8](png(content)))
    deep = np.asarray(grey).astype(np.uint16) * 256 + np.arange(83, dtype=np.uint16)
    content = saved(Image.fromarray(deep), "PNG")
    scaled_down = np.floor(png(content, ImageReadMode.UNCHANGED).astype(np.float64) / 257 + 0.5)
    made["grey of 16 bits"] = (content, np.repeat(scaled_down, 3, -1))
    content = saved(photo.quantize(16), "PNG", transparency=3)
    made["palette with transparency"] = (content, png(content))
    content = saved(photo.quantize(2), "PNG")
    made["palette of two colours"] = (content, png(content))
    content = saved(Image.merge("LA", (grey, grey)), "PNG")
    made["grey and alpha"] = (content, np.repeat(png(content, ImageReadMode.GRAY_ALPHA)[..., :1], 3, -1))
    content = saved(Image.merge("RGBA", (*photo.split(), grey)), "PNG")
    made["colours and alpha"] = (content, png(content, ImageReadMode.RGB_ALPHA)[..., :3])
    content = saved(grey.convert("1"), "PNG")
    made["one bit"] = (content, png(content))
    for name, options in {
        "progressive": {"progressive": True}, "4:2:0": {"subsampling": 2}, "4:2:2": {"subsampling": 1},
        "poor": {"quality": 10}, "optimised": {"optimize": True},
    }.items():  # fmt: skip
        content = saved(photo, "JPEG", **{"quality": 90, **options})
        made[f"JPEG, {name}"] = (content, jpeg(content))
    content = saved(grey, "JPEG", quality=90)
    made["JPEG, grey"] = (content, jpeg(content))
    return made


FILES = files()
SIDES = {
    "square": (64, 64), "odd": (61, 83), "odd, on its side": (83, 61), "a pixel over": (33, 32), "tall": (301, 97),
    "very tall": (400, 40), "wide": (97, 301), "one pixel wide": (50, 1), "one pixel high": (1, 50),
    "one pixel": (1, 1), "small": (5, 7), "large": (500, 620),
}  # fmt: skip
FACTS = {
    "crop": ImageFacts(size=32, resize=37),
    "bicubic": ImageFacts(size=32, resize=36, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    "stretched": ImageFacts(size=32, resize=32, stretch=True),
}


def differences(got: Array, expected: Array, facts: ImageFacts) -> Array:
    """In steps of 8 bits, which are wider after the division by `std`."""
    return np.asarray(np.abs(got - expected) * np.array(facts.std)[:, None, None] / STEP)


def outside(got: Array, upright: Array, facts: ImageFacts, *, across_first: bool = True) -> float:
    """The share of a device's values that Pillow's arithmetic cannot give."""
    low, high = bytes_by_definition(upright, facts, across_first=across_first, slack=1.0)
    pixels = (got.transpose(1, 2, 0).astype(np.float64) * np.array(facts.std) + np.array(facts.mean)) * 255
    return float(((pixels < low - NARROW) | (pixels > high + NARROW)).mean())


def encoded(content: Any, facts: ImageFacts) -> list[Array]:
    """Pixels as the device makes them, and as training does."""
    row = {"image": content}
    return [encoder.encode([row])[0]["pixel_values"] for encoder in (ImageEncoder(facts), TorchvisionEncoder(facts))]


# ---- the claims


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", FACTS)
def test_a_file_with_a_catch_gives_the_pixels_of_the_definition(name: str, how: str) -> None:
    content, upright = FILES[name]
    for got in encoded(content, FACTS[how]):
        assert outside(got, upright, FACTS[how]) == 0


@pytest.mark.parametrize("name", SIDES)
@pytest.mark.parametrize("how", FACTS)
def test_sides_of_every_proportion_give_the_pixels_of_the_definition(name: str, how: str, tmp_path: Path) -> None:
    """In one of the two orders of passes: Pillow before 13 goes across first, 13 chooses by the picture's shape."""
    image = picture(*SIDES[name])
    (tmp_path / "a.png").write_bytes(saved(Image.fromarray(image), "PNG"))
    orders = (True,) if int(PIL.__version__.partition(".")[0]) < 13 else (True, False)
    for got in encoded(tmp_path / "a.png", FACTS[how]):
        assert min(outside(got, image, FACTS[how], across_first=first) for first in orders) == 0


@pytest.mark.parametrize("how", FACTS)
@pytest.mark.parametrize("name", ["odd", "odd, on its side", "wide"])
def test_the_bounds_leave_one_right_byte_nearly_everywhere(name: str, how: str) -> None:
    """Two are honest only where a sum lies at a half: often where sides are halved, since sums are eighths then."""
    image = picture(*SIDES[name])
    for first in (True, False):
        low, high = bytes_by_definition(image, FACTS[how], across_first=first, slack=1.0)
        exact, same = bytes_by_definition(image, FACTS[how], across_first=first, slack=0.0)
        assert np.array_equal(exact, same)
        assert ((low <= exact) & (exact <= high)).all()
        assert (high - low).max() <= 1
        assert (high > low).mean() <= TWO_BYTES


def test_a_cmyk_jpeg_has_the_colours_of_its_inks() -> None:
    """Each ink takes its share of the light; programs differ in how they round the product."""
    inks = np.stack([*picture(61, 83).transpose(2, 0, 1), np.full((61, 83), 60, np.uint8)], -1)
    bands = [Image.fromarray(np.ascontiguousarray(inks[..., at])) for at in range(4)]
    content = saved(Image.merge("CMYK", bands), "JPEG", quality=100, subsampling=0)
    light = np.floor((255.0 - inks[..., :3]) * (255.0 - inks[..., 3:]) / 255 + 0.5)
    facts = FACTS["crop"]
    for got in encoded(content, facts):
        off = differences(got, by_definition(light, facts), facts)
        assert off.max() <= 6  # JPEG at quality 100 is off by a few steps itself
        assert off.mean() < 1


def test_another_filter_crop_or_turn_would_be_seen() -> None:
    content, upright = FILES["EXIF 6"]
    facts = FACTS["bicubic"]
    got = encoded(content, facts)[0]
    nearest = Image.fromarray(np.ascontiguousarray(upright)).resize((36, 36 * 83 // 61), Image.Resampling.NEAREST)
    wrong = {
        "turned the other way": outside(got, upright[::-1, ::-1], facts),
        "another filter": outside(got, upright, replace(facts, interpolation="bilinear")),
        "another crop": outside(got, upright, replace(facts, resize=37)),
        "a pixel to the side": outside(np.roll(got, 1, 2), upright, facts),
        "not antialiased": outside(got, np.asarray(nearest), facts),
        "a step brighter in every fiftieth value": outside(brighter(got, facts), upright, facts),
    }
    assert {name: share for name, share in wrong.items() if share <= SEEN} == {}


def brighter(pixels: Array, facts: ImageFacts) -> Array:
    """The same with a step more in every fiftieth place, which a tolerance of 2.5 % would let pass."""
    other = pixels.copy()
    other.reshape(3, -1)[:, ::50] += (STEP / np.array(facts.std))[:, None]
    return other


def test_weights_of_a_filter_sum_to_one_and_do_nothing_where_the_size_stays() -> None:
    for name in FILTERS:
        for old, new in ((7, 7), (100, 3), (3, 100), (1, 5)):
            assert np.allclose(weights(old, new, name).sum(1), 1)
        assert np.allclose(weights(9, 9, name), np.eye(9))
    assert math.isclose(weights(4, 2, "bilinear")[0, 0], 3 / 7)  # 0.75, 0.75, 0.25 over their sum
