"""Ways to damage a file: a value, a type or a key of JSON; bytes cut, flipped or added; a file gone or swapped."""

import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.random import Generator

STRANGE = (
    None, True, False, 0, 1, -1, 10**30, -(10**400), 0.5, 1e308, float("nan"), float("inf"), -float("inf"),
    "", "x", "nan", "../../../etc/passwd", "/etc/passwd", "\ud800", "\x00", "a\nb", "\u2028",
    [], {}, [[]], {"": {}}, ["a", 1], [None] * 3,
)  # fmt: skip


def pick(rng: Generator, values: Any) -> Any:
    """One of some values, as it is."""
    return values[int(rng.integers(len(values)))]


def damage(path: Path, rng: Generator) -> None:
    """Damage a file in one random way; JSON most often inside a value."""
    ways: list[Callable[[Path, Generator], None]] = [cut, flip, insert, empty, gone, folder, swap]
    if path.suffix == ".json":
        ways += [json_value] * 21
    pick(rng, ways)(path, rng)


def cut(path: Path, rng: Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(rng.integers(len(content) + 1))])


def flip(path: Path, rng: Generator) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(int(rng.integers(1, 9))):
        if content:
            content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def insert(path: Path, rng: Generator) -> None:
    content = path.read_bytes()
    at = int(rng.integers(len(content) + 1))
    path.write_bytes(content[:at] + rng.bytes(int(rng.integers(1, 40))) + content[at:])


def empty(path: Path, rng: Generator) -> None:
    del rng
    path.write_bytes(b"")


def gone(path: Path, rng: Generator) -> None:
    del rng
    path.unlink()


def folder(path: Path, rng: Generator) -> None:
    del rng
    path.unlink()
    path.mkdir()


def swap(path: Path, rng: Generator) -> None:
    """The content of a neighbour."""
    others = sorted(one for one in path.parent.iterdir() if one.is_file() and one != path)
    if others:
        shutil.copyfile(pick(rng, others), path)


def json_value(path: Path, rng: Generator) -> None:
    """Another value, type or key at a random place; a few times in a row."""
    with contextlib.suppress(ValueError):  # damaged already
        content = json.loads(path.read_text(encoding="utf-8"))
        for _ in range(int(rng.integers(1, 4))):
            content = mutated(content, rng)
        with contextlib.suppress(UnicodeEncodeError):
            path.write_text(json.dumps(content, ensure_ascii=bool(rng.random() < 0.8)), encoding="utf-8")


def mutated(value: Any, rng: Generator) -> Any:
    """The same JSON with one change at a random depth."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return changed(value, rng)
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    key = pick(rng, keys)
    if rng.random() < 0.1:
        del value[key]
    elif rng.random() < 0.05 and isinstance(value, dict):
        value[f"{key}_"] = value.pop(key)
    else:
        value[key] = mutated(value[key], rng)
    return value


def changed(value: Any, rng: Generator) -> Any:
    """Another value: of another type, or close to it."""
    if isinstance(value, bool) or rng.random() < 0.5:
        return pick(rng, STRANGE)
    if isinstance(value, int | float):
        return pick(rng, [value + 1, -value, value * 1000, str(value), float(value) if abs(value) < 1e300 else 0.0])
    if isinstance(value, str):
        return pick(rng, [value + "x", value[:-1], value.upper(), [value], {"a": value}])
    return pick(rng, STRANGE)
