"""What the checks of a run and those of a bundle share: their names, and what is a breach before any number is."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from tunedeploy.errors import ModelError, RunError
from tunedeploy.parity import Comparison
from tunedeploy.runtime import OUTPUT, Session

CHECKS = ("integrity", "parity", "preprocessing", "metric")


def tried(check: Callable[..., Iterable[Comparison]], *arguments: Any, stage: str, file: str) -> list[Comparison]:
    """What a check finds. A file that cannot be read, loaded or run is a breach too, with the reason in its line."""
    began = time.monotonic()
    try:
        made = list(check(*arguments))
        return timed(made, time.monotonic() - began)
    except (RunError, ModelError, OSError, KeyError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        return [
            Comparison(
                name="failures to load or run", stage=stage, file=file, value=1, limit=0, where=reason.splitlines()[0]
            )
        ]


def timed(made: Sequence[Comparison], seconds: float) -> list[Comparison]:
    """The same, with an equal part each of the time that they took together beyond what they know of already."""
    share = (seconds - sum(one.seconds for one in made)) / max(len(made), 1)
    return [replace(one, seconds=round(one.seconds + share, 3)) for one in made]


def names_kept(session: Session, inputs: Sequence[str], *, stage: str, file: str) -> Comparison:
    """Inputs and outputs of a file that an app would not find, or that it would not expect."""
    odd = sorted({*inputs, OUTPUT} ^ {*session.inputs, *session.outputs})
    return Comparison(
        name="inputs and outputs under another name", stage=stage, file=file, value=len(odd), limit=0,
        where=", ".join(odd),
    )  # fmt: skip


def nodes_in_evaluation(model: Any, *, name: str, stage: str, file: str) -> Comparison:
    """Nodes of an ONNX model that compute as in training."""
    from tunedeploy.onnx_files import training_nodes  # a device has no onnx

    training = training_nodes(model)
    return Comparison(
        name=f"{name}: nodes that compute as in training", stage=stage, file=file, value=len(training), limit=0,
        where=", ".join(training[:3]),
    )  # fmt: skip
