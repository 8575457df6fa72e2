"""Bundles of both tasks, each kind of file damaged, through verify, predict, eval and bench; nothing else is opened."""

import ctypes
import io
import json
import os
import shutil
import site
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tests.finished import BESIDE, built
from tests.fuzz import ended
from tests.tiny import Tiny
from tunedeploy.device.files import files_below, sha256

TRIALS = 80
TASKS = ("text-classification", "image-classification", "token-classification", "text-regression")
CHECKS = ("integrity", "parity", "preprocessing", "metric")
IN_OPEN = 0x20  # of inotify
# What Python and the system's libraries open by themselves.
SYSTEM = tuple(
    os.path.realpath(path)
    for path in (
        sys.prefix,
        sys.base_prefix,
        "/usr",
        "/proc",
        "/sys",
        "/dev",
        "/etc/os-release",
        *site.getsitepackages(),
        *sys.path,
    )
    if path
)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """Healthy bundles by task; rows to score; an input; and a folder that no bundle may reach, with files that fit."""

    bundles: dict[str, Path]
    rows: dict[str, Path]
    inputs: dict[str, str]
    outside: Path
    inotify: int | None


def prepare(tiny: Tiny, folder: Path) -> Subject:
    """A finished bundle of each task, and copies of their files outside of any."""
    outside = folder / "outside"
    outside.mkdir(parents=True)
    runs = {task: built(tiny, task) for task in TASKS}
    for run in runs.values():
        for path in files_below(run.dist):
            shutil.copyfile(path, outside / path.name)
    pictures = runs["image-classification"].recipe.parent / "rows"
    few = folder / "few"
    for path in sorted(pictures.glob("*/*.png"))[::20]:
        (few / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, few / path.parent.name / path.name)
    rows = {"image-classification": few}
    for task, run in runs.items():
        for table in run.recipe.parent.glob("rows.*"):  # a table of lines
            rows[task] = folder / f"{task}{table.suffix}"
            lines = table.read_text(encoding="utf-8").splitlines()
            rows[task].write_text("\n".join(lines[:10]) + "\n", encoding="utf-8")
    return Subject(
        bundles={task: run.dist for task, run in runs.items()},
        rows=rows,
        inputs=dict.fromkeys(TASKS, "snow") | {"image-classification": str(next(few.glob("*/*")))},
        outside=outside,
        inotify=_watch(outside),
    )


def trial(subject: Subject, rng: np.random.Generator, folder: Path) -> str:
    """Damage a copy of a bundle, and put it through one command."""
    task = str(rng.choice(TASKS))
    dist = Path(shutil.copytree(subject.bundles[task], folder / "dist"))
    before = state(dist)
    done = [str(rng.choice(list(DAMAGES)))]
    for name in done:
        with suppress(OSError):  # a file that an earlier damage took away
            DAMAGES[name](dist, rng, subject.outside)
    repaired = bool(rng.random() < 0.7) and repair(dist)
    healthy = state(dist) == before
    command = str(rng.choice(["verify", "verify", "predict", "eval", "bench"]))
    checks = CHECKS if rng.random() < 0.6 else tuple(rng.choice(CHECKS, rng.integers(1, 4), replace=False))
    arguments = {
        "verify": ["verify", str(dist), "--checks", ",".join(checks)],
        "predict": ["predict", str(dist), subject.inputs[task], "--variant", str(rng.choice(["fp32", "int8"]))],
        "eval": ["eval", str(dist), "--data", str(subject.rows[task])],
        "bench": ["bench", str(dist)],
    }[command]
    with nothing_else_opened(subject, [str(dist), str(subject.rows[task]), str(subject.inputs[task])]):
        ending = ended(arguments)
    say = f"{' '.join(arguments)} after {done}: {ending}"
    allowed = {"accepted", "breach"} if command == "verify" else {"accepted", "refused"}
    if not (dist / "manifest.json").is_file():
        allowed |= {"refused"}
    assert ending in allowed, say
    if command == "verify" and "integrity" in checks and not repaired:
        assert healthy or ending != "accepted", say
    return ending


def state(dist: Path) -> dict[str, str]:
    """What lies in a bundle: the hash of a file, the target of a link, a word for anything else."""
    found = {}
    for path in sorted(dist.rglob("*")):
        name = path.relative_to(dist).as_posix()
        kind = "folder" if path.is_dir() else sha256(path) if path.is_file() else "other"
        found[name] = os.readlink(path) if path.is_symlink() else kind
    return found


def repair(dist: Path) -> bool:
    """Make the manifest tell today's hashes, as one who tampers would, where it can be read at all."""
    path = dist / "manifest.json"
    if path.is_symlink() or not path.is_file():
        return False
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        names = [one.relative_to(dist).as_posix() for one in files_below(dist) if not one.is_symlink()]
        files = {name: sha256(dist / name) for name in names if name not in BESIDE}
        if isinstance(manifest.get("files"), dict):
            manifest["files"] = files
        path.write_text(json.dumps(manifest), encoding="utf-8")
    except (OSError, ValueError, AttributeError):
        return False
    return True


# ---- nothing outside is opened

_opened: list[str] = []
_listening = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _listening and event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        _opened.append(os.fsdecode(arguments[0]))


sys.addaudithook(_hook)


@contextmanager
def nothing_else_opened(subject: Subject, allowed: list[str]) -> Iterator[None]:
    """Assert that the block opens nothing but what is allowed and what Python opens by itself; also in native code."""
    global _listening
    _events(subject.inotify)
    _opened.clear()
    _listening = True
    try:
        yield
    finally:
        _listening = False
    own = (*(os.path.realpath(path) for path in allowed), *SYSTEM)
    odd = {path for path in map(os.path.realpath, _opened) if not path.startswith(own)}
    assert not odd, f"opened: {sorted(odd)}"
    assert not _events(subject.inotify), "native code opened a file outside of the bundle"


def _watch(folder: Path) -> int | None:
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None, use_errno=True)
        number = int(libc.inotify_init1(os.O_NONBLOCK))
        if number >= 0 and libc.inotify_add_watch(number, os.fsencode(folder), IN_OPEN) >= 0:
            return number
    return None


def _events(number: int | None) -> bytes:
    try:
        return b"" if number is None else os.read(number, 65536)
    except BlockingIOError:
        return b""


# ---- damages

WRONG: list[Any] = [
    None, True, False, 0, 1, -1, 7, 1.5, -0.5, 1e308, 10**30, -(10**12), 10**6, float("nan"), float("inf"), "", "0",
    "../outside/model.onnx", "../../../../etc/passwd", "/etc/passwd", "onnx/../../outside/model.onnx", "onnx", ".",
    "C:\\model.onnx", "onnx\\model.onnx", "a\nb", "\0", "\ud800", "\x1b[31m", "x" * 5000, [], {}, [1], ["x"],
    [None], {"x": 1}, [[[[]]]], {"file": "../x"}, "rock", "nearest", "image-classification", "text-classification",
    "fp32",
]  # fmt: skip


def damage_json(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """A value of a JSON file becomes another, or goes."""
    names = ["manifest.json", "parity/golden.json", "parity/tolerances.json", "labels.json", "config.json"]
    names += ["tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
    there = [dist / name for name in names if (dist / name).is_file()]
    path = there[rng.integers(len(there))]
    value = json.loads(path.read_text(encoding="utf-8"))
    places = list(_places(value))
    place = places[rng.integers(len(places))]
    if place and rng.random() < 0.7:  # most places are deep inside lists of words
        place = place[: rng.integers(1, len(place) + 1)]
    wrong = [*WRONG, str(outside / "model.onnx"), str(outside / "000.png")]
    new = wrong[rng.integers(len(wrong))]
    path.write_text(_dump(_replaced(value, place, new, drop=rng.random() < 0.2)), encoding="utf-8")


def _places(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield above
    for key, one in value.items() if isinstance(value, dict) else enumerate(value if isinstance(value, list) else ()):
        yield from _places(one, (*above, key))


def _replaced(value: Any, place: tuple[Any, ...], new: Any, *, drop: bool) -> Any:
    if not place:
        return new
    last = value
    for key in place[:-1]:
        last = last[key]
    if drop:
        del last[place[-1]]
    else:
        last[place[-1]] = new
    return value


def _dump(value: Any) -> str:
    return json.dumps(value)


def damage_path(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """A name of a file leads out of the bundle: in the manifest, the tolerances and the goldens alike."""
    up = os.path.relpath(outside, dist)
    ways = [f"{up}/{{}}", f"onnx/../{up}/{{}}", f"{outside}/{{}}", "/etc/passwd", "../{}"]
    way = ways[rng.integers(len(ways))]
    variant = str(rng.choice(["fp32", "int8"]))
    manifest, rules = (json.loads((dist / name).read_text()) for name in ("manifest.json", "parity/tolerances.json"))
    new = way.format(Path(manifest["variants"][variant]["file"]).name)
    golden = json.loads((dist / "parity/golden.json").read_text(encoding="utf-8"))
    if "image" in golden["rows"][0] and rng.random() < 0.5:
        at = rng.integers(len(golden["rows"]))
        golden["rows"][at]["image"] = way.format(Path(golden["rows"][at]["image"]).name)
    else:
        manifest["variants"][variant]["file"] = rules["variants"][variant]["file"] = new
    if rng.random() < 0.5:
        manifest["files"][new] = "0" * 64
    for name, value in (("manifest.json", manifest), ("parity/tolerances.json", rules), ("parity/golden.json", golden)):
        (dist / name).write_text(json.dumps(value), encoding="utf-8")


def damage_external(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """A tensor of an ONNX file is said to lie elsewhere."""
    path = _file(dist, rng, "onnx/*.onnx")
    model = onnx.load(path)
    tensors = [one for one in model.graph.initializer if one.raw_data]
    tensor = tensors[rng.integers(len(tensors))]
    names = [
        f"{outside}/model.onnx",
        os.path.relpath(outside / "model.onnx", path.parent),
        "model_int8.onnx",
        "../README.md",
    ]
    length = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", names[rng.integers(len(names))]), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())


def damage_bytes(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """Bytes of a file are turned, cut off, added or gone."""
    kinds = ["*.json", "onnx/*.onnx", "parity/*.npz", "parity/images/*", "parity/*.json", "*/*"]
    path = _file(dist, rng, *rng.permutation(kinds))
    content = bytearray(path.read_bytes())
    how = rng.integers(6)
    if how < 3 and content:
        for at in rng.integers(0, len(content) if rng.random() < 0.5 else min(400, len(content)), rng.integers(1, 9)):
            content[at] = rng.integers(256)
    elif how == 3:
        del content[rng.integers(len(content) + 1) :]
    elif how == 4:
        content += rng.bytes(20)
    else:
        content.clear()
    path.write_bytes(content)


def damage_npz(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """An array of the goldens is missing, added, of another shape, type or value, or promises more than is there."""
    path = dist / "parity" / "golden.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    names = sorted(arrays)
    name = names[rng.integers(len(names))]
    array = arrays.pop(name)
    changed: dict[int, Callable[[], Any]] = {
        1: lambda: array.reshape(-1),
        2: lambda: array[None],
        3: lambda: array.astype(
            rng.choice(["float64", "int32", "int64", "float16", "bool", "<U3", "complex64", "float32"])
        ),
        4: lambda: np.full_like(array, np.nan) if array.dtype.kind == "f" else np.full_like(array, 2**40),
        5: lambda: np.repeat(array, 2, 0),
        6: lambda: array[:0],
        7: lambda: np.array([{"a": 1}], dtype=object),
        8: lambda: np.asfortranarray(array),
        9: lambda: array * -3,
        10: lambda: array[..., :-1],
    }
    how = int(rng.integers(0, 13))
    if how in changed:
        arrays[name] = changed[how]()
    if how == 11:
        arrays[str(rng.choice(["extra", "raw000/input/other", "set9/output/fp32", "../../x"]))] = array
    np.savez(path, **arrays)
    if how == 12:
        promise(path, name, (10**9, 10**9) if rng.random() < 0.5 else (-1, 3))


def promise(path: Path, name: str, shape: tuple[int, ...]) -> None:
    """Add an entry to an archive whose header speaks of a shape that its bytes are not of."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{name}.npy", header.getvalue() + b"\0" * 8)


def damage_place(dist: Path, rng: np.random.Generator, outside: Path) -> None:
    """A file is swapped with another, renamed, removed, made a link, a folder or a pipe; or one is added."""
    path, other = _file(dist, rng, "**/*"), _file(dist, rng, "**/*")
    how = rng.integers(8)
    if how == 0:
        first, second = path.read_bytes(), other.read_bytes()
        path.write_bytes(second)
        other.write_bytes(first)
    elif how == 1:
        path.rename(path.with_name(f"{path.name}.{rng.choice(['bak', 'onnx', 'json'])}"))
    elif how == 2:
        link(path, outside / path.name)
    elif how == 3:
        link(path, other)
    elif how == 4:
        folder = dist / str(rng.choice(["onnx", "parity"]))
        folder.rename(outside.parent / f"{dist.parent.name}-{folder.name}")
        folder.symlink_to(outside.parent / f"{dist.parent.name}-{folder.name}")
    elif how == 5:
        path.unlink()
        path.mkdir()
    elif how == 6:
        path.unlink()
        os.mkfifo(path)
    else:
        path.with_name(f"{path.name}.new").write_bytes(b"new")


def link(path: Path, target: Path) -> None:
    """A file becomes a link to another that may well fit."""
    path.unlink()
    path.symlink_to(target)


def _file(dist: Path, rng: np.random.Generator, *patterns: str) -> Path:
    for pattern in patterns:
        there = sorted(path for path in dist.glob(str(pattern)) if path.is_file())
        if there:
            return there[rng.integers(len(there))]
    raise FileNotFoundError(dist)


DAMAGES: dict[str, Callable[[Path, np.random.Generator, Path], None]] = {
    "json": damage_json, "json again": damage_json, "path": damage_path, "external": damage_external,
    "bytes": damage_bytes, "bytes again": damage_bytes, "npz": damage_npz, "place": damage_place,
}  # fmt: skip
