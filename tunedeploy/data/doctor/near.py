"""Find rows that are nearly the same: texts by MinHash, images by a hash of their brightness steps.

MinHash: Broder, "On the resemblance and containment of documents", 1997. Both kinds of hash are cut into bands, and
only rows that share a whole band are compared, so the cost grows with the rows and not with their square.
"""

import os
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SHINGLE = 4  # characters; three would join unrelated short texts, five would part those with one typo
HASHES = 128  # the standard error of a similarity of 0.8 is then 0.035
BANDS = 16  # of 8 hashes: a pair of similarity 0.8 is found with 95 %, one of 0.5 compared with 6 %
SIMILAR = 0.8  # share of common shingles from which two texts count as near duplicates
NEAR_BITS = 3  # of 64: re-encoded and resized copies stay below
CORRELATED = 0.97  # of 16 x 16 thumbnails: tiny images share step hashes by chance, not thumbnails
NEIGHBOURS = 8  # rows before it in its bucket that a row is compared with, beside the bucket's first

Pairs = NDArray[np.int64]  # (pairs, 2), first index below second, sorted


def near_texts(texts: Sequence[str]) -> Pairs:
    """Pairs of texts that are equal but for case and punctuation, or share `SIMILAR` of their shingles.

    A pair in a bucket of many alike rows may be missed, but none of its rows is left without a twin.
    """
    plain = [normalised(text) for text in texts]
    signatures = _min_hashes(plain)
    weights = _odd_numbers(HASHES // BANDS, seed=1)
    bands = [(band.astype(np.uint64) * weights).sum(axis=1) for band in np.split(signatures, BANDS, axis=1)]
    pairs = _candidates(np.stack(bands, axis=1))
    alike = np.concatenate([_agreement(signatures, chunk) for chunk in _chunks(pairs)] or [np.zeros(0)])
    return pairs[alike >= SIMILAR]


def normalised(text: str) -> str:
    """The text without case, punctuation and repeated blanks; as it is when nothing else is left (emoji)."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.findall(r"\w+", folded)) or folded.strip() or " "


@dataclass(frozen=True, kw_only=True)
class Look:
    """What one pass over an image finds."""

    steps: int  # 64 bits: is each of 8 x 9 cells brighter than its right neighbour
    thumbnail: NDArray[np.float32]  # (256,) grey, 0 to 255
    mode: str  # as Pillow names it: RGB, L, P, CMYK, ...
    size: tuple[int, int]  # width, height in pixels

    @property
    def flat(self) -> bool:
        """Whether the image has one colour only."""
        return bool(np.ptp(self.thumbnail) < 1)


def looks(images: Iterable[Mapping[str, Any]]) -> list[Look | None]:
    """A look at each image, None where it cannot be read."""
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        return list(pool.map(_look, images))


def near_images(seen: Sequence[Look]) -> Pairs:
    """Pairs of images, at most `NEAR_BITS` apart, whose thumbnails agree."""
    steps = np.array([look.steps for look in seen], dtype=np.uint64)
    bands = np.stack([(steps >> np.uint64(16 * band)) & np.uint64(0xFFFF) for band in range(NEAR_BITS + 1)], axis=1)
    pairs = _candidates(bands)
    first, second = pairs.T
    pairs = pairs[np.bitwise_count(steps[first] ^ steps[second]) <= NEAR_BITS]
    alike = [_same_picture(seen[left], seen[right]) for left, right in pairs.tolist()]
    similar: Pairs = pairs[np.array(alike, dtype=bool)]
    return similar


def _look(image: Mapping[str, Any]) -> Look | None:
    try:
        with Image.open(BytesIO(image["bytes"]) if image["bytes"] is not None else image["path"]) as opened:
            mode, size = opened.mode, opened.size
            opened.draft("L", (64, 64))
            grey = _grey(opened)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    cells = np.asarray(grey.resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (cells[:, :-1] > cells[:, 1:]).ravel()
    thumbnail = np.asarray(grey.resize((16, 16), Image.Resampling.BOX), dtype=np.float32).ravel()
    return Look(steps=int.from_bytes(np.packbits(bits).tobytes(), "big"), thumbnail=thumbnail, mode=mode, size=size)


def _grey(image: Image.Image) -> Image.Image:
    """The image in grey, transparent parts in white."""
    if not image.has_transparency_data:
        return image.convert("L")
    clear = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("L")


def _same_picture(first: Look, second: Look) -> bool:
    if first.flat or second.flat:
        return bool(np.abs(first.thumbnail - second.thumbnail).max() < 2)  # noise of an encoder
    return bool(np.corrcoef(first.thumbnail, second.thumbnail)[0, 1] >= CORRELATED)


def _min_hashes(texts: Sequence[str]) -> NDArray[np.uint32]:
    """(texts, HASHES): the least value of each hash over the text's shingles. No text may be empty."""
    signatures = np.empty((len(texts), HASHES), dtype=np.uint32)
    factors, offsets = _odd_numbers(HASHES, seed=2), _odd_numbers(HASHES, seed=3)
    start = 0
    while start < len(texts):
        stop, length = start, 0
        while stop < len(texts) and (stop == start or length + len(texts[stop]) < 1_000_000):  # 8 MB an array
            length += len(texts[stop])
            stop += 1
        shingles, starts = _shingles(texts[start:stop])
        for number in range(HASHES):
            mixed = (shingles * factors[number] + offsets[number]) >> np.uint64(32)
            signatures[start:stop, number] = np.minimum.reduceat(mixed, starts)
        start = stop
    return signatures


def _shingles(texts: Sequence[str]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """A hash of the shingle from each character on, padded behind the end, and where each text starts."""
    padding = "\0" * (SHINGLE - 1)
    codes = np.frombuffer(padding.join([*texts, ""]).encode("utf-32-le", "replace"), dtype=np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in texts])
    starts = np.cumsum(lengths + len(padding)) - lengths - len(padding)
    weights = _odd_numbers(SHINGLE, seed=4)
    count = len(codes) - len(padding)
    hashes = np.zeros(count, dtype=np.uint64)
    for ahead in range(SHINGLE):
        hashes += codes[ahead : ahead + count] * weights[ahead]
    hashes ^= hashes >> np.uint64(29)
    inside = np.ones(count, dtype=bool)  # without the shingles that start in the padding
    for pad in range(len(padding)):
        ends = (starts + lengths + pad)[starts + lengths + pad < count]
        inside[ends] = False
    return hashes[inside], np.cumsum(lengths) - lengths


def _candidates(bands: NDArray[np.uint64]) -> Pairs:
    """Pairs of rows that agree in a band. bands: (rows, bands)."""
    codes = [np.zeros(0, dtype=np.int64)]  # a pair as one number: many times faster to sort than two
    for keys in bands.T:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        first = np.searchsorted(ordered, ordered)  # where the row's bucket starts
        places = np.arange(len(order))
        for earlier in (first, *(places - step for step in range(1, NEIGHBOURS + 1))):
            same = (earlier >= first) & (earlier < places)
            codes.append(order[earlier[same]] * len(order) + order[places[same]])
    pairs = np.sort(np.concatenate(codes))
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    return np.stack(np.divmod(pairs, max(len(bands), 1)), axis=1)


def _agreement(signatures: NDArray[np.uint32], pairs: Pairs) -> NDArray[np.float64]:
    share: NDArray[np.float64] = (signatures[pairs[:, 0]] == signatures[pairs[:, 1]]).mean(axis=1)
    return share


def _chunks(pairs: Pairs, size: int = 50_000) -> list[Pairs]:
    return [pairs[at : at + size] for at in range(0, len(pairs), size)]


def _odd_numbers(count: int, *, seed: int) -> NDArray[np.uint64]:
    numbers = np.random.default_rng(seed).integers(0, 2**63, size=count, dtype=np.uint64)
    return numbers * np.uint64(2) + np.uint64(1)
