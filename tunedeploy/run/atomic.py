"""Write files and folders so that a reader finds, at any moment, the old one or the new one, never a part."""

import contextlib
import ctypes
import errno
import io
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tunedeploy.errors import TunedeployError

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = re.compile(r"\.(?P<name>.+)\.(?P<process>\d+)\.(?P<kind>tmp|old)")
OS_ERROR = re.compile(
    r"\[Errno (\d+)\]|\(os error (\d+)\)|Os \{ code: (\d+)"
)  # how Python, Rust and its enums write it
FROM_HERE = -100  # AT_FDCWD: paths are relative to the working directory
EXCHANGE = 2  # RENAME_EXCHANGE
NOT_THERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP}  # an old kernel, or a file system that cannot


def temporary(path: Path, kind: str = "tmp") -> Path:
    """A name of this process beside a path: `tmp` for what is unfinished or unwanted, `old` for what may return."""
    return path.with_name(f".{path.name}.{os.getpid()}.{kind}")


def write_bytes(path: Path, content: bytes) -> None:
    """Write a temporary file beside the path, flush it to the disk and rename it."""
    with writing(path) as file:
        file.write(content)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """The same for content that is written piece by piece; on an error the old file stays."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = temporary(path)
    try:
        with disk_errors(path), beside.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextlib.contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside a path, removed at the end; `sweep` knows its name."""
    beside = temporary(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        yield beside
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """As `write_bytes`, for a text, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """As `write_text`, for a value as JSON, with a newline at the end."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def write_array(path: Path, array: "np.ndarray") -> None:
    """As `write_bytes`, for an array as a .npy file."""
    import numpy as np

    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    write_bytes(path, content.getvalue())


@contextlib.contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Fill a temporary folder and put it in place when the block ends well; on an error nothing is left of it.

    If the path is a link, the folder that it points to is replaced.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent, path.name)
    beside = temporary(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        with disk_errors(path):
            yield beside
            sync_tree(beside)
        put(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def put(new: Path, path: Path) -> None:
    """Put a finished folder where another may be; the other is left under the new one's former name, or removed.

    Where the system cannot exchange two folders there is a moment without either; `sweep` repairs a kill in it.
    """
    if not os.path.lexists(path):
        new.replace(path)
    elif not exchange(new, path):
        old = temporary(path, "old")
        path.replace(old)
        try:
            new.replace(path)
        except BaseException:
            old.replace(path)
            raise
        _remove(old)
    sync_folder(path.parent)


def exchange(first: Path, second: Path) -> bool:
    """Swap two folders in one step of the system; False where it cannot."""
    rename = renameat2()
    if rename is None:
        return False
    sys.audit("os.rename", str(first), str(second), -1, -1)
    if rename(FROM_HERE, os.fsencode(first), FROM_HERE, os.fsencode(second), EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in NOT_THERE:
        return False
    raise OSError(number, os.strerror(number), str(second))


@cache
def renameat2() -> Callable[..., int] | None:
    """The C library's function of this name; only Linux has it."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
    called: Callable[..., int] = function
    return called


def discard(path: Path) -> None:
    """Remove a file or a folder: first its name, then what it holds, so that no half of it is ever found there."""
    if not os.path.lexists(path):
        return
    aside = temporary(path)
    _remove(aside)
    path.replace(aside)
    _remove(aside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    """Rename a folder, replacing the target if it exists; does nothing where there is no folder to rename."""
    if path.is_dir():
        discard(target)
        path.replace(target)
        sync_folder(path.parent)


def sweep(folder: Path, name: str | None = None) -> None:
    """Clear away what killed commands left below a folder; a folder that had been renamed aside goes back.

    Args:
        folder: a locked one, so that everything temporary in it is left over; or any, with a name.
        name: of what is to be written in it; then only leftovers of that name whose process has ended are cleared.
    """
    for path in list(folder.rglob(".*") if name is None else folder.glob(".*")):
        match = TEMPORARY.fullmatch(path.name)
        if match is None or not os.path.lexists(path):
            continue
        if name is not None and (match["name"] != name or _runs(int(match["process"]))):
            continue
        target = path.with_name(match["name"])
        if match["kind"] == "old" and not os.path.lexists(target):
            path.replace(target)
        _remove(path)


def _runs(process: int) -> bool:
    import psutil  # a device that only reads a bundle has none

    return bool(psutil.pid_exists(process))


def sync_tree(folder: Path) -> None:
    """Flush every file and folder below a folder to the disk, before it is renamed."""
    flags = os.O_RDWR if os.name == "nt" else os.O_RDONLY
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            _sync(Path(place) / name, flags)
        sync_folder(Path(place))


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk."""
    if os.name != "nt":  # Windows cannot open a folder
        with contextlib.suppress(PermissionError):
            _sync(folder, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    number = os.open(path, flags)
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in NOT_THERE:  # some network file systems sync no folder
            raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        os.close(number)


def reserve(path: Path) -> None:
    """Allocate a sparse file's room on the disk: writing to a page without room kills the process."""
    size = path.stat().st_size
    with disk_errors(path), path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        block = bytes(1 << 20)
        for start in range(0, size, len(block)):
            file.seek(start)
            content = file.read(len(block))
            file.seek(start)
            file.write(content)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn what libraries raise about the disk into an OSError with a file name, which writes to an open file lack.

    Raises:
        OSError: with number, reason and file name.
    """
    try:
        yield
    except TunedeployError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        number = number_of(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def number_of(error: Exception) -> int | None:
    """The system's number of an error, also where only its text has it (safetensors, tokenizers, shutil.Error)."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    match = OS_ERROR.search(str(error))
    if match is not None:
        return int(next(group for group in match.groups() if group))
    return errno.EIO if isinstance(error, OSError) else None  # numpy: "1000 requested and 12 written"
