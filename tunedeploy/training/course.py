"""How far a training has come: what a checkpoint holds beside the optimizer's state, checked when it is read back."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch

from tunedeploy.errors import RunError
from tunedeploy.training.checkpoint import META, STATE, Checkpoint


@dataclass
class Course:
    """How far a training has come; a checkpoint's JSON has all but the tensors."""

    epoch: int = 0
    window: int = 0
    step: int = 0
    elapsed_s: float = 0.0
    loss: float = math.nan  # of the last step
    best: float = -math.inf
    best_epoch: int = -1
    stale: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_state: dict[str, torch.Tensor] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Everything but the tensors."""
        return {name: value for name, value in self.__dict__.items() if name != "best_state"}


def course_of(checkpoint: Checkpoint, module: torch.nn.Module, trained: Sequence[str]) -> Course:
    """The course that a checkpoint holds.

    Raises:
        RunError: a value is missing or is of another type, or the tensors are not those that are trained.
    """
    values = checkpoint.meta.get("course")
    names = [attribute.name for attribute in fields(Course) if attribute.name != "best_state"]
    known = {name: type(getattr(Course(), name)) for name in names}
    if not isinstance(values, dict) or values.keys() != known.keys():
        raise RunError(f"{checkpoint.path / META}: course: expected {', '.join(known)}")
    for name, kind in known.items():
        if not _is(values[name], kind) or name in ("epoch", "window", "step", "stale") and values[name] < 0:
            raise RunError(f"{checkpoint.path / META}: course.{name}: expected {kind.__name__}, got {values[name]!r}")
    if math.isnan(values["best"]) or not all(_is_epoch(epoch) for epoch in values["history"]):
        raise RunError(f"{checkpoint.path / META}: course.history: expected finite numbers")
    own = {name: module.state_dict()[name] for name in trained}
    best = checkpoint.groups.get("best", {})
    if (values["best_epoch"] >= 0) != bool(best):
        raise RunError(f"{checkpoint.path / STATE}: best: expected the tensors of epoch {values['best_epoch']}")
    for group in ("state", *(["best"] if best else [])):
        stored = checkpoint.groups.get(group, {})
        unlike = [name for name in {*own, *stored} if _shape(own.get(name)) != _shape(stored.get(name))]
        if unlike:
            raise RunError(f"{checkpoint.path / STATE}: {group}/{min(unlike)} does not fit this model")
    return Course(**values, best_state=best)


def _is(value: Any, kind: type) -> bool:
    return isinstance(value, kind | int if kind is float else kind) and not isinstance(value, bool)


def _is_epoch(entry: Any) -> bool:
    return isinstance(entry, dict) and all(_is(value, float) and abs(value) < 1e300 for value in entry.values())


def _shape(tensor: torch.Tensor | None) -> Any:
    return None if tensor is None else (tensor.shape, tensor.dtype)
