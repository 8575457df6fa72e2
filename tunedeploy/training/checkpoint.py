"""Save a training midway and resume it, bit for bit; tensors only, nothing is pickled.

Checkpoints are numbered folders; the last two are kept, so that a damaged one costs the steps since the one before.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from tunedeploy.device.files import read_json, sha256
from tunedeploy.errors import RunError
from tunedeploy.run.atomic import discard, whole_folder, write_json
from tunedeploy.run.folder import key_of

NAME = "checkpoint"
KEPT = 2
NAMES = ({"step", "exp_avg", "exp_avg_sq"}, {"momentum_buffer"})  # what AdamW and SGD keep of a parameter
STATE, META = "state.safetensors", "meta.json"

Groups = dict[str, dict[str, torch.Tensor]]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds: tensors by group and name, and JSON."""

    path: Path
    groups: Groups
    meta: Mapping[str, Any]


def save(folder: Path, tensors: Mapping[str, Mapping[str, torch.Tensor]], optimizer: Optimizer, meta: Any) -> None:
    """Write a checkpoint in one piece, then remove the oldest.

    Args:
        folder: of the train stage.
        tensors: groups of named tensors, such as the trained state and the best one so far.
        optimizer: its state goes along.
        meta: position and history, JSON, with the `key` of all that they depend on.
    """
    flat = {
        f"{group}/{name}": value.contiguous() for group, values in tensors.items() for name, value in values.items()
    }
    for index, state in optimizer.state_dict()["state"].items():
        flat |= {
            f"optimizer/{index}/{name}": torch.as_tensor(value).clone()
            for name, value in state.items()
            if value is not None
        }
    flat["rng/torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        flat["rng/cuda"] = torch.cuda.get_rng_state()
    before = numbered(folder)
    number = int(before[0].name) + 1 if before else 1
    with whole_folder(folder / NAME / f"{number:06d}") as beside:
        save_file(flat, beside / STATE)
        content = {**json.loads(json.dumps(meta)), STATE: sha256(beside / STATE)}
        write_json(beside / META, {**content, META: key_of(content)})
    for path in before[KEPT - 1 :]:
        discard(path)


def numbered(folder: Path) -> list[Path]:
    """The checkpoints of a train stage, the newest first."""
    return sorted((path for path in (folder / NAME).glob("*") if path.name.isdecimal()), reverse=True)


def readable(folder: Path, *, key: str) -> Iterator[Checkpoint | RunError]:
    """The checkpoints with this key, the newest first; in place of one that cannot be read, the error."""
    for path in numbered(folder):
        try:
            checkpoint = read(path)
        except RunError as error:
            yield error
            continue
        if checkpoint.meta.get("key") == key:
            yield checkpoint


def read(path: Path) -> Checkpoint:
    """Read a checkpoint whose bytes are those that were written.

    Raises:
        RunError: it is damaged.
    """
    meta = read_json(path / META)
    if not isinstance(meta, dict) or meta.pop(META, None) != key_of(meta):
        raise RunError(f"{path / META}: changed since it was written")
    try:
        if meta.get(STATE) != sha256(path / STATE):
            raise RunError(f"{path / STATE}: changed since it was written")
        flat = load_file(path / STATE)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path / STATE}: cannot be read: {error}") from error
    groups: Groups = {}
    for name, value in flat.items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = value
    return Checkpoint(path=path, groups=groups, meta=meta)


def restore(checkpoint: Checkpoint, optimizer: Optimizer) -> None:
    """Set the optimizer and the random generators to a checkpoint; nothing is changed where it does not fit.

    Raises:
        RunError: it does not fit.
    """
    own = dict(enumerate(parameter for group in optimizer.param_groups for parameter in group["params"]))
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in checkpoint.groups.get("optimizer", {}).items():
        index, _, rest = name.partition("/")
        parameter = own.get(int(index)) if index.isdecimal() else None
        shape = torch.Size([]) if rest == "step" or parameter is None else parameter.shape
        if parameter is None or value.shape != shape or not value.is_floating_point():
            raise RunError(f"{checkpoint.path / STATE}: optimizer/{name} does not fit this model")
        state.setdefault(int(index), {})[rest] = value
    if any(set(entry) not in NAMES for entry in state.values()):
        raise RunError(f"{checkpoint.path / STATE}: optimizer: expected {' or '.join(map(str, NAMES))}")
    generators = checkpoint.groups.get("rng", {})
    try:
        torch.set_rng_state(generators["torch"])
        if "cuda" in generators and torch.cuda.is_available():
            torch.cuda.set_rng_state(generators["cuda"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(f"{checkpoint.path / STATE}: rng does not fit: {error}") from error
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
