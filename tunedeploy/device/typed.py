"""Read JSON that others may have written: each value has the type that a record declares, or the file is refused.

A record is a TypedDict (keys that it does not name are left alone: later versions add some) or a frozen dataclass
(which names all keys). No package is needed, so a device reads a bundle with it.
"""

import contextlib
import dataclasses
import json
import math
import types
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints, is_typeddict

from .errors import RunError

SURROGATE = "\\ud"
DEEPEST = 100  # levels; hashing and comparing recurse, and no fact of ours has more than ten
LARGEST_INT = 2**53  # beyond it JSON's readers disagree
LARGEST_FLOAT = 1e300  # so that a sum or a square of a few is still finite
NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
OBJECT = dict[str, Any]  # any JSON object, with no further checks: `read(path, OBJECT)`
T = TypeVar("T")


class Mismatch(RunError):
    """A value of another type than its record declares; the message says where in the record."""


def read(path: Path, kind: type[T]) -> T:
    """A JSON file as a TypedDict, or as a list or dict of one type.

    Raises:
        RunError: it cannot be read, is not JSON, or a value has another type.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot be read: {error.strerror}") from error
    return parse(content, kind, str(path))


def parse(content: bytes | str, kind: type[T], place: str) -> T:
    """As `read`, of content that has been read already; `place` begins the error's line."""
    try:
        text = content.decode() if isinstance(content, bytes) else content
        value = json.loads(text, parse_constant=_refused, object_pairs_hook=_without_twins)
        if SURROGATE in text.lower():
            json.dumps(value, ensure_ascii=False).encode()  # half of a pair could be printed nowhere
    except RecursionError as error:
        raise RunError(f"{place}: is not JSON: nested too deeply") from error
    except ValueError as error:
        raise RunError(f"{place}: is not JSON: {str(error)[:120]}") from error
    if deeper_than(value, DEEPEST):
        raise RunError(f"{place}: nested too deeply")
    try:
        check(value, kind)
    except Mismatch as error:
        raise RunError(f"{place}: {error}") from error
    checked: T = value
    return checked


def deeper_than(value: Any, levels: int) -> bool:
    """Whether JSON has more levels of objects and lists than that."""
    level = [value]
    for _ in range(levels + 1):
        inner = [node for node in level if isinstance(node, dict | list) and node]
        if not inner:
            return False
        level = [child for part in inner for child in (part.values() if isinstance(part, dict) else part)]
    return True


def from_json(kind: type[T], value: Any, where: str = "") -> T:
    """A frozen dataclass from its JSON object; lists become tuples.

    Raises:
        Mismatch: a key is missing or unknown, a value has another type, or the class refuses it.
    """
    check(value, OBJECT, where)
    hints = get_type_hints(kind)
    unknown = sorted(value.keys() - hints.keys())
    if unknown:
        raise Mismatch(f"{_at(where, unknown[0])}: unknown key")
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]
        if field.name in value:
            check(value[field.name], hints[field.name], _at(where, field.name))
        elif field.default is dataclasses.MISSING:
            raise Mismatch(f"{_at(where, field.name)}: missing")
    try:
        return kind(**{key: tuple(item) if isinstance(item, list) else item for key, item in value.items()})
    except ValueError as error:
        raise Mismatch(f"{where}: {error}" if where else str(error)) from error


def check(value: Any, kind: Any, where: str = "") -> None:
    """Hold a JSON value to a type.

    Raises:
        Mismatch: at the first place where it differs.
    """
    origin = get_origin(kind)
    if kind in (Any, object):
        return
    if is_typeddict(kind):
        _check_keys(value, kind, where)
    elif origin in (Union, types.UnionType):
        _check_alternatives(value, get_args(kind), where)
    elif origin in (list, tuple):
        _check_items(value, origin, get_args(kind), where)
    elif origin is dict:
        _check_kind(value, dict, where)
        for key, item in value.items():
            check(item, get_args(kind)[1], _at(where, key))
    else:
        _check_kind(value, kind, where)


def _check_keys(value: Any, kind: Any, where: str) -> None:
    _check_kind(value, dict, where)
    for key, wanted in get_type_hints(kind).items():
        if key in value:
            check(value[key], wanted, _at(where, key))
        elif key in kind.__required_keys__:
            raise Mismatch(f"{_at(where, key)}: missing")


def _check_alternatives(value: Any, kinds: tuple[Any, ...], where: str) -> None:
    if value is None and types.NoneType in kinds:
        return None
    *others, last = (kind for kind in kinds if kind is not types.NoneType)
    for kind in others:
        with contextlib.suppress(Mismatch):
            return check(value, kind, where)
    return check(value, last, where)


def _check_items(value: Any, origin: Any, kinds: tuple[Any, ...], where: str) -> None:
    _check_kind(value, list, where)
    if origin is list or kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(value) != len(kinds):
        raise Mismatch(f"{where}: expected {len(kinds)} values, got {len(value)}")
    for at, (item, kind) in enumerate(zip(value, kinds, strict=True)):
        check(item, kind, f"{where}[{at}]")


def _check_kind(value: Any, kind: Any, where: str) -> None:
    accepted = (int, float) if kind is float else kind
    fits = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if not fits or (isinstance(value, int) and abs(value) > LARGEST_INT):
        raise Mismatch(f"{where or 'the file'}: expected {NAMES[kind]}, got {_shown(value)}")
    if isinstance(value, float) and not (math.isfinite(value) and abs(value) < LARGEST_FLOAT):
        raise Mismatch(f"{where}: expected {NAMES[kind]}, got {_shown(value)}")


def _at(where: str, key: str) -> str:
    key = key if key.isprintable() else repr(key)
    return f"{where}.{key}" if where else key


def _shown(value: Any) -> str:
    text = "null" if value is None else json.dumps(value) if isinstance(value, bool | int | float | str) else ""
    return (text if len(text) < 40 else f"{text[:36]}...") or NAMES[type(value)]


def _refused(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object whose keys are all different: readers disagree on which of two equal ones counts."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is there twice")
    return value
