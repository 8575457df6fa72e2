"""Files of a bundle, which may come from anywhere: no name in it leads out of its folder, nothing in it is a link."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PureWindowsPath

from .errors import RunError


def inside(folder: Path, name: str) -> Path:
    """The regular file `name` below a folder, for every read of a bundle.

    Args:
        folder: the bundle's; it may be reached over a link itself.
        name: relative, with `/` between its parts.

    Raises:
        RunError: the name leads out of the folder, or there is no such file, or it is or lies behind a link.
    """
    parts = name.split("/")
    if {"", ".", ".."} & set(parts) or "\\" in name or "\0" in name or PureWindowsPath(name).drive:
        raise RunError(f"{folder}: {name!r} leads out of it; expected the name of a file below")
    path, mode = folder, 0
    for part in parts:
        path = path / part
        try:
            mode = path.lstat().st_mode
        except (OSError, ValueError) as error:  # ValueError: half of a surrogate pair, which no file system takes
            raise RunError(f"{folder}: missing {name!r}") from error
        if stat.S_ISLNK(mode):
            raise RunError(f"{path}: is a link; a bundle holds its files themselves")
    if not stat.S_ISREG(mode):
        raise RunError(f"{path}: is not a regular file")
    return path


def entries_below(folder: Path) -> Iterator[tuple[str, bool]]:
    """Names of all but folders below a folder, sorted, and whether each is a regular file; follows no link."""
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda item: item.name):
            if entry.is_dir(follow_symlinks=False):
                yield from ((f"{entry.name}/{name}", regular) for name, regular in entries_below(Path(entry.path)))
            else:
                yield entry.name, entry.is_file(follow_symlinks=False)
