"""The file beside an ONNX file that holds its tensors, found with no package: a device has no onnx.

An ONNX file ends at 2 GB. Weights beyond that lie in `model.onnx_data` beside `model.onnx`, which is where
transformers.js and optimum look for them; tensors anywhere else are refused.
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

from .errors import RunError
from .files import sha256

# Field numbers of onnx.proto on every way from a model to a tensor's `external_data`, whose entries are key and value.
FIELDS: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "entry"},
}  # fmt: skip
DEEPEST = 100  # messages within messages, as protobuf itself has it
FIXED = {1: 8, 5: 4}  # bytes of a wire type
LOCATION = b"location"
SUFFIX = "_data"  # of the file beside


def data_file(path: Path) -> Path:
    """Where the tensors of an ONNX file lie that it does not hold itself."""
    return path.with_name(path.name + SUFFIX)


def parts_of_file(path: Path) -> list[Path]:
    """An ONNX file and, where it has one, the file of its tensors.

    Raises:
        RunError: it is not an ONNX file, or keeps tensors in another place than `data_file`.
    """
    names = locations(path)
    elsewhere = [name for name in names if name != data_file(path).name]
    if elsewhere:
        raise RunError(f"{path}: keeps tensors in {elsewhere[0]!r}; only {data_file(path).name} may hold them")
    return [path, data_file(path)] if names else [path]


def size_of_file(path: Path) -> int:
    """Bytes of an ONNX file with its tensors.

    Raises:
        RunError: as `parts_of_file`.
        OSError: one is missing.
    """
    return sum(part.stat().st_size for part in parts_of_file(path))


def data_digest(path: Path) -> str | None:
    """SHA-256 of the file beside an ONNX file that holds its tensors; None where it holds them itself.

    Raises:
        RunError: as `parts_of_file`.
        OSError: the file beside is missing.
    """
    parts = parts_of_file(path)
    return sha256(parts[1]) if len(parts) > 1 else None


def locations(path: Path) -> list[str]:
    """Where an ONNX file says that its external tensors are, relative to its folder.

    Raises:
        RunError: it is not an ONNX file.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            if content.find(LOCATION) < 0:
                return []
            return sorted(set(_entries(content, (0, len(content)), "model", DEEPEST)))
    except (ValueError, IndexError) as error:  # also mmap's own, of an empty file
        raise RunError(f"{path}: is not an ONNX file: {error}") from error


def _entries(content: mmap.mmap, span: tuple[int, int], kind: str, depth: int) -> Iterator[str]:
    if depth == 0:
        raise ValueError("nested too deeply")
    for number, start, end in _fields(content, *span):
        below = FIELDS[kind].get(number)
        if below == "entry":
            entry = {key: content[first:last] for key, first, last in _fields(content, start, end)}
            if entry.get(1) == LOCATION:
                yield entry.get(2, b"").decode()
        elif below:
            yield from _entries(content, (start, end), below, depth - 1)


def _fields(content: mmap.mmap, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Number, start and end of each length-delimited field of a message."""
    while at < end:
        tag, at = _varint(content, at)
        wire = tag & 7
        if tag >> 32:  # protobuf drops what is over 32 bits, and reads another field than stands here
            raise ValueError(f"tag {tag}")
        if wire == 0:
            _, at = _varint(content, at)
        elif wire == 2:
            length, start = _varint(content, at)
            at = start + length
            if at <= end:
                yield tag >> 3, start, at
        elif wire in FIXED:
            at += FIXED[wire]
        else:
            raise ValueError(f"wire type {wire}")
    if at != end:
        raise ValueError("cut off")


def _varint(content: mmap.mmap, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than ten bytes")
