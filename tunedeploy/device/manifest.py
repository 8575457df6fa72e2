"""What a bundle's manifest has: one definition for the stage that writes it and for all that read it.

Keys that are not required are missing in bundles of older versions, or are not read on a device.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from . import typed
from .errors import RunError
from .inside import inside
from .signature import Signature

MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
SCHEMA = 2
GRAPH = "model"  # the name of a graph that is the only one
READABLE = (1, 2)  # 1 knew classification alone and described no graph


class Variant(TypedDict):
    """The ONNX files of one precision."""

    file: str  # of the graph that makes the answers
    files: NotRequired[dict[str, str]]  # graph to file, where there are several; `file` is the last
    bytes: int
    sha256: NotRequired[str]
    value: NotRequired[float]
    drop: NotRequired[float]
    setting: NotRequired[dict[str, Any]]
    cpus: NotRequired[Any]  # kind of CPU to how the file was shown to hold there; judged by `verify`


class Columns(TypedDict):
    """The user's names for the columns that are known here."""

    text: NotRequired[str | None]
    text_pair: NotRequired[str | None]
    image: NotRequired[str | None]
    label: NotRequired[str | None]


class Recipe(TypedDict):
    """The part of the recipe that is read: which columns of a file hold what."""

    data: Columns


class Contents(TypedDict):
    """What a bundle is; see docs/bundle.md."""

    schema: int
    task: str
    method: NotRequired[str]
    model: NotRequired[str]
    labels: list[str]
    metric: str
    metric_unit: NotRequired[str]
    metric_better: NotRequired[str]
    graphs: NotRequired[dict[str, Signature]]
    program: NotRequired[dict[str, object]]  # how several graphs are called; a single one is called once
    decision: NotRequired[dict[str, object]]
    columns: NotRequired[list[dict[str, object]]]  # of labelled rows; see data.columns.Column
    eval_source: NotRequired[str]
    variants: dict[str, Variant]
    preprocessing: dict[str, Any]
    opset: NotRequired[int]
    ir: NotRequired[int]
    fusions: NotRequired[dict[str, int]]
    target: NotRequired[str]
    seed: NotRequired[int]
    recipe: Recipe
    value: NotRequired[float]
    rows: NotRequired[dict[str, int]]
    lineage: NotRequired[dict[str, str]]
    versions: NotRequired[dict[str, str]]
    instruction_set: NotRequired[list[str]]


class Manifest(Contents):
    """manifest.json: the same, with the SHA-256 of every other file."""

    files: dict[str, str]


def read_bytes(path: Path) -> bytes:
    """The bytes of the manifest of a bundle's folder.

    Raises:
        RunError: there is none.
    """
    return inside(path, MANIFEST).read_bytes()


def bundle_id(content: bytes) -> str:
    """The identity of a bundle: SHA-256 of its manifest, which holds that of every other file."""
    return hashlib.sha256(content).hexdigest()


def parse_manifest(content: bytes, path: Path) -> Manifest:
    """The manifest of its bytes; `path` is the bundle's folder.

    Raises:
        RunError: a key is missing, or its value has another type or contradicts another.
    """
    place = str(path / MANIFEST)
    manifest = typed.parse(content, Manifest, place)
    problem = _contradiction(manifest)
    if problem:
        raise RunError(f"{place}: {problem}")
    return manifest


def _contradiction(manifest: Manifest) -> str | None:
    labels, variants = manifest["labels"], manifest["variants"]
    if manifest["schema"] not in READABLE:
        return f"schema: expected {SCHEMA}, got {manifest['schema']}; another version of tunedeploy wrote it"
    missing = [key for key in ("graphs", "decision") if manifest["schema"] > 1 and key not in manifest]
    if missing:
        return f"{missing[0]}: missing"
    if len(labels) == 1 or len(set(labels)) != len(labels) or (manifest["schema"] == 1 and not labels):
        return "labels: expected two or more, all different"
    if "fp32" not in variants:
        return "variants: missing 'fp32'; 'tunedeploy export' writes it"
    for name, variant in variants.items():
        if not re.fullmatch(r"\w{1,40}", name):
            return f"variants: {name!r} is not a name"
        for file in files_of(variant).values():
            if not file.endswith(".onnx") or file not in manifest["files"]:
                return f"variants.{name}.file: {file!r} is not an .onnx file that 'files' lists"
        if variant["file"] not in files_of(variant).values():
            return f"variants.{name}.file: {variant['file']!r} is not one of its own 'files'"
    return None


def files_of(variant: Mapping[str, Any]) -> dict[str, str]:
    """Graph to file of a variant, as a manifest or a run's quantize stage has it."""
    return dict(variant.get("files") or {GRAPH: variant["file"]})


def is_bundle(path: Path) -> bool:
    """Whether a folder holds a bundle; a manifest.json alone may be a web app's."""
    try:
        manifest = typed.parse(read_bytes(path), typed.OBJECT, "")
    except (RunError, OSError):
        return False
    return Manifest.__required_keys__ <= manifest.keys()
