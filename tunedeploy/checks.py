"""What the checks of a run and those of a bundle share: their names, and what is a breach before any number is."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tunedeploy.errors import ModelError, RunError
from tunedeploy.parity import Comparison
from tunedeploy.runtime import OUTPUT, Session

CHECKS = ("integrity", "parity", "preprocessing", "metric")


def tried(check: Callable[..., Iterable[Comparison]], *arguments: Any, stage: str, file: str) -> list[Comparison]:
    """What a check finds. A file that cannot be read, loaded or run is a breach too, with the reason in its line."""
    try:
        return list(check(*arguments))
    except (RunError, ModelError, OSError, KeyError) as error:
        reason = f"no entry {error}" if isinstance(error, KeyError) else str(error)
        return [
            Comparison(
                name="failures to load or run", stage=stage, file=file, value=1, limit=0, where=reason.splitlines()[0]
            )
        ]


def names_kept(session: Session, inputs: Sequence[str], *, stage: str, file: str) -> Comparison:
    """Inputs and outputs of a file that an app would not find, or that it would not expect."""
    odd = sorted({*inputs, OUTPUT} ^ {*session.inputs, *session.outputs})
    return Comparison(
        name="inputs and outputs under another name", stage=stage, file=file, value=len(odd), limit=0,
        where=", ".join(odd),
    )  # fmt: skip
