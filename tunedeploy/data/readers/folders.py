"""Read a folder of class folders of images, and tell which splits a folder holds."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from tunedeploy.data.labels import natural_key
from tunedeploy.data.table import Table
from tunedeploy.errors import DataError

IMAGES = {
    ".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".heic", ".heif",
}  # fmt: skip
# Names of a split for evaluation. Validation comes before test: early stopping and quantization look at it.
EVAL_SPLITS = ("validation", "val", "valid", "dev", "eval", "test")
SPLITS = ("train", *EVAL_SPLITS)


def find_splits(folder: Path, split_name: Callable[[Path], str]) -> dict[str, Path]:
    """Split name -> folder or file of it; empty when the folder has no `train` split (its sub-folders are classes).

    `split_name` gives the name of a file's split, empty for a file that no reader knows.

    `train/` is a split only if it holds folders and no image itself: a class may be called "train" (beside "bus").
    """
    splits = {entry.name.casefold(): entry for entry in _entries(folder) if entry.is_dir()}
    splits = {name: path for name, path in splits.items() if name in SPLITS}
    if "train" in splits and _holds_folders(splits["train"]):
        return splits
    files = [(entry, entry.name.casefold().partition(".")[0]) for entry in _entries(folder)]
    named = {name: entry for entry, name in files if name in SPLITS and split_name(entry).casefold() == name}
    return named if "train" in named else {}


def read_folder(folder: Path, name: str) -> Table:
    """Class folders of images as a table with columns "image" and "label", or "image" alone when the images lie flat.

    A class is a first-level folder; images deeper inside belong to it. Links are followed, each real folder once.

    Raises:
        DataError: no image in it.
    """
    classes = [entry for entry in _entries(folder) if entry.is_dir()]
    flat = [entry for entry in _entries(folder) if entry.is_file() and entry.suffix.casefold() in IMAGES]
    images: list[Path] = []
    labels: list[str] = []
    others = [entry for entry in _entries(folder) if entry.is_file() and entry.suffix.casefold() not in IMAGES]
    notes: list[str] = []
    for entry in classes:
        inside, skipped = images_below(entry)
        others += skipped
        images += inside
        labels += [entry.name] * len(inside)
        if not inside:
            notes.append(f"{name}: class folder {entry.name!r} has no images; left out")
    if not images and not flat:
        raise DataError(f"{name}: no image in this folder{_what_is_there(others, classes)}; {_LAYOUT}")
    if images and flat:
        notes.append(f"{name}: {_count(flat)} beside the class folders left out")
    if others:
        notes.append(f"{name}: {_count(others)} that no image reader knows left out")
    labelled = bool(images)
    cells = {"image": [str(path.absolute()) for path in images or flat], "label": labels}
    return Table(
        name=name,
        header=("image", "label") if labelled else ("image",),
        column=lambda column: list(cells[column]),
        places=[f"{name}/{path.relative_to(folder).as_posix()}" for path in images or flat],
        folder=folder,
        notes=tuple(notes),
    )


_LAYOUT = "make one folder per class, with its images inside"


def images_below(folder: Path) -> tuple[list[Path], list[Path]]:
    """Images and other files in a folder and below it, in natural order, but hidden ones."""
    images: list[Path] = []
    others: list[Path] = []
    for path in _files_below(folder):
        (images if path.suffix.casefold() in IMAGES else others).append(path)
    return images, others


def _files_below(folder: Path) -> Iterator[Path]:
    """Files in natural order; a folder reached twice, by a link that loops, is entered once."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, onerror=_refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted((name for name in folders if not _hidden(name)), key=natural_key)
        yield from (Path(root, name) for name in sorted(files, key=natural_key) if not _hidden(name))


def _entries(folder: Path) -> list[Path]:
    try:
        entries = [entry for entry in folder.iterdir() if not _hidden(entry.name)]
    except OSError as error:
        _refuse(error)
    return sorted(entries, key=lambda entry: natural_key(entry.name))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(
        f"{error.filename}: the folder cannot be read ({error.strerror}); change its permissions"
    ) from error


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX")) or name in {"Thumbs.db", "desktop.ini"}


def _holds_folders(folder: Path) -> bool:
    entries = _entries(folder)
    images = any(entry.is_file() and entry.suffix.casefold() in IMAGES for entry in entries)
    return not images and any(entry.is_dir() for entry in entries)


def _count(paths: list[Path]) -> str:
    return f"{len(paths)} file{'s' if len(paths) > 1 else ''} ({paths[0].name}{', ...' if len(paths) > 1 else ''})"


def _what_is_there(others: list[Path], classes: list[Path]) -> str:
    if others:
        return f" (but {_count(others)})"
    return " (all its folders are empty)" if classes else " (it is empty)"
