"""The goldens of a bundle's parity kit, checked once for name, type and shape, so that comparisons can trust them."""

import math
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np

from . import typed
from .encoders import Array
from .encoders import Row as RawRow
from .errors import RunError
from .inside import inside
from .manifest import Manifest
from .programs import Program
from .signature import Graph

FOLDER = "parity"
SETS = 4  # batches beside the raw rows; bundling.kit writes them
LARGEST = 2**30  # bytes of all arrays: 42 images of 1024 pixels a side are half of it
# As numpy writes the header of an array of numbers in C order; each of the file's arrays is one of these.
HEADER = re.compile(rb"\{'descr': '<(f4|i8)', 'fortran_order': False, 'shape': \((\d+(?:, \d+)*),?\), \} *\n")
MAGIC = b"\x93NUMPY\x01\x00"
UNREADABLE = (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error, struct.error)
JPEG, PNG = b"\xff\xd8", b"\x89PNG"  # how such files begin


class Row(TypedDict, total=False):
    """A raw row."""

    text: str
    text_pair: str
    target: str
    words: list[str]
    image: str


class Golden(TypedDict):
    """golden.json."""

    labels: list[str]
    preprocessing: dict[str, object]
    input_tolerance: float
    rows: list[Row]
    texts: NotRequired[dict[str, list[str]]]  # variant to what it generates for each row
    tokenizer_probe: NotRequired[dict[str, object]]


class MadeOn(TypedDict):
    """The machine whose kernels gave the golden outputs."""

    instruction_set: list[str]
    onnxruntime: str


class Rule(TypedDict):
    """How a variant is judged; see bundling.kit.Kit.rule."""

    file: str
    max_abs: float
    near_tie: NotRequired[float]  # of every variant but fp32


class Tolerances(TypedDict):
    """tolerances.json."""

    made_on: MadeOn
    variants: dict[str, Rule]


@dataclass(frozen=True, kw_only=True)
class Goldens:
    """What a kit holds; `arrays` has `GROUP/input/NAME` and `GROUP/output/VARIANT`, each (rows, ...)."""

    golden: Golden
    rules: Tolerances
    arrays: Mapping[str, Array]

    @property
    def groups(self) -> list[str]:
        """Names of the rows alone and of the batches, in order."""
        return sorted({name.partition("/")[0] for name in self.arrays})

    def inputs(self, group: str) -> dict[str, Array]:
        """The inputs of one group."""
        return inputs_of(self.arrays, group)

    def outputs(self, variant: str) -> list[Array]:
        """Golden outputs of a variant, one of each group."""
        return [self.arrays[f"{group}/output/{variant}"] for group in self.groups]


def inputs_of(arrays: Mapping[str, Array], group: str) -> dict[str, Array]:
    """The inputs of one group of a golden.npz."""
    return {name.rpartition("/")[2]: array for name, array in arrays.items() if name.startswith(f"{group}/input/")}


def read_goldens(folder: Path, manifest: Manifest, graph: Graph) -> Goldens:
    """The goldens of a bundle, whose arrays fit its graph.

    Raises:
        RunError: a file is missing or damaged, or something in it has another type, name or shape.
    """
    kit = folder / FOLDER
    golden = typed.read(inside(folder, f"{FOLDER}/golden.json"), Golden)
    rules = typed.read(inside(folder, f"{FOLDER}/tolerances.json"), Tolerances)
    for name, rule in rules["variants"].items():
        if name != "fp32" and "near_tie" not in rule:
            raise RunError(f"{kit / 'tolerances.json'}: variants.{name}.near_tie: missing")
    if not golden["rows"]:
        raise RunError(f"{kit / 'golden.json'}: rows: expected at least one")
    arrays = read_arrays(folder)
    problem = next(problems(arrays, manifest, graph, rows=len(golden["rows"])), None)
    if problem:
        raise RunError(f"{kit / 'golden.npz'}: {problem}")
    return Goldens(golden=golden, rules=rules, arrays=arrays)


def onnx_test_folder(program: Program, graph: str, number: int) -> str:
    """The folder in a kit for a batch in ONNX's own test format; with several graphs, each has its own."""
    name = f"test_data_set_{number}"
    return name if len(program.graphs) == 1 else f"{graph}/{name}"


def raw_row(folder: Path, row: Row, *, at: int, needed: str) -> RawRow:
    """A row of golden.json as an encoder takes it: of an image the bytes.

    Args:
        folder: the bundle's.
        row: the row.
        at: its number, named in errors.
        needed: the key that a row of this task has.

    Raises:
        RunError: the key is missing, or the image, or it is neither PNG nor JPEG: other formats may run programs.
    """
    place = f"{folder / FOLDER / 'golden.json'}: rows[{at}]"
    if needed not in row:
        raise RunError(f"{place}.{needed}: missing")
    if "image" not in row:
        return {**row}
    content = inside(folder, f"{FOLDER}/{row['image']}").read_bytes()
    if not content.startswith((JPEG, PNG)):
        raise RunError(f"{place}.image: {row['image']!r} is neither PNG nor JPEG")
    return {**row, "image": content}


def read_arrays(folder: Path) -> dict[str, Array]:
    """The arrays of a bundle's golden.npz, float32 or int64.

    Raises:
        RunError: the file is missing or damaged.
    """
    path = inside(folder, f"{FOLDER}/golden.npz")
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST:
                raise ValueError(f"its arrays are larger than {LARGEST >> 20} MB")
            return {
                member.filename.removesuffix(".npy"): _array(archive.read(member), member.filename)
                for member in members
            }
    except UNREADABLE as error:
        raise RunError(f"{path}: cannot be read: {str(error)[:120]}") from error


def _array(content: bytes, name: str) -> Array:
    size = int.from_bytes(content[8:10], "little")
    header = HEADER.fullmatch(content[10 : 10 + size])
    if not content.startswith(MAGIC) or header is None:
        raise ValueError(f"{name!r} is not an array of float32 or int64")
    shape = tuple(int(side) for side in header[2].split(b", "))
    values = np.frombuffer(content, np.dtype(f"<{header[1].decode()}"), offset=10 + size)
    if math.prod(shape) != len(values):
        raise ValueError(f"{name!r} has {len(values)} values, expected {shape}")
    return values.reshape(shape)


def problems(arrays: Mapping[str, Array], manifest: Manifest, graph: Graph, *, rows: int) -> Iterator[str]:
    """What is wrong with the arrays of a kit, the first thing of each group."""
    groups = [f"raw{at:03d}" for at in range(rows)] + [f"set{at}" for at in range(SETS)]
    beside = manifest["preprocessing"].get("beside", [])  # arrays of a batch that no graph takes
    names = [*(value.name for value in graph.inputs), *(beside if isinstance(beside, list) else [])]
    expected = {f"{group}/input/{name}" for group in groups for name in names}
    outputs = {f"{group}/output/{variant}" for group in groups for variant in manifest["variants"]}
    for name in sorted((expected | outputs) ^ arrays.keys()):
        yield f"{'unknown entry' if name in arrays else 'missing'} {name!r}"
    for group in groups:
        yield from _problems_of_group(group, arrays, graph)


def _problems_of_group(group: str, arrays: Mapping[str, Array], graph: Graph) -> Iterator[str]:
    mine = {name: array for name, array in arrays.items() if name.startswith(f"{group}/")}
    rows = {len(array) for array in mine.values()}
    if len(rows) > 1 or (group.startswith("raw") and rows != {1}):
        yield f"{group}: its arrays have {', '.join(map(str, sorted(rows)))} rows"
    inputs = inputs_of(arrays, group)
    if any(value.name not in inputs for value in graph.inputs):
        return  # already reported as missing
    output = graph.outputs[0]
    expected = graph.shapes(inputs)[output.name]
    for name, array in mine.items():
        if array.size == 0:
            yield f"{name!r} is empty"
        elif "/output/" in name and (array.dtype != output.dtype or array.shape != expected):
            yield f"{name!r} has shape {array.shape} of {array.dtype}, expected {expected} of {output.dtype}"
        elif "/input/" in name and array.ndim < 2:
            yield f"{name!r} has shape {array.shape}"
        elif not np.isfinite(array).all():
            yield f"{name!r} holds NaN or infinity"
