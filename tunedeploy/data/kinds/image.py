"""An image: a file's path, or its bytes."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path, PureWindowsPath
from typing import Any, TypedDict

from tunedeploy.data.kinds import Kind
from tunedeploy.data.kinds.text import STRING
from tunedeploy.data.table import shown
from tunedeploy.device.files import is_file


class ImageCell(TypedDict):
    """An image as the table keeps it: a file's absolute path, or its bytes."""

    path: str  # empty where there are bytes
    bytes: bytes | None


def parse(cell: Any, folder: Path) -> ImageCell:
    """A path, bytes, or {"path", "bytes"} as {"path": absolute or "", "bytes": binary or None}."""
    if isinstance(cell, bytes):
        return {"path": "", "bytes": cell}
    if isinstance(cell, Mapping) and cell.get("bytes"):
        if not isinstance(cell["bytes"], bytes):
            raise ValueError(f"the image's bytes are of type {type(cell['bytes']).__name__}; write a file's bytes")
        return {"path": "", "bytes": cell["bytes"]}
    name = cell.get("path") if isinstance(cell, Mapping) else cell
    if not isinstance(name, str) or not name.strip():
        raise ValueError("the image is empty; give a file's path" if not name else f"{shown(cell)} is not an image")
    if re.match(r"[a-z]+://", name):
        raise ValueError(f"{shown(name)} is an address; download it and name the file")
    path = Path(folder, name.strip()).absolute()
    if not is_file(path):
        raise ValueError(f"no image file {_shown_path(name.strip())}; correct the path or remove the row")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # a name in the bytes of another encoding, which no table can hold
        raise ValueError("the file's name or its folder's is not UTF-8; rename it") from error
    return {"path": str(path), "bytes": None}


def _shown_path(name: str) -> str:
    """A path as the cell has it, but of an absolute one the last two parts: reasons get into pages that are sent."""
    path = PureWindowsPath(name)  # which parts names at / too
    if not path.root:
        return f"{shown(name)} beside the table"
    return f"{shown(path.name)} in a folder {shown(path.parent.name)}"


def content(value: Mapping[str, Any]) -> bytes:
    """SHA-256 of the image file's bytes, after decoding all of it.

    Raises:
        ValueError: empty, not an image, truncated or too large to decode safely.
    """
    try:
        data: bytes = value["bytes"] if value["bytes"] is not None else Path(value["path"]).read_bytes()
    except OSError as error:
        raise ValueError(f"the image cannot be read ({error.strerror})") from error
    digest = hashlib.sha256(data).digest()
    if digest not in _decoded:
        _decode(data)
        _decoded.add(digest)
    return digest


_decoded: set[bytes] = set()  # digests of images known to decode, so the later stages of a run need not do it again


def _decode(data: bytes) -> None:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise ValueError("the image file is empty (0 bytes); remove or replace it")
    if data[4:8] == b"ftyp":
        from tunedeploy.device.encoders import _heif as heif  # whose package loads numpy, which other images do without

        if heif.is_heif(data) and not heif.register():
            raise ValueError(heif.CURE)
    try:
        with Image.open(BytesIO(data)) as image:
            image.draft("L", (max(image.width // 8, 1), max(image.height // 8, 1)))  # a JPEG's every scan is still read
            image.load()
    except Image.DecompressionBombError as error:
        raise ValueError(f"the image is too large ({error}); shrink it") from error
    except UnidentifiedImageError as error:
        raise ValueError("the file is not an image that Pillow can read; remove or convert it") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"the image is damaged ({error}); remove or replace it") from error


def likely(cells: Sequence[Any]) -> float:
    """A cell that names a file, or holds one's bytes, is hardly anything else."""
    return float(bool(cells))


IMAGE = Kind(
    name="image",
    feature={"path": STRING, "bytes": {"_type": "Value", "dtype": "binary"}},
    parse=parse,
    content=content,
    skippable=True,  # among thousands of photos a few are cut off
    opens_files=True,
    picture=lambda value: value,
    likely=likely,
)
