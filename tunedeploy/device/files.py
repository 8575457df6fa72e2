"""Read files that others may have written: JSON, hashes. It needs no numpy: `--help` loads it."""

import hashlib
import json
from pathlib import Path
from typing import Any

from .errors import RunError


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_file(name: str | Path) -> bool:
    """Whether a file is there; False for what no file system takes as a name, such as a long text."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def is_folder(name: str | Path) -> bool:
    """Whether a folder is there; see `is_file`."""
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def files_below(folder: Path) -> list[Path]:
    """Every file below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        RunError: the file is missing or is not JSON.
    """
    try:
        return parsed(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path}: missing") from error
    except IsADirectoryError as error:
        raise RunError(f"{path}: expected a file, got a folder") from error
    except ValueError as error:
        raise RunError(f"{path}: is not JSON: {error}") from error


def parsed(text: str) -> Any:
    """JSON that every later step can handle.

    Raises:
        ValueError: it is not JSON, is nested too deeply, or holds half of a surrogate pair, which no file can.
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if "\\ud" in text.lower():
        json.dumps(value, ensure_ascii=False).encode()
    return value
