"""Open what a recipe names (a file, a folder, a folder in a package, a hub id) as tables, one for each split."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunedeploy.data.labels import closest
from tunedeploy.data.readers.conll import looks_like_conll, read_conll
from tunedeploy.data.readers.delimited import read_delimited
from tunedeploy.data.readers.folders import IMAGES, SPLITS, find_splits, read_folder
from tunedeploy.data.readers.json_records import read_json
from tunedeploy.data.table import Places, Table, rename, shown
from tunedeploy.errors import DataError

ALL = ""  # the key of a set that has no splits


@dataclass(frozen=True, kw_only=True)
class Source:
    """A data set that was found but not yet read."""

    name: str  # how messages call it
    shown: str  # how reports call it: with its parent folder, never absolute
    splits: Mapping[str, Callable[[], Table]]  # split name, or ALL -> its reader
    path: Path | None = None  # None: from the hub
    is_of_images: bool = False  # whether every split is a folder of images: no cell can name a file elsewhere


def open_source(name: str, prefix: str = "") -> Source:
    """Find a data set; nothing is read but the hub's.

    Args:
        name: a path, `pkg://package/path` or a hub id `owner/name`.
        prefix: put before the file's name in places, to tell two files of one name apart.

    Raises:
        DataError: it is not there, or not of a kind that can be read.
    """
    try:
        path = _package_path(name) if name.startswith("pkg://") else Path(name).expanduser()
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # a name too long, no such user behind ~, a zero in it
        raise DataError(f"{shown(name)}: cannot be looked up ({shown(str(error))}); check the name") from error
    if is_folder:
        return _open_folder(path, prefix)
    if is_file:
        title = prefix + path.name
        reader = _reader(path, title)
        return Source(name=title, shown=_shown(path), splits={ALL: reader}, path=path)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", name) and suffix_of(Path(name)) not in SUFFIXES:
        from tunedeploy.data.readers.hub import open_hub  # loads datasets, a second

        return Source(name=name, shown=name, splits=open_hub(name))
    raise DataError(f"{name}: no such file or folder{_neighbour(path)}; check data.train and data.eval")


def _open_folder(path: Path, prefix: str) -> Source:
    title = prefix + (path.name or path.resolve().name)
    splits = find_splits(path, _split_name)
    if not splits:
        reader = partial(read_folder, path, title)
        return Source(name=title, shown=_shown(path), splits={ALL: reader}, path=path, is_of_images=True)
    readers = {
        split: partial(read_folder, entry, f"{title}/{entry.name}")
        if entry.is_dir()
        else _reader(entry, f"{title}/{entry.name}")
        for split, entry in sorted(splits.items(), key=lambda item: SPLITS.index(item[0]))
    }
    is_of_images = all(entry.is_dir() for entry in splits.values())
    return Source(name=title, shown=_shown(path), splits=readers, path=path, is_of_images=is_of_images)


def _reader(path: Path, title: str) -> Callable[[], Table]:
    suffix = suffix_of(path)
    if suffix in READERS:
        return partial(READERS[suffix], path, title)
    if suffix in IMAGES:
        return partial(_one_image, path, title)
    if suffix == ".txt" and looks_like_conll(path):
        return partial(read_conll, path, title)
    known = ", ".join(sorted(READERS))
    cure = "; one of tagged words may be called .conll" if suffix == ".txt" else ""
    raise DataError(
        f"{title}: {suffix or 'no suffix'!r} is not a supported file type; known: {known}, or a folder of images{cure}"
    )


def suffix_of(path: Path) -> str:
    """The file's suffix, or two of them where a reader is known by both."""
    double = "".join(path.suffixes[-2:]).casefold()
    return double if double in READERS else path.suffix.casefold()


def _split_name(path: Path) -> str:
    """The name without its suffix of a file that can be read; else nothing."""
    suffix = suffix_of(path)
    return path.name[: -len(suffix)] if suffix in READERS or (suffix == ".txt" and looks_like_conll(path)) else ""


def _read_parquet(path: Path, name: str) -> Table:
    """A parquet file as a table, in memory: a cache of `datasets` on disk could be one of an older file."""
    import pyarrow as pa  # type: ignore[import-untyped]
    import pyarrow.parquet as pq  # type: ignore[import-untyped]

    from tunedeploy.data.readers.hub import class_names, decoded

    try:
        file = pq.ParquetFile(path)
        rows = file.metadata.num_rows
    except (OSError, pa.ArrowException) as error:
        reason = " ".join(str(error).split())[:120]
        raise DataError(f"{name}: not a readable parquet file ({reason}); write it again") from error
    if not rows:
        raise DataError(f"{name}: no rows in it")

    def cells(column: str) -> list[Any]:
        try:
            values: list[Any] = file.read(columns=[column]).column(column).to_pylist()
            return decoded(class_names(file.schema_arrow, column), values)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(f"{name}: column {column!r} is damaged ({reason}); write the file again") from error

    places = Places(f"{name} row ", range(1, rows + 1))
    header = tuple(file.schema_arrow.names)
    return rename(Table(name=name, header=header, column=cells, places=places, folder=path.parent))


def _one_image(path: Path, name: str) -> Table:
    return Table(
        name=name, header=("image",), column=lambda _: [str(path.absolute())], places=[name], folder=path.parent
    )


READERS: dict[str, Callable[[Path, str], Table]] = {
    ".csv": partial(read_delimited, delimiter=","),
    ".tsv": partial(read_delimited, delimiter="\t"),
    ".jsonl": read_json,
    ".json": read_json,
    ".parquet": _read_parquet,
    **dict.fromkeys((".conll", ".conllu", ".conll.txt", ".iob", ".iob2", ".bio"), read_conll),
}
SUFFIXES = {*READERS, *IMAGES, ".txt", ".xlsx", ".zip", ".gz", ".arrow"}  # a missing one is a file, never a hub id


def _package_path(name: str) -> Path:
    package, _, inside = name.removeprefix("pkg://").partition("/")
    spec = find_spec(package) if package.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{name}: the Python package {package!r} is not installed; pip install it or check its name")
    path = Path(next(iter(spec.submodule_search_locations)), inside)
    if not path.exists():
        raise DataError(f"{name}: no {inside!r} in the package {package!r}{_neighbour(path)}")
    return path


def _neighbour(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {str(path.parent)!r})"
    return closest(path.name, [entry.name for entry in path.parent.iterdir()])


def _shown(path: Path) -> str:
    return "/".join(path.absolute().parts[-2:]).replace("//", "/")
