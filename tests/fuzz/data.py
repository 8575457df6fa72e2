"""Data files and folders of images: bytes damaged, cells and columns that no reader expects, links, broken images."""

import csv
import io
import json
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.fuzz import ended
from tests.fuzz._damage import Rng, damaged, odd_value
from tests.tiny import COLOURS, Tiny, texts

TRIALS = 60
TABLES = ("csv", "tsv", "jsonl", "json", "parquet")
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP")
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Healthy rows and images, and the recipes that read them."""

    tiny: Tiny
    rows: Rows
    pictures: list[tuple[str, bytes]]  # class and file


def prepare(tiny: Tiny, folder: Path) -> Subject:
    """Rows of texts and pictures of every format."""
    folder.mkdir(parents=True)
    with texts(folder / "texts.csv", rows=24).open(encoding="utf-8", newline="") as file:
        rows: Rows = list(csv.DictReader(file))
    noise = np.random.default_rng(0)
    pictures = []
    for at in range(18):
        label = sorted(COLOURS)[at % 3]
        pixels = noise.normal(COLOURS[label], 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
        stream = io.BytesIO()
        Image.fromarray(pixels).save(stream, FORMATS[at // 3])
        pictures.append((label, stream.getvalue()))
    for name in ("bert", "resnet"):
        assert tiny[name].exists()
    return Subject(tiny=tiny, rows=rows, pictures=pictures)


def trial(subject: Subject, rng: Rng, folder: Path) -> str:
    """Damage a table or a folder of images, and let `init` and `plan` read it."""
    folder.mkdir(parents=True)
    kind = str(rng.choice([*TABLES, "folder", "folder", "table of images"]))
    if kind in TABLES:
        path = damaged_table(subject.rows, kind, rng, folder)
        task, columns = "text-classification", {"text": "text", "label": "label"}
    elif kind == "folder":
        path, task, columns = damaged_folder(subject.pictures, rng, folder), "image-classification", {}
    else:
        path, task, columns = table_of_images(subject.pictures, rng, folder), "image-classification", {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")  # it tells of what it repairs in a damaged image
        return read_by_commands(path, task, columns, subject.tiny, folder)


def read_by_commands(path: Path, task: str, columns: dict[str, Any], tiny: Tiny, folder: Path) -> str:
    """How `plan` ended; `init` reads the data before it, and may refuse what a recipe's columns would mend."""
    ended(["init", str(path), "-o", str(folder / "new.yaml")])
    recipe = tiny.write(folder / "recipe.yaml", task, data={"train": str(path), **columns}, tune={"method": "full"})
    return ended(["plan", str(recipe)])


def damaged_table(rows: Rows, kind: str, rng: Rng, folder: Path) -> Path:
    """A file whose cells, columns or bytes are damaged, or its metadata where it has some."""
    rows = [dict(row) for row in rows]
    if rng.random() < 0.6:
        rows = odd_rows(rows, rng)
    content = written(rows, kind, rng)
    if rng.random() < 0.6:
        content = damaged(content, rng)
    path = folder / f"data.{kind}"
    path.write_bytes(content)
    return path


def odd_rows(rows: Rows, rng: Rng) -> Rows:
    """Rows with odd cells, columns that come, go and change their names, or hardly any rows."""
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(len(rows)))
        key = str(rng.choice(["text", "label", "other", "", " text", "a\nb", "\ufefflabel", "\ud800"]))
        match rng.integers(6):
            case 0:
                rows[at][key] = odd_value(rng)
            case 1:
                value = odd_value(rng)
                for row in rows:
                    row[key] = value
            case 2:
                rows[at].pop(key, None)
            case 3:
                for row in rows:
                    row[key] = row.pop(str(rng.choice(["text", "label"])), None)
            case 4:
                rows = rows[: int(rng.integers(1, 4))]
            case _:
                for row in rows:
                    row["label"] = odd_value(rng)
    return rows


def written(rows: Rows, kind: str, rng: Rng) -> bytes:
    """The rows as a file of a kind, whatever of them it can hold."""
    header = list(dict.fromkeys(key for row in rows for key in row))
    if kind in ("csv", "tsv"):
        stream = io.StringIO()
        writer = csv.writer(
            stream, delimiter="\t" if kind == "tsv" else ",", quoting=int(rng.integers(0, 3)), escapechar="\\"
        )
        writer.writerows([header, *([row.get(key) for key in header] for row in rows)])
        return stream.getvalue().encode("utf-8", "surrogatepass")
    if kind == "parquet":
        return parquet(rows, header, rng)
    records = [json.dumps(row, default=repr, ensure_ascii=bool(rng.integers(2))) for row in rows]
    text = "\n".join(records) if kind == "jsonl" else f"[{','.join(records)}]"
    return text.encode("utf-8", "surrogatepass")


def parquet(rows: Rows, header: list[str], rng: Rng) -> bytes:
    """A parquet file of these rows, sometimes with what `datasets` writes into one, or with something else there."""
    columns = {}
    for key in header:
        cells = [row.get(key) for row in rows]
        try:
            columns[clean(key)] = pa.array(cells)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):  # mixed types, which Arrow has no column for
            columns[clean(key)] = pa.array([clean(repr(cell)) for cell in cells])
    table = pa.table(columns)
    label = columns.get("label")
    if label is not None and rng.random() < 0.5:
        names = list(dict.fromkeys(clean(str(cell)) for cell in label.to_pylist()))  # a cell may be a dict
        numbers = pa.array([names.index(clean(str(cell))) for cell in label.to_pylist()])
        table = table.set_column(table.schema.get_field_index("label"), "label", numbers)
        named: Any = odd_value(rng) if rng.random() < 0.5 else names[: int(rng.integers(1, len(names) + 1))]
        feature: Any = odd_value(rng) if rng.random() < 0.2 else {"_type": "ClassLabel", "names": named}
        features: Any = odd_value(rng) if rng.random() < 0.2 else {"label": feature}
        info = json.dumps({"info": {"features": features}}, default=repr)
        table = table.replace_schema_metadata({"huggingface": info})
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def clean(text: str) -> str:
    """The text without half characters, which no Arrow file holds."""
    return text.encode("utf-8", "replace").decode()


def damaged_folder(pictures: list[tuple[str, bytes]], rng: Rng, folder: Path) -> Path:
    """Class folders with broken images, odd names, links, and what is neither a file nor a folder."""
    root = folder / "images"
    for at, (label, content) in enumerate(pictures):
        (root / label).mkdir(parents=True, exist_ok=True)
        (root / label / f"{at}{rng.choice(['.png', '.jpg'])}").write_bytes(content)
    for _ in range(rng.integers(1, 4)):
        disturb(root, pictures, rng)
    return root


def disturb(root: Path, pictures: list[tuple[str, bytes]], rng: Rng) -> None:
    """One change to a folder of class folders."""
    inside = root / pictures[rng.integers(len(pictures))][0]
    inside.mkdir(exist_ok=True)
    files = sorted(path for path in inside.rglob("*") if path.is_file() and not path.is_symlink())
    name = [b"a.png", b"\xff.png", b"a\nb.png", b"...png", b" .png", b"a.PNG", b"\xed\xa0\x80.jpg"][rng.integers(7)]
    place = Path(os.fsdecode(os.fsencode(inside if rng.random() < 0.7 else root) + b"/" + name))
    content = damaged(pictures[rng.integers(len(pictures))][1], rng)
    if place.exists() or place.is_symlink():
        return
    match rng.integers(9):
        case 0 | 1 if files:
            files[rng.integers(len(files))].write_bytes(content)
        case 2:
            place.write_bytes(content)
        case 3:
            place.mkdir()
        case 4:
            place.symlink_to(rng.choice([".", "..", "nowhere.png", "/dev/zero", "/dev/null", str(place)]))
        case 5:
            os.mkfifo(place)
        case 6:
            place.mkdir()
            (place / "b.png").write_bytes(content)
        case 7 if files:
            files[0].chmod(0)
        case _:
            for path in files:
                path.unlink()


def table_of_images(pictures: list[tuple[str, bytes]], rng: Rng, folder: Path) -> Path:
    """A table of paths, or a parquet file of bytes, some of which are damaged."""
    rows: Rows = []
    for at, (label, content) in enumerate(pictures):
        (folder / f"{at}.png").write_bytes(content)
        rows.append({"image": f"{at}.png", "label": label})
    kind = str(rng.choice(TABLES))
    if kind == "parquet":
        rows = [{"image": {"path": None, "bytes": content}, "label": label} for label, content in pictures]
    for row in rows:
        if rng.random() < 0.1:
            row["image"] = damaged(pictures[0][1], rng) if kind == "parquet" else odd_value(rng)
    path = folder / f"images.{kind}"
    content = written(odd_rows(rows, rng) if rng.random() < 0.3 else rows, kind, rng)
    path.write_bytes(damaged(content, rng) if rng.random() < 0.3 else content)
    return path
