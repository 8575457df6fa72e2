"""Fine-tune a small model, fold, convert and quantize it, and prove that what ships is what was trained."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunedeploy.api import export as export
    from tunedeploy.api import merge as merge
    from tunedeploy.api import train as train
    from tunedeploy.api import verify as verify
    from tunedeploy.proof.bundle import load_bundle as load_bundle

__version__ = "0.1.0"

# Served on first use: `import tunedeploy` loads no torch, and an app that only loads a bundle never does.
_HOMES = {
    "train": "tunedeploy.api",
    "merge": "tunedeploy.api",
    "export": "tunedeploy.api",
    "verify": "tunedeploy.api",
    "load_bundle": "tunedeploy.proof.bundle",
}

__all__ = ["__version__", "export", "load_bundle", "merge", "train", "verify"]


def __getattr__(name: str) -> Any:
    """Import a public name's module when the name is first asked for."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
