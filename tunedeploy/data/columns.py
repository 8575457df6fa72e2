"""What a column of the user's data may hold, and how one cell becomes a value.

Light on purpose: task modules import this at their top, so neither datasets nor torch is loaded here.
"""

import hashlib
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, TypedDict

MISSING = object()  # a JSON record without the key; never reaches `Kind.parse`


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How the cells of a column are read. A task that needs another kind makes its own record."""

    name: str
    feature: Mapping[str, Any]  # the datasets feature in dict form, e.g. {"_type": "Value", "dtype": "string"}
    parse: Callable[[Any, Path], Any]  # (cell, folder of relative paths) -> value; ValueError("why") on a bad cell
    content: Callable[[Any], bytes]  # value -> the bytes that tell rows apart; ValueError("why") if unreadable
    slow: bool = False  # `content` opens a file: rows are checked on several threads
    target: bool = False  # it is what is to be learned, and no input
    labels: Callable[[Any], Sequence[str]] | None = None  # value -> label texts in it; None: not a label column
    encode: Callable[[Any, Mapping[str, int]], Any] | None = None  # (value, text -> index) -> what is stored
    absent: Any = None  # stored when an optional column is not in a file; None: the column is left out


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column that a task asks for."""

    key: str  # recipe key under `data` (its value is the user's column name), and the canonical column name
    kind: Kind
    required: bool = True
    guesses: tuple[str, ...] = ()  # user's column names tried when the recipe says nothing; case is ignored

    def candidates(self) -> tuple[str, ...]:
        """Names tried when the recipe leaves the column out; an optional column with no guesses is not looked for."""
        return (self.key, *self.guesses) if self.required or self.guesses else ()


class ImageCell(TypedDict):
    """An image as the table keeps it: a file's absolute path, or its bytes."""

    path: str  # empty where there are bytes
    bytes: bytes | None


def parse_text(cell: Any, folder: Path) -> str:
    """A text, unchanged. Numbers, lists and null are errors: a text column that holds them is the wrong column."""
    if isinstance(cell, str):
        return cell
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        raise ValueError("the text is null; fill it or remove the row")
    raise ValueError(f"{shown(cell)} is of type {type(cell).__name__}, a text is needed; write it in quotes")


def parse_category(cell: Any, folder: Path) -> str:
    """A label as text: blanks around it removed, 1 and 1.0 both "1", true and false as JSON writes them."""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, int):
        return str(cell)
    if isinstance(cell, float) and math.isfinite(cell):
        return str(int(cell)) if cell.is_integer() else repr(cell)
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or (isinstance(cell, str) and not cell.strip()):
        raise ValueError("the label is empty; fill it or remove the row")
    if isinstance(cell, str):
        text_content(cell)
        return cell.strip()
    raise ValueError(f"the label {shown(cell)} is of type {type(cell).__name__}; a text or a number is needed")


def parse_image(cell: Any, folder: Path) -> ImageCell:
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
    if not _is_file(path):
        raise ValueError(f"no image file {shown(name)} in {folder}; correct the path or remove the row")
    try:
        str(path).encode()
    except UnicodeEncodeError as error:  # a name in the bytes of another encoding, which no table can hold
        raise ValueError("the file's name or its folder's is not UTF-8; rename it") from error
    return {"path": str(path), "bytes": None}


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for the file system, or with a zero in it
        return False


def image_content(value: Mapping[str, Any]) -> bytes:
    """SHA-256 of the image file's bytes, after decoding it whole.

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


def text_content(value: str) -> bytes:
    """The text in UTF-8.

    Raises:
        ValueError: half of a surrogate pair, which JSON can write and no tokenizer or Arrow file can hold.
    """
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"it holds half a character ({value[error.start]!r}); remove it") from error


def shown(cell: Any) -> str:
    """A cell in a message, cut where it is long."""
    text = repr(cell)
    return text if len(text) <= 40 else text[:37] + "..."


_TEXT = {"_type": "Value", "dtype": "string"}

TEXT = Kind(name="text", feature=_TEXT, parse=parse_text, content=text_content)

IMAGE = Kind(
    name="image",
    feature={"path": _TEXT, "bytes": {"_type": "Value", "dtype": "binary"}},
    parse=parse_image,
    content=image_content,
    slow=True,
)

CATEGORY = Kind(
    name="category",
    feature={"_type": "Value", "dtype": "int64"},
    parse=parse_category,
    content=text_content,
    target=True,
    labels=lambda value: (value,),
    encode=lambda value, index: index[value],
    absent=-1,
)

# What rows for the two kinds of input hold, here and not in their tasks, so that a device scores rows without pydantic.
TEXT_ROWS = (
    Column(
        key="text",
        kind=TEXT,
        guesses=("text", "sentence", "review", "content", "tweet", "utterance", "query", "sentence1", "premise"),
    ),
    Column(key="text_pair", kind=TEXT, required=False),
    Column(
        key="label", kind=CATEGORY, guesses=("label", "labels", "category", "class", "intent", "target", "sentiment")
    ),
)
IMAGE_ROWS = (
    Column(key="image", kind=IMAGE, guesses=("image", "img", "file", "path", "filename", "file_name")),
    Column(key="label", kind=CATEGORY, guesses=("label", "labels", "category", "class", "fine_label")),
)
