"""What the checks of a run and those of a bundle share: their names, and what is a breach before any number is."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
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
        return [unusable(error, stage=stage, file=file)]


def unusable(error: Exception, *, stage: str, file: str) -> Comparison:
    """The breach of a file that cannot be read, loaded or run."""
    reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
    return Comparison(
        name="failures to load or run", stage=stage, file=file, value=1, limit=0, where=reason.splitlines()[0]
    )


def breach_lines(made: Iterable[Comparison], run: Path | None = None) -> list[str]:
    """One line a breach. In a run, the first one inside a graph says how to find where it begins."""
    breaches = [one for one in made if not one.ok]
    lines = [one.line() for one in breaches]
    inside = next(
        (at for at, one in enumerate(breaches) if "logit difference" in one.name or "flipped" in one.name), None
    )
    if run is not None and inside is not None and breaches[inside].stage in ("export", "quantize"):
        lines[inside] += f"; run 'tunedeploy diagnose {run}' to find where it begins"
    return lines


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


def evaluation_kept(path: Path, *, name: str, stage: str, file: str) -> list[Comparison]:
    """As `nodes_in_evaluation`, of a file; onnxruntime passes over such nodes. A device without onnx cannot look.

    Raises:
        RunError: it is not an ONNX file.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return []
    try:
        model = onnx.load(path, load_external_data=False)
        return [nodes_in_evaluation(model, name=name, stage=stage, file=file)]
    except Exception as error:
        # protobuf's, or a name that is not UTF-8; protobuf itself is not a dependency of ours.
        if type(error).__name__ != "DecodeError" and not isinstance(error, ValueError):
            raise
        raise RunError(f"{path}: is not an ONNX file: {error}") from error


def nodes_in_evaluation(model: Any, *, name: str, stage: str, file: str) -> Comparison:
    """Nodes of an ONNX model that compute as in training."""
    from tunedeploy.onnx_files import training_nodes  # a device has no onnx

    training = training_nodes(model)
    return Comparison(
        name=f"{name}: nodes that compute as in training", stage=stage, file=file, value=len(training), limit=0,
        where=", ".join(training[:3]),
    )  # fmt: skip


def cpus_kept(path: Path, name: str, variant: Mapping[str, Any]) -> list[Comparison]:
    """Products that can saturate in a file that was said to be proved; a device without onnx cannot look.

    Raises:
        RunError: what was said of CPUs is something else.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return []
    del onnx
    from tunedeploy.cpu_checks import products_kept

    return products_kept(path, name, variant, stage="bundle")
