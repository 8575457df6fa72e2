"""Save a run in the middle and take it up again, bit for bit; tensors only, nothing is pickled."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.optim import Optimizer

from tunedeploy.rundir import whole_folder

NAME = "checkpoint"


def save(folder: Path, tensors: dict[str, dict[str, torch.Tensor]], optimizer: Optimizer, meta: dict[str, Any]) -> None:
    """Write a checkpoint in one piece, in place of the last one.

    Args:
        folder: of the train stage.
        tensors: groups of named tensors, such as the trained state and the best one so far.
        optimizer: its state goes along.
        meta: position and history, JSON.
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
    with whole_folder(folder / NAME) as beside:
        save_file(flat, beside / "state.safetensors")
        (beside / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def load(
    folder: Path, optimizer: Optimizer, *, key: str
) -> tuple[dict[str, dict[str, torch.Tensor]], dict[str, Any]] | None:
    """The last checkpoint of a run with the same key, or None; the optimizer and the generators are set to it."""
    path = folder / NAME / "meta.json"
    if not path.is_file():
        return None
    meta = json.loads(path.read_text(encoding="utf-8"))
    if meta["key"] != key:
        return None
    groups: dict[str, dict[str, torch.Tensor]] = {}
    for name, value in load_file(folder / NAME / "state.safetensors").items():
        group, _, rest = name.partition("/")
        groups.setdefault(group, {})[rest] = value
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in groups.pop("optimizer", {}).items():
        index, _, rest = name.partition("/")
        state.setdefault(int(index), {})[rest] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    rng = groups.pop("rng")
    torch.set_rng_state(rng["torch"])
    if "cuda" in rng:
        torch.cuda.set_rng_state(rng["cuda"])
    return groups, meta


def remove(folder: Path) -> None:
    """Delete the checkpoint: the run is finished."""
    shutil.rmtree(folder / NAME, ignore_errors=True)
