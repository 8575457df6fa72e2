"""Read .npy and .npz files that others may have written, once their headers say that they fit into memory."""

import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from .errors import RunError

SUFFIX = ".npz"
# Deflate packs zeros a thousandfold, but arrays that say anything tenfold at most. Goldens of a text model, which are
# mostly padding, are far smaller than the first limit.
UNCOMPRESSED = 128 << 20
RATIO = 20


def read_array(path: Path) -> Any:
    """Read a .npy file, or a .npz file as a dict.

    Raises:
        RunError: the file is missing or is not such a file, or would take far more memory than it has bytes.
    """
    try:
        check_size(path)
        with path.open("rb") as file:
            loaded = np.load(file)
            return dict(loaded) if path.suffix == ".npz" else loaded
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path}: cannot be read: {str(error)[:120]}") from error


def check_size(path: Path) -> None:
    """Refuse a file whose headers declare more than its size explains.

    Raises:
        ValueError: they do, or they cannot be read.
        OSError, zipfile.BadZipFile: the file cannot be read.
    """
    stored = path.stat().st_size
    allowed = max(UNCOMPRESSED, RATIO * stored) if path.suffix == SUFFIX else stored
    declared = declared_bytes(path)
    if declared > allowed:
        raise ValueError(f"its headers speak of {declared:,} bytes, of {stored:,} on disk")


def declared_bytes(path: Path) -> int:
    """Bytes of the arrays that a file's headers declare.

    Raises:
        ValueError: a header cannot be read.
    """
    if path.suffix != SUFFIX:
        with path.open("rb") as file:
            return _declared(file)
    total = 0
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                total += _declared(member)  # type: ignore[arg-type]
    return total


def _declared(file: BinaryIO) -> int:
    major, _ = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    count = 1
    for side in shape:  # in Python's numbers, which do not overflow
        count *= int(side)
    return count * dtype.itemsize
